"""Schedules: what each must equal at every count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from oracle.spec import library
from oracle.trajectory import ScheduleSpec
from purenet import schedules


def in_float64(schedule: Callable[[Any], Any]) -> Callable[[int], float]:
    def value(count: int) -> float:
        with jax.enable_x64(True):
            return float(schedule(count))

    return value


def decaying(name: str, *arguments: Any, **options: Any) -> ScheduleSpec:
    return ScheduleSpec(
        name,
        schedules.exponential_decay(*arguments, **options),
        in_float64(optax.exponential_decay(*arguments, **options)),
        library("optax.exponential_decay"),
    )


SCHEDULES = (
    ScheduleSpec(
        "constant_schedule",
        schedules.constant_schedule(0.3),
        in_float64(optax.constant_schedule(0.3)),
        library("optax.constant_schedule"),
    ),
    decaying("exponential_decay", 0.1, 7, 0.9),
    decaying("exponential_decay, late start", 0.1, 7, 0.9, transition_begin=11),
    decaying("exponential_decay, staircase", 0.1, 7, 0.5, 3, True),
    decaying("exponential_decay, floor", 0.1, 10, 0.5, end_value=1e-3),
    decaying("exponential_decay, growth to a ceiling", 1e-3, 10, 1.7, staircase=True, end_value=0.5),
)
