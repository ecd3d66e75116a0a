"""Optimizers: not the gradient is wrong here but what is made of it."""

from __future__ import annotations

from typing import Any

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
