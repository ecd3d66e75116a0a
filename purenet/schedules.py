"""Learning rates: numbers, or functions of the count of updates made so far, which is 0 at the first update."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from purenet.checks import number

__all__ = ["ScalarOrSchedule", "Schedule", "as_schedule", "constant_schedule", "exponential_decay"]

Schedule: TypeAlias = Callable[[int], float]
ScalarOrSchedule: TypeAlias = float | Schedule


def constant_schedule(value: float) -> Schedule:
    """The schedule that is `value` at every count.

    Math:
        rate(t) = value
    Errors: TypeError unless `value` is a number, ValueError unless it is finite.
    Source: optax.constant_schedule.

    >>> import purenet as pn
    >>> rate = pn.schedules.constant_schedule(0.5)
    >>> rate(0), rate(1000)
    (0.5, 0.5)
    """
    value = number("constant_schedule", "value", value)
    return lambda count: value


def exponential_decay(
    init_value: float,
    transition_steps: float,
    decay_rate: float,
    transition_begin: float = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """The rate is multiplied by `decay_rate` over every `transition_steps` updates.

    Math, with p = (t - transition_begin) / transition_steps, rounded down if `staircase`:
        rate(t) = init_value                      while t <= transition_begin
                = init_value * decay_rate^p       after it
        and never below `end_value` if decay_rate < 1, never above it otherwise.
    Errors: TypeError for what is not a number; ValueError unless all are finite, transition_steps and decay_rate
        positive and transition_begin not negative.
    Source: optax.exponential_decay. Conventions: where this raises, optax logs a line and returns a constant schedule (no
        steps, decay_rate 0) or begins at 0. Keras's ExponentialDecay has no beginning and no end; torch's ExponentialLR
        and StepLR are transition_steps=1 and staircase=True. A growing rate beyond the largest float is inf.

    >>> import purenet as pn
    >>> rate = pn.schedules.exponential_decay(1.0, transition_steps=2, decay_rate=0.25)
    >>> [rate(count) for count in range(5)]
    [1.0, 0.5, 0.25, 0.125, 0.0625]
    >>> stairs = pn.schedules.exponential_decay(1.0, transition_steps=2, decay_rate=0.25, staircase=True, end_value=0.125)
    >>> [stairs(count) for count in range(5)]
    [1.0, 1.0, 0.25, 0.25, 0.125]
    """
    who = "exponential_decay"
    init_value = number(who, "init_value", init_value)
    transition_steps = number(who, "transition_steps", transition_steps)
    decay_rate = number(who, "decay_rate", decay_rate)
    transition_begin = number(who, "transition_begin", transition_begin, 0)
    if end_value is not None:
        end_value = number(who, "end_value", end_value)
    if transition_steps <= 0 or decay_rate <= 0:
        raise ValueError(f"{who}: transition_steps and decay_rate must be positive, got {transition_steps} and {decay_rate}")

    def schedule(count: int) -> float:
        elapsed = count - transition_begin
        periods = elapsed / transition_steps
        if staircase:
            periods = math.floor(periods)
        value = init_value if elapsed <= 0 else init_value * _power(decay_rate, periods)
        if end_value is None:
            return value
        return max(value, end_value) if decay_rate < 1 else min(value, end_value)

    return schedule


def as_schedule(who: str, learning_rate: ScalarOrSchedule) -> Schedule:
    """The learning rate as a function of the count that raises, naming `who`, unless it is finite and not negative."""
    if not callable(learning_rate):
        return constant_schedule(number(who, "learning_rate", learning_rate, 0))

    def schedule(count: int) -> float:
        rate: Any = learning_rate(count)
        return number(
            who, f"learning_rate({count})", rate.item() if np.shape(rate) == () and hasattr(rate, "item") else rate, 0
        )

    return schedule


def _power(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf
