"""Schedules: equal to optax's at every count, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purenet import schedules
from purenet.schedules import as_schedule, constant_schedule, exponential_decay


def values(schedule: Callable[[Any], Any], counts: range) -> list[float]:
    return [float(schedule(count)) for count in counts]


def values_of_optax(schedule: Callable[[Any], Any], counts: range) -> list[float]:
    """The values at all counts in one call, which takes JAX as long as a call for one count."""
    with jax.enable_x64(True):
        return np.asarray(jax.vmap(schedule)(jnp.array(counts))).tolist()  # type: ignore[no-any-return]


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
    ours, theirs = values(exponential_decay(**options), counts), values_of_optax(optax.exponential_decay(**options), counts)
    np.testing.assert_allclose(ours, theirs, rtol=16 * 2.0**-52, atol=0)


def test_constant_equals_optax() -> None:
    counts = range(5)
    assert values(constant_schedule(0.3), counts) == values_of_optax(optax.constant_schedule(0.3), counts) == [0.3] * 5


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


# ------------------------------------------------------------------------------------- those of cosines, lines and cycles

counts = st.integers(1, 40)
sizes = st.floats(1e-3, 10)


def check(name: str, size: float, *arguments: Any, **options: Any) -> None:
    """Ours and optax's of this name, at every count: a rate that comes near 0 is rounded as the largest."""
    ours, theirs = (getattr(library, name)(*arguments, **options) for library in (schedules, optax))
    np.testing.assert_allclose(values(ours, range(45)), values_of_optax(theirs, range(45)), rtol=0, atol=64 * 2.0**-52 * size)


@settings(derandomize=True, max_examples=12, deadline=None)
@given(sizes, sizes, st.sampled_from([0.5, 1.0, 2.0, 3.5]), counts, st.integers(0, 15))
def test_polynomials_equal_optax(init: float, end: float, power: float, steps: int, begin: int) -> None:
    check("polynomial_schedule", init + end, init, end, power, steps, begin)
    check("linear_schedule", init + end, init, end, steps, begin)


@settings(derandomize=True, max_examples=12, deadline=None)
@given(sizes, sizes, st.integers(0, 10), counts, sizes, st.sampled_from([1.0, 2.0]))
def test_cosines_equal_optax(init: float, peak: float, warmup: int, more: int, end: float, exponent: float) -> None:
    size = init + peak + end
    check("cosine_decay_schedule", init, init, more, 0.3, exponent)
    check("warmup_cosine_decay_schedule", size, init, peak, warmup, warmup + more, end, exponent)
    cycle = {"init_value": init, "peak_value": peak, "warmup_steps": warmup, "decay_steps": warmup + more}
    check("sgdr_schedule", size, [cycle, {**cycle, "end_value": end}])


def test_steps_are_multiplied_from_their_boundary_on() -> None:
    check("piecewise_constant_schedule", 1.0, 1.0, {0: 0.5, 7: 0.1, 3: 2.0})
    check("piecewise_constant_schedule", 1.0, 1.0)
    check("piecewise_interpolate_schedule", 1.0, "cosine", 1.0, {7: 0.1, 3: 0.5})


def test_cosine_stays_where_torch_s_rises_again() -> None:
    rate = schedules.cosine_decay_schedule(1.0, 10, alpha=0.25)
    assert [rate(count) for count in (10, 11, 1000)] == [0.25] * 3


def test_published_values_of_the_transformer() -> None:
    rate = schedules.noam_schedule(512, 4000)
    assert rate(3999) == pytest.approx(1 / math.sqrt(512 * 4000))  # the peak
    assert max(range(8000), key=rate) == 3999


def test_cyclic_by_hand() -> None:
    rate = schedules.cyclic_schedule(0.1, 0.5, 1, 4)
    np.testing.assert_allclose([rate(count) for count in range(7)], [0.1, 0.5, 0.4, 0.3, 0.2, 0.1, 0.5], rtol=1e-14)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: schedules.join_schedules([], []), ValueError, "join_schedules: boundaries must be one less"),
        (
            lambda: schedules.join_schedules([0.1], []),
            TypeError,
            r"join_schedules: schedules\[0\] must be a function.*got float",
        ),
        (
            lambda: schedules.join_schedules([constant_schedule(1.0)] * 3, [5, 2]),
            ValueError,
            r"join_schedules: boundaries must be in order, got \[5, 2\]",
        ),
        (lambda: schedules.polynomial_schedule(1.0, 0.1, -1, 5), ValueError, "polynomial_schedule: power must be"),
        (
            lambda: schedules.linear_schedule(1.0, 0.1, 0),
            ValueError,
            "linear_schedule: transition_steps must be positive, got 0",
        ),
        (lambda: schedules.piecewise_constant_schedule(1.0, [3]), TypeError, "boundaries_and_scales must be a dict, got list"),
        (lambda: schedules.piecewise_constant_schedule(1.0, {3: -1.0}), ValueError, r"boundaries_and_scales\[3\] must be"),
        (lambda: schedules.inverse_time_decay(1.0, 0, 0.1), ValueError, "inverse_time_decay: decay_steps must be positive"),
        (lambda: schedules.noam_schedule(0, 10), ValueError, "noam_schedule: d_model must be positive"),
        (lambda: schedules.cosine_decay_schedule(1.0, 0), ValueError, "cosine_decay_schedule: decay_steps must be positive"),
        (
            lambda: schedules.warmup_cosine_decay_schedule(0.0, 1.0, 10, 10),
            ValueError,
            "decay_steps must be more than the warmup_steps 10.0, which it includes, got 10.0",
        ),
        (lambda: schedules.sgdr_schedule([]), ValueError, "sgdr_schedule: cosine_kwargs must have at least one cycle"),
        (lambda: schedules.sgdr_schedule([3]), TypeError, r"sgdr_schedule: cosine_kwargs\[0\] must be a dict, got int"),
        (
            lambda: schedules.piecewise_interpolate_schedule("cubic", 1.0),
            ValueError,
            "interpolate_type must be one of 'linear', 'cosine', got 'cubic'",
        ),
        (lambda: schedules.linear_onecycle_schedule(1, 1.0), ValueError, "its parts must end one after the other"),
        (lambda: schedules.cosine_onecycle_schedule(9, 1.0, div_factor=0), ValueError, "div_factor must be positive"),
        (lambda: schedules.cyclic_schedule(0.1, 1.0, 5, mode="square"), ValueError, "cyclic_schedule: mode must be one of"),
        (lambda: schedules.cyclic_schedule(0.1, 1.0, 5, 0), ValueError, "cyclic_schedule: step_size_down must be positive"),
    ],
)
def test_what_schedules_refuse(make: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()
