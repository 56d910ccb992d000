"""What follows an item: ids that anybody can find again, headers that are handed on, and log lines that name both."""

import json
import logging
from dataclasses import dataclass

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from actlabel.runtime import tracing
from actlabel.runtime.log import configure_logs, get_log
from actlabel.runtime.tracing import Headers, carried, origin_of, root_headers, span_id_of, trace_id_of
from actlabel.stream.port import Partition, Record

_OTHERS = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _record(headers: Headers = (), key: bytes = b"a") -> Record:
    return Record(Partition("actlabel.items.u1", 0), 0, key, b"the text", headers, 0)


def test_an_item_has_one_trace_id_whoever_asks():
    ((name, value),) = root_headers("u1", b"a")
    assert name == "traceparent"
    assert value.decode() == f"00-{trace_id_of('u1', 'a')}-{span_id_of('u1', 'a')}-00"
    ids = [trace_id_of("u1", "a"), trace_id_of("u1", "b"), trace_id_of("u2", "a"), trace_id_of("u1a", "")]
    assert len(set(ids)) == 4
    assert span_id_of("u1", "a") != span_id_of("u1", "a", "review-gateway") != span_id_of("u1", "b", "review-gateway")


def test_what_an_item_came_with_goes_on_as_it_is():
    headers = root_headers("u1", b"a", (("traceparent", _OTHERS), ("tracestate", b"vendor=1"), ("password", b"x")))
    assert carried(_record(headers)) == headers
    assert carried(_record((("first", b"1"), *headers, ("last", b"2")))) == headers
    assert carried(_record(headers[:1])) == headers[:1]


def test_the_trace_of_another_system_is_kept_beside_ours():
    headers = root_headers("u1", b"a", (("traceparent", _OTHERS), ("tracestate", b"vendor=1")))
    assert dict(headers) == {
        **dict(root_headers("u1", b"a")),
        "tracestate": b"actlabel=4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7,vendor=1",
    }
    assert origin_of(headers) == "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
    assert origin_of(root_headers("u1", b"a")) is None
    long = root_headers("u1", b"a", (("traceparent", _OTHERS), ("tracestate", b"v=" + b"1" * 600)))
    assert origin_of(long) == "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
    assert len(long[1][1]) <= 512


@given(
    st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "x"]), st.binary(max_size=600)), max_size=4), st.binary(max_size=20)
)
def test_made_up_headers_break_nothing_and_do_not_grow(headers: list[tuple[str, bytes]], key: bytes):
    kept = carried(_record(tuple(headers), key))
    assert kept[0][0] == "traceparent"
    assert len(kept) <= 2
    assert sum(len(value) for _, value in kept) <= 55 + 512
    origin_of(kept)


def test_a_log_line_of_a_record_names_item_and_trace_and_no_content(capsys: pytest.CaptureFixture[str]):
    configure_logs(level="info", json=True)
    try:
        record = _record(root_headers("u1", b"a"))
        token = tracing._record.set(None)
        tracing.about(record)
        get_log("actlabel.test").info("something happened", campaign="u1")
        logging.getLogger("somebody.else").warning("a library speaks")
        tracing._record.reset(token)
        get_log("actlabel.test").info("something else happened")
    finally:
        logging.getLogger().handlers.clear()
        structlog.reset_defaults()
    own, theirs, outside = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    for line in (own, theirs):
        assert (line["item_id"], line["trace_id"]) == ("a", trace_id_of("u1", "a"))
        assert "the text" not in json.dumps(line)
    assert "item_id" not in outside


@dataclass
class _Counting:
    """A recorder that records nothing."""

    begun: int = 0

    def begin(self, stage: str, record: tracing.Traced) -> None:
        self.begun += 1

    def instant(self, name: str, uid: str, item_id: str, *, upstream: Headers = (), after: str | None = None) -> Headers:
        return ()

    def close(self) -> None:
        pass


def test_a_process_records_only_while_it_is_told_to():
    recorder = _Counting()
    assert tracing.begin("annotator", _record()) is None
    tracing.use_recorder(recorder)
    tracing.begin("annotator", _record())
    tracing.use_recorder(None)
    tracing.begin("annotator", _record())
    assert recorder.begun == 1
    assert tracing.instant("ingest", "u1", "a") == root_headers("u1", b"a")
