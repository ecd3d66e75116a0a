"""The axes of a reduction, and whether the result keeps them with size 1; shared by all reductions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from purenet.checks import one_axis
from purenet.op import Array

__all__ = ["Axis", "count_over", "in_a_row", "reduced", "spread"]

Axis = int | tuple[int, ...] | None


def count_over(x: Array, along: tuple[int, ...]) -> int:
    """The number of entries that each entry of the result is made of."""
    return math.prod(x.shape[i] for i in along)


def reduced(y: Array, along: tuple[int, ...], keepdims: bool) -> Array:
    """The value, from one that has the axes it was reduced over with size 1."""
    return np.asarray(y if keepdims else np.squeeze(y, along))


def spread(dy: Array, shape: tuple[int, ...], along: tuple[int, ...]) -> Array:
    """The cotangent of the value with the axes it was reduced over, of size 1, so that it broadcasts to x of this shape."""
    return np.asarray(dy).reshape([1 if i in along else n for i, n in enumerate(shape)])


def in_a_row(op: str, x: Array, axis: Any) -> tuple[Array, int]:
    """The array and its axis to accumulate along; for None all its entries in a row, and the only axis of that."""
    return (x.reshape(-1), 0) if axis is None else (x, one_axis(op, axis, x))
