"""Linear maps along the last axes of images, a small matrix for each axis: adaptive averages, interpolation.

Up to `DENSE` entries an axis takes a product with the whole matrix, zeros included: BLAS is that much faster. Beyond, and where
an entry is not finite, so that 0 times it is no 0, the caller's own way is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from purenet.op import Array

__all__ = ["DENSE", "multiplied"]

DENSE = 128
"""Entries of an axis. Up to here a product with the whole matrix takes less time than sums of two entries each."""


def multiplied(x: Array, matrices: Sequence[Array]) -> Array | None:
    """The product of each of the last axes of x with a matrix (new size, size); None if this does not pay or is not exact."""
    if max(max(matrix.shape) for matrix in matrices) > DENSE:
        return None
    y = x
    with np.errstate(invalid="ignore"):  # see below
        for axis, matrix in zip(range(x.ndim - len(matrices), x.ndim), matrices, strict=True):
            front, (n, *back) = y.shape[:axis], y.shape[axis:]
            if back:
                product = np.matmul(matrix, y.reshape(math.prod(front), n, math.prod(back)))
            else:
                product = y.reshape(math.prod(front), n) @ matrix.T
            y = product.reshape(*front, len(matrix), *back)
    return y if np.isfinite(x if x.size < y.size else y).all() else None
