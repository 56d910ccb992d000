"""What one process has taken of the quotas of an endpoint and model, and has not used yet."""

import asyncio
import random
from collections.abc import Callable

from actlabel.chat.quota import SLICE_S, Ledger, Unit, Want
from actlabel.core.errors import RetryLater
from actlabel.runtime.clock import Clock
from actlabel.runtime.log import get_log

_AGAIN_S = 1.0
_log = get_log(__name__)


class Lease:
    """Gives out to single calls, without a round trip, what it takes in slices."""

    def __init__(
        self,
        *,
        endpoint: str,
        model: str,
        per_minute: dict[Unit, int],
        ledger: Ledger,
        clock: Clock,
        chance: random.Random,
        refilled: Callable[[], None],
    ) -> None:
        """``per_minute``: the limits, at least one. ``refilled``: called when there is more."""
        self._place = (endpoint, model)
        self._per_minute = per_minute
        self._ledger = ledger
        self._clock = clock
        self._chance = chance
        self._refilled = refilled
        self._left: dict[Unit, float] = dict.fromkeys(per_minute, 0.0)
        self._used: dict[Unit, float] = dict.fromkeys(per_minute, 0.0)  # since the last slice was asked for
        self._owed: dict[Unit, float] = dict.fromkeys(per_minute, 0.0)  # used beyond what was taken; negative: the other way round
        self._waiting: dict[Unit, float] = dict.fromkeys(per_minute, 0.0)  # needed by the calls that wait
        self._first: dict[Unit, float] = {}  # needed by the first of them
        self._asked_s = clock.monotonic()
        self._expires_s = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def take(self, tokens: float) -> bool:
        """Take what one call needs, if it is there; otherwise more is asked for."""
        need = self._need(tokens)
        if self._clock.monotonic() < self._expires_s and all(self._left[unit] >= amount for unit, amount in need.items()):
            for unit, amount in need.items():
                self._left[unit] -= amount
                self._used[unit] += amount
            return True
        self._first = self._first or need
        if self._task is None:
            self._task = asyncio.create_task(self._refill())
        return False

    def waits(self, tokens: float, *, calls: int) -> None:
        """Count a call that waits (1), or no longer does (-1), so that the next slice is for it too."""
        for unit, amount in self._need(tokens).items():
            self._waiting[unit] += calls * amount

    def correct(self, *, estimated: float, used: float) -> None:
        """Say what a call took in truth."""
        if "tokens" in self._owed:
            self._owed["tokens"] += used - estimated

    def calls_within(self, seconds: float, *, tokens: float) -> float:
        """Bound the calls of so many tokens that the limits let through within so many seconds, over all processes."""
        need = self._need(tokens)
        return min(limit * seconds / 60.0 / need[unit] for unit, limit in self._per_minute.items())

    def _need(self, tokens: float) -> dict[Unit, float]:
        return {unit: 1.0 if unit == "requests" else max(tokens, 1.0) for unit in self._per_minute}

    async def _refill(self) -> None:
        """Ask until there is something, then tell."""
        try:
            while not await self._ask():
                pass
        finally:
            self._task = None
        self._refilled()

    async def _ask(self) -> bool:
        wants = self._wants()
        try:
            grants = await self._ledger.take(*self._place, wants)
        except RetryLater as error:
            _log.warning("the shared quota of a model cannot be read and is asked for again", error=str(error))
            await self._clock.sleep(self._chance.uniform(0.5, 1.5) * _AGAIN_S)
            return False
        for unit, granted in grants.items():
            self._owed[unit] -= wants[unit].owed
            self._left[unit] = granted.amount
        if all(granted.amount for granted in grants.values()):
            self._first = {}
            self._expires_s = self._clock.monotonic() + SLICE_S
            return True
        again_s = max(granted.again_s for granted in grants.values())
        await self._clock.sleep(again_s + self._chance.uniform(0.0, SLICE_S / 2))  # spread over processes
        return False

    def _wants(self) -> dict[Unit, Want]:
        """Ask for those who wait, and for as many as came since the last time within a slice; what is left goes back."""
        now_s = self._clock.monotonic()
        slices = max((now_s - self._asked_s) / SLICE_S, 0.1)
        self._asked_s = now_s
        return {unit: self._want(unit, slices) for unit in self._per_minute}

    def _want(self, unit: Unit, slices: float) -> Want:
        least = self._first.get(unit, 1.0)
        expected = self._used[unit] / slices
        self._owed[unit] -= self._left[unit]
        self._used[unit] = self._left[unit] = 0.0
        most = max(self._waiting[unit] + expected, least)
        return Want(per_minute=self._per_minute[unit], least=least, most=most, owed=self._owed[unit])

    async def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
