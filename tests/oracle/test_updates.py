"""Layers that update their weights in `backward`: the step is judged as a gradient, or a note says that nothing was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import oracle
from oracle import adapters
from oracle.row import Verdict
from tests.oracle.learners import normal, wrong
from tests.oracle.students import updating_layers as layers

X = normal(5, 3)
UNCHECKED = "(an update step?); no gradient of it is held, so none is checked"


@pytest.mark.parametrize(
    ("layer", "parameters"),
    [
        (layers.FCLayer(3, 4), {"input_data", "params.weights", "params.bias"}),
        (layers.ActivationLayer(), {"input_data"}),
        (layers.OwnRate(3, 4), {"x", "params.W"}),
        (layers.Momentum(3, 4), {"x", "params.W"}),
        (layers.Both(3, 4), {"x", "params.W"}),
    ],
)
def test_the_step_of_a_right_layer_is_its_gradient(layer: Any, parameters: set[str]) -> None:
    for dtype in (np.float64, np.float32):
        result = oracle.verify(layer, X.astype(dtype))
        assert result.passed, result
        assert {row.parameter for row in result.rows} == parameters
    assert oracle.verify(layer, X, seed=1, effort="quick").passed


@pytest.mark.parametrize(
    ("layer", "where"),
    [
        (layers.SevenTimes(3, 4), "params.weights"),
        (layers.TooLate(3, 4), "input_data"),
        (layers.OwnRate(3, 4, factor=7.0), "params.W"),
        (layers.Both(3, 4, factor=7.0), "params.W"),
    ],
)
def test_a_wrong_step_is_a_wrong_gradient(layer: Any, where: str) -> None:
    result = oracle.verify(layer, X)
    assert wrong(result) == {where}, result
    if where != "input_data":
        assert "7 times the true gradient everywhere" in result.rows[0].diagnosis


def test_the_rate_that_the_user_gives_is_that_of_the_step() -> None:
    result = oracle.verify(adapters.of_layer(layers.FCLayer(3, 4)), X, options={"learning_rate": 0.01})
    assert result.passed, result
    assert "weights and bias are updated in backward, which holds no gradient of them" in result.rows[0].note
    assert "divided by -learning_rate" in result.rows[0].note
    assert oracle.verify(adapters.of_layer(layers.FCLayer(3, 4), X)).passed


def test_named_parameters_are_read_from_their_steps() -> None:
    result = oracle.verify(adapters.of_layer(layers.FCLayer(3, 4), params=("weights",)), X)
    assert {row.parameter: row.verdict for row in result.rows}["params.weights"] is Verdict.PASS


@pytest.mark.parametrize("layer", [layers.NoName(3, 4), layers.SignOfGradient(3, 4)])
def test_a_step_that_is_no_multiple_of_a_known_rate_is_said_to_be_unchecked(layer: Any) -> None:
    result = oracle.verify(layer, X)
    assert [row.parameter for row in result.rows] == ["x"]
    assert result.rows[0].note.startswith(f"W changes in backward {UNCHECKED}")
    assert "W changes in backward" in str(result).replace("\n      ", " ")


def test_state_of_a_layer_is_no_step() -> None:
    class Counting(layers.ActivationLayer):
        """It keeps a sum that its value does not depend on."""

        def __init__(self) -> None:
            self.total = np.zeros(())

        def backward(self, output_error: Any, learning_rate: float = 0.1) -> Any:
            self.total = self.total + np.sum(output_error)
            return super().backward(output_error, learning_rate)

    result = oracle.verify(Counting(), X)
    assert result.passed
    assert not result.rows[0].note


def test_an_array_that_no_step_moves_still_needs_a_gradient() -> None:
    class Forgets(layers.OwnRate):
        """A mistake: the weights have no gradient at all."""

        def backward(self, dout: Any) -> Any:
            return dout @ self.W.T

    with pytest.raises(TypeError, match="no gradient of W found in Forgets"):
        oracle.verify(Forgets(3, 4), X)
