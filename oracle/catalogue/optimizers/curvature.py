"""L-BFGS. Its memory of three pairs is overwritten many times."""

from __future__ import annotations

import optax

from oracle.catalogue.optimizers.references import decaying, falling, follows, slot
from purenet import optimizers

STATE = slot(0, "count", "params", "updates", "diff_params_memory", "diff_updates_memory", "weights_memory")

TRAJECTORIES = (
    follows("lbfgs", optimizers.lbfgs(0.1, 3), optax.lbfgs(0.1, 3, linesearch=None), STATE, "lbfgs"),
    follows(
        "lbfgs, scale_init_precond, exponential_decay",
        optimizers.lbfgs(falling(0.05), 2, scale_init_precond=False),
        optax.lbfgs(decaying(0.05), 2, scale_init_precond=False, linesearch=None),
        STATE,
        "lbfgs",
    ),
)
