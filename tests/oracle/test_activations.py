"""Diagnoses of gradients in which the slope of an activation is wrong or forgotten, in all its spellings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from scipy import special

from oracle.diagnosis.call import Call
from oracle.diagnosis.causes.activations import _activations
from oracle.diagnosis.held import recorded
from oracle.verification import verify
from tests.oracle.planted import Array, causes, normal

X, W, V, B = normal(5, 3), normal(3, 4), normal(4, 2), normal(4)


def in_place(z: Array) -> Array:
    h = z.copy()
    h[h < 0] = 0
    return h


def masked(z: Array) -> Any:
    return z * (z > 0).astype(z.dtype)


RELUS: dict[str, Callable[[Array], Any]] = {
    "maximum": lambda z: np.maximum(z, 0),
    "maximum of 0": lambda z: np.maximum(0, z),
    "where": lambda z: np.where(z > 0, z, 0),
    "mask": lambda z: z * (z > 0),
    "mask of numbers": masked,
    "clip": lambda z: np.clip(z, 0, None),
    "its clip": lambda z: z.clip(0),
    "abs": lambda z: (abs(z) + z) / 2,
    "in place": in_place,
    "an operand": lambda z: np.maximum(z, 0, out=z),
}


def sigmoid(z: Array) -> Any:
    return 1 / (1 + np.exp(-z))


def net(act: Callable[[Array], Any], slope: Callable[[Array, Array], Any]) -> Any:
    """A hidden layer with this activation, and what is written for its slope."""

    def net_fwd(x: Array, w: Array, b: Array, v: Array) -> Any:
        z = x @ w + b
        before = np.array(z)
        h = act(z)
        return h @ v, (x, w, v, before, np.array(h))

    def net_bwd(residuals: Any, dy: Array) -> Any:
        x, w, v, z, h = residuals
        dz = dy @ v.T * slope(z, h)
        return dz @ w.T, x.T @ dz, dz.sum(0), h.T @ dy

    return net_fwd, net_bwd


def relu_slope(z: Array, h: Array) -> Array:
    return np.where(z > 0, 1.0, 0.0)


@pytest.mark.parametrize("spelling", RELUS)
def test_a_forgotten_slope_of_a_relu_is_named_in_every_spelling(spelling: str) -> None:
    said = causes(net(RELUS[spelling], lambda z, h: 1), X, W, B, V)
    assert sorted(said) == ["b", "w", "x"]
    for name, diagnosis in said.items():
        assert diagnosis.startswith(f"wrong slope: {name} is the gradient with 1 for dh/dz, where z enters `"), diagnosis
        assert diagnosis.endswith(" (is the slope forgotten?)")
        assert "of test_activations.py (`" in diagnosis
    assert verify(net(RELUS[spelling], relu_slope), X, W, B, V).passed


@pytest.mark.parametrize(
    ("act", "slope", "said"),
    [
        (sigmoid, lambda z, h: 1, "1"),
        (sigmoid, lambda z, h: z * (1 - z), "z * (1 - z)"),
        (sigmoid, lambda z, h: sigmoid(h) * (1 - sigmoid(h)), "the slope at h"),
        (sigmoid, lambda z, h: 1 - h * h, "1 - h**2"),
        (special.expit, lambda z, h: 1 - h, "1 - h"),
        (special.expit, lambda z, h: h, "h"),
        (RELUS["where"], lambda z, h: z, "z"),
        (lambda z: z * sigmoid(z), lambda z, h: h * (1 - h), "h * (1 - h)"),
        (lambda z: z * sigmoid(z), relu_slope, "z > 0"),
    ],
)
@pytest.mark.parametrize("witness", ["alone", "JAX"])
def test_what_is_written_for_a_slope_is_named(witness: str, act: Any, slope: Any, said: str) -> None:
    plain = {special.expit: jax.nn.sigmoid, RELUS["where"]: jax.nn.relu, sigmoid: jax.nn.sigmoid}.get(act, jax.nn.silu)
    reference = (lambda x, w, b, v: plain(x @ w + b) @ v) if witness == "JAX" else None
    found_causes = causes(net(act, slope), X, W, B, V, reference=reference)
    assert sorted(found_causes) == ["b", "w", "x"]
    for name, diagnosis in found_causes.items():
        assert diagnosis.startswith(f"wrong slope: {name} is the gradient with {said} for dh/dz, where z enters "), diagnosis


def test_a_mistake_in_one_parameter_is_named_there_only() -> None:
    fwd, bwd = net(RELUS["maximum"], relu_slope)

    def wrong_bwd(residuals: Any, dy: Array) -> Any:
        dx, dw, _, dv = bwd(residuals, dy)
        return dx, dw, (dy @ residuals[2].T).sum(0), dv

    said = causes((fwd, wrong_bwd), X, W, B, V)
    assert list(said) == ["b"]
    assert said["b"].startswith(
        "wrong slope: b is the gradient with 1 for dh/dz, where z enters `maximum` and h is its value in "
    )


@pytest.mark.parametrize("seed", range(5))
def test_other_errors_in_an_activation_are_not_called_a_wrong_slope(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(5, 4))
    for act, slope in ((RELUS["maximum"], relu_slope), (sigmoid, lambda z, h: h * (1 - h))):
        said = causes(net(act, lambda z, h, slope=slope: slope(z, h) * noise), X, W, B, V)
        assert said
        assert not any("slope" in diagnosis for diagnosis in said.values())


def test_the_slope_of_a_tanh_that_is_forgotten_is_no_other_point() -> None:
    said = causes(net(np.tanh, lambda z, h: 1), X, W, B, V)
    assert sorted(said) == ["b", "w", "x"]
    for name, diagnosis in said.items():
        assert diagnosis.startswith(
            f"wrong slope: {name} is the gradient with 1 for 1 - y**2, the slope by what enters `tanh` in "
        )


def test_an_argument_that_is_left_out_is_still_named() -> None:
    """The gradient of one argument may be that for another one of ones, but not for its own."""
    op = (lambda x, gain: (np.sin(x) * gain, (x, gain)), lambda r, dy: (dy * np.cos(r[0]), (dy * np.sin(r[0]))))
    said = causes(op, normal(4, 3), np.abs(normal(4, 3)) + 0.5)
    assert said["x"] == "wrong point: this is the gradient for gain = 1 (is that argument left out?)"


def test_activations_are_found_between_the_steps_that_mix_entries() -> None:
    def two_layers(x: Array) -> Any:
        h = np.maximum(x @ W + B, 0)
        p = np.exp(h @ V - (h @ V).max(1, keepdims=True))
        return sigmoid(p / p.sum(1, keepdims=True))

    call = Call(two_layers, (X,), ["x"], None, {}, {})
    functions = [(one.first.function, one.function) for one in _activations(recorded(call, 0))]
    assert functions == [("maximum", "maximum"), ("exp", "exp"), ("negative", "divide")]


@pytest.mark.parametrize("order", ["a * b", "b * a"])
def test_a_product_is_no_activation(order: str) -> None:
    """Its factor is left out, which has a cause of its own."""
    product = {"a * b": lambda a, b: a * b, "b * a": lambda a, b: b * a}[order]
    op = (lambda a, b: (product(a, b), (a.copy(), b.copy())), lambda r, dy: (dy.copy(), dy * r[0]))
    assert causes(op, X, normal(5, 3) + 2) == {"a": "wrong point: this is the gradient for b = 1 (is that argument left out?)"}
