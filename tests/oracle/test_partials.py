"""Partial and directional derivatives: the error stays within its estimate, for functions that are hard for differences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import special

from oracle.arrays import random_cotangent
from oracle.differences.directional import Directional, differentiate_along
from oracle.differences.evaluation import Evaluator
from oracle.differences.partials import Estimate, confirm, differentiate, gradient
from tests.oracle.planted import Array, Function, normal, signed

EPS = 2.0**-52


def estimated(function: Function, x: Array, **options: Any) -> tuple[Array, Estimate]:
    """The cotangent of an elementwise function, and the estimate."""
    v = np.asarray(random_cotangent(function(x)))
    return v.ravel(), differentiate(Evaluator(function, (x,), v), 0, **options)


def excess_error(estimate: Estimate, true: Array) -> Array:
    """The error beyond 4 times the error estimate and 16 ULP of the largest entry; negative where the estimate holds."""
    scale = np.abs(true[np.isfinite(true)]).max(initial=0.0)
    return np.asarray(np.abs(estimate.value - true) - 4 * estimate.uncertainty - 16 * EPS * scale)


# ------------------------------------------------------------------------------------------- entry by entry, smooth


@dataclass(frozen=True)
class Smooth:
    """An elementwise function, its derivative, where, and the median relative error that it must reach."""

    function: Function
    slope: Function
    x: Array
    median: float | None = 1e-12


def cosh2(x: Array) -> Array:
    return np.asarray(1 / np.cosh(np.clip(x, -300, 300)) ** 2)


def gelu_slope(x: Array) -> Array:
    return np.asarray(special.ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi))


X = normal(24)
SMALL = 10.0 ** np.random.default_rng(1).uniform(-8, 0, 24)
SMOOTH = {
    "identity": Smooth(lambda x: x, np.ones_like, X),
    "square": Smooth(np.square, lambda x: 2 * x, X),
    "fifth power": Smooth(lambda x: x**5, lambda x: 5 * x**4, X),
    "degree 12": Smooth(lambda x: x**12 - 3 * x**7, lambda x: 12 * x**11 - 21 * x**6, X, None),
    "exp": Smooth(np.exp, np.exp, X),
    "exp at 20 to 40": Smooth(np.exp, np.exp, 30 + 5 * X),
    "sin(10 x)": Smooth(lambda x: np.sin(10 * x), lambda x: 10 * np.cos(10 * x), X),
    "sin(1 / x)": Smooth(lambda x: np.sin(1 / x), lambda x: -np.cos(1 / x) / x**2, np.array([0.01, 0.1, 1.0, 2.0, -3.0])),
    "1 / x": Smooth(lambda x: 1 / x, lambda x: -1 / x**2, X),
    "x to the -3": Smooth(lambda x: x**-3.0, lambda x: -3 * x**-4.0, signed(12)),
    "tanh(30 x), steep": Smooth(lambda x: np.tanh(30 * x), lambda x: 30 * cosh2(30 * x), X / 30),
    "tanh(30 x), flat": Smooth(lambda x: np.tanh(30 * x), lambda x: 30 * cosh2(30 * x), X, None),
    "tanh(1000 x), steep": Smooth(lambda x: np.tanh(1000 * x), lambda x: 1000 * cosh2(1000 * x), X / 1000),
    "tanh(1000 x), any": Smooth(lambda x: np.tanh(1000 * x), lambda x: 1000 * cosh2(1000 * x), X * SMALL, None),
    "tanh(1000 x) at 0": Smooth(lambda x: np.tanh(1000 * x), lambda x: 1000 * cosh2(1000 * x), np.arange(3.0), None),
    "log near 0": Smooth(np.log, lambda x: 1 / x, SMALL),
    "log at 1e-300": Smooth(np.log, lambda x: 1 / x, SMALL**30, 1e-11),
    "sqrt near 0": Smooth(np.sqrt, lambda x: 0.5 / np.sqrt(x), SMALL),
    "x**0.1 near 0": Smooth(lambda x: x**0.1, lambda x: 0.1 * x**-0.9, SMALL),
    "x**0.1, all near 0": Smooth(lambda x: x**0.1, lambda x: 0.1 * x**-0.9, SMALL * 1e-9),
    "sigmoid": Smooth(special.expit, lambda x: special.expit(x) * special.expit(-x), 8 * X),
    "gelu": Smooth(lambda x: x * special.ndtr(x), gelu_slope, 3 * X),
    "silu at 1000": Smooth(
        lambda x: x * special.expit(x), lambda x: special.expit(x) * (1 + x * special.expit(-x)), 1000 * X, None
    ),
    "log gamma": Smooth(special.gammaln, special.digamma, 100 * SMALL),
    "huber": Smooth(lambda x: special.huber(1.0, x), lambda x: np.clip(x, -1, 1), X),
    "huber at its joins": Smooth(lambda x: special.huber(1.0, x), lambda x: np.clip(x, -1, 1), np.array([1.0, -1.0, 0.5, 2.0])),
    "x |x| at 0": Smooth(lambda x: x * np.abs(x), lambda x: 2 * np.abs(x), np.array([0.0, 1e-9, 1e-3, 1.0]), None),
    "1e8 + sin": Smooth(lambda x: 1e8 + np.sin(x), np.cos, X, 1e-4),
    "sine, masked": Smooth(lambda x: np.where(x > 0, np.sin(x), -np.inf), lambda x: np.where(x > 0, np.cos(x), 0), X, None),
}


def scaled(scale: float) -> tuple[Smooth, Smooth]:
    """The sine with its values, and with its arguments, of this size."""
    return (
        Smooth(lambda x: np.sin(x) * scale, lambda x: np.cos(x) * scale, X),
        Smooth(lambda x: np.sin(x / scale), lambda x: np.cos(x / scale) / scale, X * scale),
    )


for size in (1e150, 1e-150, 1e-10):
    SMOOTH[f"sine, values of {size:g}"], SMOOTH[f"sine, arguments of {size:g}"] = scaled(size)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_error_is_within_its_estimate(name: str) -> None:
    case = SMOOTH[name]
    v, estimate = estimated(case.function, case.x)
    true = v * case.slope(case.x)
    assert (excess_error(estimate, true) <= 0).all()
    assert not estimate.kink.any()
    assert not estimate.frozen.any()
    if case.median is not None:
        at = true != 0
        assert np.median(np.abs(estimate.value - true)[at] / np.abs(true)[at]) <= case.median
        assert np.median(estimate.uncertainty[at] / np.abs(true)[at]) <= 16 * case.median  # and so is the error estimate


BLOCKS: list[tuple[Function, Function]] = [
    (np.sin, np.cos),
    (np.tanh, cosh2),
    (np.arctan, lambda x: 1 / (1 + x * x)),
    (lambda x: np.exp(x / 4), lambda x: np.exp(x / 4) / 4),
    (lambda x: np.sqrt(1 + x * x), lambda x: x / np.sqrt(1 + x * x)),
    (lambda x: np.logaddexp(0, x), special.expit),
    (lambda x: 1 / (1 + x * x), lambda x: -2 * x / (1 + x * x) ** 2),
    (lambda x: 2 * x - 0.3, lambda x: np.full_like(x, 2.0)),
    (lambda x: 0.5 * x * x + x, lambda x: x + 1),
]


@settings(derandomize=True, max_examples=40, deadline=None, database=None)
@given(
    blocks=st.lists(st.sampled_from(range(len(BLOCKS))), min_size=1, max_size=4),
    seed=st.integers(0, 2**20),
    scale=st.sampled_from([1e-3, 0.1, 1.0, 3.0]),
    offset=st.sampled_from([0.0, 0.0, 1.0, 1e3]),
)
@example(blocks=[8, 8, 8, 8], seed=0, scale=0.1, offset=0.0)
@example(blocks=[0, 7, 7, 7], seed=0, scale=3.0, offset=1e3)
def test_the_errors_of_random_compositions_are_within_their_estimates(
    blocks: list[int], seed: int, scale: float, offset: float
) -> None:
    def function(x: Array) -> Array:
        for b in blocks:
            x = BLOCKS[b][0](x)
        return offset + x

    x = scale * normal(6, seed=seed)
    slope, inner = np.ones_like(x), x
    for b in blocks:
        slope, inner = slope * BLOCKS[b][1](inner), BLOCKS[b][0](inner)
    v, estimate = estimated(function, x)
    assert (excess_error(estimate, v * slope) <= 0).all()
    assert not estimate.kink.any()


def softmax(x: Array) -> Array:
    z = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(z / z.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("scale", [1.0, 5.0, 20.0, 100.0, 1e4])
def test_softmax_at_any_temperature(scale: float) -> None:
    x = scale * normal(4, 3)
    v, estimate = estimated(softmax, x)
    v, s = v.reshape(4, 3), softmax(x)
    true = (s * (v - (v * s).sum(axis=-1, keepdims=True))).ravel()
    assert (excess_error(estimate, true) <= 0).all()
    assert not estimate.kink.any()


def test_every_element_reaches_every_output() -> None:
    a = normal(8, 8)

    def function(x: Array) -> Array:
        return np.asarray(np.tanh(a @ x))

    x = normal(8)
    v, estimate = estimated(function, x)
    true = a.T @ (v * cosh2(a @ x))
    assert (excess_error(estimate, true) <= 0).all()
    assert np.abs(estimate.value - true).max() <= 1e-12 * np.abs(true).max()


@pytest.mark.parametrize("share", 10.0 ** -np.arange(0.0, 7.0))
def test_a_jump_of_the_second_derivative(share: float) -> None:
    """The error there is of order h: a tableau of h^2 is wrong, and its error estimate may be as small as any."""
    x = np.array([0.0, 1.0, -2.0])
    v, estimate = estimated(lambda x: np.sin(x) + share * x * np.abs(x), x)
    assert (excess_error(estimate, v * (np.cos(x) + 2 * share * np.abs(x))) <= 0).all()


def test_the_check_at_a_very_short_step_displaces_many_elements_at_once() -> None:
    calls = []
    x = normal(32)

    def function(x: Array) -> Array:
        calls.append(0)
        return np.asarray(np.sin(x))

    evaluator = Evaluator(function, (x,), np.asarray(random_cotangent(x)))
    calls.clear()
    assert differentiate(evaluator, 0).differences.shape[1] == 4
    assert len(calls) == 2 * (4 * x.size + 1)


def test_the_check_of_many_elements_at_once_finds_the_period_of_one() -> None:
    """All longer steps are whole multiples of this period, so that a function with this period seems constant."""
    x, one, period = normal(32) + 3, np.arange(32) == 20, 2.0**-16

    def function(z: Array) -> Array:
        return np.asarray(np.sin(z) + np.where(one, 1e-6 * np.sin(2 * np.pi * (z - x) / period), 0.0))

    v, estimate = estimated(function, x)
    slope = np.cos(x) + np.where(one, 1e-6 * 2 * np.pi / period, 0.0)
    assert (excess_error(estimate, v * slope) <= 0).all()
    assert (np.abs(estimate.value - v * slope) > 0.1)[one]


def test_only_the_elements_asked_for() -> None:
    x = normal(5)
    v, estimate = estimated(np.sin, x, index=np.array([3, 1]))
    assert estimate.index.tolist() == [3, 1]
    np.testing.assert_allclose(estimate.value, (v * np.cos(x))[[3, 1]], rtol=1e-12)


# ------------------------------------------------------------------------------------------------- domain ends


@pytest.mark.parametrize("function", [np.sqrt, np.log, np.cbrt, lambda x: special.xlogy(x, x)])
def test_an_infinite_slope_has_no_error_estimate(function: Function) -> None:
    with np.errstate(divide="ignore"):
        _, estimate = estimated(function, np.array([0.0, 1.0]))
    assert np.isinf(estimate.uncertainty[0])
    assert estimate.uncertainty[1] < 1e-12


@pytest.mark.parametrize("function", [np.sign, np.floor, lambda x: (x > 0) * 1.0])
def test_a_jump_has_no_slope(function: Function) -> None:
    _, estimate = estimated(function, np.array([0.0, 0.5]))
    assert np.isinf(estimate.uncertainty[0])
    assert not estimate.kink[0]
    assert (estimate.value[1], estimate.uncertainty[1]) == (0.0, 0.0)


def test_a_function_that_raises_outside_its_domain_has_a_derivative_inside() -> None:
    def strict(x: Array) -> Array:
        if (x < 0).any():
            raise ValueError("below 0")
        return np.sqrt(x)

    x = np.array([1e-6, 1e-3, 1.0])
    v, estimate = estimated(strict, x)
    assert (excess_error(estimate, v / 2 / np.sqrt(x)) <= 0).all()
    assert (estimate.uncertainty <= 1e-11 * np.abs(estimate.value)).all()


# ------------------------------------------------------------------------------------------------- kinks


def relu(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0.0))


def leaky(x: Array) -> Array:
    return np.where(x > 0, x, 0.01 * x)


def hinge(x: Array) -> Array:
    return np.asarray(np.maximum(1 - x, 0.0))


def cusp(x: Array) -> Array:
    return np.asarray(np.sin(3 * np.abs(x)))


@pytest.mark.parametrize(
    ("function", "at", "left", "right"),
    [(relu, 0.0, 0, 1), (np.abs, 0.0, -1, 1), (leaky, 0.0, 0.01, 1), (hinge, 1.0, -1, 0), (cusp, 0.0, -3, 3)],
    ids=["relu", "abs", "leaky", "hinge", "cusp"],
)
@pytest.mark.parametrize("company", [[0.7, -1.4, 2.0], []], ids=["among others", "alone"])
def test_a_kink_is_found_with_the_slopes_of_both_sides(
    function: Function, at: float, left: float, right: float, company: list[float]
) -> None:
    v, estimate = estimated(function, np.array([at, *company]))
    assert estimate.kink.tolist() == [True] + [False] * len(company)
    assert estimate.left[0] == pytest.approx(left * v[0], abs=1e-9)
    assert estimate.right[0] == pytest.approx(right * v[0], abs=1e-9)
    assert estimate.slope_uncertainty[0] < 1e-9


@pytest.mark.parametrize("distance", [1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-12])
@pytest.mark.parametrize("function", [relu, np.abs, leaky], ids=["relu", "abs", "leaky"])
def test_beside_a_kink_there_is_none(function: Function, distance: float) -> None:
    x = np.array([distance, -distance, 0.7, -1.4])
    v, estimate = estimated(function, x)
    assert not estimate.kink.any()
    assert (excess_error(estimate, v * np.sign(function(x) / x) * np.abs(function(x) / x)) <= 0).all()
    assert (estimate.uncertainty <= 1e-9).all()


def test_all_of_a_tiny_argument_beside_a_kink() -> None:
    """Steps of order 1, tried for tiny arguments, reach across the kink; those of the argument's size do not."""
    x = 1e-5 * signed(8)
    v, estimate = estimated(relu, x)
    np.testing.assert_allclose(estimate.value, v * (x > 0), atol=1e-9)
    assert not estimate.kink.any()


@pytest.mark.parametrize("distance", 10.0 ** -np.arange(2, 13))
@pytest.mark.parametrize(
    "loss", [lambda y: y.sum(), lambda y: (y**2 + y).sum() / 2, lambda y: 100 + y.sum()], ids=["sum", "square", "offset"]
)
def test_beside_a_kink_the_slope_is_that_of_one_side(loss: Function, distance: float) -> None:
    """In a sum over many units the noise of the others exceeds the differences of this one over the shortest steps."""
    x = np.array([distance, -distance, 1.0, 2.0, -1.0, 3.0, 0.5])
    _, estimate = estimated(lambda x: np.asarray(loss(relu(x))), x)
    v = float(np.asarray(random_cotangent(np.zeros(()))))
    slope = np.asarray(gradient(lambda y: np.asarray(loss(y)), relu(x))[0])
    true = v * slope * (x > 0)
    unresolved = estimate.kink  # nearer than the noise can resolve, it may count as a kink
    assert (np.maximum(excess_error(estimate, true), -1)[~unresolved] <= 1e-12).all()
    low, high = np.minimum(estimate.left, estimate.right), np.maximum(estimate.left, estimate.right)
    assert ((low - 1e-3 <= true) & (true <= high + 1e-3))[unresolved].all()
    if distance >= 1e-9:
        assert not unresolved.any()


@pytest.mark.parametrize("jump", [0.1, 1e-3, 1e-5])
def test_a_small_kink_is_one_too(jump: float) -> None:
    v, estimate = estimated(lambda x: x + jump * np.maximum(x, 0), np.array([0.0, 0.5, -2.0]))
    assert estimate.kink.tolist() == [True, False, False]
    assert abs(estimate.right[0] - estimate.left[0]) == pytest.approx(jump * abs(v[0]), rel=1e-3)


def test_a_kink_at_a_tie_of_two_elements() -> None:
    v, estimate = estimated(lambda x: np.asarray(x.max()), np.array([1.5, 0.3, 1.5]))
    assert estimate.kink.tolist() == [True, False, True]
    assert sorted([estimate.left[0] / v[0], estimate.right[0] / v[0]]) == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("power", [0.3, 0.6, 0.9, 1.1])
def test_slopes_that_converge_slowly_or_not_at_all_are_no_kink(power: float) -> None:
    """The slopes of |x|^1.1 approach 0 like h^0.1, those of |x|^0.9 grow like h^-0.1."""
    x = np.array([0.0, 0.5])
    evaluator = Evaluator(lambda x: np.abs(x) ** power, (x,), np.asarray(random_cotangent(x)))
    for estimate in (first := differentiate(evaluator, 0), confirm(evaluator, 0, first, np.arange(2))):
        assert not estimate.kink.any()
        assert np.isinf(estimate.uncertainty[0])


@pytest.mark.parametrize("sharpness", [1e2, 1e4, 1e6])
def test_a_sharp_bend_is_no_kink(sharpness: float) -> None:
    x = np.array([0.0, 0.3 / sharpness, -2 / sharpness, 1.0])
    v, estimate = estimated(lambda x: np.logaddexp(0, sharpness * x) / sharpness, x)
    assert not estimate.kink.any()
    assert (excess_error(estimate, v * special.expit(sharpness * x)) <= 0).all()


# ------------------------------------------------------------------------------------------------- frozen, tiny, noisy


def test_a_step_below_one_ulp_is_frozen() -> None:
    x = np.array([3.0, 2.5e12, -1e13])
    v, estimate = estimated(np.square, x, steps=1e-4)
    assert estimate.frozen.tolist() == [False, True, True]
    assert np.isinf(estimate.uncertainty[1:]).all()
    assert not estimate.kink.any()
    assert abs(estimate.value[0] - 6 * v[0]) < 1e-8


def test_the_own_steps_of_large_numbers_are_never_frozen() -> None:
    for x in (np.array([3.0, 2.5e12, -1e100, 1e-200]), np.array([2.5e12, 1e13]), np.array([1e-100])):
        v, estimate = estimated(np.square, x)
        assert not estimate.frozen.any()
        assert (excess_error(estimate, 2 * v * x) <= 0).all()
        assert abs(estimate.value - 2 * v * x).max() <= 1e-12 * abs(x).max()


def test_tiny_arguments_of_values_that_are_not_tiny() -> None:
    """Steps of the argument's size drown in the rounding of 1."""
    x = 1e-9 * signed(6)
    v, estimate = estimated(lambda x: np.exp(x + 0.5), x)
    np.testing.assert_allclose(estimate.value, v * np.exp(0.5 + x), rtol=1e-12)
    x = 1e-12 * signed(6)
    v, estimate = estimated(lambda x: 1 + x + x * x, x)
    np.testing.assert_allclose(estimate.value, v * (1 + 2 * x), rtol=1e-12)


@pytest.mark.parametrize("x", [normal(30), np.arange(1, 31) / 8, np.array([1.0]), np.array([2.5])])
@pytest.mark.parametrize(("function", "slope"), [(np.sin, np.cos), (np.exp, np.exp), (np.square, lambda x: 2 * x)])
def test_the_error_estimate_contains_the_noise_of_float32_inside(function: Function, slope: Function, x: Array) -> None:
    v, estimate = estimated(lambda x: function(x.astype(np.float32)).astype(np.float64), x)
    assert (excess_error(estimate, v * slope(x)) <= 0).all()
    scale = np.abs(slope(x)).max()
    assert estimate.uncertainty.max() >= 1e-8 * scale
    assert np.median(estimate.uncertainty) <= 1e-3 * scale


def test_the_error_estimate_contains_the_noise_of_a_random_function() -> None:
    generator = np.random.default_rng(0)
    x = signed(20)
    v, estimate = estimated(lambda x: np.sin(x) + 1e-6 * generator.normal(size=x.shape), x)
    assert (excess_error(estimate, v * np.cos(x)) <= 0).all()
    assert estimate.uncertainty.min() >= 1e-7


# ------------------------------------------------------------------------------------------------- bumps, full sweeps


def bump(x: Array, sharpness: float = 1e3) -> Array:
    return np.asarray(np.exp(-((sharpness * (x - 1)) ** 2)))


def bump_slope(x: Array, sharpness: float = 1e3) -> Array:
    return np.asarray(-2 * sharpness**2 * (x - 1) * bump(x, sharpness))


def test_a_value_that_shorter_steps_contradict_is_not_accepted() -> None:
    """Over the long steps the bump is not there, and over many of them alike."""
    x = 1 + normal(6) / 2000
    v = np.asarray(random_cotangent(x))
    assert (excess_error(differentiate(Evaluator(bump, (x,), v), 0), v * bump_slope(x)) <= 0).all()


@pytest.mark.parametrize("sharpness", [1e4, 1e5])
def test_a_full_sweep_finds_a_bump_between_the_usual_steps(sharpness: float) -> None:
    x = 1 + normal(6) / (2 * sharpness)
    v = np.asarray(random_cotangent(x))
    evaluator = Evaluator(lambda x: bump(x, sharpness), (x,), v)
    usual = differentiate(evaluator, 0)
    true = v * bump_slope(x, sharpness)
    wrong = np.abs(usual.value - true) > 0.5 * np.abs(true)
    assert wrong.any()
    again = confirm(evaluator, 0, usual, np.arange(6))
    assert (excess_error(again, true) <= 0).all()
    assert np.abs(again.value - true).max() <= 1e-8 * np.abs(true).max()


def test_a_full_sweep_leaves_the_other_elements() -> None:
    x = 1 + normal(6) / 2000
    evaluator = Evaluator(bump, (x,), np.asarray(random_cotangent(x)))
    first = differentiate(evaluator, 0)
    assert confirm(evaluator, 0, first, np.zeros(0, int)) is first
    again = confirm(evaluator, 0, first, np.array([2]))
    others = np.arange(6) != 2
    assert (again.value == first.value)[others].all()
    assert (again.step == first.step)[others].all()


@pytest.mark.parametrize("off", [1e-9, 1e-6])
def test_a_full_sweep_raises_the_error_estimate_of_a_value_that_agreed_by_chance(off: float) -> None:
    x = normal(6)
    v = np.asarray(random_cotangent(x))
    evaluator = Evaluator(np.sin, (x,), v)
    first = differentiate(evaluator, 0)
    lucky = replace(first, value=first.value + off)  # as if neighbours had agreed by chance
    again = confirm(evaluator, 0, lucky, np.arange(6))
    assert (excess_error(again, v * np.cos(x)) <= 0).all()
    assert (again.uncertainty <= 2 * off).all()


def test_a_full_sweep_keeps_a_good_value() -> None:
    x = normal(6)
    evaluator = Evaluator(np.sin, (x,), np.asarray(random_cotangent(x)))
    first = differentiate(evaluator, 0)
    again = confirm(evaluator, 0, first, np.arange(6))
    assert (again.value == first.value).all()


def test_differences_belong_to_their_steps() -> None:
    x = 1 + normal(6) / 2000
    v = np.asarray(random_cotangent(x))
    evaluator = Evaluator(bump, (x,), v)
    estimate = confirm(evaluator, 0, differentiate(evaluator, 0), np.arange(6))
    for i in range(6):
        for k in np.flatnonzero(np.isfinite(estimate.differences[i])):
            h = estimate.step[i] / 4.0**k
            expected = v[i] * (bump(x[i] + h) - bump(x[i] - h)) / 2 / h
            assert estimate.differences[i, k] == pytest.approx(expected, rel=1e-3, abs=1e-3)


# ------------------------------------------------------------------------------------------------- directions


def quadratic(n: int) -> tuple[Function, Array, Array]:
    x, a = normal(n), signed(n, seed=3)
    return (lambda x: a * x**2 + np.roll(x, 1) * x), x, a


@pytest.mark.parametrize("n", [1, 7, 300, 5000])
def test_directions_agree_with_the_gradient(n: int) -> None:
    function, x, a = quadratic(n)
    v = np.asarray(random_cotangent(x))
    true = v * (2 * a * x + np.roll(x, 1)) + np.roll(v * x, -1)
    along = differentiate_along(Evaluator(function, (x,), v), 0, 8, seed=2)
    assert (np.sort(np.concatenate([block.index for block in along.blocks])) == np.arange(n)).all()
    assert (too_far(along, true) <= 4).all()
    assert all(block.uncertainty <= 1e-8 * np.abs(true).max() and not block.blind for block in along.blocks)


def too_far(along: Directional, gradient: Array) -> Array:
    """The error of a gradient along the direction of each block, in units of the error estimate."""
    return np.array(
        [
            abs(along.direction[block.index] @ gradient[block.index] - block.value)
            / (block.uncertainty + 1e-14 * block.index.size)
            for block in along.blocks
        ]
    )


def test_directions_reach_every_element_and_never_repeat() -> None:
    function, x, _ = quadratic(50)
    evaluator = Evaluator(function, (x,), np.ones(50))
    one, same, other = (differentiate_along(evaluator, 0, 4, seed=s) for s in (0, 0, 1))
    assert (one.direction != 0).all()
    assert (one.direction == same.direction).all()
    assert (np.sign(one.direction) != np.sign(other.direction)).any()
    assert len(one.blocks) == 4


def test_blocks_across_kinks_are_blind() -> None:
    x = normal(600)
    x[::3] = 0.0
    v = np.asarray(random_cotangent(x))
    along = differentiate_along(Evaluator(relu, (x,), v), 0, 16)
    assert {block.blind for block in along.blocks if block.usual} == {False}
    assert {block.blind for block in along.blocks if not block.usual} == {True}
    for convention in (0.0, 0.5, 1.0):
        g = v * np.where(x == 0, convention, x > 0)
        assert (too_far(along, g) <= 4).all()
    off = 100.0 * v  # but a gross error is found there too
    assert (too_far(along, off) > 4).any()


def test_a_few_kinks_are_found_and_all_other_elements_stay_in_blocks() -> None:
    x = normal(1000)
    kinks = [5, 700, 999]
    x[kinks] = 1.0, 2.0, 3.0
    along = differentiate_along(Evaluator(lambda x: relu(x - np.round(x)), (x,), np.asarray(random_cotangent(x))), 0, 32)
    assert sorted(along.alone) == kinks
    assert not any(block.blind for block in along.blocks)
    assert sum(block.index.size for block in along.blocks) == 997


# ------------------------------------------------------------------------------------------------- gradients of trees


class Parameters(NamedTuple):
    w: Any
    parts: dict[str, Any]


def test_the_gradient_of_a_tree_is_a_tree() -> None:
    p: Any = Parameters(normal(2, 3), {"b": normal(3), "s": np.float64(0.7), "none": np.zeros((0, 2))})
    x = normal(4, 2)

    def loss(p: Parameters, x: Array) -> Any:
        return np.sum(np.tanh(x @ p.w + p.parts["b"])) * p.parts["s"]

    dp, dx = gradient(loss, p, x)
    assert isinstance(dp, Parameters)
    inner = p.parts["s"] * cosh2(x @ p.w + p.parts["b"])
    np.testing.assert_allclose(dp.w, x.T @ inner, rtol=1e-11)
    np.testing.assert_allclose(dp.parts["b"], inner.sum(axis=0), rtol=1e-11)
    np.testing.assert_allclose(dp.parts["s"], np.tanh(x @ p.w + p.parts["b"]).sum(), rtol=1e-11)
    np.testing.assert_allclose(dx, inner @ p.w.T, rtol=1e-11)
    assert dp.parts["none"].shape == (0, 2)


def test_the_gradient_of_a_function_that_is_not_a_scalar_is_refused() -> None:
    with pytest.raises(ValueError, match="a cotangent is needed: the function has 3 outputs, not one"):
        gradient(np.sin, np.ones(3))


def test_the_seeds_of_the_project() -> None:
    """d/dx (x + y)^2 = 2 (x + y); the gradient of x^2 + y^2 at (3, 2) is (6, 4)."""
    dx, dy = gradient(lambda x, y: (x + y) ** 2, np.float64(1.5), np.float64(0.25))
    assert (dx, dy) == (pytest.approx(3.5, rel=1e-14), pytest.approx(3.5, rel=1e-14))
    np.testing.assert_allclose(gradient(lambda x: np.sum(x**2), np.array([3.0, 2.0]))[0], [6, 4], rtol=1e-14)


def test_a_difference_belongs_to_the_middle_of_its_points() -> None:
    """x + h and x - h are rounded, so their middle is not x; here the second derivative is 2,000 times the first."""
    x, target = 0.9824368735019097, 0.981393833319586
    estimate = differentiate(Evaluator(lambda p: (p - target) ** 2, (np.array(x),)), 0)
    exact = 2 * (x - target)
    assert abs(estimate.value[0] - exact) <= estimate.uncertainty[0]
    assert estimate.uncertainty[0] <= 1e-13 * exact
