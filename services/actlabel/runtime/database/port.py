"""The database port: a few SQL statements that mean the same on SQLite and PostgreSQL.

One dialect for both: placeholders ``$1``, ``ON CONFLICT``, ``RETURNING``, ``= ANY($1)`` for lists of text or integers, and
``/*postgres: FOR UPDATE SKIP LOCKED */`` for what only PostgreSQL needs (on SQLite a transaction holds the only write lock anyway).
Moments are seconds since 1970 (DOUBLE PRECISION), truth values BOOLEAN (0 and 1 on SQLite), bytes BYTEA.
Statements live in the ``.sql`` file of the room that owns the tables.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from typing import Any, Protocol

Row = Any
"""Indexed by column name or position; both drivers' own row types."""


class Session(Protocol):
    """Where statements run. Every method raises ``RetryLater`` when the database is out of reach and ``Fatal`` when its disk is full."""

    async def fetch(self, statement: str, *values: Any) -> Sequence[Row]:
        """Run one statement and return its rows."""

    async def execute(self, statement: str, *values: Any) -> int:
        """Run one statement and return how many rows it touched."""

    async def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for every row of values, all or none."""

    async def fetch_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> Sequence[Row]:
        """Run one statement for every row of values, all or none, and return the rows that all of them return (``RETURNING``)."""


class Database(Session, Protocol):
    """A session of its own per call, and transactions."""

    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """Run the statements of the block together: all when it ends, none when it raises. On SQLite it takes the write lock at once."""

    def try_lock(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Hold a named lock of the whole system while the block runs; False where another process or task holds it.

        It frees itself when its process dies. Should the database lose it (PostgreSQL restarts), the block is cancelled at its next await
        and ``RetryLater`` raised. Errors of the block pass unchanged.
        """

    async def close(self) -> None:
        """Release connections; the embedded one is checkpointed."""


def load_statements(package: str, file: str = "statements.sql") -> dict[str, str]:
    """Read the statements of a room: each begins with a line ``-- name: the_name``, comments after it are its description."""
    text = files(package).joinpath(file).read_text(encoding="utf-8")
    blocks = text.split("-- name:")[1:]
    named = (block.partition("\n") for block in blocks)
    return {name.strip(): body.strip().rstrip(";") for name, _, body in named}
