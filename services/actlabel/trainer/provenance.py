"""With what a model was made: the code of this package that decides its weights, and the libraries below it."""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

_ROOMS: Final = ("core", "classifiers", "trainer")
_LIBRARIES: Final = ("actlabel", "torch", "ray", "numpy", "pyarrow", "pillow", "safetensors", "transformers")


def made_with() -> dict[str, Any]:
    """Return ``code_sha256`` and ``versions``; a library that is not installed is left out."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"code_sha256": code_sha256(), "versions": versions}


def code_sha256() -> str:
    """Hash the source files of the rooms that a training run goes through, by name and content."""
    digest = hashlib.sha256()
    for room in _ROOMS:
        for file in sorted(files(f"actlabel.{room}").iterdir(), key=lambda entry: entry.name):
            if _is_source(file):
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                digest.update(f"{content}  {room}/{file.name}\n".encode())
    return digest.hexdigest()


def _is_source(file: Traversable) -> bool:
    return file.is_file() and file.name.endswith(".py")
