"""The largest and the smallest entry."""
# ruff: noqa: A001 - `max` and `min` are called what jax.numpy calls them, used outside as `reductions.max`

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import axes
from purenet.op import Array, Op
from purenet.reductions.over import Axis, count_over, reduced, spread

__all__ = ["max", "min"]


@Op
def max(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """The largest entry along `axis` (an integer, several, or None for all); with `keepdims` these stay, with size 1.

    Shapes: x (A, n, B) -> y (A, B), or (A, 1, B), with the axis of n entries between any axes A and B
    Math:
        y    = max_i x_i
        dx_i = dy / k where x_i = y, with k such entries, else 0
    Errors: TypeError for another `axis`; ValueError where x has no such axis, one is named twice, or there are no entries.
    Source: jax.numpy.max. Conventions: ties share the gradient evenly, as in JAX and in torch.amax; torch.max along an axis
        gives it to one of them. NaN is the largest of all, and gets the gradient.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.max, np.array([[1.0, 3.0, 2.0], [5.0, 4.0, 5.0]]), axis=1)
    >>> y, pullback(np.ones(2))[0]
    (array([3., 5.]), array([[0. , 1. , 0. ],
           [0.5, 0. , 0.5]]))
    """
    return _extreme("max", np.max, x, axis, keepdims)


@max.pullback
def max_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    chosen, along = residuals
    share = spread(dy, chosen.shape, along) / np.sum(chosen, along, dtype=dy.dtype, keepdims=True)
    return (np.where(chosen, share, 0),)


@Op
def min(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """The smallest entry along `axis` (an integer, several, or None for all); with `keepdims` these stay, with size 1.

    Shapes: x (A, n, B) -> y (A, B), or (A, 1, B), with the axis of n entries between any axes A and B
    Math:
        y    = min_i x_i
        dx_i = dy / k where x_i = y, with k such entries, else 0
    Errors: as max.
    Source: jax.numpy.min. Conventions: as max.

    >>> import numpy as np, purenet as pn
    >>> pn.min(np.array([[1.0, 3.0, 2.0], [5.0, 4.0, 5.0]]), axis=1)
    array([1., 4.])
    """
    return _extreme("min", np.min, x, axis, keepdims)


@min.pullback
def min_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return max_bwd(residuals, dy)


def _extreme(op: str, extreme: Any, x: Array, axis: Axis, keepdims: bool) -> tuple[Array, Any]:
    along = axes(op, axis, x)
    if count_over(x, along) == 0:
        raise ValueError(f"{op}: there is no entry along axis {axis} of x {x.shape}")
    y = extreme(x, along, keepdims=True)
    return reduced(y, along, keepdims), ((x == y) | np.isnan(x), along)
