"""Evaluation of a function at a point: random cotangents, trees of arrays, differences, and the noise of each output."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from oracle.arrays import random_cotangent, size_of, unvector, vector
from oracle.differences.evaluation import Evaluator
from tests.oracle.planted import Array, normal

EPS = 2.0**-52


class Pair(NamedTuple):
    left: Any
    right: Any


# ------------------------------------------------------------------------------------------------- cotangents


def test_a_cotangent_has_no_ones_no_zeros_and_both_signs() -> None:
    v = random_cotangent(np.zeros((20, 10)))
    assert v.shape == (20, 10)
    assert 0.5 <= np.abs(v).min() < np.abs(v).max() <= 1.5
    assert 60 < (v < 0).sum() < 140
    assert np.unique(v).size == v.size


def test_a_cotangent_is_that_of_its_seed() -> None:
    y = {"a": np.zeros(3), "b": np.zeros(3)}
    one, same, other = random_cotangent(y, 1), random_cotangent(y, 1), random_cotangent(y, 2)
    assert (one["a"] == same["a"]).all()
    assert (one["a"] != other["a"]).all()
    assert (one["a"] != one["b"]).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_a_cotangent_has_the_dtype_and_the_structure_of_the_value(dtype: type) -> None:
    v = random_cotangent(Pair(np.zeros((2, 3), dtype), (np.zeros((), dtype),)))
    assert isinstance(v, Pair)
    assert (v.left.shape, v.left.dtype) == ((2, 3), dtype)
    assert (v.right[0].shape, v.right[0].dtype) == ((), dtype)


# ------------------------------------------------------------------------------------------------- trees, sizes


def test_a_tree_becomes_one_vector_and_a_tree_again() -> None:
    tree = Pair(np.arange(6.0).reshape(2, 3), {"x": np.float64(6.0), "e": np.zeros((0, 2))})
    line = vector(tree)
    assert line.tolist() == [0, 1, 2, 3, 4, 5, 6]
    back = unvector(line, tree)
    assert isinstance(back, Pair)
    assert back.left.tolist() == tree.left.tolist()
    assert back.right["x"] == 6.0
    assert back.right["e"].shape == (0, 2)


def test_an_empty_tree_is_an_empty_vector() -> None:
    assert vector(()).shape == (0,)


@pytest.mark.parametrize(("x", "size"), [([0.0, 0.0], 1.0), ([], 1.0), ([0.0, -3.0], 3.0), ([1.0, -2.0, 100.0], 2.0)])
def test_the_size_of_an_argument_is_its_median_magnitude_without_zeros(x: list[float], size: float) -> None:
    assert size_of(np.array(x)) == size


# ------------------------------------------------------------------------------------------------- differences


def test_a_difference_is_contracted_after_it_is_taken() -> None:
    """The output that does not move is so large that the sum over outputs would swallow what does."""
    evaluator = Evaluator(lambda x: np.stack([x[0], 1e20 + 0 * x[1]]), (np.array([1.0, 2.0]),), np.array([2.0, 3.0]))
    difference = evaluator.difference(0, 0, 0.25)
    assert difference.both == 2.0 * 0.5
    assert difference.ahead == 2.0 * 0.25
    assert difference.distance == 1.0
    assert difference.noise <= 8 * 2.0 * EPS  # of the output that moved, not of the other


def test_the_step_that_was_really_taken_is_reported() -> None:
    """Near 1e16 neighbouring numbers are 2 apart: a step of 1.5 goes 2 up and 2 down."""
    evaluator = Evaluator(lambda x: 2 * x, (np.array([1e16]),), np.ones(1))
    difference = evaluator.difference(0, 0, 1.5)
    assert difference.distance == pytest.approx(4 / 3)
    assert difference.both / (2 * 1.5 * difference.distance) == pytest.approx(2.0)


def test_a_step_below_half_an_ulp_goes_nowhere() -> None:
    assert Evaluator(lambda x: x, (np.array([1e16]),), np.ones(1)).difference(0, 0, 0.1).distance == 0.0


def test_the_argument_is_back_where_it_was_afterwards() -> None:
    evaluator = Evaluator(lambda x: x**2, (np.array([1 / 3, 0.1]),), np.ones(2))
    before = evaluator.difference(0, 0, 1e-3)
    evaluator.difference(0, slice(None), np.array([0.7, 0.3]))
    assert evaluator.difference(0, 0, 1e-3) == before


def test_a_function_may_return_a_view_of_its_argument() -> None:
    for function in (lambda x: x, lambda x: x.T, lambda x: x[::-1], lambda x: np.broadcast_to(x, (4, 2, 3))):
        x = normal(2, 3)
        evaluator = Evaluator(function, (x,), np.ones_like(function(x)))
        assert evaluator.difference(0, 1, 0.5).both == pytest.approx(function(x).size / x.size)


def test_the_callers_arrays_are_never_displaced() -> None:
    x = normal(4)
    kept = x.copy()
    arguments: list[Array] = []

    def function(a: Array) -> Array:
        arguments.append(a)
        return a**2

    Evaluator(function, (x,), np.ones(4)).difference(0, 2, 0.1)
    assert (x == kept).all()
    assert not any(np.shares_memory(a, x) for a in arguments)


def test_a_function_cannot_write_to_a_displaced_argument() -> None:
    def scribble(x: Array) -> Array:
        x[0] = 7.0
        return x * 2

    difference = Evaluator(scribble, (np.array([1.0, 2.0]),), np.ones(2)).difference(0, 1, 0.5)
    assert np.isnan(difference.both)  # the write is refused, so this displacement has no difference


def test_masked_infinities_have_no_slope_and_others_no_number() -> None:
    def masked(x: Array) -> Array:
        return np.array([x[0], -np.inf, np.inf])

    with np.errstate(invalid="ignore"):
        difference = Evaluator(masked, (np.array([1.0]),), np.ones(3)).difference(0, 0, 0.5)
    assert difference.both == 1.0
    assert np.isfinite(difference.noise)

    def falling(x: Array) -> Array:
        return np.array([x[0] if x[0] < 1.2 else np.inf])

    assert not np.isfinite(Evaluator(falling, (np.array([1.0]),), np.ones(1)).difference(0, 0, 0.5).both)


def test_a_function_that_refuses_a_displacement_has_no_difference_there() -> None:
    def positive(x: Array) -> Array:
        if (x <= 0).any():
            raise ValueError("x must be positive")
        return np.log(x)

    evaluator = Evaluator(positive, (np.array([1.0, 1e-3]),), np.ones(2))
    assert np.isnan(evaluator.difference(0, 1, 0.1).both)
    assert evaluator.difference(0, 1, 1e-5).both == pytest.approx(2e-2, rel=1e-4)
    assert evaluator.difference(0, 0, 0.1).both == pytest.approx(np.log(1.1 / 0.9))


def test_a_function_that_refuses_its_own_point_is_an_error() -> None:
    def refuse(x: Array) -> Array:
        raise ValueError("nothing is good enough")

    with pytest.raises(ValueError, match="nothing is good enough"):
        Evaluator(refuse, (np.ones(2),), np.ones(2))


def test_only_a_scalar_function_needs_no_cotangent() -> None:
    assert Evaluator(np.sum, (np.ones(3),)).cotangent.tolist() == [1.0]
    with pytest.raises(ValueError, match="a cotangent is needed: the function has 3 outputs, not one"):
        Evaluator(lambda x: x, (np.ones(3),))


# ------------------------------------------------------------------------------------------------- noise


def relative_noise(function: Any, x: Array) -> Array:
    y = np.asarray(function(x), np.float64)
    return Evaluator(function, (x,), np.ones_like(y)).noise / np.abs(y).ravel()


POINTS = {
    "any numbers": normal(40) + 3,
    "numbers that float32 holds": np.arange(1, 41) / 8,
    "one": np.array([1.0]),
    "a tenth": np.array([0.1]),
}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize(
    "function", [np.exp, np.sin, np.sqrt, np.tanh, lambda x: x**3], ids=["exp", "sin", "sqrt", "tanh", "cube"]
)
def test_a_function_in_float64_is_as_quiet_as_its_last_place(function: Any, point: str) -> None:
    noise = relative_noise(function, POINTS[point])
    assert noise.min() >= EPS
    assert np.median(noise) <= 4 * EPS
    assert noise.max() <= 64 * EPS


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("function", [np.exp, np.sin, np.sqrt, np.log1p], ids=["exp", "sin", "sqrt", "log1p"])
def test_float32_inside_is_noise_whatever_the_point(function: Any, point: str) -> None:
    noise = relative_noise(lambda x: function(x.astype(np.float32)).astype(np.float64), POINTS[point])
    assert noise.min() >= 2.0**-27
    assert np.median(noise) <= 2.0**-20


@pytest.mark.parametrize("function", [np.exp, np.sin, np.sqrt])
def test_float32_inside_is_noise_of_a_single_number_too(function: Any) -> None:
    for x in np.abs(normal(12)) + 1:
        assert relative_noise(lambda x: function(x.astype(np.float32)).astype(np.float64), np.array([x])).min() >= 2.0**-28


def test_a_value_in_float32_has_the_noise_of_float32() -> None:
    assert relative_noise(lambda x: np.sin(x).astype(np.float32), POINTS["any numbers"]).min() >= 2.0**-23


def test_noise_that_no_dtype_explains_is_measured() -> None:
    generator = np.random.default_rng(5)
    noise = relative_noise(lambda x: x * (1 + 1e-9 * generator.normal(size=x.shape)), POINTS["any numbers"])
    assert 3e-10 < np.median(noise) < 3e-9


def test_cancellation_is_noise() -> None:
    noise = relative_noise(lambda x: (1e8 + np.sin(x)) - 1e8, np.array([0.3, 1.0, 2.0]))
    assert noise.min() >= 1e-9


def test_a_sharp_bend_is_not_noise() -> None:
    assert relative_noise(lambda x: 2 + np.tanh(1000 * x), np.array([0.0, 1e-4, 1e-3, 0.5])).max() <= 16 * EPS


def test_noise_of_tiny_values_does_not_vanish() -> None:
    """Squares of these noises are below the smallest number."""
    evaluator = Evaluator(lambda x: 1e-150 * np.sin(x), (normal(5),), np.ones(5))
    assert evaluator.difference(0, slice(None), np.full(5, 0.1)).noise >= 1e-150 * EPS * 0.1


def test_a_function_that_refuses_small_displacements_gets_the_noise_of_its_dtype() -> None:
    def exactly(x: Array) -> Array:
        if x[0] != 1.0:
            raise ValueError("only one")
        return x

    assert Evaluator(exactly, (np.ones(1),), np.ones(1)).noise.tolist() == [EPS]
