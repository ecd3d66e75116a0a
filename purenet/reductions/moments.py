"""Sums, and functions of sums: means, variances, norms."""
# ruff: noqa: A001 - `sum` is called what jax.numpy calls it; outside it is used as `reductions.sum`

from __future__ import annotations

import math
from typing import Any

import numpy as np

from purenet.checks import axes, degree, number
from purenet.op import Array, Op
from purenet.reductions.over import Axis, count_over, in_a_row, reduced, spread

__all__ = ["cumsum", "mean", "norm", "std", "sum", "var"]


@Op
def sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """The sum over `axis` (an integer, several, or None for all); with `keepdims` these stay, with size 1.

    Shapes: x (A, n, B) -> y (A, B), or (A, 1, B), with the axis of n entries between any axes A and B
    Math:
        y  = sum_i x_i
        dx_i = dy
    Errors: TypeError for another `axis`; ValueError where x has no such axis, or one is named twice.
    Source: jax.numpy.sum. Conventions: torch calls the options dim and keepdim. An empty sum is 0.

    >>> import numpy as np, purenet as pn
    >>> pn.sum(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    array([4., 6.])
    """
    along = axes("sum", axis, x)
    return reduced(np.sum(x, along, keepdims=True), along, keepdims), (x.shape, along)


@sum.pullback
def sum_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    shape, along = residuals
    return (np.broadcast_to(spread(dy, shape, along), shape).copy(),)


@Op
def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """The mean over `axis` (an integer, several, or None for all); with `keepdims` these stay, with size 1.

    Shapes: x (A, n, B) -> y (A, B), or (A, 1, B), with the axis of n entries between any axes A and B
    Math:
        y    = 1/n sum_i x_i
        dx_i = dy / n
    Errors: TypeError for another `axis`; ValueError where x has no such axis, or one is named twice.
    Source: jax.numpy.mean. Conventions: torch calls the options dim and keepdim. The mean of nothing is 0 (JAX, torch: NaN).

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.mean, np.array([[1.0, 2.0], [3.0, 6.0]]), axis=1)
    >>> y, pullback(np.array([1.0, 10.0]))[0]
    (array([1.5, 4.5]), array([[0.5, 0.5],
           [5. , 5. ]]))
    """
    along = axes("mean", axis, x)
    count = max(count_over(x, along), 1)
    return reduced(np.sum(x, along, keepdims=True) / count, along, keepdims), (x.shape, along, count)


@mean.pullback
def mean_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    *place, count = residuals
    return sum_bwd(place, np.asarray(dy / count))


@Op
def var(x: Array, *, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> tuple[Array, Any]:
    """The variance over `axis` (an integer, several, or None for all); with `keepdims` these stay, with size 1.

    Shapes: x (A, n, B) -> y (A, B), or (A, 1, B), with the axis of n entries between any axes A and B
    Math, with the mean m:
        y    = 1/(n - ddof) sum_i (x_i - m)^2
        dx_i = 2/(n - ddof) (x_i - m) dy; what m adds to it is 0, because the deviations from m add up to 0
    Errors: TypeError for another `axis`, or a `ddof` that is no number; ValueError where x has no such axis, one is named
        twice, the n entries, 1 or more, are no more than ddof, or it is negative.
    Source: jax.numpy.var. Conventions: ddof=0 is the variance of what is there, ddof=1 the unbiased estimate; torch's default
        is correction=1, and for n <= ddof JAX and torch give NaN or infinity. The variance of nothing is 0 (JAX, torch: NaN).

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.var, np.array([1.0, 3.0, 5.0]), ddof=1)
    >>> y, pullback(1.0)[0]
    (array(4.), array([-2.,  0.,  2.]))
    """
    along, divisor, deviations = _deviations("var", x, axis, ddof)
    y = np.sum(np.square(deviations), along, keepdims=True) / divisor
    return reduced(y, along, keepdims), (deviations, along, divisor)


@var.pullback
def var_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    deviations, along, divisor = residuals
    return (spread(dy, deviations.shape, along) * (2 / divisor) * deviations,)


@Op
def std(x: Array, *, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> tuple[Array, Any]:
    """The standard deviation over `axis` (an integer, several, or None for all); with `keepdims` these stay, with size 1.

    Shapes: x (A, n, B) -> y (A, B), or (A, 1, B), with the axis of n entries between any axes A and B
    Math, with the mean m:
        y    = sqrt(1/(n - ddof) sum_i (x_i - m)^2)
        dx_i = (x_i - m) dy / (y (n - ddof)), and 0 where y = 0
    Errors: as var.
    Source: jax.numpy.std. Conventions: ddof as in var. Where all entries are equal y is 0, exactly, and so is the gradient;
        torch rounds, and has a gradient where it does not happen to get 0; JAX's is NaN.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.std, np.array([[1.0, 3.0], [0.1, 0.1]]), axis=1)
    >>> y, pullback(np.ones(2))[0]
    (array([1., 0.]), array([[-0.5,  0.5],
           [ 0. ,  0. ]]))
    """
    along, divisor, deviations = _deviations("std", x, axis, ddof)
    length, direction = _norm(deviations, 2, along)
    root = math.sqrt(divisor)
    return reduced(length / root, along, keepdims), (direction, along, root)


@std.pullback
def std_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    direction, along, root = residuals
    return (spread(dy, direction.shape, along) / root * direction,)


@Op
def norm(x: Array, *, ord: float = 2, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:  # noqa: A002 - as in JAX
    """The length of the vectors that x holds along `axis` (an integer, several for one long vector, or None for all).

    Shapes: x (A, n, B) -> y (A, B), or (A, 1, B) with keepdims, with the axis of n entries between any axes A and B
    Math, with p = `ord`, a number from 1 to infinity:
        y    = (sum_i |x_i|^p)^(1/p),  max_i |x_i| for p = infinity
        dx_i = sign(x_i) (|x_i| / y)^(p - 1) dy; for p = infinity sign(x_i) dy / k where |x_i| = y, with k such entries, else 0
    Errors: TypeError for another `axis`, or an `ord` that is no number; ValueError where x has no such axis, one is named
        twice, or ord is less than 1.
    Source: jax.numpy.linalg.vector_norm. Conventions: a norm of vectors, whatever the number of axes;
        torch.linalg.vector_norm is the same, numpy.linalg.norm is one of matrices for two axes. The gradient at 0 is 0, as in
        torch (JAX: NaN), and so is the slope of |x_i| at 0 for ord 1 (JAX: 1). The norm of nothing is 0. Large and small
        numbers neither overflow nor vanish by being squared.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.norm, np.array([[3.0, -4.0], [0.0, 0.0]]), axis=1)
    >>> y, pullback(np.ones(2))[0]
    (array([5., 0.]), array([[ 0.6, -0.8],
           [ 0. ,  0. ]]))
    """
    along = axes("norm", axis, x)
    y, slope = _norm(x, degree("norm", "ord", ord), along)
    return reduced(y, along, keepdims), (slope, along)


@norm.pullback
def norm_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    slope, along = residuals
    return (spread(dy, slope.shape, along) * slope,)


@Op
def cumsum(x: Array, *, axis: int | None = None) -> tuple[Array, Any]:
    """The sums of the first entries along an axis: of one, of two, ..., of all. Without `axis`, along all entries in a row.

    Shapes: x (..., n, ...) -> y (..., n, ...); without `axis` x (...) -> y (the number of entries,)
    Math:
        y_k  = sum_{i <= k} x_i
        dx_i = sum_{k >= i} dy_k
    Errors: TypeError unless `axis` is an integer or None, ValueError where x has no such axis.
    Source: jax.numpy.cumsum. Conventions: torch and ONNX want an axis. Sums are accumulated in float64.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.cumsum, np.array([1.0, 2.0, 3.0]))
    >>> y, pullback(np.array([1.0, 10.0, 100.0]))[0]
    (array([1., 3., 6.]), array([111., 110., 100.]))
    """
    row, along = in_a_row("cumsum", x, axis)
    return _accumulated(row, along), (x.shape, along)


@cumsum.pullback
def cumsum_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    shape, along = residuals
    return (np.flip(_accumulated(np.flip(dy, along), along), along).reshape(shape),)


def _accumulated(x: Array, along: int) -> Array:
    # One sum after the other loses digits that JAX's tree of sums keeps; float64 has them to spare.
    return np.cumsum(x.astype(np.float64, copy=False), along).astype(x.dtype, copy=False)


def _deviations(op: str, x: Array, axis: Any, ddof: Any) -> tuple[tuple[int, ...], float, Array]:
    """The axes, the divisor of the sum of squares, and the deviations from the mean."""
    along = axes(op, axis, x)
    count = count_over(x, along)
    ddof = number(op, "ddof", ddof, low=0)
    if count and not count > ddof:
        raise ValueError(f"{op}: ddof must be less than the {count} entries along axis {axis}, got {ddof}")
    # From the first entry on: so that equal entries deviate by exactly 0, and a large mean costs no digits.
    first = x[tuple(np.s_[:1] if i in along else np.s_[:] for i in range(x.ndim))]
    shifted = x - first
    deviations = np.asarray(shifted - np.sum(shifted, along, keepdims=True) / max(count, 1))
    return along, float(count - ddof) if count else 1.0, deviations


def _norm(x: Array, p: float, along: tuple[int, ...]) -> tuple[Array, Array]:
    """The p-norm along these axes, and its slope."""
    size = np.abs(x)
    largest = np.max(size, along, keepdims=True, initial=0)
    if p == math.inf:
        y, share = largest, np.asarray(size == largest, x.dtype)
        share /= np.sum(share, along, keepdims=True)
    else:
        # A power of two near the largest entry: dividing by it rounds nothing, and powers of what is left do not overflow.
        unit = np.ldexp(np.asarray(1, x.dtype), np.frexp(largest)[1] - 1)
        y = unit * np.sum((size / unit) ** p, along, keepdims=True) ** (1 / p)
        share = (size / np.where(y == 0, 1, y)) ** (p - 1)  # NaN stays, and reaches all
    return y, np.sign(x) * share
