"""Diagnoses of straight-through gradients of step functions that are not declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from oracle.spec import Flag
from oracle.verification import verify
from tests.oracle.planted import Array, causes, found, normal

X = normal(5, 3)
SAID = "a step function: the value changes with {} by jumps only, so its derivative is 0; is a straight-through gradient meant?"

STEPS: dict[str, tuple[Callable[[Array], Any], Callable[[Array, Array], Array]]] = {
    "round": (lambda x: np.round(4 * x) / 4, lambda x, dy: dy),
    "round and clip": (lambda x: np.clip(np.round(4 * x) / 4, -1, 1), lambda x, dy: dy * (np.abs(x) < 1)),
    "sign": (np.sign, lambda x, dy: dy * (np.abs(x) <= 1)),
    "spike": (lambda x: (x > 0.5).astype(x.dtype), lambda x, dy: dy / (1 + (x - 0.5) ** 2)),
    "one-hot": (lambda x: (x == x.max(1, keepdims=True)).astype(x.dtype), lambda x, dy: dy * np.exp(x)),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", STEPS)
def test_a_straight_through_gradient_that_is_not_declared_is_named_first(name: str, dtype: Any) -> None:
    fwd, bwd = STEPS[name]
    said = found((lambda x: (fwd(x), x), lambda x, dy: (bwd(x, dy).astype(dy.dtype),)), X.astype(dtype))[1]
    assert said.startswith(SAID.format("x"))
    assert "flags={Flag.NOT_THE_DERIVATIVE} and a reference" in said


def test_only_the_argument_that_is_rounded_is_named() -> None:
    op = (
        lambda x, w: (x @ np.sign(w), (x, w)),
        lambda r, dy: (dy @ np.sign(r[1]).T, r[0].T @ dy),
    )
    said = causes(op, X, normal(3, 2))
    assert list(said) == ["w"]
    assert said["w"].startswith(SAID.format("w"))


def test_with_a_reference_too() -> None:
    op = (lambda x: (np.sign(x), x), lambda x, dy: (dy.copy(),))
    assert found(op, X, reference=jnp.sign)[1].startswith(SAID.format("x"))
    assert verify(op, X, reference=lambda x: x, flags={Flag.NOT_THE_DERIVATIVE}).passed


@pytest.mark.parametrize(
    "fwd",
    [
        lambda x: np.maximum(x - 9, 0),
        lambda x: np.clip(x, 20, 30),
        lambda x: np.ones(x.shape) + 0 * x,
        lambda x: np.maximum(x - 9, 0) + np.round(x),
    ],
    ids=["a dead ReLU", "a clip", "a constant", "steps and a dead ReLU"],
)
def test_what_is_flat_at_this_point_only_is_no_step_function(fwd: Callable[[Array], Array]) -> None:
    op = (lambda x: (fwd(x), None), lambda _, dy: (dy.copy(),))
    assert "step function" not in found(op, X)[1]


def test_a_step_function_with_its_derivative_passes() -> None:
    assert verify((lambda x: (np.round(x), None), lambda _, dy: (0 * dy,)), X, flags={Flag.ZERO_GRADIENT}).passed
