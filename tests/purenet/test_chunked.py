"""The cross entropy of an affine map, a few rows at a time: its memory, its equality with the two ops, ignored rows."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import purenet as pn

RANDOM = np.random.default_rng(0)


def test_the_logits_of_all_rows_never_exist_together() -> None:
    params = {"w": RANDOM.normal(size=(2, 1000))}
    x, labels = RANDOM.normal(size=(500, 2)), RANDOM.integers(0, 1000, 500)
    tracemalloc.start()
    try:
        _, pullback = pn.vjp(pn.linear_cross_entropy, params, x, labels=labels, chunk=20)
        pullback(1.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500 * 1000 * 8 / 3  # bytes: a third of all logits


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_it_is_softmax_cross_entropy_after_affine(chunk: int) -> None:
    params: Any = {"w": RANDOM.normal(size=(3, 4)), "b": RANDOM.normal(size=4)}
    x, labels = RANDOM.normal(size=(7, 3)), RANDOM.integers(0, 4, 7)
    value, (dparams, dx) = (
        pn.linear_cross_entropy(params, x, labels=labels, chunk=chunk),
        (pn.vjp(pn.linear_cross_entropy, params, x, labels=labels, chunk=chunk)[1](1.0)),
    )
    goal = pn.chain(affine=pn.affine, loss=pn.softmax_cross_entropy)
    wanted, residuals = goal.fwd({"affine": params}, x, loss={"labels": labels})
    grads, wanted_dx = goal.bwd(residuals, 1.0)
    np.testing.assert_allclose(value, wanted, rtol=1e-14)
    np.testing.assert_allclose(dx, wanted_dx, rtol=1e-12, atol=1e-15)
    for name in params:
        np.testing.assert_allclose(dparams[name], grads["affine"][name], rtol=1e-12, atol=1e-15)


def test_an_ignored_row_may_hold_anything() -> None:
    params = {"w": RANDOM.normal(size=(3, 4))}
    x, labels = RANDOM.normal(size=(4, 3)), np.array([1, -1, 0, 3])
    x[1] = np.nan
    y, pullback = pn.vjp(pn.linear_cross_entropy, params, x, labels=labels, ignore_index=-1)
    dparams, dx = pullback(1.0)
    assert np.isfinite(y)
    assert np.isfinite(dparams["w"]).all()
    assert not dx[1].any()
