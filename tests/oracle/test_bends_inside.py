"""Functions that compute in float32 inside, at points where their second derivative jumps: softsign and ELU at 0, Huber at 1.

Their differences have a term in h |h|, which a polynomial in odd powers of h takes for part of the slope.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oracle.verification import verify
from tests.oracle.planted import Array, Function, Pair

f = np.float32

BENT: dict[str, tuple[Function, Function]] = {
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: np.where(x > 0, f(1), np.exp(x))),
    "huber": (lambda x: np.where(abs(x) < 1, x * x / 2, abs(x) - f(0.5)), lambda x: np.clip(x, -1, 1)),
    "squared relu": (lambda x: np.maximum(x, 0) ** 2, lambda x: 2 * np.maximum(x, 0)),
    "signed square": (lambda x: x * abs(x), lambda x: 2 * abs(x)),
    "signed root": (lambda x: np.sign(x) * (np.sqrt(1 + abs(x)) - 1), lambda x: f(0.5) / np.sqrt(1 + abs(x))),
}


def pair(name: str, factor: float) -> Pair:
    value, slope = BENT[name]

    def fwd(x: Array) -> tuple[Any, Any]:
        return np.asarray(value(x.astype(f))).astype(x.dtype), x

    def bwd(x: Array, dy: Array) -> tuple[Any]:
        return (np.asarray(f(factor) * slope(x.astype(f)) * dy.astype(f)).astype(x.dtype),)

    return fwd, bwd


def point(kind: str, seed: int) -> Array:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((2, 3))
    return 1e-3 * x if kind == "near 0" else np.where(generator.random(x.shape) < 0.5, 0.0 if kind == "zeros" else 1.0, x)


IN_TURN = [(name, kind, (i + k) % 2) for i, name in enumerate(BENT) for k, kind in enumerate(("zeros", "ones", "near 0"))]
"""Every function at every kind of point, with one of two seeds: each of these has a dtype of its own."""


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(("name", "kind", "seed"), IN_TURN)
def test_a_bend_is_no_slope(name: str, kind: str, seed: int) -> None:
    x = point(kind, seed).astype(np.float64 if seed else f)
    result = verify(pair(name, 1.0), x, seed=seed)
    assert result.passed, str(result)
    assert not verify(pair(name, 1.01), x, seed=seed).passed
