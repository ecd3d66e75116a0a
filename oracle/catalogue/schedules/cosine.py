"""Rates along a cosine. Near its end a rate is a small difference: it is rounded as the largest."""

from __future__ import annotations

from oracle.catalogue.schedules.decay import as_optax

CYCLE = {"init_value": 0.02, "peak_value": 0.3, "warmup_steps": 5, "decay_steps": 30, "end_value": 0.01}

SCHEDULES = (
    as_optax("cosine_decay_schedule", 0.3, 60, size=0.3),
    as_optax("cosine_decay_schedule", 0.3, 60, 0.1, 1.5, aspect="floor and exponent", size=0.3),
    as_optax("warmup_cosine_decay_schedule", 0.02, 0.3, 10, 60, 0.01, 1.5, size=0.3),
    as_optax("warmup_cosine_decay_schedule", 0.0, 0.3, 0, 60, aspect="no warm-up", size=0.3),
    as_optax(
        "sgdr_schedule",
        [CYCLE, {**CYCLE, "peak_value": 0.2, "decay_steps": 45}, {**CYCLE, "warmup_steps": 0, "exponent": 2.0}],
        size=0.3,
    ),
)
