"""Activations that couple the entries of an axis: their exponentials share one sum.

Both keep their digits where one entry holds nearly all of the probability: what is small there, 1 - p of that entry, is the sum
of the *others*, and is never computed as a difference from 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.activations.rows import log_softmax_rows, log_softmax_rows_bwd, softmax_rows, softmax_rows_bwd
from purenet.checks import axes, mask
from purenet.op import Array, Op

__all__ = ["log_softmax", "logsumexp", "softmax", "softmin"]

PLAIN = 400
"""Up to this many entries softmax and log_softmax are computed as their formulas stand. The measured time of log_softmax, in
units of that of `rows`: 0.7 for 32 entries, 1.9 from 65,000 on. The bound is low so that the catalogue checks both ways."""

DOMINANT = 0.75  # a probability that at most one entry can have, also after rounding


@Op
def softmax(x: Array, *, axis: int | tuple[int, ...] | None = -1, where: Array | None = None) -> tuple[Array, Any]:
    """Probabilities proportional to exp(x), along `axis` (an integer, several, or None for all) over the entries `where`.

    Shapes: x (..., K, ...), where broadcasts to x -> y (..., K, ...)
    Math, sums over the axis:
        y  = exp(x) / sum exp(x)
        dx = y (dy - sum y dy)
    Errors: ValueError where `axis` is not an axis of x or `where` does not broadcast to x; TypeError unless `where` is boolean.
    Source: Bridle (1990). Conventions: as jax.nn, an entry outside `where` gives 0 and gets no gradient, whatever it holds, and
        so does a row without entries. A row of -inf alone gives NaN.

    >>> import numpy as np, purenet as pn
    >>> pn.softmax(np.log([1.0, 2.0, 5.0])).round(12)
    array([0.125, 0.25 , 0.625])
    >>> pn.softmax(np.array([7.0, 7.0, 9.0]), where=np.array([True, True, False]))
    array([0.5, 0.5, 0. ])
    """
    return probabilities("softmax", x, axis, where)


@softmax.pullback
def softmax_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    y, along = residuals
    if _by_rows(y, along):
        return (softmax_rows_bwd(y, dy),)
    # A shift of dy changes nothing but rounding. With 0 at the likeliest entry, the sum runs over the others alone.
    likeliest = y == y.max(axis=along, keepdims=True, initial=0)
    dy = dy - np.max(dy, axis=along, keepdims=True, initial=-np.inf, where=likeliest)
    return (y * (dy - np.sum(y * dy, axis=along, keepdims=True)),)


@Op
def softmin(x: Array, *, axis: int | tuple[int, ...] | None = -1, where: Array | None = None) -> tuple[Array, Any]:
    """The softmax of -x: the smaller an entry, the likelier.

    Shapes: x (..., K, ...), where broadcasts to x -> y (..., K, ...)
    Math, sums over the axis:
        y  = exp(-x) / sum exp(-x)
        dx = -y (dy - sum y dy)
    Errors: ValueError where `axis` is not an axis of x or `where` does not broadcast to x; TypeError unless `where` is boolean.
    Source: Bridle (1990). Conventions: as softmax; torch has no `where` and no default axis.

    >>> import numpy as np, purenet as pn
    >>> pn.softmin(-np.log([1.0, 2.0, 5.0])).round(12)
    array([0.125, 0.25 , 0.625])
    """
    return probabilities("softmin", -x, axis, where)


@softmin.pullback
def softmin_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return softmax_bwd(residuals, -dy)


@Op
def log_softmax(x: Array, *, axis: int | tuple[int, ...] | None = -1, where: Array | None = None) -> tuple[Array, Any]:
    """The logarithm of softmax, along `axis` (an integer, several, or None for all) over the entries `where`.

    Shapes: x (..., K, ...), where broadcasts to x -> y (..., K, ...)
    Math, sums over the axis:
        y  = x - log(sum exp(x))
        dx = dy - exp(y) sum dy;  at an entry with exp(y) near 1, (1 - exp(y)) dy - exp(y) sum of the other dy
    Errors: ValueError where `axis` is not an axis of x or `where` does not broadcast to x; TypeError unless `where` is boolean.
    Source: Bridle (1990). Conventions: as jax.nn, an entry outside `where` gives -inf and gets no gradient, whatever it holds.
        A row of -inf alone gives NaN.

    >>> import numpy as np, purenet as pn
    >>> np.exp(pn.log_softmax(np.log([1.0, 2.0, 5.0]))).round(12)
    array([0.125, 0.25 , 0.625])
    >>> pn.log_softmax(np.array([100.0, 0.0]))
    array([-3.72007598e-44, -1.00000000e+02])
    """
    along = axes("log_softmax", axis, x)
    kept = None if where is None else mask("log_softmax", "where", where, x.shape)
    if kept is None and _by_rows(x, along):
        y, p = log_softmax_rows(x)
        return y, (y, p, along, kept)
    y = shifted(x, along, kept)
    e = np.exp(y)
    others = sum_of_others(e, along)
    y -= np.log1p(others)
    return y, (y, np.divide(e, 1 + others, out=e), along, kept)  # exp(y) would have the rounding of y


@log_softmax.pullback
def log_softmax_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    y, p, along, kept = residuals
    if kept is None and _by_rows(y, along):
        return (log_softmax_rows_bwd(y, p, dy, DOMINANT),)
    if kept is not None:
        dy = np.where(kept, dy, 0)
    dominant = p > DOMINANT
    others = np.where(dominant, 0, dy).sum(axis=along, keepdims=True)
    total = others + np.where(dominant, dy, 0).sum(axis=along, keepdims=True)
    return (np.where(dominant, -np.expm1(y) * dy - p * others, dy - p * total),)


@Op
def logsumexp(
    x: Array, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, where: Array | None = None
) -> tuple[Array, Any]:
    """The logarithm of the sum of exp(x), along `axis` (an integer, several, or None for all) over the entries `where`.

    Shapes: x (..., K, ...), where broadcasts to x -> y (..., ...), or (..., 1, ...) with `keepdims`
    Math, sums over the axis:
        y  = log(sum exp(x))
        dx = dy exp(x) / sum exp(x)
    Errors: ValueError where `axis` is not an axis of x, `where` does not broadcast to x, or `keepdims` is not True or False;
        TypeError unless `where` is boolean.
    Source: Blanchard, Higham, Higham (2021). Conventions: as jax.nn, the default is the sum over all axes; an entry outside
        `where` does not count and gets no gradient, whatever it holds, and a row of -inf or without entries gives -inf. The
        gradient of a row of -inf alone is NaN, as in JAX and torch; that of a row without entries is 0, as in JAX.

    >>> import numpy as np, purenet as pn
    >>> np.exp(pn.logsumexp(np.log([[1.0, 2.0], [3.0, 4.0]]), axis=1)).round(12)
    array([3., 7.])
    >>> pn.logsumexp(np.array([1e4, 1e4, -1e4]))
    array(10000.69314718)
    """
    along = axes("logsumexp", axis, x)
    empty = None
    if where is not None:
        kept = mask("logsumexp", "where", where, x.shape)
        x, empty = np.where(kept, x, -np.inf), ~kept.any(axis=along, keepdims=True)
    top = x.max(axis=along, keepdims=True, initial=-np.inf)
    with np.errstate(invalid="ignore"):  # inf - inf: the value is inf, whatever the other entries are
        e = np.exp(x - np.where(top == -np.inf, 0, top))
    y = np.where(np.isfinite(top), top + np.log1p(sum_of_others(e, along)), top)
    return y if keepdims else y.squeeze(axis=along), (e, along, empty)


@logsumexp.pullback
def logsumexp_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    e, along, empty = residuals
    total = e.sum(axis=along, keepdims=True)
    if empty is not None:
        total += empty  # not 0 / 0
    return (e / total * dy.reshape(total.shape),)


def probabilities(op: str, x: Array, axis: Any, where: Any) -> tuple[Array, Any]:
    """The softmax of x, and what its pullback needs."""
    along = axes(op, axis, x)
    if where is None and _by_rows(x, along):
        y = softmax_rows(x)
        return y, (y, along)
    y = np.exp(shifted(x, along, None if where is None else mask(op, "where", where, x.shape)))
    # The largest entry counts 1, so the sum is below 1 only where no entry counts.
    y /= np.maximum(y.sum(axis=along, keepdims=True), 1)
    return y, (y, along)


def _by_rows(x: Array, along: tuple[int, ...]) -> bool:
    """Whether there are many rows, of entries that lie side by side."""
    return x.size > PLAIN and along == (x.ndim - 1,)


def shifted(x: Array, along: tuple[int, ...], kept: Array | None = None) -> Array:
    """How far each entry of x lies below the largest kept one along the axes: x - max x, and -inf where not kept."""
    if kept is None:
        return np.asarray(x - x.max(axis=along, keepdims=True, initial=-np.inf))
    x = np.where(kept, x, -np.inf)
    return np.asarray(x - np.where(kept.any(axis=along, keepdims=True), x.max(axis=along, keepdims=True, initial=-np.inf), 0))


def sum_of_others(e: Array, along: tuple[int, ...]) -> Array:
    """The sum of `e` = exp(shifted x) along the axes without one largest entry, which is 1."""
    largest = e == 1
    ties = largest.sum(axis=along, keepdims=True, dtype=e.dtype) - 1
    return np.asarray((e - largest).sum(axis=along, keepdims=True) + np.maximum(ties, 0))
