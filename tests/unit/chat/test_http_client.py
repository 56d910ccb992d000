"""The HTTP client against a server whose every byte the test writes."""

import asyncio
import gzip
import itertools
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from actlabel.chat.http_client import HttpClient, Target
from actlabel.chat.http_connection import LARGEST_HEAD_BYTES, BrokenExchange, Reply, TooLarge, decoded

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
LARGEST = 100_000
Pieces = list[bytes | None]  # None: close


class RawServer:
    """Answers every request with the next script, piece by piece; notes what it got."""

    def __init__(self, *scripts: Pieces) -> None:
        self.scripts = list(scripts)
        self.requests: list[bytes] = []
        self.connections = 0
        self.handlers: set[asyncio.Task[None]] = set()
        self.port = 0
        self.asked = asyncio.Event()
        self.gone = asyncio.Event()  # a client left in the middle

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.handlers.add(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                self.asked.set()
                for piece in self.scripts.pop(0) if self.scripts else [OK]:
                    if piece is None:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
        finally:
            writer.transport.abort()


@asynccontextmanager
async def served(*scripts: Pieces, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    raw = RawServer(*scripts)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0, ssl=tls)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        server.close()
        for handler in raw.handlers:
            handler.cancel()
        await asyncio.gather(*raw.handlers, return_exceptions=True)
        await asyncio.sleep(0)  # sockets are closed in the next turn of the loop


async def post(
    client: HttpClient, raw: RawServer, body: bytes = b"{}", *, url: str = "http://127.0.0.1:{}/v1/x", timeout_s: float = 20
) -> Reply:
    target = Target(url.format(raw.port))
    return await client.post(target, target.head({"A": "b"}), body, timeout_s=timeout_s, connect_timeout_s=10)


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    opened = HttpClient(keep_s=60, largest_body_bytes=LARGEST)
    yield opened
    opened.close()


async def test_the_request_is_well_formed(client: HttpClient) -> None:
    async with served() as raw:
        await post(client, raw, b"\x00body", url="http://127.0.0.1:{}/a b/ü?q=1 2")
        head, _, body = raw.requests[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == "POST /a%20b/%C3%BC?q=1%202 HTTP/1.1"
    assert set(lines) == {f"Host: 127.0.0.1:{raw.port}", "A: b", "Content-Length: 5"}
    assert body == b"\x00body"


async def test_a_large_body_arrives_whole(client: HttpClient) -> None:
    body = bytes(range(256)) * 20_000
    async with served() as raw:
        await post(client, raw, body)
        assert raw.requests[0].endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([OK], id="length"),
        pytest.param([OK[:5], OK[5:20], OK[20:-1], OK[-1:]], id="in pieces"),
        pytest.param([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n", b"1\r\ni\r\n0\r\n\r\n"], id="chunked"),
        pytest.param([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nh", b"i", None], id="until the end"),
        pytest.param([b"HTTP/1.0 200 OK\r\n\r\nhi", None], id="HTTP/1.0"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK], id="interim answers"),
    ],
)
async def test_every_way_to_send_a_body(client: HttpClient, pieces: Pieces) -> None:
    async with served(pieces) as raw:
        reply = await post(client, raw)
        assert (reply.status, reply.body) == (200, b"hi")
        assert (await post(client, raw)).body == b"hi", "and the client goes on"


@given(cuts=st.lists(st.integers(1, 200), max_size=8), body=st.binary(max_size=150))
@settings(max_examples=30, deadline=None)
def test_wherever_the_bytes_are_cut(cuts: list[int], body: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    places = sorted({0, *(cut for cut in cuts if cut < len(answer)), len(answer)})
    pieces: Pieces = [answer[a:b] for a, b in itertools.pairwise(places)]

    async def exchange() -> Reply:
        client = HttpClient(keep_s=60, largest_body_bytes=LARGEST)
        async with served(pieces) as raw:
            reply = await post(client, raw)
        client.close()
        return reply

    assert asyncio.run(exchange()).body == body


async def test_connections_are_kept_and_shared_out(client: HttpClient) -> None:
    async with served() as raw:
        for _ in range(3):
            await post(client, raw)
        assert raw.connections == 1
        await asyncio.gather(*(post(client, raw) for _ in range(3)))
        assert raw.connections == 3


async def test_a_connection_that_ended_is_not_used_again(client: HttpClient) -> None:
    async with served([OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), None]) as raw:
        await post(client, raw)
        await post(client, raw)
        assert raw.connections == 2


async def test_an_old_connection_is_not_used_again() -> None:
    client = HttpClient(keep_s=0, largest_body_bytes=LARGEST)
    async with served() as raw:
        await post(client, raw)
        await post(client, raw)
        assert raw.connections == 2
    client.close()


async def test_an_answer_that_nobody_asked_for_ends_the_connection(client: HttpClient) -> None:
    """A second answer to the first request must never be taken for the answer to the second."""
    stray = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"
    async with served([OK + stray]) as raw:
        assert (await post(client, raw)).body == b"hi"
        assert (await post(client, raw)).body == b"hi"
        assert raw.connections == 2
    async with served([OK, stray]) as raw:
        assert (await post(client, raw)).body == b"hi"
        assert (await post(client, raw)).body == b"hi"


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([None], id="nothing"),
        pytest.param([OK[:-1], None], id="cut short"),
        pytest.param([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi", None], id="chunk cut short"),
        pytest.param([b"SSH-2.0-OpenSSH_9\r\n"], id="not HTTP"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nhi"], id="two lengths"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], id="length and chunks"),
        pytest.param([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"], id="upgrade"),
    ],
)
async def test_what_is_no_whole_answer_is_refused(client: HttpClient, pieces: Pieces) -> None:
    async with served(pieces) as raw:
        with pytest.raises(BrokenExchange):
            await post(client, raw)
        assert (await post(client, raw)).body == b"hi"


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n", *[b"x" * 50_000] * 4], id="length"),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 50_000] * 4, None], id="until the end"),
        pytest.param([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"c350\r\n" + b"x" * 50_000 + b"\r\n"] * 4], id="chunks"),
        pytest.param([b"HTTP/1.1 200 OK\r\n", *[b"X-A: " + b"x" * 1000 + b"\r\n"] * (LARGEST_HEAD_BYTES // 1000 + 2)], id="headers"),
        pytest.param([b"HTTP/1.1 200 OK\r\nX-A: ", *[b"x" * 10_000] * 8], id="one header"),
    ],
)
async def test_an_endpoint_cannot_fill_the_memory(client: HttpClient, pieces: Pieces) -> None:
    async with served(pieces) as raw:
        with pytest.raises(TooLarge):
            await post(client, raw)


async def test_a_silent_endpoint_is_left_at_the_deadline(client: HttpClient) -> None:
    async with served([]) as raw:
        with pytest.raises(TimeoutError):
            await post(client, raw, timeout_s=0.05)
        await raw.gone.wait()


async def test_a_cancelled_exchange_cuts_its_connection(client: HttpClient) -> None:
    async with served([]) as raw:
        exchange = asyncio.create_task(post(client, raw))
        await raw.asked.wait()
        exchange.cancel()
        await asyncio.gather(exchange, return_exceptions=True)
        assert exchange.cancelled()
        await raw.gone.wait()


async def test_nobody_listens(client: HttpClient, free_port: int) -> None:
    raw = RawServer()
    raw.port = free_port
    with pytest.raises(ConnectionError):
        await post(client, raw)


def _contexts(*names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return server, trusting


async def test_tls() -> None:
    server, trusting = _contexts("localhost", "127.0.0.1")
    client = HttpClient(keep_s=60, largest_body_bytes=LARGEST, tls=trusting)
    async with served(tls=server) as raw:
        for _ in range(2):
            assert (await post(client, raw, b"x" * 300_000, url="https://localhost:{}/")).body == b"hi"
        assert raw.connections == 1
    client.close()


@pytest.mark.parametrize("trusts", [True, False])
async def test_a_certificate_of_somebody_else_is_refused(trusts: bool) -> None:
    server, trusting = _contexts("elsewhere.example")
    client = HttpClient(keep_s=60, largest_body_bytes=LARGEST, tls=trusting if trusts else None)
    async with served(tls=server) as raw:
        with pytest.raises(ssl.SSLCertVerificationError):
            await post(client, raw, url="https://localhost:{}/")
        assert raw.requests == []
    client.close()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://host/", "http"),
        ("no address", "http"),
        ("http://", "host"),
        ("http://user:secret@host/", "user and password"),
        ("http://host:99999/", "ort"),
        (f"http://{'a' * 70}.example/", "host name"),
    ],
)
def test_an_address_that_is_none(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Target(url)


def test_no_header_can_smuggle_a_line() -> None:
    with pytest.raises(ValueError, match="line break"):
        Target("http://host/").head({"Authorization": "Bearer x\r\nX: y"})


@pytest.mark.parametrize(
    ("url", "host"), [("http://[::1]:8/", "[::1]:8"), ("https://host/", "host"), ("https://bücher.example/", "xn--bcher-kva.example")]
)
def test_the_host_header(url: str, host: str) -> None:
    assert f"\r\nHost: {host}\r\n".encode() in Target(url).head({})


@pytest.mark.parametrize(("coding", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("", bytes)])
def test_a_coding_that_was_not_asked_for_is_understood(coding: str, encode: Callable[[bytes], bytes]) -> None:
    headers = {b"content-encoding": coding.encode()} if coding else {}
    assert decoded(Reply(200, headers, encode(b"text")), largest_body_bytes=LARGEST) == b"text"


@pytest.mark.parametrize(
    ("coding", "body", "error"),
    [("gzip", b"not gzip", BrokenExchange), ("br", b"", BrokenExchange), ("gzip", gzip.compress(bytes(LARGEST + 1)), TooLarge)],
)
def test_a_coding_that_cannot_be_read(coding: str, body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decoded(Reply(200, {b"content-encoding": coding.encode()}, body), largest_body_bytes=LARGEST)
