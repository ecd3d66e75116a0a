"""Sharpness-aware minimization."""

from __future__ import annotations

import optax
import optax.contrib

from oracle.catalogue.optimizers.references import CONSTANT, follows
from purenet import optimizers

TRAJECTORIES = (
    follows(
        "normalize, sgd",
        optimizers.chain(optimizers.normalize(), optimizers.sgd(0.1)),
        optax.chain(optax.contrib.normalize(), optax.scale_by_learning_rate(CONSTANT(0.1))),
        {"1.count": lambda s: s[1].count},
        "contrib.normalize",
    ),
    follows(
        "sam of adam",
        optimizers.sam(optimizers.adam(0.05), optimizers.chain(optimizers.normalize(), optimizers.sgd(0.1))),
        optax.contrib.sam(
            optax.adam(0.05), optax.chain(optax.contrib.normalize(), optax.scale_by_learning_rate(CONSTANT(0.1)))
        ),
        {
            "steps_since_sync": lambda s: s.steps_since_sync,
            "opt_state.count": lambda s: s.opt_state[0].count,
            "opt_state.mu": lambda s: s.opt_state[0].mu,
            "opt_state.nu": lambda s: s.opt_state[0].nu,
            "adv_state.1.count": lambda s: s.adv_state[1].count,
            "cache": lambda s: s.cache,
        },
        "contrib.sam",
    ),
    follows(
        "sam of momentum, three steps, without reset_state",
        optimizers.sam(optimizers.momentum(0.02), optimizers.trace(0.1), 3, reset_state=False),
        optax.contrib.sam(optax.sgd(CONSTANT(0.02), momentum=0.9), optax.trace(0.1), 3, reset_state=False),
        {
            "steps_since_sync": lambda s: s.steps_since_sync,
            "opt_state.count": lambda s: s.opt_state[1].count,
            "opt_state.velocity": lambda s: s.opt_state[0].trace,
            "adv_state.trace": lambda s: s.adv_state.trace,
            "cache": lambda s: s.cache,
        },
        "contrib.sam",
    ),
)
