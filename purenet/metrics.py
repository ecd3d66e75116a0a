"""Measures of a prediction that people read and nobody differentiates."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.op import Array, is_floating

__all__ = ["accuracy"]


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
    scores, labels = np.asarray(scores), np.asarray(labels)
    if not (is_floating(scores.dtype) or scores.dtype.kind in "iu"):
        raise TypeError(f"accuracy: scores must be an array of real numbers, got {scores.dtype}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"accuracy: labels must be an array of integers, got {labels.dtype}")
    if scores.ndim < 1 or scores.shape[-1] < 1 or scores.shape[:-1] != labels.shape:
        expected = ", ".join((*map(str, labels.shape), "classes"))
        raise ValueError(f"accuracy: scores must have shape ({expected}) to match labels {labels.shape}, got {scores.shape}")
    if not labels.size:
        return float("nan")
    classes = scores.shape[-1]
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(f"accuracy: labels must be in 0..{classes - 1}, got {low if low < 0 else high}")
    return float(np.mean(_right(scores, labels)))


def _right(scores: Array, labels: Array) -> Array:
    predicted = np.argmax(scores, axis=-1)
    highest = np.take_along_axis(scores, predicted[..., None], axis=-1)[..., 0]
    # argmax takes NaN for the highest score, so that is where one is found.
    right: Array = (predicted == labels) & (highest == highest)
    return right
