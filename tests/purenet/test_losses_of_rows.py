"""Losses with a term for each row, each pair or each class: by hand, against published numbers, with masks, at the edges."""

from __future__ import annotations

import importlib
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenet import Op, log_softmax, losses, row_blocks

Array = np.ndarray[Any, Any]
DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]

ALONG_AXIS: dict[str, tuple[Op, dict[str, Any]]] = {
    "kl_divergence": (losses.kl_divergence, {}),
    "kl_divergence of logarithms": (losses.kl_divergence, {"log_targets": True}),
    "cosine_similarity": (losses.cosine_similarity, {}),
    "cosine_distance": (losses.cosine_distance, {"epsilon": 0.5}),
    "triplet_margin_loss": (losses.triplet_margin_loss, {"norm_degree": 3}),
    "vae_kl": (losses.vae_kl, {}),
}
along_axis = pytest.mark.parametrize(("op", "options"), ALONG_AXIS.values(), ids=ALONG_AXIS)


def gradients(op: Op, *arguments: Any, dy: Any = 1.0, **options: Any) -> Any:
    return op.bwd(op.fwd(*arguments, **options)[1], dy)


def close(actual: Any, expected: Any, rtol: float = 1e-13) -> None:
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-14)


def arguments_of(op: Op, *shape: int) -> list[Array]:
    generator = np.random.default_rng(len(op.name))
    return [generator.uniform(0.1, 0.9, shape) for _ in op.arguments]


# ------------------------------------------------------------------------------------------------ rows along an axis


@along_axis
def test_an_axis_may_be_anywhere(op: Op, options: dict[str, Any]) -> None:
    arguments = arguments_of(op, 2, 3, 4)
    wanted = op(*arguments, reduction="none", **options)
    assert wanted.shape == (2, 3)
    dy = np.random.default_rng(0).normal(size=(2, 3))
    for axis in (0, 1, -1):
        moved = [np.moveaxis(a, -1, axis) for a in arguments]
        close(op(*moved, axis=axis, reduction="none", **options), wanted)
        found = gradients(op, *moved, dy=dy, axis=axis, reduction="none", **options)
        for d, expected in zip(found, gradients(op, *arguments, dy=dy, reduction="none", **options), strict=True):
            close(np.moveaxis(d, axis, -1), expected)
    flat = [a.reshape(2, 12) for a in arguments]
    close(op(*arguments, axis=(1, 2), **options), op(*flat, **options))
    close(op(*arguments, axis=None, **options), op(*[a.ravel() for a in arguments], **options))


@along_axis
@pytest.mark.parametrize("junk", [0.5, np.nan, np.inf])
def test_masked_entries_are_as_if_they_were_not_there(op: Op, options: dict[str, Any], junk: float) -> None:
    arguments = arguments_of(op, 3, 4)
    kept = np.array([[True, True, False, True], [True] * 3 + [False], [False] * 4])
    spoilt = [np.where(kept, a, junk) for a in arguments]
    rows = [op(*[a[i][kept[i]] for a in arguments], **options) for i in range(2)]
    close(op(*spoilt, where=kept, reduction="none", **options), [*rows, 0])
    close(op(*spoilt, where=kept, **options), np.mean(rows))
    found = gradients(op, *spoilt, where=kept, reduction="sum", **options)
    for i in range(2):
        own = gradients(op, *[a[i][kept[i]] for a in arguments], **options)
        for d, expected in zip(found, own, strict=True):
            close(d[i][kept[i]], expected)
    for d in found:
        np.testing.assert_array_equal(d[~kept], 0)


@along_axis
def test_weights_are_of_rows(op: Op, options: dict[str, Any]) -> None:
    arguments, weight = arguments_of(op, 3, 4), np.array([2.0, 0.0, 1.0])
    rows = op(*arguments, reduction="none", **options)
    close(op(*arguments, weight=weight, **options), (2 * rows[0] + rows[2]) / 3)
    spoilt = [np.where(weight[:, None] == 0, np.nan, a) for a in arguments]
    for found, wanted in zip(
        *(gradients(op, *given_, weight=weight, **options) for given_ in (spoilt, arguments)), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
    assert op(*arguments, weight=0, **options) == 0
    for d in gradients(op, *arguments, weight=0, **options):
        np.testing.assert_array_equal(d, np.zeros((3, 4)))


@along_axis
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_shapes(op: Op, options: dict[str, Any], dtype: Any) -> None:
    for shape in ((2, 3), (0, 3), (1, 3), (3,)):
        arguments = [a.astype(dtype) for a in arguments_of(op, *shape)]
        for reduction, size in (("mean", ()), ("none", shape[:-1])):
            y, residuals = op.fwd(*arguments, reduction=reduction, **options)
            assert (np.shape(y), y.dtype) == (size, dtype)
            assert [(d.shape, d.dtype) for d in op.bwd(residuals, np.ones_like(y))] == [(shape, dtype)] * len(arguments)


# ------------------------------------------------------------------------------------------------ distributions


def test_the_divergence_by_hand() -> None:
    t, x = np.array([[0.5, 0.5], [0.0, 1.0]]), np.log([[0.25, 0.75], [0.5, 0.5]])
    close(losses.kl_divergence(x, t, reduction="none"), [0.5 * np.log(4 / 3), np.log(2)])
    dx, dt = gradients(losses.kl_divergence, x, t, reduction="sum")
    close(dx, -t)
    close(dt, [[np.log(2) + 1, np.log(2 / 3) + 1], [np.log(2), np.log(2) + 1]])


def test_logarithms_of_impossible_targets_have_no_slope() -> None:
    x, u = np.array([-np.inf, -1.0, 0.0]), np.array([-np.inf, -1.0, -1e4])
    dx, du = gradients(losses.kl_divergence, x[1:], u[1:], log_targets=True)
    close(dx, [-np.exp(-1), 0])
    close(du, [np.exp(-1), 0])
    assert losses.kl_divergence(np.zeros(2), np.array([-np.inf, 0.0]), log_targets=True) == 0


def test_keras_publishes_this_divergence() -> None:
    x, t = np.log([[0.6, 0.4], [0.4, 0.6]]), np.array([[0.0, 1.0], [0.0, 0.0]])
    assert abs(losses.kl_divergence(x, t) - 0.458) < 5e-4


def test_a_logarithm_is_no_probability() -> None:
    with pytest.raises(ValueError, match=r"^kl_divergence: targets must be at least 0, got -0\.5 .*log_targets"):
        losses.kl_divergence(np.zeros(2), np.array([0.5, -0.5]))


@settings(max_examples=30)
@given(
    classes=st.integers(1, 4),
    weighted=st.booleans(),
    ignored=st.booleans(),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    seed=st.integers(0, 99),
)
def test_the_likelihood_of_log_softmax_is_the_cross_entropy(
    classes: int, weighted: bool, ignored: bool, reduction: str, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(size=(5, classes)), generator.integers(0, classes, 5)
    options: dict[str, Any] = {"labels": labels, "reduction": reduction}
    if weighted:
        options["weight"] = generator.uniform(0.5, 2, classes)
    if ignored:
        options["ignore_index"], options["labels"] = 9, np.where(generator.random(5) < 0.5, labels, 9)
    logs, saved = log_softmax.fwd(logits)
    y, residuals = losses.nll_loss.fwd(logs, **options)
    close(y, losses.softmax_cross_entropy(logits, **options))
    dy = np.asarray(generator.normal(size=np.shape(y)))
    (dlogits,) = log_softmax.bwd(saved, *losses.nll_loss.bwd(residuals, dy))
    close(dlogits, gradients(losses.softmax_cross_entropy, logits, dy=dy, **options)[0], rtol=1e-12)


def test_an_ignored_row_of_logarithms_may_hold_anything() -> None:
    logs = np.array([[np.nan, np.inf], [-1.0, -0.5]])
    options = {"labels": np.array([-100, 1]), "ignore_index": -100}
    assert losses.nll_loss(logs, **options) == 0.5
    np.testing.assert_array_equal(gradients(losses.nll_loss, logs, **options)[0], [[0, 0], [0, -1]])


# ------------------------------------------------------------------------------------------------ angles and distances


def test_optax_publishes_these_triplets() -> None:
    anchors, positives = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[0.1, 0.1], [1.1, 1.1]])
    negatives = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = losses.triplet_margin_loss(anchors, positives, negatives, margin=1.0, reduction="none")
    np.testing.assert_allclose(found, [0.1414, 0.1414], atol=5e-5)


def test_keras_publishes_this_angle() -> None:
    a, b = np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 1.0]])
    close(losses.cosine_similarity(a, b), 0.5)
    close(losses.cosine_distance(a, b), 0.5)


def test_an_angle_by_hand() -> None:
    a, b = np.array([3.0, 4.0]), np.array([0.0, 2.0])
    close(losses.cosine_similarity(a, b), 0.8)
    da, db = gradients(losses.cosine_similarity, a, b)
    close(da, [-0.8 * 0.6 / 5, (1 - 0.8 * 0.8) / 5])
    close(db, [0.6 / 2, 0])
    assert abs(da @ a) < 1e-15  # longer vectors have the same angle


def test_a_vector_of_zeros_has_no_angle_and_no_slope() -> None:
    zero, b = np.zeros((1, 2)), np.array([[3.0, 4.0]])
    assert losses.cosine_similarity(zero, b) == 0
    assert losses.cosine_distance(zero, b) == 1
    for d in gradients(losses.cosine_similarity, zero, b):
        np.testing.assert_array_equal(d, [[0, 0]])
    close(gradients(losses.cosine_similarity, zero, b, epsilon=0.25)[0], [[1.2, 1.6]])


def test_equal_vectors_have_no_distance_and_no_slope() -> None:
    x = np.array([[3.0, 4.0]])
    for degree in (1, 2, 3):
        found = gradients(losses.triplet_margin_loss, x, x, x + 0.25, norm_degree=degree, eps=0)
        np.testing.assert_array_equal(found[1], [[0, 0]])
        assert found[2].all()
    assert losses.contrastive_loss(x, x, labels=np.array([0]), margin=2.0) == 2
    for d in gradients(losses.contrastive_loss, x, x, labels=np.array([0])):
        np.testing.assert_array_equal(d, [[0, 0]])


def test_pairs_by_hand() -> None:
    a, b = np.array([[3.0, 4.0], [3.0, 4.0], [0.0, 1.0]]), np.zeros((3, 2))
    labels = np.array([True, False, False])
    close(losses.contrastive_loss(a, b, labels=labels, margin=7.0, reduction="none"), [12.5, 2, 18])
    da, db = gradients(losses.contrastive_loss, a, b, labels=labels, margin=7.0, reduction="sum")
    close(da, [[3, 4], [-2 * 0.6, -2 * 0.8], [0, -6]])
    np.testing.assert_array_equal(db, -da)


@settings(max_examples=30)
@given(n=st.integers(1, 6), temperature=st.sampled_from([0.07, 0.5, 1.0]), seed=st.integers(0, 99))
def test_ntxent_is_the_loop_of_the_paper(n: int, temperature: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, labels = generator.normal(size=(n, 3)), generator.integers(0, 3, n)
    u = x / np.linalg.norm(x, axis=1, keepdims=True)
    s = np.exp(u @ u.T / temperature)
    wanted = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j and labels[i] == labels[j]:
                wanted[i, j] = -np.log(s[i, j] / (s[i, j] + s[i, labels != labels[i]].sum()))
    pairs = (labels[:, None] == labels).sum() - n
    options = {"labels": labels, "temperature": temperature}
    np.testing.assert_allclose(losses.ntxent(x, **options, reduction="none"), wanted, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(losses.ntxent(x, **options), wanted.sum() / max(pairs, 1), rtol=1e-9, atol=1e-12)
    (dx,) = gradients(losses.ntxent, x, **options)
    np.testing.assert_allclose((dx * x).sum(axis=1), 0, atol=1e-12)  # the lengths do not matter


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("labels", [[0, 1, 2], [5, 5, 5]])
def test_without_pairs_or_without_others_there_is_nothing_to_learn(labels: list[int], dtype: Any) -> None:
    x = np.array([[1e4, 1.0], [1.0, 0.5], [0.0, 0.0]], dtype)
    assert losses.ntxent(x, labels=np.array(labels)) == 0
    np.testing.assert_array_equal(gradients(losses.ntxent, x, labels=np.array(labels))[0].astype(float), np.zeros((3, 2)))


# ------------------------------------------------------------------------------------------------ classes


def test_margins_of_classes_by_hand() -> None:
    scores = np.array([[1.0, 4.0, 2.5], [0.0, 0.5, 0.25], [2.0, 2.0, 2.0], [1.0, 0.0, -5.0]])
    labels = np.array([1, 2, 0, 0])
    close(losses.multiclass_hinge_loss(scores, labels=labels, reduction="none"), [0, 1.25, 1, 0])
    (dscores,) = gradients(losses.multiclass_hinge_loss, scores, labels=labels, reduction="sum")
    close(dscores, [[0, 0, 0], [0, 1, -1], [-1, 0.5, 0.5], [-0.5, 0.5, 0]])


def test_a_row_that_does_not_count_may_hold_anything() -> None:
    scores, labels = np.array([[np.nan, np.inf], [0.0, 1.0]]), np.array([1, 0])
    for counts in ({"where": np.array([False, True])}, {"weight": np.array([0.0, 3.0])}):
        assert losses.multiclass_hinge_loss(scores, labels=labels, **counts) == 2
        (dscores,) = gradients(losses.multiclass_hinge_loss, scores, labels=labels, **counts)
        np.testing.assert_array_equal(dscores, [[0, 0], [-1, 1]])


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("op", "options", "exception", "match"),
    [
        (losses.kl_divergence, {"axis": 2}, ValueError, "axis must be one of the 2 axes"),
        (losses.kl_divergence, {"log_targets": None}, TypeError, "log_targets must be True or False, got None"),
        (losses.cosine_similarity, {"axis": (0, -2)}, ValueError, "axis must name each axis once"),
        (losses.cosine_distance, {"epsilon": -1}, ValueError, "epsilon must be finite and at least 0, got -1"),
        (losses.cosine_distance, {"weight": np.ones(3)}, ValueError, r"weight .* broadcasts to \(2,\), got \(3,\)"),
        (losses.triplet_margin_loss, {"where": np.ones(2)}, TypeError, "where must be an array of booleans"),
        (losses.triplet_margin_loss, {"norm_degree": 0}, ValueError, "norm_degree must be finite and at least 1, got 0"),
        (losses.contrastive_loss, {"labels": np.array([0, 3])}, ValueError, "labels must be 0 or 1, got 3"),
        (losses.contrastive_loss, {}, TypeError, "missing the keyword argument 'labels'"),
        (losses.ntxent, {"labels": np.array([0])}, ValueError, r"labels must have shape \(2,\) to match embeddings \(2, 3\)"),
        (
            losses.ntxent,
            {"labels": np.zeros(2, int), "temperature": 0.0},
            ValueError,
            "temperature must be finite and greater",
        ),
        (losses.dice_loss, {"axis": (0, 1)}, ValueError, "axis must leave the classes"),
        (losses.dice_loss, {"alpha": -1}, ValueError, "alpha must be finite and at least 0, got -1"),
        (losses.dice_loss, {"class_weights": -np.ones(3)}, ValueError, "class_weights must be finite and at least 0"),
        (losses.multiclass_hinge_loss, {"labels": np.array([0, 3])}, ValueError, r"labels must be in 0\.\.2, got 3"),
        (losses.nll_loss, {"labels": np.array([0.0, 1.0])}, TypeError, "labels must be integers, got float64"),
    ],
    ids=lambda value: value.name if isinstance(value, Op) else None,
)
def test_bad_options(op: Op, options: dict[str, Any], exception: type[Exception], match: str) -> None:
    with pytest.raises(exception, match=f"^{op.name}: {match}"):
        op(*arguments_of(op, 2, 3), **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_the_cross_entropy_of_many_rows_is_that_of_the_formula(
    dtype: Any, reduction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rows that are certain, tied, infinite or NaN, some rows at a time."""
    module = importlib.import_module("purenet.losses.cross_entropy")
    monkeypatch.setattr(row_blocks, "BLOCK", 200)
    x = np.random.default_rng(0).normal(size=(7, 4, 5), scale=3.0).astype(dtype)
    labels = np.random.default_rng(1).integers(0, 5, (7, 4))
    x[0], x[1, 0], x[2, 1] = 0, (400, 0, 0, -400, 1), (0, 500, 500, 0, 0)
    if reduction == "none":
        x[3, :, 2] = np.nan, np.inf, -np.inf, 0
        x[4, 0] = -np.inf
    found = []
    for bound in (10**9, -1):
        monkeypatch.setattr(module, "PLAIN", bound)
        with np.errstate(invalid="ignore"):
            y, residuals = losses.softmax_cross_entropy.fwd(x, labels=labels, reduction=reduction)
            found.append((y, residuals.probabilities, *losses.softmax_cross_entropy.bwd(residuals, np.ones_like(y))))
    for plain, fast in zip(*found, strict=True):
        assert (plain.shape, plain.dtype) == (fast.shape, fast.dtype)
        np.testing.assert_allclose(fast, plain, rtol=8 * np.finfo(dtype).eps, atol=0)
