"""Reductions: values to check by hand, digits they keep, ties, zeros, nothing at all."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import purenet as pn
from purenet import reductions
from purenet.reductions import runs

Array = np.ndarray[Any, Any]

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
FEW = settings(max_examples=25, deadline=None, derandomize=True)
ALL = [getattr(reductions, name) for name in reductions.__all__]
REDUCING = [op for op in ALL if "keepdims" in op.keywords]
NUMPYS: list[tuple[pn.Op, Any]] = [
    (reductions.sum, np.sum),
    (reductions.mean, np.mean),
    (reductions.max, np.max),
    (reductions.min, np.min),
    (reductions.prod, np.prod),
    (reductions.var, np.var),
    (reductions.std, np.std),
    (reductions.norm, np.linalg.vector_norm),
]


def pulled(op: pn.Op, x: Any, dy: Any = None, **options: Any) -> Array:
    """The gradient of op at x, of the sum of its values unless dy is given."""
    y, pullback = pn.vjp(op, np.asarray(x), **options)
    return np.asarray(pullback(np.ones_like(y) if dy is None else np.asarray(dy))[0])


@pytest.mark.parametrize(("op", "numpys"), NUMPYS, ids=[op.name for op, _ in NUMPYS])
@FEW
@given(shape=hnp.array_shapes(min_dims=1, max_dims=4, max_side=4), keepdims=st.booleans(), data=st.data())
def test_values_and_axes_are_numpys(
    op: pn.Op, numpys: Any, shape: tuple[int, ...], keepdims: bool, data: st.DataObject
) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    axes = data.draw(st.lists(st.integers(0, x.ndim - 1), unique=True))
    axis = data.draw(st.sampled_from([None, tuple(axes), tuple(a - x.ndim for a in axes), x.ndim - 1]))
    y = op(x, axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(y, numpys(x, axis=axis, keepdims=keepdims), rtol=1e-13, atol=1e-15)
    assert pulled(op, x, axis=axis, keepdims=keepdims).shape == x.shape
    assert not np.shares_memory(x, y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ALL, ids=repr)
def test_dtypes_stay_and_large_numbers_warn_of_nothing(op: pn.Op, dtype: Any) -> None:
    x = np.array([[1e4, -1e4, 1e4], [-1e4, 0.5, 1e4]], dtype)
    y, pullback = pn.vjp(op, x, axis=1)
    dx = pullback(np.ones_like(y))[0]
    assert y.dtype == dx.dtype == x.dtype
    assert not np.isnan(y.astype(float)).any()
    assert not np.isnan(dx.astype(float)).any()


# ------------------------------------------------------------------------------------------------- edge by edge


def test_nothing_has_a_sum_a_mean_a_length_and_a_product_but_no_largest_entry() -> None:
    x = np.zeros((0, 3))
    for op, value in (
        (reductions.sum, 0),
        (reductions.mean, 0),
        (reductions.var, 0),
        (reductions.std, 0),
        (reductions.norm, 0),
        (reductions.prod, 1),
    ):
        np.testing.assert_array_equal(op(x, axis=0), np.full(3, value))
        assert pulled(op, x, axis=0).shape == (0, 3)
    for op in (reductions.max, reductions.min):
        with pytest.raises(ValueError, match=f"{op.name}: there is no entry along axis 0"):
            op(x, axis=0)
        assert op(x, axis=1).shape == (0,)


@pytest.mark.parametrize("op", REDUCING, ids=repr)
def test_a_number_is_reduced_over_no_axes(op: pn.Op) -> None:
    y = op(np.array(2.0))
    assert isinstance(y, np.ndarray)
    assert y.shape == pulled(op, 2.0).shape == ()


@pytest.mark.parametrize("op", [reductions.max, reductions.min], ids=repr)
def test_ties_share_and_nan_takes_all(op: pn.Op) -> None:
    np.testing.assert_array_equal(pulled(op, np.full((2, 3), 7.0), axis=1), np.full((2, 3), 1 / 3))
    np.testing.assert_array_equal(pulled(op, np.full((2, 2), 7.0)), np.full((2, 2), 1 / 4))
    x = np.array([1.0, np.nan, 3.0])
    assert np.isnan(op(x))
    np.testing.assert_array_equal(pulled(op, x), [0, 1, 0])


@pytest.mark.parametrize("number", [0.1, 1 / 3, 1e4 + 0.1, -1e-300])
@pytest.mark.parametrize("n", [2, 3, 7, 100])
def test_equal_entries_do_not_deviate_at_all(number: float, n: int) -> None:
    x = np.full((n, 2), number)
    for op in (reductions.var, reductions.std):
        np.testing.assert_array_equal(op(x, axis=0), 0)
        np.testing.assert_array_equal(pulled(op, x, axis=0), 0)


def test_deviations_from_a_large_mean_keep_their_digits() -> None:
    x = 1e8 + np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(reductions.var(x), 1.25, rtol=1e-15)
    np.testing.assert_allclose(pulled(reductions.var, x), [-0.75, -0.25, 0.25, 0.75], rtol=1e-15)


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e200, 1.7e308])
def test_lengths_neither_overflow_nor_vanish(size: float) -> None:
    x = size * np.array([0.6, -0.8])
    np.testing.assert_allclose(reductions.norm(x), size, rtol=1e-3 if size < 1e-300 else 1e-15)
    np.testing.assert_allclose(pulled(reductions.norm, x), [0.6, -0.8], rtol=1e-3 if size < 1e-300 else 1e-15)


@pytest.mark.parametrize(("order", "value", "slope"), [
    (1, 8.0, [1, -1, 1]),
    (2, math.sqrt(26), np.array([3, -4, 1]) / math.sqrt(26)),
    (3, 92 ** (1 / 3), np.array([9, -16, 1]) / 92 ** (2 / 3)),
    (np.inf, 4.0, [0, -1, 0]),
])  # fmt: skip
def test_norms_of_any_order(order: float, value: float, slope: Any) -> None:
    x = np.array([3.0, -4.0, 1.0])
    np.testing.assert_allclose(reductions.norm(x, ord=order), value, rtol=1e-15)
    np.testing.assert_allclose(pulled(reductions.norm, x, ord=order), slope, rtol=1e-14)
    np.testing.assert_array_equal(pulled(reductions.norm, np.zeros(3), ord=order), 0)


def products_of_others(x: Array) -> Array:
    return np.array([math.prod(np.delete(x, i)) for i in range(x.size)])


@FEW
@given(x=hnp.arrays(np.float64, st.integers(1, 9), elements=st.sampled_from([0.0, 1.0, -2.0, 0.5, 3.0, -1.5])))
def test_products_with_any_zeros(x: Array) -> None:
    np.testing.assert_allclose(pulled(reductions.prod, x), products_of_others(x), rtol=1e-14)
    dy = np.random.default_rng(0).normal(size=x.size)
    ours = np.zeros_like(x)
    for k in range(x.size):
        ours[: k + 1] += dy[k] * products_of_others(x[: k + 1])
    np.testing.assert_allclose(pulled(reductions.cumprod, x, dy), ours, rtol=1e-12, atol=1e-12)


def test_products_that_vanish_have_gradients_that_do_not() -> None:
    x = np.array([1e-200, 1e-200, 1e300])
    assert reductions.prod(x[:2]) == 0
    np.testing.assert_array_equal(pulled(reductions.prod, x[:2]), [1e-200, 1e-200])
    np.testing.assert_allclose(pulled(reductions.cumprod, x, [0.0, 0.0, 1.0]), [1e100, 1e100, 0], rtol=1e-15)


def test_a_long_sum_on_the_way_keeps_its_digits_in_float32() -> None:
    x = np.random.default_rng(0).uniform(size=200_000).astype(np.float32)
    true = np.cumsum(x.astype(np.float64))
    np.testing.assert_allclose(reductions.cumsum(x), true, rtol=1e-7)
    np.testing.assert_allclose(pulled(reductions.cumsum, x, x), np.cumsum(x[::-1].astype(np.float64))[::-1], rtol=1e-7)


@pytest.mark.parametrize("ddof", [0, 1, 0.5])
def test_the_cross_terms_of_a_variance_cancel(ddof: float) -> None:
    x = np.random.default_rng(0).normal(size=(5, 3))
    gradient = pulled(reductions.var, x, axis=0, ddof=ddof)
    np.testing.assert_allclose(gradient.sum(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(gradient, 2 * (x - x.mean(axis=0)) / (5 - ddof), rtol=1e-13)


def test_one_entry_has_no_unbiased_variance() -> None:
    with pytest.raises(ValueError, match="var: ddof must be less than the 1 entries along axis 0, got 1"):
        reductions.var(np.zeros((1, 3)), axis=0, ddof=1)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_not_a_number_makes_the_gradient_of_a_norm_none(p: float) -> None:
    with np.errstate(invalid="ignore"):
        y, pullback = pn.vjp(pn.norm, np.array([np.nan, 1.0, 2.0]), ord=p)
        (dx,) = pullback(np.ones(()))
    assert np.isnan(y)
    assert np.isnan(dx).sum() == (1 if p == 1 else 3)  # for ord 1 the others have a slope of their own


@pytest.mark.parametrize("size", [1, 200])
def test_rows_of_a_running_product_in_several_blocks_give_the_same(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, dy = np.random.default_rng(0).normal(size=(2, 40, 30, 9))
    whole = runs.sums_of_rest(x, dy)
    monkeypatch.setattr(runs, "BLOCK", size)
    np.testing.assert_array_equal(runs.sums_of_rest(x, dy), whole)
    x[3, 4, 5:7] = 1e300  # their product is infinite, and 0 times that no number
    assert runs.sums_of_rest(x, dy) is None
