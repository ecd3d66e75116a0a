"""softmax and log_softmax over the last axis, some rows at a time and in few passes: what `normalized` computes, but faster.

So is the logarithm of the probability of one class in each row, of which the cross entropy is made.

The likeliest entry of each row is found once. What is computed there differently is written there, instead of a choice at every
entry, and what is computed for some rows stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from purenet.op import Array
from purenet.row_blocks import is_one_block, row_blocks

__all__ = ["log_softmax_rows", "log_softmax_rows_bwd", "softmax_at_labels", "softmax_rows", "softmax_rows_bwd"]


def softmax_rows(x: Array) -> Array:
    """The softmax of each row."""
    y = np.empty_like(x, order="C")
    for rows, some in _blocks(x, y):
        np.subtract(rows, rows.max(axis=1, keepdims=True), out=some)
        np.exp(some, out=some)
        some /= np.maximum(some.sum(axis=1, keepdims=True), 1)
    return y


def softmax_rows_bwd(y: Array, dy: Array) -> Array:
    """The cotangent of x, from sums over all but the likeliest entry of a row."""
    dx = np.empty_like(y)
    for some in _blocks(y, dy, dx):
        _softmax_bwd(*some)
    return dx


def _softmax_bwd(p: Array, dy: Array, out: Array) -> None:
    """Writes the cotangent to `out`."""
    np.subtract(dy, dy[_largest(p)][:, None], out=out)
    out -= (p * out).sum(axis=1, keepdims=True)
    out *= p


def log_softmax_rows(x: Array) -> tuple[Array, Array]:
    """The logarithm of the softmax of each row, and the softmax."""
    y, p = np.empty_like(x, order="C"), np.empty_like(x, order="C")
    for rows, some, e in _blocks(x, y, p):
        likeliest = _largest(rows)
        np.subtract(rows, rows[likeliest][:, None], out=some)
        np.exp(some, out=e)
        one = e[likeliest]  # or NaN
        e[likeliest] = 0
        others = e.sum(axis=1)
        others += one - 1
        e[likeliest] = one
        some -= np.log1p(others)[:, None]
        e /= (1 + others)[:, None]
    return y, p


def log_softmax_rows_bwd(y: Array, p: Array, dy: Array, dominant: float) -> Array:
    """The cotangent of x. Only the likeliest entry can have a probability above `dominant`; the sums there leave it out."""
    dx = np.empty_like(y)
    for some in _blocks(y, p, dy, dx):
        _log_softmax_bwd(*some, dominant=dominant)
    return dx


def _log_softmax_bwd(logs: Array, p: Array, dy: Array, out: Array, *, dominant: float) -> None:
    """Writes the cotangent to `out`."""
    likeliest = _largest(p)
    most, own = p[likeliest], dy[likeliest]
    certain = most > dominant
    np.copyto(out, dy)
    out[likeliest] = np.where(certain, 0, own)
    others = out.sum(axis=1)
    np.multiply(p, (others + np.where(certain, own, 0))[:, None], out=out)
    np.subtract(dy, out, out=out)
    out[likeliest] = np.where(certain, -np.expm1(logs[likeliest]) * own - most * others, out[likeliest])


def softmax_at_labels(x: Array, labels: Array) -> tuple[Array, Array]:
    """The softmax of each row, and its logarithm at the label of each row."""
    p, log_p, at = np.empty_like(x, order="C"), np.empty(labels.size, x.dtype), labels.reshape(-1)
    end = 0
    for rows, some in _blocks(x, p):
        begin, end = end, end + len(rows)
        entries = some.reshape(-1)
        likeliest = np.arange(0, entries.size, rows.shape[1])  # at first the first entry of each row
        label = likeliest + at[begin:end]
        likeliest += rows.argmax(axis=1)
        np.subtract(rows, rows.reshape(-1)[likeliest][:, None], out=some)
        logs = entries[label]
        np.exp(some, out=some)
        one = entries[likeliest]  # or NaN
        entries[likeliest] = 0
        others = np.add.reduce(some, axis=1)
        others += one - 1
        entries[likeliest] = one
        logs -= np.log1p(others)
        log_p[begin:end] = logs
        others += 1
        some /= others[:, None]
    return p, log_p.reshape(labels.shape)


def _largest(rows: Array) -> tuple[Array, Array]:
    """The place of a largest entry of each row."""
    return np.arange(len(rows)), rows.argmax(axis=1)


def _blocks(*arrays: Array) -> Iterable[Sequence[Array]]:
    """Some rows at a time of arrays of one shape, as views where they are contiguous."""
    flat = arrays if arrays[0].ndim == 2 else [a.reshape(-1, a.shape[-1]) for a in arrays]
    if is_one_block(flat[0]):
        return (flat,)
    return ([a[some] for a in flat] for some in row_blocks(flat[0]))
