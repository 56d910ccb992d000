"""What this process knows about the endpoints of its models, and what the requests of one campaign share."""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from actlabel.chat import wire
from actlabel.chat.adaptive import AdaptiveBound
from actlabel.chat.breaker import Breaker
from actlabel.chat.http_client import Target
from actlabel.chat.lease import Lease
from actlabel.chat.meters import EndpointMeters, Meters
from actlabel.chat.port import ChatRequest
from actlabel.runtime import campaign_file
from actlabel.runtime.log import get_log

_FORESIGHT_S: Final = 5.0
_OF_LATE_S: Final = 120.0
_LEARNS: Final = 0.05
_log = get_log(__name__)


@dataclass(slots=True, eq=False)
class Address:
    """One URL: all models behind it keep its pauses."""

    quiet_until_s: float = 0.0  # it asked to be left alone until then; 0: it did not


@dataclass(slots=True, eq=False, kw_only=True)
class Endpoint:
    """One model at one address with one key."""

    place: campaign_file.Endpoint
    address: Address
    bound: AdaptiveBound
    breaker: Breaker
    meters: EndpointMeters
    target: Target
    dialect: wire.Dialect = field(default_factory=wire.Dialect)
    in_flight: int = 0
    ceiling: int = 0  # sum of what the campaigns allow
    refused: str | None = None  # why it serves us no more; others of the same model may
    _head: tuple[str | None, bytes] | None = None  # of the last key

    def head(self, headers: Mapping[str, str], key: str | None) -> bytes:
        """Write the head of a request with this key; it is the same until the key changes."""
        if self._head is None or self._head[0] != key:
            authorized = headers if key is None else {**headers, "Authorization": f"Bearer {key}"}
            self._head = key, self.target.head(authorized)
        return self._head[1]

    def is_well(self) -> bool:
        """Say whether nothing is known against asking it, its bound apart."""
        return not self.address.quiet_until_s and self.breaker.state == "closed"

    def lets(self, now_s: float) -> bool:
        """Say whether it may be asked now, its bound apart."""
        if self.address.quiet_until_s and now_s >= self.address.quiet_until_s:
            self.address.quiet_until_s = 0.0
        return not self.address.quiet_until_s and self.breaker.lets(now_s)

    def answered(self) -> None:
        """It is there."""
        if self.breaker.state != "closed":
            self.refused = None
            _log.info("a model endpoint is asked again", endpoint=self.place.url)
        self.breaker.answered()

    def load(self, weight: float) -> float:
        """How much it has to do for its weight and health."""
        return (self.in_flight + 1) / (weight * max(self.breaker.health, 1e-3))


@dataclass(slots=True, eq=False, kw_only=True)
class Route:
    """A way for the requests of a campaign."""

    endpoint: Endpoint
    weight: float
    lease: Lease | None  # of the shared quota, where there is one


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits for its turn."""

    tokens: float
    avoid: Route | None
    turn: "asyncio.Future[Place]"

    def has_place(self) -> bool:
        """Say whether its turn has come, though it may not know yet."""
        return self.turn.done() and not self.turn.cancelled() and self.turn.exception() is None

    def expire(self) -> None:
        """Wait no longer, unless its turn has come."""
        if not self.turn.done():
            self.turn.set_exception(TimeoutError())


@dataclass(slots=True, eq=False)
class Lane:
    """What the requests of one campaign to one model share."""

    model: campaign_file.Model
    routes: tuple[Route, ...]
    meters: Meters
    in_flight: int = 0
    waiting: deque[Waiter] = field(default_factory=deque)
    tokens_per_guess: float = 1.0  # learned: what calls take, as a multiple of what was guessed

    def guess(self, request: ChatRequest) -> float:
        """Estimate the tokens of a call before it is made."""
        if self.model.tokens_per_minute is None:
            return 0.0
        return self.tokens_per_guess * _tokens(request)

    def learn(self, request: ChatRequest, used: int) -> None:
        """Take note of what a call took."""
        self.tokens_per_guess += _LEARNS * (used / _tokens(request) - self.tokens_per_guess)

    def leases(self) -> Iterable[Lease]:
        """Go through the quotas that hold for its requests."""
        return (route.lease for route in self.routes if route.lease is not None)

    def moments(self) -> Iterable[float]:
        """Go through the moments at which an endpoint may be asked again."""
        for route in self.routes:
            yield route.endpoint.address.quiet_until_s
            if route.endpoint.breaker.state == "open":
                yield route.endpoint.breaker.until_s

    def names(self) -> str:
        """List the addresses."""
        return ", ".join(route.endpoint.place.url for route in self.routes)

    def out_of_reach(self) -> str:
        """Say which addresses are, and why."""
        out = [route.endpoint for route in self.routes if route.endpoint.breaker.state != "closed"]
        reasons = ((endpoint.place.url, endpoint.breaker.why) for endpoint in out)
        return "out of reach: " + "; ".join(why if why.startswith(url) else f"{url}: {why}" for url, why in reasons)

    def forget_refusals(self) -> None:
        """Let all be asked again: a person has been told."""
        for route in self.routes:
            if route.endpoint.refused:
                route.endpoint.refused = None
                route.endpoint.breaker.answered()

    def lost(self, now_s: float) -> bool:
        """Say whether every endpoint is out of reach, by what was seen of late."""
        breakers = [route.endpoint.breaker for route in self.routes]
        return all(breaker.state != "closed" for breaker in breakers) and now_s < max(b.until_s for b in breakers) + _OF_LATE_S

    def places(self) -> int:
        """How many handlers may work for this campaign: those on the wire, those about to be or just back, and none that only waits.

        Looking up and storing take a handler some hundredths of a second: without a few more than there are calls, so much of
        every call's place stays empty (tests/bench/engine.py wait).
        """
        routes = [route for route in self.routes if route.endpoint.breaker.state == "closed"]
        most = self.model.calls_in_flight + self.model.calls_in_flight // 4
        if not routes:
            return min(most, 2)  # enough to find out when one is back
        if self.model.adaptive:
            most = min(most, 2 * sum(route.endpoint.bound.bound for route in routes) + 2)
        if routes[0].lease is not None:
            tokens = self.tokens_per_guess * self.model.max_output_tokens
            soon = sum(lease.calls_within(_FORESIGHT_S, tokens=tokens) for lease in self.leases())
            most = min(most, self.in_flight + int(soon) + 1)
        return most


@dataclass(slots=True, eq=False)
class Place:
    """A request's place on the wire."""

    lane: Lane
    route: Route
    probe: bool  # it asks for all whether the endpoint is back


def _tokens(request: ChatRequest) -> float:
    return wire.guessed_input_tokens(request) + request.model.max_output_tokens
