"""Many small requests of concurrent items as few large ones.

A round trip costs more than what it carries, so a batch waits for company: until there are enough, until nobody came for a moment, at
most for a short while since the batch before it began (tests/bench/README.md). What is rare goes at once. A few callers who wait for each
other's answers are soon all there, and lose only that moment.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Final, Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
_MOMENT_S: Final = 0.01
_ENOUGH: Final = 96  # more would make a round trip of many only a little cheaper for each


class Batches(Generic[Q, A]):
    """Answers requests in batches, in the order in which they came."""

    def __init__(self, work: Callable[[Sequence[Q]], Awaitable[Sequence[A]]], *, largest: int, pause_s: float = 0.08) -> None:
        """``work`` answers a batch in its order; what it raises, everyone in the batch gets. ``pause_s``: between two
        beginnings, at most.
        """
        self._work = work
        self._largest = largest
        self._pause_s = pause_s
        self._begun_s = float("-inf")  # loop time
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._task: asyncio.Task[None] | None = None

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()  # asking every time is a system call in Python 3.11

    async def submit(self, request: Q) -> A:
        """Answer one request as part of the next batch."""
        future: asyncio.Future[A] = self._loop.create_future()
        self._waiting.append((request, future))
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        while self._waiting:
            await self._pause()
            batch, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
            await self._run([entry for entry in batch if not entry[1].done()])

    async def _pause(self) -> None:
        await asyncio.sleep(0)  # at least everything of this turn of the loop comes along
        there = 0
        while there < len(self._waiting) < _ENOUGH and (rest_s := self._begun_s + self._pause_s - self._loop.time()) > 0:
            there = len(self._waiting)
            await asyncio.sleep(min(rest_s, _MOMENT_S))
        self._begun_s = self._loop.time()

    async def _run(self, batch: list[tuple[Q, "asyncio.Future[A]"]]) -> None:
        try:
            answers = await self._work([request for request, _ in batch]) if batch else ()
        except Exception as error:  # noqa: BLE001 - everyone in the batch gets it
            _settle(batch, [error] * len(batch))
        else:
            _settle(batch, answers)

    async def close(self) -> None:
        """Stop; whoever still waits is cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for _, future in self._waiting:
            future.cancel()


def _settle(batch: list[tuple[Q, "asyncio.Future[A]"]], answers: Sequence[A | Exception]) -> None:
    for (_, future), answer in zip(batch, answers, strict=True):
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
