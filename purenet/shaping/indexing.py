"""Entries chosen by their place. Places are keywords: they are not differentiated. Negative ones do not wrap, they raise."""
# ruff: noqa: A001 - `slice` is called what jax.lax calls it; outside it is used as `shaping.slice`

from __future__ import annotations

import math
from typing import Any

import numpy as np

from purenet.checks import indices as checked_indices
from purenet.checks import integers, one_axis
from purenet.op import Array, Op
from purenet.shaping.selection import along, choosing

__all__ = ["gather", "slice", "take_along_axis"]


@Op
def slice(
    x: Array, *, start_indices: tuple[int, ...], limit_indices: tuple[int, ...], strides: tuple[int, ...] | None = None
) -> tuple[Array, Any]:
    """Along each axis the entries from `start_indices` to before `limit_indices`, in steps of `strides` (by default 1).

    Shapes: x (n, ...), start_indices (a, ...), limit_indices (b, ...), strides (s, ...) -> y (ceil((b - a) / s), ...)
    Math:
        y[i, ...] = x[a + s i, ...]
        dx        = dy at the places it came from, 0 elsewhere
    Errors: TypeError unless the indices are integers, one for each axis or one for all; ValueError unless 0 <= start <= limit
        <= n along each axis and strides are at least 1.
    Source: jax.lax.slice. Conventions: the limits are absolute and must lie in x, where NumPy's, torch's and ONNX's slices
        wrap negative ones and clamp large ones. y is a view of x.

    >>> import numpy as np, purenet as pn
    >>> x = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    >>> pn.slice(x, start_indices=(1, 0), limit_indices=(2, 4), strides=(1, 2))
    array([[5., 7.]])
    """
    starts = integers("slice", "start_indices", start_indices, x.ndim, low=0)
    limits = integers("slice", "limit_indices", limit_indices, x.ndim, low=0)
    steps = integers("slice", "strides", 1 if strides is None else strides, x.ndim)
    if any(not a <= b <= n for a, b, n in zip(starts, limits, x.shape, strict=True)):
        raise ValueError(
            f"slice: 0 <= start_indices <= limit_indices <= {x.shape}, the shape of x, must hold along each axis, "
            f"got {start_indices} and {limit_indices}"
        )
    places: Any = (..., *(np.s_[a:b:s] for a, b, s in zip(starts, limits, steps, strict=True)))
    return x[places], (x.shape, places)


@slice.pullback
def slice_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    shape, places = residuals
    dx = np.zeros(shape, dy.dtype)
    dx[places] = dy
    return (dx,)


@Op
def gather(x: Array, *, indices: Array, axis: int = 0) -> tuple[Array, Any]:
    """The slices of x along an axis that `indices` name, in the place of that axis: rows of a table, by default.

    Shapes: x (A, n, B), indices (...) integers -> y (A, ..., B), with the axis of n entries between any axes A and B
    Math:
        y[a, i, b]  = x[a, indices[i], b]
        dx[a, k, b] = the sum of the dy[a, i, b] where indices[i] = k
    Errors: TypeError unless `indices` and `axis` are integers; ValueError for an index outside 0..n-1, or where x has no such
        axis.
    Source: ONNX's Gather. Conventions: as jax.numpy.take with an axis, and torch.index_select for a vector of indices;
        torch.gather is `take_along_axis`. Negative indices do not wrap (NumPy, ONNX) and indices out of range do not give NaN
        (jnp.take), they raise.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.gather, np.array([1.0, 2.0, 3.0]), indices=np.array([[2, 0], [2, 2]]))
    >>> y, pullback(np.ones((2, 2)))[0]
    (array([[3., 1.],
           [3., 3.]]), array([1., 0., 3.]))
    """
    place = one_axis("gather", axis, x)
    chosen = checked_indices("gather", "indices", indices, x.shape[place])
    return np.take(x, chosen, place), (x.shape, chosen, place)


@gather.pullback
def gather_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    shape, chosen, place = residuals
    rows = dy.reshape(*shape[:place], chosen.size, *shape[place + 1 :])
    return (along(choosing(chosen.ravel(), shape[place], dy.dtype).T, rows, place),)


@Op
def take_along_axis(x: Array, *, indices: Array, axis: int = -1) -> tuple[Array, Any]:
    """In each vector of x along an axis the entries that the vector of `indices` at the same place names.

    Shapes: x (A, n, B), indices (A, k, B) integers -> y (A, k, B), with the axis of n entries between any axes A and B; these
        broadcast
    Math:
        y[a, i, b]  = x[a, indices[a, i, b], b]
        dx[a, j, b] = the sum of the dy[a, i, b] where indices[a, i, b] = j
    Errors: TypeError unless `indices` and `axis` are integers; ValueError for an index outside 0..n-1, where x has no such
        axis, or the shapes do not broadcast.
    Source: jax.numpy.take_along_axis. Conventions: as torch's function of that name; torch.gather and ONNX's GatherElements
        take no broadcast, but fewer vectors of indices than x has. Negative indices do not wrap (NumPy, ONNX), they raise.

    >>> import numpy as np, purenet as pn
    >>> x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> y, pullback = pn.vjp(pn.take_along_axis, x, indices=np.array([[2, 2], [0, 1]]))
    >>> y, pullback(np.ones((2, 2)))[0]
    (array([[3., 3.],
           [4., 5.]]), array([[0., 0., 2.],
           [1., 1., 0.]]))
    """
    place = one_axis("take_along_axis", axis, x)
    chosen = checked_indices("take_along_axis", "indices", indices, x.shape[place])
    if chosen.ndim != x.ndim or any(
        n != m and 1 not in (n, m) for d, (n, m) in enumerate(zip(x.shape, chosen.shape, strict=True)) if d != place
    ):
        raise ValueError(
            f"take_along_axis: indices must broadcast with x {x.shape} along all axes but {axis}, got shape {chosen.shape}"
        )
    # Where in x, all its entries in a row, each entry of y is: the sum of its place along each axis times its stride.
    flat: Any = 0
    for d, n in enumerate(x.shape):
        entries = chosen if d == place else np.arange(n).reshape(-1, *(1,) * (x.ndim - d - 1))
        flat = flat + entries * math.prod(x.shape[d + 1 :])
    return x.reshape(-1).take(flat), (x.shape, flat)


@take_along_axis.pullback
def take_along_axis_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    shape, flat = residuals
    sums = np.bincount(flat.ravel(), weights=dy.ravel(), minlength=math.prod(shape))
    return (sums.reshape(shape).astype(dy.dtype, copy=False),)
