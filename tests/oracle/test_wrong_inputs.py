"""Diagnoses of a gradient that belongs to other inputs: another argument, another point, another keyword."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracle import verify
from tests.oracle.planted import Array, Pair, causes, elementwise, found, normal, row, signed

alone_and_with_jax = pytest.mark.parametrize("witness", ["alone", "JAX"])
A, B = signed(3, 4), signed(3, 4, seed=1)


# ------------------------------------------------------------------------------------------------- arguments and points


def times(bwd: Callable[[Array, Array, Array], Any]) -> Pair:
    def times_fwd(a: Array, b: Array) -> Any:
        return a * b, (a.copy(), b.copy())

    return times_fwd, lambda r, dy: bwd(*r, dy)


@alone_and_with_jax
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_swapped_arguments_are_named(witness: str, dtype: Any) -> None:
    reference = None if witness == "alone" else lambda a, b: a * b
    found = causes(times(lambda a, b, dy: (a * dy, b * dy)), A.astype(dtype), B.astype(dtype), reference=reference)
    assert found == {
        "a": "arguments swapped: this is the gradient of b",
        "b": "arguments swapped: this is the gradient of a",
    }


@alone_and_with_jax
def test_swapped_equal_arguments_are_named_at_a_generic_point(witness: str) -> None:
    reference = None if witness == "alone" else lambda a, b: a * b
    found = causes(times(lambda a, b, dy: (a * dy, b * dy)), A, A.copy(), reference=reference)
    assert "wrong at usual ones nearby" in found["a"]
    assert "arguments swapped: this is the gradient of b" in found["a"]
    found = causes(times(lambda a, b, dy: (2 * a * dy, b * dy)), A, A.copy(), reference=reference)
    assert found["a"].startswith("constant factor: a is 2 times")


@alone_and_with_jax
def test_with_two_entries_no_cause_is_named(witness: str) -> None:
    reference = None if witness == "alone" else lambda a, b: a * b
    found = causes(times(lambda a, b, dy: (a * dy, b * dy)), A[0, :2].copy(), B[0, :2].copy(), reference=reference)
    assert found["a"].startswith("no known cause")


@alone_and_with_jax
def test_a_factor_that_is_left_out_is_named(witness: str) -> None:
    reference = None if witness == "alone" else lambda a, b: a * b
    found = causes(times(lambda a, b, dy: (1.0 * dy, a * dy)), A, B, reference=reference)
    assert found == {"a": "wrong point: this is the gradient for b = 1 (is that argument left out?)"}


@alone_and_with_jax
def test_a_derivative_evaluated_at_the_output_is_named(witness: str) -> None:
    reference = None if witness == "alone" else jnp.tanh
    op = elementwise(np.tanh, lambda x: 1 - np.tanh(np.tanh(x)) ** 2)
    assert causes(op, A, reference=reference) == {
        "x": "wrong point: this is the gradient with x replaced by the function's value"
    }


@alone_and_with_jax
def test_a_residual_of_another_argument_is_named(witness: str) -> None:
    def quotient_fwd(a: Array, b: Array) -> Any:
        return a / b**2, (a.copy(), b.copy())

    reference = None if witness == "alone" else lambda a, b: a / b**2
    wrong = lambda r, dy: (dy / r[1] ** 2, -2 * r[1] / r[1] ** 3 * dy)  # noqa: E731
    found = causes((quotient_fwd, wrong), A, B, reference=reference)
    assert found == {"b": "wrong point: this is the gradient with a replaced by b"}


@alone_and_with_jax
def test_a_kernel_that_is_not_reversed_is_named(witness: str) -> None:
    def filtered_fwd(w: Array, x: Array) -> Any:
        return np.stack([np.convolve(row, w[0, ::-1], "valid") for row in x]), (w.copy(), x.copy())

    def filtered_bwd(r: Any, dy: Array) -> Any:
        w, x = r
        dw = sum(np.convolve(row, d[::-1], "valid") for row, d in zip(x, dy, strict=True))
        return dw[None], np.stack([np.convolve(d, w[0, ::-1]) for d in dy])

    reference = None if witness == "alone" else lambda w, x: jnp.stack([jnp.convolve(row, w[0, ::-1], "valid") for row in x])
    found = causes((filtered_fwd, filtered_bwd), normal(1, 3), normal(2, 8), reference=reference)
    assert found == {"x": "wrong point: this is the gradient with w reversed along axis 1"}


# ------------------------------------------------------------------------------------------------- keywords


def scaled_norm(eps_backward: Callable[[float], float] = lambda eps: eps) -> Pair:
    """The last axis divided by its root mean square."""

    def scaled_norm_fwd(x: Array, *, eps: float = 1e-5, power: float = 1.0) -> Any:
        return x / ((x**2).mean(axis=-1, keepdims=True) + eps) ** (power / 2), (x.copy(), eps, power)

    def scaled_norm_bwd(residuals: Any, dy: Array) -> Any:
        x, eps, power = residuals
        square = (x**2).mean(axis=-1, keepdims=True) + eps_backward(eps)
        return (dy / square ** (power / 2) - power * x * (dy * x).mean(axis=-1, keepdims=True) / square ** (power / 2 + 1),)

    return scaled_norm_fwd, scaled_norm_bwd


def by_jax(x: Any, *, eps: float = 1e-5) -> Any:
    return x / jnp.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)


@alone_and_with_jax
@pytest.mark.parametrize(
    ("backward", "forward", "named"),
    [
        (0.0, 1e-5, "eps = 0.0, but the forward pass uses 1e-05"),
        (1e-5, 0.1, "eps = 1e-05, but the forward pass uses 0.1"),
        (1e-3, 1e-5, "eps = 0.001, but the forward pass uses 1e-05"),
        (0.2, 0.1, "eps = 0.2, but the forward pass uses 0.1"),
    ],
)
def test_another_epsilon_in_the_backward_pass_is_named(witness: str, backward: float, forward: float, named: str) -> None:
    reference = None if witness == "alone" else by_jax
    found = causes(scaled_norm(lambda eps: backward), normal(3, 5), reference=reference, options={"eps": forward})
    diagnosis = found["x"]
    assert diagnosis.startswith("option ignored: this is the gradient for eps = ")
    value, rest = diagnosis.split("eps = ")[1].split(", but ")
    assert float(value) == pytest.approx(backward, rel=1e-3, abs=1e-12)
    assert rest == named.split(", but ")[1]


@alone_and_with_jax
def test_the_same_epsilon_in_both_passes_is_right(witness: str) -> None:
    assert causes(scaled_norm(), normal(3, 5), reference=None if witness == "alone" else by_jax) == {}


def pieces(wrong: Callable[[float, float], tuple[float, float]]) -> Pair:
    def pieces_fwd(x: Array, *, below: float = 0.1, above: float = 1.0) -> Any:
        return np.where(x < 0, below * x, above * x), (x.copy(), below, above)

    def pieces_bwd(r: Any, dy: Array) -> Any:
        below, above = wrong(*r[1:])
        return (np.where(r[0] < 0, below, above) * dy,)

    return pieces_fwd, pieces_bwd


@alone_and_with_jax
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda below, above: (above, below), "options swapped: this is the gradient with below and above exchanged"),
        (
            lambda below, above: (0.1, above),
            "option ignored: this is the gradient for below = 0.1, but the forward pass uses 0.3",
        ),
        (
            lambda below, above: (below, 1.0),
            "option ignored: this is the gradient for above = 1.0, but the forward pass uses 0.7",
        ),
        (
            lambda below, above: (below + 0.2, above),
            "option ignored: this is the gradient for below = 0.5, but the forward pass uses 0.3",
        ),
    ],
    ids=["swapped", "default", "one", "another"],
)
def test_wrong_options_are_named(witness: str, wrong: Callable[[float, float], tuple[float, float]], named: str) -> None:
    def reference(x: Any, *, below: float, above: float) -> Any:
        return jnp.where(x < 0, below * x, above * x)

    found = causes(pieces(wrong), A, reference=None if witness == "alone" else reference, options={"below": 0.3, "above": 0.7})
    assert found == {"x": named}


@alone_and_with_jax
def test_an_ignored_axis_is_named(witness: str) -> None:
    def softmax_fwd(x: Array, *, axis: int = -1) -> Any:
        y = np.exp(x)
        return y / y.sum(axis=axis, keepdims=True), (x.copy(), axis)

    def softmax_bwd(r: Any, dy: Array) -> Any:
        y = np.exp(r[0])
        y /= y.sum(axis=-1, keepdims=True)
        return (y * (dy - (dy * y).sum(axis=-1, keepdims=True)),)

    reference = None if witness == "alone" else lambda x, *, axis: jax.nn.softmax(x, axis=axis)
    found = causes((softmax_fwd, softmax_bwd), normal(3, 4), reference=reference, options={"axis": 0})
    assert found == {"x": "option ignored: this is the gradient for axis = -1, but the forward pass uses 0"}


@alone_and_with_jax
def test_ignored_weights_are_named(witness: str) -> None:
    def weighted_fwd(x: Array, *, weights: Array | None = None) -> Any:
        weights = np.ones(len(x)) if weights is None else weights
        return (weights[:, None] * x**2).sum() / weights.sum(), (x.copy(), weights.copy())

    def reference(x: Any, *, weights: Any) -> Any:
        return (weights[:, None] * x**2).sum() / weights.sum()

    wrong = lambda r, dy: (2 * r[0] / len(r[0]) * dy,)  # noqa: E731
    options = {"weights": np.array([0.5, 2.0, 1.5])}
    found = causes((weighted_fwd, wrong), A, reference=None if witness == "alone" else reference, options=options)
    assert found["x"].startswith("option ignored: this is the gradient for weights = None")


def test_a_function_that_raises_at_other_inputs_has_no_known_cause() -> None:
    """The diagnosis goes on if other keywords or points raise."""

    def strict_fwd(x: Array, *, eps: float) -> Any:
        if eps != 0.5 or np.abs(x - A).max() > 0.2:
            raise ValueError("not here")
        return x**2 + eps, x.copy()

    result = verify((strict_fwd, lambda x, dy: (2 * x * dy * np.abs(np.sin(A * 40)),)), A, options={"eps": 0.5}, step=1e-3)
    assert row(result).diagnosis.startswith("no known cause")


@pytest.mark.parametrize("inside", [np.float64, np.float32])
def test_a_slope_at_minus_x_is_named(inside: Any) -> None:
    def softplus_fwd(x: Array) -> Any:
        inner = x.astype(inside)
        return (np.log1p(np.exp(-abs(inner))) + np.maximum(inner, 0)).astype(x.dtype), x.copy()

    op = (softplus_fwd, lambda x, dy: ((dy.astype(inside) / (1 + np.exp(x.astype(inside)))).astype(x.dtype),))
    assert found(op, signed(4, 5))[1].startswith("wrong point: this is the gradient with x replaced by -x")
