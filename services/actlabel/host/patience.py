"""A process that stays: what its settings name may be out of reach at the start, and comes into reach without a restart."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from actlabel.core.errors import NotUsableYet, RetryLater
from actlabel.runtime.health import Health
from actlabel.runtime.lifecycle import until
from actlabel.stream.cancelling import cancel_all

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 15.0
_PATIENCE_S: Final = 5.0
_LONG_RUN_S: Final = 60.0  # after that the pauses begin anew


class Patience:
    """Works, and where that is not possible for now says why in the readiness and begins again after a pause."""

    def __init__(self, health: Health, stop: asyncio.Event, *, role: str, pause_s: float = _FIRST_PAUSE_S) -> None:
        """``stop``: set when the process shall end. ``role``: the name under which the service will tell how it is.

        ``pause_s``: the first; each is twice the one before, up to 15 s.
        """
        self._health = health
        self._role = role
        self._stop = stop
        self._first_pause_s = pause_s
        self._pause_s = pause_s
        self._why: str | None = "opens database and stream"
        self._begin()

    def opened(self) -> None:
        """What the settings name is in reach; as soon as the service tells how it is, that counts."""
        self._why = None

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Call ``work`` until it ends by itself or ``stop`` is set: before ``opened`` it is cancelled then, afterwards it ends by itself.

        Raises what it raises, but for ``NotUsableYet`` and ``RetryLater``.
        """
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            begun_s = loop.time()
            try:
                await self._attempt(work)
            except (NotUsableYet, RetryLater) as error:
                self._begin()
                self._why = str(error)
            else:
                return
            if loop.time() - begun_s > _LONG_RUN_S:
                self._pause_s = self._first_pause_s
            await until(self._stop, self._pause_s)
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    async def _attempt(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        working, stopping = asyncio.create_task(work()), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            if working.done() or self._why is None:
                await working
        finally:
            await cancel_all([working, stopping], patience_s=_PATIENCE_S)

    def _begin(self) -> None:
        self._health.forget()
        self._health.add_readiness("start", lambda: self._why or (None if self._health.knows(self._role) else "the service begins"))
        self._health.add_readiness("stop", lambda: "drains, and takes no more work" if self._stop.is_set() else None)
