"""Held-out data with human labels, from a Parquet or JSON-lines file or a folder of images by class."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actlabel.core.errors import UserError
from actlabel.dataset.table import IMAGE

Columns = Sequence[tuple[str, str]]


def write_test_set(source: Path, columns: Columns, out: Path) -> list[str]:
    """Write a test set as one Parquet file with ``id``, the campaign's content ``columns`` and ``label``; return its labels.

    Raises ``UserError`` with the file, the line and the remedy.
    """
    rows = list(_rows(source, columns))
    if not rows:
        raise UserError(f"{source}: the test set is empty")
    content = [(name, pa.string() if kind == "text" else IMAGE) for name, kind in columns]
    table = pa.Table.from_pylist(rows, schema=pa.schema([("id", pa.string()), *content, ("label", pa.string())]))
    pq.write_table(table, out)
    return [str(row["label"]) for row in rows]


def _rows(source: Path, columns: Columns) -> Iterator[dict[str, Any]]:
    if source.is_dir():
        return _of_folder(source, columns)
    if not source.is_file():
        raise UserError(f"{source}: there is no such test set")
    if source.suffix in {".jsonl", ".ndjson"}:
        return _of_lines(source, columns)
    if source.suffix == ".parquet":
        return _of_parquet(source, columns)
    raise UserError(f"{source}: a test set is a .parquet or .jsonl file, or a folder with one folder of images per label")


def _of_folder(source: Path, columns: Columns) -> Iterator[dict[str, Any]]:
    image = next((name for name, kind in columns if kind == "image"), None)
    if image is None:
        raise UserError(f"{source}: is a folder of images, but the campaign's items are texts; give a .jsonl or .parquet file")
    for path in sorted(path for path in source.glob("*/*") if path.is_file()):
        name = path.relative_to(source).as_posix()
        yield {"id": name, image: {"bytes": path.read_bytes(), "path": name}, "label": path.parent.name}


def _of_lines(source: Path, columns: Columns) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), start=1):
        where = f"{source}:{number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{where}: no JSON ({error})") from error
        if not isinstance(row, dict):
            raise UserError(f"{where}: is not a JSON object with the content and a label")
        yield _row(row, columns, where, source.parent)


def _of_parquet(source: Path, columns: Columns) -> Iterator[dict[str, Any]]:
    try:
        rows = pq.read_table(source).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{source}: cannot be read as Parquet ({error})") from error
    for number, row in enumerate(rows, start=1):
        yield _row(row, columns, f"{source}: row {number}", source.parent)


def _row(row: dict[str, Any], columns: Columns, where: str, folder: Path) -> dict[str, Any]:
    if row.get("label") is None:
        raise UserError(f"{where}: has no label; every item of a test set carries a human label")
    content = {name: _content(row.get(name), kind, f"{where}: {name}", folder) for name, kind in columns}
    if all(value is None for value in content.values()):
        raise UserError(f"{where}: has none of the campaign's content columns {', '.join(name for name, _ in columns)}")
    return {"id": str(row.get("id", where)), **content, "label": str(row["label"])}


def _content(value: Any, kind: str, where: str, folder: Path) -> Any:
    if value is None or kind == "text":
        return None if value is None else str(value)
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return {"bytes": value["bytes"], "path": str(value.get("path") or "")}
    if isinstance(value, bytes):
        return {"bytes": value, "path": ""}
    try:
        return {"bytes": (folder / str(value)).read_bytes(), "path": str(value)}
    except OSError as error:
        raise UserError(f"{where}: the image cannot be read ({error.strerror}); write paths relative to the file") from error
