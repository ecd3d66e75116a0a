"""The verdicts VACUOUS and ERROR, each produced by a planted situation."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

from oracle import Flag, Verdict, verify
from tests.oracle.planted import Array, cube, elementwise, found, normal, of_values, row
from tests.oracle.verdicts import DTYPES, REFERENCES, X

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


HERE = r" \(test_verdict_errors\.py:\d+\)"


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


NO_PAIR = (
    "must return a tuple (value, residuals), got ndarray (a function and its derivative, without dy, go through "
    "oracle.adapters.of_derivative)"
)


def test_error_of_a_forward_pass_that_returns_no_residuals() -> None:
    verdict, diagnosis = found((lambda x: x**3, lambda x, dy: (dy,)), X)
    assert verdict is Verdict.ERROR
    assert diagnosis.endswith(NO_PAIR)


def test_error_of_a_value_that_would_unpack_as_value_and_residuals() -> None:
    verdict, diagnosis = found((lambda x: x**3, lambda x, dy: (dy,)), X[:2])
    assert verdict is Verdict.ERROR
    assert diagnosis.endswith(NO_PAIR)


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
