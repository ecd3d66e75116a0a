"""Rprop."""

from __future__ import annotations

from typing import Any

import jax
import optax

from oracle.catalogue.optimizers.references import follows
from oracle.spec import composed
from purenet import optimizers


def rprop_in_time(*settings: float) -> optax.GradientTransformation:
    """The steps of torch.optim.Rprop. optax computes the same, but makes each step one update late, and the first is 0."""
    rule = optax.scale_by_rprop(*settings)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        _, state = rule.update(grads, state)
        return jax.tree.map(lambda step: -step, state.prev_updates), state

    return optax.GradientTransformation(rule.init, update)


SLOTS = {"step_sizes": lambda s: s.step_sizes, "prev_updates": lambda s: s.prev_updates}
IN_TIME = composed("the slot prev_updates of optax.scale_by_rprop, which is the step of torch.optim.Rprop")

TRAJECTORIES = (
    follows("rprop", optimizers.rprop(0.01), rprop_in_time(0.01), SLOTS, IN_TIME),
    # Lengths reach both bounds.
    follows(
        "rprop, sizes", optimizers.rprop(0.02, 0.4, 1.5, 0.01, 0.05), rprop_in_time(0.02, 0.4, 1.5, 0.01, 0.05), SLOTS, IN_TIME
    ),
)
