"""Rows of a person's file, whatever its format: a mapping and the place where it stands."""

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from actlabel.core.errors import UserError
from actlabel.intake.images import SUFFIXES
from actlabel.runtime.arrow import arrow_at_hand


class Row(NamedTuple):
    """Columns by name, and ``file:line`` (or ``file: row n``); ``problem`` in place of columns that cannot be read."""

    columns: Mapping[str, Any]
    where: str
    problem: str | None = None


def read_rows(path: Path) -> Iterator[Row]:
    """Read a ``.jsonl``, ``.csv`` or ``.parquet`` file, or a folder of images. Raises ``UserError`` for anything else."""
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file or folder")
    readers = {".jsonl": _jsonl, ".ndjson": _jsonl, ".csv": _csv, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: {path.suffix or 'no suffix'} is not read; give .jsonl, .csv, .parquet or a folder of images")
    return reader(path)


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _json_row(line, f"{path}:{number}")


def _json_row(line: bytes, where: str) -> Row:
    try:
        value = json.loads(line)
    except UnicodeDecodeError:
        return Row({}, where, "is not UTF-8")
    except ValueError as error:
        return Row({}, where, f"is not JSON ({error})")
    except RecursionError:
        return Row({}, where, "is nested too deeply")
    return Row(value, where) if isinstance(value, dict) else Row({}, where, "is not a JSON object with named fields")


def _csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            for columns in reader:
                yield _csv_row(columns, f"{path}:{reader.line_num}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 CSV ({error})") from error


def _csv_row(columns: dict[Any, Any], where: str) -> Row:
    if None in columns:
        return Row({}, where, "has more cells than the header has names")
    if None in columns.values():
        return Row({}, where, "has fewer cells than the header has names")
    return Row(columns, where)


def _parquet(path: Path) -> Iterator[Row]:
    with arrow_at_hand(f"{path}: Parquet"):
        from actlabel.intake.parquet_rows import parquet_rows  # noqa: PLC0415 - see runtime/arrow.py
    return (Row(columns, f"{path}: row {number}") for number, columns in enumerate(parquet_rows(path), 1))


def _folder(path: Path) -> Iterator[Row]:
    """Take every image below the folder; ``metadata.jsonl`` (Hugging Face ImageFolder) adds columns by ``file_name``."""
    extra = {str(row.columns.get("file_name")): row for row in _metadata(path)}
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    for file in files:
        name = file.relative_to(path).as_posix()
        described = extra.pop(name, None)
        columns = {key: value for key, value in described.columns.items() if key != "file_name"} if described else {}
        yield Row({"id": name, **columns, "image": name}, str(file))
    for name, row in extra.items():
        yield Row({}, row.where, f"file_name {name!r} is not an image in this folder")


def _metadata(path: Path) -> Iterator[Row]:
    file = path / "metadata.jsonl"
    for row in _jsonl(file) if file.is_file() else ():
        if row.problem is not None:
            raise UserError(f"{row.where}: {row.problem}")
        yield row
