"""Gradients whose entries are small beside rounding: means of many terms, zero before a norm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oracle.row import Verdict
from oracle.verification import verify
from tests.oracle.planted import Array, Pair

F = np.float32
NEED_NO_CAUSE = pytest.mark.usefixtures("undiagnosed")


def mean_of_cross_entropies(factor: float, target: Array) -> Pair:
    """A mean over all entries that computes in float32, whose gradient is `factor` times the true one."""

    def fwd(x: Array) -> Any:
        z = x.astype(F)
        loss = (np.maximum(z, 0) - z * target + np.log1p(np.exp(-np.abs(z)))).mean(dtype=F)
        return np.asarray(loss, x.dtype), (z, x.dtype)

    def bwd(residuals: Any, dy: Array) -> tuple[Array]:
        z, dtype = residuals
        share = F(factor) * dy.astype(F) / F(z.size)
        return (((1 / (1 + np.exp(-z)) - target) * share).astype(dtype),)

    return fwd, bwd


@NEED_NO_CAUSE
@pytest.mark.parametrize("size", [1e-3, 1.0])
@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.PASS), (1.02, Verdict.FAIL)])
def test_a_mean_of_many_terms_in_float32_is_measured_along_all_of_them(factor: float, verdict: Verdict, size: float) -> None:
    generator = np.random.default_rng(0)
    x, target = size * generator.standard_normal((50, 50)), F(generator.standard_normal((50, 50)) > 0)
    row = verify(mean_of_cross_entropies(factor, target), x).rows[0]
    assert row.verdict is verdict, row.diagnosis
    if verdict is Verdict.PASS and row.resolution is not None and row.resolution > 1:
        assert "not tested alone" in row.diagnosis
        assert "errors above" not in row.diagnosis


def biased_before_a_norm(*, norm_in_backward: bool) -> Pair:
    """x + b, each column normed: b has no effect. Without the norm's own derivative its gradient is the incoming one."""

    def fwd(x: Array, b: Array) -> Any:
        z = x + b
        rate = 1 / np.sqrt(z.var(0) + x.dtype.type(1e-5))
        h = (z - z.mean(0)) * rate
        return h, (h, rate)

    def bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
        h, rate = residuals
        dz = (dy - dy.mean(0) - h * (dy * h).mean(0)) * rate
        return dz, (dz if norm_in_backward else dy * rate).sum(0)

    return fwd, bwd


@NEED_NO_CAUSE
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_rounding_leaves_of_a_large_bias_before_a_norm_is_zero(dtype: type, seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, b = generator.standard_normal((40, 3)).astype(dtype), (100 * generator.standard_normal(3)).astype(dtype)
    for right, verdict in ((True, Verdict.VACUOUS), (False, Verdict.FAIL)):
        result = verify(biased_before_a_norm(norm_in_backward=right), x, b)
        assert [row.verdict for row in result.rows if row.parameter == "b"] == [verdict], str(result)
        assert all(row.passed for row in result.rows if row.parameter == "x"), str(result)
