"""Smooth activations, entry by entry.

Their residual is x alone. A derivative written with the value, such as s(1 - s) or 1 - t^2, loses its digits where the
function saturates; written with x it keeps them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import expit, ndtr

from purenet.checks import choice
from purenet.op import Array, Op

__all__ = ["gelu", "identity", "sigmoid", "tanh"]


@Op
def identity(x: Array) -> tuple[Array, None]:
    """The identity y = x, as a new array.

    Shapes: x (...) -> y (...)
    Math:
        y  = x
        dx = dy
    Errors: TypeError unless x is a floating-point array.
    Source: the activation of an output layer for regression. Conventions: none differ.

    >>> import numpy as np, purenet as pn
    >>> pn.identity(np.array([-1.0, 2.0]))
    array([-1.,  2.])
    """
    return x.copy(), None


@identity.pullback
def identity_bwd(_: None, dy: Array) -> tuple[Array]:
    return (dy.copy(),)


@Op
def sigmoid(x: Array) -> tuple[Array, Array]:
    """The logistic function y = 1 / (1 + exp(-x)).

    Shapes: x (...) -> y (...)
    Math:
        y  = s(x) = 1 / (1 + exp(-x))
        dx = dy s(x) s(-x) = dy e / (1 + e)^2 with e = exp(-|x|)
    Errors: TypeError unless x is a floating-point array.
    Source: Rumelhart, Hinton, Williams (1986). Conventions: none differ; the largest slope is 1/4, at 0.

    >>> import numpy as np, purenet as pn
    >>> pn.sigmoid(np.array([0.0, np.log(3.0), -1e4])).round(12)
    array([0.5 , 0.75, 0.  ])
    """
    return expit(x), x


@sigmoid.pullback
def sigmoid_bwd(x: Array, dy: Array) -> tuple[Array]:
    e = np.exp(-np.abs(x))
    return (dy * (e / np.square(1 + e)),)


@Op
def tanh(x: Array) -> tuple[Array, Array]:
    """The hyperbolic tangent.

    Shapes: x (...) -> y (...)
    Math:
        y  = tanh(x)
        dx = dy / cosh(x)^2,  1 / cosh(x) = 2 e / (1 + e^2) with e = exp(-|x|)
    Errors: TypeError unless x is a floating-point array.
    Source: LeCun, Bottou, Orr, Mueller, Efficient BackProp (1998). Conventions: none differ.

    >>> import numpy as np, purenet as pn
    >>> pn.tanh(np.array([0.0, np.log(2.0), 1e4])).round(12)
    array([0. , 0.6, 1. ])
    """
    return np.tanh(x), x


@tanh.pullback
def tanh_bwd(x: Array, dy: Array) -> tuple[Array]:
    e = np.exp(-np.abs(x))
    return (dy * np.square(2 * e / (1 + np.square(e))),)


@Op
def gelu(x: Array, *, approximate: bool = True) -> tuple[Array, Any]:
    """The Gaussian error linear unit y = x P(N <= x), N standard normal, or its approximation by tanh.

    Shapes: x (...) -> y (...)
    Math, exact, with the normal density p and distribution P:
        y  = x P(x)
        dx = dy (P(x) + x p(x))
    Math, approximate, with u = sqrt(2 / pi) (x + 0.044715 x^3) and the sigmoid s:
        y  = x (1 + tanh(u)) / 2 = x s(2u)
        dx = dy s(2u) (1 + 2 x u' s(-2u))
    Errors: TypeError unless x is a floating-point array, ValueError unless `approximate` is True or False.
    Source: Hendrycks and Gimpel (2016). Conventions: approximate=True is the default of jax.nn; torch's is the exact one.

    >>> import numpy as np, purenet as pn
    >>> pn.gelu(np.array([-1e4, 0.0, 1.0]), approximate=False).round(4) + 0.0
    array([0.    , 0.    , 0.8413])
    """
    choice("gelu", "approximate", approximate, (True, False))
    p = expit(_twice_u(x)) if approximate else ndtr(x)
    return x * p, (x, approximate)


@gelu.pullback
def gelu_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, approximate = residuals
    if approximate:
        z = _twice_u(x)
        slope = expit(z) * (1 + x * _twice_u_slope(x) * expit(-z))
    else:
        slope = ndtr(x) + x * np.exp(-0.5 * np.square(x)) * (1 / math.sqrt(2 * math.pi))
    return (dy * slope,)


def _twice_u(x: Array) -> Array:
    return math.sqrt(8 / math.pi) * x * (1 + 0.044715 * np.square(x))


def _twice_u_slope(x: Array) -> Array:
    return math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * np.square(x))
