"""How many requests an endpoint bears at once, found out by asking. Pure: no clock, no input or output; it is told what happened.

Two signals move the bound, and they are kept apart:

* **Refusals** (429, 503, 529) and timeouts are orders. A first refusal takes a tenth, what is still refused of the same burst lowers
  the bound to what the endpoint holds; timeouts take half. Then the bound rests, the longer the dearer a refusal was (the
  pause it asked for) and the oftener the same bound was refused, and goes up again, by a quarter and then twice.
* **Latency** is compared between two bounds, never with a constant: a server that batches answers each request more slowly and all of them
  faster. Twice the requests at twice the latency is a queue, and a higher bound only makes it longer. So if a step up brought less than
  30 % of what it could have brought, the bound returns to where the queue began, and from there a step down is tried; where that lost
  nothing the bound stays lower. Latency counts per unit of work (tokens written), over as many requests as are in flight.

What the methods of Netflix's concurrency-limits (Gradient2, Vegas) and Envoy's gradient controller do, and why not here: see README.
"""

from dataclasses import dataclass
from math import log
from typing import Literal

Outcome = Literal["answered", "refused", "timed-out", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the bound moves."""

    start: int = 64  # the first bound, where the ceiling allows it
    samples: int = 16  # a round has so many answers at least, and as many as the bound
    rest_rounds: int = 3  # before a step up is tried; twice that before a step down, which costs answers
    rest_pauses: float = 16.0  # the same in pauses that the last refusal asked for, times the patience
    rest_most_s: float = 120.0
    most_patience: int = 2  # it doubles with every refusal at about the same bound
    elasticity: float = 0.7  # d log latency / d log requests above which a server only queues
    climb: tuple[float, ...] = (1.25, 2.0)  # the first step after a rest, the second …
    descend: float = 0.7
    unrest: float = 1.6  # latency that changes by this factor at the same bound ends a rest: the endpoint has changed
    binding: float = 0.85  # of the bound must be in flight for a round to say anything about it
    timeouts_share: float = 0.1  # of answers; fewer are the fault of single questions


@dataclass(slots=True)
class _Round:
    """Sums over the answers to requests that were sent under the present bound."""

    begun_s: float
    answers: int = 0
    latency: float = 0.0  # seconds per unit of work
    squares: float = 0.0
    most: int = 0  # requests in flight at once

    def point(self, bound: float) -> "_Point":
        """Sum up."""
        mean = self.latency / self.answers
        variance = max(self.squares / self.answers - mean * mean, 0.0)
        return _Point(bound, mean, variance / (mean * mean * self.answers))


@dataclass(frozen=True, slots=True)
class _Point:
    """What a round found."""

    bound: float
    latency: float  # the mean, seconds per unit of work
    doubt: float  # the squared relative error of that mean

    def queues(self, lower: "_Point", elasticity: float) -> bool | None:
        """Say whether what a lower bound lacks only waits here; None where the noise allows no answer.

        The elasticity of latency, d log latency / d log requests, is 0 where it is flat and 1 where there is only a longer queue.
        """
        beyond = log(self.latency / lower.latency) - elasticity * log(self.bound / lower.bound)
        return None if beyond * beyond < self.doubt + lower.doubt else beyond > 0


class AdaptiveBound:
    """The bound of one endpoint and model in one process."""

    def __init__(self, *, ceiling: int, now_s: float, policy: Policy = Policy()) -> None:
        """``ceiling``: it never rises above; it never falls below 1."""
        self._policy = policy
        self._ceiling = max(ceiling, 1)
        self._bound = float(min(policy.start, self._ceiling))
        self.bound = int(self._bound)
        self._round = _Round(now_s)
        self._from: _Point | None = None  # where the present climb or descent began
        self._heading: Literal["rest", "up", "down"] = "up"
        self._steps = len(policy.climb) - 1  # the beginning doubles
        self._next: Literal["up", "down"] = "up"
        self._rested = 0  # rounds
        self._level = 0.0  # their mean latency
        self._rest_until_s = now_s
        self._patience = 1
        self._fell_s = float("-inf")
        self._fell_from = 0.0
        self._answers = 0  # since the last fall
        self._timeouts = 0

    def raise_ceiling(self, ceiling: int, *, now_s: float) -> None:
        """Allow more, for one campaign more that uses the endpoint. What was found out stays."""
        if self._bound >= self._ceiling and ceiling > self._ceiling:
            self._set(min(max(self._bound, float(self._policy.start)), float(ceiling)), now_s)
            self._heading = "up"
        self._ceiling = max(self._ceiling, ceiling)

    def ended(self, outcome: Outcome, *, now_s: float, sent_s: float, in_flight: int, work: float = 1.0, pause_s: float = 0.0) -> None:
        """Take note of the end of a request.

        ``in_flight``: the others that are still on the wire. ``work``: what the latency is measured in, tokens written for example.
        ``pause_s``: for how long the endpoint wants to be left alone.
        """
        match outcome:
            case "answered":
                self._answers += 1
                self._answered(now_s, sent_s, in_flight + 1, work)
            case "refused":
                self._refused(now_s, sent_s, in_flight, pause_s)
            case "timed-out":
                self._timed_out(now_s, sent_s)

    def _answered(self, now_s: float, sent_s: float, in_flight: int, work: float) -> None:
        found = self._round
        if sent_s < found.begun_s:
            return  # it says something about an earlier bound
        found.answers += 1
        latency = max(now_s - sent_s, 1e-9) / work
        found.latency += latency
        found.squares += latency * latency
        found.most = max(found.most, in_flight)
        if found.answers >= self._policy.samples and found.answers >= self._bound:
            self._round = _Round(now_s)
            self._judge(found, now_s)

    def _judge(self, found: _Round, now_s: float) -> None:
        if found.most < self._policy.binding * self.bound:
            return  # nobody wanted more
        point = found.point(self._bound)
        match self._heading:
            case "up":
                self._climbed(point, now_s)
            case "down":
                self._descended(point, now_s)
            case _:
                self._rest_on(point, now_s)

    def _climbed(self, point: _Point, now_s: float) -> None:
        start = self._from
        if start is not None and point.bound >= start.bound * 1.25:
            queues = point.queues(start, self._policy.elasticity)
            if queues:  # where both were as fast as this one is, the queue began
                self._set(min(max(point.bound * start.latency / point.latency, start.bound), point.bound), now_s)
                return self._rest(now_s, "down")
            start = start if queues is None else None
        if self._bound >= self._ceiling:
            return self._rest(now_s, "up" if start is None else "down")
        self._from = start or point
        factor = self._policy.climb[min(self._steps, len(self._policy.climb) - 1)]
        self._steps += 1
        return self._set(min(max(self._bound * factor, self._bound + 1), float(self._ceiling)), now_s)

    def _descended(self, point: _Point, now_s: float) -> None:
        start = self._from
        assert start is not None, "a descent begins at a point"
        if not start.queues(point, self._policy.elasticity):
            self._set(start.bound, now_s)
            return self._rest(now_s, "up")
        return self._descend(point, now_s)

    def _descend(self, point: _Point, now_s: float, factor: float = 1.0) -> None:
        lower = max(point.bound * min(factor, self._policy.descend), 1.0)
        if lower >= point.bound:
            return self._rest(now_s, "up")
        self._heading, self._from = "down", point
        return self._set(lower, now_s)

    def _rest_on(self, point: _Point, now_s: float) -> None:
        change = point.latency / self._level if self._rested else 1.0
        self._rested += 1
        self._level = point.latency if self._rested == 1 else self._level + (point.latency - self._level) / self._rested
        unrest = not 1 / self._policy.unrest < change < self._policy.unrest
        rounds = self._policy.rest_rounds * (1 if self._next == "up" else 2)
        rested = self._rested >= rounds and now_s >= self._rest_until_s
        if not rested and not unrest:
            return None
        if change >= self._policy.unrest or (not unrest and self._next == "down"):
            return self._descend(point, now_s, factor=max(1.0 / change, 0.25))
        self._heading, self._steps, self._from = "up", 0, None
        return self._climbed(point, now_s)

    def _rest(self, now_s: float, following: Literal["up", "down"], pause_s: float = 0.0) -> None:
        self._heading, self._next, self._from, self._rested = "rest", following, None, 0
        self._rest_until_s = now_s + min(self._policy.rest_pauses * pause_s * self._patience, self._policy.rest_most_s)

    def _refused(self, now_s: float, sent_s: float, in_flight: int, pause_s: float) -> None:
        if sent_s <= self._fell_s:  # of the same burst: what stays in flight is what the endpoint holds
            if in_flight < self._bound:
                self._set(max(float(in_flight), self._fell_from / 4, 1.0), now_s)
            return
        again = abs(self._bound - self._fell_from) <= 0.2 * self._fell_from
        self._patience = min(self._patience * 2, self._policy.most_patience) if again else 1
        self._fall(max(min(self._bound * 0.9, self._bound - 1), min(float(in_flight), self._bound - 1)), now_s)
        self._rest(now_s, "up", pause_s)

    def _timed_out(self, now_s: float, sent_s: float) -> None:
        self._timeouts += 1
        if sent_s <= self._fell_s or self._timeouts <= self._policy.timeouts_share * self._answers:
            return
        self._fall(self._bound / 2, now_s)
        self._rest(now_s, "up")

    def _fall(self, bound: float, now_s: float) -> None:
        self._fell_s, self._fell_from = now_s, self._bound
        self._answers = self._timeouts = 0
        self._set(max(bound, self._bound / 4, 1.0), now_s)

    def _set(self, bound: float, now_s: float) -> None:
        self._bound = bound
        self.bound = max(int(bound + 1e-9), 1)
        self._round = _Round(now_s)
