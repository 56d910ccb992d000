"""One file of a followed export while it is written: the port, and lines of JSON (columns: followed_parquet.py)."""

from pathlib import Path
from typing import Protocol, TextIO

import orjson

from actlabel.dataset.rows import Row


class PartFile(Protocol):
    """A file that is being written. Every method may raise ``OSError``."""

    def write(self, row: Row, /) -> None:
        """Add a record."""

    def close(self) -> None:
        """End the file."""


class JsonLinesPart:
    """One object a line, UTF-8."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self._file: TextIO = path.open("w", encoding="utf-8")

    def write(self, row: Row, /) -> None:
        """See ``PartFile``."""
        self._file.write(orjson.dumps(row).decode() + "\n")

    def close(self) -> None:
        """See ``PartFile``."""
        self._file.close()
