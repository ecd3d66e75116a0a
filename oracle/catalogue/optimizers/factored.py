"""Adafactor, of parts of optax: its own decay of averages is rounded to float32."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax

from oracle.catalogue.optimizers.problems import TWO_LAYERS
from oracle.catalogue.optimizers.references import CONSTANT, decaying, falling, follows, slot
from oracle.spec import composed
from purenet import optimizers

PARTS = composed("the parts of optax.adafactor, with the decay in float64")


def in_float64(count: Any, exponent: Any) -> Any:
    return 1 - (jnp.asarray(count, jnp.float64) + 1) ** -exponent


def factored_rms(factored: bool, exponent: float, least: int, eps: float = 1e-30) -> optax.GradientTransformation:
    return optax.scale_by_factored_rms(factored, exponent, 0, least, eps, decay_rate_fn=in_float64)


def matrices(slot: str) -> Any:
    """Of a slot of optax, the entries of matrices: the others have one zero there, and nothing with us."""
    return lambda s: {layer: {"w": leaf["w"]} for layer, leaf in getattr(s[0], slot).items()}


def vectors(state: Any) -> Any:
    return {layer: {"b": leaf["b"]} for layer, leaf in state[0].v.items()}


TRAJECTORIES = (
    follows(
        "adafactor, momentum, weight_decay_rate, exponential_decay",
        optimizers.adafactor(
            falling(0.3), 2, 0.7, momentum=0.6, weight_decay_rate=0.01, weight_decay_mask={"affine1": True, "affine2": False}
        ),
        optax.chain(
            factored_rms(True, 0.7, 2),
            optax.clip_by_block_rms(1.0),
            optax.scale_by_learning_rate(decaying(0.3), flip_sign=False),
            optax.scale_by_param_block_rms(),
            optax.ema(0.6, debias=False),
            optax.add_decayed_weights(0.01, mask={"affine1": True, "affine2": False}),
            optax.scale(-1.0),
        ),
        {**slot(0, "count"), "v_row": matrices("v_row"), "v_col": matrices("v_col"), "v": vectors, **slot(4, "ema")},
        PARTS,
        TWO_LAYERS,
    ),
    follows(
        "adafactor, not factored",
        optimizers.adafactor(0.05, 2, 0.9, False, None, eps=1e-3, factored=False),
        optax.chain(factored_rms(False, 0.9, 2, 1e-3), optax.scale_by_learning_rate(CONSTANT(0.05))),
        slot(0, "count", "v"),
        PARTS,
    ),
)
