"""Arithmetic and elementary functions: their ends, ties, bases below 0, and losses that are chains of them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import purenet as pn

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
BINARY = [pn.add, pn.subtract, pn.multiply, pn.divide, pn.power, pn.maximum, pn.minimum]
UNARY = [pn.exp, pn.log, pn.sqrt, pn.square, pn.abs, pn.sin, pn.cos, pn.erf]


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_broadcast_argument_gets_the_sum_in_its_own_dtype_and_shape(op: pn.Op[Any, Any], dtype: Any) -> None:
    x, y = np.array([[0.5], [2.0]]).astype(dtype), np.array([1.0, 2.0, 4.0]).astype(dtype)
    z, pullback = pn.vjp(op, x, y)
    dx, dy = pullback(np.ones((2, 3), dtype))
    _, whole = pn.vjp(op, np.broadcast_to(x, (2, 3)).copy(), np.broadcast_to(y, (2, 3)).copy())
    each_x, each_y = whole(np.ones((2, 3), dtype))
    assert (z.dtype, dx.dtype, dy.dtype) == (dtype, dtype, dtype)
    np.testing.assert_allclose(dx.astype(float), each_x.astype(float).sum(axis=1, keepdims=True), rtol=0.02)
    np.testing.assert_allclose(dy.astype(float), each_y.astype(float).sum(axis=0), rtol=0.02)


@pytest.mark.parametrize("op", UNARY, ids=lambda op: op.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_kept(op: pn.Op[Any, Any], dtype: Any) -> None:
    y, pullback = pn.vjp(op, np.array([0.5, 2.0]).astype(dtype))
    assert (y.dtype, pullback(y)[0].dtype) == (dtype, dtype)


def test_equal_numbers_share_the_slope_and_a_nan_has_none() -> None:
    x, y = np.array([1.0, np.nan, np.inf]), np.array([1.0, 2.0, np.inf])
    for op in (pn.maximum, pn.minimum):
        z, pullback = pn.vjp(op, x, y)
        np.testing.assert_array_equal(z, [1.0, np.nan, np.inf])
        for d in pullback(np.ones(3)):
            np.testing.assert_array_equal(d, [0.5, 0.0, 0.5])


def test_a_negative_base_has_a_slope_and_no_slope_of_its_exponent() -> None:
    x = np.array([-2.0, -2.0, -2.0])
    z, pullback = pn.vjp(pn.power, x, np.array([3.0, -1.0, 0.0]))
    dx, dy = pullback(np.ones(3))
    np.testing.assert_allclose(z, [-8.0, -0.5, 1.0])
    np.testing.assert_allclose(dx, [12.0, -0.25, 0.0])
    assert np.isnan(dy).all()
    _, pullback = pn.vjp(pn.power, x, y=np.array(3.0))
    np.testing.assert_array_equal(pullback(np.ones(3)), [[12.0, 12.0, 12.0]])
    _, pullback = pn.vjp(pn.power, np.array([3.0]), x=np.array(2.0))
    np.testing.assert_allclose(pullback(np.ones(1)), [[8 * np.log(2)]])


def test_powers_of_zero_have_finite_slopes_where_there_are_some() -> None:
    z, pullback = pn.vjp(pn.power, np.zeros(5), np.array([0.0, 1.0, 2.0, 0.5, -1.0]))
    dx, dy = pullback(np.ones(5))
    np.testing.assert_array_equal(z, [1.0, 0.0, 0.0, 0.0, np.inf])
    np.testing.assert_array_equal(dx, [0.0, 1.0, 0.0, np.inf, -np.inf])
    np.testing.assert_array_equal(dy, [0.0, 0.0, 0.0, 0.0, -np.inf])


def test_a_quotient_of_zero_has_the_slope_zero_in_the_smallest_divisor() -> None:
    _, pullback = pn.vjp(pn.divide, np.array([0.0, 2e-300]), np.array([5e-324, 1e-200]))
    dx, dy = pullback(np.array([1.0, -1.0]))
    assert dx.tolist() == [np.inf, -1e200]
    assert dy.tolist() == [0.0, pytest.approx(2e100)]


def test_nothing_warns_at_the_ends() -> None:  # the tests make errors of warnings
    x = np.array([-np.inf, -1e4, -1.0, 0.0, 1.0, 1e4, np.inf])
    for op in UNARY:
        y, pullback = pn.vjp(op, x)
        for dy in (0.0, 1e308):
            pullback(np.full_like(y, dy))
    for op in BINARY:
        z, pullback = pn.vjp(op, *np.meshgrid(x, x))  # nothing is broadcast: sums of 1e308 would overflow
        for dz in (0.0, 1e308):
            pullback(np.full_like(z, dz))
    np.testing.assert_array_equal(pn.log(np.array([0.0, -1.0])), [-np.inf, np.nan])


def test_a_loss_of_ones_own_is_a_chain() -> None:
    predictions, targets = np.array([[3.0, -1.0], [0.5, 2.0]]), np.array([1.0, 2.0])
    loss = pn.chain(error=pn.subtract, squared=pn.square, shifted=pn.add.bind(y=0.25), root=pn.sqrt, mean=pn.mean)
    value, residuals = loss.fwd({}, predictions, error={"y": targets})
    error = predictions - targets
    assert float(value) == pytest.approx(np.sqrt(error**2 + 0.25).mean())
    _, dx = loss.bwd(residuals, 1.0)
    np.testing.assert_allclose(dx, error / np.sqrt(error**2 + 0.25) / 4)
