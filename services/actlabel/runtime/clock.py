"""Time as a port: what waits or stamps takes a clock, so that a test can turn it."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where a process gets its time from."""

    def now(self) -> float:
        """Seconds since 1970, for records and rows."""

    def monotonic(self) -> float:
        """Seconds that never jump, for durations and deadlines."""

    async def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> float:
        """See ``Clock``."""
        return time.time()

    def monotonic(self) -> float:
        """See ``Clock``."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See ``Clock``."""
        await asyncio.sleep(seconds)


class FakeClock:
    """A clock that moves only when told to, or when somebody sleeps on it."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        """Start at ``now`` seconds."""
        self._now = now

    def now(self) -> float:
        """See ``Clock``."""
        return self._now

    def monotonic(self) -> float:
        """See ``Clock``."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once."""
        self._now += seconds

    async def sleep(self, seconds: float) -> None:
        """Advance by ``seconds`` and let other tasks run."""
        self._now += max(seconds, 0.0)
        await asyncio.sleep(0)
