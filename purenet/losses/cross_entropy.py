"""The cross entropy: with labels, or with probabilities, of a softmax; with labels, of logarithms of probabilities.

Those of a softmax keep their digits where the right class is nearly certain: the loss there is log(1 + sum of the other
exponentials), about 1e-18 and not 0, and its slope at the label is expm1(log p), not p - 1.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from purenet.activations.normalized import log_softmax, log_softmax_bwd, shifted, sum_of_others
from purenet.activations.rows import softmax_at_labels
from purenet.arrays import is_floating
from purenet.checks import array_of, choice, factors, number, same_shape
from purenet.losses.labels import at_labels, class_labels
from purenet.losses.reductions import REDUCTIONS, Reduction, product
from purenet.op import Array, Op

__all__ = [
    "checked_options",
    "nll_loss",
    "of_classes",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_probabilities",
]


PLAIN = 400
"""Up to this many logits the loss at labels is computed as its formula stands. The measured time, in units of that of
`softmax_at_labels`: 1.0 for 100 logits, 1.2 for 1,000, 1.7 for 10,000. The bound is low so that cases of the catalogue take
both ways."""


class AtLabels(NamedTuple):
    """Residuals of the loss at integer labels."""

    probabilities: Array
    log_probability: Array
    """Of the label."""
    labels: Array
    by: Reduction


class OverClasses(NamedTuple):
    """Residuals of the loss with a target for every class."""

    log_softmax: Any
    targets: Array
    """With smoothing and weights."""
    slopes: Array
    """The derivative of the target of each class by its label."""
    by: Reduction


@Op
def softmax_cross_entropy(
    logits: Array,
    *,
    labels: Array,
    weight: Array | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """The cross entropy between labels and the softmax of logits over the last axis.

    Labels are integers, or probabilities of the shape of logits; either way they are constants
    (softmax_cross_entropy_with_probabilities differentiates probabilities too). `weight` has a factor for each class, rows with
    the label `ignore_index` do not count, and `label_smoothing` e replaces the probabilities q by (1 - e) q + e/K.

    Shapes: logits (..., K), labels (...) integers or (..., K) probabilities, weight (K,) -> y (), or (...) without reduction
    Math, of each row, with p = softmax(x), its label t, and W the sum of w_t over the rows that count:
        l  = -w_t log p_t
        dx = dl w_t (p - [k = t]),  dl = dy / W;  reduction "sum" has no 1/W, "none" no sum either
      and with probabilities or smoothing, with the targets r_k = w_k ((1 - e) q_k + e/K):
        l  = -sum_k r_k log p_k
        dx = dl (p sum_k r_k - r)
    Errors: TypeError for labels that are neither integers of the shape (...) nor floating-point numbers of the shape (..., K);
        ValueError for a label outside 0..K-1 (a negative one does not wrap), a wrong shape, a weight that is negative or not
        finite, ignore_index with probabilities, smoothing outside [0, 1], or another reduction.
    Source: Bridle (1990); smoothing: Szegedy et al. (2016). Conventions: torch's, except that nothing is ignored by default
        (torch: -100), classes are the last axis (torch: the second), and the mean over zero total weight is 0 with zero
        gradient (torch: NaN). The mean divides by the sum of the labels' weights, also with smoothing; with probabilities by
        the number of rows. 0 log 0 is 0, also for a class of weight 0, and what an ignored row holds does not count (torch:
        NaN). optax does not reduce.

    >>> import numpy as np, purenet as pn
    >>> logits = np.log([[1.0, 1.0, 2.0], [4.0, 1.0, 3.0]])
    >>> np.exp(-pn.softmax_cross_entropy(logits, labels=np.array([2, 1]), reduction="none")).round(12)
    array([0.5  , 0.125])
    """
    name = "softmax_cross_entropy"
    labels = array_of(name, "labels", labels)
    factor, smoothing = checked_options(name, logits, weight, label_smoothing, reduction)
    if is_floating(labels.dtype):
        _check_probabilities(name, labels, logits, ignore_index)
        return _over_classes(logits, labels.astype(logits.dtype), of_classes(factor, logits), smoothing, reduction)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels must be integers or floating-point probabilities, got {labels.dtype}")
    t, kept = class_labels(name, labels, ignore_index, logits=logits)
    by = _weighted(reduction, None if factor is None else factor[t], kept, logits.dtype, t.shape)
    x = logits if kept is None or kept.all() else np.where(kept[..., None], logits, 0)  # an ignored row may hold anything
    if smoothing:
        one_hot, factor = (t[..., None] == np.arange(x.shape[-1])).astype(x.dtype), of_classes(factor, x)
        return _over_classes(x, one_hot, factor if kept is None else factor * kept[..., None], smoothing, reduction, by.total)
    if x.size > PLAIN:
        p, log_p_t = softmax_at_labels(x, t)
        return by.value(-log_p_t), AtLabels(p, log_p_t, t, by)

    z = shifted(x, (-1,))  # x less its largest entry
    e = np.exp(z)
    others = sum_of_others(e, (-1,))  # of e, without the 1 of the largest entry
    p = np.divide(e, 1 + others, out=e)
    log_p_t = z[at_labels(t)] - np.log1p(others)[..., 0]
    return by.value(-log_p_t), AtLabels(p, log_p_t, t, by)


@softmax_cross_entropy.pullback
def softmax_cross_entropy_bwd(residuals: AtLabels | OverClasses, dy: Array) -> tuple[Array]:
    if isinstance(residuals, OverClasses):
        return softmax_cross_entropy_with_probabilities_bwd(residuals, dy)[:1]
    p, log_p_t, t, by = residuals
    dl = by.cotangent(dy, (-1,))  # times w_t
    dx = dl * p
    dx[at_labels(t)] = (dl * np.expm1(log_p_t)[..., None])[..., 0]  # p_t - 1, with all its digits
    return (dx,)


@Op
def softmax_cross_entropy_with_probabilities(
    logits: Array,
    labels: Array,
    *,
    weight: Array | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> tuple[Array, OverClasses]:
    """The cross entropy between probabilities and the softmax of logits over the last axis, differentiated in both.

    `weight` has a factor for each class, and `label_smoothing` e replaces the probabilities q by (1 - e) q + e/K.

    Shapes: logits (..., K), labels (..., K), weight (K,) -> y (), or (...) without reduction
    Math, of each of N rows, with p = softmax(x) and the targets r_k = w_k ((1 - e) q_k + e/K):
        l  = -sum_k r_k log p_k
        dx = dl (p sum_k r_k - r),  dq_k = -dl w_k (1 - e) log p_k,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not match, for a weight that is negative or not finite, smoothing outside [0, 1], or
        another reduction.
    Source: Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network (2015). Conventions: optax's
        softmax_cross_entropy, reduced; torch's cross_entropy with probabilities, whose mean divides by N too. Labels that do
        not sum to 1 are not rejected. 0 log 0 is 0.

    >>> import numpy as np, purenet as pn
    >>> logits = np.log([[1.0, 1.0, 2.0]])
    >>> labels = np.array([[0.5, 0.5, 0.0]])
    >>> float(np.exp(pn.softmax_cross_entropy_with_probabilities(logits, labels)).round(12))
    4.0
    """
    name = "softmax_cross_entropy_with_probabilities"
    factor, smoothing = checked_options(name, logits, weight, label_smoothing, reduction)
    same_shape(name, logits=logits, labels=labels)
    return _over_classes(logits, labels, of_classes(factor, logits), smoothing, reduction)


@softmax_cross_entropy_with_probabilities.pullback
def softmax_cross_entropy_with_probabilities_bwd(residuals: OverClasses, dy: Array) -> tuple[Array, Array]:
    saved, targets, slopes, by = residuals
    dl = by.cotangent(dy, (-1,))
    (dlogits,) = log_softmax_bwd(saved, -dl * targets)
    return dlogits, product(dl * slopes, -saved[0])


@Op
def nll_loss(
    log_probabilities: Array,
    *,
    labels: Array,
    weight: Array | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """The negative log-likelihood of labels, given the logarithms of the probabilities of the classes on the last axis.

    `weight` has a factor for each class, and rows with the label `ignore_index` do not count.

    Shapes: log_probabilities (..., K), labels (...) integers, weight (K,) -> y (), or (...) without reduction
    Math, of each row x with the label t, and W the sum of w_t over the rows that count:
        l  = -w_t x_t
        dx = -dl w_t at t, 0 at the other classes,  dl = dy / W;  reduction "sum" has no 1/W, "none" no sum either
    Errors: TypeError unless labels are integers; ValueError for a label outside 0..K-1 (a negative one does not wrap), a wrong
        shape, a weight that is negative or not finite, or another reduction.
    Source: Fisher (1922). Conventions: torch's, with the differences of softmax_cross_entropy, which is this after
        log_softmax and keeps more digits.

    >>> import numpy as np, purenet as pn
    >>> log_probabilities = np.log([[0.25, 0.25, 0.5], [0.5, 0.125, 0.375]])
    >>> np.exp(-pn.nll_loss(log_probabilities, labels=np.array([2, 1]), reduction="none")).round(12)
    array([0.5  , 0.125])
    """
    name = "nll_loss"
    factor, _ = checked_options(name, log_probabilities, weight, 0, reduction, "log_probabilities")
    labels, kept = class_labels(name, labels, ignore_index, log_probabilities=log_probabilities)
    by = _weighted(reduction, None if factor is None else factor[labels], kept, log_probabilities.dtype, labels.shape)
    terms = np.asarray(-log_probabilities[at_labels(labels)])
    return by.value(terms), (labels, log_probabilities.shape, by)


@nll_loss.pullback
def nll_loss_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    labels, shape, by = residuals
    dx = np.zeros(shape, dy.dtype)
    dx[at_labels(labels)] = -by.cotangent(dy)
    return (dx,)


def _over_classes(
    logits: Array, labels: Array, factor: Array, smoothing: float, reduction: str, total: Any = None
) -> tuple[Array, OverClasses]:
    """The loss with a target for every class; `total` divides the mean, the number of rows unless given."""
    log_probabilities, saved = log_softmax.forward(logits)
    targets = factor * ((1 - smoothing) * labels + smoothing / max(logits.shape[-1], 1))
    losses = -product(targets, log_probabilities).sum(axis=-1)
    by = Reduction(reduction, None, losses.size if total is None else total)
    return by.value(losses), OverClasses(saved, targets, factor * (1 - smoothing), by)


def _weighted(
    reduction: str, weights: Array | None, kept: Array | None, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> Reduction:
    """The reduction of rows of these weights, None for 1 each, of which only some are kept."""
    if kept is not None:
        weights = kept.astype(dtype) if weights is None else weights * kept
    if weights is None:
        return Reduction(reduction, None, math.prod(shape))
    return Reduction(reduction, weights, weights.sum())


def checked_options(
    name: str, logits: Array, weight: Any, label_smoothing: Any, reduction: str, scores: str = "logits"
) -> tuple[Array | None, float]:
    """The factor of each class, None for 1, and the smoothing, after checks of the options and of the logits.

    Messages call the logits `scores`.
    """
    choice(name, "reduction", reduction, REDUCTIONS)
    if logits.ndim < 1:
        raise ValueError(f"{name}: {scores} must have shape (..., classes), got ()")
    factor = None if weight is None else factors(name, "weight", weight, logits.shape[-1:], logits.dtype)
    return factor, number(name, "label_smoothing", label_smoothing, 0, 1)


def of_classes(factor: Array | None, logits: Array) -> Array:
    """The factor of each class as an array."""
    return np.ones(logits.shape[-1:], logits.dtype) if factor is None else factor


def _check_probabilities(name: str, labels: Array, logits: Array, ignore_index: Any) -> None:
    if labels.shape != logits.shape:
        message = (
            f"{name}: labels must be integers of shape {logits.shape[:-1]} or probabilities of shape {logits.shape}, "
            f"got {labels.dtype} of shape {labels.shape}"
        )
        raise TypeError(message) if labels.shape == logits.shape[:-1] else ValueError(message)
    if ignore_index is not None:
        raise ValueError(f"{name}: ignore_index needs integer labels, got probabilities ({labels.dtype})")
