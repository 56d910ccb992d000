"""The role of running stages on an embedded log: one process at a time. The lock guards the role, not the file."""

import fcntl
import os
from pathlib import Path

from actlabel.core.errors import UserError


class StageRole:
    """Held from its making to ``release``, or until the process dies."""

    def __init__(self, path: str) -> None:
        """``path``: the log's file. Raises ``UserError`` that names the process which has the role."""
        self._descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = Path(f"{path}.lock").read_text(encoding="ascii", errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise UserError(
                f"process {holder} already runs stages on {path}; stop it first, or use Kafka and PostgreSQL for several processes "
                "(ingest, watch and export may run beside it)"
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Give the role back."""
        os.close(self._descriptor)
