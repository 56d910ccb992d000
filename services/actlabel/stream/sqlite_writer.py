"""Group commit: what is sent while one transaction runs goes into the next, so the cost of a safe write is shared."""

import asyncio
from collections import deque
from collections.abc import Callable, Set
from concurrent.futures import Executor
from typing import Final, TypeVar

from actlabel.core.errors import ActlabelError, DeadLetter, Fatal, RetryLater
from actlabel.stream.sqlite_log import Commit, LogWriter, Send

_MOST: Final = 4096  # records and offsets of one transaction, so that an acknowledgement never waits for a long one
_Future = asyncio.Future[None]
_T = TypeVar("_T")


class GroupCommit:
    """Everything that this process writes into the log, in order."""

    def __init__(self, log: LogWriter, thread: Executor, *, on_written: Callable[[Set[str]], None]) -> None:
        """``thread``: the one that ``log`` belongs to. ``on_written``: told the topics of every transaction that appended."""
        self._log = log
        self._thread = thread
        self._on_written = on_written
        self._waiting: deque[tuple[Send | Commit, _Future]] = deque()
        self._task: asyncio.Task[None] | None = None

    def hand_over(self, what: Send | Commit) -> _Future:
        """Append a record or store an offset, after everything handed over before.

        The future fails with ``RetryLater``, ``Fatal`` or, for a record, ``DeadLetter('unknown-topic', …)``.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((what, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name="sqlite log writer")
        return future

    async def call(self, work: Callable[[], _T]) -> _T:
        """Run other work of the writer on its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def idle(self) -> None:
        """Wait until everything handed over so far is in the log or has failed."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _drain(self) -> None:
        """Write until there is nothing more. The first transaction takes all that its tick sends, since a task starts on the next."""
        while self._waiting:
            await self._write([self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST))])
        self._task = None

    async def _write(self, batch: list[tuple[Send | Commit, _Future]]) -> None:
        sends = [what for what, _ in batch if isinstance(what, Send)]
        commits = [what for what, _ in batch if isinstance(what, Commit)]
        try:
            missing = await self.call(lambda: self._log.write(sends, commits))
        except Exception as error:  # noqa: BLE001 - whoever waits gets it, and the writer goes on
            for _, future in batch:
                if not future.done():
                    future.set_exception(_copied(error))
            return
        for what, future in batch:
            if future.done():
                continue
            if isinstance(what, Send) and what.topic in missing:
                future.set_exception(DeadLetter("unknown-topic", f"topic {what.topic} does not exist"))
            else:
                future.set_result(None)
        if sends:
            self._on_written({send.topic for send in sends})


def _copied(error: Exception) -> ActlabelError:
    """One error per waiter: a shared one would grow a traceback with each."""
    kind = type(error) if isinstance(error, (RetryLater, Fatal)) else Fatal
    copy = kind(str(error))
    copy.__cause__ = error
    return copy
