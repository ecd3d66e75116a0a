"""The verdicts FAIL and INCONCLUSIVE, each produced by a planted situation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import purenet as pn
from oracle import Verdict, verify
from tests.oracle.planted import Array, cube, elementwise, found, of_values, row
from tests.oracle.verdicts import DTYPES, REFERENCES, WRONG, X, shifted

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


def test_two_values_that_six_digits_do_not_tell_apart_are_printed_in_full() -> None:
    x = np.array([0.7, -1.3, 2.1])
    diagnosis = of_values((lambda x: (x * (1 + 1e-9), None), lambda _, dy: (dy * (1 + 1e-9),)), x, reference=lambda x: x)[1]
    ours, theirs = diagnosis.partition(" of 3: ")[2].partition(";")[0].split(" against ")
    assert ours != theirs


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
