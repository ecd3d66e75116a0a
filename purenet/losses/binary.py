"""Losses of yes-or-no predictions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from purenet import entrywise
from purenet.checks import factors, number, same_shape
from purenet.losses.reductions import Mask, Weight, paired, product
from purenet.op import Array, Op

__all__ = ["binary_cross_entropy", "sigmoid_binary_cross_entropy", "sigmoid_focal_loss"]

LEAST_LOG = -100.0  # of a probability, as in torch


@Op
def sigmoid_binary_cross_entropy(
    logits: Array,
    labels: Array,
    *,
    pos_weight: Weight = None,
    weight: Weight = None,
    where: Mask = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """The cross entropy between labels, which are probabilities of yes, and the sigmoid of logits.

    Shapes: logits (...), labels (...), pos_weight, weight and where broadcast to them -> y (), or (...) without reduction
    Math, of each of the N entries that count, with the sigmoid s, the label t and pos_weight w:
        l  = -w t log s(x) - (1 - t) log s(-x),  -log s(-x) = max(x, 0) + log(1 + exp(-|x|))
        dx = dl ((1 - t) s(x) - w t s(-x)),  dt = dl (-x + (w - 1) (-log s(-x) - x)),  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not match, for a negative or infinite weight or pos_weight, or for another reduction;
        TypeError unless `where` is boolean.
    Source: Good (1952). Conventions: labels outside [0, 1] are not rejected, they are differentiated like any number.
        pos_weight multiplies the loss of yes, as in torch. An entry outside `where` gives 0 and gets no gradient, whatever it
        holds. The mean divides by the sum of the weights of the entries that count, and is 0 where that is (torch's divides
        by their number). optax does not reduce.

    >>> import numpy as np, purenet as pn
    >>> logits, labels = np.log([3.0, 3.0]), np.array([1.0, 0.0])
    >>> np.exp(-pn.sigmoid_binary_cross_entropy(logits, labels, reduction="none")).round(12)
    array([0.75, 0.25])
    """
    name = "sigmoid_binary_cross_entropy"
    same_shape(name, logits=logits, labels=labels)
    by, (x, t) = paired(name, reduction, weight, where, logits=logits, labels=labels)
    w = None if pos_weight is None else factors(name, "pos_weight", pos_weight, x.shape, x.dtype)
    e = entrywise.falling(x)
    tail = np.log1p(e)
    yes = t if w is None else w * t
    terms = product(yes, entrywise.at_least(-x, 0) + tail) + product(1 - t, entrywise.at_least(x, 0) + tail)
    return by.value(terms), (x, t, w, e, by)


@sigmoid_binary_cross_entropy.pullback
def sigmoid_binary_cross_entropy_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    x, t, w, e, by = residuals
    dl, (s, opposite) = by.cotangent(dy), entrywise.sigmoids_of(x, e)
    if w is None:
        return dl * ((1 - t) * s - t * opposite), -dl * x
    # The terms of -x + (w - 1)(-log s(-x) - x) that can cancel, taken together.
    slope = w * np.maximum(-x, 0) - np.maximum(x, 0) + (w - 1) * np.log1p(e)
    return dl * ((1 - t) * s - w * t * opposite), dl * slope


@Op
def binary_cross_entropy(
    predictions: Array, labels: Array, *, weight: Weight = None, where: Mask = None, reduction: str = "mean"
) -> tuple[Array, Any]:
    """The cross entropy between labels and predictions, both probabilities of yes.

    Shapes: predictions (...), labels (...), weight and where broadcast to them -> y (), or (...) without reduction
    Math, of each of N entries, with the prediction p, the label t and logarithms not below -100:
        l  = -t log p - (1 - t) log(1 - p)
        dp = dl (p - t) / (p (1 - p)), where a logarithm is cut off without its part: 1 - t at p = 0, -t at p = 1
        dt = dl (log(1 - p) - log p),  dl = dy / N;  reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError for predictions outside [0, 1], where the shapes differ (nothing is broadcast), for a negative weight, or
        for another reduction; TypeError unless `where` is boolean.
    Source: Good (1952). Conventions: the logarithms are cut off at -100 as in torch (a certain and wrong prediction costs 100),
        and the slope is that of what is computed; torch's is (p - t) / max(p (1 - p), 1e-12), so +-1e12 there and 0 for what is
        certain and right, and in the labels it has no cut-off. Labels outside [0, 1] are not rejected (torch rejects them). The
        mean divides by the sum of the weights, torch's by their number. sigmoid_binary_cross_entropy keeps more digits.

    >>> import numpy as np, purenet as pn
    >>> np.exp(-pn.binary_cross_entropy(np.array([0.75, 0.75]), np.array([1.0, 0.0]), reduction="none")).round(12)
    array([0.75, 0.25])
    >>> float(pn.binary_cross_entropy(np.array([0.0]), np.array([1.0])))
    100.0
    """
    same_shape("binary_cross_entropy", predictions=predictions, labels=labels)
    by, (p, t) = paired("binary_cross_entropy", reduction, weight, where, predictions=predictions, labels=labels)
    outside = (p < 0) | (p > 1)
    if outside.any():
        raise ValueError(f"binary_cross_entropy: predictions must be in [0, 1], got {p[outside][0]}")
    with np.errstate(divide="ignore"):
        yes, no = np.maximum(np.log(p), LEAST_LOG), np.maximum(np.log1p(-p), LEAST_LOG)
    return by.value(-t * yes - (1 - t) * no), (p, t, no - yes, by)


@binary_cross_entropy.pullback
def binary_cross_entropy_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    p, t, dt, by = residuals
    dl = by.cotangent(dy)
    never, always = p <= math.exp(LEAST_LOG), p == 1
    slope = (p - t) / entrywise.where(never | always, 1, p * (1 - p))
    return dl * entrywise.where(never, 1 - t, entrywise.where(always, -t, slope)), dl * dt


@Op
def sigmoid_focal_loss(
    logits: Array,
    labels: Array,
    *,
    alpha: float | None = None,
    gamma: float = 2.0,
    weight: Weight = None,
    where: Mask = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """The binary cross entropy of logits, with less weight on what is already right.

    Shapes: logits (...), labels (...), weight and where broadcast to them -> y (), or (...) without reduction
    Math, of each of N entries, with the sigmoid s, the label t, the cross entropy c and the probability of error q:
        l  = a c q^gamma,  q = (1 - t) s(x) + t s(-x),  a = alpha t + (1 - alpha)(1 - t), 1 without alpha
        dx = dl a q^gamma ((1 - t) s(x) - t s(-x) + gamma c (1 - 2 t) s(x) s(-x) / q)
        dt = dl q^gamma ((2 alpha - 1) c - a (x + gamma c tanh(x/2) / q)),  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes differ (nothing is broadcast), for alpha outside [0, 1], a negative gamma or weight, or
        another reduction; TypeError unless `where` is boolean.
    Source: Lin et al., Focal Loss for Dense Object Detection (2017). Conventions: optax's, which does not reduce; torchvision
        has alpha = 0.25 by default. Labels may be any probabilities; outside [0, 1] q can be negative, and the loss NaN.

    >>> import numpy as np, purenet as pn
    >>> loss = pn.sigmoid_focal_loss(np.log([3.0, 3.0]), np.array([1.0, 0.0]), reduction="none")
    >>> (loss / np.log([4 / 3, 4.0])).round(12)
    array([0.0625, 0.5625])
    """
    name = "sigmoid_focal_loss"
    alpha = None if alpha is None else number(name, "alpha", alpha, low=0, high=1)
    gamma = number(name, "gamma", gamma, low=0)
    same_shape(name, logits=logits, labels=labels)
    by, (x, t) = paired(name, reduction, weight, where, logits=logits, labels=labels)
    cross_entropy, q, _ = _errors(x, t)
    with np.errstate(invalid="ignore"):
        terms = cross_entropy * np.power(q, gamma)
    return by.value(terms if alpha is None else (alpha * t + (1 - alpha) * (1 - t)) * terms), (x, t, alpha, gamma, by)


@sigmoid_focal_loss.pullback
def sigmoid_focal_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    x, t, alpha, gamma, by = residuals
    c, q, e = _errors(x, t)
    a = 1 if alpha is None else alpha * t + (1 - alpha) * (1 - t)
    with np.errstate(invalid="ignore"):
        power = by.cotangent(dy) * np.power(q, gamma)
    # Where q is 0, x is certain and right. Both quotients have limits there: for t = 1 those of e / q and log(1 + e) / q.
    certain = q == 0
    safe = entrywise.where(certain, 1, q)
    steepness = entrywise.where(certain, 1, e / (1 + e) / safe) / (1 + e)
    per_error = entrywise.where(certain, 1, c / safe)
    s, opposite = entrywise.sigmoids_of(x, e)
    dx = a * power * ((1 - t) * s - t * opposite + gamma * c * (1 - 2 * t) * steepness)
    dt = -a * power * (x + gamma * per_error * np.tanh(x / 2))
    return dx, dt if alpha is None else dt + (2 * alpha - 1) * c * power


def _errors(x: Array, t: Array) -> tuple[Array, Array, Array]:
    """The cross entropy, the probability of error, and exp(-|x|), of which both are made without a loss of digits."""
    e = entrywise.falling(x)
    agrees, differs = entrywise.where(x < 0, 1 - t, t), entrywise.where(x < 0, t, 1 - t)
    return differs * np.abs(x) + np.log1p(e), (differs + agrees * e) / (1 + e), e
