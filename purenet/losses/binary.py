"""Losses of yes-or-no predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from purenet.checks import choice, factors, mask, same_shape
from purenet.losses.reductions import REDUCTIONS, product, reduce, spread
from purenet.op import Array, Op

__all__ = ["sigmoid_binary_cross_entropy"]


@Op
def sigmoid_binary_cross_entropy(
    logits: Array,
    labels: Array,
    *,
    pos_weight: Array | float | None = None,
    where: Array | None = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """The cross entropy between labels, which are probabilities of yes, and the sigmoid of logits.

    Shapes: logits (...), labels (...), pos_weight and where broadcast to them -> y (), or (...) without reduction
    Math, of each of the N entries that count, with the sigmoid s, the label t and pos_weight w:
        l  = -w t log s(x) - (1 - t) log s(-x),  -log s(-x) = max(x, 0) + log(1 + exp(-|x|))
        dx = dl ((1 - t) s(x) - w t s(-x)),  dt = dl (-x + (w - 1) (-log s(-x) - x)),  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not match, for a negative or infinite pos_weight, or for another reduction; TypeError
        unless `where` is boolean.
    Source: Good (1952). Conventions: labels outside [0, 1] are not rejected, they are differentiated like any number.
        pos_weight multiplies the loss of yes, as in torch. An entry outside `where` gives 0 and gets no gradient, whatever it
        holds, and the mean is over the entries inside, 0 if there are none. optax does not reduce.

    >>> import numpy as np, purenet as pn
    >>> logits, labels = np.log([3.0, 3.0]), np.array([1.0, 0.0])
    >>> np.exp(-pn.sigmoid_binary_cross_entropy(logits, labels, reduction="none")).round(12)
    array([0.75, 0.25])
    """
    name = "sigmoid_binary_cross_entropy"
    choice(name, "reduction", reduction, REDUCTIONS)
    same_shape(name, logits=logits, labels=labels)
    w = None if pos_weight is None else factors(name, "pos_weight", pos_weight, logits.shape, logits.dtype)
    kept, total = None, logits.size
    if where is not None:
        kept = mask(name, "where", where, logits.shape)
        total = int(np.count_nonzero(kept))
        logits, labels = np.where(kept, logits, 0), np.where(kept, labels, 0)
    tail = np.log1p(np.exp(-np.abs(logits)))
    yes = labels if w is None else w * labels
    terms = product(yes, np.maximum(-logits, 0) + tail) + product(1 - labels, np.maximum(logits, 0) + tail)
    if kept is not None:
        terms = np.where(kept, terms, 0)
    return reduce(terms, reduction, total), (logits, labels, w, kept, total, reduction)


@sigmoid_binary_cross_entropy.pullback
def sigmoid_binary_cross_entropy_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    x, t, w, kept, total, reduction = residuals
    dl = spread(dy, reduction, total)
    if kept is not None:
        dl = np.where(kept, dl, 0)
    if w is None:
        return dl * ((1 - t) * expit(x) - t * expit(-x)), -dl * x
    # The terms of -x + (w - 1)(-log s(-x) - x) that can cancel, taken together.
    slope = w * np.maximum(-x, 0) - np.maximum(x, 0) + (w - 1) * np.log1p(np.exp(-np.abs(x)))
    return dl * ((1 - t) * expit(x) - w * t * expit(-x)), dl * slope
