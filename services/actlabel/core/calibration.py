"""Calibration: from what a critic says to how often the annotator is wrong when it says so.

A critic's number means different things for different predicted labels, so the curve is fitted per predicted label, and drawn towards the
curve over all labels where a label has few audits. On recorded answers this moves the recall of threshold review from .40 to .48; the
pooled curve alone moves nothing, since it keeps the order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

SHRINKAGE: Final = 10.0
"""How many audits of a label weigh as much as the pooled curve."""
TIE_BREAK: Final = 2.0**-9
"""How much of the critic's own number is added, so that it orders items that the curves make equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IsotonicCurve:
    """A curve that never falls: flat within its blocks, straight between them. k block ends."""

    x: _Floats  # (k,) rising
    y: _Floats  # (k,) never falling

    def __call__(self, x: _Floats) -> _Floats:
        """Evaluate at points (m,); flat outside."""
        return np.interp(x, self.x, self.y)


def isotonic(x: _Floats, y: _Floats, weight: _Floats) -> IsotonicCurve:
    """Fit the closest never-falling curve to (n,) points by pooling adjacent violators (Barlow et al., 1972)."""
    blocks: list[tuple[float, float, float, float]] = []  # first x, last x, mean, weight
    levels, inverse = np.unique(x, return_inverse=True)
    total = np.bincount(inverse, weights=weight)
    means = np.bincount(inverse, weights=weight * y) / total
    for level, mean, mass in zip(levels.tolist(), means.tolist(), total.tolist(), strict=True):
        block = (level, level, mean, mass)
        while blocks and blocks[-1][2] >= block[2]:
            block = _pool(blocks.pop(), block)
        blocks.append(block)
    return _curve(blocks)


def _pool(left: tuple[float, float, float, float], right: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    mass = left[3] + right[3]
    return left[0], right[1], (left[2] * left[3] + right[2] * right[3]) / mass, mass


def _curve(blocks: Sequence[tuple[float, float, float, float]]) -> IsotonicCurve:
    """Write each block as its two ends."""
    ends = [(x, mean) for first, last, mean, _ in blocks for x in dict.fromkeys((first, last))]
    x, y = (np.array(column) for column in zip(*ends, strict=True))
    return IsotonicCurve(x=x, y=y)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrator:
    """Curves fitted on audited items. Labels that no audit met follow the pooled curve."""

    pooled: IsotonicCurve
    by_label: Mapping[str, tuple[IsotonicCurve, int]]  # predicted label → its own curve and the number of audits behind it

    def __call__(self, error_probability: _Floats, predicted: Sequence[str]) -> _Floats:
        """Return calibrated error probabilities (n,): (audits · own curve + 10 · pooled curve) / (audits + 10).

        Equal values are told apart by what the critic said: that adds at most 0.002.
        """
        labels, calibrated = np.asarray(predicted), self.pooled(error_probability)
        for label, (own, audits) in self.by_label.items():
            here = labels == label
            calibrated[here] = (audits * own(error_probability[here]) + SHRINKAGE * calibrated[here]) / (audits + SHRINKAGE)
        return np.clip(calibrated + TIE_BREAK * error_probability, 0.0, 1.0)


def fit_calibrator(error_probability: _Floats, predicted: Sequence[str], wrong: NDArray[np.bool_]) -> Calibrator:
    """Fit on audited items (m,). They need no weights, even when doubt decided who was audited: the curves condition on what decided.

    Raises ``ValueError`` without audits. The audits are drawn before, and apart from, the reviews that the curves will choose.
    """
    if not len(wrong):
        raise ValueError("a calibrator needs at least one audited item")
    labels = np.asarray(predicted)
    return Calibrator(
        pooled=_fit(error_probability, wrong),
        by_label={
            str(label): (_fit(error_probability[labels == label], wrong[labels == label]), int((labels == label).sum()))
            for label in np.unique(labels)
        },
    )


def _fit(x: _Floats, wrong: NDArray[np.bool_]) -> IsotonicCurve:
    return isotonic(x, wrong.astype(np.float64), np.ones(len(x)))
