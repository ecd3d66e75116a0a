"""Checks of integer labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import array_of, integer
from purenet.op import Array

__all__ = ["at_labels", "class_labels", "signs"]


def class_labels(op: str, labels: Any, ignore_index: Any = None, **scores: Array) -> tuple[Array, Array | None]:
    """Labels as indices of the classes, the last axis of the scores (0 where they are ignored).

    The second value says which are not ignored; it is None without an `ignore_index`.
    """
    ((name, array),) = scores.items()
    labels = array_of(op, "labels", labels)
    if array.ndim < 1:
        raise ValueError(f"{op}: {name} must have shape (..., classes), got ()")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{op}: labels must be integers, got {labels.dtype}")
    rows, classes = array.shape[:-1], array.shape[-1]
    if labels.shape != rows:
        raise ValueError(f"{op}: integer labels must have shape {rows} to match {name} {array.shape}, got {labels.shape}")
    kept = None
    if ignore_index is not None:
        integer(op, "ignore_index", ignore_index)
        kept = np.asarray(labels != ignore_index)
    chosen = labels.astype(np.intp) if kept is None else np.where(kept, labels, 0).astype(np.intp)
    unsigned = chosen.view(np.uintp)  # as an unsigned number a negative label is too large
    if unsigned.max(initial=0) >= classes:
        wrong = unsigned >= classes
        if kept is not None:
            wrong &= kept
        if wrong.any():
            raise ValueError(f"{op}: labels must be in 0..{classes - 1}, got {labels[wrong][0]}")
    return chosen, kept


def at_labels(labels: Array) -> tuple[Array, ...]:
    """The index of the entries at these labels in an array with one axis more, of the classes."""
    if labels.ndim == 1:
        return np.arange(labels.size), labels
    return *np.indices(labels.shape, sparse=True), labels


def signs(op: str, labels: Any) -> Array:
    """Labels of pairs: 1 for those that belong together, -1 for the others."""
    given = array_of(op, "labels", labels)
    if given.dtype.kind != "i":
        raise TypeError(f"{op}: labels must be integers with a sign, got {given.dtype}")
    if (wrong := np.abs(given) != 1).any():
        raise ValueError(f"{op}: labels must be 1 or -1, got {given[wrong][0]}")
    return given
