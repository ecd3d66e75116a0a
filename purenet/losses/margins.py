"""Losses that demand a margin between right and wrong.

At the margin itself, where the loss begins, the slope is the middle of those of both sides, as JAX has it; torch takes the one
of the side that still costs, but in its multi_margin_loss that of the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet import entrywise
from purenet.checks import number, same_rank
from purenet.losses.labels import class_labels
from purenet.losses.reductions import Mask, Reduction, Weight, of_arguments, paired, reduction_of
from purenet.op import Array, Op

__all__ = ["hinge_loss", "margin_ranking_loss", "multiclass_hinge_loss", "perceptron_loss", "squared_hinge_loss"]


@Op
def hinge_loss(
    predictor_outputs: Array, targets: Array, *, weight: Weight = None, where: Mask = None, reduction: str = "mean"
) -> tuple[Array, Any]:
    """The hinge loss of a decision function: the distance to a margin of 1 on the right side, 0 beyond it.

    Shapes: predictor_outputs (...), targets (...), which broadcast, weight and where to them -> y (), or (...) unreduced
    Math, of each of N entries, with the output o and the target t, which is -1 or 1:
        l  = max(0, 1 - o t)
        do = -dl t h,  dt = -dl o h,  h = [o t < 1], 1/2 at o t = 1,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a negative weight, or for another reduction;
        TypeError unless `where` is boolean.
    Source: Cortes and Vapnik, support-vector networks (1995). Conventions: targets are numbers and differentiated like any;
        labels 0 and 1 are not converted (keras does). Half the slope at the margin, as JAX; torch has all of it. optax does
        not reduce.

    >>> import numpy as np, purenet as pn
    >>> pn.hinge_loss(np.array([2.0, 0.5, -1.0]), np.array([1.0, 1.0, 1.0]), reduction="none")
    array([0. , 0.5, 2. ])
    """
    o, t, by = _decided("hinge_loss", predictor_outputs, targets, weight, where, reduction)
    missing = 1 - o * t
    return by.value(entrywise.at_least(missing, 0)), (o, t, entrywise.step(missing), by)


@hinge_loss.pullback
def hinge_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    o, t, slope, by = residuals
    return of_arguments(by, *_of_factors(o, t, -by.cotangent(dy) * slope))


@Op
def squared_hinge_loss(
    predictor_outputs: Array, targets: Array, *, weight: Weight = None, where: Mask = None, reduction: str = "mean"
) -> tuple[Array, Any]:
    """The square of the hinge loss, which is smooth.

    Shapes: predictor_outputs (...), targets (...), which broadcast, weight and where to them -> y (), or (...) unreduced
    Math, of each of N entries, with the output o and the target t, which is -1 or 1:
        l  = m^2,  m = max(0, 1 - o t)
        do = -2 dl t m,  dt = -2 dl o m,  dl = dy / N;  reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a negative weight, or for another reduction;
        TypeError unless `where` is boolean.
    Source: Lee and Mangasarian, SSVM (2001). Conventions: targets are numbers and differentiated like any; labels 0 and 1 are
        not converted (keras does).

    >>> import numpy as np, purenet as pn
    >>> pn.squared_hinge_loss(np.array([2.0, 0.5, -1.0]), np.array([1.0, 1.0, 1.0]), reduction="none")
    array([0.  , 0.25, 4.  ])
    """
    o, t, by = _decided("squared_hinge_loss", predictor_outputs, targets, weight, where, reduction)
    missing = entrywise.at_least(1 - o * t, 0)
    return by.value(np.square(missing)), (o, t, missing, by)


@squared_hinge_loss.pullback
def squared_hinge_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    o, t, missing, by = residuals
    return of_arguments(by, *_of_factors(o, t, -2 * by.cotangent(dy) * missing))


@Op
def perceptron_loss(
    predictor_outputs: Array, targets: Array, *, weight: Weight = None, where: Mask = None, reduction: str = "mean"
) -> tuple[Array, Any]:
    """The perceptron's loss: how far a decision lies on the wrong side.

    Shapes: predictor_outputs (...), targets (...), which broadcast, weight and where to them -> y (), or (...) unreduced
    Math, of each of N entries, with the output o and the target t, which is -1 or 1:
        l  = max(0, -o t)
        do = -dl t h,  dt = -dl o h,  h = [o t < 0], 1/2 at o t = 0,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a negative weight, or for another reduction;
        TypeError unless `where` is boolean.
    Source: Rosenblatt (1958). Conventions: targets are numbers and differentiated like any. Half the slope at 0, as JAX:
        weights of zero do learn. optax does not reduce.

    >>> import numpy as np, purenet as pn
    >>> pn.perceptron_loss(np.array([2.0, 0.5, -1.0]), np.array([1.0, -1.0, 1.0]), reduction="none")
    array([0. , 0.5, 1. ])
    """
    o, t, by = _decided("perceptron_loss", predictor_outputs, targets, weight, where, reduction)
    wrong = -o * t
    return by.value(entrywise.at_least(wrong, 0)), (o, t, entrywise.step(wrong), by)


@perceptron_loss.pullback
def perceptron_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    return hinge_loss_bwd(residuals, dy)


@Op
def multiclass_hinge_loss(
    scores: Array, *, labels: Array, weight: Weight = None, where: Mask = None, reduction: str = "mean"
) -> tuple[Array, Any]:
    """The hinge loss of several classes: how far the label's score is from exceeding the best other one by 1, 0 beyond.

    Shapes: scores (..., K), labels (...) integers, weight and where broadcast to them -> y (), or (...) without reduction
    Math, of each of N rows, with the label t:
        l  = max_k (s_k + [k != t]) - s_t
        ds = dl ([k is the largest] - [k = t]), shared evenly among equals,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: TypeError unless labels are integers; ValueError unless they have the shape of the rows and lie in 0..K-1, for a
        negative weight, or for another reduction.
    Source: Crammer and Singer (2001). Conventions: optax's, which does not reduce. torch's multi_margin_loss adds up the
        margins of all classes and divides by their number. Equals share, as JAX has it.

    >>> import numpy as np, purenet as pn
    >>> scores = np.array([[1.0, 4.0, 2.5], [0.0, 0.5, 0.25]])
    >>> pn.multiclass_hinge_loss(scores, labels=np.array([1, 2]), reduction="none")
    array([0.  , 1.25])
    """
    name = "multiclass_hinge_loss"
    labels, _ = class_labels(name, labels, scores=scores)
    by = reduction_of(name, labels.shape, scores.dtype, reduction, weight, where)
    if by.factor is not None:
        scores = np.where(by.factor[..., None] != 0, scores, 0)
    at_label = np.arange(scores.shape[-1]) == labels[..., None]
    behind = scores - np.take_along_axis(scores, labels[..., None], axis=-1) + ~at_label
    most = behind.max(axis=-1, keepdims=True)
    largest = behind == most
    return by.value(most[..., 0]), (largest / largest.sum(axis=-1, keepdims=True, dtype=scores.dtype) - at_label, by)


@multiclass_hinge_loss.pullback
def multiclass_hinge_loss_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    slope, by = residuals
    return (by.cotangent(dy, (-1,)) * slope,)


@Op
def margin_ranking_loss(
    input1: Array,
    input2: Array,
    targets: Array,
    *,
    margin: float = 0.0,
    weight: Weight = None,
    where: Mask = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """How far a pair is from the right order by a margin, 0 beyond: target 1 wants the first larger, -1 the second.

    Shapes: input1 (...), input2 (...), targets (...), which broadcast, weight and where to them -> y (), or (...) unreduced
    Math, of each of N pairs:
        l   = max(0, margin - t (x1 - x2))
        dx1 = -dl t h,  dx2 = -dx1,  dt = -dl (x1 - x2) h,  h = [l > 0], 1/2 where the maximum is a tie,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast or have not as many axes, for a negative margin or weight, or for
        another reduction; TypeError unless `where` is boolean.
    Source: Herbrich, Graepel, Obermayer (2000). Conventions: torch's, except that the name of the targets is plural here, and
        that a tie has half the slope, as JAX's maximum; torch has all of it.

    >>> import numpy as np, purenet as pn
    >>> x1, x2, targets = np.array([3.0, 1.0]), np.array([1.0, 2.0]), np.array([1.0, 1.0])
    >>> pn.margin_ranking_loss(x1, x2, targets, margin=0.5, reduction="none")
    array([0. , 1.5])
    """
    name = "margin_ranking_loss"
    margin = number(name, "margin", margin, low=0)
    same_rank(name, input1=input1, input2=input2, targets=targets)
    by, (x1, x2, t) = paired(name, reduction, weight, where, input1=input1, input2=input2, targets=targets)
    lead = x1 - x2
    missing = margin - t * lead
    return by.value(entrywise.at_least(missing, 0)), (lead, t, entrywise.step(missing), by)


@margin_ranking_loss.pullback
def margin_ranking_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    lead, t, slope, by = residuals
    dlead, dtargets = _of_factors(lead, t, -by.cotangent(dy) * slope)
    return of_arguments(by, dlead, -dlead, dtargets)


def _decided(
    op: str, predictor_outputs: Array, targets: Array, weight: Any, where: Any, reduction: str
) -> tuple[Array, Array, Reduction]:
    by, (o, t) = paired(op, reduction, weight, where, predictor_outputs=predictor_outputs, targets=targets)
    return o, t, by


def _of_factors(o: Array, t: Array, dproduct: Array) -> tuple[Array, Array]:
    """The cotangents of both factors, given that of their product."""
    return dproduct * t, dproduct * o
