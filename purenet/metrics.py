"""Measures of a prediction that people read and nobody differentiates.

They are plain functions of arrays or lists and return Python floats, or arrays of float64. Predictions come first and the truth
second, as in losses; scikit-learn has the other order. A measure of nothing at all is NaN, without a warning; a single class
without anything to divide by counts `zero_division`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.arrays import Array, is_floating
from purenet.checks import choice, mask, number, same_shape

__all__ = [
    "accuracy",
    "confusion_matrix",
    "f1_score",
    "intersection_over_union",
    "mean_absolute_error",
    "perplexity",
    "precision",
    "r2_score",
    "recall",
    "root_mean_squared_error",
    "top_k_accuracy",
]

AVERAGES = ("macro", "micro", "weighted", "none")
_QUIET = np.errstate(over="ignore", invalid="ignore")  # if a model has diverged, the measure shows it


def accuracy(scores: Any, labels: Any) -> float:
    """The part of the labels whose class has the highest score.

    Shapes: scores (..., C), labels (...) integers in 0..C-1 -> a float
    Math: mean of [argmax of scores over the last axis = label]
    Errors: TypeError unless scores are real numbers and labels are integers; ValueError where their shapes do not match or a
        label is out of range.
    Conventions: scores may be logits or probabilities; of equal scores the first counts; a row with NaN counts as wrong; the
        accuracy over no labels is NaN, without a warning.

    >>> import numpy as np, purenet as pn
    >>> pn.accuracy(np.array([[0.1, 0.9], [0.8, 0.2], [0.5, 0.5]]), np.array([1, 1, 0])).__round__(4)
    0.6667
    """
    scores, labels = _scores_and_labels("accuracy", scores, labels)
    predicted = np.argmax(scores, axis=-1)
    highest = np.take_along_axis(scores, predicted[..., None], axis=-1)[..., 0]
    # argmax takes NaN for the highest score, so that is where one is found.
    return _mean((predicted == labels) & (highest == highest))


def top_k_accuracy(scores: Any, labels: Any, *, k: int = 5) -> float:
    """The part of the labels whose class has one of the k highest scores.

    Shapes: scores (..., C), labels (...) integers in 0..C-1 -> a float
    Math: mean of [fewer than k classes come before the label]
    Errors: as accuracy; and TypeError unless k is an integer, ValueError unless it is at least 1.
    Conventions: of equal scores the first come first (scikit-learn: the last), so that k = 1 gives accuracy; a row with NaN
        counts as wrong; with C classes or more all other rows are right; over no labels it is NaN. The default is keras's.

    >>> import numpy as np, purenet as pn
    >>> pn.metrics.top_k_accuracy(np.array([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3]]), np.array([1, 2]), k=2)
    0.5
    """
    scores, labels = _scores_and_labels("top_k_accuracy", scores, labels)
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise TypeError(f"top_k_accuracy: k must be an integer, got {type(k).__name__}")
    if k < 1:
        raise ValueError(f"top_k_accuracy: k must be at least 1, got {k}")
    own = np.take_along_axis(scores, labels[..., None], axis=-1)
    first = np.arange(scores.shape[-1]) < labels[..., None]
    before = np.count_nonzero((scores > own) | ((scores == own) & first), axis=-1)
    return _mean((before < k) & (scores == scores).all(axis=-1))


def confusion_matrix(predicted: Any, labels: Any, *, classes: int | None = None) -> Array:
    """How often each class was predicted for each label.

    Shapes: predicted (...), labels (...) integers in 0..C-1 -> (C, C) integers: labels in rows, predictions in columns
    Math: m_ij = number of entries with the label i and the prediction j
    Errors: TypeError unless both are integers; ValueError where their shapes differ, or for a class outside 0..classes-1.
    Conventions: rows are the truth, as in scikit-learn (whose arguments come in the other order). `classes` is by default one
        more than the largest class that occurs.

    >>> import purenet as pn
    >>> pn.metrics.confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2])
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 1, 1]])
    """
    return _confusion("confusion_matrix", predicted, labels, classes)


def precision(
    predicted: Any, labels: Any, *, average: str = "macro", classes: int | None = None, zero_division: float = 0.0
) -> Any:
    """The part of the predictions of a class that are right.

    Shapes: predicted (...), labels (...) integers in 0..C-1 -> a float, or (C,) with average "none"
    Math, of each class, with true positives TP and false positives FP:
        TP / (TP + FP), averaged over classes: "macro" all alike, "weighted" by their labels; "micro" from the sums over classes
    Errors: TypeError unless both are integers; ValueError where their shapes differ, for a class outside 0..classes-1, for
        another average, or a zero_division outside [0, 1].
    Conventions: scikit-learn's, but "macro" is the default (there: the class 1 alone). A class that was never predicted counts
        `zero_division`; one that is no label either is in no average. Over no entries averages are NaN.

    >>> import purenet as pn
    >>> pn.metrics.precision([0, 1, 1, 1], [0, 0, 1, 1], average="none").round(4)
    array([1.    , 0.6667])
    """
    right, guessed, true = _hits("precision", predicted, labels, classes)
    return _averaged("precision", right, guessed, average, zero_division, guessed, true)


def recall(
    predicted: Any, labels: Any, *, average: str = "macro", classes: int | None = None, zero_division: float = 0.0
) -> Any:
    """The part of the labels of a class that were predicted.

    Shapes: predicted (...), labels (...) integers in 0..C-1 -> a float, or (C,) with average "none"
    Math, of each class, with true positives TP and false negatives FN:
        TP / (TP + FN), averaged over classes: "macro" all alike, "weighted" by their labels; "micro" from the sums over classes
    Errors and conventions: as precision; a class that is no label counts `zero_division`.

    >>> import purenet as pn
    >>> pn.metrics.recall([0, 1, 1, 1], [0, 0, 1, 1], average="none")
    array([0.5, 1. ])
    """
    right, guessed, true = _hits("recall", predicted, labels, classes)
    return _averaged("recall", right, true, average, zero_division, guessed, true)


def f1_score(
    predicted: Any, labels: Any, *, average: str = "macro", classes: int | None = None, zero_division: float = 0.0
) -> Any:
    """The harmonic mean of precision and recall.

    Shapes: predicted (...), labels (...) integers in 0..C-1 -> a float, or (C,) with average "none"
    Math, of each class: 2 TP / (2 TP + FP + FN), averaged over classes as precision is
    Errors and conventions: as precision; a class that neither is a label nor was predicted counts `zero_division`.

    >>> import purenet as pn
    >>> pn.metrics.f1_score([0, 1, 1, 1], [0, 0, 1, 1], average="none").round(4)
    array([0.6667, 0.8   ])
    """
    right, guessed, true = _hits("f1_score", predicted, labels, classes)
    return _averaged("f1_score", 2 * right, guessed + true, average, zero_division, guessed, true)


def intersection_over_union(
    predicted: Any, labels: Any, *, average: str = "macro", classes: int | None = None, zero_division: float = 0.0
) -> Any:
    """The overlap of the entries predicted and labelled as a class, over those that are either: Jaccard's index.

    Shapes: predicted (...), labels (...) integers in 0..C-1 -> a float, or (C,) with average "none"
    Math, of each class: TP / (TP + FP + FN), averaged over classes as precision is
    Errors and conventions: as precision; a class that neither is a label nor was predicted counts `zero_division`.

    >>> import purenet as pn
    >>> pn.metrics.intersection_over_union([[0, 1], [1, 1]], [[0, 0], [1, 1]], average="none").round(4)
    array([0.5   , 0.6667])
    """
    right, guessed, true = _hits("intersection_over_union", predicted, labels, classes)
    return _averaged("intersection_over_union", right, guessed + true - right, average, zero_division, guessed, true)


@_QUIET
def perplexity(log_probabilities: Any, labels: Any, *, where: Any = None) -> float:
    """The exponential of the mean negative log-likelihood: the number of equally likely classes with the same uncertainty.

    Shapes: log_probabilities (..., C), labels (...) integers in 0..C-1, where broadcasts to them -> a float
    Math: exp(-mean of the log-probability of the label), over the labels `where`
    Errors: TypeError unless log-probabilities are real numbers, labels integers and `where` booleans; ValueError where shapes
        do not match or a label that counts is out of range.
    Conventions: logits are not normalized (see log_softmax). A label of probability 0 gives infinity, no labels NaN.

    >>> import numpy as np, purenet as pn
    >>> round(pn.metrics.perplexity(np.log([[0.5, 0.5], [0.125, 0.875]]), [0, 0]), 12)
    4.0
    """
    rows = np.asarray(labels)
    kept = mask("perplexity", "where", np.array(True) if where is None else where, rows.shape)
    if rows.dtype.kind in "iu":
        rows = np.where(kept, rows, 0)  # what does not count may be out of range
    logs, rows = _scores_and_labels("perplexity", log_probabilities, rows, "log_probabilities")
    chosen = np.take_along_axis(logs, rows[..., None], axis=-1)[..., 0][kept]
    return float(np.exp(-_mean(chosen)))


@_QUIET
def mean_absolute_error(predictions: Any, targets: Any) -> float:
    """The mean of the absolute errors.

    Shapes: predictions (...), targets (...) -> a float
    Math: 1/N sum |p - t|
    Errors: TypeError unless both are real numbers; ValueError where the shapes differ (nothing is broadcast).
    Conventions: the mean is over all entries; over none it is NaN.

    >>> import purenet as pn
    >>> pn.metrics.mean_absolute_error([1.0, 5.0], [2.0, 2.0])
    2.0
    """
    p, t = _numbers("mean_absolute_error", predictions, targets)
    return _mean(np.abs(p - t))


@_QUIET
def root_mean_squared_error(predictions: Any, targets: Any) -> float:
    """The square root of the mean of the squared errors.

    Shapes: predictions (...), targets (...) -> a float
    Math: sqrt(1/N sum (p - t)^2)
    Errors: TypeError unless both are real numbers; ValueError where the shapes differ (nothing is broadcast).
    Conventions: one root of the mean over all entries (scikit-learn averages the roots of the columns); over none it is NaN.

    >>> import purenet as pn
    >>> pn.metrics.root_mean_squared_error([1.0, 9.0], [2.0, 2.0])
    5.0
    """
    p, t = _numbers("root_mean_squared_error", predictions, targets)
    return float(np.sqrt(_mean(np.square(p - t))))


@_QUIET
def r2_score(predictions: Any, targets: Any) -> float:
    """The coefficient of determination: which part of the variance of the targets is predicted.

    Shapes: predictions (...), targets (...) -> a float
    Math: 1 - sum (t - p)^2 / sum (t - mean t)^2
    Errors: TypeError unless both are real numbers; ValueError where the shapes differ (nothing is broadcast).
    Conventions: one mean over all entries (scikit-learn averages the scores of columns). Where all targets are equal it is 1 if
        they are predicted exactly and 0 if not; over fewer than two entries it is NaN. Both as in scikit-learn.

    >>> import purenet as pn
    >>> pn.metrics.r2_score([1.0, 2.0, 3.0], [1.0, 2.0, 6.0]).__round__(4)
    0.3571
    """
    p, t = _numbers("r2_score", predictions, targets)
    if t.size < 2:
        return float("nan")
    if (t == t.flat[0]).all():  # the rounding of their mean is no variance
        return float("nan") if np.isnan(p).any() else float((p == t).all())
    deviations = t - t.mean()
    unit = np.abs(deviations).max()  # squares of what is far from 1 overflow, or vanish
    return float(1 - np.square((t - p) / unit).sum() / np.square(deviations / unit).sum())


# ---------------------------------------------------------------------------------------------- what several of them need


def _mean(values: Array) -> float:
    return float(np.mean(values, dtype=np.float64)) if values.size else float("nan")


def _scores_and_labels(op: str, scores: Any, labels: Any, name: str = "scores") -> tuple[Array, Array]:
    scores, labels = np.asarray(scores), np.asarray(labels)
    _check_real(op, name, scores)
    _check_integers(op, "labels", labels)
    if scores.ndim < 1 or scores.shape[-1] < 1 or scores.shape[:-1] != labels.shape:
        expected = ", ".join((*map(str, labels.shape), "classes"))
        raise ValueError(f"{op}: {name} must have shape ({expected}) to match labels {labels.shape}, got {scores.shape}")
    _check_range(op, "labels", labels, scores.shape[-1])
    return scores, labels


def _confusion(op: str, predicted: Any, labels: Any, classes: int | None) -> Array:
    arrays = {"predicted": np.asarray(predicted), "labels": np.asarray(labels)}
    for name, array in arrays.items():
        if array.size:  # an empty list is an array of floats
            _check_integers(op, name, array)
    same_shape(op, **arrays)
    if classes is None:
        classes = 1 + max((int(array.max()) for array in arrays.values() if array.size), default=-1)
    elif isinstance(classes, bool) or not isinstance(classes, int | np.integer):
        raise TypeError(f"{op}: classes must be an integer or None, got {type(classes).__name__}")
    elif classes < 0:
        raise ValueError(f"{op}: classes must be at least 0, got {classes}")
    classes = int(classes)  # the square of a uint8 might not be one
    for name, array in arrays.items():
        _check_range(op, name, array, classes)
    guessed, true = (array.astype(np.intp).ravel() for array in arrays.values())
    return np.bincount(true * classes + guessed, minlength=classes**2).reshape(classes, classes)


def _hits(op: str, predicted: Any, labels: Any, classes: int | None) -> tuple[Array, Array, Array]:
    """The numbers of right predictions, of predictions and of labels of each class."""
    counts = _confusion(op, predicted, labels, classes)
    return np.diagonal(counts), counts.sum(axis=0), counts.sum(axis=1)


def _averaged(op: str, parts: Array, wholes: Array, average: str, zero_division: float, guessed: Array, true: Array) -> Any:
    """The ratios of the classes, or their average; `guessed` and `true` count predictions and labels."""
    choice(op, "average", average, AVERAGES)
    undefined = number(op, "zero_division", zero_division, low=0, high=1)
    if average == "none":
        return _ratios(parts, wholes, undefined)
    if not true.any():
        return float("nan")
    if average == "micro":
        return float(_ratios(parts.sum(), wholes.sum(), undefined))
    return float(np.average(_ratios(parts, wholes, undefined), weights=guessed + true > 0 if average == "macro" else true))


def _ratios(parts: Any, wholes: Any, undefined: float) -> Array:
    return np.where(wholes > 0, parts / np.maximum(wholes, 1), undefined)


def _numbers(op: str, predictions: Any, targets: Any) -> tuple[Array, Array]:
    arrays = {"predictions": np.asarray(predictions), "targets": np.asarray(targets)}
    for name, array in arrays.items():
        _check_real(op, name, array)
    same_shape(op, **arrays)
    p, t = (array.astype(np.float64) for array in arrays.values())
    return p, t


def _check_real(op: str, name: str, array: Array) -> None:
    if not (is_floating(array.dtype) or array.dtype.kind in "iu"):
        raise TypeError(f"{op}: {name} must be an array of real numbers, got {array.dtype}")


def _check_integers(op: str, name: str, array: Array) -> None:
    if array.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name} must be an array of integers, got {array.dtype}")


def _check_range(op: str, name: str, array: Array, classes: int) -> None:
    low, high = (int(array.min()), int(array.max())) if array.size else (0, -1)
    if low < 0 or high >= classes:
        raise ValueError(f"{op}: {name} must be in 0..{classes - 1}, got {low if low < 0 else high}")
