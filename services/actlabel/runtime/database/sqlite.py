"""The embedded database: one SQLite file in WAL mode, one connection on one thread."""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from actlabel.core.errors import UserError
from actlabel.runtime.database.port import Row, Session
from actlabel.runtime.database.sqlite_errors import translated_sqlite_errors, use_wal
from actlabel.runtime.database.sqlite_lock import try_file_lock

_ANY = re.compile(r"=\s*ANY\s*\(\s*(\$\d+)\s*\)", re.IGNORECASE)
_BUSY_TIMEOUT_S = 30.0
_T = TypeVar("_T")


@lru_cache(maxsize=1024)
def _sqlite_text(statement: str) -> str:
    return _ANY.sub(r"IN (SELECT value FROM json_each(\1))", statement)


def _bind(values: Sequence[Any]) -> dict[str, Any]:
    return {str(i): json.dumps(list(v)) if isinstance(v, (list, tuple)) else v for i, v in enumerate(values, 1)}


class SqliteDatabase:
    """See ``port.Database``. Other processes may open the same file beside this one; their writes take turns."""

    def __init__(self, path: str) -> None:
        """``path``: a file, made when missing, or ``:memory:``."""
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        self._turn = asyncio.Lock()
        self._in_transaction: asyncio.Task[Any] | None = None  # who has the turn for a whole transaction
        self._names: dict[str, asyncio.Lock] = {}
        self._connection: sqlite3.Connection | None = None

    async def open(self, schema: str) -> None:
        """Open the file and make the tables that are missing. Raises ``UserError`` when the file cannot be used."""
        try:
            await self._call(lambda: self._open(schema))
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    def _open(self, schema: str) -> None:
        try:
            if self._path != ":memory:":
                Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            use_wal(connection)
            # what was paid for, decided or answered survives a loss of power, as the stream's records do
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(schema)
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"{self._path}: not usable as a SQLite database ({error}); name another file in ACTLABEL_DATABASE") from error
        self._connection = connection

    async def _call(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _call_to_the_end(self, work: Callable[[], _T]) -> _T:
        """Run ``work`` and wait for it even when cancelled, since what follows must know that it is over."""
        running = asyncio.ensure_future(self._call(work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    @asynccontextmanager
    async def _own_turn(self) -> AsyncIterator[None]:
        assert self._in_transaction is not asyncio.current_task(), (
            "inside a transaction, use its session: the database would wait for itself"
        )
        async with self._turn:
            yield

    def _run(self, statement: str, values: Sequence[Any]) -> tuple[list[Row], int]:
        assert self._connection is not None, "open() comes first"
        with translated_sqlite_errors(self._path):
            cursor = self._connection.execute(_sqlite_text(statement), _bind(values))
            return cursor.fetchall(), max(cursor.rowcount, 0)

    def _run_many(self, statement: str, rows: list[Sequence[Any]]) -> None:
        assert self._connection is not None, "open() comes first"
        with translated_sqlite_errors(self._path):
            self._connection.executemany(_sqlite_text(statement), [_bind(row) for row in rows])

    def _fetch_many(self, statement: str, rows: list[Sequence[Any]]) -> list[Row]:
        return [row for values in rows for row in self._run(statement, values)[0]]

    def _alone(self, work: Callable[[], _T]) -> _T:
        """Run ``work`` in a transaction of its own."""
        self._run("BEGIN IMMEDIATE", ())
        try:
            done = work()
            self._run("COMMIT", ())
        except BaseException:
            self._roll_back()
            raise
        return done

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:  # SQLite undoes some failures itself
            self._run("ROLLBACK", ())

    async def fetch(self, statement: str, *values: Any) -> Sequence[Row]:
        """See ``port.Session``."""
        async with self._own_turn():
            return (await self._call(lambda: self._run(statement, values)))[0]

    async def execute(self, statement: str, *values: Any) -> int:
        """See ``port.Session``."""
        async with self._own_turn():
            return (await self._call(lambda: self._run(statement, values)))[1]

    async def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """See ``port.Session``."""
        listed = list(rows)
        async with self._own_turn():
            await self._call(lambda: self._alone(lambda: self._run_many(statement, listed)))

    async def fetch_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> Sequence[Row]:
        """See ``port.Session``."""
        listed = list(rows)
        async with self._own_turn():
            return await self._call(lambda: self._alone(lambda: self._fetch_many(statement, listed)))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """See ``port.Database``."""
        async with self._own_turn():
            try:
                await self._call_to_the_end(lambda: self._run("BEGIN IMMEDIATE", ()))
                self._in_transaction = asyncio.current_task()
                yield _InTransaction(self)
                await self._call_to_the_end(lambda: self._run("COMMIT", ()))
            except BaseException:
                await self._call_to_the_end(self._roll_back)
                raise
            finally:
                self._in_transaction = None

    @asynccontextmanager
    async def try_lock(self, name: str) -> AsyncIterator[bool]:
        """See ``port.Database``: among the tasks of this process, and among the processes that open the same file."""
        lock = self._names.setdefault(name, asyncio.Lock())
        if lock.locked():
            yield False
            return
        async with lock:
            if self._path == ":memory:":
                yield True
                return
            with try_file_lock(self._path, name) as is_ours:
                yield is_ours

    async def close(self) -> None:
        """See ``port.Database``."""
        if self._connection is not None:
            await self._call(self._connection.close)
            self._connection = None
        self._thread.shutdown()


class _InTransaction:
    """Statements inside a transaction that already holds the turn."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def fetch(self, statement: str, *values: Any) -> Sequence[Row]:
        return (await self._database._call(lambda: self._database._run(statement, values)))[0]  # noqa: SLF001 - same module

    async def execute(self, statement: str, *values: Any) -> int:
        return (await self._database._call(lambda: self._database._run(statement, values)))[1]  # noqa: SLF001 - same module

    async def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        listed = list(rows)
        await self._database._call(lambda: self._database._run_many(statement, listed))  # noqa: SLF001 - same module

    async def fetch_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> Sequence[Row]:
        listed = list(rows)
        return await self._database._call(lambda: self._database._fetch_many(statement, listed))  # noqa: SLF001 - same module
