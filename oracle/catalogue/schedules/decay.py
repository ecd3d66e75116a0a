"""Rates that fall, or rise, once and for all."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax

from oracle.catalogue.schedules.references import equals
from oracle.spec import composed
from oracle.trajectory import ScheduleSpec
from purenet import schedules


def as_optax(function: str, *arguments: Any, aspect: str = "", size: float = 0.0, **options: Any) -> ScheduleSpec:
    """The function of this name, ours and optax's, with the same arguments."""
    ours, theirs = (getattr(library, function)(*arguments, **options) for library in (schedules, optax))
    return equals(f"{function}, {aspect}" if aspect else function, ours, theirs, function, size)


def noam(width: float, warmup: float, factor: float) -> Any:
    """The peak, which the first `warmup` steps reach, times how far a step is from there on either side."""
    peak = factor * (width * warmup) ** -0.5
    return lambda t: peak * jnp.where(t + 1 < warmup, (t + 1) / warmup, jnp.sqrt(warmup / (t + 1)))


def inverse(value: float, steps: float, rate: float, *, stairs: bool = False) -> Any:
    """The inverse of the rate grows in a straight line."""
    return lambda t: 1 / (1 / value + rate / value * ((t - t % steps) / steps if stairs else t / steps))


SCHEDULES = (
    as_optax("exponential_decay", 0.1, 7, 0.9),
    as_optax("exponential_decay", 0.1, 7, 0.9, aspect="late start", transition_begin=11),
    as_optax("exponential_decay", 0.1, 7, 0.5, 3, True, aspect="staircase"),
    as_optax("exponential_decay", 0.1, 10, 0.5, aspect="floor", end_value=1e-3),
    as_optax("exponential_decay", 1e-3, 10, 1.7, aspect="growth to a ceiling", staircase=True, end_value=0.5),
    as_optax("piecewise_constant_schedule", 0.3, {10: 0.1, 40: 3.0, 41: 0.5}),
    as_optax("polynomial_schedule", 0.3, 0.02, 2.5, 60, 7, size=0.3),
    as_optax("polynomial_schedule", 0.02, 0.3, 0.5, 60, aspect="rising along a root"),
    as_optax("linear_schedule", 0.3, 0.02, 60, 7, size=0.3),
    equals(
        "inverse_time_decay",
        schedules.inverse_time_decay(0.3, 7, 0.4),
        inverse(0.3, 7, 0.4),
        composed("the inverse of the rate, a straight line"),
    ),
    equals(
        "inverse_time_decay, staircase",
        schedules.inverse_time_decay(0.3, 7, 0.4, staircase=True),
        inverse(0.3, 7, 0.4, stairs=True),
        composed("the inverse of the rate, a staircase"),
    ),
    equals(
        "noam_schedule",
        schedules.noam_schedule(512, 40, 2.0),
        noam(512, 40, 2.0),
        composed("the peak, and how far a step is from there"),
    ),
)
