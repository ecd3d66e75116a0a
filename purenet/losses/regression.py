"""Losses between numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import choice, same_shape
from purenet.losses.reductions import REDUCTIONS, reduce, spread
from purenet.op import Array, Op

__all__ = ["squared_error", "sum_squared_error"]


@Op
def squared_error(predictions: Array, targets: Array, *, reduction: str = "mean") -> tuple[Array, Any]:
    """The squared error (p - t)^2, averaged over all entries.

    Shapes: predictions (...), targets (...) -> y (), or (...) without reduction
    Math, of N entries in all:
        y  = 1/N sum (p - t)^2
        dp = 2/N (p - t) dy,  dt = -dp;  reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes differ (nothing is broadcast), or for another reduction.
    Source: Gauss (1809). Conventions: the mean is over all entries, as in torch and keras, not over rows. optax does not
        reduce.

    >>> import numpy as np, purenet as pn
    >>> float(pn.squared_error(np.array([1.0, 5.0]), np.array([2.0, 2.0])))
    5.0
    """
    choice("squared_error", "reduction", reduction, REDUCTIONS)
    same_shape("squared_error", predictions=predictions, targets=targets)
    difference = predictions - targets
    return reduce(np.square(difference), reduction, difference.size), (difference, reduction)


@squared_error.pullback
def squared_error_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    difference, reduction = residuals
    dpredictions = 2 * spread(dy, reduction, difference.size) * difference
    return dpredictions, -dpredictions


@Op
def sum_squared_error(predictions: Array, targets: Array) -> tuple[Array, Array]:
    """Half the sum of the squared errors.

    Shapes: predictions (...), targets (...) -> y ()
    Math:
        y  = 1/2 sum (p - t)^2
        dp = (p - t) dy,  dt = -dp
    Errors: ValueError where the shapes differ (nothing is broadcast).
    Source: Saito, Deep Learning from Scratch (2016), section 4.2. Conventions: a sum over the batch too. optax.l2_loss is the
        half without the sum; torch and keras have neither this half nor this sum (see squared_error).

    >>> import numpy as np, purenet as pn
    >>> float(pn.sum_squared_error(np.array([1.0, 5.0]), np.array([2.0, 2.0])))
    5.0
    """
    same_shape("sum_squared_error", predictions=predictions, targets=targets)
    difference = predictions - targets
    return np.asarray(0.5 * np.sum(np.square(difference))), difference


@sum_squared_error.pullback
def sum_squared_error_bwd(difference: Array, dy: Array) -> tuple[Array, Array]:
    dpredictions = dy * difference
    return dpredictions, -dpredictions
