"""The sums r_i = dy_i + x_{i+1} r_{i+1} along the last axis, in the gradient of running products, with all rows as one.

A NumPy call on parts of rows begins anew at each row, which takes longer than the numbers of a row do. So some rows are joined,
with a factor of 0 between them, and are small enough to stay in the cache.
"""

from __future__ import annotations

import numpy as np

from purenet.op import Array

__all__ = ["sums_of_rest"]

BLOCK = 2**17
"""Bytes of the rows that are joined. Measured for 1,024 rows of 1,024: with half of it 1.15 of the time, with twice as much
1.05; row by row of an array 2 to 4 times as much."""


def sums_of_rest(x: Array, dy: Array) -> Array | None:
    """The sums, in a new array; None if one of them is not finite, for 0 times that would reach the row before."""
    n = x.shape[-1]
    rows, r = x.reshape(-1, n), dy.reshape(-1, n).copy()
    count = max(1, BLOCK // rows[:1].nbytes)
    with np.errstate(over="ignore", invalid="ignore"):
        for begin in range(0, len(rows), count):
            _add_rest(rows[begin : begin + count], r[begin : begin + count])
    return r.reshape(dy.shape) if np.isfinite(r).all() else None


def _add_rest(x: Array, r: Array) -> None:
    """Turns dy, in r, into the sums."""
    n, r = x.shape[1], r.reshape(-1)
    factors = np.zeros(x.shape, x.dtype)
    factors[:, :-1] = x[:, 1:]
    factors, step = factors.reshape(-1)[:-1], 1
    # r_i = (a sum of the next dy) + (the product of the next x) r_{i + step}, for twice the step each time.
    while True:
        r[:-step] += factors * r[step:]
        if 2 * step >= n:
            return
        factors = factors[:-step] * factors[step:]
        step *= 2
