"""Designs: how many of each cell are reviewed, and which. Every sampling rule is carried by stratified simple random sampling.

Items are cut into cells of adjacent error probability, a rule gives each cell a number of reviews, and the items with the smallest
permanent random numbers of a cell are taken. So the budget is met to the item, the inclusion probability is exactly ``selected / size``
of the cell, and a decision is a pure function of the set {(error probability, id)}, the key and the design's parameters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actlabel.core.cells import Cells, close_around_rank, close_by_size, join_last_if_small, one_cell_per_level
from actlabel.core.errors import UserError
from actlabel.core.rules import THRESHOLD, Rule, allocate

ONE: Final = 1 << 16
"""The error probability 1 in units of 2^-16."""
LEAST_CELL: Final = 50
LEAST_FLOOR: Final = 4

_Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCells:
    """What a later draw needs of an earlier one to drop nothing that it chose. h cells, from the most doubtful down."""

    lowest: _Integers  # (h,) the lowest error probability of each cell, in units of 2^-16
    selected: _Integers  # (h,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """n items in h cells, from the most doubtful cell down."""

    cell: NDArray[np.int32]  # (n,) the cell of each item, in the order in which the items were given
    size: _Integers  # (h,) items of each cell
    selected: _Integers  # (h,) how many of them are reviewed
    lowest: _Integers  # (h,) the lowest error probability of each cell, in units of 2^-16
    highest: _Integers  # (h,) the highest

    def inclusion(self) -> NDArray[np.float64]:
        """Return the probability (n,) with which each item is selected."""
        return (self.selected / self.size)[self.cell]

    @property
    def certain(self) -> NDArray[np.bool_]:
        """Which cells (h,) are reviewed whole."""
        return np.equal(self.selected, self.size)

    @property
    def has_zero(self) -> bool:
        """Whether some items can never be selected, so that no estimate over all items is valid."""
        return bool((self.selected == 0).any())

    @property
    def kept(self) -> KeptCells:
        """What a draw with a higher budget needs to know."""
        return KeptCells(lowest=self.lowest, selected=self.selected)


def quantise(error_probability: NDArray[np.float64]) -> _Integers:
    """Round error probabilities (n,) to units of 2^-16, clipped to [0, 1]. Raises ``UserError`` when one is not a number."""
    values = np.asarray(error_probability, dtype=np.float64)
    if np.isnan(values).any():
        raise UserError(f"error probability number {int(np.flatnonzero(np.isnan(values))[0]) + 1} is not a number")
    return np.rint(np.clip(values, 0.0, 1.0) * ONE).astype(np.int64)


def design_exact(epsilon_q16: NDArray[np.integer], *, budget: int, audit_share: float, rule: Rule, keep: KeptCells | None = None) -> Design:
    """Design one draw over a whole population of error probabilities (n,) in units of 2^-16.

    ``audit_share``: the part of the budget that is spread over all cells whatever the rule says, so that no inclusion probability is 0.
    ``keep``: the cells of the draw whose budget is being raised. A cell that was partly reviewed stays as it is, and none gets fewer.
    Raises ``UserError`` when the floors of the audit exceed the budget, or the numbers make no sense.
    """
    _check(epsilon_q16, budget, audit_share, what="budget")
    audits = audit_share * budget
    levels = one_cell_per_level(epsilon_q16)
    cells = _exact_cells(levels, budget=budget, audits=audits, rule=rule)
    floors = _floors(cells, audits)
    if keep is not None:
        cells, least = _keep(cells, keep, budget)
        floors = np.maximum(_floors(cells, audits), least)
        floors = least if floors.sum() > budget and least.all() else floors
    if floors.sum() > budget:
        raise UserError(
            f"budget: {budget} reviews do not cover the audit, which needs {int(floors.sum())} over {len(floors)} cells of items; "
            "raise the budget, or lower audit_share"
        )
    return _design(cells, allocate(rule, cells, floors=floors, budget=budget))


def _exact_cells(levels: Cells, *, budget: int, audits: float, rule: Rule) -> Cells:
    items = len(levels.item_level)
    if audits == 0 and rule.name == THRESHOLD:
        return close_around_rank(levels, budget)
    below = max(LEAST_CELL, 8 * items / audits) if audits > 0 else LEAST_CELL
    return close_by_size(levels, above=budget, least=LEAST_CELL, least_below=below)


def _floors(cells: Cells, audits: float) -> _Integers:
    if audits == 0:
        return np.zeros_like(cells.size)
    share = np.ceil(audits * cells.size / cells.size.sum() - 1e-9).astype(np.int64)
    floors: _Integers = np.minimum(cells.size, np.maximum(LEAST_FLOOR, share))
    return floors


def _keep(fresh: Cells, keep: KeptCells, budget: int) -> tuple[Cells, _Integers]:
    """Return cells that cut nothing that was partly reviewed, and how many of each are reviewed already (h,)."""
    kept_cell = np.minimum(np.searchsorted(-keep.lowest, -fresh.level, side="left"), len(keep.lowest) - 1)
    untouched = keep.selected[kept_cell] == 0
    fine = kept_cell * (len(fresh.level) + 1) + np.where(untouched, fresh.level_cell, 0)
    cells = fresh.regrouped(fine)
    first = np.searchsorted(cells.level_cell, np.arange(len(cells.size)))
    least = np.minimum(keep.selected[kept_cell[first]], cells.size)
    if least.sum() > budget:
        raise UserError(f"budget: {budget} is below the {int(least.sum())} reviews that an earlier draw chose; a budget is only raised")
    return cells, least


def design_block(epsilon_q16: NDArray[np.integer], *, quota: int, audit_share: float, rule: Rule) -> Design:
    """Design one block of a stream: ``quota`` reviews out of its items (n,). It never refuses a quota of 1 to n.

    Threshold: the top of the block is certain, the level at the boundary is sampled, and what lies below gets its part of the audit.
    Raises ``UserError`` for a quota of 0 (such a block waits, its items never get probability 0) or above n.
    """
    _check(epsilon_q16, quota, audit_share, what="quota")
    if quota == 0:
        raise UserError("quota: a block without reviews waits for quota; its items never get inclusion probability 0")
    audits = min(quota, max(2, math.ceil(audit_share * quota - 1e-9))) if audit_share > 0 else 0
    levels = one_cell_per_level(epsilon_q16)
    if rule.name == THRESHOLD:
        return _threshold_block(levels, quota=quota, audits=audits)
    least = max(LEAST_CELL, 2 * len(epsilon_q16) / audits) if audits else LEAST_CELL
    cells = join_last_if_small(close_by_size(levels, above=0, least=least, least_below=least), least)
    floors = np.minimum(cells.size, min(2, audits))
    return _design(cells, allocate(rule, cells, floors=floors, budget=quota))


def _threshold_block(levels: Cells, *, quota: int, audits: int) -> Design:
    if quota == audits:
        whole = levels.regrouped(np.zeros_like(levels.level_cell))
        return _design(whole, np.array([quota], dtype=np.int64))
    cells = close_around_rank(levels, quota - audits)
    if audits == 0:
        return _design(cells, allocate(Rule(), cells, floors=np.zeros_like(cells.size), budget=quota))
    boundary = int(np.searchsorted(np.cumsum(cells.size), quota - audits))
    return _design(cells, _block_reviews(cells.size, boundary, quota=quota, audits=audits))


def _block_reviews(size: _Integers, boundary: int, *, quota: int, audits: int) -> _Integers:
    """Give reviews to: the certain cell if any, the boundary cell, the cell below if any."""
    tied, below = int(size[boundary]), int(size[boundary + 1 :].sum())
    left = quota - int(size[:boundary].sum())
    share = max(2, math.floor(audits * below / (tied + below) + 0.5))
    audited = max(min(share, below), left - tied)
    return np.concatenate([size[:boundary], [left - audited], [audited] * (below > 0)]).astype(np.int64)


def block_quota(*, budget: int, seen: int, expected: int, taken: int) -> int:
    """Return the reviews due after ``seen`` of ``expected`` items: what their share of the budget allows, less what was taken.

    After a raise it may exceed the items of a block; a block takes at most as many as it has items.
    """
    if expected < 1:
        raise UserError(f"expected_items: {expected} is not a number of items; at least 1 is expected")
    return max(0, budget * min(seen, expected) // expected - taken)


def _check(epsilon_q16: NDArray[np.integer], budget: int, audit_share: float, *, what: str) -> None:
    if len(epsilon_q16) == 0:
        raise UserError("there are no items to draw from")
    if epsilon_q16.min() < 0 or epsilon_q16.max() > ONE:
        raise UserError("error probabilities lie between 0 and 1")
    if not 0 <= budget <= len(epsilon_q16):
        raise UserError(f"{what}: {budget} reviews out of {len(epsilon_q16)} items cannot be; it lies between 0 and the number of items")
    if not 0 <= audit_share <= 1:
        raise UserError(f"audit_share: {audit_share} is not a share; it lies between 0 and 1")


def _design(cells: Cells, selected: _Integers) -> Design:
    return Design(cell=cells.item_cell, size=cells.size, selected=selected, lowest=cells.lowest, highest=cells.highest)


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOff:
    """The last item of a cell that is selected; an item is selected when its (number, id) is not larger."""

    number: int
    item_id: str


def select(design: Design, numbers: NDArray[np.uint64], ids: Sequence[str]) -> NDArray[np.bool_]:
    """Select (n,): of each cell the items with the smallest (number, id), as many as the design says."""
    order, rank = _ranked(design, numbers, ids)
    chosen = np.empty(len(ids), dtype=np.bool_)
    chosen[order] = rank < design.selected[design.cell[order]]
    return chosen


def cut_offs(design: Design, numbers: NDArray[np.uint64], ids: Sequence[str]) -> list[CutOff | None]:
    """Return where each cell (h,) is cut, None where nothing of it is selected. Items later found in a cell can be checked against it."""
    order, _ = _ranked(design, numbers, ids)
    last = np.cumsum(design.size) - design.size + design.selected - 1
    items = order[np.clip(last, 0, None)].tolist()
    return [
        CutOff(number=int(numbers[item]), item_id=ids[item]) if selected else None
        for item, selected in zip(items, design.selected.tolist(), strict=True)
    ]


def _ranked(design: Design, numbers: NDArray[np.uint64], ids: Sequence[str]) -> tuple[_Integers, _Integers]:
    """Order the items by (cell, number, id); return that order (n,) and the rank of each of it within its cell (n,)."""
    if not len(ids) == len(numbers) == len(design.cell):
        raise ValueError(f"{len(ids)} ids and {len(numbers)} numbers for {len(design.cell)} items")
    order = np.lexsort((numbers, design.cell))
    same = (np.diff(numbers[order]) == 0) & (np.diff(design.cell[order]) == 0)
    if same.any():  # one pair in 2^64, or a test
        keys = zip(design.cell.tolist(), numbers.tolist(), ids, strict=True)
        order = np.array([item for item, _ in sorted(enumerate(keys), key=lambda pair: pair[1])], dtype=np.int64)
    start = np.cumsum(design.size) - design.size
    return order, np.arange(len(order)) - start[design.cell[order]]
