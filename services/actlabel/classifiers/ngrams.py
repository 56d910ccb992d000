"""A linear model on hashed n-grams of characters and words. Legend: B items, C classes."""

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from actlabel.classifiers.content import Content
from actlabel.classifiers.contents import Contents
from actlabel.classifiers.port import Defaults, Encoded, Ints
from actlabel.classifiers.ragged import Ragged, write_ragged
from actlabel.classifiers.saving import save_weights

BUCKETS: Final = 2**16
_CHARACTER_GRAMS: Final = (3, 4, 5)  # of the UTF-8 bytes
_MAX_BYTES: Final = 16 * 1024  # of a text; what lies beyond is not read
_MULTIPLIER: Final = np.uint32(0x01000193)  # the prime of FNV-1a
_WORD = re.compile(r"\w+")


def ngram_buckets(text: str) -> npt.NDArray[np.int32]:
    """Return the distinct buckets of a text's n-grams, ascending: characters of 3 to 5 bytes, single words and pairs of words."""
    plain = " ".join(text.lower().split()).encode("utf-8", errors="replace")[:_MAX_BYTES]
    data = np.frombuffer(b" " + plain + b" ", dtype=np.uint8).astype(np.uint32)
    hashes = [_rolled(data, size) for size in _CHARACTER_GRAMS]
    words = np.array([zlib.crc32(word) for word in _words(plain)], dtype=np.uint32)
    pairs = (words[:-1] * _MULTIPLIER) ^ words[1:]
    return np.unique(np.concatenate([*hashes, words, pairs]) % np.uint32(BUCKETS)).astype(np.int32)


def _words(plain: bytes) -> list[bytes]:
    return [word.encode() for word in _WORD.findall(plain.decode("utf-8", errors="ignore"))]


def _rolled(data: npt.NDArray[np.uint32], size: int) -> npt.NDArray[np.uint32]:
    """Hash every window of ``size`` bytes; arithmetic is modulo 2^32."""
    count = max(len(data) - size + 1, 0)
    value = np.full(count, 0x811C9DC5 + size, dtype=np.uint32)
    for shift in range(size):
        value = (value ^ data[shift : shift + count]) * _MULTIPLIER
    return value ^ (value >> np.uint32(15))


class NgramLinear(nn.Module):
    """Logits = bias + Σ weight[bucket] / √n over the n distinct buckets of a text: a unit vector of presences."""

    def __init__(self, classes: int) -> None:
        """Start at zero: every text begins with equal probabilities."""
        super().__init__()
        self.weight = nn.EmbeddingBag(BUCKETS, classes, mode="sum")
        nn.init.zeros_(self.weight.weight)
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, buckets: Tensor, starts: Tensor, scales: Tensor) -> Tensor:
        """Map buckets int32 [ΣN], starts int32 [B], scales float32 [ΣN] to logits, float32 [B, C]."""
        logits: Tensor = self.weight(buckets, starts, per_sample_weights=scales) + self.bias
        return logits


class NgramFeatures:
    """The buckets of every text."""

    def __init__(self, folder: Path) -> None:
        """Map the files that ``NgramKind.encode`` wrote."""
        self._rows = Ragged(folder)

    def __len__(self) -> int:
        """See ``Features``."""
        return len(self._rows)

    def batch(self, rows: Ints) -> dict[str, Tensor]:
        """See ``Features``."""
        return _bags([self._rows[int(row)] for row in rows])


def _bags(bags: Sequence[Encoded]) -> dict[str, Tensor]:
    sizes = np.array([len(bag) for bag in bags], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    scales = np.repeat(1 / np.sqrt(np.maximum(sizes, 1)), sizes).astype(np.float32)
    buckets = np.concatenate(bags).astype(np.int32)
    return {"buckets": torch.from_numpy(buckets), "starts": torch.from_numpy(starts), "scales": torch.from_numpy(scales)}


class NgramKind:
    """See ``ModelKind``."""

    defaults = Defaults(epochs=30, batch_items=64, learning_rate=2e-2, threads=1)

    def encode(self, contents: Contents, folder: Path) -> None:
        """See ``ModelKind``."""
        write_ragged(folder, (self.row(content) for content in contents), "int32")

    def row(self, content: Content) -> Encoded:
        """See ``ModelKind``: the buckets of the text, int32."""
        return ngram_buckets(content.text)

    def collate(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        """See ``ModelKind``."""
        return _bags(rows)

    def features(self, folder: Path) -> NgramFeatures:
        """See ``ModelKind``."""
        return NgramFeatures(folder)

    def build(self, labels: tuple[str, ...]) -> nn.Module:
        """See ``ModelKind``."""
        return NgramLinear(len(labels))

    def save(self, model: nn.Module, folder: Path, /) -> None:
        """See ``ModelKind``."""
        save_weights(model, self.describe(), folder)

    def describe(self) -> dict[str, Any]:
        """See ``ModelKind``."""
        return {"kind": "ngrams", "input": "text", "buckets": BUCKETS, "character_grams": list(_CHARACTER_GRAMS), "version": 1}
