"""Elementary functions of single entries."""

from __future__ import annotations

import math

import numpy as np

from purenet.op import Array, Op
from purenet.scipy_parts import error_function

__all__ = ["abs", "absolute", "cos", "erf", "exp", "log", "sin", "sqrt", "square"]


@Op
def exp(x: Array) -> tuple[Array, Array]:
    """The exponential function y = e^x.

    Shapes: x (...) -> y (...)
    Math:
        y  = exp(x)
        dx = dy y
    Errors: TypeError unless x is a floating-point array.
    Source: numpy.exp. Conventions: infinite where it overflows, without a warning.

    >>> import numpy as np, purenet as pn
    >>> pn.exp(np.log([1.0, 2.0, 3.0])).round(12)
    array([1., 2., 3.])
    """
    with np.errstate(over="ignore"):
        y = np.exp(x)
    return y, y


@exp.pullback
def exp_bwd(y: Array, dy: Array) -> tuple[Array]:
    with np.errstate(all="ignore"):
        return (dy * y,)


@Op
def log(x: Array) -> tuple[Array, Array]:
    """The natural logarithm y = log x.

    Shapes: x (...) -> y (...)
    Math:
        y  = log x
        dx = dy / x
    Errors: TypeError unless x is a floating-point array.
    Source: numpy.log. Conventions: -infinity at 0, with an infinite slope, and NaN below, without a warning.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.log, np.array([1.0, 2.0, 4.0]))
    >>> (y / np.log(2)).round(12), pullback(np.ones(3))[0]
    (array([0., 1., 2.]), array([1.  , 0.5 , 0.25]))
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(x), x


@log.pullback
def log_bwd(x: Array, dy: Array) -> tuple[Array]:
    with np.errstate(all="ignore"):
        return (dy / x,)


@Op
def sqrt(x: Array) -> tuple[Array, Array]:
    """The square root.

    Shapes: x (...) -> y (...)
    Math:
        y  = sqrt(x)
        dx = dy / (2 y)
    Errors: TypeError unless x is a floating-point array.
    Source: numpy.sqrt. Conventions: the slope at 0 is infinite; below, both are NaN, without a warning. To take lengths use
        norm, which has a slope at 0.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.sqrt, np.array([1.0, 4.0, 16.0]))
    >>> y, pullback(np.ones(3))[0]
    (array([1., 2., 4.]), array([0.5  , 0.25 , 0.125]))
    """
    with np.errstate(invalid="ignore"):
        y = np.sqrt(x)
    return y, y


@sqrt.pullback
def sqrt_bwd(y: Array, dy: Array) -> tuple[Array]:
    with np.errstate(all="ignore"):
        return (0.5 * dy / y,)


@Op
def square(x: Array) -> tuple[Array, Array]:
    """The square y = x^2.

    Shapes: x (...) -> y (...)
    Math:
        y  = x^2
        dx = 2 x dy
    Errors: TypeError unless x is a floating-point array.
    Source: numpy.square. Conventions: none differ. squared_error is the loss.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.square, np.array([-1.0, 3.0]))
    >>> y, pullback(np.ones(2))[0]
    (array([1., 9.]), array([-2.,  6.]))
    """
    with np.errstate(over="ignore"):
        return np.square(x), x


@square.pullback
def square_bwd(x: Array, dy: Array) -> tuple[Array]:
    with np.errstate(all="ignore"):
        return (2 * x * dy,)


@Op
def absolute(x: Array) -> tuple[Array, Array]:
    """The absolute value, also called `abs`.

    Shapes: x (...) -> y (...)
    Math:
        y  = |x|
        dx = sign(x) dy, 0 at x = 0
    Errors: TypeError unless x is a floating-point array.
    Source: numpy.absolute. Conventions: the slope at 0 is 0, the middle of [-1, 1], as in torch. JAX has 1.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.absolute, np.array([-2.0, 0.0, 3.0]))
    >>> y, pullback(np.ones(3))[0]
    (array([2., 0., 3.]), array([-1.,  0.,  1.]))
    """
    return np.abs(x), np.sign(x)


@absolute.pullback
def absolute_bwd(sign: Array, dy: Array) -> tuple[Array]:
    return (dy * sign,)


abs = absolute  # noqa: A001 - NumPy's name


@Op
def sin(x: Array) -> tuple[Array, Array]:
    """The sine.

    Shapes: x (...) -> y (...)
    Math:
        y  = sin x
        dx = dy cos x
    Errors: TypeError unless x is a floating-point array.
    Source: numpy.sin. Conventions: none differ; x is in radians.

    >>> import numpy as np, purenet as pn
    >>> pn.sin(np.pi * np.array([0.0, 1 / 6, 1 / 2])).round(12)
    array([0. , 0.5, 1. ])
    """
    with np.errstate(invalid="ignore"):
        return np.sin(x), x


@sin.pullback
def sin_bwd(x: Array, dy: Array) -> tuple[Array]:
    with np.errstate(invalid="ignore"):
        return (dy * np.cos(x),)


@Op
def cos(x: Array) -> tuple[Array, Array]:
    """The cosine.

    Shapes: x (...) -> y (...)
    Math:
        y  = cos x
        dx = -dy sin x
    Errors: TypeError unless x is a floating-point array.
    Source: numpy.cos. Conventions: none differ; x is in radians.

    >>> import numpy as np, purenet as pn
    >>> pn.cos(np.pi * np.array([0.0, 1 / 3, 1.0])).round(12)
    array([ 1. ,  0.5, -1. ])
    """
    with np.errstate(invalid="ignore"):
        return np.cos(x), x


@cos.pullback
def cos_bwd(x: Array, dy: Array) -> tuple[Array]:
    with np.errstate(invalid="ignore"):
        return (-dy * np.sin(x),)


@Op
def erf(x: Array) -> tuple[Array, Array]:
    """The error function, the probability that a normal number of variance 1/2 lies within -x and x.

    Shapes: x (...) -> y (...)
    Math:
        y  = 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x
        dx = 2 / sqrt(pi) exp(-x^2) dy
    Errors: TypeError unless x is a floating-point array.
    Source: scipy.special.erf. Conventions: none differ.

    >>> import numpy as np, purenet as pn
    >>> pn.erf(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.8427,  0.    ,  0.8427])
    """
    return error_function(x), x


@erf.pullback
def erf_bwd(x: Array, dy: Array) -> tuple[Array]:
    return (dy * (2 / math.sqrt(math.pi) * np.exp(-np.square(x))),)
