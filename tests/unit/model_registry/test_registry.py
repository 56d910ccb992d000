"""Registered models: numbers, pins, and files that are data and nothing else."""

import asyncio
import json
from pathlib import Path

import pytest

from actlabel.core.errors import UserError
from actlabel.model_registry.files import fetch_model, put_model
from actlabel.model_registry.registry import ModelVersion, NewModel, Registry, digest_of
from actlabel.runtime.clock import FakeClock
from actlabel.runtime.database.open import open_database
from actlabel.runtime.database.port import Database
from actlabel.runtime.storage import Storage, StoredFile, checked_name


def _new(content: str, *, name: str = "digits", answers: int = 7, uid: str = "0f0f") -> NewModel:
    file = StoredFile(name="model.safetensors", size_bytes=len(content), sha256=content * 64)
    return NewModel(name=name, campaign_uid=uid, answers=answers, files=(file,), facts={"labels": ["a", "ü"]})


@pytest.fixture
def registry(database: Database) -> Registry:
    return Registry(database, FakeClock())


async def test_versions_count_from_one_and_never_change(registry: Registry) -> None:
    first, second = await registry.register(_new("1")), await registry.register(_new("2"))
    other = await registry.register(_new("1", name="stance"))
    again = await registry.register(_new("1", answers=99))  # the very same files
    assert [first.reference, second.reference, other.reference] == ["digits@1", "digits@2", "stance@1"]
    assert again == first
    assert first.document["labels"] == ["a", "ü"]
    assert first.files == _new("1").files
    assert [model.version for model in await registry.versions("digits")] == [1, 2]


async def test_two_that_register_at_once_get_two_numbers(registry: Registry, database_address: str) -> None:
    other = await open_database(database_address)
    try:
        beside = Registry(other, FakeClock())
        made = await asyncio.gather(*((registry, beside)[n % 2].register(_new(f"{n:x}")) for n in range(12)))
        assert sorted(model.version for model in made) == list(range(1, 13))
    finally:
        await other.close()


async def test_a_bare_name_is_the_newest_until_a_version_is_pinned(registry: Registry) -> None:
    for content in "123":
        await registry.register(_new(content))
    assert (await registry.find("digits")).version == 3
    assert (await registry.pin("digits@2")).version == 2
    await registry.register(_new("4"))
    assert (await registry.find("digits")).version == 2
    assert [(known.version, known.pinned, known.newest) for known in await registry.current()] == [(2, True, 4)]
    assert (await registry.find("digits@4")).version == 4
    assert (await registry.unpin("digits")).version == 4


async def test_the_last_of_a_campaign_is_found_under_whatever_name(registry: Registry) -> None:
    assert await registry.last_of_campaign("0f0f") is None
    await registry.register(_new("1", answers=5))
    await registry.register(_new("2", name="other", answers=6))
    await registry.register(_new("3", uid="abcd"))
    last = await registry.last_of_campaign("0f0f")
    assert last is not None
    assert last.answers == 6


@pytest.mark.parametrize("reference", ["nobody", "digits@9", "digits@0", "digits@", "@1", "Digits", "digits@1;", "digits@-1", ""])
async def test_what_is_not_there_is_one_line(registry: Registry, reference: str) -> None:
    await registry.register(_new("1"))
    with pytest.raises(UserError, match="model"):
        await registry.find(reference)
    with pytest.raises(UserError, match="cannot be a model's name"):
        await registry.register(_new("2", name="a/b"))


# ---- files ----------------------------------------------------------------------------------------------------------------------------


def _trained(folder: Path) -> Path:
    (folder / "tokens").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "labels.json").write_text(json.dumps(["a", "b"]))
    (folder / "tokens" / "vocab.txt").write_text("a\nb\n")
    return folder


def _version(files: tuple[StoredFile, ...]) -> ModelVersion:
    rows = [{"name": file.name, "size_bytes": file.size_bytes, "sha256": file.sha256} for file in files]
    facts = {"name": "digits", "version": 1, "campaign_uid": "", "answers": 0, "created_at": 0.0}
    return ModelVersion(**facts, digest=digest_of(files), document={"files": rows})


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_files_come_back_whole_and_are_copied_once(tmp_path: Path, form: str) -> None:
    storage = Storage(form.format(tmp_path / "storage"))
    files = put_model(storage, _trained(tmp_path / "trained"))
    assert put_model(storage, tmp_path / "trained") == files
    model = _version(files)
    folder = fetch_model(storage, model, tmp_path / "cache")
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {"model.safetensors", "labels.json", "vocab.txt"}
    assert storage.names(f"models/{model.digest}") == ["labels.json", "model.safetensors", "tokens/vocab.txt"]
    assert storage.names("models/none") == []
    storage.files.rm(storage.path("models"), recursive=True)
    assert fetch_model(storage, model, tmp_path / "cache") == folder


def test_a_file_that_was_changed_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "storage"))
    model = _version(put_model(storage, _trained(tmp_path / "trained")))
    place = tmp_path / "storage" / "models" / model.digest / "model.safetensors"
    place.write_bytes(b"WEIGHTS")
    with pytest.raises(UserError, match=r"model\.safetensors is not the file that was stored there"):
        fetch_model(storage, model, tmp_path / "cache")
    place.unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        fetch_model(storage, model, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("name", ["model.pt", "pytorch_model.bin", "weights.pkl", "run.py", "noending", "x.npy"])
def test_nothing_but_data_is_stored_or_read(tmp_path: Path, name: str) -> None:
    storage, folder = Storage(str(tmp_path / "storage")), _trained(tmp_path / "trained")
    (folder / name).write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match=f"{name} is not among .safetensors|{name} is not among .*never a pickle"):
        put_model(storage, folder)
    assert not (tmp_path / "storage").exists()
    stranger = StoredFile(name=name, size_bytes=2, sha256="0" * 64)
    with pytest.raises(UserError, match="never a pickle"):
        fetch_model(storage, _version((stranger,)), tmp_path / "cache")


def test_a_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    folder = _trained(tmp_path / "trained")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="there are no weights"):
        put_model(Storage(str(tmp_path / "storage")), folder)


@pytest.mark.parametrize("name", ["../x.json", "/etc/x.json", "a/../../x.json", "", "a\\x.json", "..", "x\0.json"])
def test_a_name_that_leads_out_of_its_folder_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="inside a folder"):
        checked_name(name)
