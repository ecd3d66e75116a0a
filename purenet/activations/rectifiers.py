"""Piecewise linear activations."""

from __future__ import annotations

import numpy as np

from purenet.op import Array, Op

__all__ = ["relu"]


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
    return np.maximum(x, 0), x > 0


@relu.pullback
def relu_bwd(positive: Array, dy: Array) -> tuple[Array]:
    return (np.where(positive, dy, 0),)
