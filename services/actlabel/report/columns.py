"""Columns in place of objects: what is known about each of n items, a few bytes an item, joined by the hash of its id."""

import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from actlabel.contracts.v1.item_pb2 import Item, Review
from actlabel.dataset.merged import final_label, human_label

Keys = NDArray[np.bytes_]
"""(n,) 16 bytes each: BLAKE2b of the id. Two ids of 10^9 share one with a chance of 10^-21."""
Codes = NDArray[np.int32]

UNKNOWN = -1
_KEY_BYTES = 16


def key(item_id: str) -> bytes:
    """Return the key of an id."""
    return hashlib.blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()


def as_keys(packed: bytes | bytearray) -> Keys:
    """Take keys that were written one after the other."""
    return np.frombuffer(bytes(packed), dtype=f"S{_KEY_BYTES}")


def keys(ids: Iterable[str]) -> Keys:
    """Return the keys of many ids."""
    return as_keys(b"".join(map(key, ids)))


class Labels:
    """Numbers labels as they come, from 0."""

    def __init__(self) -> None:
        """Begin with none."""
        self._codes: dict[str, int] = {}

    def code(self, label: str | None) -> int:
        """Return a label's number, ``UNKNOWN`` for None."""
        return UNKNOWN if label is None else self._codes.setdefault(label, len(self._codes))


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What was taken in."""

    keys: Keys  # (n,)
    gold: Codes  # (n,) the true label where the user knows it
    first_at: float | None  # seconds since 1970


@dataclass(frozen=True, kw_only=True)
class Decided:
    """The items that one draw decided upon."""

    keys: Keys  # (n,)
    values: NDArray[np.int64]  # (n, 6) block, cell, cell_selected, cell_size, epsilon_q16, selected

    @property
    def block(self) -> NDArray[np.int64]:
        """The block of each item (n,); 0 in exact mode."""
        return self.values[:, 0]

    @property
    def selected(self) -> NDArray[np.bool_]:
        """Which are reviewed (n,)."""
        return self.values[:, 5] > 0


@dataclass(slots=True)
class Answered:
    """What the merged topic says about each item, as it is read."""

    labels: Labels
    keys: bytearray = field(default_factory=bytearray)
    model: "array[int]" = field(default_factory=lambda: array("i"))  # the annotator's label
    final: "array[int]" = field(default_factory=lambda: array("i"))  # the reviewer's, else the annotator's
    state: "array[int]" = field(default_factory=lambda: array("b"))  # 0 not reviewed, 1 reviewed, 2 undecidable
    review_seconds: float = 0.0
    last_review: float = 0.0

    def add(self, item: Item) -> None:
        """Take one merged item, each once."""
        self.keys += key(item.id)
        self.model.append(self.labels.code(item.annotation.label))
        self.final.append(self.labels.code(final_label(item)))
        undecidable = item.review.outcome == Review.OUTCOME_UNDECIDABLE
        self.state.append(2 if undecidable else int(human_label(item) is not None))
        if item.HasField("review"):
            self.review_seconds += item.review.seconds
            self.last_review = max(self.last_review, item.review.reviewed_at.ToNanoseconds() / 1e9)


class Lookup:
    """Finds the place of keys among others."""

    def __init__(self, among: Keys) -> None:
        """``among``: (m,) distinct keys in any order."""
        self._order = np.argsort(among)
        self.keys = among[self._order]  # ascending

    def places(self, wanted: Keys) -> NDArray[np.int64]:
        """Return (n,) the place of each among the m, or -1."""
        if not len(self.keys):
            return np.full(len(wanted), -1, dtype=np.int64)
        near = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[near] == wanted, self._order[near], -1)


def taken(values: NDArray[np.generic], places: NDArray[np.int64], *, missing: int) -> NDArray[np.int32]:
    """Return (n,) the value at each place, ``missing`` where the place is -1."""
    padded = np.append(values, np.array([missing], dtype=values.dtype))
    return padded[places].astype(np.int32)
