"""PostgreSQL through an asyncpg pool."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg

from actlabel.core.errors import Fatal, NotUsableYet, RetryLater, UserError
from actlabel.runtime.database.port import Row, Session

_OUT_OF_REACH = (
    OSError,  # TimeoutError too
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.QueryCanceledError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidAuthorizationSpecificationError,  # a password that was changed and is not in its file yet
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
)
# What an ``InterfaceError`` says of a connection or pool that is gone; all others are wrong arguments, a defect of ours.
_LOST = ("closed", "closing", "released")
_TIMEOUT_S = 30.0
# A lock's connection is found dead within half a minute when its machine vanishes without a word (no effect on unix sockets).
_KEEPALIVE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "4"}


def _postgres_text(statement: str) -> str:
    return statement.replace("/*postgres:", "").replace("*/", "") if "/*postgres:" in statement else statement


@contextmanager
def _translated() -> Iterator[None]:
    """Only ever around calls of asyncpg: an error of a user's block is the user's own."""
    try:
        yield
    except asyncpg.DiskFullError as error:
        raise Fatal(f"PostgreSQL: {error}; give it space and start again") from error
    except _OUT_OF_REACH as error:
        raise _retry(error) from error
    except asyncpg.InterfaceError as error:
        if not any(word in str(error) for word in _LOST):
            raise
        raise _retry(error) from error


async def _make_tables(connection: Any, schema: str) -> None:
    """Run the schema once in the life of a database.

    ``CREATE INDEX IF NOT EXISTS`` locks its table against writers before it looks whether the index is there (PostgreSQL), and a process
    that starts must neither wait for those at work nor deadlock with them.
    """
    mark = f"schema {hashlib.sha256(schema.encode()).hexdigest()}"
    known = await connection.fetchval("SELECT to_regclass('deployment') IS NOT NULL")
    if known and await connection.fetchval("SELECT 1 FROM deployment WHERE name = $1", mark):
        return
    await connection.execute(schema)
    await connection.execute("INSERT INTO deployment (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING", mark, b"")


def _told(error: Exception) -> str:
    """Say in one line what happened; a timeout has no words of its own."""
    return " ".join(str(error).split()) or type(error).__name__


def _retry(error: Exception) -> RetryLater:
    return RetryLater(f"PostgreSQL is out of reach ({type(error).__name__}: {error})")


class PostgresDatabase:
    """See ``port.Database``."""

    def __init__(self, address: str, *, connections: int = 8, password_file: Path | None = None) -> None:
        """``address``: ``postgresql://user@host:port/name``. ``connections``: the most that this process opens.

        ``password_file``: of that user, read at every connect; white space at its end does not count. None: as the address says.
        """
        self._address = address
        self._connections = connections
        self._login: dict[str, Any] = {} if password_file is None else {"password": _Password(password_file)}
        self._pool: Any = None

    async def open(self, schema: str) -> None:
        """Connect and make the tables that are missing.

        Raises ``NotUsableYet`` when the server is out of reach or does not let us in, another ``UserError`` for an address that is none.
        """
        try:
            self._pool = await asyncpg.create_pool(
                self._address,
                min_size=1,
                max_size=self._connections,
                command_timeout=_TIMEOUT_S,
                timeout=_TIMEOUT_S,
                reset=_keep,
                **self._login,
            )
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _key("schema"))
                await _make_tables(connection, schema)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            await self.close()
            kind = UserError if isinstance(error, ValueError) else NotUsableYet
            raise kind(f"PostgreSQL cannot be used ({_told(error)}); check ACTLABEL_DATABASE and that the server is up") from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        with _translated():
            connection = await self._pool.acquire(timeout=_TIMEOUT_S)
        try:
            yield connection
        finally:
            with suppress(asyncpg.InterfaceError, asyncpg.PostgresError, OSError):  # a broken one is replaced by the pool
                await self._pool.release(connection)

    async def fetch(self, statement: str, *values: Any) -> Sequence[Row]:
        """See ``port.Session``."""
        async with self._connection() as connection:
            return await _On(connection).fetch(statement, *values)

    async def execute(self, statement: str, *values: Any) -> int:
        """See ``port.Session``."""
        async with self._connection() as connection:
            return await _On(connection).execute(statement, *values)

    async def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """See ``port.Session``. asyncpg runs it in a transaction of its own."""
        async with self._connection() as connection:
            await _On(connection).execute_many(statement, rows)

    async def fetch_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> Sequence[Row]:
        """See ``port.Session``. asyncpg runs it in a transaction of its own, pipelined."""
        async with self._connection() as connection:
            return await _On(connection).fetch_many(statement, rows)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """See ``port.Database``."""
        async with self._connection() as connection:
            transaction = connection.transaction()
            with _translated():
                await transaction.start()
            try:
                yield _On(connection)
            except BaseException:
                with suppress(asyncpg.InterfaceError, asyncpg.PostgresError, OSError):  # a lost connection has rolled back by itself
                    await transaction.rollback()
                raise
            with _translated():
                await transaction.commit()

    @asynccontextmanager
    async def try_lock(self, name: str) -> AsyncIterator[bool]:
        """See ``port.Database``: a session-level advisory lock on a connection of its own.

        When that connection breaks, the lock is free for others: the block is cancelled at its next await, and ``RetryLater`` raised.
        """
        with _translated():
            connection = await asyncpg.connect(
                self._address, timeout=_TIMEOUT_S, command_timeout=_TIMEOUT_S, server_settings=_KEEPALIVE, **self._login
            )
        guard = _Guard()
        try:
            with _translated():
                locked = bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", _key(name)))
            if locked:
                connection.add_termination_listener(guard.on_lost)
                with guard:
                    yield True
            else:
                yield False
        finally:
            connection.remove_termination_listener(guard.on_lost)
            await _closed(connection)

    async def close(self) -> None:
        """See ``port.Database``."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None


async def _keep(_: Any) -> None:
    """Give a connection back as it is: nothing here changes a session, and asyncpg's own reset is a second round trip for every use."""


async def _closed(connection: Any) -> None:
    """Close politely if the server still listens; either way the lock is free when this returns."""
    try:
        await connection.close(timeout=_TIMEOUT_S)
    except (asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
        connection.terminate()


class _Password:
    """What a file holds now; asyncpg asks at every connect."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self) -> str:
        return self._file.read_text(encoding="utf-8").rstrip()


class _Guard:
    """Cancels the block that relies on a connection when it is lost, and turns that cancellation into ``RetryLater``."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._lost = False

    def on_lost(self, _: Any) -> None:
        if self._task is not None and not self._lost:
            self._lost = True
            self._task.cancel()

    def __enter__(self) -> None:
        self._task = asyncio.current_task()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task, self._task = self._task, None
        if not self._lost or task is None:
            return
        if task.uncancel() > 0:  # somebody else cancelled it too
            return
        if kind is None or issubclass(kind, asyncio.CancelledError):
            raise RetryLater("PostgreSQL broke the connection that held a lock")


class _On:
    """Statements on one connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, statement: str, *values: Any) -> Sequence[Row]:
        with _translated():
            return list(await self._connection.fetch(_postgres_text(statement), *values))

    async def execute(self, statement: str, *values: Any) -> int:
        with _translated():
            return _touched(await self._connection.execute(_postgres_text(statement), *values))

    async def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        with _translated():
            await self._connection.executemany(_postgres_text(statement), list(rows))

    async def fetch_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> Sequence[Row]:
        with _translated():
            return list(await self._connection.fetchmany(_postgres_text(statement), list(rows)))


def _touched(status: str) -> int:
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"actlabel:{name}".encode()).digest()[:8], "big", signed=True)
