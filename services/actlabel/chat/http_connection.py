"""One HTTP/1.1 connection that carries one exchange at a time (RFC 9112). llhttp, the parser of Node.js, reads what comes back."""

import asyncio
import zlib
from collections.abc import Mapping
from typing import Final, cast

import httptools

LARGEST_HEAD_BYTES: Final = 64 * 1024
_COPIED_BYTES: Final = 64 * 1024  # a body up to this size joins its head in one write


class BrokenExchange(Exception):
    """The answer did not come whole, or was not HTTP; the message says how."""


class TooLarge(BrokenExchange):
    """The answer is larger than was allowed."""


class Reply:
    """A whole answer. ``headers``: lower-case names; of a name that comes twice, the last."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> None:
        """``body``: as it came, before any decoding."""
        self.status = status
        self.headers = headers
        self.body = body

    def header(self, name: str) -> str | None:
        """Return a header by its lower-case name."""
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1").strip()


class HttpConnection(asyncio.Protocol):
    """Sends a request, returns the reply. Not thread-safe, like everything on a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, largest_body_bytes: int) -> None:
        """``largest_body_bytes``: an endpoint may not fill the memory."""
        self._loop = loop
        self._largest_body_bytes = largest_body_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._waiting: asyncio.Future[Reply] | None = None
        self._usable = True  # for another exchange
        self.idle_since_s = 0.0
        self._forget()

    def _forget(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._head_bytes = 0
        self._body_bytes = 0
        self._head_done = False
        self._too_large: str | None = None

    @property
    def usable(self) -> bool:
        """Say whether another request may be sent."""
        return self._usable and self._waiting is None

    def exchange(self, head: bytes, body: bytes) -> "asyncio.Future[Reply]":
        """Send one request; the future brings the reply or raises ``BrokenExchange``, ``TooLarge`` or ``OSError``.

        A caller that gives up must ``abort``: what comes later belongs to nobody.
        """
        future = self._waiting = self._loop.create_future()
        if len(body) <= _COPIED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        return future

    def abort(self) -> None:
        """Close at once."""
        self._usable = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.cancel()
        self._waiting = None
        self._transport.abort()

    # ── what the transport tells ────────────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on. Bytes that nobody asked for end the connection."""
        if self._waiting is None:
            return self.abort()
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(BrokenExchange("the endpoint wants another protocol"))
        except httptools.HttpParserError:
            self._fail(BrokenExchange("the answer is not HTTP"))
        if not self._head_done and self._head_bytes > LARGEST_HEAD_BYTES:
            self._too_large = f"headers of more than {LARGEST_HEAD_BYTES} bytes"
        if self._too_large is not None:
            self._fail(TooLarge(self._too_large))
        return None

    def connection_lost(self, error: Exception | None) -> None:
        """End what waits: a body without a length ends here (RFC 9112 §6.3)."""
        self._usable = False
        if self._waiting is None:
            return
        if error is None and self._head_done and not self._has_length():
            self._succeed()
        else:
            self._fail(BrokenExchange("the connection ended before the answer did"))

    def _has_length(self) -> bool:
        return b"content-length" in self._headers or b"transfer-encoding" in self._headers

    # ── what the parser tells; an exception in here would be lost ───────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """A head begins."""
        if self._waiting is None:
            self._usable = False  # a second answer to one request
        head_bytes = self._head_bytes
        self._forget()
        self._head_bytes = head_bytes

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_done = True

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body, up to its bound."""
        self._body_bytes += len(piece)
        if self._body_bytes > self._largest_body_bytes:
            self._too_large = f"an answer of more than {self._largest_body_bytes} bytes"
            self._body.clear()
        elif self._too_large is None:
            self._body.append(piece)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was an interim one (RFC 9110 §15.2)."""
        if self._parser.get_status_code() < 200:
            return self._forget()
        self._usable = self._usable and self._parser.should_keep_alive()
        return self._succeed()

    # ── what the caller gets ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _succeed(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            waiting.set_result(Reply(self._parser.get_status_code(), self._headers, body))

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, None
        self._usable = False
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
        self._transport.abort()


def decoded(reply: Reply, *, largest_body_bytes: int) -> bytes:
    """Return the body without its content coding. Raises ``BrokenExchange`` for an unknown or broken one and ``TooLarge``.

    We ask for none (``Accept-Encoding: identity``); some endpoints compress all the same.
    """
    coding = (reply.header("content-encoding") or "identity").lower()
    if coding == "identity":
        return reply.body
    if coding not in {"gzip", "x-gzip", "deflate"}:
        raise BrokenExchange(f"the answer is compressed in a way that was not asked for ({coding[:20]})")
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # finds out itself which of the two it is
    try:
        body = inflater.decompress(reply.body, largest_body_bytes + 1)
    except zlib.error as error:
        raise BrokenExchange("the compressed answer cannot be read") from error
    if len(body) > largest_body_bytes:
        raise TooLarge(f"an answer of more than {largest_body_bytes} bytes")
    return body
