"""The cause in which a one-hot of the labels is subtracted in other places, as with labels that are shifted by one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from oracle.diagnosis.view import View, errors_stand_out, tensors
from oracle.diagnosis.words import Array
from oracle.effort import AGREEING

__all__ = ["other_labels"]


def other_labels(v: View) -> Iterator[str]:
    """In each wrong row two entries are wrong, by the same number: one lacks it, and the other has it."""
    if not v.whole or len(v.shape) < 2 or v.shape[-1] < AGREEING or not errors_stand_out(v):
        return
    ours, truth = (t.reshape(-1, v.shape[-1]) for t in tensors(v))
    right, used = _labels(truth), _labels(ours)
    if right is None or used is None or np.count_nonzero(right != used) < 2:
        return
    rows = np.arange(len(right))
    weight = (ours - truth)[rows, right]
    supposed = truth.copy()
    supposed[rows, right] += np.where(right == used, 0.0, weight)
    supposed[rows, used] -= np.where(right == used, 0.0, weight)
    within = 2 * float(v.tolerance.max())
    if (np.abs(ours - supposed) > within).any() or not _alike(v, weight, right != used, within):
        return
    yield (
        f"other labels: along the last axis {v.name} has the one-hot of labels {_shown(used)} subtracted, but the forward pass "
        f"uses {_shown(right)}{_moved(right, used, v.shape[-1])}; elsewhere it is right"
    )


def _alike(v: View, weight: Array, wrong: Array, within: float) -> bool:
    """Whether the rows have one weight, or one multiple of the cotangent of each row."""
    if np.ptp(weight[wrong]) <= within:
        return True
    dy = v.context.forward.call.cotangent if v.context.forward is not None else np.zeros(0)
    if dy.size != weight.size or not dy.all():
        return False
    ratio = (weight / dy)[wrong]
    return bool((np.abs(ratio - ratio.mean()) * np.abs(dy[wrong]) <= within).all())


def _labels(rows: Array) -> Array | None:
    """The one entry of each row whose sign is not that of all others, as in a softmax less a one-hot; None if there is none."""
    positive = rows > 0
    count, n = positive.sum(axis=1), rows.shape[1]
    if not rows.all() or not ((count == 1) | (count == n - 1)).all():
        return None
    return np.asarray(np.where(count == 1, positive.argmax(axis=1), (~positive).argmax(axis=1)))


def _moved(right: Array, used: Array, classes: int) -> str:
    """How the labels that were used are made of the right ones."""
    shifts = np.unique((used - right) % classes)
    if shifts.size == 1:
        by = int(shifts[0])
        return f" (shifted by {by if 2 * by <= classes else by - classes:+d}?)"
    for by, which in ((1, "row before"), (-1, "row after")):
        if np.array_equal(used, np.roll(right, by)):
            return f" (those of the {which}?)"
    return ""


def _shown(labels: Array) -> str:
    most = 6  # as many indices as are named elsewhere
    return f"({', '.join(str(int(one)) for one in labels[:most])}{', ...' * (labels.size > most)})"
