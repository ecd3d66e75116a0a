"""Penalties: the book's numbers, trees of every kind, weights at zero."""

from __future__ import annotations

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import purenet as pn

PENALTIES = [pn.l1_penalty, pn.l2_penalty]


class Layer(NamedTuple):
    w: Any
    v: Any


def gradient(op: pn.Op, weights: Any, strength: float) -> Any:
    _, pullback = pn.vjp(op, weights, strength=strength)
    return pullback(1.0)[0]


def test_the_gradient_of_l1_is_lambda_sign_w_and_of_l2_lambda_w() -> None:
    w = np.array([[2.0, -0.5], [0.0, -3.0]])
    np.testing.assert_array_equal(gradient(pn.l1_penalty, w, 0.5), [[0.5, -0.5], [0, -0.5]])
    np.testing.assert_array_equal(gradient(pn.l2_penalty, w, 0.5), [[1.0, -0.25], [0, -1.5]])


def test_values() -> None:
    weights = {"a": np.array([3.0, -4.0]), "b": [np.array(-2.0)]}
    assert pn.l1_penalty(weights, strength=2) == 18
    assert pn.l2_penalty(weights, strength=2) == 29


@settings(derandomize=True, max_examples=40)
@given(
    w=hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=4), elements=st.floats(-1e4, 1e4)),
    parts=st.integers(1, 4),
    strength=st.floats(0, 10),
)
def test_a_tree_counts_as_its_leaves_in_one_array(w: np.ndarray[Any, Any], parts: int, strength: float) -> None:
    tree = {str(i): part for i, part in enumerate(np.array_split(w.ravel(), parts))}
    for op in PENALTIES:
        assert op(tree, strength=strength) == pytest.approx(float(op(w, strength=strength)), rel=1e-13)


@pytest.mark.parametrize("op", PENALTIES, ids=repr)
def test_the_gradient_has_the_structure_of_the_weights(op: pn.Op) -> None:
    grads = gradient(op, Layer(np.ones((2, 3)), (np.ones(2), {})), 0.5)
    assert isinstance(grads, Layer)
    assert grads.w.shape == (2, 3)
    assert isinstance(grads.v, tuple)
    np.testing.assert_array_equal(grads.v[0], [0.5, 0.5])
    assert grads.v[1] == {}


@pytest.mark.parametrize("weights", [{}, [], {"w": np.ones((0, 3))}], ids=repr)
@pytest.mark.parametrize("op", PENALTIES, ids=repr)
def test_no_weights_no_penalty(op: pn.Op, weights: Any) -> None:
    assert op(weights, strength=0.5) == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("op", PENALTIES, ids=repr)
def test_the_dtype_stays_whatever_the_strength_is(op: pn.Op, dtype: Any) -> None:
    w = np.array([1.5, -2.0, 0.0], dtype)
    value, pullback = pn.vjp(op, w, strength=np.float64(0.5))
    assert isinstance(value, np.ndarray)
    assert value.shape == ()
    assert value.dtype == pullback(1.0)[0].dtype == w.dtype


@pytest.mark.parametrize("op", PENALTIES, ids=repr)
def test_the_gradient_is_not_the_weights_themselves(op: pn.Op) -> None:
    w = np.ones(3)
    assert not np.shares_memory(gradient(op, w, 1.0), w)


def test_nan_shows() -> None:
    for op in PENALTIES:
        np.testing.assert_array_equal(np.isnan(gradient(op, np.array([np.nan, 1.0]), 0.5)), [True, False])


@pytest.mark.parametrize(
    ("strength", "exception", "match"),
    [
        (-0.1, ValueError, "strength must be finite and at least 0, got -0.1"),
        (float("inf"), ValueError, "strength must be finite and at least 0, got inf"),
        (None, TypeError, "strength must be a number, got NoneType"),
        (True, TypeError, "strength must be a number, got bool"),
    ],
)
@pytest.mark.parametrize("op", PENALTIES, ids=repr)
def test_bad_strength(op: pn.Op, strength: Any, exception: type[Exception], match: str) -> None:
    with pytest.raises(exception, match=f"{op.name}: {match}"):
        op(np.ones(2), strength=strength)


@pytest.mark.parametrize("op", PENALTIES, ids=repr)
def test_the_strength_must_be_said(op: pn.Op) -> None:
    with pytest.raises(TypeError, match=f"{op.name}: missing the keyword argument 'strength'"):
        op(np.ones(2))
