"""How good a critic is, and what review bought. Every number takes weights: 1/π where only reviewed items are known, else 1."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actlabel.core.intervals import Interval, wilson_limits

_Floats = NDArray[np.float64]
_Bools = NDArray[np.bool_]

BINS: Final = 10
"""Calibration bins: equally wide over [0, 1], the last one closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Annotation quality gain against budget, straight between its points. k points, from (0, 0) to (1, 1)."""

    budget: _Floats  # (k,) share of the items that is reviewed
    recall: _Floats  # (k,) share of the wrong labels that is found: the gain in accuracy over the gain that is possible

    @property
    def area(self) -> float:
        """ABS: the area under the curve. Random review has 0.5."""
        return float(np.trapezoid(self.recall, self.budget))

    def at(self, budget: float) -> float:
        """Return the recall at a share of the items."""
        return float(np.interp(budget, self.budget, self.recall))


def quality_curve(error_probability: _Floats, wrong: _Bools, weight: _Floats | None = None) -> Curve:
    """Review from the most doubtful down, all inputs (n,). Items with equal error probability come in random order, on average:
    a straight piece of the curve."""
    weight = np.ones(len(wrong)) if weight is None else weight
    _, level = np.unique(-error_probability, return_inverse=True)
    items = np.bincount(level, weights=weight).astype(np.float64)
    errors = np.bincount(level, weights=weight * wrong).astype(np.float64)
    return Curve(budget=_from_zero(items), recall=_from_zero(errors))


def oracle_curve(error_rate: float) -> Curve:
    """Return the curve of review that knew every wrong label beforehand; its area is 1 minus half the error rate."""
    return Curve(budget=np.array([0.0, error_rate, 1.0]), recall=np.array([0.0, 1.0, 1.0]))


def random_curve() -> Curve:
    """Return the curve of random review, on average."""
    return Curve(budget=np.array([0.0, 1.0]), recall=np.array([0.0, 1.0]))


def _from_zero(amounts: _Floats) -> _Floats:
    total = np.concatenate([[0.0], np.cumsum(amounts)])
    return total / total[-1] if total[-1] > 0 else np.linspace(0.0, 1.0, len(total))


def error_recall(wrong: _Bools, found: NDArray[np.floating | np.bool_]) -> float:
    """Return the share of wrong labels that review found; ``found`` may be inclusion probabilities, for the expectation.
    NaN where no label is wrong."""
    return float((wrong * found).sum() / wrong.sum()) if wrong.any() else float("nan")


def recall_difference(*, wrong: _Bools, selected: _Bools, level: float = 0.95, replicates: int = 20_000, seed: int = 0) -> Interval:
    """Estimate error recall minus that of random review of as many items, where the truth of all items (n,) is known.

    A paired bootstrap over items: each replicate resamples the four kinds of item (wrong or not, reviewed or not) and compares the
    recall with the replicate's own share of reviewed items, which is what random review finds on average. Needs a wrong label.
    """
    kinds = np.bincount(2 * wrong + selected, minlength=4)
    drawn = np.random.default_rng(seed).multinomial(len(wrong), kinds / len(wrong), size=replicates)
    drawn = drawn[drawn[:, 2:].sum(axis=1) > 0]
    differences = drawn[:, 3] / drawn[:, 2:].sum(axis=1) - drawn[:, [1, 3]].sum(axis=1) / len(wrong)
    low, high = np.quantile(differences, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(low=float(low), high=float(high), estimate=error_recall(wrong, selected) - float(selected.mean()))


def brier(error_probability: _Floats, wrong: _Bools, weight: _Floats) -> float:
    """Return the mean squared distance of the error probability from what was true."""
    return float(np.average((error_probability - wrong) ** 2, weights=weight))


def auroc(error_probability: _Floats, wrong: _Bools, weight: _Floats) -> float:
    """Return the probability that a wrong label got a higher error probability than a right one, ties counted half. NaN if one kind is
    missing."""
    _, level = np.unique(error_probability, return_inverse=True)
    bad, good = np.bincount(level, weights=weight * wrong), np.bincount(level, weights=weight * ~wrong)
    pairs = bad.sum() * good.sum()
    return float((bad * (np.cumsum(good) - good / 2)).sum() / pairs) if pairs > 0 else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """What was said and what was true in one bin."""

    said: float  # weighted mean error probability
    true: Interval  # weighted share of wrong labels; Wilson at the effective sample size (Σw)²/Σw²
    items: int  # with a known truth
    share: float  # of all weight


def reliability(error_probability: _Floats, wrong: _Bools, weight: _Floats) -> list[ReliabilityBin]:
    """Compare said and true error rates (n,) in equally wide bins; empty ones are left out."""
    index = _bin(error_probability)
    return [_reliability_bin(error_probability[index == b], wrong[index == b], weight[index == b], weight.sum()) for b in np.unique(index)]


def _reliability_bin(error_probability: _Floats, wrong: _Bools, weight: _Floats, total: float) -> ReliabilityBin:
    rate = np.average(wrong, weights=weight)
    effective = weight.sum() ** 2 / (weight**2).sum()
    low, high = wilson_limits(rate, effective, 1.959963984540054)
    return ReliabilityBin(
        said=float(np.average(error_probability, weights=weight)),
        true=Interval(low=float(low), high=float(high), estimate=float(rate)),
        items=len(wrong),
        share=float(weight.sum() / total),
    )


def expected_calibration_error(error_probability: _Floats, wrong: _Bools, weight: _Floats) -> float:
    """Return the mean distance between said and true error rate over the bins, weighted by their share (ECE, 10 equally wide bins)."""
    index = _bin(error_probability)
    gap = np.bincount(index, weights=weight * (error_probability - wrong))
    return float(np.abs(gap).sum() / weight.sum())


def _bin(error_probability: _Floats) -> NDArray[np.int64]:
    return np.minimum((error_probability * BINS).astype(np.int64), BINS - 1)


Measure = Callable[[_Floats, _Bools, _Floats], float]
"""A measure of error probability, truth and weight, all (n,)."""


def bootstrap_interval(
    measure: Measure,
    error_probability: _Floats,
    wrong: _Bools,
    weight: _Floats,
    *,
    stratum: NDArray[np.int64] | None = None,
    level: float = 0.95,
    replicates: int = 400,
    seed: int = 0,
) -> Interval:
    """Estimate a measure with a percentile bootstrap over items (n,), within strata (the cells of the design) where they are given.

    Items that are alike are drawn together, so that what it costs depends on how many kinds there are and not on how many items.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros(len(wrong)) if stratum is None else stratum
    table: _Floats = np.stack([labels, error_probability, wrong, weight], axis=1).astype(np.float64)
    kinds, count = np.unique(table, axis=0, return_counts=True)
    start = np.flatnonzero(np.diff(kinds[:, 0], prepend=kinds[0, 0] - 1))
    groups = np.split(count, start[1:])
    draws = np.concatenate([rng.multinomial(group.sum(), group / group.sum(), size=replicates) for group in groups], axis=1)
    said, true, weights = kinds[:, 1], kinds[:, 2] > 0, kinds[:, 3]
    values = np.array([measure(said, true, weights * times) for times in draws])
    low, high = np.nanquantile(values, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(low=float(low), high=float(high), estimate=measure(error_probability, wrong, weight))
