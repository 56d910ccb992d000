"""The client of OpenAI-compatible chat completions. Its retries are the only ones."""

import random
import ssl
from importlib.metadata import version
from types import TracebackType
from typing import Final, Self

from actlabel.chat import wire
from actlabel.chat.adaptive import Outcome
from actlabel.chat.directory import Directory
from actlabel.chat.dispatch import Dispatcher
from actlabel.chat.endpoints import Endpoint, Place, Route
from actlabel.chat.http_client import HttpClient
from actlabel.chat.http_connection import BrokenExchange, Reply, TooLarge, decoded
from actlabel.chat.keys import Keys
from actlabel.chat.port import ChatAnswer, ChatRequest, EndpointRefused
from actlabel.chat.quota import Ledger, MemoryLedger
from actlabel.chat.retry import RETRIED_STATUSES, TryAgain, backoff_s, nothing_left_s, retry_after_s
from actlabel.core.errors import ActlabelError, DeadLetter, EndpointUnavailable, UserError
from actlabel.runtime.campaign_file import Model
from actlabel.runtime.clock import Clock
from actlabel.runtime.log import get_log

_LARGEST_BODY_BYTES = 4 * 2**20
_CONNECT_TIMEOUT_S = 15.0
_KEEP_CONNECTION_S = 60.0
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
}
_MENDABLE = frozenset({401, 402, 403, 404, 405, 410})
_OUT_OF_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_OUTCOMES: Final[dict[str, Outcome]] = {
    **dict.fromkeys(("429", "503", "529"), "refused"),
    **dict.fromkeys(("timeout", "408", "504"), "timed-out"),
}
_ALIVE: Final = frozenset({"429", "dialect"})  # nothing is wrong with an endpoint that says so
_log = get_log(__name__)


class OpenAiCompatibleClient:
    """See ``port.ChatClient``. Open it with ``async with``; one per process and stage."""

    def __init__(self, *, clock: Clock, calls_in_flight: int, chance: random.Random | None = None, ledger: Ledger | None = None) -> None:
        """``calls_in_flight``: requests on the wire at any moment, over all campaigns; each campaign has its own bound too.

        ``ledger``: where quotas per minute are shared with other processes; None: with nobody.
        """
        self._clock = clock
        self._keys = Keys(clock)
        self._chance = chance or random.Random()  # noqa: S311 - jitter is no secret
        self._dispatcher = Dispatcher(clock=clock, chance=self._chance, most=calls_in_flight)
        self._directory = Directory(
            clock=clock,
            chance=self._chance,
            ledger=ledger or MemoryLedger(clock),
            most=calls_in_flight,
            refilled=self._dispatcher.serve,
        )
        self._headers = {**_HEADERS, "User-Agent": f"actlabel/{version('actlabel')}"}
        self._http: HttpClient | None = None

    async def __aenter__(self) -> Self:
        """Open the pool of connections; nothing connects yet."""
        self._http = HttpClient(keep_s=_KEEP_CONNECTION_S, largest_body_bytes=_LARGEST_BODY_BYTES)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close every connection."""
        assert self._http is not None
        self._dispatcher.close()
        await self._directory.close()
        self._http.close()

    async def complete(self, request: ChatRequest) -> ChatAnswer:
        """See ``port.ChatClient``."""
        lane = self._directory.lane(request.uid, request.stage, request.model)
        tokens = lane.guess(request)
        avoid: Route | None = None
        attempt = 0
        while True:
            place = self._dispatcher.now_or_never(lane, tokens, avoid) or await self._dispatcher.turn(lane, tokens, avoid)
            try:
                return await self._attempt(request, place, tokens)
            except EndpointRefused as refusal:
                self._dispatcher.refuse(lane, place.route, refusal)
            except TryAgain as failure:
                await self._failed(request, place, failure, attempt)
                attempt += 1
            avoid = place.route

    def places(self, uid: str, stage: str, model: Model) -> int:
        """See ``port.ChatClient``."""
        return self._directory.lane(uid, stage, model).places()

    def readiness(self) -> str | None:
        """Say which models are out of reach; None when every one can be asked."""
        lanes, now_s = self._directory.lanes, self._clock.monotonic()
        lost = {lane.model.model: lane.out_of_reach() for lane in lanes if lane.lost(now_s)}
        if any(lane.in_flight for lane in lanes if lane.model.model not in lost):
            return None  # it works for others
        return "; ".join(f"{model}: {why}" for model, why in lost.items()) or None

    async def _failed(self, request: ChatRequest, place: Place, failure: TryAgain, attempt: int) -> None:
        """Wait before the next attempt, or raise when that was the last."""
        url = place.route.endpoint.place.url
        if attempt >= request.model.retries:
            if failure.status == "html":
                refusal = EndpointRefused(f"{url}: {failure}; is it the base URL of an OpenAI-compatible API?")
                self._dispatcher.refuse(place.lane, place.route, refusal)
            raise EndpointUnavailable(f"{url}: {failure} ({attempt + 1} attempts)") from failure
        _log.debug("a model endpoint failed and is asked again", stage=request.stage, campaign=request.uid, status=failure.status)
        if not failure.retry_after_s and not self._dispatcher.elsewhere(place.lane, place.route):
            await self._clock.sleep(backoff_s(attempt, chance=self._chance))

    async def _attempt(self, request: ChatRequest, place: Place, tokens: float) -> ChatAnswer:
        """Ask once, and give the place back."""
        lane = place.lane
        sent_s = self._clock.monotonic()
        try:
            answer = await self._post(request, place)
        except (ActlabelError, BrokenExchange, OSError) as error:
            problem = _translated(error, request, place)
            self._account(place, problem, sent_s, tokens)
            raise problem from error
        except BaseException:
            self._dispatcher.ended(place, "other", sent_s=sent_s)
            raise
        lane.meters.answered(answer, self._clock.monotonic() - sent_s)
        if place.route.lease is not None:
            self._settle(request, place, tokens, answer)
        self._dispatcher.ended(place, "answered", sent_s=sent_s, output_tokens=answer.usage.output_tokens)
        return answer

    def _account(self, place: Place, problem: ActlabelError, sent_s: float, tokens: float) -> None:
        """Say what a failure means for the endpoint's bound and breaker."""
        if not isinstance(problem, TryAgain):
            place.lane.meters.failed("refused")
            return self._dispatcher.ended(place, "other", sent_s=sent_s, alive=not isinstance(problem, UserError))
        place.lane.meters.failed(problem.status)
        pause_s = problem.retry_after_s or 0.0
        outcome = _OUTCOMES.get(problem.status, "other")
        if outcome == "refused" and place.route.lease is not None:
            place.route.lease.correct(estimated=tokens, used=0.0)
        broken = None if problem.status in _ALIVE or pause_s else str(problem)
        return self._dispatcher.ended(place, outcome, sent_s=sent_s, pause_s=pause_s, alive=broken is None, broken=broken)

    def _settle(self, request: ChatRequest, place: Place, tokens: float, answer: ChatAnswer) -> None:
        assert place.route.lease is not None
        used = answer.usage.input_tokens + answer.usage.output_tokens
        place.route.lease.correct(estimated=tokens, used=used)
        place.lane.learn(request, used)

    async def _post(self, request: ChatRequest, place: Place) -> ChatAnswer:
        assert self._http is not None, "open the client first"
        endpoint = place.route.endpoint
        spoken = endpoint.dialect
        head = endpoint.head(self._headers, self._keys.key(endpoint.place))
        timeout_s = request.model.timeout_s
        reply = await self._http.post(
            endpoint.target, head, wire.encode(request, spoken), timeout_s=timeout_s, connect_timeout_s=_CONNECT_TIMEOUT_S
        )
        content = decoded(reply, largest_body_bytes=_LARGEST_BODY_BYTES)
        if reply.status == 400 and (asked_for := wire.other_dialect(spoken, content)) is not None:
            endpoint.dialect = asked_for
            raise TryAgain("another dialect is spoken here", status="dialect")
        if reply.status != 200:
            raise self._problem(endpoint, reply, content)
        if pause_s := nothing_left_s(reply):
            self._dispatcher.pause(endpoint, pause_s)
        if _is_web_page(reply):
            raise TryAgain("answers with a web page", status="html")
        return wire.decode(content, request)

    def _problem(self, endpoint: Endpoint, reply: Reply, content: bytes) -> ActlabelError:
        """Turn a status into what to do next."""
        status, url = reply.status, endpoint.place.url
        said = self._without_key(wire.error_message(content), endpoint)
        if 300 <= status < 400:
            return EndpointRefused(f"{url}: redirects (status {status}); write the final address into endpoint in the campaign file")
        if status in _MENDABLE or (status == 429 and wire.error_field(content, "code") in _OUT_OF_MONEY):
            self._keys.forget(endpoint.place)
            return EndpointRefused(f"{url}: status {status}: {said}")
        if status in RETRIED_STATUSES:
            pause = retry_after_s(reply.header("retry-after"), now=self._clock.now())
            return TryAgain(f"status {status}: {said}", status=str(status), retry_after_s=pause)
        if 400 <= status < 500:
            return DeadLetter("request-refused", f"{url}: status {status}: {said}")
        return TryAgain(f"status {status} is no answer", status=str(status))

    def _without_key(self, text: str, endpoint: Endpoint) -> str:
        key = self._keys.key(endpoint.place)
        return text if key is None else text.replace(key, "…")


def _translated(error: Exception, request: ChatRequest, place: Place) -> ActlabelError:
    """Turn what the HTTP client raises into what to do next."""
    url = place.route.endpoint.place.url
    match error:
        case ActlabelError():
            return error
        case ssl.SSLCertVerificationError():
            return EndpointRefused(f"{url}: its certificate cannot be trusted ({error.verify_message})")
        case TimeoutError():
            return TryAgain(f"no answer within {request.model.timeout_s:g} s", status="timeout")
        case TooLarge():
            return TryAgain(str(error), status="too-large")
        case BrokenExchange():
            return TryAgain(str(error), status="broken")
    return TryAgain(f"the connection broke ({type(error).__name__})", status="broken")


def _is_web_page(reply: Reply) -> bool:
    return (reply.header("content-type") or "").partition(";")[0].strip().lower() in {"text/html", "application/xhtml+xml"}
