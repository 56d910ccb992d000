"""A result file that is there whole or not at all."""

import os
import tempfile
from pathlib import Path

from actlabel.core.errors import UserError


def write_whole(path: Path, text: str) -> None:
    """Write a UTF-8 file beside its place and rename it; an older file is replaced. Raises ``UserError`` when the disk refuses."""
    draft: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        draft = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.replace(path)
    except OSError as error:
        if draft is not None:
            draft.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); nothing was kept") from error
