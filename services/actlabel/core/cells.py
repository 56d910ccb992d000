"""Cells: groups of items with adjacent error probabilities, within which selection is simple random sampling.

A cell is made of whole levels (distinct quantised error probabilities), so it depends on what the items are and not on their order.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

_Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Levels from the most doubtful down, and the cell of each. k levels, h cells, n items."""

    level: _Integers  # (k,) distinct error probabilities in units of 2^-16, descending
    count: _Integers  # (k,) items at each level
    item_level: _Integers  # (n,) the level number of each item
    level_cell: _Integers  # (k,) the cell of each level, from 0 without gaps, never falling

    @cached_property
    def size(self) -> _Integers:
        """Items of each cell (h,)."""
        return np.bincount(self.level_cell, weights=self.count).astype(np.int64)

    @cached_property
    def item_cell(self) -> NDArray[np.int32]:
        """The cell of each item (n,)."""
        return self.level_cell[self.item_level].astype(np.int32)

    @cached_property
    def highest(self) -> _Integers:
        """The highest level of each cell (h,)."""
        return self.level[np.searchsorted(self.level_cell, np.arange(len(self.size)), side="left")]

    @cached_property
    def lowest(self) -> _Integers:
        """The lowest level of each cell (h,)."""
        return self.level[np.searchsorted(self.level_cell, np.arange(len(self.size)), side="right") - 1]

    def total(self, per_item: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the items of each cell (h,) what every item of a level has (k,)."""
        return np.bincount(self.level_cell, weights=self.count * per_item).astype(np.float64)

    def regrouped(self, level_cell: _Integers) -> "Cells":
        """Return the same levels in other cells; the numbers may have gaps, which are closed."""
        dense = np.unique(level_cell, return_inverse=True)[1]
        return Cells(level=self.level, count=self.count, item_level=self.item_level, level_cell=dense.astype(np.int64))


def one_cell_per_level(epsilon_q16: NDArray[np.integer]) -> Cells:
    """Find the levels of the items; every level is a cell of its own as yet."""
    ascending, inverse, count = np.unique(epsilon_q16.astype(np.int64), return_inverse=True, return_counts=True)
    last = len(ascending) - 1
    return Cells(
        level=ascending[::-1].copy(),
        count=count[::-1].astype(np.int64),
        item_level=(last - inverse).astype(np.int64),
        level_cell=np.arange(last + 1, dtype=np.int64),
    )


def close_by_size(levels: Cells, *, above: int, least: float, least_below: float) -> Cells:
    """Join levels downwards; a cell closes at ``least`` items where it starts before rank ``above``, else at ``least_below``."""
    level_cell = np.empty(len(levels.count), dtype=np.int64)
    cell = start = held = 0
    for number, count in enumerate(levels.count.tolist()):
        level_cell[number] = cell
        held += count
        if held >= (least if start < above else least_below):
            cell, start, held = cell + 1, start + held, 0
    return levels.regrouped(level_cell)


def close_around_rank(levels: Cells, rank: int) -> Cells:
    """Make three cells: the levels above the item of this rank (from 1), its own level, those below it. Empty ones are left out."""
    boundary = int(np.searchsorted(np.cumsum(levels.count), max(rank, 1), side="left"))
    return levels.regrouped(np.sign(np.arange(len(levels.count)) - boundary) + 1)


def join_last_if_small(cells: Cells, least: float) -> Cells:
    """Join the last cell to the one before where it did not reach ``least`` items."""
    last = len(cells.size) - 1
    if last == 0 or cells.size[last] >= least:
        return cells
    return cells.regrouped(np.minimum(cells.level_cell, last - 1))
