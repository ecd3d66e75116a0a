"""Embeddings: torch's values and gradients, repeated ids, ids that do not exist."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenet.linear import embedding, embedding_bag, one_hot
from purenet.op import vjp

W = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.25]])
IDS = np.array([1, 0, 1, 2, 1])
DY = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.0]])


def gradient(op: Any, dy: Any, **options: Any) -> Any:
    return vjp(op, {"w": W}, **options)[1](dy)[0]["w"]


def test_repeated_ids_accumulate() -> None:
    np.testing.assert_array_equal(embedding({"w": W}, ids=IDS), W[IDS])
    np.testing.assert_array_equal(gradient(embedding, DY, ids=IDS), [[3, 4], [15, 18], [7, 8]])


def test_padding_and_frequencies_change_the_gradient_as_in_torch() -> None:
    np.testing.assert_array_equal(gradient(embedding, DY, ids=IDS, padding_idx=0), [[0, 0], [15, 18], [7, 8]])
    np.testing.assert_array_equal(
        gradient(embedding, DY, ids=IDS, padding_idx=0, scale_grad_by_freq=True), [[0, 0], [5, 6], [7, 8]]
    )
    np.testing.assert_array_equal(embedding({"w": W}, ids=IDS, padding_idx=0, scale_grad_by_freq=True), W[IDS])


def test_rows_that_no_id_names_get_no_gradient_whatever_they_hold() -> None:
    w = np.array([[1.0], [np.nan], [np.inf]])
    y, pullback = vjp(embedding, {"w": w}, ids=np.array([0, 0]))
    np.testing.assert_array_equal(y, [[1.0], [1.0]])
    np.testing.assert_array_equal(pullback(y)[0]["w"], [[2.0], [0.0], [0.0]])


def test_the_ids_may_change_after_the_forward_pass() -> None:
    ids = IDS.copy()
    _, pullback = vjp(embedding, {"w": W}, ids=ids)
    ids[:] = 0
    np.testing.assert_array_equal(pullback(DY)[0]["w"], [[3, 4], [15, 18], [7, 8]])


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.lists(st.integers(0, 5), max_size=12))
def test_the_pullback_is_the_adjoint_of_indexing(rows: int, width: int, ids: list[int]) -> None:
    generator = np.random.default_rng(rows + width)
    w, chosen = generator.normal(size=(rows, width)), np.array(ids, np.int64) % rows
    y, pullback = vjp(embedding, {"w": w}, ids=chosen)
    dy = generator.normal(size=y.shape)
    expected = np.zeros_like(w)
    np.add.at(expected, chosen, dy)
    np.testing.assert_allclose(pullback(dy)[0]["w"], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("mode", "value", "dw"),
    [
        ("sum", [[0, 0], [7, 0], [0.5, 0.25]], [[2, 3], [4, 6], [-1, 4]]),
        ("mean", [[0, 0], [7 / 3, 0], [0.5, 0.25]], [[2 / 3, 1], [4 / 3, 2], [-1, 4]]),
        ("max", [[0, 0], [3, 2], [0.5, 0.25]], [[0, 3], [2, 0], [-1, 4]]),
    ],
)
def test_embedding_bag_has_torchs_values_and_gradients(mode: str, value: Any, dw: Any) -> None:
    options = {"ids": np.array([1, 0, 1, 2]), "offsets": np.array([0, 0, 3]), "mode": mode}
    np.testing.assert_allclose(embedding_bag({"w": W}, **options), value, rtol=1e-15)
    dy = np.array([[1.0, 1.0], [2.0, 3.0], [-1.0, 4.0]])
    np.testing.assert_allclose(gradient(embedding_bag, dy, **options), dw, rtol=1e-15)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_rows_of_ids_are_bags_of_one_length(mode: str) -> None:
    ids = np.array([[1, 0], [2, 2], [1, 2]])
    flat = embedding_bag({"w": W}, ids=ids.reshape(-1), offsets=np.array([0, 2, 4]), mode=mode)
    np.testing.assert_array_equal(embedding_bag({"w": W}, ids=ids, mode=mode), flat)


def test_tied_maxima_share_the_gradient() -> None:
    w = {"w": np.array([[1.0], [1.0], [0.0]])}
    _, pullback = vjp(embedding_bag, w, ids=np.array([[0, 1, 2]]), mode="max")
    np.testing.assert_array_equal(pullback(np.array([[4.0]]))[0]["w"], [[2.0], [2.0], [0.0]])


def test_a_bag_of_padding_alone_is_empty() -> None:
    options = {"ids": np.array([[1, 1], [1, 2]]), "padding_idx": 1}
    for mode in ("sum", "mean", "max"):
        np.testing.assert_array_equal(embedding_bag({"w": W}, mode=mode, **options), [[0, 0], W[2]])


@pytest.mark.parametrize("axis", [-1, 0, 1, -2])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "bool"])
def test_one_hot_is_that_of_jax(axis: int, dtype: str) -> None:
    x = np.array([[0, 3, -1], [2, 4, 1]])
    with jax.enable_x64(True):
        expected = np.asarray(jax.nn.one_hot(x, 4, dtype=dtype, axis=axis))
    ours = one_hot(x, 4, dtype=dtype, axis=axis)
    np.testing.assert_array_equal(ours, expected)
    assert ours.dtype == expected.dtype


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_one_hot_of_any_shape(shape: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(one_hot(np.zeros(shape, np.uint8), 2), np.broadcast_to([1.0, 0.0], (*shape, 2)))


@pytest.mark.parametrize(
    ("arguments", "options", "exception", "match"),
    [
        ((np.zeros(2), 3), {}, TypeError, "one_hot: x must be integers, got float64"),
        ((np.array([1]), 2.0), {}, TypeError, "one_hot: num_classes must be an integer, got float"),
        ((np.array([1]), -1), {}, ValueError, "one_hot: num_classes must be at least 0, got -1"),
        ((np.array([1]), 2), {"axis": 2}, ValueError, "one_hot: axis must be one of the 2 axes of the result, got 2"),
        ((np.array([1]), 2), {"axis": "last"}, TypeError, "one_hot: axis must be an integer, got str"),
        ((np.array([1]), 2), {"dtype": "real"}, TypeError, "one_hot: dtype must be a NumPy dtype, got 'real'"),
    ],
)
def test_bad_arguments_of_one_hot(arguments: Any, options: Any, exception: type[Exception], match: str) -> None:
    with pytest.raises(exception, match=match):
        one_hot(*arguments, **options)
