"""Rates: numbers, or functions of the count of updates made so far, which is 0 at the first update; and schedules in a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from purenet.checks import number

__all__ = ["ScalarOrSchedule", "Schedule", "as_schedule", "constant_schedule", "join_schedules", "positive"]

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


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[float]) -> Schedule:
    """One schedule after the other, each with counts of its own.

    Math, with boundaries b_1 <= b_2 <= ...:
        rate(t) = schedules[i](t - b_i)        for the last i with b_i <= t, where b_0 = 0
    Errors: TypeError for what is not a function; ValueError unless there is one boundary less than schedules, in order.
    Source: optax.join_schedules. Conventions: optax drops schedules for which there is no boundary.

    >>> import purenet as pn
    >>> parts = [pn.schedules.constant_schedule(1.0), pn.schedules.exponential_decay(0.5, 1, 0.5)]
    >>> rate = pn.schedules.join_schedules(parts, [2])
    >>> [rate(count) for count in range(4)]
    [1.0, 1.0, 0.5, 0.25]
    """
    who, given = "join_schedules", tuple(schedules)
    for i, schedule in enumerate(given):
        if not callable(schedule):
            raise TypeError(f"{who}: schedules[{i}] must be a function of the count, got {type(schedule).__name__}")
    starts = [number(who, f"boundaries[{i}]", b, 0) for i, b in enumerate(boundaries)]
    if len(starts) != len(given) - 1:
        raise ValueError(f"{who}: boundaries must be one less than the {len(given)} schedules, got {len(starts)}")
    if starts != sorted(starts):
        raise ValueError(f"{who}: boundaries must be in order, got {list(boundaries)}")

    def joined(count: int) -> float:
        last = sum(start <= count for start in starts)
        if last == 0:
            return given[0](count)
        start = boundaries[last - 1]  # as given: a count minus an integer is a count
        return given[last](count - start)  # type: ignore[arg-type]  # every schedule of ours takes fractions too

    return joined


# ------------------------------------------------------------------------------------------ for those who write a schedule


def as_schedule(who: str, value: ScalarOrSchedule, name: str = "learning_rate", low: float = 0.0) -> Schedule:
    """A rate as a function of the count that raises, naming `who` and `name`, unless it is finite and at least `low`."""
    if not callable(value):
        return constant_schedule(number(who, name, value, low))

    def schedule(count: int) -> float:
        rate: Any = value(count)
        return number(who, f"{name}({count})", rate.item() if np.shape(rate) == () and hasattr(rate, "item") else rate, low)

    return schedule


def positive(who: str, **values: float) -> list[float]:
    """These as positive numbers."""
    numbers = [number(who, name, value) for name, value in values.items()]
    for name, value in zip(values, numbers, strict=True):
        if value <= 0:
            raise ValueError(f"{who}: {name} must be positive, got {value}")
    return numbers
