"""Norms of many samples whose entries lie side by side: what `core` computes, some samples at a time, which stay in the cache.

Arrays are (samples, channels, positions); mean and variance go over all of a group of channels. A layer_norm has one group, and
its features are channels of one position.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from purenet.normalization.core import FEW, divisor, rounding_left
from purenet.normalization.sums import sum_of_rows
from purenet.op import Array
from purenet.row_blocks import row_blocks

__all__ = ["Rows", "normalize_rows", "normalize_rows_bwd"]


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
    for some in row_blocks(x):
        rows, out = _grouped(x[some], groups), _grouped(normalized[some], groups)
        rest = None
        if centered:
            np.subtract(rows, _mean(rows), out=out)
            rest = _mean(out)  # the rounding of the mean, which would stay in every entry of the value
            rows = out
        inverse[some] = 1 / divisor(np.sqrt(_mean(rows, times=rows) + eps))
        if rest is not None and not (np.abs(rest) * inverse[some] < np.finfo(x.dtype).eps / 8).all():
            out -= rest  # it is more than a rounding of the largest entries
            inverse[some] = 1 / divisor(np.sqrt(_mean(out, times=out) + eps))
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
    normalized, inverse = saved.normalized, saved.inverse
    channels, positions = normalized.shape[1:]
    pull = _by_positions if positions > 1 and channels * positions >= FEW * inverse.shape[1] else _by_entries
    given, dx = dy.reshape(normalized.shape), np.empty(normalized.shape, dy.dtype)
    parts = [
        pull(saved._replace(normalized=normalized[some], inverse=inverse[some]), given[some], dx[some])
        for some in row_blocks(dx)
    ]
    dparams = {name: np.asarray(sum(part[name] for part in parts)).reshape(saved.shape) for name in parts[0]}
    return dparams, dx.reshape(dy.shape)


def _by_positions(saved: Rows, dy: Array, out: Array) -> dict[str, Array]:
    """The cotangents of gamma and beta, and that of x written to `out`, from sums over the positions of each channel.

    It is the faster way where there are several positions. Such norms are always centered.
    """
    x_hat, inverse, gamma = saved.normalized, saved.inverse, saved.gamma
    groups = inverse.shape[1]
    along_x, total = sum_of_rows(dy, times=x_hat), sum_of_rows(dy)
    factor = np.repeat(inverse, dy.shape[1] // groups, axis=1)
    dparams = {}
    if saved.has_beta:
        dparams["beta"] = total.sum(axis=0)
    if gamma is not None:
        dparams["gamma"] = along_x.sum(axis=0)
        along_x, total, factor = along_x * gamma, total * gamma, factor * gamma
    np.multiply(dy, factor, out=out)
    rows, dx = _grouped(x_hat, groups), _grouped(out, groups)
    share = inverse / dx.shape[2]
    dx -= rows * (sum_of_rows(_grouped(along_x, groups)) * share)
    dx -= sum_of_rows(_grouped(total, groups)) * share
    return dparams


def _by_entries(saved: Rows, dy: Array, out: Array) -> dict[str, Array]:
    """As `_by_positions`, from sums over all entries of a group."""
    x_hat, inverse, gamma = saved.normalized, saved.inverse, saved.gamma
    groups = inverse.shape[1]
    dparams = {}
    if saved.has_beta:
        dparams["beta"] = dy.sum(axis=(0, 2))
    if gamma is not None:
        dparams["gamma"] = np.einsum("ncp,ncp->c", dy, x_hat)  # adds each product at once
        dy = dy * gamma
    rows, dx, d = (_grouped(a, groups) for a in (x_hat, out, dy))
    np.multiply(rows, -_mean(d, times=rows), out=dx)
    dx += d
    if saved.centered:
        dx -= _mean(d)
    if dx.shape[2] < FEW:
        dx -= rounding_left(dx, d, rows, saved.eps * np.square(inverse), (2,), centered=saved.centered)
    dx *= inverse
    return dparams


def _mean(a: Array, *, times: Array | None = None) -> Array:
    """The mean of each row of a, or of a times another array."""
    return np.asarray(sum_of_rows(a, times=times) / a.shape[2])


def _grouped(a: Array, groups: int) -> Array:
    """(samples, channels, positions) as (samples, groups, entries)."""
    return a.reshape(len(a), groups, -1)
