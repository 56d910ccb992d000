"""The digits: 1,797 handwritten ones with human labels that ship inside scikit-learn, 8 × 8 pixels each.

They are split four ways, no image in two parts: one part to fit the annotator, one to fit the critic, one to test the trained model,
and the campaign, whose labels reach the scripted reviewer and the report, no model and no page. Source: E. Alpaydin and C. Kaynak,
"Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998 (CC BY 4.0).
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

LABELS: Final = tuple(str(digit) for digit in range(10))
SIDE: Final = 8  # pixels of a digit
SCALE: Final = 4  # image pixels a pixel
_GREY: Final = 15  # steps of an image's grey for one of the 16 levels of ink

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """All of them."""

    ink: npt.NDArray[np.float64]  # (1797, 64), 0 to 16
    labels: npt.NDArray[np.int64]  # (1797,), 0 to 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Disjoint indices into the digits, each ascending."""

    annotator: Indices  # what the annotator is fitted on
    critic: Indices  # what the critic is fitted on
    test: Indices  # where the trained model is tested
    campaign: Indices  # what is labelled

    def sizes(self) -> dict[str, int]:
        """Count each part."""
        return {name: len(indices) for name, indices in self.parts().items()}

    def sha256(self) -> dict[str, str]:
        """Hash the indices of each part (little-endian 64-bit), so that anyone can check that a run used the same split."""
        return {name: hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest() for name, indices in self.parts().items()}

    def facts(self) -> dict[str, dict[str, int | str]]:
        """State size and hash of each part."""
        hashes = self.sha256()
        return {name: {"items": size, "sha256": hashes[name]} for name, size in self.sizes().items()}

    def parts(self) -> dict[str, Indices]:
        """Name the parts."""
        return {"annotator": self.annotator, "critic": self.critic, "test": self.test, "campaign": self.campaign}


def read_digits() -> Digits:
    """Read them from scikit-learn's own files."""
    bunch: Any = load_digits()
    return Digits(ink=bunch.data.astype(np.float64), labels=bunch.target.astype(np.int64))


def split(
    labels: npt.NDArray[np.int64], *, seed: int, annotator: int = 100, critic: int = 120, test: int = 360, items: int | None = None
) -> Splits:
    """Split by seed, every part with the classes in proportion. ``items``: at most so many in the campaign; default: all that are left."""
    rest, for_annotator = _cut(np.arange(len(labels)), labels, annotator, seed)
    rest, for_critic = _cut(rest, labels, critic, seed)
    campaign, for_test = _cut(rest, labels, test, seed)
    if items is not None and items < len(campaign):
        _, campaign = _cut(campaign, labels, items, seed)
    return Splits(annotator=for_annotator, critic=for_critic, test=for_test, campaign=campaign)


def _cut(indices: Indices, labels: npt.NDArray[np.int64], size: int, seed: int) -> tuple[Indices, Indices]:
    kept, taken = train_test_split(indices, test_size=size, random_state=seed, stratify=labels[indices])
    return np.sort(kept), np.sort(taken)


def to_png(ink: npt.NDArray[np.float64]) -> bytes:
    """Draw one digit, dark on white, every pixel as a square of ``SCALE`` pixels; nothing is lost."""
    grey = (255 - ink.reshape(SIDE, SIDE) * _GREY).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.kron(grey, np.ones((SCALE, SCALE), dtype=np.uint8))).save(file, format="PNG")
    return file.getvalue()


def from_png(png: bytes) -> npt.NDArray[np.float64]:
    """Read back the (64,) ink of ``to_png``."""
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        grey = np.asarray(image.convert("L"), dtype=np.float64)
    return (255 - grey[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE].reshape(-1)) / _GREY


def item_id(index: int) -> str:
    """Name an image by its place in the data set, which says nothing about its label."""
    return f"digit-{index:04d}"


def write_images(folder: Path, digits: Digits, indices: Indices) -> None:
    """Write a folder of images with its ``metadata.jsonl``, as `actlabel ingest --gold label` takes it.

    The report compares with the true label; intake keeps it from models and reviewers.
    """
    folder.mkdir(parents=True)
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as lines:
        for index in indices:
            name = item_id(index)
            (folder / f"{name}.png").write_bytes(to_png(digits.ink[index]))
            lines.write(json.dumps({"file_name": f"{name}.png", "id": name, "label": LABELS[digits.labels[index]]}) + "\n")


def write_by_label(folder: Path, digits: Digits, indices: Indices) -> None:
    """Write one folder of images per label, as `actlabel train --test` takes it."""
    for label in LABELS:
        (folder / label).mkdir(parents=True)
    for index in indices:
        (folder / LABELS[digits.labels[index]] / f"{item_id(index)}.png").write_bytes(to_png(digits.ink[index]))


def true_labels(digits: Digits, indices: Indices) -> Mapping[str, str]:
    """Return item id → true label."""
    return {item_id(index): LABELS[digits.labels[index]] for index in indices}
