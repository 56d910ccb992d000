"""Media by reference: written and read inside ``ACTLABEL_STORAGE`` and nowhere else, verified by hash."""

import asyncio
import hashlib
from typing import Any

from actlabel.contracts.v1.item_pb2 import Media
from actlabel.core.errors import DeadLetter, RetryLater, UserError
from actlabel.runtime.storage import Storage

INLINE_LIMIT_BYTES = 32 * 1024
"""Content up to this size travels inside its record."""


class MediaStore:
    """Bytes under their own SHA-256, through fsspec (a folder, S3, GCS …). Storage is never asked to fetch what a record names."""

    def __init__(self, address: str) -> None:
        """``address``: a folder or any fsspec address. Raises ``UserError`` when its file system is not known or not installed."""
        self._storage = Storage(address)
        self._files = self._storage.files

    def _path(self, sha256: str) -> str:
        return self._storage.path(f"media/{sha256[:2]}/{sha256}")

    async def put(self, data: bytes, mime_type: str) -> Media:
        """Keep bytes and return the message that names them: inline when small, else by ``uri`` = ``media/<sha256>``."""
        digest = hashlib.sha256(data)
        media = Media(mime_type=mime_type, sha256=digest.digest(), size_bytes=len(data))
        if len(data) <= INLINE_LIMIT_BYTES:
            media.inline = data
            return media
        await asyncio.to_thread(self._write, self._path(digest.hexdigest()), data)
        media.uri = f"media/{digest.hexdigest()}"
        return media

    def _write(self, path: str, data: bytes) -> None:
        try:
            if not self._is_whole(path, len(data)):
                self._files.makedirs(self._files._parent(path), exist_ok=True)  # noqa: SLF001 - fsspec's own way to a parent
                self._files.pipe_file(path, data)
        except OSError as error:
            raise UserError(f"ACTLABEL_STORAGE: cannot write {path} ({error})") from error

    def _is_whole(self, path: str, size_bytes: int) -> bool:
        """A writer that was killed leaves a shorter file under the same name: that one is written again."""
        try:
            return bool(self._files.size(path) == size_bytes)
        except FileNotFoundError:
            return False

    async def get(self, media: Media) -> bytes:
        """Return the bytes. Raises ``DeadLetter('bad-media', …)`` when they are not those that the record names."""
        if media.WhichOneof("source") == "inline":
            return self._verified(media.inline, media)
        digest = media.sha256.hex()
        if len(media.sha256) != 32 or media.uri != f"media/{digest}":
            raise DeadLetter("bad-media", "the record names media outside ACTLABEL_STORAGE")
        return self._verified(await asyncio.to_thread(self._read, self._path(digest), media.size_bytes), media)

    def _read(self, path: str, size_bytes: int) -> bytes:
        try:
            content: Any = self._files.cat_file(path, start=0, end=size_bytes + 1)
        except FileNotFoundError as error:
            raise DeadLetter("bad-media", "the media is not in ACTLABEL_STORAGE") from error
        except OSError as error:
            raise RetryLater(f"ACTLABEL_STORAGE is out of reach ({error})") from error
        return bytes(content)

    @staticmethod
    def _verified(data: bytes, media: Media) -> bytes:
        if len(data) != media.size_bytes or hashlib.sha256(data).digest() != media.sha256:
            raise DeadLetter("bad-media", "the media is not the bytes whose hash the record carries")
        return data
