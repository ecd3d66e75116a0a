"""The same call with its arguments cut to fewer entries along an axis, and whether our gradient is right there.

A kernel that works in blocks is often right as long as everything fits into one of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import optree

from oracle.arrays import quiet, vector
from oracle.diagnosis.forward_pass import ForwardPass
from oracle.diagnosis.jacobian import leaves_in
from oracle.diagnosis.words import Array
from oracle.streams import Stream

__all__ = ["sizes_along"]

MOST = 64
"""The longest axis that is cut. With a longer one, the sizes that are tried would lie far apart."""
EACH = 16
"""Up to this length every smaller size is tried; beyond it, powers of 2 and the sizes beside them. With more, trying them would
take longer than the check."""
COST = 8
"""Evaluations of the forward pass for one size: its value, our gradient and a slope that is extrapolated."""
SMOOTH = 1e-3
"""How close two slopes must come, one with half the step of the other, as a fraction of the gradient. Larger, and a kink on the
way makes a right gradient wrong; smaller, and curved functions are not judged."""
CURVED = 10
"""The same for longer steps, which a function that computes in a narrower dtype inside needs, in units of the squared step."""


def sizes_along(forward: ForwardPass, axis: int) -> dict[int, bool]:
    """Whether our gradient is right at some smaller sizes of an axis of its argument, by size.

    All arguments with an axis of that length are cut, or else this one alone; the sizes at which the function or our backward
    pass raises, or at which the gradient is zero, are left out.
    """
    n = np.shape(forward.call.arguments[forward.leaf])[axis]
    sizes = range(1, n) if n <= EACH else [s for s in range(1, n) if any(abs(s - 2**k) <= 1 for k in range(7))]
    known: dict[int, bool] = {}
    if not 2 < n <= MOST:
        return known
    for all_of_them in (True, False):
        for size in sizes:
            right = _right(forward, axis, n, size, all_of_them=all_of_them)
            if right is not None:
                known[size] = right
        if known:
            return known
    return known


def _right(forward: ForwardPass, axis: int, n: int, size: int, *, all_of_them: bool) -> bool | None:
    """Whether our gradient is right at this size; None if that is not known."""
    if not forward.share.pay(COST * forward.cost):
        return None
    call = forward.call
    leaves, structure = leaves_in(call.primals)
    cut = [_cut(a, n, size) if all_of_them and i != forward.leaf else a for i, a in enumerate(leaves)]
    x = np.take(leaves[forward.leaf], range(size), axis)
    direction = np.random.default_rng(Stream.NEARBY).normal(size=x.shape) * (np.abs(x) + np.abs(x).mean())

    def point(by: float) -> Any:
        return structure.unflatten([x + by * direction if i == forward.leaf else a for i, a in enumerate(cut)])

    with quiet():
        try:
            value = call.function(*point(0.0), **call.options)
            given: Any = call.dy
            dy = optree.tree_map(lambda d, y: np.array(d[tuple(map(slice, np.shape(y)))]), given, value)
            if any(np.shape(d) != np.shape(y) for d, y in zip(optree.tree_leaves(dy), optree.tree_leaves(value), strict=True)):
                return None
            ours = forward.pullback(point(0.0), dy)
            slopes = [_slope(call.function, call.options, point, vector(dy), h) for h in (forward.step, forward.step / 2)]
        except Exception:  # the function, or our backward pass, does not take arguments of this size
            return None
    if ours.size != direction.size:
        return None
    slope = (4 * slopes[1] - slopes[0]) / 3
    size_of_ours = float(np.abs(direction.ravel()) @ np.abs(ours))
    smooth = np.isfinite(slope) and abs(slopes[1] - slopes[0]) < max(SMOOTH, CURVED * forward.step**2) * size_of_ours
    return bool(abs(direction.ravel() @ ours - slope) <= forward.sound * size_of_ours) if smooth else None


def _slope(function: Any, options: Any, point: Any, dy: Array, h: float) -> float:
    above, below = (vector(function(*point(by), **options)).copy() for by in (h, -h))
    return float(dy @ (above - below)) / (2 * h)


def _cut(array: Array, n: int, size: int) -> Array:
    """The array with every axis of length n cut to this size."""
    return array[tuple(slice(size) if m == n else slice(None) for m in array.shape)]
