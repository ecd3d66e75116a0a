"""Lengths of arrays and trees that neither overflow nor underflow where the square of an entry does."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from purenet.op import Array

__all__ = ["norm_of", "norm_of_all", "norms_along", "times"]


def norms_along(array: Array, axes: tuple[int, ...]) -> Array:
    """The Euclidean norms over these axes, which stay with length 1; NaN and inf as they are."""
    largest = np.max(np.abs(array), axis=axes, keepdims=True, initial=0.0)
    unit = np.where((largest > 0) & (largest < np.inf), largest, array.dtype.type(1))
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(unit * np.sqrt(np.sum(np.square(array / unit), axis=axes, keepdims=True, dtype=np.float64)))


def norm_of(array: Array) -> float:
    """The Euclidean norm of an array."""
    return float(norms_along(array, tuple(range(array.ndim))).reshape(()))


def norm_of_all(arrays: Iterable[Array]) -> float:
    """The Euclidean norm of all entries of all arrays."""
    return math.hypot(*map(norm_of, arrays))


def times(array: Array, factor: Any) -> Array:
    """The product, a new array; inf * 0 is NaN without a warning, as for gradients that are not finite."""
    with np.errstate(invalid="ignore"):
        return np.asarray(array * factor).astype(array.dtype, copy=False)
