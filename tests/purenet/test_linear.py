"""The affine map: its gradients by hand, its shapes, and its two ways without a bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import purenet as pn

W = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
B = np.array([0.5, 0.0, -0.5])


def test_the_gradients_by_hand() -> None:
    y, residuals = pn.affine.fwd({"w": W, "b": B}, np.array([[1.0, 2.0], [0.0, -1.0]]))
    np.testing.assert_array_equal(y, [[9.5, 12.0, 14.5], [-3.5, -5.0, -6.5]])
    dparams, dx = pn.affine.bwd(residuals, np.array([[1.0, 0.0, 0.0], [0.0, 10.0, 0.0]]))
    np.testing.assert_array_equal(dx, [[1.0, 4.0], [20.0, 50.0]])
    np.testing.assert_array_equal(dparams["w"], [[1.0, 0.0, 0.0], [2.0, -10.0, 0.0]])
    np.testing.assert_array_equal(dparams["b"], [1.0, 10.0, 0.0])


def test_without_bias_there_is_no_gradient_of_one() -> None:
    x = np.array([[1.0, 2.0]])
    y, residuals = pn.affine.fwd({"w": W}, x)
    np.testing.assert_array_equal(y, x @ W)
    assert set(pn.affine.bwd(residuals, y)[0]) == {"w"}


@settings(max_examples=40)
@given(leading=st.lists(st.integers(0, 3), max_size=3), inner=st.integers(0, 3), outer=st.integers(0, 3))
def test_leading_dimensions_are_rows(leading: list[int], inner: int, outer: int) -> None:
    generator = np.random.default_rng(0)
    params = {"w": generator.normal(size=(inner, outer)), "b": generator.normal(size=outer)}
    x, dy = generator.normal(size=(*leading, inner)), generator.normal(size=(*leading, outer))
    y, residuals = pn.affine.fwd(params, x)
    dparams, dx = pn.affine.bwd(residuals, dy)
    assert (y.shape, dx.shape) == (dy.shape, x.shape)
    rows, kept = pn.affine.fwd(params, x.reshape(int(np.prod(leading)), inner))
    row_dparams, row_dx = pn.affine.bwd(kept, dy.reshape(rows.shape))
    np.testing.assert_allclose(y, rows.reshape(y.shape), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(dx, row_dx.reshape(dx.shape), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(dparams["w"], row_dparams["w"], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(dparams["b"], dy.reshape(rows.shape).sum(axis=0), rtol=1e-13, atol=1e-14)


def test_one_vector_gives_an_outer_product() -> None:
    x, dy = np.array([2.0, -1.0]), np.array([1.0, 0.0, 3.0])
    _, residuals = pn.affine.fwd({"w": W, "b": B}, x)
    dparams, dx = pn.affine.bwd(residuals, dy)
    np.testing.assert_array_equal(dparams["w"], np.outer(x, dy))
    np.testing.assert_array_equal(dparams["b"], dy)
    np.testing.assert_array_equal(dx, W @ dy)


def test_no_result_shares_memory_with_an_argument() -> None:
    x, dy = np.array([[1.0, 2.0]]), np.ones((1, 3))
    y, residuals = pn.affine.fwd({"w": W, "b": B}, x)
    dparams, dx = pn.affine.bwd(residuals, dy)
    for result in (y, dx, dparams["w"], dparams["b"]):
        assert not any(np.shares_memory(result, a) for a in (W, B, x, dy))


def test_the_bias_of_one_row_is_not_its_cotangent_itself() -> None:
    _, residuals = pn.affine.fwd({"w": W, "b": B}, np.array([1.0, 2.0]))
    dy = np.ones(3)
    dparams, _ = pn.affine.bwd(residuals, dy)
    dy[:] = 7
    np.testing.assert_array_equal(dparams["b"], [1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("params", "x", "error", "match"),
    [
        ({"w": W}, np.ones((2, 3)), ValueError, r"x must have shape \(\.\.\., 2\) to match params\.w \(2, 3\), got \(2, 3\)"),
        ({"w": W}, np.array(1.0), ValueError, r"x must have shape \(\.\.\., 2\) .*, got \(\)"),
        ({"w": W[0]}, np.ones((2, 3)), ValueError, r"params\.w must have shape \(in, out\), got \(3,\)"),
        (
            {"w": W, "b": np.ones(2)},
            np.ones(2),
            ValueError,
            r"params\.b must have shape \(3,\) to match params\.w \(2, 3\), got \(2,\)",
        ),
        ({"w": W, "b": np.ones((1, 3))}, np.ones(2), ValueError, r"params\.b must have shape \(3,\) .*, got \(1, 3\)"),
        ({"W": W}, np.ones(2), ValueError, r"params must hold w, b \(optional\), got W"),
        ({"w": W, "bias": B}, np.ones(2), ValueError, r"params must hold w, b \(optional\), got w, bias"),
        ({}, np.ones(2), ValueError, r"params must hold w, b \(optional\), got nothing"),
        (W, np.ones(2), TypeError, r"params must be a dict with w, b \(optional\), got ndarray"),
        ((W, B), np.ones(2), TypeError, r"params must be a dict with w, b \(optional\), got tuple"),
    ],
)
def test_bad_arguments_are_named(params: Any, x: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=f"^affine: {match}$"):
        pn.affine(params, x)
