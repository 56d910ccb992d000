"""Label accuracy from reviews alone, with an interval that holds under stratified review chosen by doubt.

The cells that were reviewed in part are a stratified simple random sample. Their wrong labels are estimated with shrunken cell rates,
a Satterthwaite t quantile and a Wilson interval at an effective sample size that is never more optimistic than the design's own
weights allow; cells that were reviewed whole add what was found in them, without error. In 2,000 simulated campaigns at each of 40
settings (strong, noisy and inverted critics among them) it covered in 95.0 to 100 %, where plain Wald covered in 90.7 to 95.7 %.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from actlabel.core.intervals import Interval, NoInterval, wilson_limits
from actlabel.core.student_t import t_quantile

LEAST_AUDITS: Final = 30
"""Fewer audit reviews than this carry no interval."""

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What the reviews of each cell (h,) found about the model's labels. In a stream a cell is a cell of one block."""

    size: _Integers  # items
    selected: _Integers  # chosen for review
    wrong: _Integers  # reviewed and corrected
    unknown: _Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # chosen, but without a usable answer; empty: none

    @property
    def open(self) -> _Integers:
        """The ``unknown`` of each cell (h,)."""
        return self.unknown if len(self.unknown) else np.zeros_like(self.size)


def tally(cell: _Integers, *, size: _Integers, selected: _Integers, wrong: NDArray[np.bool_], unknown: NDArray[np.bool_]) -> Tally:
    """Count by cell. All arrays are per item (n,): its cell's number and, the same for all of a cell, size and selected;
    ``wrong`` and ``unknown`` only where the item was selected."""
    _, first, inverse = np.unique(cell, return_index=True, return_inverse=True)
    return Tally(
        size=size[first],
        selected=selected[first],
        wrong=np.bincount(inverse, weights=wrong).astype(np.int64),
        unknown=np.bincount(inverse, weights=unknown).astype(np.int64),
    )


def accuracy_interval(counts: Tally, *, audit_reviews: float, merged: bool = False, level: float = 0.95) -> Interval | NoInterval:
    """Estimate the accuracy of the model's labels, or with ``merged`` that of the labels after review corrected what it found.

    ``audit_reviews``: the audit share times the budget; under the uniform rule the whole budget. Selected items without an answer widen
    the interval to both extremes (all right, all wrong); the estimate then takes them for a cell's average.
    """
    if (counts.selected == 0).any():
        blind = int(counts.size[counts.selected == 0].sum())
        return NoInterval(reason=f"{blind} items could never be chosen for review, so nothing is known about their labels.")
    partly = counts.selected < counts.size
    if partly.any() and audit_reviews < LEAST_AUDITS:
        return NoInterval(
            reason=f"The audit has about {audit_reviews:.0f} reviews; an interval needs {LEAST_AUDITS}. "
            "Raise audit_share or the budget in the next draw."
        )
    found = float(counts.wrong.sum())
    fixed = found if merged else 0.0
    low = wrong_labels(counts, counts.wrong, level=level)[0] - fixed
    high = wrong_labels(counts, counts.wrong + counts.open, level=level)[1] - fixed
    estimate = wrong_labels(counts, _filled(counts), level=level)[2] - fixed
    items = float(counts.size.sum())
    return Interval(low=1 - float(high) / items, high=1 - max(0.0, float(low)) / items, estimate=1 - max(0.0, float(estimate)) / items)


def _filled(counts: Tally) -> _Floats:
    """Give selected items without an answer the rate of those with one: a cell's, drawn a little to the rate over all cells."""
    answered = counts.selected - counts.open
    overall = (counts.wrong.sum() + 0.5) / (answered.sum() + 1)
    filled: _Floats = counts.wrong + counts.open * (counts.wrong + overall) / (answered + 1)
    return filled


def wrong_labels(counts: Tally, wrong: NDArray[Any], *, level: float = 0.95) -> tuple[_Floats, _Floats, _Floats]:
    """Return low limit, high limit and estimate of the number of wrong labels among all items.

    ``wrong`` (…, h) is what reviews found, for one campaign or many at once; every cell has at least one selected item.
    """
    partly = counts.selected < counts.size
    in_full = wrong[..., ~partly].sum(axis=-1).astype(np.float64)
    if not partly.any():
        return in_full, in_full, in_full
    x, r, items = wrong[..., partly], counts.selected[partly], counts.size[partly].sum()
    low, high, rate = _partly_reviewed(counts.size[partly], r, x, level=level)
    found, right = x.sum(axis=-1), r.sum() - x.sum(axis=-1)  # no fewer wrong than were seen to be wrong, no more than were not seen right
    return in_full + np.maximum(items * low, found), in_full + np.minimum(items * high, items - right), in_full + items * rate


def _partly_reviewed(size: _Integers, r: _Integers, x: NDArray[Any], *, level: float) -> tuple[_Floats, _Floats, _Floats]:
    """Limits and estimate of the error rate over cells (h,) that were reviewed in part, ``x`` (…, h) wrong among ``r``."""
    n = r.sum()
    share = size / size.sum()
    rate: _Floats = (share * x / r).sum(axis=-1)
    q = (n * rate + 0.5) / (n + 1)
    shrunk = (x + q[..., None]) / (r + 1)
    g = share**2 * (1 - r / size) / r
    v = g * shrunk * (1 - shrunk) * (r + 1) ** 2 / (r**2 + r + 1)
    variance = v.sum(axis=-1)
    degrees = variance**2 / (v**2 / np.maximum(r - 1, 0.5)).sum(axis=-1)  # a cell with one review has no degrees of its own: half of one
    effective = np.minimum(q * (1 - q) / variance, 1 / g.sum())
    low, high = wilson_limits(rate, effective, t_quantile(0.5 + level / 2, degrees))
    return low, high, rate
