"""Pools of boxes, an axis at a time: the largest of the largest along each axis, the sum of the sums along each axis.

A window of K x K entries costs 2 K steps instead of K^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from purenet.op import Array
from purenet.windows import Axis, along

__all__ = ["box_sums", "interval_sums", "largest"]

Index = slice | Array


def largest(x: Array, places: Sequence[tuple[Array, Sequence[tuple[slice, Index]]]]) -> tuple[Array, Array]:
    """The largest entry of each box, and its index in its channel, in the order of memory.

    For each axis, `places` has the first entry of each window, and for each tap the windows that have it and their entries.
    The last axis comes last, when few entries are left: those of one of its taps are apart in memory.
    """
    sizes = x.shape[2:]
    y, indices = x, np.arange(math.prod(sizes), dtype=np.min_scalar_type(math.prod(sizes))).reshape(sizes)
    for axis, (first, taps) in zip(range(-len(sizes), 0), places, strict=True):
        best = y.take(first, axis)
        at = np.array(np.broadcast_to(indices.take(first, axis), best.shape))
        begun = isinstance(taps[0][1], slice) and len(first) == taps[0][0].stop - taps[0][0].start
        for windows, entries in taps[begun:]:
            value, index = y[along(axis, entries)], indices[along(axis, entries)]
            so_far, at_so_far = best[along(axis, windows)], at[along(axis, windows)]
            better = np.less_equal(value, so_far)
            np.logical_not(better, out=better)  # NaN is better than any number
            better &= so_far == so_far
            if axis > -len(sizes):  # equal entries in other rows, the first of which counts
                equal = value == so_far
                equal |= (value != value) & (so_far != so_far)
                equal &= index < at_so_far
                better |= equal
            np.maximum(so_far, value, out=so_far)
            # All bits of the index that are others, or none: a copy of some entries alone takes ten times as long.
            at_so_far ^= (at_so_far ^ index) & np.negative(better.astype(at.dtype))
        y, indices = best, at
    return y, indices


def box_sums(x: Array, axes: tuple[Axis, ...], *, adjoint: bool = False) -> Array:
    """The sum of each window over the last axes; its adjoint gives every entry the sum over the windows that hold it."""
    for axis, a in zip(range(-len(axes), 0), axes, strict=True):
        x = window_sums(x, a, axis, adjoint=adjoint)
    return x


def window_sums(x: Array, a: Axis, axis: int, *, adjoint: bool = False) -> Array:
    """The sum of each window along an axis; its adjoint gives every entry the sum over the windows that hold it."""
    shape = list(x.shape)
    shape[axis] = a.size if adjoint else a.out
    y = np.zeros(shape, x.dtype)
    for windows, entries in a.taps():
        to, by = (entries, windows) if adjoint else (windows, entries)
        y[along(axis, to)] += x[along(axis, by)]
    return y


def interval_sums(x: Array, starts: Array, ends: Array, axis: int) -> Array:
    """The sums of entries starts[i] to ends[i] - 1 along an axis; none of the intervals is empty, nor between two of them."""
    nothing = np.zeros_like(x[along(axis, slice(0, 1))])  # behind the last entry, for the intervals that end there
    bounds = np.stack([starts, ends], axis=1).reshape(-1)
    sums = np.add.reduceat(np.concatenate([x, nothing], axis=axis), bounds, axis=axis)
    return np.ascontiguousarray(sums[along(axis, slice(None, None, 2))])
