"""Entries in the order of their size: all of them, or the largest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from purenet.checks import integer, one_axis
from purenet.op import Array, Op

__all__ = ["largest", "sort", "top_k"]


class Ordered(NamedTuple):
    """Residuals of sort and top_k."""

    indices: Array
    """Where along the axis each entry of the value stood."""
    axis: int
    shape: tuple[int, ...]


@Op
def sort(x: Array, *, axis: int = -1) -> tuple[Array, Ordered]:
    """The entries along `axis` in ascending order; `residuals.indices` says where each of them stood.

    Shapes: x (..., n, ...) -> y (..., n, ...)
    Math, along the axis, with the place p_i of the entry that comes i-th:
        y_i      = x_(p_i)
        dx_(p_i) = dy_i
    Errors: ValueError where x has no such axis, TypeError unless `axis` is an integer.
    Source: jax.numpy.sort. Conventions: equal entries keep their order, as in JAX, so each gets the gradient of its own place.
        NaN is last. torch.sort gives the indices, too, and in no certain order for equal entries.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.sort, np.array([3.0, 1.0, 2.0]))
    >>> y, pullback(np.array([1.0, 10.0, 100.0]))[0]
    (array([1., 2., 3.]), array([100.,   1.,  10.]))
    """
    along = one_axis("sort", axis, x)
    indices = np.argsort(x, along, kind="stable")
    return np.take_along_axis(x, indices, along), Ordered(indices, along, x.shape)


@sort.pullback
def sort_bwd(residuals: Ordered, dy: Array) -> tuple[Array]:
    indices, along, shape = residuals
    dx = np.zeros(shape, dy.dtype)
    np.put_along_axis(dx, indices, dy, along)
    return (dx,)


@Op
def top_k(x: Array, *, k: int, axis: int = -1) -> tuple[Array, Ordered]:
    """The k largest entries along `axis`, the largest first; `residuals.indices` says where each of them stood.

    Shapes: x (..., n, ...) -> y (..., k, ...)
    Math, along the axis, with the place p_i of the i-th largest entry:
        y_i      = x_(p_i), i up to k
        dx_(p_i) = dy_i, 0 elsewhere
    Errors: ValueError where x has no such axis or k is not in 0..n; TypeError unless `k` and `axis` are integers.
    Source: jax.lax.top_k. Conventions: of equal entries the first comes first and is chosen, as in JAX; torch.topk promises no
        order. 0.0 and -0.0 are equal (jax.lax.top_k puts 0.0 first). NaN counts as larger than all. JAX and torch give the
        indices, too: here an integer has no cotangent, so they are in the residuals, `y, residuals = pn.top_k.fwd(x, k=2)`.

    >>> import numpy as np, purenet as pn
    >>> y, residuals = pn.top_k.fwd(np.array([3.0, 1.0, 2.0, 3.0]), k=3)
    >>> y, residuals.indices, pn.top_k.bwd(residuals, np.array([1.0, 10.0, 100.0]))[0]
    (array([3., 3., 2.]), array([0, 3, 2]), array([  1.,   0., 100.,  10.]))
    """
    along = one_axis("top_k", axis, x)
    if integer("top_k", "k", k, 0) > x.shape[along]:
        raise ValueError(f"top_k: k must be in 0..{x.shape[along]}, the size of axis {axis} of x {x.shape}, got {k}")
    indices = largest(x, k, along)
    return np.take_along_axis(x, indices, along), Ordered(indices, along, x.shape)


@top_k.pullback
def top_k_bwd(residuals: Ordered, dy: Array) -> tuple[Array]:
    return sort_bwd(residuals, dy)


PLAIN = 400
"""Entries, for each of the largest, up to which they are found by sorting: there both ways take as long."""

FEW = 32
"""So many are found one by one at most. In units of the time of sorting rows of 512, 3 of them take 0.05, 32 take 0.2."""


def largest(x: Array, k: int, along: int) -> Array:
    """Where the k largest entries along an axis are, the largest first, and of equal ones the first."""
    if x.size > PLAIN * k and k <= FEW and (found := one_by_one(x, k, along)) is not None:
        return found
    ascending = np.argsort(np.flip(x, along), along, kind="stable")  # from behind, so that of equal ones the first is last
    descending = x.shape[along] - 1 - np.flip(ascending, along)
    return np.asarray(np.take(descending, np.arange(k), along))


def one_by_one(x: Array, k: int, along: int) -> Array | None:
    """The same, each among those that are left; None where -inf is among them, which stands for what has been taken."""
    left = np.moveaxis(x, along, -1).reshape(-1, x.shape[along]).copy()
    rows, places = np.arange(len(left)), np.empty((len(left), k), np.intp)
    for i in range(k):
        places[:, i] = place = left.argmax(axis=1)
        if i and (left[rows, place] == -np.inf).any():
            return None
        left[rows, place] = -np.inf
    shape = (*x.shape[:along], *x.shape[along + 1 :], k)
    return np.moveaxis(places.reshape(shape), -1, along)
