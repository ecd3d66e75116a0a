"""A mixture of experts: one expert is its net, a capacity drops late choices, and what the losses of the router say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import purenet as pn

GENERATOR = np.random.default_rng(0)
NET = {"w_gate": GENERATOR.normal(size=(3, 4)), "w_up": GENERATOR.normal(size=(3, 4)), "w_down": GENERATOR.normal(size=(4, 2))}
X = GENERATOR.normal(size=(2, 3, 3))


def alike(experts: int, *factors: float) -> dict[str, Any]:
    """Experts that give the same, each times its factor."""
    stacked = {name: np.stack([w] * experts) for name, w in NET.items()}
    return stacked | {"w_down": stacked["w_down"] * np.reshape(factors or (1.0,) * experts, (-1, 1, 1))}


@pytest.mark.parametrize("k", [1, 2, 3])
def test_experts_that_are_alike_give_what_one_gives(k: int) -> None:
    params = {"router": GENERATOR.normal(size=(3, 3)), "experts": alike(3)}
    y, _ = pn.mixture_of_experts(params, X, k=k)
    np.testing.assert_allclose(y, pn.swiglu_block(NET, X), rtol=1e-13)


def test_the_first_rows_fill_an_expert_and_first_choices_come_first() -> None:
    x = np.array([[1.0], [-1.0], [2.0], [3.0]])  # the first choices of these rows are the experts 0, 1, 0, 0
    one = np.ones((2, 1, 1))
    params = {"router": np.array([[5.0, -5.0]]), "experts": {"w_gate": one, "w_up": one, "w_down": one}}
    whole = pn.swiglu_block({"w_gate": one[0], "w_up": one[0], "w_down": one[0]}, x)
    y, _ = pn.mixture_of_experts(params, x, k=1, capacity=2)
    np.testing.assert_array_equal(y != 0, [[True], [True], [True], [False]])
    (y, _), residuals = pn.mixture_of_experts.fwd(params, x, k=2, capacity=3)
    np.testing.assert_array_equal(residuals.routing.chosen, [[0, 1], [1, 0], [0, 1], [0, 1]])
    # Expert 0 is full after the first choices; expert 1 has one of them and takes the second choices of rows 0 and 2.
    np.testing.assert_array_equal(residuals.routing.passed, [[True, True], [True, False], [True, True], [True, False]])
    np.testing.assert_allclose(y[0], pn.mixture_of_experts(params, x)[0][0], rtol=1e-15)
    np.testing.assert_allclose(y[3], residuals.routing.gates[3, 0] * whole[3], rtol=1e-15)


def test_an_even_router_has_a_balance_of_1_and_one_that_prefers_an_expert_more() -> None:
    x = np.eye(3)
    even = {"router": 20 * np.eye(3), "experts": alike(3)}
    _, losses = pn.mixture_of_experts(even, x, k=1)
    assert losses.load_balancing == pytest.approx(1)
    assert losses.router_z == pytest.approx(400)
    _, losses = pn.mixture_of_experts({**even, "router": np.array([[20.0, 0.0, 0.0]] * 3)}, x, k=1)
    assert losses.load_balancing == pytest.approx(3)


def test_a_step_against_the_loss_makes_the_router_more_even() -> None:
    params = {"router": np.array([[2.0, 0.0, 0.0]] * 3), "experts": alike(3)}
    x = np.abs(X)
    (y, before), pullback = pn.vjp(pn.mixture_of_experts, params, x)
    one, none = np.array(1.0), np.array(0.0)
    grads, _ = pullback((np.zeros_like(y), type(before)(one, none)))
    _, after = pn.mixture_of_experts({**params, "router": params["router"] - 0.1 * grads["router"]}, x)
    assert after.load_balancing < before.load_balancing


def test_one_normalized_expert_teaches_the_router_nothing_by_its_value() -> None:
    params = {"router": GENERATOR.normal(size=(3, 3)), "experts": alike(3, 1.0, 2.0, 3.0)}
    for normalize in (True, False):
        (y, losses), pullback = pn.vjp(pn.mixture_of_experts, params, X, k=1, normalize=normalize)
        grads, _ = pullback((np.ones_like(y), type(losses)(np.array(0.0), np.array(0.0))))
        assert np.any(np.abs(grads["router"]) > 1e-12) != normalize
