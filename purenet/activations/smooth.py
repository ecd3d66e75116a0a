"""Smooth activations, entry by entry.

A derivative written with the value, such as s(1 - s) or 1 - t^2, loses its digits where the function saturates; written with
e = exp(-|x|) it keeps them, and with the logistic function s:

    s(x) = 1 / (1 + e) where x >= 0, else e / (1 + e),  s'(x) = s(x) s(-x) = e / (1 + e)^2

So value and derivative need one exponential; what is made of it is among the residuals.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from purenet.entrywise import at_least, at_most, falling, normal, sigmoid_of, sigmoids_of, slope_of, where
from purenet.op import Array, Op

__all__ = [
    "gelu",
    "identity",
    "log_sigmoid",
    "mish",
    "sigmoid",
    "silu",
    "soft_sign",
    "softplus",
    "softsign",
    "swish",
    "tanh",
]


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
    e = falling(x)
    return sigmoid_of(x, e), e


@sigmoid.pullback
def sigmoid_bwd(e: Array, dy: Array) -> tuple[Array]:
    return (dy * slope_of(e),)


@Op
def tanh(x: Array) -> tuple[Array, Array]:
    """The hyperbolic tangent.

    Shapes: x (...) -> y (...)
    Math:
        y  = tanh(x)
        dx = dy / cosh(x)^2 = 4 dy e / (1 + e)^2 with e = exp(-2 |x|)
    Errors: TypeError unless x is a floating-point array.
    Source: LeCun, Bottou, Orr, Mueller, Efficient BackProp (1998). Conventions: none differ.

    >>> import numpy as np, purenet as pn
    >>> pn.tanh(np.array([0.0, np.log(2.0), 1e4])).round(12)
    array([0. , 0.6, 1. ])
    """
    return np.tanh(x), x


@tanh.pullback
def tanh_bwd(x: Array, dy: Array) -> tuple[Array]:
    e = np.square(falling(x))
    return (4 * dy * slope_of(e),)


@Op
def log_sigmoid(x: Array) -> tuple[Array, Any]:
    """The logarithm of the sigmoid.

    Shapes: x (...) -> y (...)
    Math, with the sigmoid s:
        y  = log s(x) = -log(1 + exp(-x))
        dx = dy s(-x)
    Errors: TypeError unless x is a floating-point array.
    Source: the log likelihood of logistic regression, Cox (1958). Conventions: none differ; torch calls it logsigmoid.

    >>> import numpy as np, purenet as pn
    >>> np.exp(pn.log_sigmoid(np.array([0.0, np.log(3.0), -1e4]))).round(12)
    array([0.5 , 0.75, 0.  ])
    """
    e = falling(x)
    return at_most(x, 0) - np.log1p(e), (x, e)


@log_sigmoid.pullback
def log_sigmoid_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, e = residuals
    return (dy * sigmoid_of(-x, e),)


@Op
def softplus(x: Array) -> tuple[Array, Any]:
    """The smooth rectifier log(1 + exp(x)).

    Shapes: x (...) -> y (...)
    Math, with the sigmoid s:
        y  = log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))
        dx = dy s(x)
    Errors: TypeError unless x is a floating-point array.
    Source: Dugas, Bengio, Belisle, Nadeau, Garcia (2001). Conventions: as jax.nn; torch has a sharpness beta, and is x itself
        where x > 20.

    >>> import numpy as np, purenet as pn
    >>> np.exp(pn.softplus(np.log([1e-300, 1.0, 3.0]))).round(12)
    array([1., 2., 4.])
    """
    e = falling(x)
    return at_least(x, 0) + np.log1p(e), (x, e)


@softplus.pullback
def softplus_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, e = residuals
    return (dy * sigmoid_of(x, e),)


@Op
def softsign(x: Array) -> tuple[Array, Array]:
    """The fraction x / (1 + |x|), which tends to -1 and 1 slowly; also called soft_sign.

    Shapes: x (...) -> y (...)
    Math:
        y  = x / (1 + |x|)
        dx = dy / (1 + |x|)^2
    Errors: TypeError unless x is a floating-point array.
    Source: Bergstra, Desjardins, Lamblin, Bengio (2009). Conventions: none differ; jax.nn calls it soft_sign.

    >>> import numpy as np, purenet as pn
    >>> pn.softsign(np.array([-1.0, 0.0, 3.0]))
    array([-0.5 ,  0.  ,  0.75])
    """
    return x / (1 + np.abs(x)), x


@softsign.pullback
def softsign_bwd(x: Array, dy: Array) -> tuple[Array]:
    return (dy * np.square(1 / (1 + np.abs(x))),)


@Op
def silu(x: Array) -> tuple[Array, Any]:
    """The sigmoid linear unit, the product of x and its sigmoid; also called swish.

    Shapes: x (...) -> y (...)
    Math, with the sigmoid s:
        y  = x s(x)
        dx = dy s(x) (1 + x s(-x))
    Errors: TypeError unless x is a floating-point array.
    Source: Elfwing, Uchibe, Doya (2017); Ramachandran, Zoph, Le (2017). Conventions: none differ; the swish of the last paper
        has a factor inside the sigmoid, here 1.

    >>> import numpy as np, purenet as pn
    >>> (pn.silu(np.array([-1e4, 0.0, np.log(3.0)])) / np.log(3.0)).round(12) + 0.0
    array([0.  , 0.  , 0.75])
    """
    s, opposite = sigmoids_of(x, falling(x))
    return x * s, (x, s, opposite)


@silu.pullback
def silu_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, s, opposite = residuals
    dx = x * opposite
    dx += 1
    dx *= s
    dx *= dy
    return (dx,)


@Op
def mish(x: Array) -> tuple[Array, Any]:
    """The product of x and the hyperbolic tangent of its softplus.

    Shapes: x (...) -> y (...)
    Math, with e = exp(x), n = e^2 + 2 e and tanh(log(1 + e)) = n / (n + 2):
        y  = x n / (n + 2)
        dx = dy (n / (n + 2) + 4 x e (1 + e) / (n + 2)^2);  where x > 0, both fractions are reduced by e^2
    Errors: TypeError unless x is a floating-point array.
    Source: Misra (2019). Conventions: none differ.

    >>> import numpy as np, purenet as pn
    >>> (pn.mish(np.array([-1e4, 0.0, np.log(2.0)])) / np.log(2.0)).round(12) + 0.0
    array([0. , 0. , 0.8])
    """
    e = falling(x)
    n, denominator = _mish_fraction(x, e)
    y = n / denominator
    return x * y, (x, e, y, denominator)


@mish.pullback
def mish_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, e, y, denominator = residuals
    bend = e * (1 + e) * where(x > 0, e, 1) / np.square(denominator)
    return (dy * (y + 4 * x * bend),)


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
    if approximate:
        z = _twice_u(x)
        p, opposite = sigmoids_of(z, falling(z))
        return x * p, (x, p, opposite, approximate)
    p, density = normal(x)
    return x * p, (x, p, density, approximate)


@gelu.pullback
def gelu_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, p, other, approximate = residuals
    slope = p * (1 + x * _twice_u_slope(x) * other) if approximate else p + x * other
    return (dy * slope,)


def _twice_u(x: Array) -> Array:
    return math.sqrt(8 / math.pi) * x * (1 + 0.044715 * np.square(x))


def _twice_u_slope(x: Array) -> Array:
    return math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * np.square(x))


def _mish_fraction(x: Array, e: Array) -> tuple[Array, Array]:
    """Both n and n + 2, with e = exp(-|x|): where x <= 0 as above, else reduced by exp(2x)."""
    positive, squared = x > 0, np.square(e)
    n = where(positive, 1, squared) + 2 * e
    return n, n + 2 * where(positive, squared, 1)


soft_sign = softsign
swish = silu
