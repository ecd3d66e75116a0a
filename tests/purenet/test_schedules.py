"""Schedules: equal to optax's at every count, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenet.schedules import as_schedule, constant_schedule, exponential_decay


def values(schedule: Callable[[Any], Any], counts: range) -> list[float]:
    with jax.enable_x64(True):
        return [float(schedule(count)) for count in counts]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    init_value=st.floats(1e-6, 10),
    transition_steps=st.integers(1, 40),
    decay_rate=st.floats(0.05, 3),
    transition_begin=st.integers(0, 15),
    staircase=st.booleans(),
    end_value=st.none() | st.floats(1e-6, 10),
)
def test_exponential_decay_equals_optax(**options: Any) -> None:
    counts = range(40)
    ours, theirs = values(exponential_decay(**options), counts), values(optax.exponential_decay(**options), counts)
    np.testing.assert_allclose(ours, theirs, rtol=16 * 2.0**-52, atol=0)


def test_constant_equals_optax() -> None:
    counts = range(5)
    assert values(constant_schedule(0.3), counts) == values(optax.constant_schedule(0.3), counts) == [0.3] * 5


def test_first_count_is_zero_and_halves_every_second_update() -> None:
    rate = exponential_decay(8.0, 2, 0.25)
    assert [rate(count) for count in range(4)] == [8.0, 4.0, 2.0, 1.0]


def test_begins_after_transition_begin() -> None:
    rate = exponential_decay(8.0, 1, 0.5, transition_begin=2)
    assert [rate(count) for count in range(5)] == [8.0, 8.0, 8.0, 4.0, 2.0]


def test_end_value_bounds_decay_from_below_and_growth_from_above() -> None:
    assert exponential_decay(1.0, 1, 0.5, end_value=0.2)(10) == 0.2
    assert exponential_decay(1.0, 1, 2.0, end_value=5.0)(10) == 5.0
    assert exponential_decay(0.1, 1, 0.5, end_value=0.2)(0) == 0.2  # as optax: from the first count on


def test_growth_beyond_the_largest_float() -> None:
    assert exponential_decay(1.0, 1, 2.0)(5000) == math.inf
    assert exponential_decay(1.0, 1, 2.0, end_value=3.0)(5000) == 3.0


def test_values_are_python_floats_which_leave_dtypes_alone() -> None:
    assert type(exponential_decay(1, 3, 0.5)(np.int64(2))) is float
    assert type(constant_schedule(np.float64(1))(0)) is float


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((0.1, 0, 0.5), ValueError, "exponential_decay: transition_steps and decay_rate must be positive, got 0"),
        ((0.1, 5, 0.0), ValueError, "transition_steps and decay_rate must be positive"),
        ((0.1, 5, -0.5), ValueError, "transition_steps and decay_rate must be positive"),
        ((0.1, 5, 0.5, -1), ValueError, "exponential_decay: transition_begin must be"),
        ((math.nan, 5, 0.5), ValueError, "exponential_decay: init_value must be"),
        ((0.1, 5, 0.5, 0, False, math.inf), ValueError, "exponential_decay: end_value must be"),
        (("0.1", 5, 0.5), TypeError, "exponential_decay: init_value must be a number, got str"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        exponential_decay(*arguments)


@pytest.mark.parametrize(("value", "error"), [(math.inf, ValueError), (None, TypeError), (1j, TypeError)])
def test_bad_constant(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="constant_schedule: value must be"):
        constant_schedule(value)


@pytest.mark.parametrize("result", [np.float32(0.5), np.array(0.5), 0.5])
def test_a_schedule_of_ones_own_may_return_any_real_scalar(result: Any) -> None:
    rate = as_schedule("opt", lambda count: result)(0)
    assert type(rate) is float
    assert rate == 0.5


@pytest.mark.parametrize(
    ("result", "error"), [(-0.1, ValueError), (math.nan, ValueError), (np.ones(2), TypeError), ("1", TypeError)]
)
def test_what_a_schedule_returns_is_checked_with_its_count(result: Any, error: type[Exception]) -> None:
    schedule = as_schedule("opt", lambda count: result)
    with pytest.raises(error, match=r"opt: learning_rate\(7\) must be"):
        schedule(7)
