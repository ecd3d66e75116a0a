"""Linear maps along one axis: each entry of the result is a weighted sum of one or a few entries of the argument.

As sparse matrices their adjoint is the transposed matrix. Entries that are used several times accumulate by themselves.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from purenet.op import Array
from purenet.scipy_parts import csr_array

__all__ = ["along", "choosing", "weighing"]


def along(matrix: Any, x: Array, axis: int) -> Array:
    """The product of the matrix with each vector of x along this axis."""
    front = np.moveaxis(x, axis, 0)
    rest = front.shape[1:]
    y = matrix @ front.reshape(front.shape[0], math.prod(rest))
    return np.moveaxis(y.reshape(matrix.shape[0], *rest), 0, axis)


def choosing(entries: Array, size: int, dtype: Any) -> Any:
    """The matrix that takes a vector of this size to its `entries`."""
    return weighing(entries[:, None], np.ones((entries.size, 1), dtype), size)


def weighing(entries: Array, weights: Array, size: int) -> Any:
    """The matrix that takes a vector of this size to sums of a few of its entries with weights, a row for each sum."""
    rows, few = entries.shape
    starts = few * np.arange(rows + 1)
    return csr_array((weights.ravel(), entries.ravel(), starts), shape=(rows, size))
