"""The verdicts PASS and KINK, each produced by a planted situation through `verify`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from oracle import Flag, Verdict, verify
from oracle.judging.reasons import Reason
from tests.oracle.planted import Array, Pair, cube, dense, elementwise, found, normal, row
from tests.oracle.verdicts import DTYPES, REFERENCES, X

# ------------------------------------------------------------------------------------------------- PASS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reference", REFERENCES, ids=["alone", "JAX"])
def test_pass(dtype: Any, reference: Any) -> None:
    assert found(cube(), X.astype(dtype), reference=reference) == (Verdict.PASS, "")


@pytest.mark.parametrize("reference", [None, lambda w, x: x @ w], ids=["alone", "JAX"])
@pytest.mark.parametrize("dtype", DTYPES[:3])
def test_pass_of_two_arguments(dtype: Any, reference: Any) -> None:
    result = verify(dense(), normal(3, 2).astype(dtype), normal(4, 3).astype(dtype), reference=reference)
    assert result.passed
    assert sorted(r.parameter for r in result.rows) == ["w", "x"]


SATURATED: dict[str, tuple[Any, Any, Any, Array]] = {
    "softmax": (
        lambda x: special.softmax(x, axis=-1),
        lambda s, dy: s * (dy - (dy * s).sum(axis=-1, keepdims=True)),
        jax.nn.softmax,
        normal(3, 4),
    ),
    "sigmoid": (special.expit, lambda s, dy: s * (1 - s) * dy, jax.nn.sigmoid, np.abs(normal(6))),
    "tanh": (np.tanh, lambda y, dy: (1 - y * y) * dy, jnp.tanh, normal(6)),
}


@pytest.mark.parametrize("scale", [3.0, 10.0, 20.0, 40.0, 300.0])
@pytest.mark.parametrize("name", SATURATED)
def test_saturation_is_no_fault(name: str, scale: float) -> None:
    """Far out these gradients are below the rounding of their own intermediate values, and still right."""
    function, pullback, reference, x = SATURATED[name]
    flags = frozenset({Flag.ZERO_GRADIENT, Flag.SATURATED})

    def saturated_fwd(x: Array) -> Any:
        y = function(x)
        return y, y.copy()

    result = verify((saturated_fwd, lambda y, dy: (pullback(y, dy),)), scale * x, reference=reference, flags=flags)
    assert result.passed, str(result)


def test_values_that_a_narrow_dtype_cannot_hold_are_rightly_infinite() -> None:
    def squares_fwd(x: Array) -> Any:
        with np.errstate(over="ignore"):
            return x * x, x.copy()

    def squares_bwd(x: Array, dy: Array) -> Any:
        return (2 * x * dy,)

    x = np.array([300.0, 1.0, 2.0], np.float16)
    assert found((squares_fwd, squares_bwd), x, reference=lambda x: x * x)[0] is Verdict.PASS


def cubes_fwd(x: Array) -> Any:
    with np.errstate(over="ignore"):
        return x * x * x, x.copy()


def of_cubes(x: Array, dy: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(3 * x * x * dy)


@pytest.mark.parametrize(
    ("pullback", "verdict"),
    [
        (of_cubes, Verdict.PASS),
        (lambda x, dy: np.copysign(np.float16(np.inf), dy), Verdict.FAIL),  # also the last entry, which the dtype can hold
        (lambda x, dy: np.where(np.isinf(of_cubes(x, dy)), -of_cubes(x, dy), of_cubes(x, dy)), Verdict.FAIL),
    ],
    ids=["right", "too many", "of the wrong sign"],
)
def test_gradients_that_a_narrow_dtype_cannot_hold_are_rightly_infinite(pullback: Any, verdict: Verdict) -> None:
    x = np.array([300.0, -200.0, 2.0], np.float16)
    pair = cubes_fwd, lambda x, dy: (pullback(x, dy),)
    assert found(pair, x, reference=lambda x: x * x * x)[0] is verdict


def straight_through_fwd(x: Array) -> Any:
    return np.round(x), None


def rounded_by_jax(x: Any) -> Any:
    return x + jax.lax.stop_gradient(jnp.round(x) - x)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.PASS), (1.0 + 1e-9, Verdict.FAIL)])
def test_a_gradient_that_is_no_derivative_by_definition_is_judged_by_the_reference(factor: float, verdict: Verdict) -> None:
    pair = straight_through_fwd, lambda _, dy: (factor * dy,)
    flags = frozenset({Flag.NOT_THE_DERIVATIVE})
    assert found(pair, np.array([0.2, 1.3]), reference=rounded_by_jax, flags=flags)[0] is verdict
    assert found(pair, np.array([0.2, 1.3]), reference=rounded_by_jax)[0] is Verdict.FAIL  # undeclared


def steps(x: Array) -> Any:
    return np.clip(np.round(x * 4), -4, 4) / 4, x


@pytest.mark.parametrize(
    "pair",
    [
        (steps, lambda x, dy: (dy * (np.abs(np.round(x * 4)) <= 4),)),
        (steps, lambda x, dy: (7 * dy,)),
        ((lambda x: (np.sign(x), x)), lambda x, dy: (dy * (np.abs(x) <= 1),)),
        ((lambda x: (x * x, x)), lambda x, dy: (np.zeros_like(x),)),
        ((lambda x: (x * x, x)), lambda x, dy: (2 * x * dy,)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_gradient_that_is_no_derivative_needs_a_reference(pair: Pair, dtype: Any) -> None:
    """Right or wrong, nothing can be said of it, and no number of the differences stands in its row."""
    flags = frozenset({Flag.NOT_THE_DERIVATIVE})
    only = row(verify(pair, np.array([-1.9, -0.4, 0.33, 1.04, 2.2], dtype), flags=flags))
    assert only.verdict is Verdict.INCONCLUSIVE
    assert only.reason == Reason.NO_REFERENCE.value
    assert "pass one, reference=" in only.diagnosis
    assert only.numerical_error is None
    assert only.numerical is None


def test_other_arguments_that_a_function_refuses_do_no_harm() -> None:
    """Steps, jitter and the way to the origin leave the domain of a strict function."""

    def logarithm_fwd(p: Array) -> Any:
        if not (p.min() >= 0.1 and p.max() <= 1.0):
            raise ValueError("p must be between 0.1 and 1")
        return np.log(p), p.copy()

    pair = logarithm_fwd, lambda p, dy: (dy / p,)
    assert found(pair, np.array([0.11, 0.5, 0.98]), reference=jnp.log) == (Verdict.PASS, "")


# ------------------------------------------------------------------------------------------------- KINK


def relu(at_zero: float) -> Pair:
    return elementwise(lambda x: np.maximum(x, 0), lambda x: np.where(x == 0, at_zero, x > 0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_kink(dtype: Any) -> None:
    x = np.array([0.0, 1.0, -2.0, 0.0], dtype)
    for reference in (None, jax.nn.relu):
        verdict, diagnosis = found(relu(0.0), x, reference=reference)
        assert verdict is Verdict.KINK
        assert "2 of 4 elements at a kink; at x[0] the slopes are" in diagnosis
        assert "the gradient is" in diagnosis


def test_without_a_reference_every_subgradient_is_a_convention() -> None:
    for at_zero in (0.0, 0.3, 1.0):
        assert found(relu(at_zero), np.array([0.0, 1.0]))[0] is Verdict.KINK


@pytest.mark.parametrize("at_zero", [0.5, 1.0])
def test_a_kink_of_another_convention_fails(at_zero: float) -> None:
    verdict, diagnosis = found(relu(at_zero), np.array([0.0, 1.0, -1.0]), reference=jax.nn.relu)
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith("kink: at x[0] the slopes are")
    assert "lies between them, but the reference's convention is" in diagnosis


@pytest.mark.parametrize("at_zero", [-0.1, 1.1])
@pytest.mark.parametrize("reference", [None, jax.nn.relu], ids=["alone", "JAX"])
def test_no_convention_allows_a_value_beyond_both_slopes(at_zero: float, reference: Any) -> None:
    result = verify(relu(at_zero), np.array([0.0, 1.0, -1.0]), reference=reference)
    assert row(result).verdict is Verdict.FAIL
    assert row(result).worst_index == (0,)


@pytest.mark.usefixtures("undiagnosed")
def test_a_kink_hides_no_error_elsewhere() -> None:
    wrong = elementwise(lambda x: np.maximum(x, 0), lambda x: np.where(x > 1.5, 1 + 1e-9, x > 0))
    for reference in (None, jax.nn.relu):
        only = row(verify(wrong, np.array([0.0, 2.0, -1.0]), reference=reference))
        assert only.verdict is Verdict.FAIL
        assert only.worst_index == (1,)


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12])
def test_beside_a_kink_right_code_never_fails(distance: float) -> None:
    """A unit of a layer sits beside its kink, and the loss is a sum over many."""

    def loss_fwd(x: Array) -> Any:
        return np.maximum(x, 0).sum(), x.copy()

    x = np.array([distance, -distance, 1.0, 2.0, -1.0, 3.0, 0.5])
    for reference in (None, lambda x: jax.nn.relu(x).sum()):
        only = row(verify((loss_fwd, lambda x, dy: (dy * (x > 0),)), x, reference=reference))
        assert only.verdict in (Verdict.PASS, Verdict.INCONCLUSIVE), str(only)
        assert only.verdict is Verdict.PASS or distance < 1e-5
