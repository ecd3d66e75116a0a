"""Accuracy: ties, NaN, nothing at all, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenet.metrics import accuracy


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
