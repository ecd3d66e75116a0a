"""Diagnoses of norms whose backward pass divides by another deviation than the forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.oracle.planted import Array, found, normal

X, GAMMA = normal(3, 5), normal(5)
EPS = 1e-2


def mean(t: Array) -> Any:
    return t.mean(-1, keepdims=True)


def norm_with(wrong: Callable[[Array, Array], Any], *, beside: bool = False) -> Any:
    """A layer norm; `wrong` makes the deviation of its backward pass of the variance and the right deviation."""

    def norm_fwd(x: Array) -> Any:
        c = x - mean(x)
        v = mean(c * c)
        s = np.sqrt(v) + EPS if beside else np.sqrt(v + EPS)
        return c / s * GAMMA, (c, v, s)

    def norm_bwd(kept: Any, dy: Array) -> Any:
        c, v, s = kept
        d, s = dy * GAMMA, wrong(v, s)
        h = c / s
        return ((d - mean(d) - h * mean(d * h)) / s,)

    return norm_fwd, norm_bwd


def inverse_with(wrong: Callable[[Array], Any]) -> Any:
    """A norm by the root of the mean square, as a power of -1/2."""

    def inverse_fwd(x: Array) -> Any:
        m = mean(x * x)
        return x * (m + EPS) ** -0.5, (x, m)

    def inverse_bwd(kept: Any, dy: Array) -> Any:
        x, m = kept
        r = 1 / wrong(m)
        return (r * dy - x * r**3 * mean(dy * x),)

    return inverse_fwd, inverse_bwd


CASES = {
    "without eps": (norm_with(lambda v, s: np.sqrt(v)), "with 0 for the 0.01 that enters `add` in line "),
    "another eps": (norm_with(lambda v, s: np.sqrt(v + 1e-5)), "with 1e-05 for the 0.01 that enters `add` in line "),
    "beside the root": (
        norm_with(lambda v, s: np.sqrt(v) + EPS),
        "with the 0.01 added to the root and not under it, at `sqrt` ",
    ),
    "under the root": (
        norm_with(lambda v, s: np.sqrt(v + EPS), beside=True),
        "with the 0.01 under the root and not added to it, at `sqrt` ",
    ),
    "over n - 1": (norm_with(lambda v, s: np.sqrt(v * 1.25 + EPS)), "with a variance over 4 for 5, at `sqrt` in line "),
    "of a power": (inverse_with(lambda m: np.sqrt(m) + EPS), "with the 0.01 added to the root and not under it, at `power` "),
}


@pytest.mark.parametrize("name", CASES)
def test_another_deviation_is_named(name: str) -> None:
    pair, said = CASES[name]
    assert found(pair, X)[1].startswith(f"another deviation: x is the gradient {said}")


@pytest.mark.parametrize(
    "wrong", [lambda v, s: np.sqrt(v * 1.1 + EPS), lambda v, s: np.sqrt(v + 3e-3), lambda v, s: np.sqrt(v) + 2 * EPS]
)
def test_a_deviation_of_another_kind_is_not(wrong: Callable[[Array, Array], Any]) -> None:
    assert "another deviation" not in found(norm_with(wrong), X)[1]
