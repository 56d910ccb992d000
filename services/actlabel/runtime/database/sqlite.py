"""The embedded database: one SQLite file in WAL mode, one connection on one thread."""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from actlabel.core.errors import Fatal, RetryLater, UserError
from actlabel.runtime.database.port import Row, Session

_ANY = re.compile(r"=\s*ANY\s*\(\s*(\$\d+)\s*\)", re.IGNORECASE)
_BUSY_TIMEOUT_S = 30.0
_T = TypeVar("_T")


@lru_cache(maxsize=1024)
def _sqlite_text(statement: str) -> str:
    return _ANY.sub(r"IN (SELECT value FROM json_each(\1))", statement)


def _bind(values: Sequence[Any]) -> dict[str, Any]:
    return {str(i): json.dumps(list(v)) if isinstance(v, (list, tuple)) else v for i, v in enumerate(values, 1)}


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "full" in text or "disk I/O" in text:
            raise Fatal(f"{path}: {text}; free some space and start again, nothing half-written is kept") from error
        if "locked" in text or "busy" in text:
            raise RetryLater(f"{path}: another process held the write lock for {_BUSY_TIMEOUT_S:.0f} s") from error
        raise


class SqliteDatabase:
    """See ``port.Database``. Other processes may open the same file beside this one; their writes take turns."""

    def __init__(self, path: str) -> None:
        """``path``: a file, made when missing, or ``:memory:``."""
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        self._turn = asyncio.Lock()
        self._names: dict[str, asyncio.Lock] = {}
        self._connection: sqlite3.Connection | None = None

    async def open(self, schema: str) -> None:
        """Open the file and make the tables that are missing. Raises ``UserError`` when the file cannot be used."""
        await self._call(lambda: self._open(schema))

    def _open(self, schema: str) -> None:
        try:
            if self._path != ":memory:":
                Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(schema)
        except (sqlite3.Error, OSError) as error:
            raise UserError(f"{self._path}: not usable as a SQLite database ({error}); name another file in ACTLABEL_DATABASE") from error
        self._connection = connection

    async def _call(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _run(self, statement: str, values: Sequence[Any]) -> tuple[list[Row], int]:
        assert self._connection is not None, "open() comes first"
        with _translated(self._path):
            cursor = self._connection.execute(_sqlite_text(statement), _bind(values))
            return cursor.fetchall(), cursor.rowcount

    def _run_many(self, statement: str, rows: list[Sequence[Any]], *, own_transaction: bool) -> None:
        assert self._connection is not None, "open() comes first"
        with _translated(self._path):
            if own_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(_sqlite_text(statement), [_bind(row) for row in rows])
            except BaseException:
                if own_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            if own_transaction:
                self._connection.execute("COMMIT")

    async def fetch(self, statement: str, *values: Any) -> Sequence[Row]:
        """See ``port.Session``."""
        async with self._turn:
            return (await self._call(lambda: self._run(statement, values)))[0]

    async def execute(self, statement: str, *values: Any) -> int:
        """See ``port.Session``."""
        async with self._turn:
            return (await self._call(lambda: self._run(statement, values)))[1]

    async def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """See ``port.Session``."""
        listed = list(rows)
        async with self._turn:
            await self._call(lambda: self._run_many(statement, listed, own_transaction=True))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """See ``port.Database``."""
        async with self._turn:
            await self._call(lambda: self._run("BEGIN IMMEDIATE", ()))
            try:
                yield _InTransaction(self)
            except BaseException:
                await asyncio.shield(self._call(lambda: self._run("ROLLBACK", ())))
                raise
            await asyncio.shield(self._call(lambda: self._run("COMMIT", ())))

    @asynccontextmanager
    async def try_lock(self, name: str) -> AsyncIterator[bool]:
        """See ``port.Database``: one process runs the stages on SQLite, so a lock of the process is a lock of the system."""
        lock = self._names.setdefault(name, asyncio.Lock())
        if lock.locked():
            yield False
            return
        async with lock:
            yield True

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
        await self._database._call(lambda: self._database._run_many(statement, listed, own_transaction=False))  # noqa: SLF001 - same module
