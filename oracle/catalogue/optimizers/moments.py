"""Adam and its relatives, with the variants of other libraries."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from oracle.catalogue.optimizers.problems import TWO_LAYERS
from oracle.catalogue.optimizers.references import decaying, falling, follows, slot
from oracle.spec import composed
from purenet import optimizers


class HatState(NamedTuple):
    """The averages of two optax transformations, and the maximum of the second."""

    mu: Any
    nu: Any
    nu_max: Any


def adam_in_parts(rate: float, b1: float, b2: float, eps: float, *, hat: bool, raw_max: bool) -> optax.GradientTransformation:
    """The paper's second order of computation: the rate is corrected, not the averages; with `hat` eps joins before that."""
    average, average_of_squares = optax.ema(b1, debias=False), optax.ema(b2, debias=False)

    def init(params: Any) -> HatState:
        nu = average_of_squares.init(params)
        return HatState(average.init(params), nu, nu.ema)

    def update(grads: Any, state: HatState, params: Any = None) -> tuple[Any, HatState]:
        m, mu = average.update(grads, state.mu)
        v, nu = average_of_squares.update(jax.tree.map(jnp.square, grads), state.nu)
        v = nu_max = jax.tree.map(jnp.maximum, state.nu_max, v) if raw_max else v
        share = jnp.sqrt(1 - b2**mu.count)
        added = eps if hat else eps * share
        corrected = rate * share / (1 - b1**mu.count)
        return jax.tree.map(lambda m, v: -corrected * m / (jnp.sqrt(v) + added), m, v), HatState(mu, nu, nu_max)

    return optax.GradientTransformation(init, update)


HAT = {"count": lambda s: s.mu.count, "mu": lambda s: s.mu.ema, "nu": lambda s: s.nu.ema}
MOMENTS = slot(0, "count", "mu", "nu")
IN_PARTS = "optax.ema of g and of g^2, the rate corrected instead of the averages"

TRAJECTORIES = (
    follows("adam", optimizers.adam(0.05), optax.adam(0.05), MOMENTS, "adam", TWO_LAYERS),
    follows(
        "adam, eps_root, exponential_decay",
        optimizers.adam(falling(0.05), 0.8, 0.95, 1e-4, 1e-3),
        optax.adam(decaying(0.05), 0.8, 0.95, 1e-4, 1e-3),
        MOMENTS,
        "adam",
    ),
    follows(
        "adam, epsilon_hat",
        optimizers.adam(0.05, eps=1e-3, epsilon_hat=True),
        adam_in_parts(0.05, 0.9, 0.999, 1e-3, hat=True, raw_max=False),
        HAT,
        composed(IN_PARTS),
    ),
    follows(
        "adam, amsgrad",
        optimizers.adam(0.1, 0.8, 0.9, eps=1e-3, amsgrad=True),
        optax.amsgrad(0.1, 0.8, 0.9, eps=1e-3),
        slot(0, "count", "mu", "nu", "nu_max"),
        "amsgrad",
    ),
    follows(
        "adam, amsgrad of raw averages",
        optimizers.adam(0.1, 0.8, 0.9, eps=1e-3, amsgrad="raw"),
        adam_in_parts(0.1, 0.8, 0.9, 1e-3, hat=False, raw_max=True),
        {**HAT, "nu_max": lambda s: s.nu_max},
        composed(f"{IN_PARTS}, the maximum taken before, as torch has it"),
    ),
    follows(
        "adamw, nesterov, mask, exponential_decay",
        optimizers.adamw(falling(0.1), weight_decay=0.2, mask={"w": True, "b": False}, nesterov=True),
        optax.adamw(decaying(0.1), weight_decay=0.2, mask={"w": True, "b": False}, nesterov=True),
        MOMENTS,
        "adamw",
    ),
    follows(
        "lamb, weight_decay",
        optimizers.lamb(0.05, 0.8, 0.95, weight_decay=0.1),
        optax.lamb(0.05, 0.8, 0.95, weight_decay=0.1),
        MOMENTS,
        "lamb",
    ),
    follows("radam", optimizers.radam(0.02), optax.radam(0.02), MOMENTS, "radam"),
    follows("adamax", optimizers.adamax(0.05, b2=0.9), optax.adamax(0.05, b2=0.9), MOMENTS, "adamax"),
)
