"""A rate that stays, and schedules in a row."""

from __future__ import annotations

from typing import Any

import optax

from oracle.catalogue.schedules.references import equals
from purenet import schedules


def parts(library: Any) -> list[Any]:
    """A warm-up, a plateau and a decay, ours or optax's."""
    return [library.linear_schedule(0.1, 0.4, 10), library.constant_schedule(0.4), library.exponential_decay(0.4, 9, 0.5)]


SCHEDULES = (
    equals("constant_schedule", schedules.constant_schedule(0.3), optax.constant_schedule(0.3), "constant_schedule"),
    equals(
        "join_schedules",
        schedules.join_schedules(parts(schedules), [10, 35]),
        optax.join_schedules(parts(optax), [10, 35]),
        "join_schedules",
    ),
)
