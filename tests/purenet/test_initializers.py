"""The initializers against jax.nn.initializers with the same key, their variances, and what they refuse."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from purenet import initializers, random

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[Any]

FLOATS = [np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
WINDOWED = (3, 2, 4, 5)
KEY = random.key(0)

keys = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)).map(lambda words: np.array(words, np.uint32))
examples = settings(derandomize=True, max_examples=30, deadline=None)


def assert_is_that_of_jax(ours: Any, theirs: Any, key: Array, shape: tuple[int, ...], dtype: Any) -> None:
    """Equal to rounding, relative to the largest number: a small one is a difference of rounded numbers of that size."""
    with jax.enable_x64(True):
        jax_key = jax.random.wrap_key_data(jax.numpy.asarray(key), impl="threefry2x32")
        expected = np.asarray(theirs(jax_key, shape, dtype))
    got = ours(key, shape, dtype)
    assert isinstance(got, np.ndarray)
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    exact, eps = expected.astype(np.float64), EPS[np.dtype(dtype).name]
    roundings = 40 if dtype == np.float64 else 4  # 40: see random.normal
    np.testing.assert_allclose(got.astype(np.float64), exact, rtol=0, atol=roundings * eps * np.abs(exact).max(initial=0.0))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_constants_are_those_of_jax(shape: tuple[int, ...], dtype: Any) -> None:
    for ours, theirs in (
        (initializers.zeros, jax.nn.initializers.zeros),
        (initializers.ones, jax.nn.initializers.ones),
        (initializers.constant(-0.5), jax.nn.initializers.constant(-0.5)),
        (initializers.constant(3), jax.nn.initializers.constant(3)),
    ):
        with jax.enable_x64(True):
            expected = np.asarray(theirs(jax.random.key(0), shape, dtype))
        got = ours(KEY, shape, dtype)
        assert (got.dtype, got.shape, got.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())


def test_a_constant_array_broadcasts_and_is_copied() -> None:
    value = np.array([1.0, 2.0])
    filled = initializers.constant(value)(KEY, (3, 2))
    assert filled.tolist() == [[1.0, 2.0]] * 3
    filled[0] = 0
    assert value.tolist() == [1.0, 2.0]


def test_a_constant_does_not_change_with_the_array_it_was_made_of() -> None:
    value = np.array([1.0, 2.0])
    init = initializers.constant(value)
    value[0] = 9
    assert init(KEY, (2,)).tolist() == [1.0, 2.0]


def test_the_default_dtype_is_float64() -> None:
    for init in (
        initializers.zeros,
        initializers.ones,
        initializers.constant(1),
        initializers.normal(),
        initializers.he_normal(),
    ):
        assert init(KEY, (2, 3)).dtype == np.float64


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_normal_is_that_of_jax(dtype: Any) -> None:
    for stddev in (1e-2, 0.3, 2):
        assert_is_that_of_jax(initializers.normal(stddev), jax.nn.initializers.normal(stddev), KEY, (4, 5), dtype)
    assert_is_that_of_jax(initializers.normal(), jax.nn.initializers.normal(), KEY, (4, 5), dtype)


NAMED = ["glorot_normal", "xavier_normal", "he_normal", "kaiming_normal", "glorot_uniform", "he_uniform"]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_named_initializers_are_those_of_jax(dtype: Any) -> None:
    for name in NAMED:
        ours, theirs = getattr(initializers, name), getattr(jax.nn.initializers, name)
        assert_is_that_of_jax(ours(), theirs(), KEY, (4, 5), dtype)
        assert_is_that_of_jax(ours(in_axis=1, out_axis=0), theirs(in_axis=1, out_axis=0), KEY, (4, 5), dtype)


@examples
@given(
    key=keys,
    scale=st.sampled_from([0.5, 1.0, 2.0]),
    mode=st.sampled_from(["fan_in", "fan_out", "fan_avg"]),
    distribution=st.sampled_from(["normal", "truncated_normal", "uniform"]),
    order=st.permutations(range(-2, 2)),
    groups=st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 1)),
)
def test_variance_scaling_is_that_of_jax(
    key: Array, scale: float, mode: str, distribution: str, order: list[int], groups: tuple[int, int, int]
) -> None:
    first, second = groups[0], groups[0] + groups[1]
    options: dict[str, Any] = {
        "in_axis": tuple(order[:first]),
        "out_axis": order[first] if groups[1] else (),
        "batch_axis": tuple(order[second : second + groups[2]]),
    }
    ours = initializers.variance_scaling(scale, mode, distribution, **options)
    theirs = jax.nn.initializers.variance_scaling(scale, mode, distribution, **options)  # type: ignore[arg-type]
    assert_is_that_of_jax(ours, theirs, key, WINDOWED, np.dtype(np.float64))


@pytest.mark.parametrize(
    ("init", "std"),
    [
        (initializers.normal(0.3), 0.3),
        (initializers.variance_scaling(2.0, "fan_in", "normal"), math.sqrt(2 / 200)),  # the book's He
        (initializers.variance_scaling(1.0, "fan_in", "normal"), math.sqrt(1 / 200)),  # the book's Xavier
        (initializers.variance_scaling(1.0, "fan_avg", "normal"), math.sqrt(2 / 500)),  # torch's Xavier
        (initializers.variance_scaling(1.0, "fan_out", "uniform"), math.sqrt(1 / 300)),
        (initializers.he_normal(), math.sqrt(2 / 200)),
        (initializers.glorot_normal(), math.sqrt(2 / 500)),
        (initializers.he_uniform(), math.sqrt(2 / 200)),
        (initializers.glorot_uniform(), math.sqrt(2 / 500)),
    ],
)
def test_the_standard_deviation_is_the_stated_one(init: Callable[..., Array], std: float) -> None:
    w = init(KEY, (200, 300))
    assert abs(w.mean()) < 5 * std / math.sqrt(w.size)
    assert w.std() == pytest.approx(std, rel=0.015)


def test_he_normal_is_cut_at_two_standard_deviations_and_the_book_s_is_not() -> None:
    cut = 2 * math.sqrt(2 / 200) / 0.87962566103423978
    assert np.abs(initializers.he_normal()(KEY, (200, 300))).max() <= cut
    assert np.abs(initializers.variance_scaling(2.0, "fan_in", "normal")(KEY, (200, 300))).max() > cut


def test_convolution_weights_have_the_window_in_their_fans() -> None:
    w = initializers.variance_scaling(2.0, "fan_in", "normal", in_axis=1, out_axis=0)(KEY, (64, 20, 5, 5))
    assert w.std() == pytest.approx(math.sqrt(2 / (20 * 5 * 5)), rel=0.02)


def test_the_aliases_are_the_same_functions() -> None:
    assert initializers.xavier_normal is initializers.glorot_normal
    assert initializers.kaiming_normal is initializers.he_normal


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: initializers.zeros(KEY, 3), TypeError, "zeros: shape must be a tuple of integers, got 3"),  # type: ignore[arg-type]
        (lambda: initializers.zeros(KEY, (2,), int), TypeError, "zeros: dtype must be float64, .*, got int64"),
        (lambda: initializers.ones(KEY, (-1,)), ValueError, "ones: every dimension of shape must be at least 0, got -1"),
        (lambda: initializers.constant("a")(KEY, (2,)), TypeError, "constant: value must be a real number"),
        (
            lambda: initializers.constant(np.ones(3))(KEY, (2,)),
            ValueError,
            r"constant: value must broadcast to shape \(2,\), got \(3,\)",
        ),
        (lambda: initializers.normal(-1.0), ValueError, "normal: stddev must be finite and not negative, got -1.0"),
        (lambda: initializers.normal(math.nan), ValueError, "normal: stddev must be finite and not negative, got nan"),
        (lambda: initializers.normal("1"), TypeError, "normal: stddev must be a real number, got '1'"),  # type: ignore[arg-type]
        (lambda: initializers.normal()(np.zeros(2), (2,)), TypeError, "normal: key must have dtype uint32, got float64"),
        (lambda: initializers.variance_scaling(0, "fan_in", "normal"), ValueError, "variance_scaling: scale must be positive"),
        (
            lambda: initializers.variance_scaling(1.0, "fan", "normal"),
            ValueError,
            "variance_scaling: mode must be one of 'fan_in', 'fan_out', 'fan_avg', got 'fan'",
        ),
        (
            lambda: initializers.variance_scaling(1.0, "fan_in", "gaussian"),
            ValueError,
            "distribution must be one of 'normal', 'truncated_normal', 'uniform', got 'gaussian'",
        ),
        (lambda: initializers.he_normal()(KEY, (5,)), ValueError, r"he_normal: in_axis must name axes of shape \(5,\), got -2"),
        (lambda: initializers.he_normal(out_axis=2)(KEY, (5, 4)), ValueError, r"he_normal: out_axis must name axes of shape"),
        (
            lambda: initializers.he_normal(in_axis=0.5)(KEY, (5, 4)),  # type: ignore[arg-type]
            TypeError,
            "he_normal: in_axis must be an integer or a tuple of integers, got 0.5",
        ),
        (
            lambda: initializers.glorot_normal(in_axis=-1)(KEY, (5, 4)),
            ValueError,
            "glorot_normal: in_axis, out_axis and batch_axis must differ, got -1, -1 and",
        ),
        (
            lambda: initializers.glorot_uniform()(KEY, (0, 4)),
            ValueError,
            r"glorot_uniform: shape must have no empty input, output or window axis, got \(0, 4\)",
        ),
    ],
)
def test_bad_input_is_named(call: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()
