"""An endpoint with a limit that moves, and a loop that keeps it busy: simulated event by event, the same at every run."""

import heapq
import math
import random
from collections.abc import Callable
from itertools import count
from typing import Literal

from actlabel.chat.adaptive import AdaptiveBound

LATENCY_S = 0.2
REFUSAL_S = 0.002
LONGEST_BACKOFF_S = 0.25

Serve = Callable[[int, float, random.Random], float | None]
"""(requests already there, moment, chance) → latency in seconds, or None for a refusal."""


class Loop:
    """Keeps as many requests on the wire as a bound, fixed or adaptive, allows.

    A refusal costs ``pause_s`` and up to a quarter more in which nothing is sent; without a pause, its request comes again after up to
    250 ms.
    """

    def __init__(self, serve: Serve, *, bound: AdaptiveBound | int, pause_s: float, seed: int = 7) -> None:
        self.answers: list[float] = []  # moments
        self.bounds: list[int] = []  # at each end of a request
        self._serve = serve
        self._bound = bound
        self._pause_s = pause_s
        self._chance = random.Random(seed)
        self._events: list[tuple[float, int, Literal["answered", "refused", "again"], float]] = []
        self._order = count()
        self._quiet_s = 0.0
        self._in_flight = self._held = self._resting = 0

    def run(self, until_s: float) -> "Loop":
        """Go on until a moment."""
        now_s = 0.0
        while now_s < until_s:
            self._send(now_s)
            now_s, _, event, sent_s = heapq.heappop(self._events)
            if event == "again":
                self._resting -= 1
            elif event == "answered":
                self._ended(now_s, sent_s, event)
                self._held -= 1
                self.answers.append(now_s)
            else:
                self._ended(now_s, sent_s, event)
                self._refused(now_s)
        return self

    def _send(self, now_s: float) -> None:
        allowed = self._bound if isinstance(self._bound, int) else self._bound.bound
        while now_s >= self._quiet_s and self._in_flight + (self._resting if isinstance(self._bound, int) else 0) < allowed:
            latency_s = self._serve(self._held, now_s, self._chance)
            self._in_flight += 1
            if latency_s is None:
                self._push(now_s + REFUSAL_S, "refused", now_s)
            else:
                self._held += 1
                self._push(now_s + latency_s, "answered", now_s)

    def _push(self, at_s: float, event: Literal["answered", "refused", "again"], sent_s: float) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), event, sent_s))

    def _ended(self, now_s: float, sent_s: float, event: Literal["answered", "refused"]) -> None:
        self._in_flight -= 1
        if isinstance(self._bound, AdaptiveBound):
            pause_s = self._pause_s if event == "refused" else 0.0
            self._bound.ended(event, now_s=now_s, sent_s=sent_s, in_flight=self._in_flight, pause_s=pause_s)
            self.bounds.append(self._bound.bound)

    def _refused(self, now_s: float) -> None:
        wait_s = self._pause_s * self._chance.uniform(1.0, 1.25) or self._chance.uniform(0.0, LONGEST_BACKOFF_S)
        if self._pause_s:
            self._quiet_s = max(self._quiet_s, now_s + wait_s)
        self._resting += 1
        self._push(now_s + wait_s, "again", now_s)


def refusing(*limits: int, step_s: float, sigma: float) -> Serve:
    """Refuse what is above a limit; several take turns. Latency is lognormal."""

    def serve(held: int, now_s: float, chance: random.Random) -> float | None:
        limit = limits[int(now_s / step_s) % len(limits)]
        return None if held >= limit else LATENCY_S * math.exp(sigma * chance.gauss(0.0, 1.0))

    return serve


def slowing(*limits: int, step_s: float, sigma: float) -> Serve:
    """Answer what is above a limit more slowly, as a machine that all share."""

    def serve(held: int, now_s: float, chance: random.Random) -> float | None:
        limit = limits[int(now_s / step_s) % len(limits)]
        return LATENCY_S * max((held + 1) / limit, 1.0) * math.exp(sigma * chance.gauss(0.0, 1.0))

    return serve
