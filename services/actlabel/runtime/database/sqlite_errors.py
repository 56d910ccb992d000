"""SQLite's errors, translated once into what to do next."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from actlabel.core.errors import Fatal, RetryLater

_OUT_OF_SPACE = ("full", "disk I/O")
_UNUSABLE = ("readonly", "unable to open", "malformed", "not a database")
_BUSY = ("locked", "busy")


@contextmanager
def translated_sqlite_errors(path: str) -> Iterator[None]:
    """Raise ``Fatal`` for a full disk or an unusable file, ``RetryLater`` for a lock held too long; anything else passes unchanged."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if any(word in text for word in _OUT_OF_SPACE):
            raise Fatal(f"{path}: {text}; free some space and start again, nothing half-written is kept") from error
        if any(word in text for word in _UNUSABLE):
            raise Fatal(f"{path}: {text}; put the file back, or name another one, and start again") from error
        if any(word in text for word in _BUSY):
            raise RetryLater(f"{path}: another process holds the write lock") from error
        raise


def use_wal(connection: sqlite3.Connection, *, timeout_s: float = 10.0) -> None:
    """Put the file into WAL mode. SQLite does not wait for another process that is doing the same, so this does."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
