"""The distance of two tensors: absolute, relative to the largest entry, in ulps, and as a fitted factor."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["EPSILON", "Fit", "distance", "eps_of", "fit_scale", "largest", "relative", "ulps"]

Array = NDArray[Any]

EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def eps_of(dtype: np.dtype[Any]) -> float:
    """The distance from 1 to the next number of this dtype."""
    return EPSILON[dtype.name]


def largest(*arrays: Array | None) -> float:
    """The largest finite magnitude in any of these arrays, 0 if there is none."""
    return max((_largest(a) for a in arrays if a is not None), default=0.0)


def _largest(a: Array) -> float:
    most = max(float(a.max(initial=0.0)), -float(a.min(initial=0.0)))  # np.abs would copy millions of numbers
    return most if math.isfinite(most) else float(np.abs(a[np.isfinite(a)]).max(initial=0.0))


def distance(ours: Array, theirs: Array) -> Array:
    """|ours - theirs|, with 0 where both are the same infinity, and NaN where either is NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.asarray(np.abs(ours - theirs))
    if np.isnan(apart.max(initial=0.0)):
        apart[np.isinf(ours) & (ours == theirs)] = 0.0
    return apart


def relative(error: Array, scale: float) -> float:
    """The largest error as a fraction of `scale`; infinite if an error is NaN, or the scale is 0 and the error is not."""
    if not error.size:
        return 0.0
    worst = float(error.max())  # NaN stays NaN
    if worst == 0.0:
        return 0.0
    return float(worst / scale) if scale > 0 and not math.isnan(worst) else math.inf


def ulps(ours: float, theirs: float, dtype: np.dtype[Any]) -> float:
    """The distance of two numbers in units in the last place of the larger one, in `dtype`."""
    size = max(abs(ours), abs(theirs))
    if not math.isfinite(size):
        return 0.0 if ours == theirs else math.inf
    if size == 0.0:
        return 0.0
    smallest = float(np.finfo(np.float64).smallest_subnormal)
    return abs(ours - theirs) / max(2.0 ** math.floor(math.log2(size)) * eps_of(dtype), smallest)


class Fit(NamedTuple):
    """The factor from one tensor to another with the least squared error."""

    scale: float
    r2: float
    """The share of the squared size that the factor explains, between 0 and 1."""


def fit_scale(ours: Array, theirs: Array) -> Fit | None:
    """The fit of `ours = scale * theirs`; None if either has an entry that is not finite, or is all zeros."""
    scale = largest(theirs)
    if scale == 0.0 or largest(ours) == 0.0 or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        x, y = theirs.ravel() / scale, ours.ravel() / scale  # without the scale, squares of 1e-200 would underflow
        factor = float(x @ y) / float(x @ x)
        total = float(y @ y)
    if total == 0.0 or not np.isfinite(total):
        return None
    return Fit(factor, 1.0 - float(((y - factor * x) ** 2).sum()) / total)
