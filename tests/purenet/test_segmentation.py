"""The overlap of sets: by hand, where nothing is, with masks, without the background."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from purenet import Op, losses

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]


def gradients(op: Op, *arguments: Any, **options: Any) -> Any:
    return op.bwd(op.fwd(*arguments, **options)[1], 1.0)


def close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=1e-14)


def test_overlap_by_hand() -> None:
    p, t = np.array([[[0.5], [1.0], [0.0]]]), np.array([[[1.0], [1.0], [0.0]]])  # I = 1.5, sum p = 1.5, sum t = 2
    options = {"apply_softmax": False, "smooth": 0}
    close(losses.dice_loss(p, t, **options), 1 - 2 * 1.5 / 3.5)
    close(losses.dice_loss(p, t, alpha=1, beta=1, **options), 1 - 1.5 / 2)  # Jaccard's
    close(losses.dice_loss(p, t, alpha=0, beta=1, **options), 1 - 1.5 / 2)
    close(losses.dice_loss(p, t, alpha=1, beta=0, **options), 0)


def test_nothing_found_where_nothing_is_costs_nothing() -> None:
    zero = np.zeros((2, 3, 1))
    assert losses.dice_loss(zero, zero, apply_softmax=False, smooth=0) == 0
    for d in gradients(losses.dice_loss, zero, zero, apply_softmax=False, smooth=0):
        np.testing.assert_array_equal(d, zero)


def test_logits_are_probabilities_after_the_softmax_or_the_sigmoid() -> None:
    generator = np.random.default_rng(0)
    for classes in (1, 3):
        x, t = generator.normal(size=(2, 4, classes)), generator.random((2, 4, classes))
        e = np.exp(x)
        p = e / e.sum(axis=-1, keepdims=True) if classes > 1 else e / (1 + e)
        close(losses.dice_loss(x, t, reduction="none"), losses.dice_loss(p, t, apply_softmax=False, reduction="none"))


@pytest.mark.parametrize("junk", [0.5, np.nan, np.inf])
def test_masked_pixels_are_as_if_they_were_not_there(junk: float) -> None:
    generator = np.random.default_rng(1)
    x, t, kept = generator.normal(size=(2, 4, 3)), generator.random((2, 4, 3)), np.array([True, False, True, True])
    spoilt = [np.where(kept[:, None], a, junk) for a in (x, t)]
    few = [a[:, kept] for a in (x, t)]
    close(losses.dice_loss(*spoilt, where=kept), losses.dice_loss(*few))
    for d, expected in zip(gradients(losses.dice_loss, *spoilt, where=kept), gradients(losses.dice_loss, *few), strict=True):
        close(d[:, kept], expected)
        np.testing.assert_array_equal(d[:, 1], 0)


def test_the_background_is_left_out_and_class_weights_do_not_divide() -> None:
    generator = np.random.default_rng(2)
    x, t, weights = generator.normal(size=(2, 4, 3)), generator.random((2, 4, 3)), np.array([9.0, 2.0, 4.0])
    each = losses.dice_loss(x, t, reduction="none")
    assert each.shape == (2, 3)
    close(losses.dice_loss(x, t, ignore_background=True, reduction="none"), each[:, 1:])
    close(losses.dice_loss(x, t, class_weights=weights), (weights * each).mean())
    close(losses.dice_loss(x, t, class_weights=weights, ignore_background=True), (weights * each)[:, 1:].mean())
    one = x[..., :1], t[..., :1]
    assert losses.dice_loss(*one, ignore_background=True) == losses.dice_loss(*one)


@pytest.mark.parametrize("dtype", DTYPES)
def test_overlap_of_certain_predictions(dtype: Any) -> None:
    x = np.array([[[1e4, -1e4], [-1e4, 1e4]]], dtype)
    t = np.array([[[1.0, 0.0], [0.0, 1.0]]], dtype)
    assert losses.dice_loss(x, t) == 0
    dx, dt = gradients(losses.dice_loss, x, t)
    np.testing.assert_array_equal(dx.astype(float), 0)
    assert dt.dtype == x.dtype
