"""Vectors brought to length 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import axes, number
from purenet.normalization.core import divisor
from purenet.op import Array, Op

__all__ = ["l1_normalize", "l2_normalize"]

Axis = int | tuple[int, ...] | None


@Op
def l1_normalize(x: Array, *, axis: Axis = -1, eps: float = 1e-12) -> tuple[Array, Any]:
    """The vectors along `axis` (an integer, several, or None for all) over the sum of their absolute entries.

    Shapes: x (..., D, ...) -> y (..., D, ...)
    Math, with n = sum |x| along the axis:
        y  = x / max(n, eps)
        dx = (dy - sign(x) sum(y dy)) / n where n > eps, dy / eps where n < eps, between the two at n = eps
    Errors: ValueError for a wrong axis, or an eps that is negative or not finite.
    Source: torch.nn.functional.normalize with p=1. Conventions: the larger of n and eps divides, not their sum.
        sign(0) = 0, where JAX differentiates |x| to 1. A vector of zeros gives zeros, with the slope 1 / eps, or 0 for eps 0.

    >>> import numpy as np, purenet as pn
    >>> pn.l1_normalize(np.array([[1.0, -3.0], [0.0, 0.0]]))
    array([[ 0.25, -0.75],
           [ 0.  ,  0.  ]])
    """
    along = axes("l1_normalize", axis, x)
    norm = np.abs(x).sum(axis=along, keepdims=True)
    y, saved = _over(x, norm, number("l1_normalize", "eps", eps, low=0))
    return y, (np.sign(x), y, along, *saved)


@l1_normalize.pullback
def l1_normalize_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    slope, y, along, size, share = residuals
    return ((dy - slope * (share * (y * dy).sum(axis=along, keepdims=True))) / size,)


@Op
def l2_normalize(x: Array, *, axis: Axis = -1, eps: float = 1e-12) -> tuple[Array, Any]:
    """The vectors along `axis` (an integer, several, or None for all) over their Euclidean norm.

    Shapes: x (..., D, ...) -> y (..., D, ...)
    Math, with n = sqrt(sum x^2) along the axis:
        y  = x / max(n, eps)
        dx = (dy - y sum(y dy)) / n where n > eps, dy / eps where n < eps, between the two at n = eps
    Errors: ValueError for a wrong axis, or an eps that is negative or not finite.
    Source: torch.nn.functional.normalize. Conventions: the larger of n and eps divides, not their sum. A vector of
        zeros gives zeros, with the slope 1 / eps (JAX: NaN), or 0 for eps 0.

    >>> import numpy as np, purenet as pn
    >>> pn.l2_normalize(np.array([[3.0, -4.0], [0.0, 0.0]]))
    array([[ 0.6, -0.8],
           [ 0. ,  0. ]])
    """
    along = axes("l2_normalize", axis, x)
    norm = np.sqrt(np.square(x).sum(axis=along, keepdims=True))
    y, saved = _over(x, norm, number("l2_normalize", "eps", eps, low=0))
    return y, (y, y, along, *saved)


@l2_normalize.pullback
def l2_normalize_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return l1_normalize_bwd(residuals, dy)


def _over(x: Array, norm: Array, eps: float) -> tuple[Array, tuple[Array, Array]]:
    """The value x / max(norm, eps), its divisor, and the share of the divisor's slope that is the norm's: 1/2 at a tie."""
    size = divisor(np.maximum(norm, eps))
    return x / size, (size, np.heaviside(norm - eps, 0.5))
