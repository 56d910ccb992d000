"""What a kind of model must do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from actlabel.classifiers.content import Content
from actlabel.classifiers.contents import Contents

Ints = npt.NDArray[np.int64]
Encoded = npt.NDArray[Any]
"""One item as a kind of model reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """How a kind of model is trained where the user has not said."""

    epochs: int
    batch_items: int
    learning_rate: float
    threads: int | None = None  # of one worker; None: the cores of the node divided by its workers. A small model loses time by sharing


class Features(Protocol):
    """Encoded items on disk, memory-mapped: every worker of a node shares one copy."""

    def __len__(self) -> int:
        """Return the number of items."""

    def batch(self, rows: Ints, /) -> dict[str, Tensor]:
        """Return the keyword arguments of the model's forward for these items, on the CPU."""


class ModelKind(Protocol):
    """One kind of model. All methods are blocking; files are written only inside the folders given."""

    @property
    def defaults(self) -> Defaults:
        """Say how it is trained."""

    def encode(self, contents: Contents, folder: Path) -> None:
        """Write the features of all items to an existing, empty folder. Raises ``UserError`` that names an item it cannot read."""

    def row(self, content: Content) -> Encoded:
        """Encode one item in memory, as ``encode`` does. Raises ``UserError`` that names an item it cannot read."""

    def collate(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        """Put encoded items together: the keyword arguments of the model's forward, as ``Features.batch`` returns them, on the CPU."""

    def features(self, folder: Path) -> Features:
        """Open what ``encode`` wrote."""

    def build(self, labels: tuple[str, ...]) -> nn.Module:
        """Make the model with fresh (or pre-trained) weights; forward(**batch) gives logits, float32 [B, C]."""

    def save(self, model: nn.Module, folder: Path, /) -> None:
        """Write ``model.safetensors`` and ``config.json`` into an existing folder: all that is needed, besides code, to use the model."""

    def describe(self) -> dict[str, Any]:
        """Return what a reader needs, besides weights and labels, to use the model."""
