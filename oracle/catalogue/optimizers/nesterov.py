"""NAdam, of which there are three."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from oracle.catalogue.optimizers.references import follows, slot
from oracle.spec import composed
from purenet import optimizers

LONGEST = 100  # steps, at most


def weights_up_to(t: Any, b1: float, decay: float) -> Any:
    """The product of the first t weights, of all of which ours keeps a product."""
    count = jnp.arange(1, LONGEST + 2)
    weights = b1 * (1 - 0.5 * jnp.exp(jnp.log(0.96) * decay * count))
    return jnp.prod(jnp.where(count <= t, weights, 1.0)), weights[t - 1]


def nadam_with_rising_weights(rate: float, b1: float, b2: float, eps: float, decay: float) -> optax.GradientTransformation:
    """As torch and Keras have it: two steps, one along the gradient and one along its average."""
    average, average_of_squares = optax.ema(b1, debias=False), optax.ema(b2)

    def init(params: Any) -> tuple[Any, Any, Any]:
        return average.init(params), average_of_squares.init(params), jnp.ones(())

    def update(grads: Any, state: tuple[Any, Any, Any], params: Any = None) -> tuple[Any, tuple[Any, Any, Any]]:
        m, mu = average.update(grads, state[0])
        n, nu = average_of_squares.update(jax.tree.map(jnp.square, grads), state[1])
        product, weight = weights_up_to(mu.count, b1, decay)
        following, weight_ahead = weights_up_to(mu.count + 1, b1, decay)
        of_gradient, of_average = rate * (1 - weight) / (1 - product), rate * weight_ahead / (1 - following)
        steps = jax.tree.map(
            lambda g, m, n: -of_gradient * g / (jnp.sqrt(n) + eps) - of_average * m / (jnp.sqrt(n) + eps), grads, m, n
        )
        return steps, (mu, nu, product)

    return optax.GradientTransformation(init, update)


TRAJECTORIES = (
    follows("nadam", optimizers.nadam(0.05), optax.nadam(0.05), slot(0, "count", "mu", "nu"), "nadam"),
    follows(
        "nadam, momentum_decay",
        optimizers.nadam(0.01, 0.8, 0.95, momentum_decay=0.004),
        nadam_with_rising_weights(0.01, 0.8, 0.95, 1e-8, 0.004),
        {
            "count": lambda s: s[0].count,
            "mu_product": lambda s: s[2],
            "mu": lambda s: s[0].ema,
            "nu": lambda s: s[1].ema,
        },
        composed("a step along the gradient and one along optax.ema, as torch has it"),
    ),
)
