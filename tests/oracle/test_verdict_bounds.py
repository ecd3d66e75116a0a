"""How much the table of verdicts forgives, and that no error is too small in the whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from oracle import Flag, Verdict, verify
from oracle.differences.directional import Block, Directional
from oracle.differences.partials import Estimate
from oracle.judging.error_budget import ErrorBudget, between_witnesses, conditioning, narrow_dtype
from oracle.judging.evidence import Directions, Evidence, Parameter, Values
from oracle.judging.reasons import Reason
from oracle.judging.verdict import judge
from oracle.verification import Verification
from tests.oracle.planted import Array, cube, dense, elementwise, normal, row, signed
from tests.oracle.verdicts import X, shifted

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
    assert between_witnesses(budget, np.array([1e-9])) == pytest.approx(4e-9 + 2048 * EPS + 1e-10 + 1e-6, rel=1e-15)


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
