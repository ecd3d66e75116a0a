"""Rates that go up and down."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from oracle.catalogue.schedules.decay import as_optax
from oracle.catalogue.schedules.references import equals
from oracle.spec import composed
from purenet import schedules

STEPS = {15: 4.0, 40: 0.25, 60: 0.5}


def waves(low: float, peak: float, up: float, down: float, share: Any) -> Any:
    """A triangle between its corners, of which jnp.interp repeats the period."""
    corners = jnp.array([0.0, up, up + down]), jnp.array([0.0, 1.0, 0.0])
    return lambda t: low + (peak - low) * jnp.interp(t, *corners, period=up + down) * share(t, up + down)


TRIANGLES = composed("jnp.interp with a period")

SCHEDULES = (
    as_optax("piecewise_interpolate_schedule", "linear", 0.1, STEPS, aspect="linear"),
    as_optax("piecewise_interpolate_schedule", "cosine", 0.1, STEPS, aspect="cosine", size=0.4),
    as_optax("linear_onecycle_schedule", 100, 0.3, size=0.3),
    as_optax("cosine_onecycle_schedule", 100, 0.3, size=0.3),
    as_optax("cosine_onecycle_schedule", 77, 0.3, 0.45, 5.0, 30.0, aspect="other parts", size=0.3),
    equals(
        "cyclic_schedule",
        schedules.cyclic_schedule(0.01, 0.3, 11, 6),
        waves(0.01, 0.3, 11, 6, lambda t, period: 1.0),
        TRIANGLES,
        0.3,
    ),
    equals(
        "cyclic_schedule, triangular2",
        schedules.cyclic_schedule(0.01, 0.3, 11, mode="triangular2"),
        waves(0.01, 0.3, 11, 11, lambda t, period: jnp.exp2(-jnp.floor_divide(t, period))),
        TRIANGLES,
        0.3,
    ),
    equals(
        "cyclic_schedule, exp_range",
        schedules.cyclic_schedule(0.01, 0.3, 11, 6, mode="exp_range", gamma=0.97),
        waves(0.01, 0.3, 11, 6, lambda t, period: jnp.exp(t * jnp.log(0.97))),
        TRIANGLES,
        0.3,
    ),
)
