"""Calls back once, at the earliest of the moments that it was told."""

import asyncio
from collections.abc import Callable

from actlabel.runtime.clock import Clock


class Alarm:
    """One at a time; an earlier moment takes the place of a later one."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        """``ring`` must not raise."""
        self._clock = clock
        self._ring = ring
        self._task: asyncio.Task[None] | None = None
        self._at_s = float("inf")

    def set(self, at_s: float, *, now_s: float) -> None:
        """Ring at ``at_s`` (monotonic) or earlier; never for infinity."""
        if at_s >= self._at_s:
            return
        self.close()
        self._at_s = at_s
        self._task = asyncio.create_task(self._sleep(at_s - now_s))

    async def _sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._task, self._at_s = None, float("inf")
        self._ring()

    def close(self) -> None:
        """Do not ring."""
        if self._task is not None:
            self._task.cancel()
        self._task, self._at_s = None, float("inf")
