"""Weights that are normalized before they are used: by their length, by their largest singular value, or as a batch is."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import integer
from purenet.normalization.core import divisor
from purenet.op import Array, Op

__all__ = ["weight_norm"]


@Op
def weight_norm(v: Array, g: Array, *, axis: int | None = 0) -> tuple[Array, Any]:
    """Weights of given lengths: g times the direction of v, for each slice along `axis` by itself; None is all of v together.

    Shapes: v (A, n, B), g (1, n, 1), or for None (1, 1, 1), with the axis of n slices between any axes A and B -> y (A, n, B)
    Math, sums over a slice, with its length s = sqrt(sum v^2) and its direction u = v / s:
        y  = g u
        dg = sum(dy u),  dv = g (dy - u sum(dy u)) / s
    Errors: ValueError where v has no such axis or g has another shape; TypeError unless `axis` is an integer or None.
    Source: Salimans and Kingma, Weight normalization (2016). Conventions: as in torch and equinox, where the first axis is that
        of the outputs; weights of affine are [in, out], so their axis is -1. To begin with given weights, let v be these and
        g their lengths. A slice of zeros has no direction: it gives zeros and no gradient (torch, equinox: NaN).

    >>> import numpy as np, purenet as pn
    >>> pn.weight_norm(np.array([[3.0, -4.0], [0.0, 2.0]]), np.array([[10.0], [1.0]]))
    array([[ 6., -8.],
           [ 0.,  1.]])
    """
    others = _other_axes("weight_norm", "v", axis, v)
    shape = tuple(1 if a in others else n for a, n in enumerate(v.shape))
    if g.shape != shape:
        raise ValueError(f"weight_norm: g must have shape {shape} to match v {v.shape} along axis {axis}, got {g.shape}")
    length = divisor(np.sqrt(np.square(v).sum(axis=others, keepdims=True)))
    direction = v / length
    return g * direction, (direction, length, g, others)


@weight_norm.pullback
def weight_norm_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    direction, length, g, others = residuals
    dg = (dy * direction).sum(axis=others, keepdims=True)
    return g * (dy - direction * dg) / length, dg


def _other_axes(op: str, name: str, axis: Any, w: Array) -> tuple[int, ...]:
    """The axes of w that a slice along `axis` has: all for None."""
    if axis is None:
        return tuple(range(w.ndim))
    own = integer(op, "axis", axis)
    if not -w.ndim <= own < w.ndim:
        raise ValueError(f"{op}: axis must be one of the {w.ndim} axes of {name} {w.shape}, got {axis}")
    return tuple(a for a in range(w.ndim) if a != own % w.ndim)
