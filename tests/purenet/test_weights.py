"""Normalized weights: power iterations find the largest singular value, torch's numbers, lengths and zeros."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import purenet as pn

W = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -3.0]])
STATE = pn.SingularVectors(np.array([1.0, 0.5]), np.array([0.5, 1.0, -1.0]))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_many_iterations_find_the_largest_singular_value(axis: int) -> None:
    state = STATE if axis == 0 else STATE[::-1]
    y, (u, v) = pn.spectral_norm(W, state=state, axis=axis, n_power_iterations=100)
    assert np.linalg.norm(y, 2) == pytest.approx(1, rel=1e-14)
    assert np.linalg.norm(u) == pytest.approx(1, rel=1e-14)
    matrix = W if axis == 0 else W.T
    np.testing.assert_allclose(matrix @ v, np.linalg.norm(W, 2) * u, rtol=1e-13)


def test_the_gradient_is_the_derivative_where_the_vectors_have_converged() -> None:
    dy = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])
    _, pullback = pn.vjp(pn.spectral_norm, W, state=STATE, n_power_iterations=200)
    (dw,) = pullback((dy, pn.SingularVectors(np.ones(2), np.ones(3))))
    step = 1e-6 * np.array([[1.0, 2.0, -1.0], [0.5, -1.0, 3.0]])
    ends = [np.sum(dy * (w / np.linalg.norm(w, 2))) for w in (W - step, W + step)]
    assert np.sum(dw * step) == pytest.approx((ends[1] - ends[0]) / 2, rel=1e-8)


def test_iterations_go_on_where_the_last_call_stopped() -> None:
    (_, at_once), state = pn.spectral_norm(W, state=STATE, n_power_iterations=3), STATE
    for _ in range(3):
        _, state = pn.spectral_norm(W, state=state)
    _, still = pn.spectral_norm(W, state=state, n_power_iterations=0)
    np.testing.assert_array_equal(np.concatenate(at_once), np.concatenate(state))
    np.testing.assert_array_equal(np.concatenate(still), np.concatenate(state))


def test_torch_gives_the_same() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(3, 2, dtype=torch.float64), n_power_iterations=2)
    state = tuple(s.clone().numpy() for s in (layer.parametrizations.weight[0]._u, layer.parametrizations.weight[0]._v))
    w = layer.parametrizations.weight.original
    theirs = layer.weight
    (gradient,) = torch.autograd.grad(theirs.sum(), w)
    (y, new), pullback = pn.vjp(pn.spectral_norm, w.detach().numpy(), state=state, n_power_iterations=2)
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-13)
    np.testing.assert_allclose(new.u, layer.parametrizations.weight[0]._u.numpy(), rtol=1e-13)
    np.testing.assert_allclose(pullback((np.ones_like(y), new))[0], gradient.numpy(), rtol=1e-12)


def test_zeros_stay_zeros() -> None:
    zeros = np.zeros((2, 3))
    for op, options in ((pn.spectral_norm, {"state": STATE}), (pn.weight_standardization, {"eps": 0.0})):
        y: Any = op(zeros, **options)
        np.testing.assert_array_equal(y[0] if isinstance(y, tuple) else y, zeros)
    y, pullback = pn.vjp(pn.weight_norm, zeros, np.ones((2, 1)))
    np.testing.assert_array_equal(y, zeros)
    np.testing.assert_array_equal(pullback(np.ones((2, 3)))[0], zeros)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_dtypes_stay(dtype: Any) -> None:
    w = W.astype(dtype)
    (y, state), pullback = pn.vjp(pn.spectral_norm, w, state=STATE)
    assert y.dtype == state.u.dtype == state.v.dtype == pullback((y, state))[0].dtype == dtype
    assert pn.weight_norm(w, np.ones((2, 1), dtype)).dtype == pn.weight_standardization(w).dtype == dtype
