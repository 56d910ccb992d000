"""Media by reference: inside the storage address, verified, and nothing else is ever read."""

import hashlib
from pathlib import Path

import pytest

from actlabel.contracts.v1.item_pb2 import Media
from actlabel.core.errors import DeadLetter, RetryLater, UserError
from actlabel.runtime.media import INLINE_LIMIT_BYTES, MediaStore

LARGE = bytes(range(256)) * 200


@pytest.fixture
def store(tmp_path: Path) -> MediaStore:
    return MediaStore(str(tmp_path / "storage"))


def stored_file(tmp_path: Path) -> Path:
    return next(path for path in (tmp_path / "storage").rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [0, 1, INLINE_LIMIT_BYTES, INLINE_LIMIT_BYTES + 1, 200_000])
async def test_what_is_put_comes_back(store: MediaStore, size: int) -> None:
    data = b"x" * size
    media = await store.put(data, "image/png")
    assert media.WhichOneof("source") == ("inline" if size <= INLINE_LIMIT_BYTES else "uri")
    assert await store.get(media) == data


async def test_storage_in_memory_works_the_same() -> None:
    store = MediaStore("memory://actlabel-test")
    assert await store.get(await store.put(LARGE, "image/png")) == LARGE


@pytest.mark.parametrize(
    "uri", ["/etc/passwd", "file:///etc/passwd", "../secret", "media/../../secret", "http://evil/x", "media/" + "0" * 64, ""]
)
async def test_only_the_name_of_its_own_hash_is_read(store: MediaStore, tmp_path: Path, uri: str) -> None:
    (tmp_path / "secret").write_bytes(LARGE)
    media = Media(mime_type="image/png", sha256=hashlib.sha256(LARGE).digest(), size_bytes=len(LARGE), uri=uri)
    with pytest.raises(DeadLetter, match="outside ACTLABEL_STORAGE"):
        await store.get(media)


async def test_hash_of_another_length_reads_nothing(store: MediaStore) -> None:
    await store.put(LARGE, "image/png")
    with pytest.raises(DeadLetter):
        await store.get(Media(sha256=b"", size_bytes=1, uri="media/"))


async def test_changed_bytes_are_refused(store: MediaStore, tmp_path: Path) -> None:
    media = await store.put(LARGE, "image/png")
    stored_file(tmp_path).write_bytes(LARGE[::-1])
    with pytest.raises(DeadLetter, match="hash"):
        await store.get(media)


async def test_longer_file_is_refused_without_reading_it_all(store: MediaStore, tmp_path: Path) -> None:
    media = await store.put(LARGE, "image/png")
    stored_file(tmp_path).write_bytes(LARGE + b"more")
    with pytest.raises(DeadLetter):
        await store.get(media)


async def test_inline_bytes_that_are_not_those_named_are_refused(store: MediaStore) -> None:
    with pytest.raises(DeadLetter):
        await store.get(Media(sha256=hashlib.sha256(b"a").digest(), size_bytes=1, inline=b"b"))


async def test_missing_media_is_a_dead_letter(store: MediaStore, tmp_path: Path) -> None:
    media = await store.put(LARGE, "image/png")
    stored_file(tmp_path).unlink()
    with pytest.raises(DeadLetter, match="not in ACTLABEL_STORAGE"):
        await store.get(media)


async def test_storage_out_of_reach_is_tried_again(store: MediaStore, tmp_path: Path) -> None:
    media = await store.put(LARGE, "image/png")
    file = stored_file(tmp_path)
    file.unlink()
    file.mkdir()  # reading it fails with an error of the system
    with pytest.raises(RetryLater):
        await store.get(media)


async def test_file_torn_by_a_killed_writer_is_written_again(store: MediaStore, tmp_path: Path) -> None:
    await store.put(LARGE, "image/png")
    stored_file(tmp_path).write_bytes(LARGE[:100])
    assert await store.get(await store.put(LARGE, "image/png")) == LARGE


async def test_storage_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("a file, no folder")
    with pytest.raises(UserError, match="ACTLABEL_STORAGE"):
        await MediaStore(str(tmp_path / "storage")).put(LARGE, "image/png")


def test_unknown_storage_says_so() -> None:
    with pytest.raises(UserError, match="ACTLABEL_STORAGE"):
        MediaStore("nonsense://bucket")
