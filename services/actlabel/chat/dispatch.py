"""Whose turn it is: gives each request an endpoint, now or when there is room, lanes in turn.

Room is: a place among the requests of this process, one of the campaign (``calls_in_flight``), and an endpoint that is not out of
reach, not in a pause that it asked for, below its bound, and within its quota; of several the one with the least to do for its weight
and health. A place is held on the wire only, not while a request waits for its next attempt; one that failed comes before the others.
"""

import asyncio
import random
from contextlib import suppress
from functools import cached_property
from typing import Final, NoReturn

from actlabel.chat.adaptive import Outcome
from actlabel.chat.alarm import Alarm
from actlabel.chat.endpoints import Endpoint, Lane, Place, Route, Waiter
from actlabel.chat.port import EndpointRefused
from actlabel.core.errors import ActlabelError, EndpointUnavailable, RetryLater
from actlabel.runtime.clock import Clock
from actlabel.runtime.log import get_log

_LEAST_PATIENCE_S: Final = 30.0
_FIXED_WORK: Final = 32.0  # what reading a question and going there and back costs, in tokens written
_log = get_log(__name__)


class Throttled(RetryLater):
    """The limits that this model is asked within leave no room for now; our own doing, so no deadline runs."""


class Dispatcher:
    """One per client."""

    def __init__(self, *, clock: Clock, chance: random.Random, most: int) -> None:
        """``most``: requests on the wire at any moment, over all lanes."""
        self._clock = clock
        self._chance = chance
        self._most = most
        self._queued: dict[Lane, None] = {}  # lanes in which requests wait, in turn
        self._alarm = Alarm(clock, self._ring)
        self.in_flight = 0

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def now_or_never(self, lane: Lane, tokens: float, avoid: Route | None) -> Place | None:
        """Take a place if there is one and nobody waits for it; whoever got it gives it back with ``ended``."""
        if lane.waiting and avoid is None:
            return None
        route = self._free(lane, tokens, avoid)
        return None if route is None else self._occupy(lane, route)

    async def turn(self, lane: Lane, tokens: float, avoid: Route | None) -> Place:
        """Wait for a place. ``avoid``: where this request failed before; it goes there only if there is no other way.

        Raises ``EndpointUnavailable`` when every endpoint is out of reach or asked for a long pause, ``EndpointRefused`` when all refuse,
        ``Throttled`` when there was no room for long: whoever holds something meanwhile shall let it go.
        """
        self._raise_if_dead(lane)
        waiter = Waiter(tokens, avoid, self._loop.create_future())
        self._queue(lane, waiter)
        began_s = self._clock.monotonic()
        cause = self._cause(lane, began_s)
        alarm = self._loop.call_later(max(_LEAST_PATIENCE_S, lane.model.timeout_s), waiter.expire)
        try:
            return await waiter.turn
        except TimeoutError:
            self._give_up(lane, cause)
        except asyncio.CancelledError:
            if waiter.has_place():
                self.ended(waiter.turn.result(), "other", sent_s=began_s)
            raise
        finally:
            alarm.cancel()
            self._leave(lane, waiter)
            lane.meters.waited(cause, self._clock.monotonic() - began_s)

    def _queue(self, lane: Lane, waiter: Waiter) -> None:
        if waiter.avoid is None:
            lane.waiting.append(waiter)
        else:
            lane.waiting.appendleft(waiter)
        self._queued[lane] = None
        for lease in lane.leases():
            lease.waits(waiter.tokens, calls=1)
        if not all(route.endpoint.is_well() for route in lane.routes):
            self._set_alarm(self._clock.monotonic())
        if len(lane.waiting) == 1:
            self.serve()  # what ended since the caller looked sets no alarm

    def _leave(self, lane: Lane, waiter: Waiter) -> None:
        """Stop waiting, however it ended."""
        for lease in lane.leases():
            lease.waits(waiter.tokens, calls=-1)
        if not waiter.turn.done() or waiter.turn.cancelled():
            with suppress(ValueError):
                lane.waiting.remove(waiter)
            if not lane.waiting:
                self._queued.pop(lane, None)

    def _give_up(self, lane: Lane, cause: str) -> NoReturn:
        if cause == "pause":
            raise EndpointUnavailable(f"{lane.names()}: asks to be left alone for longer than a request may wait")
        why = {"quota": "requests_per_minute or tokens_per_minute is used up", "bound": "all places among its requests are taken"}[cause]
        raise Throttled(f"{lane.model.model} at {lane.names()}: {why}")

    def _free(self, lane: Lane, tokens: float, avoid: Route | None) -> Route | None:
        """Find the route with the least to do."""
        if self.in_flight >= self._most or lane.in_flight >= lane.model.calls_in_flight:
            return None
        if len(lane.routes) == 1:
            route = lane.routes[0]
            return route if self._has_room(lane, route.endpoint) and (route.lease is None or route.lease.take(tokens)) else None
        usable = [route for route in lane.routes if self._has_room(lane, route.endpoint)]
        usable.sort(key=lambda route: (route is avoid, route.endpoint.load(route.weight)))
        return next((route for route in usable if route.lease is None or route.lease.take(tokens)), None)

    def _has_room(self, lane: Lane, endpoint: Endpoint) -> bool:
        if lane.model.adaptive and endpoint.in_flight >= endpoint.bound.bound:
            return False
        return endpoint.is_well() or endpoint.lets(self._clock.monotonic())

    def _occupy(self, lane: Lane, route: Route) -> Place:
        self.in_flight += 1
        lane.in_flight += 1
        route.endpoint.in_flight += 1
        return Place(lane, route, route.endpoint.breaker.sent())

    def ended(
        self,
        place: Place,
        outcome: Outcome,
        *,
        sent_s: float,
        output_tokens: int = 0,
        pause_s: float = 0.0,
        alive: bool = False,
        broken: str | None = None,
    ) -> None:
        """Give a place back, and say how the request ended.

        ``alive``: the endpoint is there, though it did not answer; ``broken``: why it seems not to be; neither: nobody knows.
        """
        lane, endpoint, now_s = place.lane, place.route.endpoint, self._clock.monotonic()
        self.in_flight -= 1
        lane.in_flight -= 1
        endpoint.in_flight -= 1
        if lane.model.adaptive:
            work, before = _FIXED_WORK + output_tokens, endpoint.bound.bound
            endpoint.bound.ended(outcome, now_s=now_s, sent_s=sent_s, in_flight=endpoint.in_flight, work=work, pause_s=pause_s)
            if endpoint.bound.bound < before and self._queued:
                self._shed()
        if broken is not None:
            self._broken(endpoint, now_s, broken, probe=place.probe)
        elif alive or outcome == "answered":
            endpoint.answered()
        elif place.probe:
            endpoint.breaker.abandoned()
        endpoint.meters.show(endpoint.bound.bound, endpoint.breaker.state)
        if pause_s:
            self.pause(endpoint, pause_s)
        if self._queued:
            self.serve()

    def _broken(self, endpoint: Endpoint, now_s: float, why: str, *, probe: bool) -> None:
        was_closed = endpoint.breaker.state == "closed"
        endpoint.breaker.failed(now_s, why, probe=probe)
        if was_closed and endpoint.breaker.state == "open":
            _log.warning("a model endpoint is out of reach", endpoint=endpoint.place.url, reason=why)
        self._set_alarm(now_s)

    def pause(self, endpoint: Endpoint, pause_s: float) -> None:
        """Leave an address alone, as it asked; processes that wait together are spread."""
        now_s = self._clock.monotonic()
        until_s = now_s + pause_s + self._chance.uniform(0.0, min(pause_s / 4, 1.0))
        endpoint.address.quiet_until_s = max(endpoint.address.quiet_until_s, until_s)
        self._set_alarm(now_s)

    def refuse(self, lane: Lane, route: Route, refusal: EndpointRefused) -> None:
        """Take an endpoint out that refuses us.

        Raises the refusal when none is left that may serve. Then a person mends something, and all are asked again.
        """
        endpoint = route.endpoint
        if all(other is route or other.endpoint.refused for other in lane.routes):
            lane.forget_refusals()
            raise refusal
        endpoint.refused = str(refusal)
        endpoint.breaker.refused(self._clock.monotonic(), str(refusal))
        _log.warning("one of several endpoints refuses us and is left out", endpoint=endpoint.place.url, reason=str(refusal))
        self.serve()

    def elsewhere(self, lane: Lane, route: Route) -> bool:
        """Say whether another endpoint could take a request that this one failed."""
        now_s = self._clock.monotonic()
        return any(other is not route and other.endpoint.lets(now_s) for other in lane.routes)

    def serve(self) -> None:
        """Give turns, one to a lane, until nobody can be served."""
        idle = 0
        while self._queued and idle < len(self._queued):
            lane = next(iter(self._queued))
            del self._queued[lane]
            idle = 0 if self._serve_one(lane) else idle + 1
            if lane.waiting:
                self._queued[lane] = None

    def _shed(self) -> None:
        """Send those back whose turn would be long in coming since a bound fell: their items shall not run out of time here."""
        for lane in self._queued:
            surplus = lane.in_flight + len(lane.waiting) - lane.places()
            while surplus > 0 and lane.waiting:
                waiter = lane.waiting.pop()
                surplus -= 1
                if not waiter.turn.done():
                    waiter.turn.set_exception(Throttled(f"{lane.names()}: fewer requests at once are borne than before"))

    def _serve_one(self, lane: Lane) -> bool:
        while lane.waiting and lane.waiting[0].turn.done():
            lane.waiting.popleft()
        if not lane.waiting:
            return False
        waiter = lane.waiting[0]
        route = self._free(lane, waiter.tokens, waiter.avoid)
        if route is None:
            return self._fail_if_dead(lane)
        lane.waiting.popleft()
        waiter.turn.set_result(self._occupy(lane, route))
        return True

    def _fail_if_dead(self, lane: Lane) -> bool:
        try:
            self._raise_if_dead(lane)
        except ActlabelError as error:
            while lane.waiting:
                waiter = lane.waiting.popleft()
                if not waiter.turn.done():
                    waiter.turn.set_exception(error)
        return False

    def _raise_if_dead(self, lane: Lane) -> None:
        """Raise rather than wait where every endpoint is out of reach."""
        now_s = self._clock.monotonic()
        if any(route.endpoint.breaker.lets(now_s) for route in lane.routes):
            return
        why = lane.out_of_reach()
        if all(route.endpoint.refused for route in lane.routes):
            lane.forget_refusals()
            raise EndpointRefused(why)
        raise EndpointUnavailable(why)

    def _cause(self, lane: Lane, now_s: float) -> str:
        if not any(route.endpoint.lets(now_s) for route in lane.routes):
            return "pause"
        full = lane.in_flight >= lane.model.calls_in_flight or self.in_flight >= self._most
        roomy = not full and any(self._has_room(lane, route.endpoint) for route in lane.routes)
        return "quota" if roomy and any(lane.leases()) else "bound"

    def _set_alarm(self, now_s: float) -> None:
        """Come back when a pause ends or a breaker lets a probe through."""
        moments = (moment for lane in self._queued for moment in lane.moments() if moment > now_s)
        self._alarm.set(min(moments, default=float("inf")), now_s=now_s)

    def _ring(self) -> None:
        # read before it serves: a moment that passes meanwhile was too early for that look, and is set again
        now_s = self._clock.monotonic()
        self.serve()
        self._set_alarm(now_s)

    def close(self) -> None:
        """Ring no more."""
        self._alarm.close()
