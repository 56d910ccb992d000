"""The stand-in: an OpenAI-compatible HTTP server with answers of its own and faults on demand.

``POST /v1/chat/completions``, ``GET /v1/models``, ``GET /healthz``; from this machine only ``GET|POST /control`` (faults) and
``GET|DELETE /control/log`` (what was asked).
"""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Self

import orjson
from aiohttp import web

from actlabel.completions import completion
from actlabel.completions.protocol import Question, Refused, read_question
from actlabel.core.errors import UserError
from actlabel.runtime.clock import Clock, SystemClock
from actlabel.standin.control import JSON, from_this_machine, read_change
from actlabel.standin.faults import Faults, Limits, Verdict
from actlabel.standin.opinion import Answerer
from actlabel.standin.request_log import RequestLog

_LARGEST_BODY = 64 * 2**20


class Standin:
    """Serves while its ``async with`` block runs."""

    def __init__(
        self,
        answerer: Answerer,
        faults: Faults | None = None,
        *,
        log: RequestLog | None = None,
        models: tuple[str, ...] = ("standin",),
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        """``models``: what ``/v1/models`` lists (any name is answered). ``api_key``: demanded as bearer token where given."""
        self.faults = faults or Faults()
        self.log = log or RequestLog()
        self._answerer = answerer
        self._models = models
        self._host = host
        self._port = port
        self._api_key = api_key
        self._clock = clock or SystemClock()
        self._limits = Limits(self._clock.monotonic())
        self._written: dict[int, int] = {}  # number of a request → tokens of its answer
        self._served = 0  # requests that were let in and are not answered yet
        self._routes: dict[tuple[str, str], Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]] = {
            ("POST", "/v1/chat/completions"): self._complete,
            ("GET", "/v1/models"): self._list_models,
            ("GET", "/healthz"): self._healthy,
            ("GET", "/control"): self._control,
            ("POST", "/control"): self._control,
            ("GET", "/control/log"): self._control_log,
            ("DELETE", "/control/log"): self._control_log,
        }
        self._server: web.Server
        self._runner: web.ServerRunner
        self._site: web.TCPSite | None = None
        self._pending: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """``http://host:port``; the ``endpoint`` of a campaign is this and ``/v1``."""
        return f"http://{self._host}:{self._port}"

    @property
    def endpoint(self) -> str:
        """What a campaign file names as ``endpoint``."""
        return f"{self.address}/v1"

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._server.connections)

    async def __aenter__(self) -> Self:
        """Listen. Raises ``UserError`` when the port is taken."""
        self._server = web.Server(self._handle, request_factory=_request, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.1)
        await self._runner.setup()
        try:
            await self.accept()
        except OSError as error:
            await self._runner.cleanup()
            raise UserError(f"{self._host}:{self._port} cannot be listened on ({error.strerror}); choose another with --port") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; requests that hang are cut off."""
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)
        await self._runner.cleanup()
        self.log.close()

    async def accept(self) -> None:
        """Take connections, again after ``refuse``."""
        if self._site is None:
            self._site = web.TCPSite(self._runner, self._host, self._port, reuse_address=True, backlog=4096)
            await self._site.start()
            self._port = int(self._runner.addresses[0][1])

    async def refuse(self, *, keep: asyncio.BaseTransport | None = None) -> None:
        """Refuse new connections and cut those that are open, except ``keep``."""
        site, self._site = self._site, None
        if site is not None:
            await site.stop()
        self.log.fault("cut")
        for connection in self._server.connections:
            if connection.transport is not None and connection.transport is not keep:
                connection.transport.abort()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        route = self._routes.get((request.method, request.path), _unknown)
        try:
            return await route(request)
        except Refused as refused:
            return _error(refused)

    async def _complete(self, request: web.BaseRequest) -> web.StreamResponse:
        self._authorize(request)
        question = read_question(await request.read())
        in_flight = self._served
        number, attempt = self.log.arrival(question, _caller(request))
        outcome = "abandoned"
        if self._site is None:  # it was being read while all connections were cut
            self.log.fault("cut", [number])
        try:
            response = await self._answer(request, question, number, attempt, in_flight)
            outcome = str(response.status)
        except Refused as refused:
            outcome = str(refused.status)
            raise
        except ConnectionResetError:
            outcome = "disconnect"
            raise
        finally:
            self.log.end(number, question, outcome, written_tokens=self._written.pop(number, 0))
        return response

    def _authorize(self, request: web.BaseRequest) -> None:
        if self._api_key is None:
            return
        if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), f"Bearer {self._api_key}".encode()):
            raise Refused(401, "invalid_api_key", "the API key is missing or wrong")

    async def _answer(self, request: web.BaseRequest, question: Question, number: int, attempt: int, in_flight: int) -> web.Response:
        faults = self.faults
        now_s = self._clock.monotonic()
        if self._limits.refuses(faults, now_s=now_s, in_flight=in_flight):
            return _too_many(faults)
        verdict = faults.verdict(question.request_digest, attempt)
        if verdict.fate == "rate_limit":
            return _too_many(faults)
        self._served += 1
        try:
            if verdict.latency_s:
                await self._clock.sleep(verdict.latency_s * self._limits.slowness(faults, now_s=now_s, in_flight=in_flight))
            return await self._fulfil(request, question, verdict, number)
        finally:
            self._served -= 1

    async def _fulfil(self, request: web.BaseRequest, question: Question, verdict: Verdict, number: int) -> web.Response:
        text, finish_reason = verdict.nonsense, verdict.finish_reason
        if verdict.fate != "answer":
            self.log.fault(verdict.fate, [number])
        match verdict.fate:
            case "error":
                raise Refused(500, "internal_error", "an injected fault: the server had an error, try again")
            case "hang":
                await asyncio.get_running_loop().create_future()  # until the client leaves or the server stops
            case "disconnect":
                _abort(request)
            case "answer":
                text, finish_reason = completion.content(question, self._answerer.answer(question)), "stop"
        self._written[number] = completion.tokens(text)
        body = completion.body(question, text, number=number, at_s=self._clock.now(), finish_reason=finish_reason)
        return web.Response(body=body, content_type=JSON)

    async def _list_models(self, _: web.BaseRequest) -> web.Response:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "actlabel-standin"} for name in self._models]
        return _json({"object": "list", "data": data})

    async def _healthy(self, _: web.BaseRequest) -> web.Response:
        return web.Response(text="ok")

    async def _control(self, request: web.BaseRequest) -> web.Response:
        from_this_machine(request)
        if request.method == "POST":
            await self._change(request)
        return _json(self.faults.model_dump(mode="json"))

    async def _change(self, request: web.BaseRequest) -> None:
        """Change the named fields and keep the others. Limits that move begin anew with their first."""
        self._limits = Limits(self._clock.monotonic())
        self.faults, refuse_s = read_change(await request.read(), self.faults)
        if refuse_s:
            await self.refuse(keep=request.transport)
            task = asyncio.create_task(self._accept_after(refuse_s))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def _accept_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        await self.accept()

    async def _control_log(self, request: web.BaseRequest) -> web.Response:
        from_this_machine(request)
        if request.method == "DELETE":
            self.log.clear()
        return _json(self.log.snapshot())


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=_LARGEST_BODY)


async def _unknown(request: web.BaseRequest) -> web.StreamResponse:
    raise Refused(404, "unknown_url", f"{request.method} {request.path} is not served here")


def _caller(request: web.BaseRequest) -> str:
    """Tell callers with different keys apart without keeping a key."""
    key = request.headers.get("Authorization", "")
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest() if key else ""


def _abort(request: web.BaseRequest) -> None:
    if isinstance(request.transport, asyncio.WriteTransport):
        request.transport.abort()
    raise ConnectionResetError


def _too_many(faults: Faults) -> web.Response:
    response = _error(Refused(429, "rate_limit_exceeded", "too many requests; wait as Retry-After says"))
    response.headers["Retry-After"] = f"{faults.retry_after_s:g}"
    return response


def _error(refused: Refused) -> web.Response:
    return web.Response(body=completion.error_body(refused), status=refused.status, content_type=JSON)


def _json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type=JSON)
