"""Functions that are hard to judge: they compute in a narrower dtype than they are given, or are given one of 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from oracle.power.hard_pairs import Several
from oracle.power.hard_points import normal, signed

__all__ = ["NARROW"]

Array = NDArray[Any]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def _inside(dtype: Any) -> Callable[[Any], Array]:
    """Rounds to the dtype, and back."""
    return lambda a: np.asarray(a, np.float64).astype(dtype).astype(np.float64)


def _tanh(dtype: Any, *wrong: float) -> Several:
    """tanh, with everything rounded on the way."""
    rounded = _inside(dtype)

    def slope(factor: float) -> Callable[[Array, Array], tuple[Array]]:
        return lambda dy, x: (rounded(factor * rounded(dy) * (1 - rounded(np.tanh(rounded(x))) ** 2)),)

    return Several(lambda x: rounded(np.tanh(rounded(x))), (slope(1.0),), (signed(8, 5),), tuple(map(slope, wrong)))


def _squares(dtype: Any, *wrong: float) -> Several:
    """The sum of squares, a single number that is rounded."""
    rounded = _inside(dtype)

    def slope(factor: float) -> Callable[[Array, Array], tuple[Array]]:
        return lambda dy, x: (factor * 2 * x * dy,)

    return Several(lambda x: rounded((rounded(x) ** 2).sum()), (slope(1.0),), (signed(6),), tuple(map(slope, wrong)))


def _product(dtype: Any, *wrong: float) -> Several:
    """X @ w with the factors rounded."""
    rounded = _inside(dtype)

    def of(factor: float) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
        return lambda dy, w, x: (rounded(x.T) @ rounded(dy), factor * (rounded(dy) @ rounded(w.T)))

    return Several(lambda w, x: rounded(x) @ rounded(w), (of(1.0),), (normal(4, 3), normal(6, 4)), tuple(map(of, wrong)))


def _doubled(dtype: Any, *wrong: float) -> Several:
    """2 x of numbers that are rounded already, with a factor on all entries."""

    def slope(factor: float) -> Callable[[Array, Array], tuple[Array]]:
        return lambda dy, x: (np.asarray(factor * 2 * dy.astype(np.float64), x.dtype),)

    return Several(lambda x: x + x, (slope(1.0),), (normal(12, 10).astype(dtype),), tuple(map(slope, wrong)))


NARROW: dict[str, Several] = {
    "tanh, float32 inside": _tanh(np.float32, 1.001),
    "tanh, bfloat16 inside": _tanh(BFLOAT16, 0.5),
    "tanh, float16 inside": _tanh(np.float16, 1.1),
    "sum of squares, float32 inside": _squares(np.float32, 1.01),
    "sum of squares, float16 inside": _squares(np.float16, -1.0),
    "product, float32 inside": _product(np.float32, 1.001),
    "product, bfloat16 inside": _product(BFLOAT16, 0.5),
    "doubled in bfloat16": _doubled(BFLOAT16, 1.02),
    "doubled in float16": _doubled(np.float16, 1.005),
}
