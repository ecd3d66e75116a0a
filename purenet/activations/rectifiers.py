"""Rectifiers: x where it is large enough, less of it or nothing below."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import fields, integer, number, one_axis
from purenet.entrywise import at_least, at_most, where
from purenet.op import Array, Op

__all__ = ["leaky_relu", "prelu", "relu", "threshold"]


@Op
def relu(x: Array) -> tuple[Array, Array]:
    """The rectifier y = max(x, 0).

    Shapes: x (...) -> y (...)
    Math:
        y  = max(x, 0)
        dx = dy where x > 0, else 0
    Errors: TypeError unless x is a floating-point array.
    Source: Nair and Hinton (2010). Conventions: relu'(0) = 0, as in jax.nn and torch. NaN stays NaN.

    >>> import numpy as np, purenet as pn
    >>> pn.relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return at_least(x, 0), x > 0


@relu.pullback
def relu_bwd(positive: Array, dy: Array) -> tuple[Array]:
    return (where(positive, dy, 0),)


@Op
def leaky_relu(x: Array, *, negative_slope: float = 0.01) -> tuple[Array, Any]:
    """The rectifier that lets a little through: x above 0, negative_slope x below.

    Shapes: x (...) -> y (...)
    Math:
        y  = max(x, 0) + negative_slope min(x, 0)
        dx = dy where x >= 0, else negative_slope dy
    Errors: TypeError unless `negative_slope` is a number, ValueError unless it is finite.
    Source: Maas, Hannun, Ng (2013). Conventions: the slope at 0 is 1, as in jax.nn; torch's is negative_slope. Keras' default
        for it is 0.3. For a slope that is learned, see `prelu`.

    >>> import numpy as np, purenet as pn
    >>> pn.leaky_relu(np.array([-4.0, 0.0, 2.0]), negative_slope=0.25)
    array([-1.,  0.,  2.])
    """
    a = number("leaky_relu", "negative_slope", negative_slope)
    return (np.maximum(x, a * x) if 0 < a <= 1 else leak(x, a)), (x >= 0, a)


@leaky_relu.pullback
def leaky_relu_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    above, a = residuals
    return (dy * where(above, dy.dtype.type(1), a),)


@Op
def prelu(params: dict[str, Array], x: Array, *, axis: int = 1) -> tuple[Array, Any]:
    """The rectifier whose slope below 0 is learned: one slope for all, or one for each of the C entries of `axis`.

    Shapes: a () or (1,) or (C,), x (...) with C entries along `axis` -> y (...)
    Math:
        y  = max(x, 0) + a min(x, 0)
        dx = dy where x >= 0, else a dy,  da = sum of dy min(x, 0) over all that shares a slope
    Errors: ValueError where a has another shape, or where x has no such axis; TypeError unless `axis` is an integer.
    Source: He, Zhang, Ren, Sun (2015). Conventions: a layer, as in torch (where a is `weight`), flax (`negative_slope`)
        and Keras (`alpha`). As in torch, channels are axis 1; a slope that is shared needs no axis. The slope at 0 is 1, as in
        flax and jax.nn.leaky_relu; torch's is a.

    >>> import numpy as np, purenet as pn
    >>> pn.prelu({"a": np.array([0.5, 0.25])}, np.array([[-4.0, -4.0], [3.0, 0.0]]))
    array([[-2., -1.],
           [ 3.,  0.]])
    """
    (a,) = fields("prelu", params, "a")
    others, shape = tuple(range(x.ndim)), (1,) * x.ndim
    integer("prelu", "axis", axis)
    if a.shape not in ((), (1,)):
        channel = one_axis("prelu", axis, x)
        if a.shape != (x.shape[channel],):
            expected = f"(), (1,) or ({x.shape[channel]},) to match axis {axis} of x {x.shape}"
            raise ValueError(f"prelu: params.a must have shape {expected}, got {a.shape}")
        others, shape = (*others[:channel], *others[channel + 1 :]), (*shape[:channel], a.size, *shape[channel + 1 :])
    spread = a.reshape(shape)
    return leak(x, spread), (x, spread, others, a.shape)


@prelu.pullback
def prelu_bwd(residuals: Any, dy: Array) -> tuple[dict[str, Array], Array]:
    x, spread, others, shape = residuals
    da = np.sum(dy * at_most(x, 0), axis=others).reshape(shape)
    return {"a": da}, where(x >= 0, dy, spread * dy)


@Op
def threshold(x: Array, *, threshold: float, value: float) -> tuple[Array, Array]:
    """The rectifier with any threshold: x above `threshold`, else `value`.

    Shapes: x (...) -> y (...)
    Math:
        y  = x where x > threshold, else value
        dx = dy where x > threshold, else 0
    Errors: TypeError unless `threshold` and `value` are given and numbers, ValueError unless they are finite.
    Source: Konda, Memisevic, Krueger (2014), with the value 0. Conventions: as in torch, value and slope at the threshold are
        those below it. NaN stays NaN. With threshold 0 and value 0 it is `relu`.

    >>> import numpy as np, purenet as pn
    >>> pn.threshold(np.array([0.5, 1.0, 2.0]), threshold=1.0, value=-3.0)
    array([-3., -3.,  2.])
    """
    theta, value = number("threshold", "threshold", threshold), number("threshold", "value", value)
    return where(x <= theta, value, x), x > theta


@threshold.pullback
def threshold_bwd(above: Array, dy: Array) -> tuple[Array]:
    return (where(above, dy, 0),)


def leak(x: Array, slope: Any) -> Array:
    """The sum of two branches, each of which is 0 where the other is used, so that an infinite x makes no NaN there."""
    return np.asarray(at_least(x, 0) + slope * at_most(x, 0))
