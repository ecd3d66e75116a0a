"""Activations that are linear where x > 0 and bend to an exponential below: three choices of one function.

    y = max(x, 0) + alpha (exp(min(x, 0) / width) - 1)

Their residual is x. The digits of exp - 1 near 0 are those of expm1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import number
from purenet.entrywise import at_least, at_most, where
from purenet.op import Array, Op

__all__ = ["celu", "elu", "selu"]

SELU_ALPHA = 1.6732632423543772848170429916717  # with these two, mean 0 and variance 1 is a fixed point
SELU_SCALE = 1.0507009873554804934193349852946


@Op
def elu(x: Array, *, alpha: float = 1.0) -> tuple[Array, Any]:
    """The exponential linear unit: x above 0, and below it an exponential that tends to -alpha.

    Shapes: x (...) -> y (...)
    Math:
        y  = x where x > 0, else alpha (exp(x) - 1)
        dx = dy where x > 0, else alpha exp(x) dy
    Errors: TypeError unless `alpha` is a number, ValueError unless it is finite.
    Source: Clevert, Unterthiner, Hochreiter (2015). Conventions: elu'(0) = alpha, as in jax.nn and torch; a kink unless alpha
        is 1.

    >>> import numpy as np, purenet as pn
    >>> pn.elu(np.array([-1e4, -np.log(4.0), 0.0, 2.0]), alpha=2.0)
    array([-2. , -1.5,  0. ,  2. ])
    """
    alpha = number("elu", "alpha", alpha)
    return bent(x, alpha), (x, alpha)


@elu.pullback
def elu_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, alpha = residuals
    return (dy * bent_slope(x, alpha),)


@Op
def celu(x: Array, *, alpha: float = 1.0) -> tuple[Array, Any]:
    """The continuously differentiable exponential linear unit: its slope at 0 is 1 whatever alpha is.

    Shapes: x (...) -> y (...)
    Math:
        y  = x where x > 0, else alpha (exp(x / alpha) - 1)
        dx = dy where x > 0, else exp(x / alpha) dy
    Errors: TypeError unless `alpha` is a number, ValueError unless it is finite and above 0.
    Source: Barron (2017). Conventions: none differ; torch and jax.nn also take a negative alpha, which overflows.

    >>> import numpy as np, purenet as pn
    >>> pn.celu(np.array([-1e4, -2 * np.log(4.0), 0.0, 2.0]), alpha=2.0)
    array([-2. , -1.5,  0. ,  2. ])
    """
    alpha = number("celu", "alpha", alpha, above=0)
    return bent(x, alpha, alpha), (x, alpha)


@celu.pullback
def celu_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, alpha = residuals
    return (dy * bent_slope(x, alpha, alpha),)


@Op
def selu(x: Array) -> tuple[Array, Array]:
    """The scaled exponential linear unit, whose layers tend to mean 0 and variance 1.

    Shapes: x (...) -> y (...)
    Math, with a = 1.6732632423543772 and l = 1.0507009873554805:
        y  = l x where x > 0, else l a (exp(x) - 1)
        dx = l dy where x > 0, else l a exp(x) dy
    Errors: TypeError unless x is a floating-point array.
    Source: Klambauer, Unterthiner, Mayr, Hochreiter (2017). Conventions: selu'(0) = l a, as in jax.nn and torch, a kink.

    >>> import numpy as np, purenet as pn
    >>> pn.selu(np.array([-1e4, 0.0, 1.0])).round(4)
    array([-1.7581,  0.    ,  1.0507])
    """
    return SELU_SCALE * bent(x, SELU_ALPHA), x


@selu.pullback
def selu_bwd(x: Array, dy: Array) -> tuple[Array]:
    return (dy * (SELU_SCALE * bent_slope(x, SELU_ALPHA)),)


def bent(x: Array, alpha: float, width: float = 1.0) -> Array:
    """The function in the docstring of this module."""
    return np.asarray(at_least(x, 0) + alpha * np.expm1(at_most(x, 0) / width))


def bent_slope(x: Array, alpha: float, width: float = 1.0) -> Array:
    """The derivative of that function; at 0 the one from below."""
    slope = np.exp(at_most(x, 0) / width)
    return np.asarray(slope) if alpha == width else where(x > 0, 1, alpha / width * slope)
