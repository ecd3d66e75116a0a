"""Diagnoses of a cross-entropy whose one-hot lies elsewhere, is subtracted too often, or is all that is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.oracle.planted import Array, found, normal

LABELS, LOGITS = np.array([1, 0, 2, 3, 2]), normal(5, 4)
HOT = np.eye(4)
NOISE = np.abs(normal(5, 1)) + 0.5


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def loss(gradient: Callable[[Array], Array], *, mean: bool) -> Any:
    def loss_fwd(z: Array) -> Any:
        p = softmax(z)
        each = -np.log(p[np.arange(5), LABELS])
        return each.mean() if mean else each, p

    def loss_bwd(p: Array, dy: Any) -> Any:
        return (gradient(p) * (dy / 5 if mean else dy[:, None]),)

    return loss_fwd, loss_bwd


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize(
    ("used", "said"),
    [
        ((LABELS + 1) % 4, "(shifted by +1?)"),
        ((LABELS - 1) % 4, "(shifted by -1?)"),
        (np.roll(LABELS, 1), "(those of the row before?)"),
        (np.array([1, 2, 0, 3, 1]), "(1, 0, 2, 3, 2); elsewhere it is right"),
    ],
)
def test_labels_of_another_place(used: Array, said: str, mean: bool) -> None:
    diagnosis = found(loss(lambda p: p - HOT[used], mean=mean), LOGITS)[1]
    assert diagnosis.startswith("other labels: along the last axis z has the one-hot of labels (")
    assert "but the forward pass uses (1, 0, 2, 3, 2)" in diagnosis
    assert said in diagnosis


@pytest.mark.parametrize(
    "gradient",
    [
        lambda p: p - HOT[(LABELS + 1) % 4] * NOISE,  # the one-hot has other weights, too
        lambda p: p - (HOT[LABELS] + HOT[(LABELS + 1) % 4]),  # both are subtracted
        lambda p: p + NOISE * (HOT[LABELS] - 2 * HOT[(LABELS + 1) % 4]),
        lambda p: p - HOT[LABELS] + NOISE * (HOT[LABELS] - HOT[(LABELS + 1) % 4]),  # a weight for each row
    ],
)
def test_other_errors_at_labels_are_not_named_so(gradient: Callable[[Array], Array]) -> None:
    assert "other labels" not in found(loss(gradient, mean=True), LOGITS)[1]


def test_a_constant_is_missing_at_most_entries() -> None:
    diagnosis = found(loss(lambda p: p - 1, mean=True), LOGITS)[1]
    assert diagnosis.startswith("a constant is missing: at 15 of 20 entries z lacks the same number, 0.2 for dy = 1")
