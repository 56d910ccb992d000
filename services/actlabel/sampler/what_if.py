"""A what-if: error probabilities and a budget in, inclusion probabilities out. Touches nothing that is stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actlabel.core.designs import Design, design_exact, quantise
from actlabel.core.errors import UserError
from actlabel.core.rules import Rule

LEAST_AUDITS: Final = 30
"""Below so many audit reviews an interval does not cover what it promises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """What a draw would do with n items."""

    inclusion: NDArray[np.float64]  # (n,)
    expected_error_recall: float  # share of all errors that would be found, if every error probability were true
    random_error_recall: float  # of random review at the same budget
    interval_note: str


def what_if(error_probability: Sequence[float], *, budget: int, rule: Rule, audit_share: float) -> WhatIf:
    """Design a draw over n error probabilities. Raises ``UserError`` for numbers that are none, or a budget that does not fit."""
    values = np.asarray(error_probability, dtype=np.float64)
    if wrong := np.flatnonzero(~((values >= 0) & (values <= 1))).tolist():
        raise UserError(f"error_probability[{wrong[0]}]: {values[wrong[0]]} does not lie between 0 and 1")
    design = design_exact(quantise(values), budget=budget, audit_share=audit_share, rule=rule)
    inclusion, total = design.inclusion(), float(values.sum())
    return WhatIf(
        inclusion=inclusion,
        expected_error_recall=float((inclusion * values).sum()) / total if total else 0.0,
        random_error_recall=budget / len(values),
        interval_note=_interval_note(design, audits=audit_share * budget, audit_share=audit_share),
    )


def _interval_note(design: Design, *, audits: float, audit_share: float) -> str:
    if design.certain.all():
        return "Every item would be reviewed: the accuracy is known, no interval is needed."
    if design.has_zero:
        return "No accuracy interval: some items could never be selected. Give audit_share a value above 0, for example 0.1."
    if audits < LEAST_AUDITS:
        need = f"raise the budget to {int(-(-LEAST_AUDITS // audit_share))}" if audit_share else "give audit_share a value above 0"
        return f"No accuracy interval: {audits:.0f} audit reviews are fewer than {LEAST_AUDITS}; {need}, or review more as audit."
    return f"An accuracy interval will exist: {audits:.0f} audit reviews reach every level of doubt."
