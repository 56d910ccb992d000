"""A small HTTP/1.1 client for many equal POSTs: kept connections, TLS, one deadline, bounded answers. Not more.

No redirects, cookies, proxies or retries: the caller decides about every status. It takes about a third of the CPU of aiohttp's client
for the same exchange (tests/bench/README.md), which at stream speed is most of what a stage costs.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import quote, urlsplit

from actlabel.chat.http_connection import HttpConnection, Reply

_PORTS: Final = {"http": 80, "https": 443}
_PATH_SAFE: Final = "/%:@!$&'()*+,;=~-._"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go, and so which may be shared."""

    tls: bool
    host: str
    port: int


class Target:
    """One URL, read and encoded once."""

    def __init__(self, url: str) -> None:
        """Raises ``ValueError`` that says what is wrong with the address."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("it must begin with http:// or https:// and name a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("user and password do not belong into it; a key goes into a file")
        self.origin = Origin(parts.scheme == "https", _ascii_host(parts.hostname), parts.port or _PORTS[parts.scheme])
        path = quote(parts.path or "/", safe=_PATH_SAFE) + (f"?{quote(parts.query, safe=_PATH_SAFE + '?')}" if parts.query else "")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else self.origin.host
        port = "" if self.origin.port == _PORTS[parts.scheme] else f":{self.origin.port}"
        self._first_lines = f"POST {path} HTTP/1.1\r\nHost: {host}{port}\r\n"

    def head(self, headers: Mapping[str, str]) -> bytes:
        """Write everything of a request's head that is the same for every body. Raises ``ValueError`` for a line break in a header."""
        lines = [f"{name}: {value}" for name, value in headers.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header holds a line break")
        return (self._first_lines + "".join(f"{line}\r\n" for line in lines) + "Content-Length: ").encode("latin-1")


def _ascii_host(host: str) -> str:
    if ":" in host:
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError("its host name cannot be encoded") from error


class HttpClient:
    """A pool of connections; the one used last is used next, so that those that are not needed grow old and go."""

    def __init__(self, *, keep_s: float, largest_body_bytes: int, tls: ssl.SSLContext | None = None) -> None:
        """``keep_s``: an idle connection is used again for so long. ``tls``: None for the system's certificates."""
        self._keep_s = keep_s
        self._largest_body_bytes = largest_body_bytes
        self._own_tls = tls
        self._idle: dict[Origin, deque[HttpConnection]] = {}
        self._busy: set[HttpConnection] = set()
        self._loop = asyncio.get_running_loop()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._own_tls or ssl.create_default_context()

    async def post(self, target: Target, head: bytes, body: bytes, *, timeout_s: float, connect_timeout_s: float) -> Reply:
        """Exchange one request; ``head`` is from ``target.head``.

        Raises ``TimeoutError``, ``BrokenExchange``, ``ssl.SSLCertVerificationError`` and other ``OSError``. Cancelled, it cuts the
        connection.
        """
        deadline_s = self._loop.time() + timeout_s
        connection = self._kept(target.origin) or await self._connect(target.origin, min(timeout_s, connect_timeout_s))
        self._busy.add(connection)
        exchange = connection.exchange(b"%b%d\r\n\r\n" % (head, len(body)), body)
        alarm = self._loop.call_at(deadline_s, _expire, exchange)
        try:
            reply = await exchange
        except BaseException:
            connection.abort()
            raise
        finally:
            alarm.cancel()
            self._busy.discard(connection)
        self._keep(target.origin, connection)
        return reply

    def _kept(self, origin: Origin) -> HttpConnection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.usable and self._loop.time() - connection.idle_since_s < self._keep_s:
                return connection
            connection.abort()
        return None

    def _keep(self, origin: Origin, connection: HttpConnection) -> None:
        if not connection.usable:
            return connection.abort()
        connection.idle_since_s = now_s = self._loop.time()
        idle = self._idle.setdefault(origin, deque())
        while idle and now_s - idle[0].idle_since_s >= self._keep_s:
            idle.popleft().abort()
        return idle.append(connection)

    async def _connect(self, origin: Origin, timeout_s: float) -> HttpConnection:
        async with asyncio.timeout(timeout_s):
            _, connection = await self._loop.create_connection(
                lambda: HttpConnection(self._loop, largest_body_bytes=self._largest_body_bytes),
                origin.host,
                origin.port,
                ssl=self._tls if origin.tls else None,
                server_hostname=origin.host if origin.tls else None,
            )
        return connection

    def close(self) -> None:
        """Cut every connection; exchanges in progress are cancelled."""
        for connection in [*self._busy, *(kept for idle in self._idle.values() for kept in idle)]:
            connection.abort()
        self._idle.clear()


def _expire(exchange: "asyncio.Future[Reply]") -> None:
    if not exchange.done():
        exchange.set_exception(TimeoutError())
