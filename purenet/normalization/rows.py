"""Norms of many samples whose entries lie side by side: what `core` computes, some samples at a time, which stay in the cache.

Arrays are (samples, channels, positions); mean and variance go over all of a group of channels. A layer_norm has one group, and
its features are channels of one position.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from purenet.normalization.core import FEW, divisor, rounding_left
from purenet.op import Array

__all__ = ["Rows", "normalize_rows", "normalize_rows_bwd"]

BLOCK = 2**19
"""Bytes of the samples that are computed at a time: half of the second-level cache. With a quarter of it, in which all arrays
have room, a layer_norm takes a seventh longer, because of the calls of NumPy."""

SHORT = 512
"""Entries that BLAS adds up at most. It keeps 32 sums, so that none has more than 16 terms; with ten times as many entries a
variance in float32 would lose its last digit."""


class Rows(NamedTuple):
    """Residuals of `normalize_rows`."""

    normalized: Array
    inverse: Array
    """1 / sigma, (samples, groups, 1)."""
    gamma: Array | None
    """(channels, 1)"""
    has_beta: bool
    shape: tuple[int, ...]
    """Of gamma and beta as they were given."""
    eps: float
    centered: bool


def normalize_rows(
    x: Array, groups: int, parameters: tuple[Array | None, Array | None], shape: tuple[int, ...], eps: float, centered: bool
) -> tuple[Array, Rows]:
    """The value, of x (samples, channels, positions) and parameters gamma and beta (channels, 1), which had this shape."""
    gamma, beta = parameters
    y, normalized = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
    inverse = np.empty((len(x), groups, 1), x.dtype)
    for some in _blocks(x):
        rows, out = _grouped(x[some], groups), _grouped(normalized[some], groups)
        rest = None
        if centered:
            np.subtract(rows, _mean(rows), out=out)
            rest = _mean(out)  # the rounding of the mean, which would stay in every entry of the value
            rows = out
        inverse[some] = 1 / divisor(np.sqrt(_mean(rows, rows) + eps))
        if rest is not None and not (np.abs(rest) * inverse[some] < np.finfo(x.dtype).eps / 8).all():
            out -= rest  # it is more than a rounding of the largest entries
            inverse[some] = 1 / divisor(np.sqrt(_mean(out, out) + eps))
        np.multiply(rows, inverse[some], out=out)
        if gamma is None:
            y[some] = normalized[some]
        else:
            np.multiply(normalized[some], gamma, out=y[some])
        if beta is not None:
            y[some] += beta
    return y, Rows(normalized, inverse, gamma, beta is not None, shape, eps, centered)


def normalize_rows_bwd(saved: Rows, dy: Array) -> tuple[dict[str, Array], Array]:
    """The cotangents of the parameters and of x, in the shape of dy."""
    normalized, inverse, gamma, has_beta, shape, eps, centered = saved
    groups = inverse.shape[1]
    dx: Array = np.empty(normalized.shape, dy.dtype)
    given = dy.reshape(dx.shape)
    dgamma, dbeta = np.zeros(dx.shape[1], dy.dtype), np.zeros(dx.shape[1], dy.dtype)
    for some in _blocks(dx):
        d, x_hat, scale = given[some], normalized[some], inverse[some]
        rows, out = _grouped(x_hat, groups), _grouped(dx[some], groups)
        if dx.shape[2] > 1 and out.shape[2] >= FEW:  # sums over positions first, which all that follows is made of
            along_x, total = _sum(d, x_hat), _sum(d)
            dgamma += along_x.sum(axis=0).reshape(-1)
            dbeta += total.sum(axis=0).reshape(-1)
            factor = np.ones_like(along_x) if gamma is None else gamma
            mean_x, mean = (_grouped(factor * a, groups).sum(axis=2, keepdims=True) / out.shape[2] for a in (along_x, total))
            shares = np.broadcast_to(scale, (*scale.shape[:2], dx.shape[1] // groups)).reshape(along_x.shape)
            np.multiply(d, factor * shares, out=dx[some])
            out -= rows * (mean_x * scale)
            if centered:
                out -= mean * scale
            continue
        if has_beta:
            dbeta += d.sum(axis=(0, 2))
        if gamma is not None:
            dgamma += (d * x_hat).sum(axis=(0, 2))
            d = d * gamma
        d = _grouped(d, groups)
        np.multiply(rows, -_mean(d, rows), out=out)
        out += d
        if centered:
            out -= _mean(d)
        if out.shape[2] < FEW:
            out -= rounding_left(out, d, rows, eps * np.square(scale), (2,), centered=centered)
        out *= scale
    dparams = {"gamma": dgamma.reshape(shape)} if gamma is not None else {}
    return dparams | ({"beta": dbeta.reshape(shape)} if has_beta else {}), dx.reshape(dy.shape)


def _mean(a: Array, b: Array | None = None) -> Array:
    """The mean of each row of a, or of a b."""
    return np.asarray(_sum(a, b) / a.shape[2])


def _sum(a: Array, b: Array | None = None) -> Array:
    """The sum of each row of a, or of a b."""
    length = a.shape[2]
    parts = -(-length // SHORT)
    if length % parts:
        return np.asarray((a if b is None else a * b).sum(axis=2, keepdims=True))
    shape = (*a.shape[:2], parts, length // parts)
    other = np.ones(shape[3], a.dtype) if b is None else b.reshape(shape)
    return np.asarray(np.vecdot(a.reshape(shape), other).sum(axis=2, keepdims=True))


def _grouped(a: Array, groups: int) -> Array:
    """(samples, channels, positions) as (samples, groups, entries)."""
    return a.reshape(len(a), groups, math.prod(a.shape[1:]) // groups)


def _blocks(a: Array) -> Iterator[slice]:
    """Some samples at a time."""
    count = max(1, BLOCK // (math.prod(a.shape[1:]) * a.itemsize))
    return (slice(begin, begin + count) for begin in range(0, len(a), count))
