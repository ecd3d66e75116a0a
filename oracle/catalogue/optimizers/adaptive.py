"""AdaGrad, RMSProp and Adadelta, with the variants of other libraries."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from oracle.catalogue.optimizers.references import CONSTANT, decaying, falling, follows, slot
from oracle.spec import composed
from purenet import optimizers


def adagrad_with_eps_outside(rate: float, eps: float) -> optax.GradientTransformation:
    """As in the book, torch and ONNX: the sum is a trace that forgets nothing, and eps joins its root."""
    total = optax.trace(1.0)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        sums, state = total.update(jax.tree.map(jnp.square, grads), state)
        return jax.tree.map(lambda g, s: -rate * g / (jnp.sqrt(s) + eps), grads, sums), state

    return optax.chain(optax.GradientTransformation(total.init, update), optax.scale_by_schedule(CONSTANT(1.0)))


COUNT = slot(1, "count")

TRAJECTORIES = (
    follows(
        "adagrad",
        optimizers.adagrad(falling(0.3), 0.5, 1e-3),
        optax.adagrad(decaying(0.3), 0.5, 1e-3),
        {**COUNT, **slot(0, "sum_of_squares")},
        "adagrad",
    ),
    follows(
        "adagrad, eps outside",
        optimizers.adagrad(0.3, initial_accumulator_value=0, eps_in_sqrt=False),
        adagrad_with_eps_outside(0.3, 1e-7),
        {**COUNT, "sum_of_squares": lambda s: s[0].trace},
        composed("optax.trace of g^2, which forgets nothing"),
    ),
    follows(
        "rmsprop, bias_correction",
        optimizers.rmsprop(0.005, initial_scale=0.1, bias_correction=True),
        optax.rmsprop(CONSTANT(0.005), initial_scale=0.1, bias_correction=True),
        {**COUNT, **slot(0, "nu")},
        "rmsprop",
    ),
    follows(
        "rmsprop, centered, nesterov, exponential_decay",
        optimizers.rmsprop(falling(0.02), 0.8, 1e-3, centered=True, momentum=0.7, nesterov=True),
        optax.rmsprop(decaying(0.02), 0.8, 1e-3, centered=True, momentum=0.7, nesterov=True),
        {**COUNT, **slot(0, "nu", "mu"), **slot(2, "trace")},
        "rmsprop",
    ),
    follows(
        "rmsprop, eps outside, rate outside, exponential_decay",
        optimizers.rmsprop(falling(0.02), 0.99, eps_in_sqrt=False, momentum=0.7, rate_in_velocity=False),
        optax.chain(
            optax.scale_by_rms(0.99, eps_in_sqrt=False), optax.trace(0.7), optax.scale_by_learning_rate(decaying(0.02))
        ),
        {**slot(0, "nu"), **slot(1, "trace"), **slot(2, "count")},
        composed("optax.scale_by_rms, optax.trace, then the rate, as torch has it"),
    ),
    follows(
        "adadelta",
        optimizers.adadelta(0.3, rho=0.8, eps=1e-3),
        optax.adadelta(CONSTANT(0.3), rho=0.8, eps=1e-3),
        {**slot(2, "count"), **slot(1, "e_g", "e_x")},
        "adadelta",
    ),
)
