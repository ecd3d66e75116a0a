"""Verdicts that the differences leave open and exact derivatives decide: twins, safeguards, hostile functions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracle import exact
from oracle.adapters import of_jax, of_torch
from oracle.exact.witness import directional
from oracle.judging import exact_point
from oracle.judging.exact_point import Answer, ExactPoint
from oracle.judging.reasons import Reason
from oracle.report.explanation import explained
from oracle.row import Row, Verdict
from oracle.verification import verify
from tests.oracle.planted import Array, Pair, elementwise, normal, row, sorted_bwd, sorted_fwd

NEAR_KINKS = 1 + 1e-9 * normal(250)
MANY = 1 + 1e-5 * normal(3000)
WHERE = int(np.argmax(MANY > 1))


def relu(x: Any) -> Any:
    return np.maximum(x - 1, 0)


def standardized_fwd(x: Array) -> Any:
    mean, std = x.mean(axis=-1, keepdims=True), np.sqrt(x.var(axis=-1, keepdims=True))
    return (x - mean) / std, ((x - mean) / std, std)


def standardized_bwd(residuals: Any, dy: Array) -> Any:
    y, std = residuals
    return ((dy - dy.mean(axis=-1, keepdims=True) - y * (dy * y).mean(axis=-1, keepdims=True)) / std,)


def _waves(slope_of_one: float) -> tuple[Pair, Array]:
    """All steps but the shortest are whole periods of one entry."""
    at, one, period = normal(12) + 3, np.arange(12) == 7, 2.0**-16
    pair = elementwise(
        lambda x: np.sin(x) + np.where(one, 1e-6 * np.sin(2 * np.pi * (x - at) / period), 0.0),
        lambda x: np.cos(x) + np.where(one, slope_of_one * 1e-6 * 2 * np.pi / period, 0.0),
    )
    return pair, at


class Open(NamedTuple):
    """A right gradient and a wrong one whose verdicts the differences leave open, or have wrong."""

    reason: Reason
    """Of the right gradient, without the exact witness."""
    right: Pair
    wrong: Pair
    x: Array
    options: Mapping[str, Any] = MappingProxyType({})
    verdict: Verdict = Verdict.PASS


def twins(function: Callable[[Any], Any], slope: Callable[[Array], Any], wrong: Callable[[Array], Any]) -> tuple[Pair, Pair]:
    return elementwise(function, slope), elementwise(function, lambda x: slope(x) * wrong(x))


def by(factor: float) -> Callable[[Array], Any]:
    return lambda x: factor


CASES = {
    "log(1 + x^2) at 1e-8": Open(
        Reason.WRONG_BACKWARD,
        *twins(lambda x: np.log(1 + x * x), lambda x: 2 * x / (1 + x * x), by(1 + 1e-12)),
        np.array([1e-8, 2.3e-8]),
    ),
    "1 - cos at 1e-8": Open(
        Reason.WRONG_BACKWARD, *twins(lambda x: 1 - np.cos(x), np.sin, by(1 - 1e-12)), np.array([1e-8, 3e-8])
    ),
    "sin at 1e14, equal numbers": Open(
        Reason.WRONG_BACKWARD, *twins(np.sin, np.cos, by(-1)), np.array([1e14 + 0.25, 1e14 + 0.25])
    ),
    "beside kinks": Open(
        Reason.UNCERTAIN,
        *twins(relu, lambda x: x > 1, lambda x: 1 + 1e-11 * (np.arange(x.size) == np.argmax(x > 1))),
        NEAR_KINKS,
    ),
    "thousands beside kinks": Open(
        Reason.DIRECTIONAL_MISMATCH,
        *twins(relu, lambda x: x > 1, lambda x: 1 + 1e-9 * (np.arange(x.size) == WHERE)),
        MANY,
    ),
    "waves as long as the steps": Open(Reason.UNCERTAIN, _waves(1.0)[0], _waves(1 + 1e-9)[0], _waves(1.0)[1]),
    "squares of 1e-160": Open(Reason.UNCERTAIN, *twins(np.square, lambda x: 2 * x, by(1.001)), np.array([1e-160, 2e-160])),
    "a step below one ULP": Open(
        Reason.STEP_BELOW_ULP, *twins(np.square, lambda x: 2 * x, by(1 + 1e-12)), np.array([3.0, 2.5e12]), {"step": 1e-4}
    ),
    "the end of a domain": Open(
        Reason.UNCERTAIN, *twins(lambda x: x**2.5, lambda x: 2.5 * x**1.5, by(1 + 1e-9)), np.array([0.0, 0.5])
    ),
    "the reference loses digits": Open(
        Reason.REFERENCE_ROUNDS,
        (standardized_fwd, standardized_bwd),
        (standardized_fwd, lambda residuals, dy: tuple(g * (1 + 1e-6) for g in standardized_bwd(residuals, dy))),
        normal(3, 5) + 1e5,
        {"reference": lambda x: jax.nn.standardize(x, epsilon=0.0)},
    ),
    "sorted ties": Open(
        Reason.TIED,
        (sorted_fwd, sorted_bwd),
        (sorted_fwd, lambda order, dy: sorted_bwd(order[[1, 2, 3, 0]], dy)),
        np.array([1.0, 1.0, 1.0, 2.0]),
        verdict=Verdict.KINK,
    ),
}


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("name", CASES)
def test_what_the_differences_leave_open_is_decided(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    right, wrong = (row(verify(pair, case.x, **case.options)) for pair in (case.right, case.wrong))
    assert right.verdict is case.verdict, right
    assert wrong.verdict is Verdict.FAIL, wrong
    monkeypatch.setattr(exact, "available", lambda: False)
    assert row(verify(case.right, case.x, **case.options)).reason == case.reason.value


def seen(pair: Pair, *primals: Any, **options: Any) -> tuple[Row, str]:
    one = row(verify(pair, *primals, **options))
    return one, " ".join(explained(one, 120).split())


@pytest.mark.usefixtures("undiagnosed")
def test_the_reference_contradicts_and_the_differences_cannot_tell() -> None:
    shifted = elementwise(lambda x: x + 1e10, lambda x: 1 + 1e-9 + 0 * x)
    assert row(verify(shifted, np.array([1.0, 2.0]), reference=lambda x: x + 1e10)).verdict is Verdict.FAIL


@pytest.mark.usefixtures("undiagnosed")
def test_an_error_that_the_reference_hides_beside_a_large_entry() -> None:
    """The reference agrees within the rounding of 1e4; the differences contradict, and the exact derivative knows."""
    x = 10.0 ** np.random.default_rng(1).uniform(-8, 0, 12)
    wrong = elementwise(np.sqrt, lambda x: 0.5 / np.sqrt(x) * (1 + 1e-9 * (x > 0.01)))
    one, text = seen(wrong, x, reference=jnp.sqrt)
    assert (one.verdict, one.reason) == (Verdict.FAIL, Reason.NOT_THE_FORWARD_PASS.value)
    assert "by the exact derivative" in text
    assert "gradient and exact derivative DIFFER" in text


def test_a_gradient_as_small_as_rounding_passes_only_if_it_is_right() -> None:
    x = np.array([0.3, 0.7])

    def small(share: float) -> Pair:
        return elementwise(lambda x: 1 + 1e-15 * np.sin(x), lambda x: share * 1e-15 * np.cos(x))

    assert row(verify(small(1.0), x)).verdict is Verdict.PASS
    assert row(verify(small(1.001), x)).verdict is Verdict.VACUOUS


def test_what_nobody_can_decide_says_so() -> None:
    """The rounding of 1e14 x moves the slope to any value."""
    one, _ = seen(elementwise(lambda x: np.sin(1e14 * x), lambda x: 1e14 * np.cos(1e14 * x)), np.array([0.3, 1.7]))
    assert one.verdict is Verdict.INCONCLUSIVE
    assert one.diagnosis.startswith("nobody can decide: the exact derivative at x[")


def test_the_row_says_what_was_exact() -> None:
    one, text = seen(CASES["1 - cos at 1e-8"].right, CASES["1 - cos at 1e-8"].x)
    assert one.evidence == "numerical 2/2, exact 2/2"
    assert "exact derivatives of 2 entries and along 4 random directions" in text


def test_a_verdict_that_is_not_open_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExactPoint, "along", lambda *_: pytest.fail("asked"))
    for reference in (None, jnp.sin):
        assert row(verify(elementwise(np.sin, np.cos), normal(6), reference=reference)).verdict is Verdict.PASS
    assert row(verify(elementwise(np.sin, lambda x: 2 * np.cos(x)), normal(6), reference=jnp.sin)).verdict is Verdict.FAIL


def test_a_jump_is_named_with_its_line() -> None:
    def jumping(x: Any) -> Any:
        return np.sign(x) + x  # the jump

    one, text = seen(elementwise(jumping, np.ones_like), np.array([0.0, 1.0]))
    assert one.verdict is Verdict.INCONCLUSIVE
    assert "kink at test_exact_verdicts.py:" in one.diagnosis
    assert one.diagnosis.endswith(": sign (return np.sign(x) + x  # the jump)")
    assert "no exact derivative: the function jumps" in text


def test_ties_are_named_with_their_line() -> None:
    one, _ = seen(CASES["sorted ties"].right, CASES["sorted ties"].x)
    assert ": argsort (order = np.argsort(x, kind=" in one.diagnosis


# ------------------------------------------------------------------------------------------------- safeguards


def kind(x: Any) -> bool:
    return type(x) is np.ndarray


def test_other_values_on_balls_are_not_believed() -> None:
    """(a) The function computes something else on anything but arrays."""
    pair = elementwise(lambda x: relu(x) if kind(x) else relu(x) + 1e-3, lambda x: x > 1)
    one, text = seen(pair, NEAR_KINKS)
    assert one.verdict is Verdict.INCONCLUSIVE
    assert "no exact derivative: its values are not those of the function in float64" in text
    assert "exact" not in one.evidence


@pytest.mark.usefixtures("undiagnosed")
def test_another_slope_on_balls_is_not_believed() -> None:
    """(b) The values agree at the point alone, so the differences are right where they contradict."""
    x = np.array([0.5, 1.25])
    one, text = seen(elementwise(lambda y: y * (y if kind(y) else x), np.array), x)
    assert one.verdict is Verdict.FAIL
    assert one.fitted_scale == pytest.approx(0.5, rel=1e-6)
    assert "no exact derivative: the differences contradict it" in text


@pytest.mark.usefixtures("undiagnosed")
def test_step_functions_keep_the_slope_of_their_steps() -> None:
    one, text = seen(elementwise(lambda x: np.round(2.0**20 * x) / 2.0**20, lambda x: 1.5 + 0 * x), normal(4))
    assert one.verdict is Verdict.FAIL
    assert "no exact derivative: a step function" in text


@pytest.mark.usefixtures("undiagnosed")
def test_float32_arguments_or_computations_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExactPoint, "along", lambda *_: pytest.fail("asked"))
    wrong = elementwise(np.sin, lambda x: 2 * np.cos(x))
    assert row(verify(wrong, normal(6).astype(np.float32))).verdict is Verdict.FAIL
    inside = elementwise(lambda x: np.sin(x.astype(np.float32)).astype(np.float64), lambda x: 2 * np.cos(x))
    assert row(verify(inside, normal(6))).verdict is Verdict.FAIL


# ------------------------------------------------------------------------------------------------- other libraries


def log_of_one_more(library: Any) -> Callable[[Any], Any]:
    """A function whose values near 0 have lost the digits of x, which are in its derivative."""
    return lambda x: library.log(1 + x * x)


TINY = np.array([1e-8, 2.3e-8])


def test_a_function_of_jax_is_traced() -> None:
    one, _ = seen(of_jax(log_of_one_more(jnp)), TINY)
    assert (one.verdict, one.evidence) == (Verdict.PASS, "numerical 2/2, exact 2/2")


@pytest.mark.usefixtures("undiagnosed")
def test_a_wrong_rule_of_jax_fails_by_the_trace_of_its_forward_pass() -> None:
    def wrong(factor: float) -> Any:
        rule = jax.custom_vjp(log_of_one_more(jnp))
        rule.defvjp(lambda x: (rule(x), x), lambda x, dy: (dy * 2 * x / (1 + x * x) * factor,))
        return rule

    assert row(verify(wrong(1 + 1e-12), TINY)).verdict is Verdict.FAIL
    x = np.array([0.5, 1.2])
    assert row(verify(wrong(1 + 2e-14), x)).verdict is Verdict.PASS
    assert row(verify(wrong(1 + 2e-14), x, exact=True)).verdict is Verdict.FAIL
    assert row(verify(wrong(1.0), x, exact=True)).verdict is Verdict.PASS


@pytest.mark.usefixtures("undiagnosed")
def test_a_function_of_jax_that_cannot_be_traced_is_left_to_the_differences() -> None:
    def branching(x: Any) -> Any:
        return jnp.log(1 + x * x) if x.sum() > 0 else x

    one, text = seen(of_jax(branching), TINY)
    assert not one.passed
    assert "no exact derivative" in text


def test_a_function_of_torch_is_traced() -> None:
    torch = pytest.importorskip("torch")
    one, _ = seen(of_torch(log_of_one_more(torch)), TINY)
    assert (one.verdict, one.evidence) == (Verdict.PASS, "numerical 2/2, exact 2/2")


# ------------------------------------------------------------------------------------------------- hostile functions


def test_what_raises_on_balls_raises_nothing() -> None:
    def picky(x: Any) -> Any:
        if not kind(x):
            raise SystemExit("arrays only")
        return relu(x)

    one, text = seen(elementwise(picky, lambda x: x > 1), NEAR_KINKS)
    assert one.verdict is Verdict.INCONCLUSIVE
    assert "no exact derivative: the function raised SystemExit: arrays only" in text


def test_what_prints_prints_no_balls(capsys: pytest.CaptureFixture[str]) -> None:
    def chatty(x: Any) -> Any:
        if not kind(x):
            print("on balls", x)
        return relu(x)

    assert row(verify(elementwise(chatty, lambda x: x > 1), NEAR_KINKS)).verdict is Verdict.PASS
    assert capsys.readouterr() == ("", "")


def test_what_counts_its_calls_and_keeps_its_last_argument_sees_arrays_last() -> None:
    calls: list[Any] = []

    def counting(x: Any) -> Any:
        calls.append(type(x))
        return relu(x)

    assert row(verify(elementwise(counting, lambda x: x > 1), NEAR_KINKS)).verdict is Verdict.PASS
    assert calls[-1] is np.ndarray
    assert len(set(calls)) == 2


def test_what_takes_too_long_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    clock = iter(range(0, 10**6, 6))
    monkeypatch.setattr(exact_point.time, "monotonic", lambda: float(next(clock)))
    along = ExactPoint.along_all

    def counted(self: ExactPoint, directions: Any) -> Answer:
        asked.append(time.perf_counter())
        return along(self, directions)

    monkeypatch.setattr(ExactPoint, "along_all", counted)
    assert row(verify(elementwise(relu, lambda x: x > 1), NEAR_KINKS)).verdict is Verdict.INCONCLUSIVE
    assert len(asked) < 5


def test_work_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_point, "WORK", directional(relu, (NEAR_KINKS,), {}, (NEAR_KINKS,), NEAR_KINKS).operations)
    assert row(verify(elementwise(relu, lambda x: x > 1), NEAR_KINKS)).verdict is Verdict.INCONCLUSIVE


def test_without_python_flint_nothing_changes(without_exact: None) -> None:
    one, text = seen(elementwise(relu, lambda x: x > 1), NEAR_KINKS)
    assert one.verdict is Verdict.INCONCLUSIVE
    assert "exact" not in text + one.evidence
