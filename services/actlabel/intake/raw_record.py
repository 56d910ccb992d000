"""One record as read from a file, checked, not yet registered."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from actlabel.core.errors import UserError
from actlabel.intake.images import mime_type

TEXT_LIMIT_BYTES = 256 * 1024
"""A text longer than this is no item for one model call; it is refused and wants splitting."""
ID_LIMIT_BYTES = 512
_PLACE = re.compile(r"source:[A-Za-z0-9._-]+-\d+-\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPart:
    """A text, or the bytes of an image."""

    name: str
    text: str | None = None
    image: bytes | None = None
    mime_type: str = ""  # detected from the bytes

    def canonical(self) -> bytes:
        """Bytes that differ whenever the part differs."""
        kind = b"text" if self.text is not None else b"media"
        body = self.text.encode() if self.text is not None else hashlib.sha256(self.image or b"").digest()
        name = self.name.encode()
        return b"".join((_length(name), name, _length(kind), kind, _length(body), body))


@dataclass(frozen=True, kw_only=True)
class RawRecord:
    """An item to be: its parts, what else its row said, and where it stood."""

    id: str
    parts: tuple[RawPart, ...]
    metadata: Mapping[str, str]
    gold: str | None
    where: str  # file:line, for messages

    def content_sha256(self) -> bytes:
        """Hash the parts in order; metadata and gold are not content."""
        return self._digest

    @cached_property
    def _digest(self) -> bytes:
        return hashlib.sha256(b"".join([part.canonical() for part in self.parts])).digest()


def _length(piece: bytes) -> bytes:
    return len(piece).to_bytes(8, "big")


def text_part(name: str, text: str, where: str) -> RawPart:
    """Check a text. Raises ``UserError`` when it is too long or holds what UTF-8 cannot carry."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: {name}: holds an unpaired surrogate at character {error.start + 1}; write valid Unicode") from error
    if size > TEXT_LIMIT_BYTES:
        raise UserError(f"{where}: {name}: {size} bytes of text, more than {TEXT_LIMIT_BYTES}; split it into several items")
    return RawPart(name=name, text=text)


def image_part(name: str, image: bytes, where: str) -> RawPart:
    """Check an image by decoding it. Raises ``UserError`` when it is none."""
    return RawPart(name=name, image=image, mime_type=mime_type(image, where=f"{where}: {name}"))


def checked_id(value: object, where: str, field: str) -> str:
    """Turn an id into text. Raises ``UserError`` when it is missing, empty, too long or has control characters."""
    text = "" if value is None else str(value).strip()
    if not text:
        raise UserError(f"{where}: {field}: is missing or empty; name the id column with --id, or use --generate-ids")
    if len(text.encode("utf-8", "replace")) > ID_LIMIT_BYTES:
        raise UserError(f"{where}: {field}: longer than {ID_LIMIT_BYTES} bytes; use a shorter id")
    if is_place(text):
        raise UserError(f"{where}: {field}: {text!r} has the form by which dead letters of a source are named; use another id")
    if not text.isprintable():
        raise UserError(f"{where}: {field}: {text!r} holds control characters; use a printable id")
    return text


def place_name(topic: str, partition: int, offset: int) -> str:
    """Name a record of a source that became no item, for its dead letter."""
    return f"source:{topic}-{partition}-{offset}"


def is_place(text: str) -> bool:
    """Say whether a text is such a name; no item may have one, or it would be in the ledger twice."""
    return _PLACE.fullmatch(text) is not None
