"""Prodigy, from a first distance that is far too small."""

from __future__ import annotations

import optax.contrib

from oracle.catalogue.optimizers.problems import TWO_LAYERS
from oracle.catalogue.optimizers.references import decaying, falling, follows
from purenet import optimizers
from purenet.optimizers import ProdigyState

STATE = {name: (lambda s, name=name: getattr(s, name)) for name in ProdigyState._fields}

TRAJECTORIES = (
    follows(
        "prodigy",
        optimizers.prodigy(estim_lr0=1e-3),
        optax.contrib.prodigy(estim_lr0=1e-3),
        STATE,
        "contrib.prodigy",
        TWO_LAYERS,
        ["params0"],
    ),
    follows(
        "prodigy, weight_decay, safeguard_warmup, exponential_decay",
        optimizers.prodigy(falling(1.0), (0.8, 0.95), 0.9, 1e-3, 1e-2, 1.5, 0.1, safeguard_warmup=True),
        optax.contrib.prodigy(decaying(1.0), (0.8, 0.95), 0.9, 1e-3, 1e-2, 1.5, 0.1, safeguard_warmup=True),
        STATE,
        "contrib.prodigy",
        constant=["params0"],
    ),
)
