"""From named columns to a checked record, whatever they came from: a line of a file, a message of a topic."""

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from actlabel.core.errors import UserError
from actlabel.intake.fields import Fields, value_at, without
from actlabel.intake.raw_record import RawPart, RawRecord, checked_id, image_part, text_part
from actlabel.intake.rows import Row
from actlabel.runtime.media import INLINE_LIMIT_BYTES
from actlabel.stream.port import MAX_RECORD_BYTES

_MOST_BYTES: Final = MAX_RECORD_BYTES - 64 * 2**10
"""Of content and metadata together: what later stages add to a record must still fit."""


def mapped(row: Row, fields: Fields, folder: Path | None) -> RawRecord:
    """Make the record that a row holds. Raises ``UserError`` that says what is wrong with it and where.

    ``folder``: inside which images may be named by path; None: images come as bytes or base64 only.
    """
    parts = (*_texts(row, fields), *_images(row, fields, folder))
    if not parts:
        wanted = ", ".join((*fields.text, *fields.image))
        raise UserError(f"{row.where}: has none of the content fields {wanted}; name them with --text or --image")
    record = RawRecord(
        id="generated" if fields.generate_ids else checked_id(value_at(row.columns, fields.id), row.where, fields.id),
        parts=parts,
        metadata=_metadata(row, fields),
        gold=_gold(row, fields),
        where=row.where,
    )
    _check_size(record)
    return _with_generated_id(record) if fields.generate_ids else record


def _metadata(row: Row, fields: Fields) -> dict[str, str]:
    rest = without(row.columns, fields.named)
    try:
        texts = {str(key): _as_text(value) for key, value in rest.items() if value is not None}
        "".join((*texts, *texts.values())).encode()
    except (UnicodeEncodeError, RecursionError, ValueError) as error:
        raise UserError(f"{row.where}: a field beside the content is not valid Unicode, or nested too deeply; leave it out") from error
    return texts


def _check_size(record: RawRecord) -> None:
    texts = (part.text or "" for part in record.parts)
    size = sum(len(text.encode()) for text in (*texts, *record.metadata, *record.metadata.values()))
    size += sum(min(len(part.image or b""), INLINE_LIMIT_BYTES) for part in record.parts)
    if size > _MOST_BYTES:
        raise UserError(f"{record.where}: {size} bytes of content and metadata, more than {_MOST_BYTES}; leave out what is not needed")


def _with_generated_id(record: RawRecord) -> RawRecord:
    return RawRecord(
        id=record.content_sha256().hex()[:32], parts=record.parts, metadata=record.metadata, gold=record.gold, where=record.where
    )


def _gold(row: Row, fields: Fields) -> str | None:
    if fields.gold is None:
        return None
    value = value_at(row.columns, fields.gold)
    if value is None or str(value).strip() == "":
        return None
    return str(value).strip()


def _texts(row: Row, fields: Fields) -> Iterator[RawPart]:
    for name in fields.text:
        value = value_at(row.columns, name)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise UserError(f"{row.where}: {name}: is {type(value).__name__}, not text")
        yield text_part(name, value, row.where)


def _images(row: Row, fields: Fields, folder: Path | None) -> Iterator[RawPart]:
    for name in fields.image:
        value = value_at(row.columns, name)
        if value is not None and value != "":
            yield image_part(name, _image_bytes(value, f"{row.where}: {name}", folder), row.where)


def _image_bytes(value: Any, where: str, folder: Path | None) -> bytes:
    """Take bytes, the Hugging Face form ``{bytes, path}``, a data URL, or a path inside the data's own folder (without one: base64)."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise UserError(f"{where}: is neither bytes nor a path nor a data URL")
    if value.startswith("data:"):
        return _data_url(value, where)
    return _base64(value, where) if folder is None else _file_inside(value, where, folder)


def _data_url(value: str, where: str) -> bytes:
    head, _, body = value.partition(",")
    if not head.endswith(";base64"):
        raise UserError(f"{where}: is a data URL without ;base64")
    return _base64(body, where)


def _base64(value: str, where: str) -> bytes:
    if "://" in value:
        raise UserError(f"{where}: is a URL; nothing is fetched from addresses that records name. Send the image's bytes")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
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
    return value if isinstance(value, str) else json.dumps(value, default=_as_json, ensure_ascii=False)


def _as_json(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
