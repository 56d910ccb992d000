"""Intervals, and the sentence where there is none."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_Numbers = NDArray[np.floating[Any]] | np.floating[Any] | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its confidence limits."""

    low: float
    high: float
    estimate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoInterval:
    """Why no valid interval exists, in a sentence for a person."""

    reason: str


def wilson_limits(p: _Numbers, n: _Numbers, z: _Numbers) -> tuple[_Floats, _Floats]:
    """Return Wilson's score limits for proportions ``p`` out of ``n`` (real numbers allowed) at the quantile ``z``; elementwise."""
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return np.clip(centre - half, 0.0, p), np.clip(centre + half, p, 1.0)  # rounding must not push a limit past the proportion


def proportion(successes: float, trials: float, *, level: float = 0.95) -> Interval | NoInterval:
    """Estimate a proportion with Wilson's score interval, for an ordinary test set of independent items."""
    if trials <= 0:
        return NoInterval(reason="No items were tested.")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    low, high = wilson_limits(successes / trials, trials, z)
    return Interval(low=float(low), high=float(high), estimate=successes / trials)
