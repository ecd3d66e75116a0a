"""Hypotheses with values of other shapes, orders and misplaced factors; and the budget of evaluations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from oracle import verify
from oracle.diagnosis.jacobian import BUDGET, Budget
from oracle.row import Verdict
from tests.oracle.planted import Array, Pair, causes, normal, row, signed

alone_and_with_jax = pytest.mark.parametrize("witness", ["alone", "JAX"])


# ------------------------------------------------------------------------------------------------- other shapes


def windows(backward: Callable[[Array, Array, int], Array]) -> Pair:
    """The square of every window of two entries, summed."""

    def windows_fwd(x: Array, *, stride: int = 1) -> Any:
        return (x**2)[:, :-1:stride] + (x**2)[:, 1::stride], (x.copy(), stride)

    return windows_fwd, lambda r, dy: (backward(r[0], dy, r[1]),)


def starting_at(starts: Array, x: Array, dy: Array) -> Array:
    dx = np.zeros_like(x)
    for k in (0, 1):
        np.add.at(dx, (slice(None), starts + k), dy)
    return 2 * x * dx


@alone_and_with_jax
def test_an_ignored_stride_that_changes_the_shape_is_named(witness: str) -> None:
    op = windows(lambda x, dy, stride: starting_at(np.arange(dy.shape[1]), x, dy))
    reference = None if witness == "alone" else lambda x, *, stride: (x**2)[:, :-1:stride] + (x**2)[:, 1::stride]
    found = causes(op, signed(2, 8), reference=reference, options={"stride": 2})
    assert found == {"x": "option ignored: this is the gradient for stride = 1, but the forward pass uses 2"}


def test_a_cotangent_in_the_middle_of_a_larger_value_is_named() -> None:
    def middle(x: Array, dy: Array, stride: int) -> Array:
        return starting_at((x.shape[1] - 1 - dy.shape[1]) // 2 + np.arange(dy.shape[1]), x, dy)

    named = "option ignored: this is the gradient for stride = 1 and dy in the middle of the value, but the forward pass uses 2"
    assert causes(windows(middle), signed(2, 8), options={"stride": 2}) == {"x": named}


def test_the_right_stride_is_right() -> None:
    op = windows(lambda x, dy, stride: starting_at(stride * np.arange(dy.shape[1]), x, dy))
    assert causes(op, signed(2, 8), options={"stride": 2}) == {}


@alone_and_with_jax
def test_an_option_that_is_a_pair_of_arrays_is_no_trouble(witness: str) -> None:
    def between_fwd(x: Array, *, ends: Any) -> Any:
        low, high = ends
        return (x - low) * (x - high), (x.copy(), low, high)

    op = between_fwd, lambda r, dy: (dy * (r[0] - r[1]),)
    reference = None if witness == "alone" else lambda x, *, ends: (x - ends[0]) * (x - ends[1])
    (row,) = verify(op, signed(2, 3), reference=reference, options={"ends": (np.ones(3), np.full(3, 3.0))}).rows
    assert row.verdict is Verdict.FAIL


# ------------------------------------------------------------------------------------------------- orders and factors


@alone_and_with_jax
def test_heads_read_in_another_order_are_named(witness: str) -> None:
    def heads_fwd(w: Array, x: Array) -> Any:
        return np.tanh(x.reshape(4, 2, 3) * w), (w.copy(), x.copy())

    def heads_bwd(residuals: Any, dy: Array) -> Any:
        w, x = residuals
        h, wrong = x.reshape(4, 2, 3), x.reshape(4, 3, 2).swapaxes(1, 2)
        dw = ((1 - np.tanh(wrong * w) ** 2) * wrong * dy).sum(axis=0)
        return dw, ((1 - np.tanh(h * w) ** 2) * w * dy).reshape(4, 6)

    reference = None if witness == "alone" else lambda w, x: jnp.tanh(x.reshape(4, 2, 3) * w)
    found = causes((heads_fwd, heads_bwd), signed(2, 3), signed(4, 6), reference=reference)
    assert found == {"w": "wrong point: this is the gradient with axis 1 of x read as 2 interleaved parts"}


@alone_and_with_jax
def test_a_factor_multiplied_after_the_sum_is_named(witness: str) -> None:
    def sums_fwd(gamma: Array, x: Array) -> Any:
        return gamma * np.cumsum(x, axis=1), (gamma.copy(), x.copy())

    def sums_bwd(residuals: Any, dy: Array) -> Any:
        gamma, x = residuals
        return (dy * np.cumsum(x, axis=1)).sum(axis=0), gamma * np.cumsum(dy[:, ::-1], axis=1)[:, ::-1]

    reference = None if witness == "alone" else lambda gamma, x: gamma * jnp.cumsum(x, axis=1)
    found = causes((sums_fwd, sums_bwd), signed(4), signed(3, 4), reference=reference)
    why = "(multiplied by gamma after a sum instead of before it?)"
    assert found == {"x": f"wrong point: this is gamma times the gradient for gamma = 1 {why}"}


# ------------------------------------------------------------------------------------------------- the budget


def chain(count: int, wrong: Callable[[Array], Array], calls: Counter[str]) -> tuple[Pair, tuple[Array, ...]]:
    """y = tanh(w1 + tanh(w2 + ...)), all of whose gradients are changed."""

    def chain_fwd(*ws: Array, **options: float) -> Any:
        calls["forward"] += 1
        hidden = [np.zeros((3, 4))]
        for w in reversed(ws):
            hidden.append(np.tanh(w + hidden[-1]))
        return hidden[-1], hidden

    def chain_bwd(hidden: Any, dy: Array) -> Any:
        found = []
        for h in reversed(hidden[1:]):
            dy = (1 - h**2) * dy
            found.append(wrong(dy))
        return tuple(found)

    return (chain_fwd, chain_bwd), tuple(signed(3, 4, seed=i) / 2 for i in range(count))


def by_chance(dx: Array) -> Array:
    return dx * (1 + normal(3, 4, seed=7))


@pytest.mark.parametrize("count", [1, 5])
def test_the_diagnoses_of_a_verification_share_one_budget(count: int) -> None:
    evaluations = {}
    for name, wrong in {"right": lambda dx: dx, "wrong": by_chance}.items():
        calls: Counter[str] = Counter()
        op, ws = chain(count, wrong, calls)
        found = causes(op, *ws)
        assert len(found) == (count if name == "wrong" else 0)
        assert all(cause.startswith("no known cause") for cause in found.values())
        evaluations[name] = calls["forward"]
    swept_fully = 4 * 64 * count  # a few of the wrong entries are tested again at all step sizes
    conditions = 2 * (sum(w.size for w in ws) + 3 * 4)  # each number, also of dy, is moved to both sides
    more = swept_fully + conditions + BUDGET + 16 * count
    assert evaluations["right"] < evaluations["wrong"] <= evaluations["right"] + more


def test_each_argument_has_a_share_of_what_is_left() -> None:
    budget = Budget(100)
    first = budget.share(3)
    assert first.left == 25
    assert first.pay(25)
    assert not first.pay(1)
    second = budget.share(2)
    assert second.left == 25
    assert second.pay(5)
    last = budget.share(0)
    assert last.left == 70
    assert last.pay(70)
    assert budget.left == 0


def test_a_cause_is_named_for_the_last_of_many_arguments() -> None:
    op, ws = chain(6, lambda dx: dx, Counter())
    fwd, bwd = op

    def last_bwd(hidden: Any, dy: Array) -> Any:
        *others, last = bwd(hidden, dy)
        return tuple(by_chance(dx) for dx in others), last

    def wrong_bwd(hidden: Any, dy: Array) -> Any:
        others, last = last_bwd(hidden, dy)
        return (*others[:-1], last, others[-1])

    result = verify((fwd, wrong_bwd), *ws)
    assert row(result, "argument 4").diagnosis == "arguments swapped: this is the gradient of argument 5"
