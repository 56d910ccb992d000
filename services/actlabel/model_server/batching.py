"""Requests that wait together are answered together: one forward pass at a time, with whatever came in meanwhile."""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Final

from actlabel.classifiers.content import Content
from actlabel.completions.protocol import Refused
from actlabel.core.errors import UserError
from actlabel.model_server.ports import Answer, Predictor
from actlabel.runtime.clock import Clock
from actlabel.runtime.metrics import MODEL_BATCH

MOST_WAITING: Final = 2048
LONGEST_PASS_S: Final = 120.0

_Waiting = tuple[Content, asyncio.Future[Sequence[float]]]


class Batcher:
    """Asks one predictor, from any number of tasks. Nothing waits for company: a lone request is passed on at once."""

    def __init__(self, predictor: Predictor, *, executor: Executor, clock: Clock, most: int, name: str) -> None:
        """``most``: items of one pass; ``executor``: where passes run; ``name``: of the model, for metrics."""
        self.predictor = predictor
        self._executor = executor
        self._clock = clock
        self._most = most
        self._size = MODEL_BATCH.labels(model=name)
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self._pass_began_s: float | None = None

    async def ask(self, content: Content) -> Sequence[float]:
        """Return the probabilities for one item. Raises ``Refused``: 422 for an item that cannot be read, 429 when too many wait."""
        if len(self._waiting) >= MOST_WAITING:
            raise Refused(429, "rate_limit_exceeded", "too many requests wait here; wait as Retry-After says")
        answer: asyncio.Future[Sequence[float]] = asyncio.get_running_loop().create_future()
        self._waiting.append((content, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await answer

    def stuck(self) -> str | None:
        """Say whether a pass takes so long that it will never end."""
        began_s = self._pass_began_s
        if began_s is None or self._clock.monotonic() - began_s < LONGEST_PASS_S:
            return None
        return f"a forward pass has been running for more than {LONGEST_PASS_S:.0f} s"

    async def _work(self) -> None:
        try:
            while self._waiting:
                taken = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                await self._pass([pair for pair in taken if not pair[1].done()])  # some callers may have gone
        finally:
            self._task = None

    async def _pass(self, taken: Sequence[_Waiting]) -> None:
        if not taken:
            return
        self._size.observe(len(taken))
        self._pass_began_s = self._clock.monotonic()
        contents = [content for content, _ in taken]
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._executor, self.predictor.predict, contents)
        except Exception as error:  # noqa: BLE001 - a defect of this pass, told to those who asked; the next pass may do
            for _, future in taken:
                _fail(future, error)
            return
        finally:
            self._pass_began_s = None
        for (_, future), answer in zip(taken, answers, strict=True):
            _settle(future, answer)


def _settle(future: asyncio.Future[Sequence[float]], answer: Answer) -> None:
    if isinstance(answer, UserError):
        _fail(future, Refused(422, "unreadable_item", str(answer)))
    elif not future.done():
        future.set_result(answer)


def _fail(future: asyncio.Future[Sequence[float]], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
