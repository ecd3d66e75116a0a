"""LARS."""

from __future__ import annotations

import optax

from oracle.catalogue.optimizers.references import CONSTANT, decaying, falling, follows, slot
from purenet import optimizers

STATE = {**slot(2, "count"), **slot(3, "trace")}

TRAJECTORIES = (
    follows(
        "lars, nesterov, exponential_decay",
        optimizers.lars(falling(2.0), 0.1, trust_coefficient=0.02, eps=0.1, momentum=0.8, nesterov=True),
        optax.lars(decaying(2.0), 0.1, trust_coefficient=0.02, eps=0.1, momentum=0.8, nesterov=True),
        STATE,
        "lars",
    ),
    follows(
        "lars, masks",
        optimizers.lars(0.1, 0.3, {"w": True, "b": False}, 0.2, trust_ratio_mask={"w": True, "b": False}),
        optax.lars(CONSTANT(0.1), 0.3, {"w": True, "b": False}, 0.2, trust_ratio_mask={"w": True, "b": False}),
        STATE,
        "lars",
    ),
)
