"""Integers, categories, choices and permutations against jax.random with the same key."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from purenet import random
from tests.purenet.answers import answer
from tests.purenet.draws import FLOATS, Array, assert_same_bits, examples, keys


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
def test_randint_is_that_of_jax(dtype: str) -> None:
    limits, key = np.iinfo(dtype), random.key(12)
    for low, high in (
        (0, 10),
        (3, 4),
        (1, 127),
        (limits.min, limits.max),
        (limits.max - 5, limits.max),
        (0, limits.max // 2 + 2),
    ):
        for shape in ((), (5, 4)) if dtype == "int64" else ((5, 4),):
            bounds = [np.asarray(bound, "u8" if dtype == "uint64" else "i8") for bound in (low, high)]
            assert_same_bits(random.randint(key, shape, low, high, dtype), answer("random.randint", key, shape, *bounds, dtype))


def test_randint_bounds_broadcast_and_reach_the_end_of_the_dtype() -> None:
    key, low, high = random.key(13), np.array([[0], [5]]), np.array([6, 70, 10**12])
    ours = random.randint(key, (2, 3), low, high)
    assert_same_bits(ours, answer("random.randint", key, (2, 3), low, high))
    everything = random.randint(key, (2000,), 0, 256, np.uint8)
    assert set(everything.tolist()) == set(range(256))
    assert_same_bits(everything, answer("random.randint", key, (2000,), 0, 256, np.uint8))
    limits = np.int64(-(2**63)), np.uint64(2**63)
    assert_same_bits(random.randint(key, (100,), *limits), answer("random.randint", key, (100,), *limits))
    assert random.randint(key, (3,), 0, 2**64, np.uint64).dtype == np.uint64


@pytest.mark.parametrize(  # gumbel has each dtype in either mode
    ("dtype", "size", "axis", "shape", "mode"),
    [
        (FLOATS[0], (7,), 0, (30,), "low"),
        (FLOATS[1], (4, 1, 5), 0, (20, 3, 5), "high"),
        (FLOATS[2], (4, 1, 5), 0, (20, 3, 5), "low"),
        (FLOATS[3], (7,), 0, (30,), "high"),
    ],
    ids=str,
)
def test_categorical_is_that_of_jax(dtype: Any, size: tuple[int, ...], axis: int, shape: tuple[int, ...], mode: str) -> None:
    logits = (3 * np.random.default_rng(0).normal(size=size)).astype(dtype)
    for key in random.split(random.key(15), 3):
        theirs = answer("random.categorical", key, logits, axis, shape, mode=mode)
        assert_same_bits(random.categorical(key, logits, axis, shape, mode=mode), theirs)


@pytest.mark.parametrize(
    ("size", "axis", "shape"),
    [
        ((7,), -1, None),
        ((4, 5), -1, None),
        ((4, 5), 0, (3, 5)),
        ((4, 3, 5), 1, (6, 4, 5)),
        ((4, 3), -2, None),
        ((0, 3), 1, (2, 0)),
    ],
)
def test_the_shapes_of_categorical_are_those_of_jax(size: tuple[int, ...], axis: int, shape: Any) -> None:
    logits, key = np.random.default_rng(0).normal(size=size), random.key(16)
    theirs = answer("random.categorical", key, logits, axis, shape)
    assert_same_bits(random.categorical(key, logits, axis, shape), theirs)


@pytest.mark.parametrize(
    ("dtype", "axis", "shape"),
    [*((dtype, 1, (3, 5)) for dtype in FLOATS), (FLOATS[0], 0, (6,)), (FLOATS[0], -2, (2, 2, 6))],
    ids=str,
)
def test_categorical_without_replacement_is_that_of_jax(dtype: Any, axis: int, shape: tuple[int, ...]) -> None:
    logits = (3 * np.random.default_rng(1).normal(size=(5, 6))).astype(dtype)
    for key in random.split(random.key(17), 2):
        ours = random.categorical(key, logits, axis, shape, replace=False)
        assert ours.dtype == np.intp  # JAX has int32 here, and int64 with replacement
        np.testing.assert_array_equal(ours, answer("random.categorical", key, logits, axis, shape, replace=False))
        samples = ours.reshape(-1, shape[-1])
        assert all(len(set(column.tolist())) == len(samples) for column in samples.T)


@pytest.mark.parametrize("mode", ["low", "high"])
def test_categories_have_the_probabilities_of_the_softmax(mode: str) -> None:
    logits = np.array([0.0, 1.0, -np.inf, -1.0])
    drawn = random.categorical(random.key(3), logits, shape=(20_000,), mode=mode)
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / drawn.size, special.softmax(logits), atol=0.01)


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("shape", [(), (2, 3), (0,)])
@pytest.mark.parametrize("p", [None, [0.1, 0.0, 0.3, 0.2, 0.1, 0.05, 0.15, 0.1]])
def test_choice_is_that_of_jax(replace: bool, shape: tuple[int, ...], p: list[float] | None) -> None:
    key, weights = random.key(14), None if p is None else np.array(p)
    assert_same_bits(random.choice(key, 8, shape, replace, weights), answer("random.choice", key, 8, shape, replace, weights))
    if math.prod(shape):
        x = np.arange(2 * 8 * 3).reshape(2, 8, 3)
        theirs = answer("random.choice", key, x, shape, replace, weights, 1)
        assert_same_bits(random.choice(key, x, shape, replace, weights, 1), theirs)


def test_choice_has_the_probabilities_of_p_in_proportion() -> None:
    drawn = random.choice(random.key(5), np.array([10, 20, 30]), (20_000,), p=[0, 1, 3])
    assert set(drawn.tolist()) == {20, 30}
    assert abs((drawn == 30).mean() - 0.75) < 0.01
    assert sorted(random.choice(random.key(5), 3, (2,), replace=False, p=np.array([1, 0, 3], np.float32)).tolist()) == [0, 2]
    assert random.choice(random.key(5), 0, (0,)).shape == (0,)


@pytest.mark.parametrize("size", [0, 1, 2, 1625, 1626])  # no round, no round, then 1 round, and 2 from 1626
def test_the_permutation_of_a_range_is_that_of_jax(size: int) -> None:
    assert_same_bits(random.permutation(random.key(size), size), answer("random.permutation", random.key(size), size))


@pytest.mark.parametrize(
    ("shape", "axis", "independent"),
    [
        ((6,), 0, False),
        ((6,), -1, True),
        ((0,), 0, False),
        ((4, 5, 2), 1, False),
        ((4, 5, 2), -3, True),
        ((4, 5, 2), 1, True),
        ((3, 0), 1, True),
        ((40, 50), -1, True),  # two rounds
    ],
)
def test_the_permutation_of_an_array_is_that_of_jax(shape: tuple[int, ...], axis: int, independent: bool) -> None:
    x = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    for key in random.split(random.key(9), 4):
        ours = random.permutation(key, x, axis, independent)
        assert_same_bits(ours, answer("random.permutation", key, x, axis, independent))
        assert not np.shares_memory(ours, x)
    assert x.ravel().tolist() == list(range(x.size))


@examples
@given(key=keys, shape=st.lists(st.integers(1, 5), min_size=1, max_size=3), data=st.data(), independent=st.booleans())
def test_a_permutation_moves_along_its_axis_only(key: Array, shape: list[int], data: st.DataObject, independent: bool) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = np.arange(math.prod(shape)).reshape(shape)
    y = random.permutation(key, x, axis, independent)
    assert np.array_equal(np.sort(y, axis), x)
    if not independent:
        order = random.permutation(key, shape[axis])
        assert np.array_equal(y, np.take(x, order, axis))
