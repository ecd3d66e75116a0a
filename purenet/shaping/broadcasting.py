"""Axes of size 1 taken away, and arrays repeated until they have a shape."""

from __future__ import annotations

import numpy as np

from purenet.checks import axes, integers
from purenet.linear.products import unbroadcast
from purenet.op import Array, Op
from purenet.shaping.layout import reshape_bwd

__all__ = ["broadcast_to", "squeeze"]


@Op
def squeeze(x: Array, *, axis: int | tuple[int, ...] | None = None) -> tuple[Array, tuple[int, ...]]:
    """The array x without those of its axes of size 1 that `axis` names (an integer, several, or None for all of that size).

    Shapes: x (..., 1, ...) -> y (...)
    Math:
        y  = the entries of x
        dx = the entries of dy, in the shape of x
    Errors: TypeError for another `axis`; ValueError where x has no such axis, one is named twice, or has another size than 1.
    Source: jax.numpy.squeeze. Conventions: as NumPy; torch leaves a named axis of another size as it is. y is a view of x.

    >>> import numpy as np, purenet as pn
    >>> pn.squeeze(np.zeros((1, 3, 1)), axis=0).shape
    (3, 1)
    """
    gone = tuple(i for i, n in enumerate(x.shape) if n == 1) if axis is None else axes("squeeze", axis, x)
    if any(x.shape[i] != 1 for i in gone):
        raise ValueError(f"squeeze: axis must name axes of size 1 of x {x.shape}, got {axis}")
    return x.reshape([n for i, n in enumerate(x.shape) if i not in gone]), x.shape


@squeeze.pullback
def squeeze_bwd(shape: tuple[int, ...], dy: Array) -> tuple[Array]:
    return reshape_bwd(shape, dy)


@Op
def broadcast_to(x: Array, *, shape: int | tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """The array x, repeated along new leading axes and along its axes of size 1 until it has this shape.

    Shapes: x (...) -> y `shape`
    Math:
        y  = x at the same indices, 0 along an axis of size 1
        dx = dy, summed over the axes along which x was repeated
    Errors: TypeError unless `shape` is an integer or a tuple of them; ValueError where x does not broadcast to it.
    Source: jax.numpy.broadcast_to. Conventions: y is a new array; NumPy and torch's expand give a view. tile repeats any axis.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.broadcast_to, np.array([1.0, 2.0]), shape=(3, 2))
    >>> y.shape, pullback(np.ones((3, 2)))[0]
    ((3, 2), array([3., 3.]))
    """
    sizes = integers("broadcast_to", "shape", shape, len(shape) if isinstance(shape, tuple | list) else 1, low=0)
    try:
        return np.broadcast_to(x, sizes).copy(), x.shape
    except ValueError:
        raise ValueError(f"broadcast_to: x {x.shape} must broadcast to shape, got {shape}") from None


@broadcast_to.pullback
def broadcast_to_bwd(shape: tuple[int, ...], dy: Array) -> tuple[Array]:
    return (unbroadcast(dy.copy(), shape),)
