"""One item, one trace: how it is followed from its ingest to ``merged`` or ``dead``.

The trace id follows from campaign and item id, so nothing is stored for it: stages, sampler, review gateway and a replay after weeks all
find the same one, and so does a person. It travels in W3C headers for whoever reads our topics. Where the item came with a trace of
somebody else's, that one is kept in ``tracestate`` under ``actlabel`` and linked from the first span.

Spans are recorded only where ``configure_tracing`` was told an endpoint; without it a record costs a header that is handed on.
"""

from contextvars import ContextVar
from hashlib import sha256
from typing import Final, Protocol

from structlog.typing import EventDict, WrappedLogger

from actlabel.core import topics

Headers = tuple[tuple[str, bytes], ...]

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
_TRACEPARENT_BYTES: Final = 55
_TRACESTATE_BYTES: Final = 512
_ORIGIN: Final = "actlabel="


class _Place(Protocol):
    @property
    def topic(self) -> str: ...


class Traced(Protocol):
    """A record of the stream: what is needed of it to follow its item."""

    @property
    def partition(self) -> _Place:
        """Where it was read; the topic names the campaign."""

    @property
    def key(self) -> bytes:
        """The item id."""

    @property
    def headers(self) -> Headers:
        """As they were read: hostile."""


class Span(Protocol):
    """The stay of one item at one stage, being recorded."""

    def headers(self) -> Headers:
        """What to send along, so that the next span is a child of this one."""

    def end(self, outcome: str) -> None:
        """It is over; told once."""


class Recorder(Protocol):
    """Records spans."""

    def begin(self, stage: str, record: Traced) -> Span | None:
        """Begin one for a record that was read; None where this item is not in the sample."""

    def instant(self, name: str, uid: str, item_id: str, *, upstream: Headers = (), after: str | None = None) -> Headers:
        """Record a moment in the way of an item that no record led to; return the headers to send along.

        ``upstream``: of the record that the item came from; ``after``: the stage where it was seen last, to be linked.
        """

    def close(self) -> None:
        """Send what is left, within seconds."""


_record: ContextVar[Traced | None] = ContextVar("record", default=None)
_recorder: Recorder | None = None


def use_recorder(recorder: Recorder | None) -> None:
    """Let this process record spans from now on, or no more."""
    global _recorder  # noqa: PLW0603 - of a process, like its log and its metrics
    _recorder = recorder


def trace_id_of(uid: str, item_id: str) -> str:
    """Return the trace id of an item, 32 hexadecimal digits."""
    return _digest(uid, item_id.encode())[:32]


def span_id_of(uid: str, item_id: str, stage: str = "") -> str:
    """Return a span id that anybody can find again, 16 digits: of the item's ingest, or of a stage where it rests long."""
    return _digest(uid, item_id.encode() + b"\0" + stage.encode() if stage else item_id.encode())[32:48]


def _digest(uid: str, item_id: bytes) -> str:
    return sha256(uid.encode() + b"\0" + item_id).hexdigest()


def root_headers(uid: str, item_id: bytes, upstream: Headers = ()) -> Headers:
    """Make the headers of an item that has none of ours. ``upstream``: of the record that it came from, maybe of another system."""
    digest = _digest(uid, item_id)
    own = (TRACEPARENT, f"00-{digest[:32]}-{digest[32:48]}-00".encode())
    origin = next((value for name, value in upstream if name == TRACEPARENT and len(value) == _TRACEPARENT_BYTES), None)
    if origin is None:
        return (own,)
    theirs = b"".join(b"," + value for name, value in upstream if name == TRACESTATE)
    state = _ORIGIN.encode() + origin[3:52] + theirs
    return (own, (TRACESTATE, state if len(state) <= _TRACESTATE_BYTES else state[: len(_ORIGIN) + 49]))


def carried(record: Traced) -> Headers:
    """Return what of a record's headers goes on with its item; an item that came without gets its own."""
    headers = record.headers
    if len(headers) == 1 and headers[0][0] == TRACEPARENT and len(headers[0][1]) == _TRACEPARENT_BYTES:
        return headers
    kept = tuple(header for header in headers if _goes_on(*header))
    if not kept or kept[0][0] != TRACEPARENT:
        return root_headers(topics.campaign_of(record.partition.topic), record.key)
    return kept[:2]


def _goes_on(name: str, value: bytes) -> bool:
    return len(value) == _TRACEPARENT_BYTES if name == TRACEPARENT else name == TRACESTATE and len(value) <= _TRACESTATE_BYTES


def origin_of(headers: Headers) -> str | None:
    """Return the trace and span of another system that an item came with, ``<32 digits>-<16 digits>``."""
    state = next((value.decode("ascii", "replace") for name, value in headers if name == TRACESTATE), "")
    found = next((member for member in state.split(",") if member.startswith(_ORIGIN)), None)
    return None if found is None else found.removeprefix(_ORIGIN)


def about(record: Traced) -> None:
    """Let the log lines of the present task, and of those that it starts, name the item and the trace of this record."""
    _record.set(record)


def begin(stage: str, record: Traced) -> Span | None:
    """Begin a span for a record that was read, where spans are recorded and this one is in the sample."""
    return None if _recorder is None else _recorder.begin(stage, record)


def instant(name: str, uid: str, item_id: str, *, upstream: Headers = (), after: str | None = None) -> Headers:
    """See ``Recorder.instant``; without a recorder just the headers."""
    if _recorder is not None:
        return _recorder.instant(name, uid, item_id, upstream=upstream, after=after)
    return root_headers(uid, item_id.encode(), upstream)


def name_item(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add item and trace to a log line that belongs to a record: a processor for structlog."""
    if (record := _record.get()) is not None:
        event.setdefault("item_id", record.key.decode(errors="replace"))
        event.setdefault("trace_id", carried(record)[0][1][3:35].decode("ascii", "replace"))
    return event
