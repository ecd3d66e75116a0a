"""Weights that are normalized before they are used: by their length, by their largest singular value, or as a batch is."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from purenet.arrays import is_floating
from purenet.checks import array_of, integer, number
from purenet.normalization.core import divisor, standardize, standardize_bwd
from purenet.normalization.lengths import Directed, directed_rows, directed_rows_bwd
from purenet.op import Array, Op

__all__ = ["SingularVectors", "spectral_norm", "weight_norm", "weight_standardization"]


PLAIN = 2000
"""Weights up to which weight_norm is computed as its formula stands. The measured time, in units of that of `directed_rows`:
0.8 for 2,000 weights, 1.9 from 100,000 on. The bound is low so that the catalogue checks both ways."""

MOST = 10_000
"""Power iterations of one call: where so many do not converge, the two largest singular values are equal to four digits."""


class SingularVectors(NamedTuple):
    """Estimates of the left and the right singular vector of the largest singular value. Begin with random numbers."""

    u: Array
    v: Array


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
    if axis == 0 and v.size > PLAIN:
        return directed_rows(v, g)
    length = divisor(np.sqrt(np.square(v).sum(axis=others, keepdims=True)))
    direction = v / length
    return g * direction, (direction, length, g, others)


@weight_norm.pullback
def weight_norm_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    if isinstance(residuals, Directed):
        return directed_rows_bwd(residuals, dy)
    direction, length, g, others = residuals
    dg = (dy * direction).sum(axis=others, keepdims=True)
    return g * (dy - direction * dg) / length, dg


@Op
def spectral_norm(
    w: Array,
    *,
    state: SingularVectors | tuple[Array, Array],
    axis: int = 0,
    n_power_iterations: int = 1,
    eps: float = 1e-12,
) -> tuple[tuple[Array, SingularVectors], Any]:
    """Weights over an estimate of their largest singular value, and the singular vectors after more power iterations.

    The singular values are those of the matrix W whose rows are the slices of w along `axis`. `state` holds estimates of both
    singular vectors, of which each call improves those of the last. At inference `n_power_iterations` is 0.

    Shapes: w (A, n, B), u (n,), v (A B,), with the axis of n slices between any axes A and B -> y (A, n, B), and u, v
    Math, with sigma = u^T W v after n_power_iterations times u = W v / max(|W v|, eps), v = W^T u / max(|W^T u|, eps):
        y  = w / sigma
        dw = (dy - sum(dy y) u v^T) / sigma, u and v as constants; no gradient passes through the new state
    Errors: TypeError unless state is a pair of floating-point arrays, axis and n_power_iterations are integers; ValueError
        for a state of another shape, no such axis, n_power_iterations outside 0..10,000, or a negative or infinite eps.
    Source: Miyato et al., Spectral normalization for generative adversarial networks (2018). Conventions: as in torch and
        equinox, which begin with random vectors and 15 iterations; u is first. Where the vectors have converged, dw is the
        derivative. Weights of affine are [in, out], so their axis is -1, which has the same sigma. Where sigma is 0, as that
        of zeros, y and dw are zeros (torch, equinox: NaN).

    >>> import numpy as np, purenet as pn
    >>> w = np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    >>> y, state = pn.spectral_norm(w, state=(np.ones(3), np.ones(2)), n_power_iterations=50)
    >>> y, state.v.round(6)
    (array([[0.75, 0.  ],
           [0.  , 1.  ],
           [0.  , 0.  ]]), array([0., 1.]))
    """
    op = "spectral_norm"
    eps = number(op, "eps", eps, low=0)
    others = _other_axes(op, "w", integer(op, "axis", axis), w)
    order = (*(a for a in range(w.ndim) if a not in others), *others)
    rows = w.transpose(order)
    matrix = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    u, v = _vectors(op, state, matrix)
    steps = integer(op, "n_power_iterations", n_power_iterations, 0)
    if steps > MOST:
        raise ValueError(f"{op}: n_power_iterations must be at most {MOST}, got {steps}")
    for _ in range(steps):
        u = _to_length_1(matrix @ v, eps)
        v = _to_length_1(matrix.T @ u, eps)
    sigma = divisor(u @ matrix @ v)
    y = w / sigma
    slope = np.outer(u, v).reshape(rows.shape).transpose(np.argsort(order))
    return (y, SingularVectors(u, v)), (y, slope, sigma)


@spectral_norm.pullback
def spectral_norm_bwd(residuals: Any, dresult: Any) -> tuple[Array]:
    y, slope, sigma = residuals
    dy, _ = dresult
    return ((dy - np.sum(dy * y) * slope) / sigma,)


@Op
def weight_standardization(w: Array, *, axis: int = 0, eps: float = 1e-5) -> tuple[Array, Any]:
    """Weights with mean 0 and variance 1, each slice along `axis` by itself.

    Shapes: w (A, n, B) -> y (A, n, B), with the axis of n slices between any axes A and B
    Math, means over a slice, sigma = sqrt(var + eps):
        y  = (w - mean) / sigma
        dw = (dy - mean dy - y mean(dy y)) / sigma
    Errors: ValueError where w has no such axis, or for a negative or infinite eps; TypeError unless `axis` is an integer.
    Source: Qiao et al., Micro-batch training with batch-channel normalization and weight standardization (2019). Conventions:
        the axis is that of the outputs, the first of convolutions; weights of affine are [in, out], theirs is -1. The variance
        divides by the number of weights, and eps is inside the root, as in batch_norm and in timm's StdConv2d (eps 1e-6), which
        also multiplies by a gain; the authors' code adds 1e-5 to an unbiased sigma. A slice of equal weights gives zeros.

    >>> import numpy as np, purenet as pn
    >>> pn.weight_standardization(np.array([[1.0, 3.0], [5.0, 5.0]]), eps=0.0)
    array([[-1.,  1.],
           [ 0.,  0.]])
    """
    op = "weight_standardization"
    eps = number(op, "eps", eps, low=0)
    saved, _, _ = standardize(w, _other_axes(op, "w", integer(op, "axis", axis), w), eps)
    return saved.normalized.copy(), saved


@weight_standardization.pullback
def weight_standardization_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return (standardize_bwd(residuals, dy),)


def _to_length_1(x: Array, eps: float) -> Array:
    return np.asarray(x / divisor(np.maximum(np.sqrt(np.sum(np.square(x))), eps)))


def _vectors(op: str, state: Any, matrix: Array) -> tuple[Array, Array]:
    """Both vectors of the state, in the dtype of the matrix."""
    if not isinstance(state, tuple | list) or len(state) != 2:
        raise TypeError(f"{op}: state must be a pair (u, v) of arrays, got {type(state).__name__}")
    u, v = (array_of(op, f"state.{name}", s) for name, s in zip(SingularVectors._fields, state, strict=True))
    for name, vector, size in (("u", u, matrix.shape[0]), ("v", v, matrix.shape[1])):
        if not is_floating(vector.dtype):
            raise TypeError(f"{op}: state.{name} must be a floating-point array, got {vector.dtype}")
        if vector.shape != (size,):
            raise ValueError(f"{op}: state.{name} must have shape ({size},) to match w, got {vector.shape}")
    return u.astype(matrix.dtype), v.astype(matrix.dtype)


def _other_axes(op: str, name: str, axis: Any, w: Array) -> tuple[int, ...]:
    """The axes of w that a slice along `axis` has: all for None."""
    if axis is None:
        return tuple(range(w.ndim))
    own = integer(op, "axis", axis)
    if not -w.ndim <= own < w.ndim:
        raise ValueError(f"{op}: axis must be one of the {w.ndim} axes of {name} {w.shape}, got {axis}")
    return tuple(a for a in range(w.ndim) if a != own % w.ndim)
