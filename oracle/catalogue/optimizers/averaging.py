"""Lookahead and schedule-free training, each around an optimizer."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax
import optax.contrib

from oracle.catalogue.optimizers.problems import TWO_LAYERS
from oracle.catalogue.optimizers.references import CONSTANT, decaying, falling, follows
from oracle.spec import composed
from purenet import optimizers

PAIRS = composed("optax.lookahead, whose slow parameters are kept in the state")


def with_slow_in_the_state(theirs: Any) -> optax.GradientTransformation:
    """optax.lookahead for parameters that are not pairs."""

    def init(params: Any) -> Any:
        return theirs.init(optax.LookaheadParams(params, params)), params

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        pair, inner = theirs.update(grads, state[0], optax.LookaheadParams(params, state[1]))
        return pair.fast, (inner, optax.apply_updates(state[1], pair.slow))

    return optax.GradientTransformation(init, update)


def lookahead_of(**slots: Any) -> dict[str, Any]:
    return {"steps_since_sync": lambda s: s[0].steps_since_sync, "slow": lambda s: s[1], **slots}


def inside(*path: Any) -> Any:
    """The slot at this path of the state of the optimizer inside."""

    def select(state: Any) -> Any:
        here = state.base_optimizer_state
        for step in path:
            here = getattr(here, step) if isinstance(step, str) else here[step]
        return here

    return select


SCHEDULE_FREE = {
    "b1": lambda s: s.b1,
    "weight_sum": lambda s: s.weight_sum,
    "count": lambda s: s.step_count - 1,  # theirs begins at 1
    "max_lr": lambda s: s.max_lr,
    "z": lambda s: s.z,
}


def rising(count: Any) -> Any:
    """Ours and theirs at once: the weights of the average are unequal only under a rate that rises."""
    return 0.02 * (count + 1)


def rising_in_float64(count: Any) -> Any:
    return rising(jnp.asarray(count, jnp.int64))


TRAJECTORIES = (
    follows(
        "lookahead of adam",
        optimizers.lookahead(optimizers.adam(falling(0.1)), 4, 0.3),
        with_slow_in_the_state(optax.lookahead(optax.adam(decaying(0.1)), 4, 0.3)),
        lookahead_of(
            **{
                "fast_state.count": lambda s: s[0].fast_state[0].count,
                "fast_state.mu": lambda s: s[0].fast_state[0].mu,
                "fast_state.nu": lambda s: s[0].fast_state[0].nu,
            }
        ),
        PAIRS,
        TWO_LAYERS,
    ),
    follows(
        "lookahead of momentum, reset_state",
        optimizers.lookahead(optimizers.momentum(0.02), 3, 0.6, reset_state=True),
        with_slow_in_the_state(optax.lookahead(optax.sgd(CONSTANT(0.02), momentum=0.9), 3, 0.6, reset_state=True)),
        lookahead_of(
            **{
                "fast_state.count": lambda s: s[0].fast_state[1].count,
                "fast_state.velocity": lambda s: s[0].fast_state[0].trace,
            }
        ),
        PAIRS,
    ),
    follows(
        "schedule_free of sgd, schedule",
        optimizers.schedule_free(optimizers.sgd(rising), rising, 0.7, 1.5),
        optax.contrib.schedule_free(optax.sgd(rising_in_float64), rising_in_float64, 0.7, 1.5),
        {**SCHEDULE_FREE, "base_optimizer_state.count": inside(1, "count")},
        "contrib.schedule_free",
        constant=["b1"],
    ),
    follows(
        "schedule_free_sgd, weight_decay",
        optimizers.schedule_free_sgd(0.1, 0.8, 0.2),
        optax.contrib.schedule_free_sgd(0.1, b1=0.8, weight_decay=0.2),
        {**SCHEDULE_FREE, "base_optimizer_state.1.count": lambda s: s.step_count - 1},
        "contrib.schedule_free_sgd",
        constant=["b1"],
    ),
    follows(
        "schedule_free_adamw, weight_decay",
        optimizers.schedule_free_adamw(0.05, 0.8, 0.95, 1e-3, 0.1),
        optax.contrib.schedule_free_adamw(0.05, b1=0.8, b2=0.95, eps=1e-3, weight_decay=0.1),
        {
            **SCHEDULE_FREE,
            "base_optimizer_state.0.count": inside(0, "count"),
            "base_optimizer_state.0.nu": inside(0, "nu"),
        },
        "contrib.schedule_free_adamw",
        constant=["b1"],
    ),
)
