"""The workers of one run, as the training loop sees them."""

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

State = dict[str, Any]


class Ranks(Protocol):
    """This process among ``size`` equal ones. ``add_up`` and ``save`` are collective: every rank calls them equally often."""

    @property
    def rank(self) -> int:
        """From 0; rank 0 writes files."""

    @property
    def size(self) -> int:
        """How many there are; after a restart there may be another number."""

    @property
    def device(self) -> torch.device:
        """Where this rank computes."""

    def add_up(self, tensor: Tensor, /) -> None:
        """Replace a tensor, in place, by its sum over all ranks. Blocks until all have called it."""

    def save(self, state: State | None, /) -> None:
        """Keep rank 0's ``state`` (tensors and plain values; others pass None) safely; on return it survives this process."""

    def latest(self) -> State | None:
        """Return the last state that was kept, or None at a fresh start."""


class SoloRanks:
    """One process, without Ray; states go to a file, if at all."""

    rank = 0
    size = 1
    device = torch.device("cpu")

    def __init__(self, file: Path | None = None) -> None:
        """``file``: where states are kept; without it ``save`` forgets."""
        self._file = file

    def add_up(self, tensor: Tensor, /) -> None:
        """See ``Ranks``: a sum of one."""

    def save(self, state: State | None, /) -> None:
        """See ``Ranks``."""
        if self._file is not None:
            write_state(state, self._file)

    def latest(self) -> State | None:
        """See ``Ranks``."""
        return read_state(self._file) if self._file is not None and self._file.exists() else None


def write_state(state: State | None, file: Path) -> None:
    """Write a state under a draft name, then give it its own."""
    draft = file.with_suffix(".draft")
    torch.save(state, draft)
    draft.replace(file)


def read_state(file: Path) -> State:
    """Read a state; only tensors and plain values are ever unpickled."""
    state: State = torch.load(file, map_location="cpu", weights_only=True)
    return state
