"""How good the critic is: against the truth where it is known, else from reviewed items weighted by 1/π."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actlabel.core.intervals import Interval, NoInterval
from actlabel.core.quality import (
    Curve,
    Measure,
    ReliabilityBin,
    auroc,
    bootstrap_interval,
    brier,
    expected_calibration_error,
    oracle_curve,
    quality_curve,
    reliability,
)
from actlabel.report.evidence import Bools, DecidedItems

LEAST_JUDGED: Final = 30
"""Fewer items with a known truth than this say nothing about a critic."""

_MEASURES: Final[dict[str, Measure]] = {"Brier score": brier, "ECE": expected_calibration_error, "AUROC": auroc}


@dataclass(frozen=True, kw_only=True)
class Critic:
    """Numbers about the critic."""

    basis: str  # a sentence: which items this rests on
    whole: bool  # it speaks about all items: none had no chance of review
    curve: Curve
    oracle: Curve
    measures: dict[str, Interval]
    bins: Sequence[ReliabilityBin]

    @property
    def lift(self) -> float:
        """The area between the curve and random review, as a share of the oracle's; the same number as 2·AUROC - 1."""
        return (self.curve.area - 0.5) / (self.oracle.area - 0.5)


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """The m items that the critic is judged on."""

    error_probability: NDArray[np.float64]
    wrong: Bools
    weight: NDArray[np.float64]
    stratum: NDArray[np.int64] | None
    basis: str
    whole: bool


def judge(items: DecidedItems) -> Critic | NoInterval:
    """Judge the critic on n decided items."""
    judged = _by_gold(items) if items.has_gold.all() else _by_reviews(items)
    if len(judged.wrong) < LEAST_JUDGED:
        return NoInterval(reason=f"The truth of {len(judged.wrong)} items is known; {LEAST_JUDGED} are needed to judge the critic.")
    if judged.wrong.all() or not judged.wrong.any():
        return NoInterval(reason="All labels whose truth is known are right, or all are wrong, so the critic cannot be judged.")
    said, wrong, weight = judged.error_probability, judged.wrong, judged.weight
    return Critic(
        basis=judged.basis,
        whole=judged.whole,
        curve=quality_curve(said, wrong, weight),
        oracle=oracle_curve(float(np.average(wrong, weights=weight))),
        measures={name: bootstrap_interval(measure, said, wrong, weight, stratum=judged.stratum) for name, measure in _MEASURES.items()},
        bins=reliability(said, wrong, weight),
    )


def _by_gold(items: DecidedItems) -> _Judged:
    return _Judged(
        error_probability=items.error_probability,
        wrong=items.model_wrong,
        weight=np.ones(len(items)),
        stratum=None,
        basis=f"On all {len(items)} decided items, whose true labels are known.",
        whole=True,
    )


def _by_reviews(items: DecidedItems) -> _Judged:
    here = items.selected & items.reviewed
    answered = np.bincount(items.cell, weights=here)[items.cell[here]]
    return _Judged(
        error_probability=items.error_probability[here],
        wrong=items.corrected[here],
        weight=items.cell_size[here] / answered,
        stratum=items.cell[here],
        basis=_basis(items, here),
        whole=bool(items.cell_selected.all()),
    )


def _basis(items: DecidedItems, here: Bools) -> str:
    words = f"Estimated from {int(here.sum())} reviewed items, each weighted by 1/π."
    blind = int((items.cell_selected == 0).sum())
    if blind:
        words += f" It says nothing about {blind} items that could never be chosen."
    if missing := int((items.selected & ~here).sum()):
        words += f" {missing} chosen items have no usable answer; this assumes that they are like the others of their cell."
    return words
