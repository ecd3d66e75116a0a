"""The generator against jax.random with the same key, against published answers, and what it refuses."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from purenet import arithmetic, random
from purenet.random import threefry
from tests.purenet.answers import answer, live
from tests.purenet.draws import (
    BFLOAT16,
    BOUNDS,
    EPS,
    FLOATS,
    MANY,
    SHAPES,
    Array,
    assert_same_bits,
    examples,
    first_of,
    jax_key,
    keys,
    seeds,
    ulps,
)

# ---------------------------------------------------------------------------------------------------- keys


@examples
@given(seed=seeds)
def test_a_key_is_the_key_data_of_jax_with_x64(seed: int) -> None:
    with jax.enable_x64(True):
        theirs = np.asarray(jax.random.key_data(jax.random.key(seed)))
    assert_same_bits(random.key(seed), theirs)


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_below_32_bits_the_x64_flag_of_jax_makes_no_difference(seed: int) -> None:
    with jax.enable_x64(False):
        theirs = np.asarray(jax.random.key_data(jax.random.key(seed)))
    assert_same_bits(random.key(seed), theirs)


def test_without_x64_jax_drops_the_upper_half_of_a_seed_and_we_keep_it() -> None:
    with jax.enable_x64(False):
        assert np.asarray(jax.random.key_data(jax.random.key(2**32 + 5))).tolist() == [0, 5]
    assert random.key(2**32 + 5).tolist() == [1, 5]


@examples
@given(key=keys, num=st.sampled_from([1, 2, 5, (2, 3)]))
def test_split_is_that_of_jax(key: Array, num: Any) -> None:
    with jax.enable_x64(True):
        theirs = np.asarray(jax.random.key_data(jax.random.split(jax_key(key), num)))
    assert_same_bits(random.split(key, num), theirs)


@examples
@given(key=keys, data=st.integers(0, 2**32 - 1))
def test_fold_in_is_that_of_jax(key: Array, data: int) -> None:
    with jax.enable_x64(True):
        theirs = np.asarray(jax.random.key_data(jax.random.fold_in(jax_key(key), data)))
    assert_same_bits(random.fold_in(key, data), theirs)


def test_the_hash_gives_the_published_answers_of_random123() -> None:
    def words(counter: int, *key: int) -> list[int]:
        return [int(word[0]) for word in threefry.threefry2x32(np.array(key, np.uint32), counter, counter + 1)]

    assert words(0, 0, 0) == [0x6B200159, 0x99BA4EFE]
    assert words(2**64 - 1, 0xFFFFFFFF, 0xFFFFFFFF) == [0x1CB996FC, 0xBB002BE7]
    assert words(0x243F6A8885A308D3, 0x13198A2E, 0x03707344) == [0xC4923A9C, 0x483DF7A0]


def test_keys_are_read_only_and_samples_are_not() -> None:
    key = random.key(1)
    for made in (key, random.split(key), random.split(key)[0], random.fold_in(key, 3)):
        with pytest.raises(ValueError, match="read-only"):
            made[0] = 0
    for sample in (random.bits(key, (3,)), random.normal(key, (3,)), random.permutation(key, 3)):
        sample[0] = 0


def test_a_writable_key_is_accepted_and_left_alone() -> None:
    key = np.array([3, 4], np.uint32)
    assert_same_bits(random.bits(key, (5,)), random.bits(key, (5,)))
    random.split(key), random.fold_in(key, 1), random.normal(key, (5,)), random.permutation(key, 2000)
    assert key.tolist() == [3, 4]


# ----------------------------------------------------------------------------------------------- samplers


@pytest.mark.parametrize("shape", [(), (0,), (3, 1, 4), (2, 0)])
def test_the_shapes_are_those_of_jax(shape: tuple[int, ...]) -> None:
    key = random.key(7)
    assert_same_bits(random.bits(key, shape), answer("random.bits", key, shape, "uint32"))
    assert_same_bits(random.uniform(key, shape), answer("random.uniform", key, shape))


@examples
@given(key=keys, shape=st.sampled_from(SHAPES), dtype=st.sampled_from(["uint8", "uint16", "uint32", "uint64"]))
def test_bits_are_those_of_jax(key: Array, shape: tuple[int, ...], dtype: str) -> None:
    theirs = live("random.bits", key, (MANY,), dtype)
    assert_same_bits(random.bits(key, shape, dtype), first_of(theirs, shape))


def assert_uniform_of_jax(ours: Array, theirs: Array, key: Array, low: Any, high: Any) -> None:
    """The same bits; in float16 XLA rounds once where the processor has a multiply-add of that width, and twice elsewhere."""
    if ours.dtype != np.float16:
        assert_same_bits(ours, theirs)
        return
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    low, high = np.asarray(low, np.float16), np.asarray(high, np.float16)
    unit = random.uniform(key, ours.shape, np.float16).astype(np.float64)
    once = (unit * (high - low).astype(np.float64) + low.astype(np.float64)).astype(np.float16)  # exact in 53 bits till then
    assert np.array_equal(theirs, ours) or np.array_equal(theirs, once)


@settings(examples, max_examples=60)
@given(key=keys, shape=st.sampled_from(SHAPES), dtype=st.sampled_from(FLOATS), bounds=st.sampled_from(BOUNDS))
def test_uniform_is_that_of_jax(key: Array, shape: tuple[int, ...], dtype: Any, bounds: tuple[float, float]) -> None:
    theirs = live("random.uniform", key, (MANY,), dtype, *bounds)
    assert_uniform_of_jax(random.uniform(key, shape, dtype, *bounds), first_of(theirs, shape), key, *bounds)


def test_uniform_in_float16_rounds_at_each_step_on_every_processor() -> None:
    key, (low, high) = random.key(5), (np.float16(-0.7), np.float16(0.31))
    stepwise = random.uniform(key, (50,), np.float16) * (high - low) + low
    assert_same_bits(random.uniform(key, (50,), np.float16, low, high), stepwise)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("low", "high"), [((3,), ()), ((2, 1), (2, 3))])
def test_uniform_bounds_broadcast_as_in_jax(dtype: Any, low: tuple[int, ...], high: tuple[int, ...]) -> None:
    key, generator = random.key(5), np.random.default_rng(0)
    minval, maxval = generator.uniform(-3, 0, low), generator.uniform(0, 3, high)
    ours = random.uniform(key, (2, 3), dtype, minval, maxval)
    assert_uniform_of_jax(ours, answer("random.uniform", key, (2, 3), dtype, minval, maxval), key, minval, maxval)


@pytest.mark.parametrize("dtype", FLOATS[:2], ids=str)
@pytest.mark.parametrize(("low", "high"), [(0.1, 0.3), (-1e300, 1e-3), (1e-200, 1e200), (-1.0, 1.0 + 1e-9), (0.25, 1e17)])
def test_uniform_rounds_the_exact_value_once(dtype: Any, low: float, high: float) -> None:
    if dtype == np.float32:
        low, high = float(np.clip(low, -1e30, 1e30)), float(np.clip(high, -1e30, 1e30))
    key, a, b = random.key(8), dtype.type(low), dtype.type(high)
    unit, ours = random.uniform(key, (500,), dtype), random.uniform(key, (500,), dtype, low, high)
    exact = [Fraction(float(u)) * Fraction(float(b - a)) + Fraction(float(a)) for u in unit]
    for value, got in zip(exact, ours, strict=True):
        around = (np.nextafter(got, dtype.type(-np.inf)), np.nextafter(got, dtype.type(np.inf)))
        assert all(abs(value - Fraction(float(got))) <= abs(value - Fraction(float(other))) for other in around)


def test_a_product_just_above_a_tie_rounds_up() -> None:
    u, s = np.array([898107057 * 2.0**-30]), np.array(160465489 * 2.0**-80)  # u s = 2**-53 + 2**-110: 1 + u s is above the tie
    assert Fraction(float(u[0])) * Fraction(float(s)) == Fraction(1, 2**53) + Fraction(1, 2**110)
    assert arithmetic.multiply_add(u, s, np.array(1.0), np.dtype(np.float64)).tolist() == [1 + 2.0**-52]


@settings(examples, max_examples=40)
@given(key=keys, shape=st.sampled_from(SHAPES), dtype=st.sampled_from(FLOATS))
def test_normal_is_that_of_jax(key: Array, shape: tuple[int, ...], dtype: Any) -> None:
    ours, theirs = random.normal(key, shape, dtype), first_of(live("random.normal", key, (MANY,), dtype), shape)
    size = np.abs(np.atleast_1d(ours).astype(np.float64))
    lossy = (size > 0.87) & (size < 0.93) & (dtype == np.float64)  # see the docstring
    assert np.all(ulps(ours, theirs) <= np.where(lossy, 40, 0 if dtype.itemsize == 2 else 4))


def test_where_some_versions_of_jax_lose_digits_normal_is_that_of_scipy() -> None:
    key, shape = random.key(0), (MANY,)
    ours = random.normal(key, shape)
    exact = np.sqrt(2.0) * special.erfinv(random.uniform(key, shape, minval=np.nextafter(-1.0, 0.0), maxval=1.0))
    lossy = (np.abs(ours) > 0.87) & (np.abs(ours) < 0.93)
    assert lossy.sum() > 1000
    assert ulps(ours[lossy], exact[lossy]).max() <= 6


def test_the_inverse_of_erf_is_right_from_the_smallest_number_to_the_last_before_1() -> None:
    for dtype in FLOATS[:2]:
        steps = np.arange(1, 3000) * (EPS[dtype.name] / 2)
        x = np.concatenate([1 - steps, 1 - np.geomspace(1e-14, 0.5, 3000), np.geomspace(1e-30, 0.9999, 3000)]).astype(dtype)
        x = x[x < 1]
        truth = special.erfinv(x.astype(np.float64))
        # x**2 is rounded, and 1 - x**2 has the absolute error of that
        allowed = EPS[dtype.name] * (8 + np.exp(truth**2) / (1 + truth**2))
        assert np.all(np.abs(arithmetic.erfinv(x) / truth - 1) <= allowed)
        assert arithmetic.erfinv(np.array([1, -1, 0], dtype)).tolist() == [np.inf, -np.inf, 0]
        tail = x[x > 0.7]
        with jax.enable_x64(True):
            theirs = np.asarray(jax.lax.erf_inv(jax.numpy.asarray(tail)))
        assert ulps(arithmetic.erfinv(tail), theirs).max() <= 4


@settings(examples, max_examples=40)
@given(
    key=keys,
    shape=st.sampled_from(SHAPES),
    dtype=st.sampled_from(FLOATS),
    bounds=st.sampled_from([(-2.0, 2.0), (-1.5, 0.3), (0.5, 3.0), (-np.inf, 1.0), (-np.inf, np.inf), (0.0, 9.0)]),
)
def test_truncated_normal_is_that_of_jax(key: Array, shape: tuple[int, ...], dtype: Any, bounds: tuple[float, float]) -> None:
    ours = random.truncated_normal(key, *bounds, shape, dtype)
    theirs = first_of(live("random.truncated_normal", key, *bounds, (MANY,), dtype), shape)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    assert np.all((ours > bounds[0]) & (ours < bounds[1]))
    # an ULP of u is this many of z, and 16 more where the log1p of XLA loses digits
    allowed = EPS[dtype.name] * (16 + 4 * np.exp(np.minimum(ours**2 / 2, 700)))
    assert np.all(np.abs(ours - theirs) <= allowed)


def test_truncated_normal_takes_its_shape_from_the_bounds() -> None:
    lower, upper = np.array([[-1.0], [0.0]]), np.array([0.5, 1.0, 2.0])
    z = random.truncated_normal(random.key(3), lower, upper)
    theirs = answer("random.truncated_normal", random.key(3), lower, upper)
    assert z.shape == theirs.shape == (2, 3)
    np.testing.assert_allclose(z, theirs, rtol=0, atol=1e-14)


@settings(examples, max_examples=40)
@given(
    key=keys,
    shape=st.sampled_from(SHAPES),
    dtype=st.sampled_from(FLOATS),
    p=st.sampled_from([0.0, 1e-3, 0.3, 0.5, 0.9, 1.0]),
)
def test_bernoulli_is_that_of_jax(key: Array, shape: tuple[int, ...], dtype: Any, p: float) -> None:
    given = np.asarray(p).astype(dtype)
    assert_same_bits(random.bernoulli(key, given, shape), first_of(live("random.bernoulli", key, given, (MANY,)), shape))


def test_bernoulli_takes_its_shape_and_dtype_from_p() -> None:
    key, p = random.key(2), np.linspace(0, 1, 5)
    assert_same_bits(random.bernoulli(key), answer("random.bernoulli", key))
    assert_same_bits(random.bernoulli(key, p), answer("random.bernoulli", key, p))
    assert_same_bits(random.bernoulli(key, p, (4, 5)), answer("random.bernoulli", key, p, (4, 5)))


# 120: what the log1p of XLA loses, see the docstring of normal
@settings(examples, max_examples=30)
@given(key=keys, shape=st.sampled_from(SHAPES), dtype=st.sampled_from(FLOATS))
def test_exponential_is_that_of_jax(key: Array, shape: tuple[int, ...], dtype: Any) -> None:
    ours, theirs = random.exponential(key, shape, dtype), first_of(live("random.exponential", key, (MANY,), dtype), shape)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    roundings = 0 if dtype.itemsize == 2 else 2 if dtype == np.float32 else 150
    theirs = theirs.astype(np.float64)
    np.testing.assert_allclose(ours.astype(np.float64), theirs, rtol=roundings * EPS[dtype.name], atol=0)


@pytest.mark.parametrize(
    ("dtype", "mode", "shape"),
    [
        *((dtype, mode, shape) for dtype in FLOATS for mode, shape in (("low", (MANY,)), ("high", (MANY // 2,)))),
        (FLOATS[1], "low", (3, 1, 4)),
        (FLOATS[1], "high", ()),
    ],
    ids=str,
)
def test_gumbel_is_that_of_jax(dtype: Any, mode: str, shape: tuple[int, ...]) -> None:
    roundings = 0 if dtype.itemsize == 2 else 150 if mode == "high" and dtype == np.float64 else 3
    for key in random.split(random.key(10), 3):
        every = 40 if math.prod(shape) > 1000 else None
        theirs = answer("random.gumbel", key, shape, dtype, mode, every=every)
        ours = random.gumbel(key, shape, dtype, mode)
        ours = ours if every is None else ours[::every]
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        theirs = theirs.astype(np.float64)
        distance = np.abs(ours.astype(np.float64) - theirs)
        assert np.all(distance <= roundings * EPS[dtype.name] * np.maximum(1, np.abs(theirs)))


def test_low_is_the_mode_of_jax_where_none_is_named() -> None:
    key = random.key(4)
    assert ulps(random.gumbel(key, (50,), np.float16), answer("random.gumbel", key, (50,), np.float16)).max() == 0


def test_high_reaches_where_low_does_not() -> None:
    largest = {
        mode: max(random.gumbel(random.key(s), (1000,), BFLOAT16, mode).max() for s in range(20)) for mode in ("low", "high")
    }
    assert largest["low"] < 5 < 8 < largest["high"]


@pytest.mark.parametrize(
    ("n", "m", "shape", "dtype"),
    [
        (4, None, (), FLOATS[1]),
        (5, 3, (2,), FLOATS[0]),
        (3, 5, (2, 2), FLOATS[0]),
        (1, 1, (6,), FLOATS[1]),
        (3, 2, (0,), FLOATS[0]),
    ],
    ids=str,
)
def test_orthogonal_is_that_of_jax(n: int, m: int | None, shape: tuple[int, ...], dtype: Any) -> None:
    key = random.key(11)
    ours, theirs = random.orthogonal(key, n, shape, dtype, m), answer("random.orthogonal", key, n, shape, dtype, m)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=200 * EPS[dtype.name])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_orthogonal_is_orthogonal(dtype: Any) -> None:
    tall = random.orthogonal(random.key(1), 7, (3,), dtype, 4)
    wide = random.orthogonal(random.key(1), 4, (3,), dtype, 7)
    assert tall.dtype == wide.dtype == dtype
    np.testing.assert_array_equal(wide, np.swapaxes(tall, 1, 2))
    q = tall.astype(np.float64)
    np.testing.assert_allclose(
        np.swapaxes(q, 1, 2) @ q, np.broadcast_to(np.eye(4), (3, 4, 4)), rtol=0, atol=8 * EPS[dtype.name]
    )
    assert random.orthogonal(random.key(1), 0).shape == (0, 0)
    assert random.orthogonal(random.key(1), 0, (), dtype, 3).shape == (0, 3)


def test_reflections_are_as_likely_as_rotations() -> None:
    determinants = np.linalg.det(random.orthogonal(random.key(2), 3, (2000,)))
    assert abs((determinants > 0).mean() - 0.5) < 0.05
    assert abs(random.orthogonal(random.key(2), 3, (2000,)).mean(axis=0)).max() < 0.05


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_first_numbers_do_not_depend_on_how_many_are_drawn(dtype: Any) -> None:
    key = random.key(6)
    many = random.uniform(key, (50_000,), dtype)
    assert_same_bits(random.uniform(key, (33_000,), dtype), many[:33_000])
    assert_same_bits(random.uniform(key, (20, 5), dtype), many[:100].reshape(20, 5))


def test_the_byte_order_of_the_results_is_native() -> None:
    assert random.normal(random.key(0), (2,), ">f8").dtype.isnative
    assert random.bits(random.key(0), (2,), ">u4").dtype.isnative


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("random.gumbel", ((3, 1, 4), FLOATS[1], "low")),
        ("random.orthogonal", (4, (), FLOATS[1], None)),
        ("random.randint", ((5, 4), np.array(0), np.array(10), "int64")),
        ("random.categorical", (np.random.default_rng(0).normal(size=7), -1, None)),
        ("random.choice", (8, (2, 3), False, None)),
        ("random.permutation", (1626,)),
    ],
)
def test_the_answers_in_the_file_are_those_of_this_jax(name: str, arguments: tuple[Any, ...]) -> None:
    seed = {"gumbel": 10, "orthogonal": 11, "randint": 12, "choice": 14, "categorical": 16, "permutation": 1626}
    key = random.key(seed[name.removeprefix("random.")])
    key = random.split(key, 3)[0] if name == "random.gumbel" else key
    kept, now = answer(name, key, *arguments), live(name, key, *arguments)
    assert (kept.dtype, kept.shape) == (now.dtype, now.shape)
    assert ulps(kept, now).max() <= 100  # XLA rounds differently on another processor
