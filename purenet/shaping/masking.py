"""Entries kept where they are, or replaced."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import array_of, common_shape, integers, mask
from purenet.entrywise import at_least, at_most
from purenet.entrywise import where as choose
from purenet.linear.products import unbroadcast
from purenet.op import Array, Op
from purenet.random.checks import checked_numbers

__all__ = ["clip", "tril", "triu", "where"]


@Op
def where(x: Array, y: Array, *, condition: Array) -> tuple[Array, Any]:
    """The entries of x where the condition is true, those of y where it is false. All three broadcast.

    Shapes: x (...), y (...), condition (...) booleans -> z (...), what they broadcast to
    Math:
        z  = x where condition, else y
        dx = dz where condition, else 0;  dy = 0 where condition, else dz; each summed over axes along which it was broadcast
    Errors: TypeError unless `condition` is an array of booleans, ValueError where the shapes do not broadcast.
    Source: jax.numpy.where. Conventions: the condition is a keyword, because it is not differentiated. What is not chosen may
        be infinite or NaN, and its gradient is still 0; that of the function which gave it may be NaN all the same.

    >>> import numpy as np, purenet as pn
    >>> x = np.array([1.0, 2.0, 3.0])
    >>> z, pullback = pn.vjp(pn.where, x, np.array(9.0), condition=x < 2)
    >>> z, pullback(np.ones(3))
    (array([1., 9., 9.]), (array([1., 0., 0.]), array(2.)))
    """
    own = np.array(array_of("where", "condition", condition))  # the caller may write to the original before the pullback
    shape = common_shape("where", x=x.shape, y=y.shape, condition=own.shape)
    kept = mask("where", "condition", own, shape)
    return choose(kept, x, y), (kept, x.shape, y.shape)


@where.pullback
def where_bwd(residuals: Any, dz: Array) -> tuple[Array, Array]:
    kept, x_shape, y_shape = residuals
    return unbroadcast(choose(kept, dz, 0), x_shape), unbroadcast(choose(kept, 0, dz), y_shape)


@Op
def clip(x: Array, *, min: Any = None, max: Any = None) -> tuple[Array, Any]:  # noqa: A002 - jax.numpy's names
    """x, brought to `min` where it is below and to `max` where it is above; either may be an array, or None for no bound.

    Shapes: x (...), min and max () or (...), which broadcast -> y (...)
    Math:
        y  = max(x, min), then min(that, max)
        dx = dy where min < x < max, dy / 2 at a bound, else 0; summed over axes along which x was broadcast
    Errors: TypeError unless the bounds are numbers, arrays of them or None; ValueError where the shapes do not broadcast or a
        bound is NaN.
    Source: jax.numpy.clip. Conventions: the slope at a bound is 0.5, the middle of those beside it, as in JAX; torch's is 1.
        Bounds are not differentiated. Where min is above max y is max, as in JAX and torch, with the slope 0; so it is where
        they are equal (JAX: 0.25), because y is constant there.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.clip, np.array([-2.0, 0.5, 1.0, 3.0]), min=-1.0, max=1.0)
    >>> y, pullback(np.ones(4))[0]
    (array([-1. ,  0.5,  1. ,  1. ]), array([0. , 1. , 0.5, 0. ]))
    """
    low, high = _bound("min", min, x), _bound("max", max, x)
    shapes = {name: bound.shape for name, bound in (("min", low), ("max", high)) if bound is not None}
    shape = common_shape("clip", x=x.shape, **shapes)
    y, above_low, below_high = np.broadcast_to(x, shape), np.asarray(2, np.int8), np.asarray(2, np.int8)
    if low is not None:
        y, above_low = at_least(y, low), _above(x, low)
    if high is not None:
        y, below_high = at_most(y, high), _above(high, x)
    quarters = np.asarray(above_low * below_high)
    if low is not None and high is not None:
        quarters = quarters * (low < high)
    slope = np.multiply(np.broadcast_to(quarters, shape), 0.25, dtype=x.dtype)
    return y if shapes else x.copy(), (slope, x.shape)


@clip.pullback
def clip_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    slope, shape = residuals
    return (unbroadcast(slope * dy, shape),)


@Op
def triu(x: Array, *, k: int = 0) -> tuple[Array, int]:
    """The upper triangle of matrices, 0 below their k-th diagonal; 0 is the main one, those above it are positive.

    Shapes: x (..., N, M) -> y (..., N, M)
    Math:
        y_ij  = x_ij where j - i >= k, else 0
        dx_ij = dy_ij where j - i >= k, else 0
    Errors: ValueError unless x has two axes, TypeError unless k is an integer.
    Source: jax.numpy.triu. Conventions: torch calls k diagonal. What is left out may be NaN.

    >>> import numpy as np, purenet as pn
    >>> pn.triu(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[1., 2.],
           [0., 4.]])
    """
    k = _diagonal("triu", x, k)
    return np.triu(x, k), k


@triu.pullback
def triu_bwd(k: int, dy: Array) -> tuple[Array]:
    return (np.triu(dy, k),)


@Op
def tril(x: Array, *, k: int = 0) -> tuple[Array, int]:
    """The lower triangle of matrices, 0 above their k-th diagonal; 0 is the main one, those above it are positive.

    Shapes: x (..., N, M) -> y (..., N, M)
    Math:
        y_ij  = x_ij where j - i <= k, else 0
        dx_ij = dy_ij where j - i <= k, else 0
    Errors: ValueError unless x has two axes, TypeError unless k is an integer.
    Source: jax.numpy.tril. Conventions: torch calls k diagonal. What is left out may be NaN.

    >>> import numpy as np, purenet as pn
    >>> pn.tril(np.array([[1.0, 2.0], [3.0, 4.0]]), k=-1)
    array([[0., 0.],
           [3., 0.]])
    """
    k = _diagonal("tril", x, k)
    return np.tril(x, k), k


@tril.pullback
def tril_bwd(k: int, dy: Array) -> tuple[Array]:
    return (np.tril(dy, k),)


def _diagonal(op: str, x: Array, k: Any) -> int:
    if x.ndim < 2:
        raise ValueError(f"{op}: x must have shape (..., rows, columns), got {x.shape}")
    (diagonal,) = integers(op, "k", k, 1, low=-(2**31))
    return diagonal


def _bound(name: str, value: Any, x: Array) -> Array | None:
    if value is None:
        return None
    bound = checked_numbers("clip", name, value, x.dtype)
    if np.isnan(bound).any():
        raise ValueError(f"clip: {name} must be a number, got nan")
    return bound


def _above(a: Array, b: Array) -> Array:
    """2 where a is above b, 1 where they are equal, 0 where it is below or one is NaN: twice the slope, in one byte."""
    return np.add(a > b, a >= b, dtype=np.int8)
