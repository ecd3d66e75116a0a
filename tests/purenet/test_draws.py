"""Draws with a gradient: their distributions, what a key and noise do, the digits of the divergence that goes with them."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import purenet as pn

KEY = pn.random.key(0)
LOGITS = np.log([1.0, 2.0, 5.0])


def test_the_moments_of_a_code() -> None:
    y = pn.reparametrize(np.full(100_000, 3.0), np.full(100_000, np.log(4.0)), key=KEY)
    assert abs(y.mean() - 3) < 0.02
    assert abs(y.std() - 2) < 0.02


def test_the_gradient_of_a_mean_square_is_that_of_its_formula() -> None:
    """The mean of y^2 is m^2 + exp(v): its slopes are 2 m and exp(v)."""
    m, v = np.full(400_000, 0.75), np.full(400_000, np.log(0.5))
    y, pullback = pn.vjp(pn.reparametrize, m, v, key=KEY)
    dm, dv = pullback(2 * y / len(y))
    assert abs(dm.sum() - 1.5) < 0.01
    assert abs(dv.sum() - 0.5) < 0.01


@pytest.mark.parametrize("tau", [0.25, 1.0, 4.0])
def test_the_largest_is_a_draw_from_the_softmax(tau: float) -> None:
    many = np.tile(LOGITS, (50_000, 1))
    soft, hard = (pn.gumbel_softmax(many, key=KEY, tau=tau, hard=hard) for hard in (False, True))
    np.testing.assert_allclose(soft.sum(axis=-1), 1, rtol=1e-14)
    np.testing.assert_array_equal(hard, soft == soft.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(hard.mean(axis=0), [0.125, 0.25, 0.625], atol=0.01)


def test_the_choice_has_the_gradient_of_the_soft_one() -> None:
    x, dy = np.random.default_rng(0).normal(size=(2, 4, 3))
    for axis in (0, 1):
        found = [pn.vjp(pn.gumbel_softmax, x, key=KEY, tau=0.5, axis=axis, hard=hard)[1](dy)[0] for hard in (False, True)]
        np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_key_draws_the_same_in_every_dtype(dtype: Any) -> None:
    x = np.tile(LOGITS, (200, 1))
    hard = pn.gumbel_softmax(x.astype(dtype), key=KEY, hard=True)
    assert hard.dtype == dtype
    assert (hard.astype(float) != pn.gumbel_softmax(x, key=KEY, hard=True)).any(axis=-1).mean() < 0.02  # near ties
    y = pn.reparametrize(x.astype(dtype), np.zeros_like(x, dtype), key=KEY)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.astype(float), pn.reparametrize(x, np.zeros_like(x), key=KEY), rtol=0.01, atol=0.02)


def test_the_key_is_that_of_the_distributions() -> None:
    np.testing.assert_array_equal(pn.reparametrize(np.zeros(5), np.zeros(5), key=KEY), pn.random.normal(KEY, (5,)))
    g = pn.random.gumbel(KEY, (2, 3))
    np.testing.assert_array_equal(pn.gumbel_softmax(np.zeros((2, 3)), key=KEY), pn.softmax(g))


@pytest.mark.parametrize("v", [1e-300, -1e-12, 1e-6, -0.5, 3.0])
def test_the_divergence_of_nearly_equal_distributions_keeps_the_digits_of_its_gradient(v: float) -> None:
    with localcontext() as context:
        context.prec = 700
        wanted = float((Decimal(v).exp() - 1) / 2)
    value, pullback = pn.vjp(pn.vae_kl, np.zeros(1), np.array([v]))
    assert value >= 0
    np.testing.assert_allclose(pullback(1.0)[1], [wanted], rtol=3e-16)
