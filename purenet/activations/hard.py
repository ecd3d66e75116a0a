"""Activations cut from straight lines and flat at their ends: the cheap relatives of the sigmoid, tanh and silu.

Where the value does not depend on x near a point, its gradient is 0; what is saved is where it does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.entrywise import where
from purenet.op import Array, Op

__all__ = ["hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "relu6", "step"]


@Op
def step(x: Array) -> tuple[Array, None]:
    """The unit step: 1 where x is positive, else 0.

    Shapes: x (...) -> y (...)
    Math:
        y  = 1 where x > 0, else 0
        dx = 0
    Errors: TypeError unless x is a floating-point array.
    Source: McCulloch and Pitts (1943). Conventions: the step of 0 is 0; jax.numpy.heaviside and torch.heaviside take that
        value as an argument. Nothing can be learned through it: the gradient is 0 everywhere, also at the jump. NaN stays NaN.

    >>> import numpy as np, purenet as pn
    >>> pn.step(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 1.])
    """
    return np.heaviside(x, 0), None


@step.pullback
def step_bwd(_: None, dy: Array) -> tuple[Array]:
    return (np.zeros_like(dy),)


@Op
def relu6(x: Array) -> tuple[Array, Array]:
    """The rectifier that stops at 6.

    Shapes: x (...) -> y (...)
    Math:
        y  = min(max(x, 0), 6)
        dx = dy where 0 < x < 6, else 0
    Errors: TypeError unless x is a floating-point array.
    Source: Krizhevsky (2010). Conventions: the slope at 0 and at 6 is 0, as in jax.nn and torch. NaN stays NaN.

    >>> import numpy as np, purenet as pn
    >>> pn.relu6(np.array([-1.0, 2.0, 7.0]))
    array([0., 2., 6.])
    """
    return np.clip(x, 0, 6), (x > 0) & (x < 6)


@relu6.pullback
def relu6_bwd(inside: Array, dy: Array) -> tuple[Array]:
    return (where(inside, dy, 0),)


@Op
def hard_tanh(x: Array) -> tuple[Array, Array]:
    """The identity, cut off at -1 and 1.

    Shapes: x (...) -> y (...)
    Math:
        y  = min(max(x, -1), 1)
        dx = dy where -1 <= x <= 1, else 0
    Errors: TypeError unless x is a floating-point array.
    Source: Collobert (2004). Conventions: the slope at -1 and at 1 is 1, as in jax.nn; torch's is 0. NaN stays NaN.

    >>> import numpy as np, purenet as pn
    >>> pn.hard_tanh(np.array([-2.0, 0.5, 7.0]))
    array([-1. ,  0.5,  1. ])
    """
    return np.clip(x, -1, 1), np.abs(x) <= 1


@hard_tanh.pullback
def hard_tanh_bwd(inside: Array, dy: Array) -> tuple[Array]:
    return (where(inside, dy, 0),)


@Op
def hard_sigmoid(x: Array) -> tuple[Array, Array]:
    """The line through 1/2 with slope 1/6, cut off at 0 and 1.

    Shapes: x (...) -> y (...)
    Math:
        y  = min(max(x + 3, 0), 6) / 6
        dx = dy / 6 where -3 < x < 3, else 0
    Errors: TypeError unless x is a floating-point array.
    Source: Howard et al., MobileNetV3 (2019). Conventions: as jax.nn, torch and Keras 3, the slope at -3 and at 3 is 0. ONNX
        and Keras 2 have the slope 1/5. NaN stays NaN.

    >>> import numpy as np, purenet as pn
    >>> pn.hard_sigmoid(np.array([-4.0, 0.0, 1.5, 3.0]))
    array([0.  , 0.5 , 0.75, 1.  ])
    """
    return np.clip(x + 3, 0, 6) / 6, np.abs(x) < 3


@hard_sigmoid.pullback
def hard_sigmoid_bwd(inside: Array, dy: Array) -> tuple[Array]:
    return (where(inside, dy / 6, 0),)


@Op
def hard_swish(x: Array) -> tuple[Array, Any]:
    """The product of x and its hard sigmoid; also called hard_silu.

    Shapes: x (...) -> y (...)
    Math:
        y  = x min(max(x + 3, 0), 6) / 6
        dx = dy (h(x) + x / 6) where -3 < x < 3, else dy h(x), with the hard sigmoid h
    Errors: TypeError unless x is a floating-point array.
    Source: Howard et al., MobileNetV3 (2019). Conventions: as in jax.nn and torch, the slope at -3 is 0 and at 3 it is 1.

    >>> import numpy as np, purenet as pn
    >>> pn.hard_swish(np.array([-1.5, 0.0, 1.5, 3.0]))
    array([-0.375,  0.   ,  1.125,  3.   ])
    """
    h = np.clip(x + 3, 0, 6)
    h /= 6
    return x * h, (x, h)


@hard_swish.pullback
def hard_swish_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, h = residuals
    slope = where(np.abs(x) < 3, x, 0)
    slope /= 6
    slope += h
    slope *= dy
    return (slope,)


hard_silu = hard_swish
