"""A named lock among the processes that open one SQLite file: a file beside it, free when its process dies."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def try_file_lock(database: str, name: str) -> Iterator[bool]:
    """Hold the lock while the block runs; False where another process has it. The file is there only while somebody holds it."""
    path = Path(f"{database}.lock-{hashlib.sha256(name.encode()).hexdigest()[:16]}")
    descriptor = _taken(path)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)  # while it is held: who opened it meanwhile sees that it is gone and opens the next one
        os.close(descriptor)


def _taken(path: Path) -> int | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)
