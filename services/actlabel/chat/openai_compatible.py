"""The client of OpenAI-compatible chat completions. Its retries are the only ones."""

import asyncio
import random
import ssl
from importlib.metadata import version
from types import TracebackType
from typing import Self

from actlabel.chat import wire
from actlabel.chat.http_client import HttpClient, Target
from actlabel.chat.http_connection import BrokenExchange, Reply, TooLarge, decoded
from actlabel.chat.keys import Keys
from actlabel.chat.meters import Meters
from actlabel.chat.port import ChatAnswer, ChatRequest, EndpointRefused
from actlabel.chat.retry import RETRIED_STATUSES, TryAgain, backoff_s, retry_after_s
from actlabel.core.errors import ActlabelError, DeadLetter, EndpointUnavailable
from actlabel.runtime.clock import Clock
from actlabel.runtime.log import get_log

_LARGEST_BODY_BYTES = 4 * 2**20
_CONNECT_TIMEOUT_S = 15.0
_KEEP_CONNECTION_S = 60.0
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"actlabel/{version('actlabel')}",
}
_MENDABLE = frozenset({401, 402, 403, 404, 405, 410})
_OUT_OF_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_log = get_log(__name__)


class _Lane:
    """What the requests of one campaign to one model share."""

    def __init__(self, request: ChatRequest) -> None:
        model = request.model
        try:
            self.target = Target(model.endpoint.rstrip("/") + "/chat/completions")
        except ValueError as error:
            raise EndpointRefused(f"{model.endpoint}: {error}; mend endpoint in the campaign file") from error
        self.places = asyncio.Semaphore(model.calls_in_flight)
        self.meters = Meters(request.stage, model.model)
        self.dialect = wire.Dialect()
        self._head: tuple[str | None, bytes] = (None, self.target.head(_HEADERS))

    def head(self, key: str | None) -> bytes:
        """Write the head of a request with this key; it is the same until the key changes."""
        if self._head[0] != key:
            self._head = (key, self.target.head({**_HEADERS, "Authorization": f"Bearer {key}"}))
        return self._head[1]


class OpenAiCompatibleClient:
    """See ``port.ChatClient``. Open it with ``async with``; one per process and stage."""

    def __init__(self, *, clock: Clock, calls_in_flight: int, chance: random.Random | None = None) -> None:
        """``calls_in_flight``: requests on the wire at any moment, over all campaigns; each campaign has its own bound too."""
        self._clock = clock
        self._keys = Keys(clock)
        self._chance = chance or random.Random()  # noqa: S311 - jitter is no secret
        self._on_the_wire = asyncio.Semaphore(calls_in_flight)
        self._lanes: dict[tuple[str, str, str, str, int, float], _Lane] = {}
        self._quiet_until: dict[str, float] = {}  # endpoint → moment before which it asked to be left alone
        self._http: HttpClient | None = None

    async def __aenter__(self) -> Self:
        """Open the pool of connections; nothing connects yet."""
        self._http = HttpClient(keep_s=_KEEP_CONNECTION_S, largest_body_bytes=_LARGEST_BODY_BYTES)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close every connection."""
        assert self._http is not None
        self._http.close()

    async def complete(self, request: ChatRequest) -> ChatAnswer:
        """See ``port.ChatClient``."""
        lane = self._lane(request)
        async with lane.places:
            for attempt in range(request.model.retries + 1):
                await self._quiet(request.model.endpoint)
                try:
                    return await self._attempt(request, lane)
                except TryAgain as failure:
                    await self._failed(request, failure, attempt)
        raise AssertionError("the last attempt raises")

    def _lane(self, request: ChatRequest) -> _Lane:
        model = request.model
        key = (request.uid, request.stage, model.endpoint, model.model, model.calls_in_flight, model.timeout_s)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(request)
        return lane

    async def _quiet(self, endpoint: str) -> None:
        """Wait for the end of the pause that the endpoint asked for, on whichever request; spread those who waited."""
        while (rest := self._quiet_until.get(endpoint, 0.0) - self._clock.monotonic()) > 0:
            await self._clock.sleep(rest + self._chance.uniform(0.0, min(rest, 1.0)))

    async def _failed(self, request: ChatRequest, failure: TryAgain, attempt: int) -> None:
        """Wait before the next attempt, or raise when that was the last."""
        endpoint = request.model.endpoint
        if failure.retry_after_s:
            until = self._clock.monotonic() + failure.retry_after_s
            self._quiet_until[endpoint] = max(until, self._quiet_until.get(endpoint, 0.0))
        if attempt >= request.model.retries:
            if failure.status == "html":
                raise EndpointRefused(f"{endpoint}: {failure}; is it the base URL of an OpenAI-compatible API?") from failure
            raise EndpointUnavailable(f"{endpoint}: {failure} ({attempt + 1} attempts)") from failure
        _log.debug("a model endpoint failed and is asked again", stage=request.stage, campaign=request.uid, status=failure.status)
        if not failure.retry_after_s:
            await self._clock.sleep(backoff_s(attempt, chance=self._chance))

    async def _attempt(self, request: ChatRequest, lane: _Lane) -> ChatAnswer:
        head = lane.head(self._keys.key(request.model))
        async with self._on_the_wire:
            start = self._clock.monotonic()
            try:
                answer = await self._post(request, lane, head)
            except (ActlabelError, BrokenExchange, OSError) as error:
                problem = _translated(error, request)
                lane.meters.failed(problem.status if isinstance(problem, TryAgain) else "refused")
                raise problem from error
            lane.meters.answered(answer, self._clock.monotonic() - start)
        return answer

    async def _post(self, request: ChatRequest, lane: _Lane, head: bytes) -> ChatAnswer:
        assert self._http is not None, "open the client first"
        spoken = lane.dialect
        body = wire.encode(request, spoken)
        timeout_s = request.model.timeout_s
        reply = await self._http.post(lane.target, head, body, timeout_s=timeout_s, connect_timeout_s=_CONNECT_TIMEOUT_S)
        content = decoded(reply, largest_body_bytes=_LARGEST_BODY_BYTES)
        if reply.status == 200 and not _is_web_page(reply):
            return wire.decode(content, request)
        if reply.status == 400 and (asked_for := wire.other_dialect(spoken, content)) is not None:
            lane.dialect = asked_for
            raise TryAgain("another dialect is spoken here", status="dialect")
        if reply.status != 200:
            raise self._problem(request, reply, content)
        raise TryAgain("answers with a web page", status="html")

    def _problem(self, request: ChatRequest, reply: Reply, content: bytes) -> ActlabelError:
        """Turn a status into what to do next."""
        status, endpoint = reply.status, request.model.endpoint
        said = self._without_key(wire.error_message(content), request)
        if 300 <= status < 400:
            return EndpointRefused(f"{endpoint}: redirects (status {status}); write the final address into endpoint in the campaign file")
        if status in _MENDABLE or (status == 429 and wire.error_field(content, "code") in _OUT_OF_MONEY):
            self._keys.forget(request.model)
            return EndpointRefused(f"{endpoint}: status {status}: {said}")
        if status in RETRIED_STATUSES:
            pause = retry_after_s(reply.header("retry-after"), now=self._clock.now())
            return TryAgain(f"status {status}: {said}", status=str(status), retry_after_s=pause)
        if 400 <= status < 500:
            return DeadLetter("request-refused", f"{endpoint}: status {status}: {said}")
        return TryAgain(f"status {status} is no answer", status=str(status))

    def _without_key(self, text: str, request: ChatRequest) -> str:
        key = self._keys.key(request.model)
        return text if key is None else text.replace(key, "…")


def _translated(error: Exception, request: ChatRequest) -> ActlabelError:
    """Turn what the HTTP client raises into what to do next."""
    match error:
        case ActlabelError():
            return error
        case ssl.SSLCertVerificationError():
            return EndpointRefused(f"{request.model.endpoint}: its certificate cannot be trusted ({error.verify_message})")
        case TimeoutError():
            return TryAgain(f"no answer within {request.model.timeout_s:g} s", status="timeout")
        case TooLarge():
            return TryAgain(str(error), status="too-large")
        case BrokenExchange():
            return TryAgain(str(error), status="broken")
    return TryAgain(f"the connection broke ({type(error).__name__})", status="broken")


def _is_web_page(reply: Reply) -> bool:
    return (reply.header("content-type") or "").partition(";")[0].strip().lower() in {"text/html", "application/xhtml+xml"}
