"""More losses with a margin, as torch has them: a smooth one, one of distances, one that adds up all classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet import entrywise
from purenet.checks import choice, number
from purenet.losses.labels import class_labels, signs
from purenet.losses.margins import hinge_loss_bwd, multiclass_hinge_loss_bwd
from purenet.losses.reductions import Mask, Weight, of_arguments, paired, reduction_of
from purenet.op import Array, Op
from purenet.random.checks import check_broadcast

__all__ = ["hinge_embedding_loss", "multi_margin_loss", "soft_margin_loss"]


@Op
def soft_margin_loss(
    predictor_outputs: Array, targets: Array, *, weight: Weight = None, where: Mask = None, reduction: str = "mean"
) -> tuple[Array, Any]:
    """The logistic loss of a decision function: a smooth hinge, without an end.

    Shapes: predictor_outputs (...); targets, weight and where broadcast to them -> y (), or (...) without reduction
    Math, of each of N entries, with the output o, the target t, which is -1 or 1, and the sigmoid s:
        l  = log(1 + exp(-o t))
        do = -dl t s(-o t),  dt = -dl o s(-o t),  dl = dy / N;  reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where targets do not broadcast to the outputs, for a negative weight, or for another reduction;
        TypeError unless `where` is boolean.
    Source: Cox (1958). Conventions: torch's; targets are numbers and differentiated like any. For labels 0 and 1 it is
        sigmoid_binary_cross_entropy.

    >>> import numpy as np, purenet as pn
    >>> loss = pn.soft_margin_loss(np.log([3.0, 3.0]), np.array([1.0, -1.0]), reduction="none")
    >>> np.exp(loss).round(12)
    array([1.33333333, 4.        ])
    """
    decided = {"predictor_outputs": predictor_outputs, "targets": targets}
    check_broadcast("soft_margin_loss", "targets", targets, predictor_outputs.shape)
    by, (o, t) = paired("soft_margin_loss", reduction, weight, where, **decided)
    wrong = -o * t
    e = np.exp(-np.abs(wrong))
    return by.value(entrywise.at_least(wrong, 0) + np.log1p(e)), (o, t, entrywise.sigmoid_of(wrong, e), by)


@soft_margin_loss.pullback
def soft_margin_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    return hinge_loss_bwd(residuals, dy)


@Op
def hinge_embedding_loss(
    distances: Array,
    *,
    labels: Array,
    margin: float = 1.0,
    weight: Weight = None,
    where: Mask = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """The distance of pairs that belong together, and what the others lack to a margin.

    Shapes: distances (...), labels (...) integers, which broadcast, and weight and where to them -> y (), or (...) without
        reduction
    Math, of each of N entries:
        l  = d where the label is 1, max(0, margin - d) where it is -1
        dd = dl where the label is 1, else -dl where d < margin, half of it at the margin, else 0,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: TypeError unless labels are integers; ValueError unless they are 1 or -1 and broadcast with the distances, for a
        negative margin or weight, or for another reduction.
    Source: Hadsell, Chopra, LeCun (2006). Conventions: torch's, which takes labels of a floating-point type and any others, and
        has all of the slope at the margin.

    >>> import numpy as np, purenet as pn
    >>> pn.hinge_embedding_loss(np.array([3.0, 0.25, 2.0]), labels=np.array([1, -1, -1]), reduction="none")
    array([3.  , 0.75, 0.  ])
    """
    name = "hinge_embedding_loss"
    margin, labels = number(name, "margin", margin, low=0), signs(name, labels)
    by, (d, signed) = paired(name, reduction, weight, where, distances=distances, labels=labels)
    together, missing = signed == 1, margin - d
    slope = np.where(together, 1, -entrywise.step(missing))
    return by.value(np.where(together, d, entrywise.at_least(missing, 0))), (slope, by)


@hinge_embedding_loss.pullback
def hinge_embedding_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    slope, by = residuals
    return of_arguments(by, by.cotangent(dy) * slope)


@Op
def multi_margin_loss(
    scores: Array,
    *,
    labels: Array,
    p: int = 1,
    margin: float = 1.0,
    weight: Weight = None,
    where: Mask = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """What the label's score lacks to exceeding each other one by a margin, over the number of classes.

    Shapes: scores (..., K), labels (...) integers, weight and where broadcast to them -> y (), or (...) without reduction
    Math, of each of N rows, with the label t and m_k = max(0, margin - s_t + s_k) for k != t, m_t = 0:
        l  = 1/K sum_k m_k^p,  p = 1 or 2
        ds_k = dl p m_k^(p-1) h_k / K,  ds_t = -sum of the others,  h = [m > 0], 1/2 where the maximum is a tie,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: TypeError unless labels are integers; ValueError unless they have the shape of the rows and lie in 0..K-1, for a p
        other than 1 and 2, a negative margin or weight, or for another reduction.
    Source: Weston and Watkins (1999). Conventions: torch's, whose weights are those of classes, here weight[labels], and whose
        mean divides by the number of rows with weights too; it has no slope at the margin. multiclass_hinge_loss takes the
        largest term.

    >>> import numpy as np, purenet as pn
    >>> scores = np.array([[1.0, 4.0, 2.5, 3.5], [0.0, 0.5, 0.25, -3.0]])
    >>> pn.multi_margin_loss(scores, labels=np.array([1, 2]), reduction="none")
    array([0.125, 0.5  ])
    """
    name = "multi_margin_loss"
    choice(name, "p", p, (1, 2))
    margin, (labels, _) = number(name, "margin", margin, low=0), class_labels(name, labels, scores=scores)
    by = reduction_of(name, labels.shape, scores.dtype, reduction, weight, where)
    if by.factor is not None:
        scores = np.where(by.factor[..., None] != 0, scores, 0)
    at_label = np.arange(scores.shape[-1]) == labels[..., None]
    lacks = margin + scores - np.take_along_axis(scores, labels[..., None], axis=-1)
    missing = np.where(at_label, 0, entrywise.at_least(lacks, 0))
    classes = max(scores.shape[-1], 1)  # without classes there are no rows either
    slope = np.where(at_label, 0, entrywise.step(lacks) if p == 1 else 2 * missing) / classes
    slope -= at_label * slope.sum(axis=-1, keepdims=True)
    return by.value((missing**p).sum(axis=-1) / classes), (slope, by)


@multi_margin_loss.pullback
def multi_margin_loss_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return multiclass_hinge_loss_bwd(residuals, dy)
