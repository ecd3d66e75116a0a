"""Every line of the table of verdicts, produced by a planted situation through `verify`; and what the table must not do."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from scipy import special

import purenet as pn
from oracle import Flag, Verdict, verify
from oracle.differences.directional import Block, Directional
from oracle.differences.partials import Estimate
from oracle.judging.error_budget import ErrorBudget, conditioning, narrow_dtype
from oracle.judging.evidence import Directions, Evidence, Parameter, Values
from oracle.judging.reasons import Reason
from oracle.judging.verdict import judge
from oracle.verification import Verification
from tests.oracle.planted import Array, Pair, cube, dense, elementwise, found, normal, of_values, row, signed

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
WRONG = {np.float64: 1e-9, np.float32: 1e-4, np.float16: 1.0, ml_dtypes.bfloat16: 7.0}  # noticed by differences alone
REFERENCES = [None, lambda x: x**3]
X = signed(6)


def both(x: Array, references: list[Any], op: Pair, **options: Any) -> list[tuple[Verdict, str]]:
    return [found(op, x, reference=reference, **options) for reference in references]


def shifted(shift: float) -> Any:
    """A wrong cotangent: one entry off by a fraction of itself."""

    def wrong(dx: Array) -> Array:
        dx = dx.copy()
        dx[2] = dx[2] * (1 + shift)
        return dx

    return wrong


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


# ------------------------------------------------------------------------------------------------- FAIL


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reference", REFERENCES, ids=["alone", "JAX"])
def test_fail_of_the_pullback(dtype: Any, reference: Any) -> None:
    def wrong(dx: Array) -> Array:
        return np.asarray(shifted(WRONG[dtype])(dx.astype(np.float64)), dx.dtype)

    only = row(verify(cube(wrong), X.astype(dtype), reference=reference))
    assert only.verdict is Verdict.FAIL
    assert only.worst_index == (2,)
    assert only.used is not None
    assert only.used > 1


SINGULAR: dict[str, tuple[Any, Any]] = {
    "1 / x": (lambda x: 1 / x, lambda x: -1 / x**2),
    "x to the -3": (lambda x: x**-3.0, lambda x: -3 * x**-4.0),
    "log": (lambda x: np.log(np.abs(x)), lambda x: 1 / x),
    "x to the 0.1": (lambda x: np.abs(x) ** 0.1, lambda x: 0.1 * np.sign(x) * np.abs(x) ** -0.9),
}


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("name", SINGULAR)
@pytest.mark.parametrize("error", [1e-7, 1e-9])
def test_a_singularity_at_the_origin_hides_no_error_elsewhere(name: str, error: float) -> None:
    function, slope = SINGULAR[name]
    right, wrong = elementwise(function, slope), elementwise(function, lambda x: slope(x) * (1 + error))
    jitted = {"log": lambda x: jnp.log(jnp.abs(x)), "x to the 0.1": lambda x: jnp.abs(x) ** 0.1}.get(name, function)
    for reference in (None, jitted):
        assert found(right, X, reference=reference)[0] is Verdict.PASS
        assert found(wrong, X, reference=reference)[0] is Verdict.FAIL


@pytest.mark.parametrize("dtype", DTYPES)
def test_fail_of_another_function(dtype: Any) -> None:
    verdict, diagnosis = of_values(cube(), X.astype(dtype), reference=lambda x: x**3 + 2 * jnp.sin(x))
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith("another function than the reference: the values differ, most at number ")


def test_another_gradient_of_equal_values() -> None:
    def with_a_slope_of_its_own(x: Any) -> Any:
        return x**3 + (x.sum() - jax.lax.stop_gradient(x.sum()))

    verdict, diagnosis = found(cube(), X, reference=with_a_slope_of_its_own)
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith(
        "another function than the reference: the differences agree with the gradient, and the reference with neither"
    )
    assert "values agree" in diagnosis


def test_another_function_that_is_a_multiple_says_so() -> None:
    verdict, diagnosis = of_values(cube(), X, reference=lambda x: x**3 / 4)
    assert verdict is Verdict.FAIL
    assert diagnosis.endswith("ours is 4 times the reference's")
    halved = cube(lambda dx: dx / 2)
    result = verify(halved, X, reference=lambda x: x**3 / 4)
    assert row(result, "").verdict is Verdict.FAIL
    assert row(result, "x").diagnosis.startswith("constant factor: x is 0.5 times the true gradient everywhere")


def test_fail_of_a_gradient_that_is_not_of_the_forward_pass() -> None:
    """A straight-through gradient: forward rounds, the gradient and the reference's do not know."""
    pair = elementwise(lambda x: x + 0.1 * np.sin(20 * x), np.ones_like)
    result = verify(pair, X, reference=lambda x: x)
    assert {one.verdict for one in result.rows} == {Verdict.FAIL}
    assert row(result, "x").diagnosis.startswith(
        "the gradient agrees with the reference, but it is not that of the forward pass"
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_fail_of_values_that_differ_by_a_constant(dtype: Any) -> None:
    verdict, diagnosis = of_values(cube(), X.astype(dtype), reference=lambda x: x**3 + 1)
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith("another function than the reference: the values differ")
    assert dtype is not np.float64 or diagnosis.endswith("ours is larger by the constant -1")


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("offset", [1e-3, 1e-6, 1e-9])
def test_a_constant_however_small(offset: float) -> None:
    assert of_values(cube(), X, reference=lambda x: x**3 + offset)[0] is Verdict.FAIL


@pytest.mark.usefixtures("undiagnosed")
def test_a_singularity_hides_no_constant() -> None:
    pair = elementwise(lambda x: x**-3.0, lambda x: -3 * x**-4.0)
    assert of_values(pair, X, reference=lambda x: x**-3.0 + 1e-9)[0] is Verdict.FAIL


@pytest.mark.parametrize(("offset", "verdict"), [(0.0, Verdict.PASS), (1e-12, Verdict.FAIL)])
def test_a_value_that_is_left_when_larger_ones_cancel_in_the_reference(offset: float, verdict: Verdict) -> None:
    point = np.array(0.09071321504709833)  # x - tanh(x) is 2.5e-4 there, and rounded as 1 is
    result = verify(pn.tanhshrink, point, reference=lambda x: x + (1 - 2 * jax.nn.sigmoid(2 * x)) + offset)
    assert row(result, "" if offset else "x").verdict is verdict


@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN"), (np.inf, "infinity")])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reference", REFERENCES, ids=["alone", "JAX"])
def test_fail_of_what_is_not_finite(value: float, said: str, dtype: Any, reference: Any) -> None:
    def wrong(dx: Array) -> Array:
        dx = dx.copy()
        dx[3] = value
        return dx

    only = row(verify(cube(wrong), X.astype(dtype), reference=reference), "x")
    assert only.verdict is Verdict.FAIL
    assert only.diagnosis == f"{said} in 1 of 6 entries, first at x[3], where the witnesses are finite"
    assert only.worst_index == (3,)


def test_an_infinity_that_jax_shares_is_not_called_finite() -> None:
    def root_fwd(x: Array) -> Any:
        return np.sqrt(x), x.copy()

    def root_bwd(x: Array, dy: Array) -> Any:
        with np.errstate(divide="ignore"):
            return (0.5 * dy / np.sqrt(x),)

    for reference in (jnp.sqrt, None):
        verdict, diagnosis = found((root_fwd, root_bwd), np.array([0.0, 1.0]), reference=reference)
        assert verdict is Verdict.INCONCLUSIVE
        assert diagnosis.startswith("the slope at x[0] is infinite (")


def test_nan_in_the_reference_is_never_equal() -> None:
    def where_nan(x: Any) -> Any:
        return jnp.where(x > 0, x**3, x**3 * jnp.sqrt(jnp.minimum(x, 0.0)) * 0 + x**3)

    assert of_values(cube(), X, reference=where_nan)[0] is Verdict.FAIL


def test_nan_in_the_value_is_never_equal() -> None:
    def value_fwd(x: Array) -> Any:
        return np.where(x > 0, x**3, np.nan), x.copy()

    result = verify((value_fwd, lambda x, dy: (3 * x * x * dy,)), X, reference=lambda x: x**3)
    assert row(result).verdict is Verdict.FAIL
    assert row(result).diagnosis.startswith("the value is NaN, first at ")


def test_fail_of_another_shape_than_the_reference() -> None:
    for reference in (lambda x: x[:3] ** 3, lambda x: (x**3).sum(), lambda x: (x**3, x)):
        verdict, diagnosis = of_values(cube(), X, reference=reference)
        assert verdict is Verdict.FAIL
        assert diagnosis.startswith("another function than the reference: its value has the shapes")
        result = verify(cube(lambda dx: 2 * dx), X, reference=reference)
        assert row(result, "x").diagnosis.startswith("constant factor: x is 2 times the true gradient everywhere")


# ------------------------------------------------------------------------------------------------- INCONCLUSIVE


def test_inconclusive_for_noise() -> None:
    """What looks like noise is no rounding to a narrower dtype: it goes on at any step."""
    noisy = elementwise(lambda x: np.sin(x) + 1e-5 * np.modf(1e12 * np.abs(x))[0], np.cos)
    for x in (X, np.array([1.0, 2.0, 0.5])):
        verdict, diagnosis = found(noisy, x)
        assert verdict is Verdict.INCONCLUSIVE
        assert diagnosis.startswith("the differences cannot decide: at x[")
        assert "noise, a bend sharper than any step, or a slope that has no limit" in diagnosis


@pytest.mark.usefixtures("undiagnosed")
def test_noise_hides_no_gross_error() -> None:
    noisy = elementwise(lambda x: np.sin(x.astype(np.float32)).astype(np.float64), lambda x: 1.01 * np.cos(x))
    assert found(noisy, X)[0] is Verdict.FAIL


def test_inconclusive_where_jax_contradicts_and_the_differences_cannot_tell() -> None:
    """An error of 1e-9 under an output noise of 1e-8: JAX sees it, the differences see neither it nor its absence."""
    generator = np.random.default_rng(0)
    noise = 1e-10 * generator.uniform(-1, 1, size=(997, 6))
    calls = iter(range(10**9))

    def noisy(x: Array) -> Array:
        return np.asarray(x**3 * (1 + noise[0 if (x == X).all() else 1 + next(calls) % 996]))

    pair = elementwise(noisy, lambda x: 3 * x**2 * (1 + 1e-10))
    verdict, diagnosis = found(pair, X, reference=lambda x: x**3)
    assert verdict is Verdict.INCONCLUSIVE
    assert diagnosis.startswith("the reference contradicts the gradient by less than the differences can resolve")


def test_inconclusive_for_a_frozen_step(without_exact: None) -> None:
    x = np.array([3.0, 2.5e12])
    square = elementwise(np.square, lambda x: 2 * x)
    for reference in (None, jnp.square):
        verdict, diagnosis = found(square, x, reference=reference, step=1e-4)
        assert verdict is Verdict.INCONCLUSIVE
        assert diagnosis == "step below one ULP: 1 of 2 elements do not move by a step of 0.0001, first x[1]"
        assert found(square, x, reference=reference)[0] is Verdict.PASS


def test_inconclusive_for_an_infinite_slope() -> None:
    root = elementwise(np.cbrt, lambda x: np.where(x == 0, 1.0, np.cbrt(np.where(x == 0, 1.0, x)) ** -2 / 3))
    assert found(root, np.array([0.0, 1.0]))[0] is Verdict.INCONCLUSIVE


def test_inconclusive_at_a_jump() -> None:
    step = elementwise(lambda x: np.sign(x) + x, np.ones_like)
    for reference in (None, lambda x: jnp.sign(x) + x):
        assert found(step, np.array([0.0, 1.0]), reference=reference)[0] is Verdict.INCONCLUSIVE


# ------------------------------------------------------------------------------------------------- VACUOUS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reference", [None, lambda x: 0 * x + 1], ids=["alone", "JAX"])
def test_vacuous_zero(dtype: Any, reference: Any) -> None:
    constant = elementwise(np.ones_like, np.zeros_like)
    verdict, diagnosis = found(constant, X.astype(dtype), reference=reference)
    assert verdict is Verdict.VACUOUS
    assert diagnosis.startswith("vacuous: the gradient is identically zero")
    declared = frozenset({Flag.ZERO_GRADIENT})
    assert found(constant, X.astype(dtype), reference=reference, flags=declared)[0] is Verdict.PASS


@pytest.mark.parametrize("reference", [None, lambda x: 2 * x], ids=["alone", "JAX"])
def test_vacuous_empty(reference: Any) -> None:
    double = elementwise(lambda x: 2 * x, lambda x: np.full_like(x, 2))
    verdict, diagnosis = found(double, np.zeros((0, 3)), reference=reference)
    assert (verdict, diagnosis) == (Verdict.VACUOUS, "vacuous: the argument has no elements, so nothing was checked")
    assert found(double, np.zeros((0, 3)), reference=reference, flags=frozenset({Flag.EMPTY_BATCH}))[0] is Verdict.PASS


def test_a_declared_zero_that_is_none_fails() -> None:
    flags = frozenset({Flag.ZERO_GRADIENT})
    for reference in REFERENCES:
        assert found(cube(np.zeros_like), X, reference=reference, flags=flags)[0] is Verdict.FAIL


def test_a_gradient_where_none_should_flow_fails() -> None:
    constant = elementwise(np.ones_like, lambda x: np.full_like(x, 1e-6))
    for reference in (None, lambda x: 0 * x + 1):
        assert found(constant, X, reference=reference, flags=frozenset({Flag.ZERO_GRADIENT}))[0] is Verdict.FAIL


def test_the_check_of_a_batch_norm_on_one_sample_is_vacuous() -> None:
    """As the book's own check is: with a batch of one every gradient is exactly zero."""

    def center_fwd(x: Array) -> Any:
        return x - x.mean(axis=0), None

    def center_bwd(_: None, dy: Array) -> Any:
        return (dy - dy.mean(axis=0),)

    assert found((center_fwd, center_bwd), normal(1, 4))[0] is Verdict.VACUOUS
    assert found((center_fwd, center_bwd), normal(3, 4))[0] is Verdict.PASS


# ------------------------------------------------------------------------------------------------- ERROR


HERE = r" \(test_verdict\.py:\d+\)"


def raising(*_: Any) -> Any:
    raise RuntimeError("out of ideas")


@pytest.mark.parametrize("dtype", DTYPES)
def test_error_of_the_forward_pass(dtype: Any) -> None:
    only = row(verify((raising, lambda x, dy: (dy,)), X.astype(dtype), reference=lambda x: x))
    assert only.verdict is Verdict.ERROR
    assert re.fullmatch(f"the forward pass raised RuntimeError: out of ideas{HERE}", only.diagnosis)
    assert only.parameter == ""


def test_error_of_the_backward_pass() -> None:
    verdict, diagnosis = found((lambda x: (x**3, x), raising), X)
    assert verdict is Verdict.ERROR
    assert re.fullmatch(f"the backward pass raised RuntimeError: out of ideas{HERE}", diagnosis)


def test_error_of_the_reference() -> None:
    assert of_values(cube(), X, reference=raising) == (Verdict.ERROR, "the reference raised RuntimeError: out of ideas")


def test_error_of_a_forward_pass_that_returns_no_residuals() -> None:
    verdict, diagnosis = found((lambda x: x**3, lambda x, dy: (dy,)), X)
    assert verdict is Verdict.ERROR
    assert diagnosis.endswith("must return a tuple (value, residuals), got ndarray")


def test_error_of_a_value_that_would_unpack_as_value_and_residuals() -> None:
    verdict, diagnosis = found((lambda x: x**3, lambda x, dy: (dy,)), X[:2])
    assert verdict is Verdict.ERROR
    assert diagnosis.endswith("must return a tuple (value, residuals), got ndarray")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (lambda x: x.astype(np.clongdouble), str(np.dtype(np.clongdouble))),
        (lambda x: "text", "<U4"),
        (lambda x: [x, object()], "object"),
    ],
)
def test_error_of_values_that_are_no_real_numbers(value: Any, what: str) -> None:
    verdict, diagnosis = found((lambda x: (value(x), x), lambda x, dy: (x,)), X)
    assert verdict is Verdict.ERROR
    assert diagnosis.startswith(f"the forward pass returned {what} instead of real numbers in the value")


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_warning_is_an_error(where: str) -> None:
    def warn(now: str) -> None:
        if now == where:
            warnings.warn("digits were lost", RuntimeWarning, stacklevel=1)

    def warning_fwd(x: Array) -> Any:
        warn("forward")
        return x**3, x.copy()

    def warning_bwd(x: Array, dy: Array) -> Any:
        warn("backward")
        return (3 * x**2 * dy,)

    verdict, diagnosis = found((warning_fwd, warning_bwd), X)
    assert verdict is Verdict.ERROR
    expected = f"the {where} pass raised RuntimeWarning: digits were lost{HERE}, and a warning counts as an error"
    assert re.fullmatch(expected, diagnosis)


def test_an_overflow_is_an_error() -> None:
    verdict, diagnosis = found(elementwise(np.exp, np.exp), np.array([1.0, 1000.0]))
    assert verdict is Verdict.ERROR
    assert diagnosis.startswith("the forward pass raised RuntimeWarning: overflow encountered in exp (planted.py:")


def test_a_forward_pass_that_takes_float32_only_is_named() -> None:
    def strict_fwd(x: Array) -> Any:
        if x.dtype != np.float32:
            raise TypeError(f"float32 only, got {x.dtype}")
        return x**3, x.copy()

    verdict, diagnosis = found((strict_fwd, lambda x, dy: (3 * x**2 * dy,)), X.astype(np.float32), reference=lambda x: x**3)
    assert verdict is Verdict.ERROR
    assert diagnosis == "the forward pass, run again in float64, raised TypeError: float32 only, got float64"


# ------------------------------------------------------------------------------------------------- the bounds

EPS = 2.0**-52


def judged(
    error: float = 0.0,
    of_jax: float | None = 0.0,
    uncertainty: float = 0.0,
    *,
    kink: bool = False,
    numbers: dict[str, Any] | None = None,
    **changes: Any,
) -> Reason:
    """The reason of the judgement on the gradient (1, 1), whose first entry is off by `error` and JAX's by `of_jax`.

    `numbers` are other differences, `changes` other evidence.
    """
    one, no = np.ones(2), np.zeros(2, bool)
    estimate = Estimate(
        index=np.arange(2),
        value=one,
        uncertainty=np.array([uncertainty, 0.0]),
        kink=np.array([kink, False]),
        left=np.array([0.0, 1.0]) if kink else one,
        right=one,
        slope_uncertainty=np.array([uncertainty, 0.0]),
        frozen=no,
        step=one,
        differences=np.ones((2, 4)),
    )
    evidence = Evidence(
        parameter=Parameter("x", (2,), np.dtype(np.float64)),
        analytic=np.array([1 + error, 1.0]),
        autodiff=None if of_jax is None else np.array([1 + of_jax, 1.0]),
        estimate=estimate,
        budget=ErrorBudget(scale=1.0, secant=0.0),
    )
    return judge(replace(evidence, estimate=replace(estimate, **(numbers or {})), **changes)).reason


@pytest.mark.parametrize("uncertainty", [1e-9, 1e-11])
def test_four_times_the_uncertainty_and_no_more(uncertainty: float) -> None:
    assert judged(3.9 * uncertainty, None, uncertainty) is Reason.AGREES
    assert judged(4.1 * uncertainty, None, uncertainty) is Reason.WRONG_BACKWARD
    assert judged(3.9 * uncertainty, 0.0, uncertainty) is Reason.REFERENCE_CONTRADICTS
    assert judged(4.1 * uncertainty, 0.0, uncertainty) is Reason.WRONG_BACKWARD


def test_rounding_is_allowed_and_no_more() -> None:
    assert judged(15 * EPS, None) is Reason.AGREES
    assert judged(32 * EPS, None) is Reason.WRONG_BACKWARD
    assert judged(32 * EPS, 32 * EPS) is Reason.DIFFERENCES_CONTRADICT
    assert judged(1000 * EPS, 0.0) is Reason.DIFFERENCES_CONTRADICT
    assert judged(1100 * EPS, 0.0) is Reason.WRONG_BACKWARD


def test_who_contradicts_whom() -> None:
    off = 1e-3
    assert judged(off, off) is Reason.NOT_THE_FORWARD_PASS
    assert judged(1e-7, 1e-7) is Reason.DIFFERENCES_CONTRADICT
    assert judged(0.0, off) is Reason.ANOTHER_FUNCTION
    assert judged(off, 0.0) is Reason.WRONG_BACKWARD
    assert judged(0.0, off, uncertainty=off) is Reason.REFERENCE_CONTRADICTS
    assert judged(0.0, float("nan")) is Reason.ANOTHER_FUNCTION
    assert judged(float("nan"), float("nan")) is Reason.NOT_FINITE
    assert judged(float("inf"), float("inf")) is Reason.NOT_FINITE


def test_at_a_kink() -> None:
    for between in (0.0, -0.3, -1.0):
        assert judged(between, None, kink=True) is Reason.AT_KINK
        assert judged(between, between, kink=True) is Reason.AT_KINK
        assert judged(between, between + 0.1, kink=True) is Reason.CONVENTION
    for beyond in (0.001, -1.001):
        assert judged(beyond, None, kink=True) is Reason.WRONG_BACKWARD
        assert judged(beyond, 0.0, kink=True) is Reason.OUTSIDE_KINK


def test_half_the_digits_decide() -> None:
    assert judged(uncertainty=3e-8) is Reason.AGREES
    assert judged(uncertainty=1e-7) is Reason.UNCERTAIN
    assert judged(uncertainty=float("nan")) is Reason.UNCERTAIN
    assert judged(uncertainty=float("inf"), of_jax=None) is Reason.UNCERTAIN


def test_values_and_directions_count_too() -> None:
    assert judged(values=Values(0.99)) is Reason.AGREES
    assert judged(values=Values(1.01)) is Reason.OTHER_VALUES
    assert judged(values=Values(float("nan"))) is Reason.OTHER_VALUES
    direction = np.array([1.0, -1.0])
    for off, expected in (
        (3.9e-9, Reason.AGREES),
        (4.1e-9, Reason.DIRECTIONAL_MISMATCH),
        (np.nan, Reason.DIRECTIONAL_MISMATCH),
    ):
        blocks = tuple(Block(np.array([i]), value, 1e-9, blind=False, usual=True) for i, value in enumerate((1.0, -1.0 + off)))
        along = Directional(direction, blocks, np.zeros(0, int))
        assert judged(directions=Directions(along)) is expected
        assert judged(of_jax=None, directions=Directions(along)) is expected


def test_narrow_dtypes_are_judged_by_what_the_reference_loses() -> None:
    eps = 2.0**-10
    assert narrow_dtype("float16", 2.0, 0.0) == 8 * eps
    assert narrow_dtype("float16", 2.0, 0.5) == 2.0 + 8 * eps
    assert narrow_dtype("float16", 2.0) == 128 * eps
    assert narrow_dtype("float64", 2.0, 0.5, 0.5) == 0.0


def test_the_budget_is_the_sum_of_its_four_terms() -> None:
    budget = ErrorBudget(scale=2.0, secant=0.0, conditioning=1e-10, dtype=1e-6)
    assert budget.against_differences(np.array([1e-9])) == pytest.approx(4e-9 + 32 * EPS + 1e-10 + 1e-6, rel=1e-15)
    assert budget.against_reference == pytest.approx(2048 * EPS + 1e-10 + 1e-6, rel=1e-15)
    assert budget.between_witnesses(np.array([1e-9])) == pytest.approx(4e-9 + 2048 * EPS + 1e-10 + 1e-6, rel=1e-15)


def test_conditioning_forgives_little_and_no_discontinuity() -> None:
    assert conditioning(1e-14, 1.0) == 16e-14
    assert conditioning(1e-9, 1.0) == 2.0**-30
    assert conditioning(1e-5, 1.0) == 0.0


# ------------------------------------------------------------------------------------------------- the whole


ENTRIES = np.array([0.1, 1.0, 0.3, -0.7, 0.11, -0.9])  # of the gradient: a tenth of the largest, and more


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("entry", range(6))
@pytest.mark.parametrize("reference", [None, lambda x: jnp.sin(x) * ENTRIES], ids=["alone", "JAX"])
def test_an_error_of_1e_9_of_any_entry_of_a_tenth_of_the_largest_is_noticed(entry: int, reference: Any) -> None:
    x = 0.3 * signed(6)

    def off(x: Array) -> Array:
        slope = ENTRIES * np.cos(x)
        slope[entry] *= 1 + 1e-9
        return slope

    only = row(verify(elementwise(lambda x: ENTRIES * np.sin(x), off), x, reference=reference))
    assert only.verdict is Verdict.FAIL
    assert only.worst_index == (entry,)


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("size", 10.0 ** -np.arange(1, 10))
@pytest.mark.parametrize("reference", [None, lambda w, x: jnp.tanh(x @ w)], ids=["alone", "JAX"])
def test_errors_of_every_size_of_a_layer(size: float, reference: Any) -> None:
    def layer_fwd(w: Array, x: Array) -> Any:
        y = np.tanh(x @ w)
        return y, (w.copy(), x.copy(), y.copy())

    def layer_bwd(residuals: Any, dy: Array) -> Any:
        w, x, y = residuals
        dz = dy * (1 - y * y)
        return x.T @ dz, dz @ w.T + size * (np.arange(x.size) == 4).reshape(x.shape) * dy[1, 1]

    result = verify((layer_fwd, layer_bwd), 0.5 * normal(3, 2), normal(4, 3), reference=reference)
    assert row(result, "w").verdict is Verdict.PASS
    assert row(result, "x").verdict is Verdict.FAIL
    assert row(result, "x").worst_index == (1, 1)


def test_the_worst_comes_first() -> None:
    result = verify(dense(dw=lambda x, dy: x.T @ dy * 1.5), normal(3, 2), normal(4, 3))
    assert [r.parameter for r in result.rows] == ["w", "x"]
    result = verify(dense(dx=lambda w, dy: dy @ w.T * 1.5), normal(3, 2), normal(4, 3))
    assert [r.parameter for r in result.rows] == ["x", "w"]


def test_only_pass_kink_and_accepted_pass() -> None:
    assert {v for v in Verdict if v.passes} == {Verdict.PASS, Verdict.KINK, Verdict.ACCEPTED}
    assert not Verification(()).passed


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 1e-5), (np.float16, 0.05), (ml_dtypes.bfloat16, 0.4)])
def test_with_jax_a_narrow_dtype_hides_little(dtype: Any, error: float) -> None:
    """As accurate as JAX, not as a guessed tolerance."""

    def wrong(dx: Array) -> Array:
        return np.asarray(shifted(error)(dx.astype(np.float64)), dx.dtype)

    only = row(verify(cube(wrong), X.astype(dtype), reference=lambda x: x**3))
    assert only.verdict is Verdict.FAIL
    assert only.worst_index == (2,)


def test_a_narrow_gradient_that_is_zero_by_right_need_not_be_known_better() -> None:
    """A bias of keys before a softmax: in float64 1e-19, in float32 what is left of terms that cancel."""
    float32 = np.dtype(np.float32)
    declared = Parameter("x", (2,), float32, frozenset({Flag.ZERO_GRADIENT}))
    known = {
        "parameter": declared,
        "analytic": np.array([1e-10, -2e-10]),
        "autodiff": np.array([1e-19, 3e-19]),
        "budget": ErrorBudget(scale=1e-4, secant=1.0, dtype=narrow_dtype("float32", 1e-4, 1e-10)),
    }
    numbers = {"value": np.zeros(2), "uncertainty": np.full(2, 1e-9), "left": np.zeros(2), "right": np.zeros(2)}
    cases: dict[str, tuple[dict[str, Any], Reason]] = {
        "right": ({}, Reason.AGREES),
        "not declared": ({"parameter": replace(declared, flags=frozenset())}, Reason.UNCERTAIN),
        "not zero by the reference": ({"autodiff": np.array([1e-10, -2e-10])}, Reason.UNCERTAIN),
        "without a reference": ({"autodiff": None}, Reason.UNCERTAIN),
        "too large": ({"analytic": np.array([1e-6, 0.0])}, Reason.WRONG_BACKWARD),
    }
    for what, (change, reason) in cases.items():
        assert judged(0.0, 0.0, numbers=numbers, **{**known, **change}) is reason, what
