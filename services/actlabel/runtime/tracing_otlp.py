"""Spans to an OpenTelemetry collector, by OTLP over HTTP. The packages are the extra ``otel``; nothing else imports them."""

import os
import time
from collections.abc import Sequence
from socket import gethostname
from threading import Thread
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, set_span_in_context
from opentelemetry.trace import Span as OtelSpan

from actlabel.core import topics
from actlabel.runtime.tracing import TRACEPARENT, Headers, Traced, carried, origin_of, root_headers, span_id_of, trace_id_of

_LASTING: Final = frozenset({topics.REVIEW_GATEWAY})
"""Stages whose span is linked from another process much later, so that its id must be found again."""
_CLOSE_S: Final = 2.0


class OtlpRecorder:
    """See ``tracing.Recorder``. Whether an item is in the sample follows from its trace id: in every process the same answer."""

    def __init__(self, endpoint: str, *, ratio: float) -> None:
        """``endpoint``: ``http://collector:4318``, or with a path of its own; ``ratio``: share of items that are traced."""
        self._bound = int(ratio * 2**64)
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create({"service.name": "actlabel", "service.instance.id": f"{gethostname()}-{os.getpid()}"}),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        whole = endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + "/v1/traces"
        self._exporter = OTLPSpanExporter(endpoint=whole)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("actlabel")

    def begin(self, stage: str, record: Traced) -> "OtlpSpan | None":
        """See ``tracing.Recorder``."""
        headers = carried(record)
        parent = _context(headers[0][1].decode("ascii", "replace")[3:52])
        if parent is None or not self._in_sample(parent.trace_id):
            return None
        uid, item_id = topics.campaign_of(record.partition.topic), record.key.decode(errors="replace")
        if stage in _LASTING:
            self._ids.next_span = int(span_id_of(uid, item_id, stage), 16)
        span = self._start(stage, uid, item_id, parent, kind=SpanKind.CONSUMER, links=_origin_links(headers))
        return OtlpSpan(span, headers)

    def instant(self, name: str, uid: str, item_id: str, *, upstream: Headers = (), after: str | None = None) -> Headers:
        """See ``tracing.Recorder``. The ingest is the root of the trace, so it gets the id that every header begins with."""
        headers = root_headers(uid, item_id.encode(), upstream)
        root = f"{trace_id_of(uid, item_id)}-{span_id_of(uid, item_id)}"
        parent = _context(root)
        if parent is None or not self._in_sample(parent.trace_id):
            return headers
        links = list(_origin_links(headers))
        if after is None:
            self._ids.next_trace, self._ids.next_span, parent = parent.trace_id, parent.span_id, None
        else:
            links += _links(f"{trace_id_of(uid, item_id)}-{span_id_of(uid, item_id, after)}")
        span = self._start(name, uid, item_id, parent, kind=SpanKind.PRODUCER, links=links)
        span.end()
        return OtlpSpan(span, headers).headers()

    def _in_sample(self, trace_id: int) -> bool:
        return trace_id & 2**64 - 1 < self._bound

    def _start(self, name: str, uid: str, item_id: str, parent: SpanContext | None, *, kind: SpanKind, links: Sequence[Link]) -> OtelSpan:
        return self._tracer.start_span(
            name,
            context=set_span_in_context(NonRecordingSpan(parent)) if parent else None,
            kind=kind,
            links=links,
            attributes={"actlabel.campaign": uid, "actlabel.item": item_id},
            start_time=time.time_ns(),
        )

    def close(self) -> None:
        """See ``tracing.Recorder``. The SDK's own timeouts do not hold where no collector answers."""
        sending = Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(_CLOSE_S)
        if sending.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # it stops trying again
            sending.join(_CLOSE_S)


class OtlpSpan:
    """See ``tracing.Span``."""

    def __init__(self, span: OtelSpan, headers: Headers) -> None:
        """``headers``: what the item came with."""
        self._span = span
        self._headers = headers

    def headers(self) -> Headers:
        """See ``tracing.Span``."""
        own = self._span.get_span_context()
        return ((TRACEPARENT, f"00-{own.trace_id:032x}-{own.span_id:016x}-01".encode()), *self._headers[1:])

    def end(self, outcome: str) -> None:
        """See ``tracing.Span``."""
        self._span.set_attribute("actlabel.outcome", outcome)
        if outcome == "dead":
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class _Ids(IdGenerator):
    """Random ids, but for a span that others must find again: its id is set just before it begins, on the same thread."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self.next_span: int | None = None
        self.next_trace: int | None = None

    def generate_span_id(self) -> int:
        chosen, self.next_span = self.next_span, None
        return chosen or self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        chosen, self.next_trace = self.next_trace, None
        return chosen or self._random.generate_trace_id()


def _context(ids: str) -> SpanContext | None:
    """Read ``<32 digits>-<16 digits>``, which a record may have made up."""
    trace_id, _, span_id = ids.partition("-")
    try:
        context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    except ValueError:
        return None
    return context if context.is_valid else None


def _links(ids: str | None) -> Sequence[Link]:
    context = None if ids is None else _context(ids)
    return () if context is None else (Link(context),)


def _origin_links(headers: Headers) -> Sequence[Link]:
    return _links(origin_of(headers))
