"""Sums of rows by BLAS, which reads each entry once and makes no array of products."""

from __future__ import annotations

import numpy as np

from purenet.op import Array

__all__ = ["sum_of_rows"]

SHORT = 512
"""Entries that BLAS adds up at most. It keeps 32 sums, so that none has more than 16 terms; with ten times as many entries a
variance in float32 would lose its last digit."""


def sum_of_rows(a: Array, *, times: Array | None = None) -> Array:
    """The sum of each row of a, its last axis, or of a times another array; the axis stays."""
    length = a.shape[-1]
    parts = -(-length // SHORT)
    if length % parts:
        return np.asarray((a if times is None else a * times).sum(axis=-1, keepdims=True))
    shape = (*a.shape[:-1], parts, length // parts)
    other = np.ones(shape[-1], a.dtype) if times is None else times.reshape(shape)
    return np.asarray(np.vecdot(a.reshape(shape), other).sum(axis=-1, keepdims=True))
