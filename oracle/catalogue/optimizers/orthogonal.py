"""Muon, whose matrices are wide and high in turn."""

from __future__ import annotations

from typing import Any

import optax.contrib

from oracle.catalogue.optimizers.problems import LAYER, TWO_LAYERS
from oracle.catalogue.optimizers.references import CONSTANT, decaying, falling, follows
from purenet import optimizers

CUBIC = (1.5, -0.5, 0.0)


def state_of(*slots: str) -> dict[str, Any]:
    """The averages of both parts, at their places in both chains."""

    def select(label: str, slot: str) -> Any:
        return lambda s: getattr(s.inner_states[label].inner_state[0], slot)

    return {f"inner_states.{path}": select(*path.replace(".inner_state", "").split(".")) for path in slots}


STATE = state_of(
    *(f"muon.inner_state.{name}" for name in ("count", "mu")), *(f"adam.inner_state.{name}" for name in ("count", "mu", "nu"))
)

TRAJECTORIES = (
    follows(
        "muon, weight_decay, exponential_decay",
        optimizers.muon(falling(0.05), weight_decay=0.1, adam_b1=0.8, adam_b2=0.95, adam_weight_decay=0.2),
        optax.contrib.muon(decaying(0.05), weight_decay=0.1, adam_b1=0.8, adam_b2=0.95, adam_weight_decay=0.2),
        STATE,
        "contrib.muon",
        TWO_LAYERS,
    ),
    follows(
        "muon, consistent_rms, without nesterov",
        optimizers.muon(
            0.02, CUBIC, 3, 0.8, 1e-2, nesterov=False, adam_learning_rate=0.05, adam_eps_root=1e-3, consistent_rms=0.3
        ),
        optax.contrib.muon(
            CONSTANT(0.02), CUBIC, 3, 0.8, 1e-2, nesterov=False, adam_learning_rate=0.05, adam_eps_root=1e-3, consistent_rms=0.3
        ),
        STATE,
        "contrib.muon",
        LAYER,
    ),
)
