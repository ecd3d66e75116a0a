"""Schedules of optax, and of JAX, as functions of a count in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from oracle.autodiff import schedule_values
from oracle.spec import Source, library
from oracle.trajectory import ScheduleSpec

__all__ = ["equals", "in_float64"]

FIRST_TIER = {"constant_schedule", "exponential_decay"}  # what the notes use


def in_float64(schedule: Callable[[Any], Any]) -> Callable[[int], float]:
    """The schedule at 256 counts at a time, for which optax takes as long as for one."""

    @cache
    def table(block: int) -> Any:
        return schedule_values(schedule, np.arange(256.0) + 256 * block)

    return lambda count: float(table(count // 256)[count % 256])


def equals(
    name: str,
    ours: Callable[[int], float],
    theirs: Callable[[Any], Any],
    source: Source | str,
    size: float = 0.0,
) -> ScheduleSpec:
    """The record of our schedule and of theirs; a source that is a name is that of a function of optax."""
    named = library(f"optax.{source}") if isinstance(source, str) else source
    tier = 1 if name.split(",", maxsplit=1)[0] in FIRST_TIER else 2
    return ScheduleSpec(name, ours, in_float64(theirs), named, size, tier)
