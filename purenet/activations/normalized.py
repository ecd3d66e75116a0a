"""Activations that couple the entries of an axis: their exponentials share one sum.

Both keep their digits where one entry holds nearly all of the probability: what is small there, 1 - p of that entry, is the sum
of the *others*, and is never computed as a difference from 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import axes, mask
from purenet.op import Array, Op

__all__ = ["log_softmax", "softmax"]

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
    along = axes("softmax", axis, x)
    y = np.exp(shifted(x, along, None if where is None else mask("softmax", "where", where, x.shape)))
    # The largest entry counts 1, so the sum is below 1 only where no entry counts.
    y /= np.maximum(y.sum(axis=along, keepdims=True), 1)
    return y, (y, along)


@softmax.pullback
def softmax_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    y, along = residuals
    # A shift of dy changes nothing but rounding. With 0 at the likeliest entry, the sum runs over the others alone.
    likeliest = y == y.max(axis=along, keepdims=True, initial=0)
    dy = dy - np.max(dy, axis=along, keepdims=True, initial=-np.inf, where=likeliest)
    return (y * (dy - np.sum(y * dy, axis=along, keepdims=True)),)


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
    y = shifted(x, along, kept)
    y -= np.log1p(sum_of_others(np.exp(y), along))
    return y, (y, along, kept)


@log_softmax.pullback
def log_softmax_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    y, along, kept = residuals
    if kept is not None:
        dy = np.where(kept, dy, 0)
    p = np.exp(y)
    dominant = p > DOMINANT
    others = np.where(dominant, 0, dy).sum(axis=along, keepdims=True)
    total = others + np.where(dominant, dy, 0).sum(axis=along, keepdims=True)
    return (np.where(dominant, -np.expm1(y) * dy - p * others, dy - p * total),)


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
