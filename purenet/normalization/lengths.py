"""Rows of given lengths, some rows at a time, which stay in the cache: what weight_norm computes for the first axis."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from purenet.normalization.core import divisor
from purenet.normalization.sums import sum_of_rows
from purenet.op import Array
from purenet.row_blocks import row_blocks

__all__ = ["Directed", "directed_rows", "directed_rows_bwd"]


class Directed(NamedTuple):
    """Residuals of `directed_rows`."""

    v: Array
    length: Array
    """Of each row, (rows, 1)."""
    g: Array


def directed_rows(v: Array, g: Array) -> tuple[Array, Directed]:
    """Each row of v, which may have several axes, with the length g in place of its own."""
    y, length = np.empty(v.shape, v.dtype), np.empty((len(v), 1), v.dtype)
    rows, out, factor = v.reshape(len(v), -1), y.reshape(len(v), -1), g.reshape(len(v), 1)
    for some in row_blocks(rows):
        length[some] = divisor(np.sqrt(sum_of_rows(rows[some], times=rows[some])))
        np.multiply(rows[some], factor[some] / length[some], out=out[some])
    return y, Directed(v, length, g)


def directed_rows_bwd(saved: Directed, dy: Array) -> tuple[Array, Array]:
    """The cotangents of v and g, without the directions u = v / s: dg = sum(dy v) / s, dv = g / s (dy - v dg / s)."""
    v, length, g = saved
    dv, dg = np.empty(v.shape, v.dtype), np.empty(g.shape, v.dtype)
    rows, given, out = (a.reshape(len(v), -1) for a in (v, dy, dv))
    along, factor = dg.reshape(len(v), 1), g.reshape(len(v), 1)
    for some in row_blocks(rows):
        along[some] = sum_of_rows(given[some], times=rows[some]) / length[some]
        np.multiply(rows[some], along[some] / length[some], out=out[some])
        np.subtract(given[some], out[some], out=out[some])
        out[some] *= factor[some] / length[some]
    return dv, dg
