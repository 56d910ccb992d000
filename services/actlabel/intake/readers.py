"""Files into checked records."""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from actlabel.core.errors import UserError
from actlabel.intake.fields import Fields
from actlabel.intake.raw_record import RawPart, RawRecord, checked_id, image_part, text_part
from actlabel.intake.rows import Row, read_rows

Problem = UserError


def read_records(path: Path, fields: Fields) -> Iterator[RawRecord | Problem]:
    """Read a file or folder and yield each record, or the ``UserError`` that says what is wrong with it and where.

    Raises ``UserError`` when the file as a whole cannot be read or holds no record at all.
    """
    empty = True
    folder = path if path.is_dir() else path.parent
    for row in read_rows(path):
        empty = False
        yield _record_or_problem(row, fields, folder)
    if empty:
        raise UserError(f"{path}: holds no records; there is nothing to ingest")


def good_records(path: Path, fields: Fields) -> Iterator[RawRecord]:
    """Read records and raise the first problem."""
    for record in read_records(path, fields):
        if isinstance(record, UserError):
            raise record
        yield record


def _record_or_problem(row: Row, fields: Fields, folder: Path) -> RawRecord | Problem:
    if row.problem is not None:
        return UserError(f"{row.where}: {row.problem}")
    try:
        return _record(row, fields, folder)
    except UserError as error:
        return error


def _record(row: Row, fields: Fields, folder: Path) -> RawRecord:
    parts = (*_texts(row, fields), *_images(row, fields, folder))
    if not parts:
        wanted = ", ".join((*fields.text, *fields.image))
        raise UserError(f"{row.where}: has none of the content fields {wanted}; name them with --text or --image")
    taken = {fields.id, fields.gold, *fields.text, *fields.image}
    record = RawRecord(
        id="generated" if fields.generate_ids else checked_id(row.columns.get(fields.id), row.where, fields.id),
        parts=parts,
        metadata={str(key): _as_text(value) for key, value in row.columns.items() if key not in taken and value is not None},
        gold=_gold(row, fields),
        where=row.where,
    )
    return _with_generated_id(record) if fields.generate_ids else record


def _with_generated_id(record: RawRecord) -> RawRecord:
    return RawRecord(
        id=record.content_sha256().hex()[:32], parts=record.parts, metadata=record.metadata, gold=record.gold, where=record.where
    )


def _gold(row: Row, fields: Fields) -> str | None:
    if fields.gold is None:
        return None
    value = row.columns.get(fields.gold)
    if value is None or str(value).strip() == "":
        return None
    return str(value).strip()


def _texts(row: Row, fields: Fields) -> Iterator[RawPart]:
    for name in fields.text:
        value = row.columns.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise UserError(f"{row.where}: {name}: is {type(value).__name__}, not text")
        yield text_part(name, value, row.where)


def _images(row: Row, fields: Fields, folder: Path) -> Iterator[RawPart]:
    for name in fields.image:
        value = row.columns.get(name)
        if value is not None and value != "":
            yield image_part(name, _image_bytes(value, f"{row.where}: {name}", folder), row.where)


def _image_bytes(value: Any, where: str, folder: Path) -> bytes:
    """Take bytes, the Hugging Face form ``{bytes, path}``, a data URL, or a path inside the data's own folder."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise UserError(f"{where}: is neither bytes nor a path nor a data URL")
    return _data_url(value, where) if value.startswith("data:") else _file_inside(value, where, folder)


def _data_url(value: str, where: str) -> bytes:
    head, _, body = value.partition(",")
    if not head.endswith(";base64"):
        raise UserError(f"{where}: is a data URL without ;base64")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise UserError(f"{where}: is not valid base64 ({error})") from error


def _file_inside(value: str, where: str, folder: Path) -> bytes:
    if "://" in value:
        raise UserError(f"{where}: is a URL; nothing is fetched from addresses that records name. Download it and give a path")
    path = (folder / value).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UserError(f"{where}: {value!r} lies outside the folder of the data")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{where}: {value!r} cannot be read ({error.strerror})") from error


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
