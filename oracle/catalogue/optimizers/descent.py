"""Descent with and without a velocity, and along signs."""

from __future__ import annotations

import optax
import optree

from oracle.catalogue.optimizers.references import CONSTANT, decaying, falling, follows, slot
from oracle.spec import composed
from purenet import optimizers

COUNT, TRACE = slot(1, "count"), {"velocity": lambda s: s[0].trace}
SCALED_FIRST = composed("optax.scale_by_learning_rate, then optax.trace")

TRAJECTORIES = (
    follows("sgd", optimizers.sgd(0.1), optax.sgd(CONSTANT(0.1)), COUNT, "sgd"),
    follows("sgd, exponential_decay", optimizers.sgd(falling(0.1)), optax.sgd(decaying(0.1)), COUNT, "sgd"),
    follows(
        "momentum", optimizers.momentum(0.02, decay=0.9), optax.sgd(CONSTANT(0.02), momentum=0.9), {**COUNT, **TRACE}, "sgd"
    ),
    follows(
        "momentum, exponential_decay",
        optimizers.momentum(falling(0.02), decay=0.9),
        optax.sgd(decaying(0.02), momentum=0.9),
        {**COUNT, **TRACE},
        "sgd",
    ),
    follows(
        "sgd, nesterov",
        optimizers.sgd(0.02, momentum=0.9, nesterov=True),
        optax.sgd(CONSTANT(0.02), momentum=0.9, nesterov=True),
        {**COUNT, **TRACE},
        "sgd",
    ),
    # At a constant rate the book's velocity is optax's times -rate, and the steps are the same.
    follows(
        "momentum, rate_in_velocity",
        optimizers.momentum(0.02, decay=0.9, rate_in_velocity=True),
        optax.sgd(CONSTANT(0.02), momentum=0.9),
        {**COUNT, "velocity": lambda s: optree.tree_map(lambda t: -0.02 * t, s[0].trace)},
        "sgd",
    ),
    # Under a schedule each gradient keeps the rate of its day: optax scales first and remembers after.
    follows(
        "momentum, rate_in_velocity, exponential_decay",
        optimizers.momentum(falling(0.02), decay=0.9, rate_in_velocity=True),
        optax.chain(optax.scale_by_learning_rate(decaying(0.02)), optax.trace(0.9)),
        {**slot(0, "count"), "velocity": lambda s: s[1].trace},
        SCALED_FIRST,
    ),
    follows(
        "momentum, nesterov, rate_in_velocity, exponential_decay",
        optimizers.momentum(falling(0.02), decay=0.9, nesterov=True, rate_in_velocity=True),
        optax.chain(optax.scale_by_learning_rate(decaying(0.02)), optax.trace(0.9, nesterov=True)),
        {**slot(0, "count"), "velocity": lambda s: s[1].trace},
        SCALED_FIRST,
    ),
    follows(
        "lion, weight_decay, mask, exponential_decay",
        optimizers.lion(falling(0.05), 0.8, 0.95, 0.1, {"w": True, "b": False}),
        optax.lion(decaying(0.05), 0.8, 0.95, weight_decay=0.1, mask={"w": True, "b": False}),
        slot(0, "count", "mu"),
        "lion",
    ),
)
