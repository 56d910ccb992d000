"""Sampling rules: how many reviews each cell gets out of the budget. Which items of a cell those are is chance alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actlabel.core.cells import Cells
from actlabel.core.errors import UserError

THRESHOLD: Final = "threshold"
EXPONENTIAL: Final = "exponential"
NORMALIZATION: Final = "normalization"
VARIANCE_OPTIMAL: Final = "variance-optimal"
UNIFORM: Final = "uniform"
RULES: Final = (THRESHOLD, EXPONENTIAL, NORMALIZATION, VARIANCE_OPTIMAL, UNIFORM)

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]
_SATURATED: Final = 40.0
"""Beyond this distance a logistic is 0 or 1 for any count of items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule by name (arXiv 2511.09833, sections on sampling; ``variance-optimal`` and ``uniform`` are additions)."""

    name: str = THRESHOLD
    beta: float = 15.0  # exponential only: the steepness of the logistic in the error probability

    def __post_init__(self) -> None:
        """Raise ``UserError`` for a name or steepness that means nothing."""
        if self.name not in RULES:
            raise UserError(f"rule: {self.name!r} is not a sampling rule; choose one of {', '.join(RULES)}")
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise UserError(f"beta: {self.beta} is not a positive number; 10 to 20 is the usable zone")


def allocate(rule: Rule, cells: Cells, *, floors: _Integers, budget: int) -> _Integers:
    """Return the reviews r (h,) of each cell: ``floors <= r <= size`` and their sum is the budget exactly.

    The caller has checked that the floors do not exceed the budget, nor the budget the items.
    """
    if rule.name == THRESHOLD:
        return _fill(floors, cells.size, budget)
    return _water_fill(_demand(rule, cells), cells.size, floors=floors, budget=budget, ends=_ends(rule, cells))


def _fill(base: _Integers, limit: _Integers, budget: int) -> _Integers:
    """Raise ``base`` towards ``limit`` in cell order until the budget is met."""
    room = limit - base
    before = np.cumsum(room) - room
    filled: _Integers = base + np.clip(budget - base.sum() - before, 0, room)
    return filled


def _demand(rule: Rule, cells: Cells) -> Callable[[float], _Floats]:
    """Say how many reviews (h,) the rule wants in each cell at a scale ``s``; it never falls as ``s`` rises."""
    epsilon = cells.level / 65536.0
    if rule.name == EXPONENTIAL:
        return lambda s: cells.total(0.5 * (1.0 + np.tanh(0.5 * rule.beta * (epsilon + s))))
    total = cells.total(_weights(rule, epsilon))
    return lambda s: s * total


def _weights(rule: Rule, epsilon: _Floats) -> _Floats:
    if rule.name == NORMALIZATION:
        return epsilon
    return np.sqrt(epsilon) if rule.name == VARIANCE_OPTIMAL else np.ones_like(epsilon)


def _ends(rule: Rule, cells: Cells) -> tuple[float, float]:
    """Return a scale at which nothing is wanted and one at which every cell that can fill up is full."""
    if rule.name == EXPONENTIAL:
        return -1.0 - _SATURATED / rule.beta, _SATURATED / rule.beta
    total = cells.total(_weights(rule, cells.level / 65536.0))
    wanted = total > 0
    return 0.0, float(np.max((cells.size[wanted] + 1) / total[wanted], initial=1.0))


def _water_fill(
    demand: Callable[[float], _Floats], size: _Integers, *, floors: _Integers, budget: int, ends: tuple[float, float]
) -> _Integers:
    """Find the smallest scale whose rounded and clipped demand reaches the budget; the last step is given out in cell order."""

    def reviews(scale: float) -> _Integers:
        return np.clip(np.floor(demand(scale) + 0.5).astype(np.int64), floors, size)

    low, high = ends
    if reviews(high).sum() <= budget:  # what is left goes to cells that the rule gives no weight
        return _fill(reviews(high), size, budget)
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (middle, high) if reviews(middle).sum() < budget else (low, middle)
    return _fill(np.minimum(reviews(low), reviews(high)), reviews(high), budget)
