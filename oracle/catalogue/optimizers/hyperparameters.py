"""Settings that are part of the state."""

from __future__ import annotations

import optax

from oracle.catalogue.optimizers.references import Select, decaying, falling, follows
from purenet import optimizers


def setting(name: str) -> Select:
    return lambda state: state.hyperparams[name]


TRAJECTORIES = (
    follows(
        "inject_hyperparams of adam",
        optimizers.inject_hyperparams(optimizers.adam)(falling(0.05), b1=0.8, eps=1e-3),
        optax.inject_hyperparams(optax.adam)(decaying(0.05), b1=0.8, eps=1e-3),
        {
            "count": lambda s: s.count,
            **{f"hyperparams.{name}": setting(name) for name in ("learning_rate", "b1", "b2", "eps", "eps_root")},
            "inner_state.count": lambda s: s.inner_state[0].count,
            "inner_state.mu": lambda s: s.inner_state[0].mu,
            "inner_state.nu": lambda s: s.inner_state[0].nu,
        },
        "inject_hyperparams",
        constant=["hyperparams.b1", "hyperparams.b2", "hyperparams.eps", "hyperparams.eps_root"],
    ),
)
