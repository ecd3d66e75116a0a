"""Slopes fitted to many long steps: the error is within its estimate; kinks, poles and ends of a domain within reach show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

from benchmarks.float32_inside import mixed
from oracle import Verdict, verify
from oracle.differences.evaluation import Evaluator
from oracle.differences.fitted import fitted, fitted_along
from oracle.differences.partials import Estimate, differentiate
from tests.oracle.planted import Array, Function, signed

SAFETY = 4.0  # error estimates that a verdict allows
FUNCTIONS: dict[str, tuple[Function, Function]] = {
    "exp": (np.exp, np.exp),
    "sine": (lambda x: np.sin(2 * x), lambda x: 2 * np.cos(2 * x)),
    "square": (np.square, lambda x: 2 * x),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "identity": (lambda x: x, np.ones_like),
    "logistic": (special.expit, lambda x: special.expit(x) * special.expit(-x)),
}
DRAWS = 3  # so that each function is rounded in each of three ways


def single(a: Any) -> Array:
    return np.asarray(a, np.float64).astype(np.float32).astype(np.float64)


def at(function: Function, x: Array, v: Array) -> tuple[Evaluator, Estimate]:
    evaluator = Evaluator(function, (x,), v)
    return evaluator, differentiate(evaluator, 0)


def noisy(function: Function, kind: int) -> Function:
    """The function, rounded to float32 in its argument, its value, or both."""
    before, after = (single if kind != 1 else np.asarray), (single if kind != 0 else np.asarray)
    return lambda x: after(function(before(x)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_error_stays_within_its_estimate_and_is_smaller_than_before(name: str) -> None:
    function, slope = FUNCTIONS[name]
    understated = total = 0
    gained = []
    for seed in range(DRAWS):
        x, v = signed(20, seed=seed), signed(20, seed=seed + 1000)
        evaluator, before = at(noisy(function, seed % 3), x, v)
        after = fitted(evaluator, 0, before)
        error = np.abs(after.value - v * slope(x))
        constant = 2.0**-22 * np.abs(v * slope(x)).max()  # what a rounded argument changes at all points alike
        understated += int((error > SAFETY * after.uncertainty + constant).sum())
        total += x.size
        gained.append(np.median(after.uncertainty / before.uncertainty))
    assert understated <= total / 1000
    assert np.median(gained) < 0.5


@pytest.mark.parametrize("seed", range(2))
def test_slopes_along_directions_are_within_their_estimate(seed: int) -> None:
    x, v = signed(20, seed=seed), signed(20, seed=seed + 1000)
    evaluator, before = at(noisy(np.exp, 2), x, v)
    estimate = fitted(evaluator, 0, before)
    directions = np.abs(x) * np.random.default_rng(seed).choice([-1.0, 1.0], (4, 20))
    slopes = fitted_along(evaluator, 0, estimate, directions)
    assert len(slopes) == 4
    for slope, direction in zip(slopes, directions, strict=True):
        true = float(direction @ (v * np.exp(x)))
        assert slope.uncertainty < np.linalg.norm(direction * before.uncertainty)
        assert abs(slope.value - true) <= SAFETY * slope.uncertainty + 2.0**-22 * np.linalg.norm(direction * v * np.exp(x))


def test_what_a_longer_step_changes_is_noise_at_a_shorter_one() -> None:
    """A sharp softmax with casts inside: short steps, over which few of its outputs change, do not contradict longer fits."""
    result = mixed(1023).verified()
    assert result.passed, str(result)


NEAR = 10.0 ** np.arange(-6, 0)  # how far from the point something happens, in units of the element


def kinked(distance: float) -> tuple[Function, Function]:
    return lambda x: single(np.where(x > 1 + distance, 3 * x - 2 * (1 + distance), x)), np.ones_like


def pole(distance: float) -> tuple[Function, Function]:
    return lambda x: single(1 / (x - 1 - distance)), lambda x: -1 / (x - 1 - distance) ** 2


def root(distance: float) -> tuple[Function, Function]:
    def of(x: Array) -> Array:
        if (x < 1 - distance).any():
            raise ValueError("the root of a negative number")
        return single(np.sqrt(x - 1 + distance))

    return of, lambda x: 0.5 / np.sqrt(x - 1 + distance)


@pytest.mark.parametrize("distance", NEAR)
@pytest.mark.parametrize("happens", [kinked, pole, root])
def test_a_kink_a_pole_or_an_end_within_reach_is_no_slope(
    happens: Callable[[float], tuple[Function, Function]], distance: float
) -> None:
    function, slope = happens(distance)
    x, v = np.ones(3), signed(3)
    evaluator, before = at(function, x, v)
    after = fitted(evaluator, 0, before)
    true = v * slope(x)
    stated = SAFETY * np.where(after.kink, after.slope_uncertainty, after.uncertainty) + 2.0**-20 * np.abs(true).max()
    low, high = np.minimum(after.left, after.right), np.maximum(after.left, after.right)
    error = np.where(after.kink, np.maximum(low - true, true - high), np.abs(after.value - true))
    assert (error <= stated).all(), (after, true)


@pytest.mark.parametrize("distance", NEAR)
def test_a_direction_across_a_kink_counts_only_where_it_is_right(distance: float) -> None:
    x, v = signed(10), signed(10)
    edge = x.copy()
    edge[3] += distance * abs(x[3])
    evaluator, before = at(lambda x: single(np.where(x > edge, 5 * (x - edge), 0.0) + 2 * x)[:10], x, v)
    estimate = fitted(evaluator, 0, before)
    kinks = estimate.kink
    true = np.where(x > edge, 7.0, 2.0) * v
    for slope in fitted_along(evaluator, 0, estimate, np.abs(x) * np.ones((1, 10))):
        assert kinks.any() or abs(slope.value - slope.direction @ true) <= SAFETY * slope.uncertainty + 1e-5


def contrastive(factor: float) -> Any:
    """Rows of length 1, their products over 0.1, the cross entropy of the diagonal, in float32: its scale is that of a row."""

    def fwd(*given: Array) -> Any:
        norms = [np.sqrt((a * a).sum(1, keepdims=True)) for a in (x.astype(np.float32) for x in given)]
        a, b = (x.astype(np.float32) / norm for x, norm in zip(given, norms, strict=True))
        logits = a @ b.T / np.float32(0.1)
        logits = logits - logits.max(1, keepdims=True)
        e = np.exp(logits)
        value = (np.log(e.sum(1)) - np.diag(logits)).mean()
        return np.float64(value), (a, b, norms, e / e.sum(1, keepdims=True))

    def bwd(kept: Any, dy: Array) -> Any:
        a, b, norms, p = kept
        d = (p - np.eye(len(a), dtype=np.float32)) * np.float32(dy) / np.float32(0.1 * len(a))
        da, db = d @ b, d.T @ a
        da, db = ((g - y * (g * y).sum(1, keepdims=True)) / norm for g, y, norm in zip((da, db), (a, b), norms, strict=True))
        return (factor * da).astype(np.float64), db.astype(np.float64)

    return fwd, bwd


@pytest.mark.usefixtures("undiagnosed")
def test_no_step_is_longer_than_small_rows_that_are_normalised() -> None:
    generator = np.random.default_rng(1)
    given = [1e-2 * generator.standard_normal((6, 6)) for _ in range(2)]
    result = verify(contrastive(1.0), *given)
    assert all(row.verdict is Verdict.PASS for row in result.rows), str(result)
    wrong = verify(contrastive(1.02), *given)
    assert {row.parameter for row in wrong.rows if row.verdict is Verdict.FAIL} == {"argument 0"}
