"""The files of a model in storage. Only data is ever stored or read back: no pickle, nothing that could run."""

import tempfile
from pathlib import Path, PurePosixPath
from typing import Final

from actlabel.core.errors import UserError
from actlabel.model_registry.registry import ModelVersion, digest_of
from actlabel.runtime.storage import Storage, StoredFile, stored_file

_DATA: Final = frozenset({".safetensors", ".json", ".jsonl", ".txt", ".model", ".jinja", ".md"})
"""Weights, configuration, labels, metrics, and what tokenizers are made of."""


def put_model(storage: Storage, folder: Path) -> tuple[StoredFile, ...]:
    """Store a trained model's folder; returns its files. Blocks.

    The place is named by the content, so that the same model again changes nothing and a version is never overwritten. Raises
    ``UserError`` for a file that is no data, or a folder without weights.
    """
    files = tuple(stored_file(folder, path) for path in sorted(folder.rglob("*")) if path.is_file())
    _check(files, str(folder))
    storage.put(folder, _key(digest_of(files)))
    return files


def fetch_model(storage: Storage, model: ModelVersion, cache: Path) -> Path:
    """Return a local folder with the files of a version, copied and checked when it is not in ``cache`` yet. Blocks.

    Raises ``UserError`` when a file is missing, changed, or no data.
    """
    _check(model.files, model.reference)
    folder = cache / model.digest
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=cache) as draft:
        whole = Path(draft) / "whole"
        whole.mkdir()
        storage.fetch(_key(model.digest), whole, model.files)
        if not folder.exists():
            whole.rename(folder)
    return folder


def _key(digest: str) -> str:
    return f"models/{digest}"


def _check(files: tuple[StoredFile, ...], where: str) -> None:
    if stranger := next((file.name for file in files if PurePosixPath(file.name).suffix not in _DATA), None):
        raise UserError(f"{where}: {stranger} is not among {', '.join(sorted(_DATA))}; a model is safetensors and text, never a pickle")
    if not any(file.name.endswith(".safetensors") for file in files):
        raise UserError(f"{where}: holds no .safetensors, so there are no weights")
