"""Folders of files in ``ACTLABEL_STORAGE``, through fsspec: written file by file, read back against their hashes."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from actlabel.core.errors import RetryLater, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file of a folder."""

    name: str  # relative, with slashes
    size_bytes: int
    sha256: str  # in hexadecimal


class Storage:
    """Every method blocks, and raises ``RetryLater`` when the storage is out of reach."""

    def __init__(self, address: str) -> None:
        """``address``: a folder or any fsspec address. Raises ``UserError`` when its file system is not known or not installed."""
        try:
            self.files, self._root = fsspec.core.url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise UserError(f"ACTLABEL_STORAGE: {address!r} cannot be used ({error})") from error

    def path(self, key: str) -> str:
        """Return where a key lies, as ``files`` names it; the address itself for an empty one."""
        return f"{self._root}/{key}" if key else str(self._root)

    def put(self, folder: Path, key: str) -> None:
        """Write every file below a local folder under ``key``; what is there under the same name is replaced."""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            target = self.path(f"{key}/{file.relative_to(folder).as_posix()}")
            try:
                self.files.makedirs(self.files._parent(target), exist_ok=True)  # noqa: SLF001 - fsspec's own way to a parent
                self.files.put_file(str(file), target)
            except OSError as error:
                raise RetryLater(f"ACTLABEL_STORAGE: {target} cannot be written ({error})") from error

    def write(self, key: str, content: bytes) -> None:
        """Write one small file."""
        target = self.path(key)
        try:
            self.files.makedirs(self.files._parent(target), exist_ok=True)  # noqa: SLF001 - as above
            self.files.pipe_file(target, content)
        except OSError as error:
            raise RetryLater(f"ACTLABEL_STORAGE: {target} cannot be written ({error})") from error

    def read(self, key: str) -> bytes | None:
        """Return one small file; None where there is none."""
        try:
            self.files.invalidate_cache()  # another machine may just have written it
            content: Any = self.files.cat_file(self.path(key))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RetryLater(f"ACTLABEL_STORAGE is out of reach ({error})") from error
        return bytes(content)

    def copy(self, key: str, folder: Path) -> None:
        """Copy every file under ``key`` into a local folder, unchecked."""
        for name in self.names(key):
            where = folder / checked_name(name)
            where.parent.mkdir(parents=True, exist_ok=True)
            self._fetch(self.path(f"{key}/{name}"), where)

    def remove(self, key: str) -> None:
        """Remove everything under ``key``; nothing there is as good."""
        try:
            self.files.rm(self.path(key), recursive=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise RetryLater(f"ACTLABEL_STORAGE is out of reach ({error})") from error

    def fetch(self, key: str, folder: Path, files: Iterable[StoredFile]) -> None:
        """Copy the named files of ``key`` into an existing local folder.

        Raises ``UserError`` when one is missing, is not the bytes that were named, or has a name that leads out of the folder.
        """
        for file in files:
            where = folder / checked_name(file.name)
            where.parent.mkdir(parents=True, exist_ok=True)
            self._fetch(self.path(f"{key}/{file.name}"), where)
            if stored_file(folder, where) != file:
                where.unlink()
                raise UserError(f"ACTLABEL_STORAGE: {key}/{file.name} is not the file that was stored there")

    def _fetch(self, source: str, where: Path) -> None:
        try:
            self.files.get_file(source, str(where))
        except FileNotFoundError as error:
            raise UserError(f"ACTLABEL_STORAGE: {source} is missing") from error
        except OSError as error:
            raise RetryLater(f"ACTLABEL_STORAGE is out of reach ({error})") from error

    def names(self, key: str) -> list[str]:
        """List the files under ``key``, relative to it, sorted; none where there is no such key."""
        root = self.path(key)
        try:
            found: dict[str, Any] = self.files.find(root, withdirs=False, detail=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RetryLater(f"ACTLABEL_STORAGE is out of reach ({error})") from error
        prefix = str(self.files._strip_protocol(root)).rstrip("/") + "/"  # noqa: SLF001 - how fsspec names what it found
        return sorted(name.removeprefix(prefix) for name in found)


def stored_file(folder: Path, file: Path) -> StoredFile:
    """Measure a local file."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return StoredFile(name=file.relative_to(folder).as_posix(), size_bytes=file.stat().st_size, sha256=digest)


def checked_name(name: str) -> str:
    """Return a relative name that stays inside its folder. Raises ``UserError``."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise UserError(f"{name!r} is no name of a file inside a folder")
    return name
