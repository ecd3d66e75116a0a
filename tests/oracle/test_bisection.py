"""Diagnoses of large arguments, of which the differences test most entries only along directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from oracle import Verdict, verify
from oracle.verification import Verification
from tests.oracle.planted import Array, Pair, normal, row

X, W1, W2 = normal(8, 30), normal(30, 40) / 6, normal(40, 5) / 6


def net(wrong: Callable[[Array], Any] = lambda dw: dw) -> Pair:
    """A loss of two layers; `wrong` changes the gradient of the first one's weights."""

    def net_fwd(w1: Array, w2: Array, *, x: Array) -> Any:
        hidden = np.tanh(x @ w1)
        return ((hidden @ w2) ** 2).mean(), (w2.copy(), x.copy(), hidden)

    def net_bwd(r: Any, dy: Any) -> Any:
        w2, x, hidden = r
        up = 2 * dy * (hidden @ w2) / (len(x) * w2.shape[1])
        dw1 = x.T @ (up @ w2.T * (1 - hidden**2))
        return wrong(dw1), hidden.T @ up

    return net_fwd, net_bwd


def verified(wrong: Callable[[Array], Any] = lambda dw: dw) -> Verification:
    return verify(net(wrong), W1, W2, options={"x": X}, limit=256)


def changed(where: Any, factor: float) -> Callable[[Array], Array]:
    def wrong(dw: Array) -> Array:
        dw = dw.copy()
        dw[where] *= factor
        return dw

    return wrong


HOW = " (found by bisection)"


@pytest.mark.parametrize(
    ("where", "factor", "place"),
    [
        (27, 2.0, f"index 27 of axis 0{HOW}; there it is 2 times the true one"),
        ((slice(None), 31), 0.0, f"index 31 of axis 1{HOW}; there it is zero"),
        ((slice(None), [2, 35]), -1.0, f"indices 2, 35 of axis 1{HOW}; there it is -1 times the true one"),
        (([5, 6], 3), 1.5, f"indices 5, 6 of axis 0 and index 3 of axis 1{HOW}; there it is 1.5 times the true one"),
    ],
    ids=["row", "column", "columns", "two entries"],
)
def test_a_wrong_place_is_found(where: Any, factor: float, place: str) -> None:
    only = row(verified(changed(where, factor)), "w1")
    assert only.verdict is Verdict.FAIL
    assert only.diagnosis == f"one place: w1 is wrong only at {place}"


@pytest.mark.parametrize("factor", [2.0, 1.001])
def test_a_single_wrong_entry_outside_the_sample_is_found(factor: float) -> None:
    only = row(verified(changed((21, 17), factor)), "w1")
    assert only.verdict is Verdict.FAIL
    assert only.diagnosis.startswith("a single entry is wrong: w1[21, 17] is ")
    ours, _, _, true = only.diagnosis.partition("] is ")[2].split()[:4]
    assert float(ours) == pytest.approx(factor * float(true), rel=1e-6)
    assert only.diagnosis.endswith(f" for dy = 1{HOW}")


def test_a_wrong_entry_of_the_sample_is_not_called_single_if_others_are_wrong() -> None:
    def one_row(dw: Array) -> Array:
        dw = dw.copy()
        dw[np.abs(dw).max(axis=1).argmax()] *= 3  # the largest entry is in every sample
        return dw

    only = row(verified(one_row), "w1")
    assert only.diagnosis.startswith("one place: w1 is wrong only at ")
    assert only.diagnosis.endswith("; there it is 3 times the true one")


def test_a_right_gradient_and_one_that_is_wrong_everywhere_have_no_wrong_place() -> None:
    assert verified().passed
    assert row(verified(lambda dw: 2 * dw), "w1").diagnosis.startswith("constant factor: w1 is 2 times the true gradient")
    noise = np.random.default_rng(1).normal(size=W1.shape)
    assert row(verified(lambda dw: dw * (1 + 0.1 * noise)), "w1").diagnosis.startswith("no known cause")


def test_a_wrong_entry_of_a_vector_is_found() -> None:
    x = normal(1000)

    def wrong(x: Array, dy: Array) -> Any:
        dx = 3 * x**2 * dy
        dx[747] *= 1.01
        return (dx,)

    only = row(verify((lambda x: (x**3, x.copy()), wrong), x, limit=256))
    assert only.diagnosis.startswith("a single entry is wrong: x[747] is ")
