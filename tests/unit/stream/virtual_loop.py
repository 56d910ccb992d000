"""An event loop whose time is not the machine's: when nothing can run, it jumps to the next timer. The same run is the same run again."""

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

_THREAD_S = 0.001


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs hours in milliseconds. What would run in a thread runs here, and its result comes a virtual millisecond later."""

    def __init__(self) -> None:
        """Begin at 0 seconds."""
        self.now_s = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Seconds that the machine knows nothing of."""
        return self.now_s

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run it now, tell later."""
        told: asyncio.Future[Any] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001 - whoever awaits gets it
            self.call_later(_THREAD_S, lambda error=error: told.done() or told.set_exception(error))
        else:
            self.call_later(_THREAD_S, lambda: told.done() or told.set_result(result))
        return told


class _Jumping(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everything waits, and no timer would ever wake anybody")
        self._loop.now_s += timeout
        return super().select(0)


class LoopClock:
    """The loop's time as our clock. See ``runtime.clock.Clock``."""

    def __init__(self, loop: VirtualLoop) -> None:
        """``loop``: whose time it is."""
        self._loop = loop

    def now(self) -> float:
        """Seconds since 1970, of a kind."""
        return 1_000_000.0 + self._loop.time()

    def monotonic(self) -> float:
        """Seconds since the loop began."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Let them pass."""
        await asyncio.sleep(seconds)
