"""AdaBelief and Yogi."""

from __future__ import annotations

import optax

from oracle.catalogue.optimizers.references import decaying, falling, follows, slot
from purenet import optimizers

MOMENTS = slot(0, "count", "mu", "nu")

TRAJECTORIES = (
    follows(
        "adabelief, exponential_decay",
        optimizers.adabelief(falling(0.05), 0.8, 0.95, 1e-4, 1e-6),
        optax.adabelief(decaying(0.05), 0.8, 0.95, 1e-4, 1e-6),
        MOMENTS,
        "adabelief",
    ),
    follows(
        "adabelief, nesterov",
        optimizers.adabelief(0.02, eps=1e-3, nesterov=True),
        optax.adabelief(0.02, eps=1e-3, nesterov=True),
        MOMENTS,
        "adabelief",
    ),
    follows("yogi", optimizers.yogi(falling(0.1), 0.8, 0.95), optax.yogi(decaying(0.1), 0.8, 0.95), MOMENTS, "yogi"),
    follows(
        "yogi, initial_accumulator_value",
        optimizers.yogi(0.1, initial_accumulator_value=0.3),
        optax.chain(optax.scale_by_yogi(initial_accumulator_value=0.3), optax.scale_by_learning_rate(0.1)),
        MOMENTS,
        "scale_by_yogi",
    ),
)
