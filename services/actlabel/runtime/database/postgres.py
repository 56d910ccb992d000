"""PostgreSQL through an asyncpg pool."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg

from actlabel.core.errors import Fatal, RetryLater, UserError
from actlabel.runtime.database.port import Row, Session

_OUT_OF_REACH = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
)
_TIMEOUT_S = 30.0


def _postgres_text(statement: str) -> str:
    return statement.replace("/*postgres:", "").replace("*/", "") if "/*postgres:" in statement else statement


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except asyncpg.DiskFullError as error:
        raise Fatal(f"PostgreSQL: {error}; give it space and start again") from error
    except _OUT_OF_REACH as error:
        raise RetryLater(f"PostgreSQL is out of reach ({type(error).__name__}: {error})") from error


class PostgresDatabase:
    """See ``port.Database``."""

    def __init__(self, address: str, *, connections: int = 8) -> None:
        """``address``: ``postgresql://user@host:port/name``. ``connections``: the most that this process opens."""
        self._address = address
        self._connections = connections
        self._pool: Any = None

    async def open(self, schema: str) -> None:
        """Connect and make the tables that are missing. Raises ``UserError`` when the server cannot be reached."""
        try:
            self._pool = await asyncpg.create_pool(
                self._address, min_size=1, max_size=self._connections, command_timeout=_TIMEOUT_S, timeout=_TIMEOUT_S
            )
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _key("schema"))
                await connection.execute(schema)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            raise UserError(f"PostgreSQL cannot be used ({error}); check ACTLABEL_DATABASE and that the server is up") from error

    async def fetch(self, statement: str, *values: Any) -> Sequence[Row]:
        """See ``port.Session``."""
        with _translated():
            return list(await self._pool.fetch(_postgres_text(statement), *values))

    async def execute(self, statement: str, *values: Any) -> int:
        """See ``port.Session``."""
        with _translated():
            return _touched(await self._pool.execute(_postgres_text(statement), *values))

    async def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """See ``port.Session``."""
        with _translated():
            await self._pool.executemany(_postgres_text(statement), list(rows))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """See ``port.Database``."""
        with _translated():
            async with self._pool.acquire() as connection, connection.transaction():
                yield _InTransaction(connection)

    @asynccontextmanager
    async def try_lock(self, name: str) -> AsyncIterator[bool]:
        """See ``port.Database``: a session-level advisory lock on a connection of its own."""
        with _translated():
            connection = await asyncpg.connect(self._address, timeout=_TIMEOUT_S)
            try:
                yield bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", _key(name)))
            finally:
                await connection.close(timeout=_TIMEOUT_S)

    async def close(self) -> None:
        """See ``port.Database``."""
        if self._pool is not None:
            await self._pool.close()


class _InTransaction:
    """Statements on the one connection of a transaction."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, statement: str, *values: Any) -> Sequence[Row]:
        return list(await self._connection.fetch(_postgres_text(statement), *values))

    async def execute(self, statement: str, *values: Any) -> int:
        return _touched(await self._connection.execute(_postgres_text(statement), *values))

    async def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        await self._connection.executemany(_postgres_text(statement), list(rows))


def _touched(status: str) -> int:
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"actlabel:{name}".encode()).digest()[:8], "big", signed=True)
