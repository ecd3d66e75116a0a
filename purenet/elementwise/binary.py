"""Arithmetic of two arrays that broadcast to each other."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np

from purenet.checks import common_shape
from purenet.linear.products import unbroadcast
from purenet.op import ALL, Array, Op

__all__ = ["add", "divide", "maximum", "minimum", "multiply", "power", "subtract"]


@Op
def add(x: Array, y: Array) -> tuple[Array, Any]:
    """The sum x + y.

    Shapes: x (...), y (...) -> z (...), what they broadcast to
    Math:
        z  = x + y
        dx = dz,  dy = dz, each summed over axes along which it was broadcast
    Errors: ValueError where the shapes do not broadcast; TypeError unless both are floating-point arrays of one dtype.
    Source: numpy.add. Conventions: none differ.

    >>> import numpy as np, purenet as pn
    >>> z, pullback = pn.vjp(pn.add, np.array([1.0, 2.0, 3.0]), np.array([10.0]))
    >>> z, pullback(np.ones(3))
    (array([11., 12., 13.]), (array([1., 1., 1.]), array([3.])))
    """
    common_shape("add", x=x.shape, y=y.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        return x + y, (x.shape, y.shape)


@add.pullback
def add_bwd(shapes: Any, dz: Array) -> tuple[Array, Array]:
    x_shape, y_shape = shapes
    return unbroadcast(dz.copy(), x_shape), unbroadcast(dz.copy(), y_shape)


@Op
def subtract(x: Array, y: Array) -> tuple[Array, Any]:
    """The difference x - y.

    Shapes: x (...), y (...) -> z (...), what they broadcast to
    Math:
        z  = x - y
        dx = dz,  dy = -dz, each summed over axes along which it was broadcast
    Errors: ValueError where the shapes do not broadcast; TypeError unless both are floating-point arrays of one dtype.
    Source: numpy.subtract. Conventions: none differ. In a chain it is the error of predictions: `error={"y": targets}`.

    >>> import numpy as np, purenet as pn
    >>> z, pullback = pn.vjp(pn.subtract, np.array([1.0, 2.0, 3.0]), np.array([2.0]))
    >>> z, pullback(np.ones(3))
    (array([-1.,  0.,  1.]), (array([1., 1., 1.]), array([-3.])))
    """
    common_shape("subtract", x=x.shape, y=y.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        return x - y, (x.shape, y.shape)


@subtract.pullback
def subtract_bwd(shapes: Any, dz: Array) -> tuple[Array, Array]:
    x_shape, y_shape = shapes
    return unbroadcast(dz.copy(), x_shape), unbroadcast(-dz, y_shape)


@Op
def multiply(x: Array, y: Array) -> tuple[Array, Any]:
    """The product x y of entries.

    Shapes: x (...), y (...) -> z (...), what they broadcast to
    Math:
        z  = x y
        dx = y dz,  dy = x dz, each summed over axes along which it was broadcast
    Errors: ValueError where the shapes do not broadcast; TypeError unless both are floating-point arrays of one dtype.
    Source: numpy.multiply. Conventions: none differ. matmul is the product of matrices.

    >>> import numpy as np, purenet as pn
    >>> z, pullback = pn.vjp(pn.multiply, np.array([1.0, 2.0, 3.0]), np.array([10.0]))
    >>> z, pullback(np.ones(3))
    (array([10., 20., 30.]), (array([10., 10., 10.]), array([6.])))
    """
    common_shape("multiply", x=x.shape, y=y.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        return x * y, (x, y)


@multiply.pullback
def multiply_bwd(residuals: Any, dz: Array) -> tuple[Array, Array]:
    x, y = residuals
    with np.errstate(over="ignore", invalid="ignore"):
        return unbroadcast(dz * y, x.shape), unbroadcast(dz * x, y.shape)


@Op
def divide(x: Array, y: Array) -> tuple[Array, Any]:
    """The quotient x / y.

    Shapes: x (...), y (...) -> z (...), what they broadcast to
    Math:
        z  = x / y
        dx = dz / y,  dy = -dz z / y, each summed over axes along which it was broadcast
    Errors: ValueError where the shapes do not broadcast; TypeError unless both are floating-point arrays of one dtype.
    Source: numpy.divide. Conventions: a division by 0 gives an infinity or NaN, without a warning, and so do its slopes.

    >>> import numpy as np, purenet as pn
    >>> z, pullback = pn.vjp(pn.divide, np.array([2.0, 4.0, 6.0]), np.array([2.0]))
    >>> z, pullback(np.ones(3))
    (array([1., 2., 3.]), (array([0.5, 0.5, 0.5]), array([-3.])))
    """
    common_shape("divide", x=x.shape, y=y.shape)
    with np.errstate(all="ignore"):
        z = x / y
    return z, (z, x.shape, y)


@divide.pullback
def divide_bwd(residuals: Any, dz: Array) -> tuple[Array, Array]:
    z, x_shape, y = residuals
    with np.errstate(all="ignore"):
        return unbroadcast(dz / y, x_shape), unbroadcast(-dz * (z / y), y.shape)


@Op
def power(x: Array, y: Array) -> tuple[Array, Any]:
    """The power x^y of entries.

    Shapes: x (...), y (...) -> z (...), what they broadcast to
    Math:
        z  = x^y
        dx = dz y x^(y - 1), 0 where y = 0;  dy = dz z log x, 0 where x = 0 and y >= 0
        each summed over axes along which it was broadcast
    Errors: ValueError where the shapes do not broadcast; TypeError unless both are floating-point arrays of one dtype.
    Source: numpy.power. Conventions: 0^0 is 1. A negative base has a value for integer exponents, and no slope of the exponent:
        NaN, as in JAX and torch; so give such an exponent by keyword, as a constant.

    >>> import numpy as np, purenet as pn
    >>> z, pullback = pn.vjp(pn.power, np.array([-1.0, 2.0, 3.0]), y=np.array(3.0))
    >>> z, pullback(np.ones(3))
    (array([-1.,  8., 27.]), (array([ 3., 12., 27.]),))
    """
    common_shape("power", x=x.shape, y=y.shape)
    with np.errstate(all="ignore"):
        return np.power(x, y), (x, y)


@power.pullback
def power_bwd(residuals: Any, dz: Array, *, wanted: Container[int] = ALL) -> tuple[Any, Any]:
    x, y = residuals
    dx = dy = None
    with np.errstate(all="ignore"):
        if 0 in wanted:
            dx = unbroadcast(np.where(y == 0, 0, dz * y * np.power(x, y - 1)), x.shape)
        if 1 in wanted:
            flat = (x == 0) & (y >= 0)
            dy = unbroadcast(np.where(flat, 0, dz * np.power(x, y) * np.log(x)), y.shape)
    return dx, dy


@Op
def maximum(x: Array, y: Array) -> tuple[Array, Any]:
    """The larger of x and y, entry by entry.

    Shapes: x (...), y (...) -> z (...), what they broadcast to
    Math:
        z  = max(x, y)
        dx = dz where x > y, dz / 2 where x = y, else 0;  dy = dz - dx, each summed over axes along which it was broadcast
    Errors: ValueError where the shapes do not broadcast; TypeError unless both are floating-point arrays of one dtype.
    Source: numpy.maximum. Conventions: where both are equal each has half of the slope, as in JAX and torch. NaN if one of them
        is NaN, with the slope 0. `max` is the largest entry along an axis.

    >>> import numpy as np, purenet as pn
    >>> z, pullback = pn.vjp(pn.maximum, np.array([1.0, 2.0, 3.0]), np.array([2.0]))
    >>> z, pullback(np.ones(3))
    (array([2., 2., 3.]), (array([0. , 0.5, 1. ]), array([1.5])))
    """
    common_shape("maximum", x=x.shape, y=y.shape)
    return np.maximum(x, y), _leads(x, y)


@maximum.pullback
def maximum_bwd(residuals: Any, dz: Array) -> tuple[Array, Array]:
    of_x, of_y, x_shape, y_shape = residuals
    return unbroadcast(dz * of_x, x_shape), unbroadcast(dz * of_y, y_shape)


@Op
def minimum(x: Array, y: Array) -> tuple[Array, Any]:
    """The smaller of x and y, entry by entry.

    Shapes: x (...), y (...) -> z (...), what they broadcast to
    Math:
        z  = min(x, y)
        dx = dz where x < y, dz / 2 where x = y, else 0;  dy = dz - dx, each summed over axes along which it was broadcast
    Errors: ValueError where the shapes do not broadcast; TypeError unless both are floating-point arrays of one dtype.
    Source: numpy.minimum. Conventions: where both are equal each has half of the slope, as in JAX and torch. NaN if one of them
        is NaN, with the slope 0. `min` is the smallest entry along an axis.

    >>> import numpy as np, purenet as pn
    >>> z, pullback = pn.vjp(pn.minimum, np.array([1.0, 2.0, 3.0]), np.array([2.0]))
    >>> z, pullback(np.ones(3))
    (array([1., 2., 2.]), (array([1. , 0.5, 0. ]), array([1.5])))
    """
    common_shape("minimum", x=x.shape, y=y.shape)
    return np.minimum(x, y), _leads(-x, -y)


@minimum.pullback
def minimum_bwd(residuals: Any, dz: Array) -> tuple[Array, Array]:
    return maximum_bwd(residuals, dz)


def _leads(x: Array, y: Array) -> tuple[Array, Array, tuple[int, ...], tuple[int, ...]]:
    """The slopes of the larger of both: 1 for that one, 1/2 for equal ones, 0 for the other; and the shapes."""
    of_x, of_y = ((a > b).astype(x.dtype) + (a == b).astype(x.dtype) / 2 for a, b in ((x, y), (y, x)))
    return of_x, of_y, x.shape, y.shape
