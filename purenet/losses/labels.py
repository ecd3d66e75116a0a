"""Checks of integer labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import array_of, integer
from purenet.op import Array

__all__ = ["class_labels"]


def class_labels(op: str, labels: Any, ignore_index: Any = None, **scores: Array) -> tuple[Array, Array]:
    """Labels as indices of the classes, the last axis of the scores (0 where they are ignored); and which are not ignored."""
    ((name, array),) = scores.items()
    labels = array_of(op, "labels", labels)
    if array.ndim < 1:
        raise ValueError(f"{op}: {name} must have shape (..., classes), got ()")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{op}: labels must be integers, got {labels.dtype}")
    rows, classes = array.shape[:-1], array.shape[-1]
    if labels.shape != rows:
        raise ValueError(f"{op}: integer labels must have shape {rows} to match {name} {array.shape}, got {labels.shape}")
    if ignore_index is not None:
        integer(op, "ignore_index", ignore_index)
    kept = np.ones(rows, np.bool_) if ignore_index is None else np.asarray(labels != ignore_index)
    wrong = kept & ((labels < 0) | (labels >= classes))
    if wrong.any():
        raise ValueError(f"{op}: labels must be in 0..{classes - 1}, got {labels[wrong][0]}")
    return np.where(kept, labels, 0).astype(np.intp), kept
