"""Calls that cannot be: the message names what was expected and what came, and right calls beside them pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import optax
import pytest

import oracle
import purenet as pn
from oracle.running.selection import Exit
from tests.oracle.conftest import Run
from tests.oracle.learners import normal

X = normal(5, 3)


class Tanh:
    def forward(self, x: Any) -> Any:
        self.y = np.tanh(x)
        return self.y

    def backward(self, dy: Any) -> Any:
        return dy * (1 - self.y**2)


class TakesNothing(Tanh):
    def backward(self) -> Any:  # type: ignore[override]
        return 1 - self.y**2


class TakesMore(Tanh):
    def backward(self, dvalues: Any, y_true: Any) -> Any:  # type: ignore[override]
        return dvalues * (1 - self.y**2)


def test_a_backward_pass_that_cannot_be_called_with_dy_is_told_so() -> None:
    assert oracle.verify(Tanh(), X).passed
    said = oracle.verify(TakesNothing(), X).rows[0].diagnosis
    assert "TakesNothing.backward() is called with the gradient of the output (dy)" in said
    assert "it takes no argument" in said
    said = oracle.verify(TakesMore(), X).rows[0].diagnosis
    assert "TakesMore.backward(dvalues, y_true) is called with" in said
    assert "give options={'y_true': ...}" in said
    assert oracle.verify(TakesMore(), X, options={"y_true": np.array([1])}).passed


def test_residuals_in_the_place_of_dy() -> None:
    def fwd(x: Any) -> Any:
        return x * x, (x, 2)

    def bwd(residuals: Any, dy: Any) -> Any:
        return (residuals[1] * residuals[0] * dy,)

    assert oracle.verify((fwd, bwd), X).passed
    said = oracle.verify((fwd, lambda d, r: bwd(r, d)), X).rows[0].diagnosis
    assert said.endswith("bwd(dy, residuals) returns gradients: the order of the arguments must be bwd(residuals, dy)"), said


def test_a_list_of_numbers_is_no_array() -> None:
    pair = (lambda x: (np.multiply(x, 2.0), None), lambda _, dy: (2 * dy,))
    assert oracle.verify(pair, np.array([1.0, 2.0])).passed
    said = oracle.verify(pair, [1.0, 2.0]).rows[0].diagnosis
    assert said.endswith("(a list of numbers is a tree of 2 scalars: is np.array([...]) meant?)"), said


def test_a_schedule_is_called_with_the_count_from_0() -> None:
    def like(count: Any) -> Any:
        return 1.0 / (1.0 + count)

    assert oracle.verify_schedule(lambda count: 1 / (count + 1), like=like, steps=9).passed
    with pytest.raises(ValueError, match=r"with the count alone, from 0 on, and raised ZeroDivisionError at count 0"):
        oracle.verify_schedule(lambda count: 1 / count, like=like, steps=9)
    with pytest.raises(TypeError, match=r"count alone, .* raised TypeError at count 0: .* missing 1 required"):
        oracle.verify_schedule(lambda count, epoch: 0.1, like=like, steps=9)  # type: ignore[arg-type, misc]


def test_an_optimizer_that_is_not_called() -> None:
    for factory, name in ((optax.adam, "adam"), (pn.optimizers.adam, "adam")):
        assert oracle.verify_optimizer(factory(0.01), like=optax.adam(0.01), steps=3).passed
        with pytest.raises(TypeError, match=rf"like must be .* got the function {name} itself: call it, {name}\(0.001\)"):
            oracle.verify_optimizer(optax.adam(0.01), like=factory, steps=3)


class Net:
    def __init__(self) -> None:
        self.params = {"W": normal(3, 2), "b": normal(2)}

    def loss(self, x: Any) -> Any:
        return np.sum((x @ self.params["W"] + self.params["b"]) ** 2)

    def gradient(self, x: Any) -> Any:
        slope = 2 * (x @ self.params["W"] + self.params["b"])
        return {"W": x.T @ slope, "b": slope.sum(axis=0)}


class NetOfAList(Net):
    def gradient(self, x: Any) -> Any:
        return list(super().gradient(x).values())


def test_gradients_without_names() -> None:
    assert oracle.verify(oracle.adapters.of_net(Net(), X)).passed
    said = oracle.verify(oracle.adapters.of_net(NetOfAList(), X)).rows[0].diagnosis
    assert "NetOfAList.gradient returned a list of 2, expected a dict of gradients by the names of the parameters, W, b" in said


def test_a_function_is_no_op() -> None:
    with pytest.raises(TypeError, match=r"vjp: op must be an Op, such as purenet\.tanh, got <lambda>"):
        pn.vjp(lambda x: x, X)  # type: ignore[arg-type]


def test_commands_and_modules_that_are_misspelt(run: Run) -> None:
    code, _, err = run("verfy", "relu")
    assert code == Exit.USAGE
    assert "did you mean verify?" in err
    code, _, err = run("verify", ":x")
    assert code == Exit.USAGE
    assert "':x' names no module; write MODULE:x" in err
