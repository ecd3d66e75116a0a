"""Metrics: by hand, ties, NaN, nothing at all, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenet.metrics import (
    accuracy,
    confusion_matrix,
    f1_score,
    intersection_over_union,
    mean_absolute_error,
    perplexity,
    precision,
    r2_score,
    recall,
    root_mean_squared_error,
    top_k_accuracy,
)

OF_CLASSES = [precision, recall, f1_score, intersection_over_union]
OF_NUMBERS = [mean_absolute_error, root_mean_squared_error, r2_score]


@settings(derandomize=True, max_examples=60)
@given(n=st.integers(1, 20), classes=st.integers(1, 5), seed=st.integers(0, 999))
def test_it_is_the_part_of_rows_whose_first_highest_score_is_at_the_label(n: int, classes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 3, (n, classes)).astype(np.float64)  # few values, so that ties are common
    labels = generator.integers(0, classes, n)
    right = [row.index(max(row)) == label for row, label in zip(scores.tolist(), labels.tolist(), strict=True)]
    assert accuracy(scores, labels) == pytest.approx(sum(right) / n, abs=1e-15)


def test_ties_go_to_the_first_index() -> None:
    assert accuracy(np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([0, 1])) == 0.5


def test_a_row_with_nan_counts_as_wrong() -> None:
    nan = np.nan
    assert accuracy(np.array([[nan, nan], [0.0, nan], [nan, 1.0], [0.0, 1.0]]), np.array([0, 1, 0, 1])) == 0.25


def test_infinite_scores_are_ordered_as_numbers() -> None:
    assert accuracy(np.array([[-np.inf, -np.inf], [0.0, np.inf], [-np.inf, 0.0]]), np.array([0, 1, 0])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3)])
def test_over_nothing_it_is_nan(shape: tuple[int, ...]) -> None:
    assert math.isnan(accuracy(np.zeros(shape), np.zeros(shape[:-1], np.int64)))


def test_leading_dimensions_are_as_the_labels() -> None:
    scores = np.eye(3)[np.array([[0, 1], [2, 0]])]
    assert accuracy(scores, np.array([[0, 1], [2, 2]])) == 0.75
    assert accuracy(scores[0, 1], np.array(1)) == 1.0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16, np.int64])
@pytest.mark.parametrize("labels", [np.uint8, np.int32, np.int64])
def test_every_dtype_gives_a_python_float(dtype: Any, labels: Any) -> None:
    value = accuracy(np.array([[0, 2], [3, 1]]).astype(dtype), np.array([1, 1], labels))
    assert type(value) is float
    assert value == 0.5


def test_lists_will_do() -> None:
    assert accuracy([[0.1, 0.9]], [1]) == 1.0


@pytest.mark.parametrize(
    ("scores", "labels", "error", "match"),
    [
        (np.zeros((2, 3)), np.zeros(2), TypeError, "labels must be an array of integers, got float64"),
        (np.zeros((2, 3)), np.array([True, False]), TypeError, "labels must be an array of integers, got bool"),
        (np.zeros((2, 3), complex), np.zeros(2, int), TypeError, "scores must be an array of real numbers, got complex128"),
        (np.array([["a", "b"]]), np.zeros(1, int), TypeError, "scores must be an array of real numbers, got <U1"),
        (np.zeros((2, 3)), np.zeros(3, int), ValueError, r"scores must have shape \(3, classes\) to match .* got \(2, 3\)"),
        (np.zeros((2, 3)), np.eye(2, 3, dtype=int), ValueError, r"scores must have shape \(2, 3, classes\) .* got \(2, 3\)"),
        (np.zeros((2, 0)), np.zeros(2, int), ValueError, r"scores must have shape \(2, classes\) .* got \(2, 0\)"),
        (np.float64(1), np.int64(0), ValueError, r"scores must have shape \(classes\) .* got \(\)"),
        (np.zeros((2, 3)), np.array([0, 3]), ValueError, r"labels must be in 0\.\.2, got 3"),
        (np.zeros((2, 3)), np.array([-1, 0]), ValueError, r"labels must be in 0\.\.2, got -1"),
    ],
)
def test_what_it_refuses(scores: Any, labels: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=f"^accuracy: {match}"):
        accuracy(scores, labels)


# ------------------------------------------------------------------------------------------------ the k highest


@settings(derandomize=True, max_examples=60)
@given(n=st.integers(1, 9), classes=st.integers(1, 5), k=st.integers(1, 6), seed=st.integers(0, 999))
def test_the_k_highest_are_the_first_in_a_stable_order(n: int, classes: int, k: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 3, (n, classes)).astype(np.float32)
    labels = generator.integers(0, classes, n)
    right = [label in sorted(range(classes), key=lambda c: -row[c])[:k] for row, label in zip(scores, labels, strict=True)]
    assert top_k_accuracy(scores, labels, k=k) == pytest.approx(sum(right) / n, abs=1e-15)
    assert top_k_accuracy(scores, labels, k=1) == accuracy(scores, labels)


def test_the_k_highest_with_nan_and_of_nothing() -> None:
    nan = np.nan
    assert top_k_accuracy([[nan, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, nan, 1.0]], [1, 1, 1], k=2) == pytest.approx(1 / 3)
    assert math.isnan(top_k_accuracy(np.zeros((0, 3)), np.zeros(0, int), k=2))
    assert top_k_accuracy([[-np.inf, 0.0, -np.inf]], [2], k=3) == 1


@pytest.mark.parametrize(("k", "error", "match"), [(0, ValueError, "at least 1, got 0"), (1.0, TypeError, "integer, got fl")])
def test_k_is_a_positive_integer(k: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=f"^top_k_accuracy: k must be .*{match}"):
        top_k_accuracy([[0.0, 1.0]], [1], k=k)


# ------------------------------------------------------------------------------------------------ classes

# label 0: predicted 0, 0, 1;  label 1: predicted 1;  label 2: predicted 0;  class 3 only predicted
PREDICTED, LABELS = [0, 0, 1, 1, 0, 3], [0, 0, 0, 1, 2, 1]


def test_a_row_for_each_label_and_a_column_for_each_prediction() -> None:
    wanted = [[2, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(confusion_matrix(PREDICTED, LABELS), wanted)
    assert confusion_matrix([[0, 1]], [[1, 1]], classes=3).tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert confusion_matrix([], []).shape == (0, 0)
    assert confusion_matrix([19], [0], classes=np.uint8(20))[0, 19] == 1  # type: ignore[arg-type]
    assert confusion_matrix(np.array(1, np.uint8), np.array(1, np.int64)).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("metric", "each", "macro", "micro", "weighted"),
    [
        (precision, [2 / 3, 1 / 2, 0, 0], 7 / 24, 1 / 2, (3 * 2 / 3 + 2 * 1 / 2) / 6),
        (recall, [2 / 3, 1 / 2, 0, 0], 7 / 24, 1 / 2, 1 / 2),
        (f1_score, [2 / 3, 1 / 2, 0, 0], 7 / 24, 1 / 2, 1 / 2),
        (intersection_over_union, [1 / 2, 1 / 3, 0, 0], 5 / 24, 1 / 3, (3 / 2 + 2 / 3) / 6),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_by_hand(metric: Any, each: list[float], macro: float, micro: float, weighted: float) -> None:
    np.testing.assert_allclose(metric(PREDICTED, LABELS, average="none"), each, rtol=1e-15)
    for average, wanted in {"macro": macro, "micro": micro, "weighted": weighted}.items():
        found = metric(PREDICTED, LABELS, average=average)
        assert type(found) is float
        assert found == pytest.approx(wanted, abs=1e-15)
    assert metric(PREDICTED, LABELS) == metric(PREDICTED, LABELS, average="macro")


def test_precision_and_recall_differ() -> None:
    assert precision([1, 1, 1, 0], [1, 0, 0, 0], average="none").tolist() == [1, 1 / 3]
    assert recall([1, 1, 1, 0], [1, 0, 0, 0], average="none").tolist() == [1 / 3, 1]
    assert precision([1, 1, 1, 0], [1, 0, 0, 0]) == pytest.approx(2 / 3)
    assert precision([1, 1, 1, 0], [1, 0, 0, 0], average="weighted") == pytest.approx(3 / 4 * 1 + 1 / 4 * 1 / 3)


def test_what_cannot_be_divided_counts_zero_division() -> None:
    # class 2 was never predicted, class 3 is no label, class 4 is neither
    for zero in (0.0, 1.0):
        options = {"average": "none", "classes": 5, "zero_division": zero}
        assert precision(PREDICTED, LABELS, **options).tolist() == [2 / 3, 1 / 2, zero, 0, zero]
        assert recall(PREDICTED, LABELS, **options).tolist() == [2 / 3, 1 / 2, 0, zero, zero]
        assert f1_score(PREDICTED, LABELS, **options).tolist() == [2 / 3, 1 / 2, 0, 0, zero]
        assert precision(PREDICTED, LABELS, classes=5, zero_division=zero) == pytest.approx((7 / 6 + zero) / 4)


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_classes_that_do_not_occur_are_in_no_average(metric: Any) -> None:
    for average in ("macro", "micro", "weighted"):
        assert metric(PREDICTED, LABELS, average=average, classes=9, zero_division=1.0) == metric(
            PREDICTED, LABELS, average=average, zero_division=1.0
        )


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_averages_over_nothing_are_nan(metric: Any) -> None:
    for average in ("macro", "micro", "weighted"):
        assert math.isnan(metric([], [], average=average, classes=2))
    assert metric(np.zeros((0, 2), int), np.zeros((0, 2), int), average="none", classes=2).tolist() == [0, 0]


@pytest.mark.parametrize("metric", [*OF_CLASSES, confusion_matrix])
@pytest.mark.parametrize(
    ("predicted", "labels", "options", "error", "match"),
    [
        ([0.0, 1.0], [0, 1], {}, TypeError, "predicted must be an array of integers, got float64"),
        ([0, 1], [True, False], {}, TypeError, "labels must be an array of integers, got bool"),
        ([0, 1], [0, 1, 1], {}, ValueError, r"labels must have the shape of predicted \(2,\), got \(3,\)"),
        ([0, -1], [0, 1], {}, ValueError, r"predicted must be in 0\.\.1, got -1"),
        ([0, 1], [0, 2], {"classes": 2}, ValueError, r"labels must be in 0\.\.1, got 2"),
        ([0, 1], [0, 1], {"classes": 2.0}, TypeError, "classes must be an integer or None, got float"),
        ([], [], {"classes": -1}, ValueError, "classes must be at least 0, got -1"),
    ],
)
def test_classes_refused(
    metric: Any, predicted: Any, labels: Any, options: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=f"^{metric.__name__}: {match}"):
        metric(predicted, labels, **options)


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_options_refused(metric: Any) -> None:
    with pytest.raises(ValueError, match=f"^{metric.__name__}: average must be one of 'macro', 'micro', 'weighted', 'none'"):
        metric([0], [0], average="binary")
    with pytest.raises(ValueError, match=rf"^{metric.__name__}: zero_division must be in \[0, 1\], got 2"):
        metric([0], [0], zero_division=2)


# ------------------------------------------------------------------------------------------------ perplexity


def test_a_uniform_distribution_is_as_perplexing_as_it_has_classes() -> None:
    logs = np.full((3, 2, 7), -np.log(7))
    labels = np.arange(6).reshape(3, 2)
    assert perplexity(logs, labels) == pytest.approx(7, rel=1e-14)
    assert perplexity(logs.astype(np.float32), labels) == pytest.approx(7, rel=1e-6)


def test_perplexity_counts_what_is_kept() -> None:
    logs = np.log([[0.5, 0.5], [0.125, 0.875], [0.25, 0.75]])
    assert perplexity(logs, [0, -1, 0], where=[True, False, True]) == pytest.approx(np.sqrt(8), rel=1e-14)
    assert math.isnan(perplexity(logs, [0, 0, 0], where=np.array(False)))
    assert math.isnan(perplexity(np.zeros((0, 3)), np.zeros(0, int)))


def test_the_impossible_is_infinitely_perplexing() -> None:
    with np.errstate(divide="ignore"):
        assert perplexity(np.log([[1.0, 0.0]]), [1]) == np.inf
    assert perplexity([[-1e4, 0.0]], [0]) == np.inf


@pytest.mark.parametrize(
    ("logs", "labels", "where", "error", "match"),
    [
        (np.zeros((2, 3)), [0.0, 1.0], None, TypeError, "labels must be an array of integers, got float64"),
        (np.zeros((2, 3)), [0, 3], None, ValueError, r"labels must be in 0\.\.2, got 3"),
        (np.zeros((2, 3)), [0], None, ValueError, r"log_probabilities must have shape \(1, classes\) .* got \(2, 3\)"),
        (np.zeros((2, 3)), [0, 1], [1, 0], TypeError, "where must be an array of booleans"),
        (np.zeros((2, 3)), [0, 1], [True] * 3, ValueError, r"where must have a shape that broadcasts to \(2,\), got \(3,\)"),
    ],
)
def test_perplexity_refuses(logs: Any, labels: Any, where: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=f"^perplexity: {match}"):
        perplexity(logs, labels, where=where)


# ------------------------------------------------------------------------------------------------ numbers


def test_errors_by_hand() -> None:
    p, t = [[1.0, 5.0], [0.0, 2.0]], [[2.0, 2.0], [0.0, 4.0]]
    assert mean_absolute_error(p, t) == 1.5
    assert root_mean_squared_error(p, t) == pytest.approx(np.sqrt(3.5))
    assert r2_score(p, t) == pytest.approx(1 - 14 / 8)
    assert r2_score(t, t) == 1
    assert r2_score([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]) == 0


@pytest.mark.parametrize("targets", [1.0, 0.1])
def test_targets_that_are_all_equal_leave_nothing_to_explain(targets: float) -> None:
    assert r2_score([targets] * 3, [targets] * 3) == 1
    assert r2_score([targets, targets, 9.0], [targets] * 3) == 0


@pytest.mark.parametrize("metric", OF_NUMBERS)
def test_numbers_of_any_type_and_none_at_all(metric: Any) -> None:
    for dtype in (np.float16, np.float32, ml_dtypes.bfloat16, np.int32):
        value = metric(np.array([200, 2, 3], dtype), np.array([-200, 0, 1], dtype))
        assert type(value) is float
        assert value == metric([200.0, 2.0, 3.0], [-200.0, 0.0, 1.0])  # in float64: no overflow at 160000
    assert math.isnan(metric([], []))
    assert math.isnan(metric([1.0, np.nan], [1.0, 2.0]))


def test_the_score_of_one_number_is_nan() -> None:
    assert math.isnan(r2_score([1.0], [2.0]))


def test_the_score_does_not_depend_on_the_unit() -> None:
    p, t = np.array([1.0, 2.0, 3.5]), np.array([1.0, 2.0, 3.0])
    for unit in (1e-200, 1e200):  # squares underflow or overflow
        assert r2_score(p * unit, t * unit) == pytest.approx(r2_score(p, t), rel=1e-13)


def test_a_model_that_diverged_is_measured_without_a_warning() -> None:
    assert root_mean_squared_error([1e200], [0.0]) == np.inf
    assert mean_absolute_error([1e308, 0.0], [-1e308, 0.0]) == np.inf
    assert r2_score([np.inf, 0.0], [1.0, 2.0]) == -np.inf
    assert math.isnan(mean_absolute_error([np.inf], [np.inf]))
    assert math.isnan(r2_score([np.nan, 1.0], [1.0, 1.0]))


@pytest.mark.parametrize("metric", OF_NUMBERS)
def test_numbers_refused(metric: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{metric.__name__}: targets must have the shape of pred.* \(2, 1\), got \(2,\)"):
        metric(np.ones((2, 1)), np.ones(2))
    with pytest.raises(TypeError, match=f"^{metric.__name__}: targets must be an array of real numbers, got bool"):
        metric(np.ones(2), np.ones(2, bool))
