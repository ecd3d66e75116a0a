"""Dropout and noise: JAX's masks, the two places to scale, moments, what is the identity."""

from __future__ import annotations

from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest

import purenet as pn
from purenet.op import vjp
from purenet.stochastic import (
    alpha_dropout,
    drop_connect,
    dropout,
    gaussian_dropout,
    gaussian_noise,
    spatial_dropout,
    stochastic_depth,
)

KEY = pn.random.key(7)
DROPPING = [dropout, spatial_dropout, stochastic_depth, alpha_dropout]
X = np.random.default_rng(0).normal(size=(6, 5, 4))


def mask_of_jax(rate: float, shape: tuple[int, ...]) -> Any:
    with jax.enable_x64(True):
        return np.asarray(jax.random.bernoulli(jax.random.wrap_key_data(np.asarray(KEY)), 1 - rate, shape))


@pytest.mark.parametrize("rate", [0.0, 0.1, 1 / 3, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(), (40, 5)])
def test_the_mask_is_that_of_jax_for_the_same_key(rate: float, shape: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(dropout(np.ones(shape), rate=rate, key=KEY, inverted=False), mask_of_jax(rate, shape))


def test_the_masks_of_channels_samples_and_weights_are_those_of_jax() -> None:
    kept = mask_of_jax(0.25, (6, 5))
    np.testing.assert_array_equal(spatial_dropout(np.ones_like(X), rate=0.25, key=KEY)[..., 1], kept / 0.75)
    kept = mask_of_jax(0.25, (6,))
    np.testing.assert_array_equal(stochastic_depth(np.ones_like(X), rate=0.25, key=KEY)[:, 3, 2], kept / 0.75)
    kept = mask_of_jax(0.5, (1,))
    np.testing.assert_array_equal(stochastic_depth(np.ones(3), rate=0.5, mode="batch", key=KEY), np.repeat(kept, 3) / 0.5)
    kept = mask_of_jax(0.25, (5, 4))
    np.testing.assert_allclose(
        drop_connect({"w": X[0]}, np.eye(5), rate=0.25, key=KEY), np.where(kept, X[0] / 0.75, 0), rtol=1e-15
    )


@pytest.mark.parametrize("op", [*DROPPING, gaussian_dropout], ids=repr)
@pytest.mark.parametrize("options", [{}, {"rate": 0.0, "key": KEY}], ids=["no key", "rate 0"])
def test_the_identity_is_a_copy(op: pn.Op, options: Any) -> None:
    y, pullback = vjp(op, X, **options)
    np.testing.assert_array_equal(y, X)
    np.testing.assert_array_equal(pullback(X)[0], X)
    assert not np.shares_memory(y, X)


@pytest.mark.parametrize("op", DROPPING, ids=repr)
def test_rate_1_gives_zeros(op: pn.Op) -> None:
    y, pullback = vjp(op, X, rate=1.0, key=KEY)
    np.testing.assert_array_equal(y, np.zeros_like(X))
    np.testing.assert_array_equal(pullback(X)[0], np.zeros_like(X))


@pytest.mark.parametrize("op", DROPPING, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_the_mask_does_not_depend_on_the_dtype(op: pn.Op, dtype: Any) -> None:
    wide, _ = vjp(op, X, rate=0.3, key=KEY)
    narrow, _ = vjp(op, X.astype(dtype), rate=0.3, key=KEY)
    assert narrow.dtype == dtype
    np.testing.assert_allclose(narrow.astype(np.float64), wide, rtol=0.02, atol=0.02)


def test_the_book_scales_at_inference() -> None:
    x = np.array([2.0, 4.0, 6.0])
    np.testing.assert_array_equal(dropout(x, mask=np.array([True, False, True]), inverted=False), [2, 0, 6])
    y, pullback = vjp(dropout, x, rate=0.25, inverted=False)
    np.testing.assert_array_equal(y, [1.5, 3, 4.5])
    np.testing.assert_array_equal(pullback(x)[0], [1.5, 3, 4.5])


@pytest.mark.parametrize("op", DROPPING, ids=repr)
def test_what_is_dropped_may_be_anything(op: pn.Op) -> None:
    x = np.array([[[np.nan]], [[np.inf]], [[1.0]]])
    mask = np.array([False, False, True]).reshape({"stochastic_depth": (3,), "spatial_dropout": (3, 1)}.get(op.name, (3, 1, 1)))
    y, pullback = vjp(op, x, rate=0.5, mask=mask)
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(pullback(np.where(np.isnan(x), np.nan, x))[0][:2], np.zeros((2, 1, 1)))


@pytest.mark.parametrize("op", DROPPING, ids=repr)
@pytest.mark.parametrize("rate", [0.5, 1.0])
def test_what_is_dropped_raises_no_warning(op: pn.Op, rate: float) -> None:
    x = np.array([[[np.inf]], [[1.5e308]], [[-np.inf]]])
    mask = np.zeros({"stochastic_depth": (3,), "spatial_dropout": (3, 1)}.get(op.name, (3, 1, 1)), np.bool_)
    y, pullback = vjp(op, x, rate=rate, mask=mask)
    assert np.unique(y).size == 1
    assert abs(y[0, 0, 0]) < 1
    np.testing.assert_array_equal(pullback(x)[0], np.zeros_like(x))


@pytest.mark.parametrize("op", DROPPING, ids=repr)
def test_rate_1_gives_zeros_whatever_a_mask_keeps(op: pn.Op) -> None:
    x = np.full((2, 1, 1), np.inf)
    mask = np.array([True, False]).reshape({"stochastic_depth": (2,), "spatial_dropout": (2, 1)}.get(op.name, (2, 1, 1)))
    np.testing.assert_array_equal(op(x, rate=1.0, mask=mask), np.zeros_like(x))


def test_the_book_s_inference_at_rate_1_gives_zeros() -> None:
    np.testing.assert_array_equal(dropout(np.array([np.inf, 1.0]), rate=1.0, inverted=False), [0, 0])


@pytest.mark.parametrize("op", [*DROPPING, gaussian_dropout], ids=repr)
def test_what_is_no_key_is_named(op: pn.Op) -> None:
    with pytest.raises(TypeError, match=rf"^{op.name}: key must be a NumPy array of dtype uint32 and shape \(2,\), got int"):
        op(X, key=0)
    with pytest.raises(ValueError, match=rf"^{op.name}: key must have shape \(2,\), got \(2, 2\)"):
        op(X, key=pn.random.split(KEY))


def test_what_is_no_key_is_named_beside_other_arguments() -> None:
    with pytest.raises(TypeError, match=r"^gaussian_noise: key must be a NumPy array of dtype"):
        gaussian_noise(X, stddev=0.1, key=0)
    with pytest.raises(TypeError, match=r"^drop_connect: key must be a NumPy array of dtype"):
        drop_connect({"w": X[0]}, X[1].T, key=0)


def test_a_mask_may_change_after_the_forward_pass() -> None:
    mask = np.array([True, False])
    _, pullback = vjp(dropout, np.ones(2), mask=mask)
    mask[:] = True
    np.testing.assert_array_equal(pullback(np.ones(2))[0], [2, 0])


def test_the_whole_batch_is_kept_or_dropped() -> None:
    y = stochastic_depth(np.ones((50, 3)), mode="batch", key=KEY)
    assert np.unique(y).size == 1


def test_moments() -> None:
    z = pn.random.normal(pn.random.key(1), (200_000,))
    y = alpha_dropout(z, rate=0.2, key=KEY)
    assert abs(y.mean()) < 0.01
    assert abs(y.var() - 1) < 0.01
    ones = np.ones_like(z)
    for op in (dropout, gaussian_dropout):  # the variance of gaussian_dropout is that of dropout
        y = op(ones, rate=0.2, key=KEY)
        assert abs(y.mean() - 1) < 0.01
        assert abs(y.var() - 0.25) < 0.01
    y = gaussian_noise(ones, stddev=0.3, key=KEY)
    assert abs(y.mean() - 1) < 0.01
    assert abs(y.std() - 0.3) < 0.01


def test_the_floor_of_alpha_dropout_is_the_limit_of_selu() -> None:
    y = alpha_dropout(np.zeros(2), rate=0.3, mask=np.array([True, False]))
    with jax.enable_x64(True):
        limit = float(jax.nn.selu(-1e4))
    variance = 0.7 * (1 + 0.3 * limit**2)
    np.testing.assert_allclose(y, (np.array([0.0, limit]) - 0.3 * limit) / np.sqrt(variance), rtol=1e-14)


def test_drop_connect_without_a_key_is_affine() -> None:
    params = {"w": X[0], "b": X[0, 0]}
    np.testing.assert_array_equal(drop_connect(params, X[1].T), pn.affine(params, X[1].T))


def test_a_mask_and_a_rate_are_independent() -> None:
    np.testing.assert_array_equal(dropout(np.ones(2), rate=0.75, mask=np.array([True, False])), [4, 0])
