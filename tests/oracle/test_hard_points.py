"""Points at which other checks are wrong: saturation, huge and tiny numbers, cancellation, stiff functions, kinks, ties.

A right gradient passes, or the verdict is INCONCLUSIVE and says why; a wrong one FAILs, however small it is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from oracle.power.hard_points import HARD, Hard, points
from oracle.row import Row, Verdict
from oracle.verification import verify
from tests.oracle.planted import Array, Pair, cube, elementwise, normal, row, signed, sorted_bwd, sorted_fwd

WITNESSES = pytest.mark.parametrize("witnesses", ["JAX", "alone"])


def seen(hard: Hard, slope: Callable[[Array], Any], witnesses: str) -> Row:
    return row(verify(elementwise(hard.function, slope), hard.x, reference=hard.function if witnesses == "JAX" else None))


@WITNESSES
@pytest.mark.parametrize("name", HARD)
def test_what_is_right_is_not_accused(name: str, witnesses: str) -> None:
    only = seen(HARD[name], HARD[name].slope, witnesses)
    verdicts = (Verdict.PASS, Verdict.INCONCLUSIVE) if HARD[name].undecided else (Verdict.PASS,)
    assert only.verdict in verdicts, only.diagnosis
    assert only.diagnosis or only.passed


@pytest.mark.usefixtures("undiagnosed")
@WITNESSES
@pytest.mark.parametrize(("name", "number"), [(name, i) for name, hard in HARD.items() for i in range(len(hard.wrong))])
def test_what_is_wrong_fails(name: str, number: int, witnesses: str) -> None:
    only = seen(HARD[name], HARD[name].wrong[number], witnesses)
    assert only.verdict is Verdict.FAIL, only


def test_where_the_error_was_seen_is_said() -> None:
    hard = HARD["exp(-x) at 40"]
    said = seen(hard, hard.wrong[0], "JAX").diagnosis
    assert said.startswith("at 1/4 of these arguments, where rounding hides less, constant factor: x is -1 times")


# --------------------------------------------------------------------------------------------- several entries at once


def normalized(eps: float = 0.0, *, forget_mean: bool = False) -> Pair:
    def fwd(x: Array) -> Any:
        mean, std = x.mean(axis=-1, keepdims=True), np.sqrt(x.var(axis=-1, keepdims=True) + eps)
        return (x - mean) / std, ((x - mean) / std, std)

    def bwd(residuals: Any, dy: Array) -> Any:
        y, std = residuals
        along = 0 if forget_mean else y * (dy * y).mean(axis=-1, keepdims=True)
        return ((dy - dy.mean(axis=-1, keepdims=True) - along) / std,)

    return fwd, bwd


def normalized_by_jax(x: Any) -> Any:
    return (x - x.mean(axis=-1, keepdims=True)) / x.std(axis=-1, keepdims=True)


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(("offset", "witnesses"), [(30.0, "alone"), (1e3, "JAX"), (1e3, "alone"), (1e5, "JAX")])
def test_a_normalization_of_numbers_far_from_zero(offset: float, witnesses: str) -> None:
    x = normal(3, 5) + offset
    reference = normalized_by_jax if witnesses == "JAX" else None
    assert row(verify(normalized(), x, reference=reference)).verdict is Verdict.PASS
    assert row(verify(normalized(forget_mean=True), x, reference=reference)).verdict is Verdict.FAIL


def test_a_reference_that_loses_digits_accuses_nobody(without_exact: None) -> None:
    """The variance as a mean of squares less a square: 1e10 less 1e10."""

    def standardized(x: Any) -> Any:
        return jax.nn.standardize(x, epsilon=0.0)

    only = row(verify(normalized(), normal(3, 5) + 1e5, reference=standardized))
    assert only.verdict is Verdict.INCONCLUSIVE
    assert "it loses these digits itself" in only.diagnosis


@pytest.mark.usefixtures("undiagnosed")
@WITNESSES
def test_a_normalization_in_float32_far_from_zero(witnesses: str) -> None:
    x = (normal(3, 5) + 100).astype(np.float32)
    reference = normalized_by_jax if witnesses == "JAX" else None
    assert row(verify(normalized(), x, reference=reference)).verdict is Verdict.PASS
    assert row(verify(normalized(forget_mean=True), x, reference=reference)).verdict is Verdict.FAIL


@WITNESSES
def test_frequencies_over_three_decades(witnesses: str) -> None:
    frequencies = 2.0 ** np.arange(11) * np.pi

    def encode_fwd(x: Array) -> Any:
        return np.sin(x[:, None] * frequencies), x

    def encode_bwd(x: Array, dy: Array) -> Any:
        return ((dy * np.cos(x[:, None] * frequencies) * frequencies).sum(axis=1),)

    reference = (lambda x: jnp.sin(x[:, None] * frequencies)) if witnesses == "JAX" else None
    assert row(verify((encode_fwd, encode_bwd), signed(6) / 2, reference=reference)).verdict is Verdict.PASS


@WITNESSES
def test_a_gradient_that_is_zero_but_for_rounding_is_vacuous(witnesses: str) -> None:
    """The bias before a batch normalization: what it adds is subtracted again."""
    fwd, bwd = normalized()

    def shifted_fwd(b: Array, x: Array) -> Any:
        return fwd((x + b).T)

    def shifted_bwd(residuals: Any, dy: Array) -> Any:
        (dx,) = bwd(residuals, dy)
        return dx.T.sum(axis=0), dx.T

    reference = (lambda b, x: normalized_by_jax((x + b).T)) if witnesses == "JAX" else None
    result = verify((shifted_fwd, shifted_bwd), normal(3), normal(6, 3), reference=reference)
    assert row(result, "b").verdict is Verdict.VACUOUS
    assert row(result, "b").diagnosis.startswith("vacuous: the gradient is what rounding leaves when terms cancel")
    assert row(result, "x").verdict is Verdict.PASS


@WITNESSES
def test_predictions_beside_their_targets(witnesses: str) -> None:
    t = normal(6)
    p = t * (1 + 1e-9 * normal(6, seed=5))
    reference = (lambda p, t: (p - t) ** 2) if witnesses == "JAX" else None

    def squared(factor: float) -> Pair:
        return lambda p, t: ((p - t) ** 2, p - t), lambda d, dy: (factor * d * dy, -2 * d * dy)

    assert verify(squared(2.0), p, t, reference=reference).passed
    assert row(verify(squared(2.001), p, t, reference=reference), "p").verdict is Verdict.FAIL


def test_an_entropy_whose_terms_round_to_nothing_is_not_accused() -> None:
    """sigmoid(x) - t is 0 where x is 40 and t is 1, and the true gradient 4e-18."""
    t = points(1, 0, 1)

    def loss_fwd(x: Array) -> Any:
        return np.logaddexp(0, x) - x * t, x

    def loss_bwd(x: Array, dy: Array) -> Any:
        return ((1 / (1 + np.exp(-x)) - t) * dy,)

    for reference in (None, lambda x: jnp.logaddexp(0, x) - x * t):
        assert row(verify((loss_fwd, loss_bwd), points(40, -35, 0.3), reference=reference)).verdict is Verdict.PASS


@pytest.mark.usefixtures("undiagnosed")
@WITNESSES
@pytest.mark.parametrize("slope", [lambda x: np.array([-1, 1]) * 3 * x**2, lambda x: np.array([1, 3]) * 3 * x**2])
def test_entries_of_a_narrow_dtype_that_are_small_beside_others(slope: Callable[[Array], Any], witnesses: str) -> None:
    """Of its rounding much is forgiven, of the formula nothing: that is judged in float64."""
    reference = (lambda x: x**3) if witnesses == "JAX" else None
    x = points(1e-4, 100).astype(np.float32)
    assert row(verify(elementwise(lambda x: x**3, slope), x, reference=reference)).verdict is Verdict.FAIL
    assert row(verify(elementwise(lambda x: x**3, lambda x: 3 * x**2), x, reference=reference)).verdict is Verdict.PASS


@pytest.mark.parametrize(("dtype", "factor"), [(np.float16, 1.001), (np.float32, 1 + 3e-7)])
def test_a_narrow_argument_loosens_nothing_about_a_wide_one(dtype: Any, factor: float) -> None:
    def product(factor: float) -> Pair:
        return lambda x, w: (x * w, (x, w)), lambda r, dy: (factor * dy * r[1], np.asarray(dy * r[0], dtype))

    arguments = normal(4), normal(4, seed=1).astype(dtype)
    assert verify(product(1.0), *arguments).passed
    assert row(verify(product(factor), *arguments), "x").verdict is Verdict.FAIL


@WITNESSES
def test_a_bend_sharper_than_any_step_is_no_kink(witnesses: str) -> None:
    reference = (lambda x: jnp.sqrt(x * x + 1e-16)) if witnesses == "JAX" else None

    def root(slope: Callable[[Array], Any]) -> Row:
        return row(verify(elementwise(lambda x: np.sqrt(x * x + 1e-16), slope), points(0, 1), reference=reference))

    assert root(lambda x: x / np.sqrt(x * x + 1e-16)).verdict is Verdict.PASS
    assert root(lambda x: np.where(x == 0, 0.9, 1)).verdict is Verdict.FAIL


def test_values_that_overflow_are_nothing_to_compare() -> None:
    with np.errstate(over="ignore"):
        only = row(
            verify(elementwise(lambda x: np.exp(np.minimum(x, 800.0)), lambda x: np.exp(np.minimum(x, 800.0))), points(1, 900))
        )
    assert only.verdict is Verdict.INCONCLUSIVE
    assert only.diagnosis.startswith("the value is infinite here, and so is the slope at x[1]")


def test_an_output_that_is_small_beside_another() -> None:
    def both(share: float) -> Pair:
        def fwd(x: Array) -> Any:
            return (1e8 * x, 1e-8 * np.sin(x)), x

        return fwd, lambda x, dy: (1e8 * dy[0] + share * 1e-8 * np.cos(x) * dy[1],)

    assert row(verify(both(1.0), points(1, 2))).verdict is Verdict.PASS
    assert row(verify(both(1.001), points(1, 2))).verdict is Verdict.FAIL


def test_a_value_that_jumps_has_no_slope() -> None:
    only = row(verify(elementwise(lambda x: np.where(x == 0.3, 0, x), lambda x: np.where(x == 0.3, 5, 1)), points(0.3, 1)))
    assert only.verdict is Verdict.INCONCLUSIVE


# ------------------------------------------------------------------------------------------------- ties and many elements


def largest(share: Callable[[Array], Array]) -> Pair:
    return lambda x: (x.max(), x), lambda x, dy: (share(x == x.max()) * dy,)


def test_ties_that_share_what_flows_and_ties_that_each_get_all() -> None:
    x = points(1, 2, 2, 0.5)
    for share in (lambda tied: tied / tied.sum(), lambda tied: tied & (np.cumsum(tied) == 1)):
        assert row(verify(largest(share), x)).verdict is Verdict.KINK
    only = row(verify(largest(lambda tied: tied), x))
    assert only.verdict is Verdict.FAIL
    assert only.diagnosis.startswith("ties: each of 2 elements such as x[1] is at a kink")


@WITNESSES
def test_sorted_ties(witnesses: str, without_exact: None) -> None:
    """Moved up, one of three equal numbers becomes the last, moved down the first: the slope of the middle is neither's."""

    reference = jnp.sort if witnesses == "JAX" else None
    only = row(verify((sorted_fwd, sorted_bwd), points(1, 1, 1, 2), reference=reference))
    assert only.verdict is (Verdict.KINK if witnesses == "JAX" else Verdict.INCONCLUSIVE), only.diagnosis


@pytest.mark.usefixtures("undiagnosed")
def test_one_kink_among_many_elements_hides_no_other() -> None:
    x = normal(60, 60)
    x[3, 4] = 0.0
    relu = elementwise(lambda x: np.maximum(x, 0), lambda x: x > 0)
    assert row(verify(relu, x)).verdict is Verdict.KINK
    spoilt = np.ones_like(x)
    spoilt[40, 41] = 1.001
    x[40, 41] = 0.7
    assert row(verify((relu[0], lambda x, dy: ((x > 0) * dy * spoilt,)), x)).verdict is Verdict.FAIL


def test_kinks_everywhere_are_no_pass() -> None:
    """At each of these elements, no two of which are equal, |x - round(x)| has a kink."""
    x = np.arange(600.0) + 1
    saw = elementwise(lambda x: np.abs(x - np.round(x)), lambda x: np.sign(x - np.round(x)))
    assert row(verify(saw, x, limit=50)).verdict is not Verdict.PASS
    only = row(verify(elementwise(lambda x: np.abs(x - np.round(x)), lambda x: 0.5 + 0 * x), x, limit=50))
    assert only.verdict is Verdict.INCONCLUSIVE
    assert only.diagnosis.startswith("too many kinks: 600 of 600 elements could not be tested one by one")


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("size", [1e160, 1e-160])
def test_many_elements_and_huge_or_tiny_values(size: float) -> None:
    x = normal(3000)
    assert row(verify(elementwise(lambda x: x * size, lambda x: size + 0 * x), x)).verdict is Verdict.PASS
    assert row(verify(elementwise(lambda x: x * size, lambda x: 1.01 * size + 0 * x), x)).verdict is Verdict.FAIL


@pytest.mark.usefixtures("undiagnosed")
def test_a_tiny_element_among_many() -> None:
    x = np.abs(signed(3000))
    x[7] = 1e-12
    assert row(verify(elementwise(np.sqrt, lambda x: 0.5 / np.sqrt(x)), x)).verdict is Verdict.PASS
    assert row(verify(elementwise(np.sqrt, lambda x: 0.5001 / np.sqrt(x)), x)).verdict is Verdict.FAIL


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(("dtype", "factor"), [(np.float32, 1.00001), (np.float16, 1.1), (ml_dtypes.bfloat16, 1.5)])
def test_a_narrow_dtype_hides_little_without_a_reference(dtype: Any, factor: float) -> None:
    x = signed(5).astype(dtype)
    assert row(verify(cube(), x)).verdict is Verdict.PASS
    assert row(verify(cube(lambda dx: np.asarray(dx * dtype(factor), dtype)), x)).verdict is Verdict.FAIL
