"""Transformations before an optimizer, and around one. Each stands here with a plain descent, whose steps show its output."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import optree

from oracle.catalogue.optimizers.problems import NESTED
from oracle.catalogue.optimizers.references import CONSTANT, Select, decaying, falling, follows, slot
from oracle.spec import composed
from oracle.trajectory import TrajectorySpec
from purenet import optimizers, random, schedules

Tree = Any
RATE = 0.1


def before_sgd(
    name: str, ours: optimizers.GradientTransformation, theirs: Any, slots: dict[str, Select] | None = None, source: Any = None
) -> TrajectorySpec:
    """The record of a transformation of ours and theirs, each before a step against what it gives."""
    return follows(
        f"{name}, sgd",
        optimizers.chain(ours, optimizers.sgd(RATE)),
        optax.chain(theirs, optax.scale_by_learning_rate(CONSTANT(RATE))),
        {**{f"0.{slot}": select for slot, select in (slots or {}).items()}, "1.count": lambda s: s[1].count},
        source or name.split(",", maxsplit=1)[0],
    )


def norm_of_tree(tree: Any) -> Any:
    return jnp.linalg.norm(jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)]))


def clip_as_torch(max_norm: float, eps: float) -> optax.GradientTransformation:
    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        factor = jnp.minimum(max_norm / (norm_of_tree(grads) + eps), 1.0)
        return jax.tree.map(lambda g: factor * g, grads), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


# ------------------------------------------------------------------------------- what the problems do not give


class Spoiled(NamedTuple):
    """The number of updates made."""

    steps: Any


def spoiled(t: Any) -> Any:
    """Two gradients in a row of every six."""
    return (t + 5) % 6 // 2 == 0


def spoil() -> optimizers.GradientTransformation:
    """NaN in all gradients, now and then."""

    def update(grads: Tree, state: Spoiled, params: Tree = None) -> tuple[Tree, Spoiled]:
        t = int(state.steps)
        return optree.tree_map(lambda g: g * (np.nan if spoiled(t) else 1.0), grads), Spoiled(np.asarray(t + 1))

    return optimizers.GradientTransformation(lambda params: Spoiled(np.asarray(0)), update)


def spoil_jax() -> optax.GradientTransformation:
    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        factor = jnp.where(spoiled(state.steps), jnp.nan, 1.0)
        return jax.tree.map(lambda g: g * factor, grads), Spoiled(state.steps + 1)

    return optax.GradientTransformation(lambda params: Spoiled(jnp.asarray(0)), update)


SPOILED = {"0.steps": lambda s: s[0].steps}


def watching(transform: Any, norm: Any, kind: Any) -> Any:
    """The transformation, for which the norm of the parameters stands for a loss: it falls, rises and comes to rest."""

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        return transform.update(grads, state, params, value=norm(params))

    return kind(transform.init, update)


def norm_of_params(params: Tree) -> float:
    return float(np.sqrt(sum(np.vdot(p, p) for p in optree.tree_leaves(params))))


# --------------------------------------------------------------------------------------------- the catalogue

PLATEAU: dict[str, Any] = {
    "factor": 0.7,
    "patience": 2,
    "rtol": 0.05,
    "atol": 1e-3,
    "cooldown": 2,
    "accumulation_size": 2,
    "min_scale": 0.1,
}

with jax.enable_x64(True):  # or it would have no float64 to sum in
    MULTI_STEPS = optax.MultiSteps(optax.adam(decaying(0.1)), 3, accumulator_dtype=jnp.float64)


def labels(params: Tree) -> Tree:
    return {"w": "weights", "b": "biases"}


TRAJECTORIES = (
    before_sgd("clip", optimizers.clip(0.3), optax.clip(0.3)),
    before_sgd("clip_by_global_norm", optimizers.clip_by_global_norm(0.5), optax.clip_by_global_norm(0.5)),
    before_sgd(
        "clip_by_global_norm, eps",
        optimizers.clip_by_global_norm(0.5, eps=1e-2),
        clip_as_torch(0.5, 1e-2),
        source=composed("torch's formula"),
    ),
    before_sgd("clip_by_block_rms", optimizers.clip_by_block_rms(0.2), optax.clip_by_block_rms(0.2)),
    before_sgd("adaptive_grad_clip", optimizers.adaptive_grad_clip(0.3), optax.adaptive_grad_clip(0.3)),
    before_sgd("centralize", optimizers.centralize(), optax.centralize()),
    before_sgd("scale", optimizers.scale(-0.5), optax.scale(-0.5)),
    before_sgd(
        "scale_by_schedule",
        optimizers.scale_by_schedule(falling(2.0)),
        optax.scale_by_schedule(decaying(2.0)),
        {"count": lambda s: s[0].count},
    ),
    before_sgd("trace", optimizers.trace(0.6, nesterov=True), optax.trace(0.6, nesterov=True), {"trace": lambda s: s[0].trace}),
    before_sgd("ema", optimizers.ema(0.8), optax.ema(0.8), {"count": lambda s: s[0].count, "ema": lambda s: s[0].ema}),
    before_sgd(
        "add_decayed_weights, schedule, mask",
        optimizers.add_decayed_weights(falling(0.5), lambda params: {"w": True, "b": False}),
        optax.add_decayed_weights(decaying(0.5), lambda params: {"w": True, "b": False}),
        {"count": lambda s: s[0].inner_state.count},
    ),
    before_sgd(
        "add_noise",
        optimizers.add_noise(0.1, 0.55, random.key(7)),
        optax.add_noise(0.1, 0.55, 7),
        {"count": lambda s: s[0].count, "rng_key": lambda s: jax.random.key_data(s[0].rng_key)},
    ),
    follows(
        "zero_nans, sgd",
        optimizers.chain(spoil(), optimizers.zero_nans(), optimizers.sgd(RATE)),
        optax.chain(spoil_jax(), optax.zero_nans(), optax.scale_by_learning_rate(CONSTANT(RATE))),
        {**SPOILED, "1.found_nan": lambda s: s[1].found_nan, "2.count": lambda s: s[2].count},
        "zero_nans",
    ),
    follows(
        "apply_if_finite, adam",
        optimizers.chain(spoil(), optimizers.apply_if_finite(optimizers.adam(0.05), 2)),
        optax.chain(spoil_jax(), optax.apply_if_finite(optax.adam(0.05), 2)),
        {
            **SPOILED,
            **{f"1.{name}": select for name, select in slot(1, "notfinite_count", "last_finite", "total_notfinite").items()},
            "1.inner_state.count": lambda s: s[1].inner_state[0].count,
            "1.inner_state.mu": lambda s: s[1].inner_state[0].mu,
            "1.inner_state.nu": lambda s: s[1].inner_state[0].nu,
        },
        "apply_if_finite",
    ),
    follows(
        "sgd, reduce_on_plateau",
        optimizers.chain(
            optimizers.sgd(0.05),
            watching(optimizers.reduce_on_plateau(**PLATEAU), norm_of_params, optimizers.GradientTransformation),
        ),
        optax.chain(
            optax.sgd(CONSTANT(0.05)),
            watching(optax.contrib.reduce_on_plateau(**PLATEAU), norm_of_tree, optax.GradientTransformation),
        ),
        {
            "0.count": lambda s: s[0][1].count,
            **{
                f"1.{name}": select
                for name, select in slot(
                    1, "scale", "best_value", "plateau_count", "cooldown_count", "count", "avg_value"
                ).items()
            },
        },
        "contrib.reduce_on_plateau",
    ),
    follows(
        "multi_steps, adam",
        optimizers.multi_steps(optimizers.adam(falling(0.1)), 3),
        MULTI_STEPS,
        {
            "mini_step": lambda s: s.mini_step,
            "gradient_step": lambda s: s.gradient_step,
            "inner_opt_state.count": lambda s: s.inner_opt_state[0].count,
            "inner_opt_state.mu": lambda s: s.inner_opt_state[0].mu,
            "inner_opt_state.nu": lambda s: s.inner_opt_state[0].nu,
            "acc_grads": lambda s: s.acc_grads,
        },
        "MultiSteps",
    ),
    follows(
        "masked trace, sgd",
        optimizers.chain(optimizers.masked(optimizers.trace(0.5), {"w": False, "b": True}), optimizers.sgd(RATE)),
        optax.chain(optax.masked(optax.trace(0.5), {"w": False, "b": True}), optax.scale_by_learning_rate(CONSTANT(RATE))),
        {"0.inner_state.trace": lambda s: s[0].inner_state.trace, "1.count": lambda s: s[1].count},
        "masked",
    ),
    follows(
        "partition of adam and momentum",
        optimizers.partition({"weights": optimizers.adam(0.05), "biases": optimizers.momentum(0.02)}, labels),
        optax.partition({"weights": optax.adam(0.05), "biases": optax.sgd(CONSTANT(0.02), momentum=0.9)}, labels),
        {
            "inner_states.weights.inner_state.count": lambda s: s.inner_states["weights"].inner_state[0].count,
            "inner_states.weights.inner_state.mu": lambda s: s.inner_states["weights"].inner_state[0].mu,
            "inner_states.weights.inner_state.nu": lambda s: s.inner_states["weights"].inner_state[0].nu,
            "inner_states.biases.inner_state.count": lambda s: s.inner_states["biases"].inner_state[1].count,
            "inner_states.biases.inner_state.velocity": lambda s: s.inner_states["biases"].inner_state[0].trace,
        },
        "partition",
    ),
    follows(
        "chain of weight decay, clipping and momentum, warmup_cosine_decay_schedule",
        optimizers.chain(
            optimizers.add_decayed_weights(0.02),
            optimizers.clip_by_global_norm(0.5),
            optimizers.momentum(schedules.warmup_cosine_decay_schedule(0.0, 0.2, 10, 40, 0.02)),
        ),
        optax.chain(
            optax.add_decayed_weights(0.02),
            optax.clip_by_global_norm(0.5),
            optax.sgd(
                lambda count: optax.warmup_cosine_decay_schedule(0.0, 0.2, 10, 40, 0.02)(count.astype(jnp.int64)),
                momentum=0.9,
            ),
        ),
        {"2.count": lambda s: s[2][1].count, "2.velocity": lambda s: s[2][0].trace},
        "chain",
        NESTED,
    ),
)
