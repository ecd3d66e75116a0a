"""Optimizers: not the gradient is wrong here but what is made of it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import optree

from oracle.catalogue.optimizers.problems import TWO_LAYERS
from oracle.catalogue.optimizers.references import CONSTANT, follows, slot
from purenet import optimizers
from purenet.optimizers import AdamState, GradientTransformation
from tests.zoo.record import OptimizerBug

RATE, DECAY = 0.05, 0.2
ADAM = follows("adam", optimizers.adam(RATE), optax.adam(CONSTANT(RATE)), slot(0, "count", "mu", "nu"), "adam", TWO_LAYERS)
ADAMW = follows(
    "adamw",
    optimizers.adamw(RATE, weight_decay=DECAY),
    optax.adamw(CONSTANT(RATE), weight_decay=DECAY),
    slot(0, "count", "mu", "nu"),
    "adamw",
    TWO_LAYERS,
)
CLIPPED = follows(
    "clip_by_global_norm, sgd",
    optimizers.chain(optimizers.clip_by_global_norm(0.1), optimizers.sgd(RATE)),
    optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(CONSTANT(RATE))),
    {"1.count": lambda state: state[1][1].count},
    "clip_by_global_norm",
    TWO_LAYERS,
)

WARM_UP, STEPS = 1, 12


def warmed_up(*, counts_warm_up: bool) -> Any:
    """A rate that rises in a line and then falls as a cosine; which may count the steps of the warm-up, too."""

    def rate(count: Any) -> float:
        if count < WARM_UP:
            return RATE * float(count + 1) / WARM_UP
        past = float(count) if counts_warm_up else float(count - WARM_UP)
        return RATE * (1 + np.cos(np.pi * past / STEPS)) / 2

    return rate


def warmed_up_by_optax() -> Any:
    rise = optax.linear_schedule(RATE / WARM_UP, RATE * (1 + 1 / WARM_UP), WARM_UP)
    rate = optax.join_schedules([rise, optax.cosine_decay_schedule(RATE, STEPS)], [WARM_UP])
    return lambda count: rate(jnp.asarray(count, jnp.int64))  # from an int32 count optax makes a float32 rate


WARMED_UP = follows(
    "sgd, warmed up",
    optimizers.sgd(warmed_up(counts_warm_up=False)),
    optax.sgd(warmed_up_by_optax()),
    slot(1, "count"),
    "join_schedules",
    TWO_LAYERS,
)


def moments(grads: Any, state: AdamState) -> tuple[Any, Any]:
    mu = optree.tree_map(lambda m, g: 0.9 * m + 0.1 * g, state.mu, grads)
    nu = optree.tree_map(lambda n, g: 0.999 * n + 0.001 * g * g, state.nu, grads)
    return mu, nu


def adam_with(corrected: Any) -> GradientTransformation:
    """Adam with another correction of its averages: `corrected(average, 1 - decay**count)`."""

    def update(grads: Any, state: AdamState, params: Any = None) -> tuple[Any, AdamState]:
        count = int(state.count) + 1
        mu, nu = moments(grads, state)
        one, two = 1 - 0.9**count, 1 - 0.999**count
        updates = optree.tree_map(lambda m, n: -RATE * corrected(m, one) / (np.sqrt(corrected(n, two)) + 1e-8), mu, nu)
        return updates, AdamState(np.array(count), mu, nu)

    return GradientTransformation(optimizers.adam(RATE).init, update)


def penalized_adam() -> GradientTransformation:
    adam = optimizers.adam(RATE)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return adam.update(optree.tree_map(lambda g, p: g + DECAY * p, grads, params), state, params)

    return GradientTransformation(adam.init, update)


def adam_then_decay() -> GradientTransformation:
    adam = optimizers.adam(RATE)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, state = adam.update(grads, state, params)
        return optree.tree_map(lambda u, p: u - RATE * DECAY * (p + u), updates, params), state

    return GradientTransformation(adam.init, update)


def adam_that_keeps_its_correction() -> GradientTransformation:
    def update(grads: Any, state: AdamState, params: Any = None) -> tuple[Any, AdamState]:
        count = int(state.count) + 1
        mu, nu = moments(grads, state)
        one, two = 1 - 0.9**count, 1 - 0.999**count
        mu, nu = optree.tree_map(lambda m: m / one, mu), optree.tree_map(lambda n: n / two, nu)
        updates = optree.tree_map(lambda m, n: -RATE * m / (np.sqrt(n) + 1e-8), mu, nu)
        return updates, AdamState(np.array(count), mu, nu)

    return GradientTransformation(optimizers.adam(RATE).init, update)


def clipped_one_by_one() -> GradientTransformation:
    free = optimizers.chain(optimizers.clip_by_global_norm(1e9), optimizers.sgd(RATE))

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        clipped = optree.tree_map(lambda g: g * min(1.0, 0.1 / float(np.linalg.norm(g))), grads)
        return free.update(clipped, state, params)

    return CLIPPED.optimizer._replace(update=update)


BUGS = (
    OptimizerBug(
        "adam without bias correction",
        "ml-explore/mlx#1640",
        "The averages are used as they are, though they start at zero.",
        wrong=adam_with(lambda average, share: average),
        right=ADAM,
        first=(1, "params.affine1.b"),
    ),
    OptimizerBug(
        "adam multiplies by its correction",
        "karpathy/convnetjs#70",
        "The averages are multiplied by 1 - decay^t instead of divided by it.",
        wrong=adam_with(lambda average, share: average * share),
        right=ADAM,
        first=(1, "params.affine1.b"),
    ),
    OptimizerBug(
        "adam keeps its correction",
        "frgfm/Holocron#1",
        "The corrected averages are stored, so that the next step corrects them again.",
        wrong=adam_that_keeps_its_correction(),
        right=ADAM,
        first=(1, "state.mu.affine1.b"),
        cause="which is 10 times the reference's",
    ),
    OptimizerBug(
        "cosine counts the steps of the warm-up",
        "lindermanlab/S5#11",
        "The rate falls as if the steps of the warm-up had been steps of its cosine, too.",
        wrong=optimizers.sgd(warmed_up(counts_warm_up=True)),
        right=WARMED_UP,
        first=(WARM_UP + 1, "params.affine1.b"),
        cause="is another optimizer than optax.join_schedules",
    ),
    OptimizerBug(
        "adamw as adam with a penalty",
        "anhquan0412/basic_model_scratch#2",
        "The decay is added to the gradient, where Adam's denominator scales it away.",
        wrong=penalized_adam(),
        right=ADAMW,
        first=(1, "state.mu.affine1.b"),
    ),
    OptimizerBug(
        "adamw decays after the update",
        "bitsandbytes-foundation/bitsandbytes#2010",
        "The parameters are decayed when they have been updated already, so that the update is decayed too.",
        wrong=adam_then_decay(),
        right=ADAMW,
        first=(1, "params.affine1.b"),
    ),
    OptimizerBug(
        "clipped one by one",
        "keras-team/keras#13575",
        "Each tensor is clipped by its own norm instead of all by the norm of them together.",
        wrong=clipped_one_by_one(),
        right=CLIPPED,
        first=(1, "params.affine1.b"),
        cause="is another optimizer than optax.clip_by_global_norm",
    ),
)
