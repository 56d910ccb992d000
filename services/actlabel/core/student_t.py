"""Quantiles of Student's t distribution for any real degrees of freedom, vectorised; the domain has no SciPy."""

import math
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_NORMAL_FROM: Final = 1e7
"""Degrees of freedom from which t and the normal differ by about 1e-7."""
_STEPS: Final = 400
_TINY: Final = 1e-300


def t_quantile(probability: float, degrees: NDArray[np.floating[Any]]) -> _Floats:
    """Return the quantile at ``probability`` (0.5 < p < 1) for each number of degrees of freedom (> 0), to about 1e-8 relative.

    Bisection on log t of the two-sided tail I_x(ν/2, 1/2), x = ν/(ν + t²).
    """
    shape = np.shape(degrees)
    nu = np.minimum(np.atleast_1d(np.asarray(degrees, dtype=np.float64)).ravel(), _NORMAL_FROM)
    low, high = np.full_like(nu, -12.0), np.full_like(nu, 60.0)
    for _ in range(60):
        middle = 0.5 * (low + high)
        beyond = _tail(np.exp(middle), nu) > 2 * (1 - probability)
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    t: _Floats = np.where(nu >= _NORMAL_FROM, NormalDist().inv_cdf(probability), np.exp(0.5 * (low + high)))
    return np.reshape(t, shape)


def _tail(t: _Floats, nu: _Floats) -> _Floats:
    """P(|T| > t)."""
    square = t * t
    return incomplete_beta(nu / 2, np.full_like(nu, 0.5), x=nu / (nu + square), rest=square / (nu + square))


def incomplete_beta(a: _Floats, b: _Floats, *, x: _Floats, rest: _Floats) -> _Floats:
    """Return the regularized incomplete beta function I_x(a, b) (DLMF 8.17.22); ``rest`` is 1 - x, given apart to keep its digits."""
    flip = x > (a + 1) / (a + b + 2)
    first, second = np.where(flip, b, a), np.where(flip, a, b)
    inside, outside = np.where(flip, rest, x), np.where(flip, x, rest)
    log_gamma = [math.lgamma(p + q) - math.lgamma(p) - math.lgamma(q) for p, q in zip(a.tolist(), b.tolist(), strict=True)]
    log_front = np.array(log_gamma) + first * np.log(np.maximum(inside, _TINY)) + second * np.log(np.maximum(outside, _TINY))
    value = np.exp(log_front) / first / _continued_fraction(first, second, inside)
    within: _Floats = np.clip(np.where(flip, 1 - value, value), 0.0, 1.0)
    return within


def _continued_fraction(a: _Floats, b: _Floats, x: _Floats) -> _Floats:
    """Evaluate 1 + d1/(1 + d2/(1 + …)) from the front by the modified Lentz method."""
    value = c = np.ones_like(x)
    d = np.zeros_like(x)
    for step in range(1, _STEPS):
        coefficient = _coefficient(step, a, b, x)
        d = 1 / _not_zero(1 + coefficient * d)
        c = _not_zero(1 + coefficient / c)
        value = value * c * d
        if np.all(np.abs(c * d - 1) < 1e-15):
            break
    return value


def _coefficient(step: int, a: _Floats, b: _Floats, x: _Floats) -> _Floats:
    m = step // 2
    if step % 2:
        return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
    return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))


def _not_zero(values: _Floats) -> _Floats:
    return np.where(np.abs(values) < _TINY, _TINY, values)
