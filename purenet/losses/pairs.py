"""Distances of all pairs of rows of two matrices, without an array of all their differences.

The cotangents are products of matrices: with w = dy / y, that of a row a_m is a_m sum_n w_mn - sum_n w_mn b_n.
A product forgets the digits in which near rows differ. So rows that are nearer to each other than to their center are left to
the plain formula, unless they are equal; in float32, whose products are computed in float64, only very near ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from purenet.op import Array
from purenet.row_blocks import row_blocks

__all__ = ["Pairs", "distances", "distances_bwd"]

NEAR = {np.dtype(np.float32): 1e-7, np.dtype(np.float64): 1 / 16}
"""Squares of distances, as shares of the largest square of a length, below which rows are too near. In float32 the square is
then right to 2e-8; in float64 the terms of a cotangent are up to four times as large as their sum, which costs two bits."""

LEAST, MOST = 1e-250, 1e250
"""Largest squares of lengths between which no square that counts is lost or infinite in float64."""


class Pairs(NamedTuple):
    """Residuals of `distances`: the rows less their center and the distances, all in float64."""

    rows1: Array
    rows2: Array
    distances: Array


def distances(x1: Array, x2: Array) -> tuple[Array, Pairs] | None:
    """The Euclidean distance of every row of x1 from every row of x2, both matrices; None where the plain formula is needed."""
    rows1, rows2 = x1.astype(np.float64, copy=False), x2.astype(np.float64, copy=False)
    center = (rows1.mean(axis=0) + rows2.mean(axis=0)) / 2
    a, b = rows1 - center, rows2 - center
    lengths1, lengths2 = np.vecdot(a, a), np.vecdot(b, b)
    largest = max(lengths1.max(), lengths2.max())
    if not LEAST < largest < MOST:  # or NaN
        return None
    if x1.dtype == np.float32:
        squares = a @ b.T
        squares *= -2
        squares += lengths1[:, None]
        squares += lengths2
    else:
        squares = _by_differences(rows1, rows2)
    near = squares < NEAR[x1.dtype] * largest
    if near.any():
        i, j = near.nonzero()
        if i.size > len(a) + len(b) or (x1[i] != x2[j]).any():
            return None
        squares[near] = 0
    y = np.sqrt(squares, out=squares)
    return y.astype(x1.dtype), Pairs(a, b, y)


def _by_differences(a: Array, b: Array) -> Array:
    """The squares of the distances, for some rows of a at a time."""
    squares = np.empty((len(a), len(b)), a.dtype)
    for some in row_blocks(np.broadcast_to(a[:, None], (len(a), *b.shape))):
        e = a[some, None] - b
        np.vecdot(e, e, out=squares[some])
    return squares


def distances_bwd(saved: Pairs, dy: Array) -> tuple[Array, Array]:
    """The cotangents of both matrices."""
    a, b, y = saved
    w = np.divide(dy, y, out=np.zeros_like(y), where=y > 0)
    dx1 = a * w.sum(axis=1)[:, None] - w @ b
    dx2 = b * w.sum(axis=0)[:, None] - w.T @ a
    return dx1.astype(dy.dtype, copy=False), dx2.astype(dy.dtype, copy=False)
