"""JSON lines and CSV for people and spreadsheets; images become files in a folder beside the table."""

import csv
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

from actlabel.dataset.rows import Row

_DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection)."""


class _Images:
    """Writes the bytes of an image once, under its content's name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, image: dict[str, Any]) -> str:
        """Write the image and return its path relative to the table."""
        path = self._folder / "images" / Path(image["path"]).name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_bytes(image["bytes"])
        return f"images/{path.name}"


class JsonLinesSink:
    """Writes ``dataset.jsonl``: one object a line, UTF-8, times in ISO 8601."""

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        """Open the file; ``columns`` are all written in every line, null where an item has none."""
        self._columns = columns
        self._images = _Images(folder)
        self._file: TextIO = (folder / "dataset.jsonl").open("w", encoding="utf-8")

    def write(self, rows: Sequence[Row]) -> None:
        """Take rows; raises ``OSError`` when the disk refuses."""
        for row in rows:
            plain = {name: _plain(row.get(name), name, self._images) for name in self._columns}
            self._file.write(json.dumps(plain, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def abandon(self) -> None:
        """Release the file; its folder is about to be removed."""
        self._file.close()


class CsvSink:
    """Writes ``dataset.csv`` (RFC 4180, UTF-8). Text that a spreadsheet would run as a formula gets an apostrophe in front."""

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        """Open the file and write the names of its columns."""
        self._columns = columns
        self._images = _Images(folder)
        self._file: TextIO = (folder / "dataset.csv").open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow([_harmless(name) for name in columns])

    def write(self, rows: Sequence[Row]) -> None:
        """Take rows; raises ``OSError`` when the disk refuses."""
        self._writer.writerows([self._cell(row.get(name), name) for name in self._columns] for row in rows)

    def _cell(self, value: Any, name: str) -> Any:
        plain = _plain(value, name, self._images)
        if isinstance(plain, dict):
            plain = json.dumps(plain, ensure_ascii=False)
        return _harmless(plain) if isinstance(plain, str) else plain

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def abandon(self) -> None:
        """Release the file; its folder is about to be removed."""
        self._file.close()


def _plain(value: Any, name: str, images: _Images) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if name == "metadata":
        return {pair["key"]: pair["value"] for pair in value or ()}
    return images.keep(value) if isinstance(value, dict) else value


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_DANGEROUS) else text
