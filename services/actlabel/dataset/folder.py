"""A result folder that is there whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actlabel.core.errors import UserError


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a hidden folder beside ``out`` to write to; it takes the name ``out`` when the block ends well, else it is removed.

    Raises ``UserError`` when ``out`` already holds something, or when the disk refuses.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out}: is already there; name another place, or remove it first")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise UserError(f"{out}: cannot be made ({error.strerror})") from error
    try:
        yield draft
        _publish(draft, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error}); nothing was kept") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _publish(draft: Path, out: Path) -> None:
    for path in draft.rglob("*"):
        if path.is_file():
            sync(path)
    draft.chmod(0o755)
    draft.replace(out)
    sync(out.parent)


def sync(path: Path) -> None:
    """Let a file's bytes, or a folder's names, reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
