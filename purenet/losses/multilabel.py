"""Losses of rows that have several labels at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet import entrywise
from purenet.checks import array_of, factors
from purenet.losses.binary import sigmoid_binary_cross_entropy, sigmoid_binary_cross_entropy_bwd
from purenet.losses.margins import multiclass_hinge_loss_bwd
from purenet.losses.reductions import Mask, Reduction, Weight, common, of_arguments, reduction_of
from purenet.op import Array, Op

__all__ = ["multilabel_margin_loss", "multilabel_soft_margin_loss"]


@Op
def multilabel_soft_margin_loss(
    scores: Array, targets: Array, *, weight: Weight = None, where: Mask = None, reduction: str = "mean"
) -> tuple[Array, Any]:
    """The mean over the classes of the logistic loss of yes or no: sigmoid_binary_cross_entropy, a number for each row.

    Shapes: scores (..., K), targets (..., K), which broadcast, weight to them, where to the rows -> y (), or (...) without
        reduction
    Math, of each of N rows, with the score x_k, the target t_k, the weight w_k of each class, and the sigmoid s:
        l    = -1/K sum_k w_k (t_k log s(x_k) + (1 - t_k) log s(-x_k))
        dx_k = dl w_k (s(x_k) - t_k) / K,  dt_k = -dl w_k x_k / K,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, or targets have more axes or classes than scores, for a negative
        weight, or for another reduction; TypeError unless `where` is boolean.
    Source: Zhang and Zhou, Multilabel neural networks (2006). Conventions: torch's: `weight` has a factor for each class (or
        entry), and neither mean divides by the weights. Targets are numbers and differentiated like any.

    >>> import numpy as np, purenet as pn
    >>> scores, targets = np.log([[3.0, 1.0], [3.0, 3.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> np.exp(-2 * pn.multilabel_soft_margin_loss(scores, targets, reduction="none")).round(12)
    array([0.375 , 0.1875])
    """
    name = "multilabel_soft_margin_loss"
    shape, _, shapes, (x, t) = common(name, {"scores": scores, "targets": targets})
    by = _rows(name, x, reduction, where=where)._replace(shapes=shapes)
    if len(shape) != scores.ndim or shape[-1] != scores.shape[-1]:
        raise ValueError(f"{name}: scores must have the axes and classes of targets {targets.shape}, got {scores.shape}")
    x, t = _counted(by, x), _counted(by, t)
    w = None if weight is None else factors(name, "weight", weight, x.shape, x.dtype)
    terms, saved = sigmoid_binary_cross_entropy.forward(x, t, weight=w, reduction="none")
    classes = max(x.shape[-1], 1)  # without classes a row costs nothing
    return by.value(terms.sum(axis=-1) / classes), (saved, classes, by)


@multilabel_soft_margin_loss.pullback
def multilabel_soft_margin_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    saved, classes, by = residuals
    return of_arguments(by, *sigmoid_binary_cross_entropy_bwd(saved, by.cotangent(dy, (-1,)) / classes))


@Op
def multilabel_margin_loss(
    scores: Array, *, labels: Array, weight: Weight = None, where: Mask = None, reduction: str = "mean"
) -> tuple[Array, Any]:
    """What the score of each label lacks to exceeding that of each other class by 1, over the number of classes.

    Shapes: scores (..., K), labels (..., L) integers, weight and where broadcast to the rows -> y (), or (...) unreduced
    Math, of each of N rows, with the number c_j of times that the class j is among the labels before the first -1:
        l    = 1/K sum_jk a_jk max(0, m_jk),  m_jk = 1 - s_j + s_k,  a_jk = c_j where c_k = 0, else 0
        ds_k = dl/K (sum_j a_jk h_jk - sum_j a_kj h_kj),  h = [m > 0], 1/2 where the maximum is a tie,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: TypeError unless labels are integers; ValueError unless they have a row for each of scores and lie in -1..K-1, for a
        negative weight, or for another reduction.
    Source: Elisseeff and Weston, A kernel method for multi-labelled classification (2001), who divide by the number of pairs.
        Conventions: torch's, which wants K labels in a row, and has no slope where a class is just exceeded by 1.

    >>> import numpy as np, purenet as pn
    >>> scores, labels = np.array([[0.5, 2.0, 0.75, 1.0]] * 2), np.array([[1, 3, -1], [2, -1, 0]])
    >>> pn.multilabel_margin_loss(scores, labels=labels, reduction="none")
    array([0.3125, 1.0625])
    """
    name = "multilabel_margin_loss"
    by = _rows(name, scores, reduction, weight, where)
    labels, listed = _lists(name, labels, scores)
    s = _counted(by, scores)
    is_label = (labels[..., None] == np.arange(s.shape[-1])) & listed[..., None]
    lacks = 1 - np.take_along_axis(s, labels, axis=-1)[..., None] + s[..., None, :]
    counts = listed[..., None] & ~is_label.any(axis=-2, keepdims=True)
    classes = max(s.shape[-1], 1)  # without classes there are no labels either
    slope = counts * entrywise.step(lacks) / classes
    value = by.value((counts * entrywise.at_least(lacks, 0)).sum(axis=(-2, -1)) / classes)
    return value, ((slope - is_label * slope.sum(axis=-1, keepdims=True)).sum(axis=-2), by)


@multilabel_margin_loss.pullback
def multilabel_margin_loss_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return multiclass_hinge_loss_bwd(residuals, dy)


def _rows(op: str, scores: Array, how: str, weight: Any = None, where: Any = None) -> Reduction:
    """The reduction of a loss with a term for each row of scores."""
    if scores.ndim < 1:
        raise ValueError(f"{op}: scores must have shape (..., classes), got ()")
    return reduction_of(op, scores.shape[:-1], scores.dtype, how, weight, where)


def _counted(by: Reduction, x: Array) -> Array:
    """The rows, 0 where they do not count."""
    return x if by.factor is None else entrywise.where(by.factor[..., None] != 0, x, 0)


def _lists(op: str, labels: Any, scores: Array) -> tuple[Array, Array]:
    """The labels of each row, as many as the longest list has and 0 behind its end, and which of them are listed."""
    labels, classes = array_of(op, "labels", labels), scores.shape[-1]
    if labels.dtype.kind != "i":
        raise TypeError(f"{op}: labels must be integers with a sign, got {labels.dtype}")
    if labels.ndim < 1 or labels.shape[:-1] != scores.shape[:-1]:
        rows = "".join(f"{n}, " for n in scores.shape[:-1])
        raise ValueError(f"{op}: labels must have shape ({rows}...) to match scores {scores.shape}, got {labels.shape}")
    outside = (labels < -1) | (labels >= classes)
    if outside.any():
        raise ValueError(f"{op}: labels must be in -1..{classes - 1}, got {labels[outside][0]}")
    listed = np.logical_and.accumulate(labels >= 0, axis=-1)
    listed = listed[..., : listed.sum(axis=-1).max(initial=0)]
    return np.where(listed, labels[..., : listed.shape[-1]], 0), listed
