"""Losses between numbers: functions of the error p - t of each entry."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from purenet import entrywise
from purenet.checks import number
from purenet.losses.reductions import Mask, Reduction, Weight, of_arguments, paired
from purenet.op import Array, Op

__all__ = [
    "huber_loss",
    "l1_loss",
    "log_cosh",
    "mse",
    "quantile_loss",
    "smooth_l1_loss",
    "squared_error",
    "sum_squared_error",
]


@Op
def squared_error(
    predictions: Array, targets: Array, *, weight: Weight = None, where: Mask = None, reduction: str = "mean"
) -> tuple[Array, Any]:
    """The squared error (p - t)^2, averaged over all entries: the mean squared error, `mse`.

    Shapes: predictions (...), targets (...), which broadcast, weight and where to them -> y (), or (...) unreduced
    Math, of N entries in all (weights w replace N by their sum):
        y  = 1/N sum (p - t)^2
        dp = 2/N (p - t) dy,  dt = -dp;  reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a negative weight, or for another reduction;
        TypeError unless `where` is boolean.
    Source: Gauss (1809). Conventions: the mean is over all entries, as in torch and keras, not over rows. optax does not
        reduce. As in torch, which warns, shapes broadcast: predictions (N, 1) and targets (N,) are N^2 pairs.

    >>> import numpy as np, purenet as pn
    >>> float(pn.squared_error(np.array([1.0, 5.0]), np.array([2.0, 2.0])))
    5.0
    """
    by, (p, t) = paired("squared_error", reduction, weight, where, predictions=predictions, targets=targets)
    error = p - t
    return by.value(np.square(error)), (error, by)


@squared_error.pullback
def squared_error_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    error, by = residuals
    return _opposite(by, 2 * by.cotangent(dy) * error)


mse = squared_error


@Op
def sum_squared_error(predictions: Array, targets: Array) -> tuple[Array, Any]:
    """Half the sum of the squared errors.

    Shapes: predictions (...), targets (...) -> y ()
    Math:
        y  = 1/2 sum (p - t)^2
        dp = (p - t) dy,  dt = -dp
    Errors: ValueError where the shapes do not broadcast.
    Source: Saito, Deep Learning from Scratch (2016), section 4.2. Conventions: a sum over the batch too. optax.l2_loss is the
        half without the sum; torch and keras have neither this half nor this sum (see squared_error).

    >>> import numpy as np, purenet as pn
    >>> float(pn.sum_squared_error(np.array([1.0, 5.0]), np.array([2.0, 2.0])))
    5.0
    """
    by, (p, t) = paired("sum_squared_error", "sum", None, None, predictions=predictions, targets=targets)
    difference = p - t
    return by.value(0.5 * np.square(difference)), (difference, by)


@sum_squared_error.pullback
def sum_squared_error_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    difference, by = residuals
    return _opposite(by, by.cotangent(dy) * difference)


@Op
def l1_loss(
    predictions: Array, targets: Array, *, weight: Weight = None, where: Mask = None, reduction: str = "mean"
) -> tuple[Array, Any]:
    """The absolute error |p - t|, averaged over all entries: the mean absolute error.

    Shapes: predictions (...), targets (...), which broadcast, weight and where to them -> y (), or (...) unreduced
    Math, of N entries in all (weights w replace N by their sum):
        y  = 1/N sum |p - t|
        dp = 1/N sign(p - t) dy, 0 at p = t;  dt = -dp;  reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a negative weight, or for another reduction;
        TypeError unless `where` is boolean.
    Source: Laplace (1774). Conventions: the slope at the target is 0, the middle of [-1, 1], as in torch. JAX has 1.

    >>> import numpy as np, purenet as pn
    >>> value, pullback = pn.vjp(pn.l1_loss, np.array([1.0, 5.0, 2.0, 0.0]), np.array([2.0, 2.0, 2.0, 4.0]))
    >>> float(value), pullback(1.0)[0]
    (2.0, array([-0.25,  0.25,  0.  , -0.25]))
    """
    by, (p, t) = paired("l1_loss", reduction, weight, where, predictions=predictions, targets=targets)
    error = p - t
    return by.value(np.abs(error)), (np.sign(error), by)


@l1_loss.pullback
def l1_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    sign, by = residuals
    return _opposite(by, by.cotangent(dy) * sign)


@Op
def huber_loss(
    predictions: Array,
    targets: Array,
    *,
    delta: float = 1.0,
    weight: Weight = None,
    where: Mask = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """Huber's loss: half the squared error up to |error| = delta, and a line from there on.

    Shapes: predictions (...), targets (...), which broadcast, weight and where to them -> y (), or (...) unreduced
    Math, of each of N entries, with the error e = p - t:
        l  = e^2 / 2 for |e| <= delta, else delta (|e| - delta/2)
        dp = dl clip(e, -delta, delta),  dt = -dp,  dl = dy / N;  reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a delta that is not above 0, a negative weight, or
        another reduction; TypeError unless `where` is boolean.
    Source: Huber (1964). Conventions: as optax, which does not reduce, and torch, whose mean divides by N with weights too.
        smooth_l1_loss is this divided by delta.

    >>> import numpy as np, purenet as pn
    >>> pn.huber_loss(np.array([1.0, -5.0]), np.array([0.0, 0.0]), delta=2.0, reduction="none")
    array([0.5, 8. ])
    """
    delta = number("huber_loss", "delta", delta, above=0)
    by, (p, t) = paired("huber_loss", reduction, weight, where, predictions=predictions, targets=targets)
    error = p - t
    core, tail = _core_and_tail(error, delta)
    return by.value(0.5 * np.square(core) + delta * tail), (error, delta, by)


@huber_loss.pullback
def huber_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    error, delta, by = residuals
    return _opposite(by, by.cotangent(dy) * np.clip(error, -delta, delta))


@Op
def smooth_l1_loss(
    predictions: Array, targets: Array, *, beta: float = 1.0, weight: Weight = None, where: Mask = None, reduction: str = "mean"
) -> tuple[Array, Any]:
    """The absolute error, smoothed to a parabola where it is below beta.

    Shapes: predictions (...), targets (...), which broadcast, weight and where to them -> y (), or (...) unreduced
    Math, of each of N entries, with the error e = p - t:
        l  = e^2 / (2 beta) for |e| <= beta, else |e| - beta/2
        dp = dl clip(e / beta, -1, 1),  dt = -dp,  dl = dy / N;  reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a negative beta or weight, or for another
        reduction; TypeError unless `where` is boolean.
    Source: Girshick, Fast R-CNN (2015). Conventions: huber_loss divided by its delta, as in torch; beta = 0 is l1_loss.

    >>> import numpy as np, purenet as pn
    >>> pn.smooth_l1_loss(np.array([1.0, -5.0]), np.array([0.0, 0.0]), beta=2.0, reduction="none")
    array([0.25, 4.  ])
    """
    beta = number("smooth_l1_loss", "beta", beta, low=0)
    by, (p, t) = paired("smooth_l1_loss", reduction, weight, where, predictions=predictions, targets=targets)
    error = p - t
    if beta == 0:
        return by.value(np.abs(error)), (np.sign(error), by)
    core, tail = _core_and_tail(error, beta)
    return by.value(0.5 * core * (core / beta) + tail), (np.clip(error, -beta, beta) / beta, by)


@smooth_l1_loss.pullback
def smooth_l1_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    slope, by = residuals
    return _opposite(by, by.cotangent(dy) * slope)


@Op
def log_cosh(
    predictions: Array, targets: Array, *, weight: Weight = None, where: Mask = None, reduction: str = "mean"
) -> tuple[Array, Any]:
    """The logarithm of the hyperbolic cosine of the error: half its square near 0, |error| - log 2 far away.

    Shapes: predictions (...), targets (...), which broadcast, weight and where to them -> y (), or (...) unreduced
    Math, of each of N entries, with the error e = p - t:
        l  = log cosh e = |e| + log(1 + exp(-2 |e|)) - log 2 = log(1 + 2 sinh(e/2)^2)
        dp = dl tanh(e),  dt = -dp,  dl = dy / N;  reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a negative weight, or for another reduction;
        TypeError unless `where` is boolean.
    Source: Chen et al., Log Hyperbolic Cosine Loss Improves Variational Auto-Encoder (2019). Conventions: as optax, which
        does not reduce, and keras.

    >>> import numpy as np, purenet as pn
    >>> np.exp(pn.log_cosh(np.log([3.0, 1.0]), np.zeros(2), reduction="none")).round(12)
    array([1.66666667, 1.        ])
    """
    by, (p, t) = paired("log_cosh", reduction, weight, where, predictions=predictions, targets=targets)
    error = p - t
    size = np.abs(error)
    # Near 0 the first form is a small difference of large numbers.
    near = np.log1p(2 * np.square(np.sinh(entrywise.at_most(size, 1) / 2)))
    return by.value(entrywise.where(size < 1, near, size + np.log1p(np.exp(-2 * size)) - math.log(2))), (error, by)


@log_cosh.pullback
def log_cosh_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    error, by = residuals
    return _opposite(by, by.cotangent(dy) * np.tanh(error))


@Op
def quantile_loss(
    predictions: Array,
    targets: Array,
    *,
    quantile: float = 0.5,
    weight: Weight = None,
    where: Mask = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """The pinball loss, least where predictions are the given quantile of the targets.

    Shapes: predictions (...), targets (...), which broadcast, weight and where to them -> y (), or (...) unreduced
    Math, of each of N entries, with q = quantile:
        l  = q (t - p) where t >= p, else (1 - q)(p - t)
        dp = dl (1 - q where p > t, -q where p < t, 1/2 - q at p = t),  dt = -dp,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a quantile outside [0, 1], a negative weight, or
        another reduction; TypeError unless `where` is boolean.
    Source: Koenker and Bassett (1978). Conventions: the slope at the target is the middle of both sides, as JAX differentiates
        max(q e, (q - 1) e). scikit-learn's mean_pinball_loss calls the quantile alpha. At 1/2 it is half of l1_loss.

    >>> import numpy as np, purenet as pn
    >>> pn.quantile_loss(np.array([1.0, 4.0]), np.array([3.0, 2.0]), quantile=0.75, reduction="none")
    array([1.5, 0.5])
    """
    q = number("quantile_loss", "quantile", quantile, low=0, high=1)
    by, (p, t) = paired("quantile_loss", reduction, weight, where, predictions=predictions, targets=targets)
    error = p - t
    return by.value((1 - q) * entrywise.at_least(error, 0) + q * entrywise.at_least(-error, 0)), (
        np.heaviside(error, 0.5),
        q,
        by,
    )


@quantile_loss.pullback
def quantile_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    above, q, by = residuals
    return _opposite(by, by.cotangent(dy) * (above - q))


def _core_and_tail(error: Array, bound: float) -> tuple[Array, Array]:
    """|error| in two parts: what lies below the bound, and what exceeds it."""
    size = np.abs(error)
    core = entrywise.at_most(size, bound)
    return core, size - core


def _opposite(by: Reduction, d: Array) -> tuple[Array, ...]:
    """The cotangents of predictions and targets, of which a loss sees the difference."""
    return of_arguments(by, d, -d)
