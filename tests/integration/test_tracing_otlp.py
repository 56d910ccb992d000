"""Spans of one item on its way from ingest to ``merged``, as an OpenTelemetry collector receives them."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from actlabel.core import topics
from actlabel.core.errors import UserError
from actlabel.host.host import open_host
from actlabel.runtime import tracing
from actlabel.runtime.settings import load_settings
from actlabel.runtime.tracing import span_id_of, trace_id_of
from actlabel.runtime.tracing_otlp import OtlpRecorder
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.server import Standin
from actlabel.stream.port import Partition, Record, Stream
from tests.acceptance.data import synthetic
from tests.acceptance.pipeline import make_settings, one_process, working
from tests.services.otlp_collector import running_collector


async def _headers(stream: Stream, kind: str, uid: str) -> dict[str, tuple[tuple[str, bytes], ...]]:
    ends = await stream.end_offsets(topics.topic(kind, uid))
    records = [r for p, end in ends.items() async for batch in stream.scan(p, start=0, end=end) for r in batch]
    return {record.key.decode(): record.headers for record in records}


async def test_one_item_is_followed_through_every_stage_and_across_its_review(tmp_path: Path):
    recording = synthetic(tmp_path, 30)
    async with running_collector() as collector, Standin(RecordedAnswers.load(recording.answers)) as endpoint:
        files = {"stream": f"sqlite:///{tmp_path}/stream.db", "database": f"sqlite:///{tmp_path}/actlabel.db"}
        settings = make_settings(tmp_path, **files, otlp_endpoint=collector.endpoint, trace_ratio=1.0)
        async with one_process(tmp_path, settings) as arena:
            campaign = await arena.apply("traced", endpoint.endpoint, sampler__budget=6)
            await arena.ingest(campaign, recording.items)
            async with working(arena.reviewer(recording, campaign.name)):
                await arena.at_rest(campaign, reviewed=True)
            merged = await arena.merged(campaign)
            headers = await _headers(arena.host.stream, topics.MERGED, campaign.uid)
        assert tracing._recorder is None
    assert set(collector.traces) == {trace_id_of(campaign.uid, item_id) for item_id in recording.truth}
    reviewed = next(item_id for item_id, item in merged.items() if item.HasField("review"))
    certain = next(item_id for item_id, item in merged.items() if not item.HasField("review"))
    spans = {span.name: span for span in collector.traces[trace_id_of(campaign.uid, reviewed)]}
    _check_chain(spans, ["ingest", "annotator", "criticizer", "emission", "review-gateway"])
    assert set(spans) - {"sampler"} == {"ingest", "annotator", "criticizer", "emission", "review-gateway", "publish"}
    assert [link.span_id for link in spans["publish"].links] == [spans["review-gateway"].span_id]
    assert spans["publish"].start_time_unix_nano >= spans["review-gateway"].end_time_unix_nano
    assert headers[reviewed] == (("traceparent", f"00-{trace_id_of(campaign.uid, reviewed)}-{spans['publish'].span_id.hex()}-01".encode()),)
    other = {span.name: span for span in collector.traces[trace_id_of(campaign.uid, certain)]}
    _check_chain(other, ["ingest", "annotator", "criticizer", "emission"])
    assert headers[certain] == (("traceparent", f"00-{trace_id_of(campaign.uid, certain)}-{other['emission'].span_id.hex()}-01".encode()),)
    said = str(collector.traces[trace_id_of(campaign.uid, reviewed)])
    assert reviewed in said
    assert campaign.uid in said


def _check_chain(spans: dict[str, Span], names: list[str]) -> None:
    assert not spans[names[0]].parent_span_id
    for parent, child in pairwise(names):
        assert spans[child].parent_span_id == spans[parent].span_id, f"{child} after {parent}"
        assert spans[child].start_time_unix_nano >= spans[parent].start_time_unix_nano


async def test_the_sample_is_the_same_in_every_process_and_a_foreign_trace_is_linked():
    foreign = (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)
    async with running_collector() as collector:
        recorders = [OtlpRecorder(collector.endpoint, ratio=0.25) for _ in range(2)]
        for number in range(200):
            item_id = f"item-{number}"
            headers = recorders[0].instant("ingest", "u", item_id, upstream=foreign)
            record = Record(Partition("actlabel.items.u", 0), number, item_id.encode(), b"", headers, 0)
            span = recorders[1].begin("annotator", record)
            assert (span is not None) == headers[0][1].endswith(b"-01")
            if span is not None:
                span.end("done")
        await asyncio.gather(*(asyncio.to_thread(recorder.close) for recorder in recorders))
    assert 25 <= len(collector.traces) <= 75
    for trace_id, spans in collector.traces.items():
        assert sorted(span.name for span in spans) == ["annotator", "ingest"]
        assert all(link.trace_id.hex() == "4bf92f3577b34da6a3ce929d0e0e4736" for span in spans for link in span.links)
        assert [len(span.links) for span in spans] == [1, 1]
        (ingest,) = [span for span in spans if span.name == "ingest"]
        assert ingest.span_id.hex() in {span_id_of("u", f"item-{n}") for n in range(200)}
        assert trace_id in {trace_id_of("u", f"item-{n}") for n in range(200)}


async def test_a_collector_that_is_not_there_holds_nobody_up():
    recorder = OtlpRecorder("http://127.0.0.1:9", ratio=1.0)
    for number in range(5000):  # more than fit the queue
        recorder.instant("ingest", "u", f"item-{number}")
    async with asyncio.timeout(20):
        await asyncio.to_thread(recorder.close)


async def test_an_endpoint_that_is_none_is_one_clear_line(tmp_path: Path):
    settings = load_settings(otlp_endpoint="collector:4318", database=f"sqlite:///{tmp_path}/a.db", stream=f"sqlite:///{tmp_path}/s.db")
    with pytest.raises(UserError, match=r"ACTLABEL_OTLP_ENDPOINT: write http://host:4318"):
        async with open_host(settings, runs_stages=False):
            pass
