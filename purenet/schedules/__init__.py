"""Learning rates: numbers, or functions of the count of updates made so far, which is 0 at the first update.

    rate = pn.schedules.warmup_cosine_decay_schedule(0.0, 1e-3, warmup_steps=100, decay_steps=10_000)
    opt = pn.optimizers.adam(rate)

A rate that follows the loss has a state: `pn.optimizers.reduce_on_plateau`.
"""

from purenet.schedules.cosine import cosine_decay_schedule, sgdr_schedule, warmup_cosine_decay_schedule
from purenet.schedules.cycles import (
    cosine_onecycle_schedule,
    cyclic_schedule,
    linear_onecycle_schedule,
    piecewise_interpolate_schedule,
)
from purenet.schedules.decay import (
    exponential_decay,
    inverse_time_decay,
    linear_schedule,
    noam_schedule,
    piecewise_constant_schedule,
    polynomial_schedule,
)
from purenet.schedules.rates import ScalarOrSchedule, Schedule, as_schedule, constant_schedule, join_schedules

__all__ = [
    "ScalarOrSchedule",
    "Schedule",
    "as_schedule",
    "constant_schedule",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "cyclic_schedule",
    "exponential_decay",
    "inverse_time_decay",
    "join_schedules",
    "linear_onecycle_schedule",
    "linear_schedule",
    "noam_schedule",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polynomial_schedule",
    "sgdr_schedule",
    "warmup_cosine_decay_schedule",
]
