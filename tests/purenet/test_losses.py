"""Losses: by hand, against plain formulas, at certainty, with masks and weights, and what they refuse."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import purenet as pn

Array = np.ndarray[Any, Any]
DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
LOGITS = np.log(np.array([[1.0, 1.0, 2.0], [4.0, 1.0, 3.0]]))  # probabilities (1/4, 1/4, 1/2) and (1/2, 1/8, 3/8)


def gradients(op: pn.Op, *arguments: Any, dy: Any = 1.0, **options: Any) -> Any:
    return op.bwd(op.fwd(*arguments, **options)[1], dy)


def close(actual: Any, expected: Any, rtol: float = 1e-14) -> None:
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-15)


# ------------------------------------------------------------------------------------------------ softmax, by hand


def test_labels_by_hand() -> None:
    labels = np.array([2, 1])
    close(pn.softmax_cross_entropy(LOGITS, labels=labels, reduction="none"), np.log([2, 8]))
    close(pn.softmax_cross_entropy(LOGITS, labels=labels, reduction="sum"), np.log(16))
    close(pn.softmax_cross_entropy(LOGITS, labels=labels), np.log(16) / 2)
    (dlogits,) = gradients(pn.softmax_cross_entropy, LOGITS, labels=labels)
    close(dlogits, np.array([[0.25, 0.25, -0.5], [0.5, -0.875, 0.375]]) / 2)


def test_the_weighted_mean_divides_by_the_weights_of_the_labels() -> None:
    options = {"labels": np.array([2, 1]), "weight": np.array([9.0, 3.0, 1.0])}
    close(pn.softmax_cross_entropy(LOGITS, **options), (np.log(2) + 3 * np.log(8)) / 4)
    (dlogits,) = gradients(pn.softmax_cross_entropy, LOGITS, **options)
    close(dlogits, np.array([[0.25, 0.25, -0.5], [3 * 0.5, -3 * 0.875, 3 * 0.375]]) / 4)


def test_an_ignored_row_does_not_count() -> None:
    options = {"labels": np.array([-100, 1]), "ignore_index": -100}
    close(pn.softmax_cross_entropy(LOGITS, **options), np.log(8))
    close(pn.softmax_cross_entropy(LOGITS, reduction="none", **options), [0, np.log(8)])
    close(gradients(pn.softmax_cross_entropy, LOGITS, **options)[0], [[0, 0, 0], [0.5, -0.875, 0.375]])


def test_smoothing_by_hand() -> None:
    # q = (0.1, 0.1, 0.8)
    options = {"labels": np.array([2]), "label_smoothing": 0.3}
    close(pn.softmax_cross_entropy(LOGITS[:1], **options), 0.2 * np.log(4) + 0.8 * np.log(2))
    close(gradients(pn.softmax_cross_entropy, LOGITS[:1], **options)[0], [[0.15, 0.15, -0.3]])


def test_probabilities_by_hand() -> None:
    q = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    expected = (np.log(4) + np.log(8 / 3)) / 2
    close(pn.softmax_cross_entropy(LOGITS, labels=q), expected)
    close(pn.softmax_cross_entropy_with_probabilities(LOGITS, q), expected)
    dlogits, dlabels = gradients(pn.softmax_cross_entropy_with_probabilities, LOGITS, q)
    close(dlogits, np.array([[-0.25, -0.25, 0.5], [0.5, 0.125, -0.625]]) / 2)
    close(dlabels, -np.log([[0.25, 0.25, 0.5], [0.5, 0.125, 0.375]]) / 2)
    close(gradients(pn.softmax_cross_entropy, LOGITS, labels=q)[0], dlogits)


def test_the_weighted_mean_with_probabilities_divides_by_the_rows() -> None:
    q = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    value = pn.softmax_cross_entropy_with_probabilities(LOGITS, q, weight=np.array([2.0, 4.0, 1.0]))
    close(value, (3 * np.log(4) + np.log(8 / 3)) / 2)


def test_the_slope_of_a_probability_with_weight_and_smoothing() -> None:
    q = np.array([[0.5, 0.5, 0.0]])
    options = {"weight": np.array([2.0, 0.0, 3.0]), "label_smoothing": 0.25}
    _, dlabels = gradients(pn.softmax_cross_entropy_with_probabilities, LOGITS[:1], q, **options)
    close(dlabels, [[0.75 * 2 * np.log(4), 0, 0.75 * 3 * np.log(2)]])


# ------------------------------------------------------------------------------------------------ softmax, any options


@settings(derandomize=True, max_examples=60)
@given(
    rows=st.lists(st.integers(0, 3), max_size=2),
    classes=st.integers(1, 4),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    weighted=st.booleans(),
    ignored=st.sampled_from([None, 0, -1, 255]),
    seed=st.integers(0, 999),
)
def test_it_is_the_loop_of_the_textbook(
    rows: list[int], classes: int, reduction: str, smoothing: float, weighted: bool, ignored: int | None, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(*rows, classes))
    labels = np.asarray(generator.integers(0, classes, size=tuple(rows)))
    if ignored is not None:
        labels = np.where(generator.random(labels.shape) < 0.5, labels, ignored)
    weight = generator.integers(0, 3, classes).astype(float) if weighted else np.ones(classes)
    losses, slopes, total = [], [], 0.0
    for x, label in zip(logits.reshape(-1, classes), labels.ravel(), strict=True):
        p = np.exp(x) / np.exp(x).sum()
        r = np.zeros(classes)
        if label != ignored:
            r = weight * ((1 - smoothing) * np.eye(classes)[label] + smoothing / classes)
            total += weight[label]
        losses.append(-(r * np.log(p)).sum())
        slopes.append(p * r.sum() - r)
    dy = np.asarray(generator.normal(size=tuple(rows) if reduction == "none" else ()))
    scale = dy.ravel() if reduction == "none" else np.full(len(losses), dy)
    if reduction == "mean":
        scale = scale / total if total else scale * 0
    expected = np.reshape(losses, rows) if reduction == "none" else sum(losses)
    if reduction == "mean":
        expected = expected / total if total else 0.0

    options: dict[str, Any] = {"labels": labels, "label_smoothing": smoothing, "reduction": reduction, "ignore_index": ignored}
    if weighted:
        options["weight"] = weight
    value, residuals = pn.softmax_cross_entropy.fwd(logits, **options)
    (dlogits,) = pn.softmax_cross_entropy.bwd(residuals, dy)
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-13)
    flat = np.reshape(slopes, (-1, classes)) * scale[:, None]
    np.testing.assert_allclose(dlogits, flat.reshape(logits.shape), rtol=1e-12, atol=1e-13)


@settings(derandomize=True, max_examples=30)
@given(smoothing=st.sampled_from([0.0, 0.25]), reduction=st.sampled_from(["mean", "sum", "none"]), seed=st.integers(0, 99))
def test_one_hot_probabilities_are_labels(smoothing: float, reduction: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(size=(5, 3)) * 30, generator.integers(0, 3, 5)
    options = {"label_smoothing": smoothing, "reduction": reduction}
    dy = np.ones(5) if reduction == "none" else 1.0
    by_label, by_one_hot = ({"labels": labels, **options}, {"labels": np.eye(3)[labels], **options})
    op = pn.softmax_cross_entropy
    np.testing.assert_allclose(op(logits, **by_label), op(logits, **by_one_hot), rtol=1e-14)
    ours, theirs = gradients(op, logits, dy=dy, **by_label), gradients(op, logits, dy=dy, **by_one_hot)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-12, atol=1e-300)


# ------------------------------------------------------------------------------------------------ softmax, the ends


@pytest.mark.parametrize("labels", [np.int64(0), np.array([1.0, 0.0, 0.0])], ids=["label", "one-hot"])
def test_a_nearly_certain_row_keeps_its_digits(labels: Any) -> None:
    x = np.array([0.0, -45.0, -300.0])
    with localcontext() as context:
        context.prec = 400
        e = [Decimal(float(v)).exp() for v in x]
        others = e[1] + e[2]
        value = float((1 + others).ln())
        slopes = [float(-others / (1 + others)), float(e[1] / (1 + others)), float(e[2] / (1 + others))]
    assert 0 < value < 1e-19
    np.testing.assert_allclose(pn.softmax_cross_entropy(x, labels=labels), value, rtol=1e-15)
    np.testing.assert_allclose(gradients(pn.softmax_cross_entropy, x, labels=labels)[0], slopes, rtol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_far_apart_logits(smoothing: float, dtype: Any) -> None:
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], dtype)
    labels = np.array([0, 0])
    value, residuals = pn.softmax_cross_entropy.fwd(logits, labels=labels, label_smoothing=smoothing, reduction="none")
    (dlogits,) = pn.softmax_cross_entropy.bwd(residuals, np.ones_like(value))
    a, gap = smoothing / 3, float(logits[0, 0])
    expected = [(2 * a + a) * gap, ((1 - 2 * a) * 2 + a) * gap]
    eps = float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(value.astype(float), expected, rtol=4 * eps)
    np.testing.assert_allclose(dlogits.astype(float), [[2 * a, -a, -a], [2 * a - 1, 1 - a, -a]], rtol=4 * eps, atol=eps)


def test_zero_times_infinity_is_zero() -> None:
    logits = np.array([[0.0, 0.0, -np.inf]])
    q = np.array([[0.5, 0.5, 0.0]])
    assert pn.softmax_cross_entropy(logits, labels=q) == pytest.approx(np.log(2))
    close(gradients(pn.softmax_cross_entropy, logits, labels=np.array([0]))[0], [[-0.5, 0.5, 0]])
    close(gradients(pn.softmax_cross_entropy_with_probabilities, logits, q)[0], [[0, 0, 0]])
    weightless = {"labels": np.array([2]), "weight": np.array([1.0, 1.0, 0.0])}
    assert pn.softmax_cross_entropy(logits, **weightless) == 0


def test_an_impossible_label_has_an_infinite_loss() -> None:
    assert pn.softmax_cross_entropy(np.array([0.0, -np.inf]), labels=np.int64(1)) == np.inf


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    "options",
    [
        {"labels": np.array([5, 5]), "ignore_index": 5},
        {"labels": np.array([0, 0]), "weight": np.array([0.0, 1.0, 1.0])},
    ],
)
def test_a_mean_over_zero_weight_is_zero_with_zero_gradient(options: dict[str, Any], smoothing: float) -> None:
    options = {**options, "label_smoothing": smoothing}
    assert pn.softmax_cross_entropy(LOGITS, **options) == 0
    np.testing.assert_array_equal(gradients(pn.softmax_cross_entropy, LOGITS, **options)[0], 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf])
def test_what_an_ignored_row_holds_does_not_leak(junk: float, smoothing: float) -> None:
    logits = np.concatenate([LOGITS, np.full((1, 3), junk)])
    options = {"ignore_index": -1, "label_smoothing": smoothing}
    with_row = {"labels": np.array([2, 1, -1]), **options}
    without = {"labels": np.array([2, 1]), **options}
    assert pn.softmax_cross_entropy(logits, **with_row) == pn.softmax_cross_entropy(LOGITS, **without)
    (dlogits,) = gradients(pn.softmax_cross_entropy, logits, **with_row)
    np.testing.assert_array_equal(dlogits[2], 0)
    np.testing.assert_array_equal(dlogits[:2], gradients(pn.softmax_cross_entropy, LOGITS, **without)[0])


def test_labels_of_any_integer_type() -> None:
    for dtype in (np.int8, np.uint8, np.uint64, np.int64):
        close(pn.softmax_cross_entropy(LOGITS, labels=np.array([2, 1], dtype), reduction="sum"), np.log(16))
    close(pn.softmax_cross_entropy(LOGITS, labels=[2, 1], reduction="sum"), np.log(16))


@pytest.mark.parametrize("dtype", DTYPES)
def test_options_in_float64_leave_the_dtype_alone(dtype: Any) -> None:
    logits, weight, q = LOGITS.astype(dtype), np.array([1.0, 2.0, 1.0]), np.full((2, 3), 1 / 3)
    for labels in (np.array([0, 2]), q):
        for smoothing in (0.0, 0.1):
            for reduction in ("mean", "none"):
                options = {"labels": labels, "weight": weight, "label_smoothing": smoothing, "reduction": reduction}
                value, residuals = pn.softmax_cross_entropy.fwd(logits, **options)
                assert isinstance(value, np.ndarray | np.generic)
                assert value.dtype == logits.dtype
                assert pn.softmax_cross_entropy.bwd(residuals, np.ones_like(value))[0].dtype == logits.dtype


def test_in_a_chain_labels_go_to_the_loss_by_name() -> None:
    goal = pn.chain(net=pn.affine, loss=pn.softmax_cross_entropy)
    params = {"net": {"w": np.eye(3)}}
    value, residuals = goal.fwd(params, LOGITS, loss={"labels": np.array([2, 1])})
    close(value, np.log(16) / 2)
    close(goal.bwd(residuals, 1.0)[1], gradients(pn.softmax_cross_entropy, LOGITS, labels=np.array([2, 1]))[0])


@pytest.mark.parametrize(
    ("options", "exception", "match"),
    [
        ({"labels": np.array([0, 3])}, ValueError, r"labels must be in 0\.\.2, got 3"),
        ({"labels": np.array([-1, 0])}, ValueError, r"labels must be in 0\.\.2, got -1"),
        ({"labels": np.array([-1, 7]), "ignore_index": 7}, ValueError, r"labels must be in 0\.\.2, got -1"),
        (
            {"labels": np.array([0.0, 1.0])},
            TypeError,
            r"integers of shape \(2,\) or probabilities of shape \(2, 3\), got float64",
        ),
        ({"labels": np.array([True, False])}, TypeError, "labels must be integers or floating-point probabilities, got bool"),
        ({"labels": np.array([[0], [1]])}, ValueError, r"must have shape \(2,\) to match logits \(2, 3\), got \(2, 1\)"),
        ({"labels": np.ones((2, 4))}, ValueError, r"probabilities of shape \(2, 3\), got float64 of shape \(2, 4\)"),
        ({"labels": np.ones((2, 3)), "ignore_index": 0}, ValueError, "ignore_index needs integer labels"),
        ({"labels": np.array([0, 1]), "ignore_index": "x"}, TypeError, "ignore_index must be an integer, got 'x'"),
        ({"labels": np.array([0, 1]), "weight": np.array([1, np.nan, 1])}, ValueError, "weight must be finite and at least 0"),
        ({"labels": np.array([0, 1]), "weight": np.ones((2, 3))}, ValueError, r"broadcasts to \(3,\), got \(2, 3\)"),
        ({"labels": np.array([0, 1]), "label_smoothing": -0.1}, ValueError, r"label_smoothing must be in \[0, 1\], got -0.1"),
        ({"labels": np.array([0, 1]), "reduction": "average"}, ValueError, "reduction must be one of 'mean', 'sum', 'none'"),
        ({}, TypeError, "missing the keyword argument 'labels'"),
    ],
)
def test_bad_input(options: dict[str, Any], exception: type[Exception], match: str) -> None:
    with pytest.raises(exception, match=f"^softmax_cross_entropy: .*{match}"):
        pn.softmax_cross_entropy(LOGITS, **options)


def test_a_bad_shape_of_probabilities() -> None:
    with pytest.raises(ValueError, match=r"_with_probabilities: labels must have the shape of logits \(2, 3\), got \(3,\)"):
        pn.softmax_cross_entropy_with_probabilities(LOGITS, np.ones(3))


# ------------------------------------------------------------------------------------------------ binary


def test_binary_by_hand() -> None:
    logits, labels = np.log([3.0, 3.0, 1 / 3]), np.array([1.0, 0.0, 0.5])  # probabilities 3/4, 3/4, 1/4
    losses = np.array([np.log(4 / 3), np.log(4), (np.log(4) + np.log(4 / 3)) / 2])
    op = pn.sigmoid_binary_cross_entropy
    close(op(logits, labels, reduction="none"), losses)
    close(op(logits, labels, reduction="sum"), losses.sum())
    close(op(logits, labels), losses.mean())
    dlogits, dlabels = gradients(op, logits, labels)
    close(dlogits, np.array([-0.25, 0.75, -0.25]) / 3)
    close(dlabels, -logits / 3)


def test_pos_weight_multiplies_the_loss_of_yes() -> None:
    logits, labels = np.log([3.0, 3.0]), np.array([1.0, 0.0])
    op = pn.sigmoid_binary_cross_entropy
    close(op(logits, labels, pos_weight=5, reduction="none"), [5 * np.log(4 / 3), np.log(4)])
    dlogits, dlabels = gradients(op, logits, labels, pos_weight=5, reduction="sum")
    close(dlogits, [-5 * 0.25, 0.75])
    close(dlabels, 5 * np.log(4 / 3) - np.log([4.0, 4.0]))


@pytest.mark.parametrize("w", [None, 2.5])
@pytest.mark.parametrize("x", [-700.0, -40.0, -1e-12, 1e-12, 40.0, 700.0])
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_binary_keeps_its_digits(x: float, t: float, w: float | None) -> None:
    with localcontext() as context:
        context.prec = 700
        d, weight, label = Decimal(x), Decimal(w or 1), Decimal(t)
        yes, no = (1 + (-d).exp()).ln(), (1 + d.exp()).ln()
        value = float(weight * label * yes + (1 - label) * no)
        dlogit = float((1 - label) / (1 + (-d).exp()) - weight * label / (1 + d.exp()))
        dlabel = float(weight * yes - no)
    arguments = np.array(x), np.array(t)
    np.testing.assert_allclose(pn.sigmoid_binary_cross_entropy(*arguments, pos_weight=w), value, rtol=1e-15)
    found = gradients(pn.sigmoid_binary_cross_entropy, *arguments, pos_weight=w)
    np.testing.assert_allclose(found, [dlogit, dlabel], rtol=1e-15)


def test_the_slope_of_a_label_with_weight_zero_keeps_its_digits() -> None:
    _, dlabel = gradients(pn.sigmoid_binary_cross_entropy, np.array([-50.0]), np.array([0.5]), pos_weight=0.0)
    np.testing.assert_allclose(dlabel, [-np.exp(-50.0)], rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("w", [None, 2.0])
def test_binary_at_the_ends(w: float | None, dtype: Any) -> None:
    logits, labels = np.array([1e4, 1e4, -1e4, -1e4], dtype), np.array([1, 0, 1, 0], dtype)
    value, residuals = pn.sigmoid_binary_cross_entropy.fwd(logits, labels, pos_weight=w, reduction="none")
    dlogits, dlabels = pn.sigmoid_binary_cross_entropy.bwd(residuals, np.ones_like(value))
    gap, weight = float(logits[0]), w or 1.0
    np.testing.assert_array_equal(value.astype(float), [0, gap, weight * gap, 0])
    np.testing.assert_array_equal(dlogits.astype(float), [0, 1, -weight, 0])
    np.testing.assert_array_equal(dlabels.astype(float), [-gap, -gap, weight * gap, weight * gap])
    assert value.dtype == dlogits.dtype == dlabels.dtype == logits.dtype


def test_an_infinite_logit_is_certain() -> None:
    value = pn.sigmoid_binary_cross_entropy(np.array([np.inf, -np.inf, np.inf]), np.array([1.0, 0.0, 0.0]), reduction="none")
    np.testing.assert_array_equal(value, [0, 0, np.inf])


@pytest.mark.parametrize("junk", [np.nan, np.inf])
def test_a_masked_entry_does_not_leak(junk: float) -> None:
    logits, labels = np.array([1.0, junk, -2.0]), np.array([0.25, junk, 1.0])
    where = np.array([True, False, True])
    op = pn.sigmoid_binary_cross_entropy
    assert op(logits, labels, where=where) == op(logits[where], labels[where])
    assert op(logits, labels, where=where, reduction="none")[1] == 0
    for found, expected in zip(
        gradients(op, logits, labels, where=where), gradients(op, logits[where], labels[where]), strict=True
    ):
        np.testing.assert_array_equal(found[where], expected)
        assert found[1] == 0


def test_a_mean_over_nothing_is_zero_with_zero_gradient() -> None:
    logits, labels = np.ones((2, 3)), np.ones((2, 3))
    assert pn.sigmoid_binary_cross_entropy(logits, labels, where=np.array(False)) == 0
    for found in gradients(pn.sigmoid_binary_cross_entropy, logits, labels, where=np.array(False)):
        np.testing.assert_array_equal(found, np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("arguments", "options", "exception", "match"),
    [
        ((np.ones((2, 3)), np.ones(3)), {}, ValueError, r"labels must have the shape of logits \(2, 3\), got \(3,\)"),
        ((np.ones(2), np.array([0, 1])), {}, TypeError, "labels must be a floating-point array"),
        ((np.ones(2), np.ones(2)), {"pos_weight": np.inf}, ValueError, "pos_weight must be finite and at least 0, got inf"),
        ((np.ones(2), np.ones(2)), {"pos_weight": np.ones(3)}, ValueError, r"pos_weight .* broadcasts to \(2,\), got \(3,\)"),
        ((np.ones(2), np.ones(2)), {"where": np.array([0, 1])}, TypeError, "where must be an array of booleans"),
        ((np.ones(2), np.ones(2)), {"reduction": "batchmean"}, ValueError, "reduction must be one of"),
    ],
)
def test_bad_binary_input(arguments: Any, options: dict[str, Any], exception: type[Exception], match: str) -> None:
    with pytest.raises(exception, match=f"^sigmoid_binary_cross_entropy: {match}"):
        pn.sigmoid_binary_cross_entropy(*arguments, **options)


# ------------------------------------------------------------------------------------------------ squared errors


def test_squared_errors_by_hand() -> None:
    p, t = np.array([[1.0, 5.0], [0.0, 2.0]]), np.array([[2.0, 2.0], [0.0, 4.0]])
    assert pn.squared_error(p, t) == 3.5
    assert pn.squared_error(p, t, reduction="sum") == 14
    np.testing.assert_array_equal(pn.squared_error(p, t, reduction="none"), [[1, 9], [0, 4]])
    assert pn.sum_squared_error(p, t) == 7
    for op, factor in ((pn.squared_error, 0.5), (pn.sum_squared_error, 1)):
        dp, dt = gradients(op, p, t)
        np.testing.assert_array_equal(dp, factor * (p - t))
        np.testing.assert_array_equal(dt, -dp)


def test_the_slope_of_the_squared_sum_is_twice_the_sum() -> None:
    x, y = np.array([1.5, -2.0]), np.array([0.25, 1.0])
    dx, minus_dy = gradients(pn.squared_error, x, -y, dy=np.ones(2), reduction="none")
    np.testing.assert_array_equal(dx, 2 * (x + y))
    np.testing.assert_array_equal(-minus_dy, 2 * (x + y))


def test_no_rows() -> None:
    empty = np.ones((0, 3))
    for op in (pn.squared_error, pn.sum_squared_error, pn.sigmoid_binary_cross_entropy):
        assert op(empty, empty) == 0
        assert [d.shape for d in gradients(op, empty, empty)] == [(0, 3), (0, 3)]
    no_labels = np.zeros(0, int)
    assert pn.softmax_cross_entropy(empty, labels=no_labels) == 0
    assert gradients(pn.softmax_cross_entropy, empty, labels=no_labels)[0].shape == (0, 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_reduced_loss_is_an_array_of_no_dimensions(dtype: Any) -> None:
    p, t = np.array([1.0, 2.0], dtype), np.array([0.0, 0.5], dtype)
    for op in (pn.squared_error, pn.sum_squared_error, pn.sigmoid_binary_cross_entropy):
        value = op(p, t)
        assert isinstance(value, np.ndarray)
        assert value.shape == ()
        assert value.dtype == p.dtype
        assert [d.dtype for d in gradients(op, p, t)] == [p.dtype, p.dtype]


def test_a_target_by_keyword_is_a_constant() -> None:
    p, t = np.array([1.0, 2.0]), np.array([0.0, 4.0])
    value, residuals = pn.squared_error.fwd(p, targets=t)
    assert value == 2.5
    (dp,) = pn.squared_error.bwd(residuals, 1.0)
    np.testing.assert_array_equal(dp, [1.0, -2.0])


def test_negative_sampling_is_its_parts() -> None:
    w = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.25]])
    h, targets, negatives = np.array([[1.0, -1.0], [0.5, 2.0]]), np.array([0, 2]), np.array([[1, 2], [0, 0]])
    right = pn.embedding_dot({"w": w}, h, ids=targets)
    wrong = pn.embedding_dot({"w": w}, h, ids=negatives)
    expected = np.log1p(np.exp(-right)) + np.log1p(np.exp(wrong)).sum(axis=1)
    given_ids = {"targets": targets, "negatives": negatives}
    none = pn.negative_sampling_loss({"w": w}, h, reduction="none", **given_ids)
    np.testing.assert_allclose(none, expected, rtol=1e-14)
    assert pn.negative_sampling_loss({"w": w}, h, **given_ids) == pytest.approx(expected.mean(), rel=1e-14)
    assert pn.negative_sampling_loss({"w": w}, h, reduction="sum", **given_ids) == pytest.approx(expected.sum(), rel=1e-14)
