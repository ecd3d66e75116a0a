"""Optimizers: what each must follow step by step, and the small losses on which it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optree

from oracle.spec import Draw, Source, composed, library
from oracle.trajectory import Problem, Reference, TrajectorySpec
from purenet import activations, affine, chain, losses, optimizers, schedules

Tree = Any

# ---------------------------------------------------------------------------------------------- the losses


def cross_entropy(logits: Any, labels: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def two_layers(params: Any, x: Any, options: Any) -> Any:
    hidden = jnp.tanh(jnp.dot(x, params["affine1"]["w"]) + params["affine1"]["b"])
    return cross_entropy(jnp.dot(hidden, params["affine2"]["w"]) + params["affine2"]["b"], options["loss"]["labels"])


def nested_layers(params: Any, x: Any, options: Any) -> Any:
    hidden, output = params["net"]["hidden"]["affine"], params["net"]["output"]
    logits = jnp.dot(jax.nn.gelu(jnp.dot(x, hidden["w"]) + hidden["b"]), output["w"])
    return cross_entropy(logits, options["loss"]["labels"])


def by_jax(loss: Callable[[Any, Any, Any], Any]) -> Callable[[Tree, Any, Mapping[str, Any]], Tree]:
    """The gradient of `loss` with respect to its first argument, from NumPy to NumPy, in float64."""
    compiled = jax.jit(jax.grad(loss))

    def gradient(params: Tree, x: Any, options: Mapping[str, Any]) -> Tree:
        with jax.enable_x64(True):
            return optree.tree_map(np.asarray, compiled(params, x, options))

    return gradient


def draw_two_layers(draw: Draw) -> tuple[Tree, Any, Mapping[str, Any]]:
    params = {
        "affine1": {"w": draw.normal(3, 2), "b": draw.normal(2, scale=0.1)},
        "affine2": {"w": draw.normal(2, 3), "b": draw.normal(3, scale=0.1)},
    }
    return params, draw.normal(5, 3), {"loss": {"labels": np.array([0, 2, 1, 2, 0])}}


def draw_nested_layers(draw: Draw) -> tuple[Tree, Any, Mapping[str, Any]]:
    hidden = {"affine": {"w": draw.normal(2, 3), "b": draw.normal(3, scale=0.1)}}
    params = {"net": {"hidden": hidden, "output": {"w": draw.normal(3, 2)}}}
    return params, draw.normal(4, 2), {"loss": {"labels": np.array([0, 1, 1, 0])}}


TWO_LAYERS = Problem(
    "two-layer net",
    chain(affine1=affine, tanh=activations.tanh, affine2=affine, loss=losses.softmax_cross_entropy),
    draw_two_layers,
    by_jax(two_layers),
)
NESTED = Problem(
    "net in a net",
    chain(
        net=chain(hidden=chain(affine=affine, gelu=activations.gelu), output=affine),
        loss=losses.softmax_cross_entropy,
    ),
    draw_nested_layers,
    by_jax(nested_layers),
)

# ------------------------------------------------------------------------------------------ the references


def by_optax(source: Source, optimizer: optax.GradientTransformation) -> Reference:
    """An optax optimizer as a function from NumPy to NumPy, in float64."""

    @jax.jit
    def compiled(grads: Any, state: Any, params: Any) -> Any:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def init(params: Tree) -> Any:
        with jax.enable_x64(True):
            return optree.tree_map(np.asarray, optimizer.init(optree.tree_map(jnp.asarray, params)))

    def step(grads: Tree, state: Any, params: Tree) -> tuple[Tree, Any]:
        with jax.enable_x64(True):
            params, state = optree.tree_map(np.asarray, compiled(grads, state, params))
        return params, state

    return Reference(source, init, step)


class HatState(NamedTuple):
    """The averages of two optax transformations."""

    mu: Any
    nu: Any


def adam_with_epsilon_hat(rate: float, b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """The paper's second order of computation: the rate is corrected, not the averages, and eps joins before that."""
    average, average_of_squares = optax.ema(b1, debias=False), optax.ema(b2, debias=False)

    def init(params: Any) -> HatState:
        return HatState(average.init(params), average_of_squares.init(params))

    def update(grads: Any, state: HatState, params: Any = None) -> tuple[Any, HatState]:
        m, mu = average.update(grads, state.mu)
        v, nu = average_of_squares.update(jax.tree.map(jnp.square, grads), state.nu)
        corrected = rate * jnp.sqrt(1 - b2**mu.count) / (1 - b1**mu.count)
        return jax.tree.map(lambda m, v: -corrected * m / (jnp.sqrt(v) + eps), m, v), HatState(mu, nu)

    return optax.GradientTransformation(init, update)


def weight_decay(factor: float) -> optimizers.GradientTransformation:
    """A transformation of one's own, as the protocol has it: the gradient of an L2 penalty joins the gradients."""

    def update(grads: Tree, state: Any, params: Tree = None) -> tuple[Tree, Any]:
        return optree.tree_map(lambda g, p: g + factor * p, grads, params), state

    return optimizers.GradientTransformation(lambda params: (), update)


# ------------------------------------------------------------------------------------------- the catalogue

DECAY = (5, 0.7)  # the learning rate is multiplied by 0.7 every 5 steps
# optax counts steps only under a schedule, so a constant rate is given to it as a constant schedule.
CONSTANT = optax.constant_schedule


def decaying(rate: float) -> Callable[[Any], Any]:
    """The schedule of optax in float64: asked with its own int32 count it answers in float32, even where float64 is enabled."""
    schedule = optax.exponential_decay(rate, *DECAY)
    return lambda count: schedule(jnp.asarray(count, jnp.int64))


TRAJECTORIES = (
    TrajectorySpec(
        "sgd",
        optimizers.sgd(0.5),
        by_optax(library("optax.sgd"), optax.sgd(CONSTANT(0.5))),
        {"count": lambda s: s[1].count},
        TWO_LAYERS,
    ),
    TrajectorySpec(
        "sgd, exponential_decay",
        optimizers.sgd(schedules.exponential_decay(0.5, *DECAY)),
        by_optax(library("optax.sgd"), optax.sgd(decaying(0.5))),
        {"count": lambda s: s[1].count},
        TWO_LAYERS,
    ),
    TrajectorySpec(
        "momentum",
        optimizers.momentum(0.1, decay=0.9),
        by_optax(library("optax.sgd"), optax.sgd(CONSTANT(0.1), momentum=0.9)),
        {"count": lambda s: s[1].count, "velocity": lambda s: s[0].trace},
        TWO_LAYERS,
    ),
    TrajectorySpec(
        "momentum, exponential_decay",
        optimizers.momentum(schedules.exponential_decay(0.1, *DECAY), decay=0.9),
        by_optax(library("optax.sgd"), optax.sgd(decaying(0.1), momentum=0.9)),
        {"count": lambda s: s[1].count, "velocity": lambda s: s[0].trace},
        TWO_LAYERS,
    ),
    TrajectorySpec(
        "sgd, nesterov",
        optimizers.sgd(0.1, momentum=0.9, nesterov=True),
        by_optax(library("optax.sgd"), optax.sgd(CONSTANT(0.1), momentum=0.9, nesterov=True)),
        {"count": lambda s: s[1].count, "velocity": lambda s: s[0].trace},
        TWO_LAYERS,
    ),
    # At a constant rate the book's velocity is optax's times -rate, and the steps are the same.
    TrajectorySpec(
        "momentum, rate_in_velocity",
        optimizers.momentum(0.1, decay=0.9, rate_in_velocity=True),
        by_optax(library("optax.sgd"), optax.sgd(CONSTANT(0.1), momentum=0.9)),
        {"count": lambda s: s[1].count, "velocity": lambda s: optree.tree_map(lambda t: -0.1 * t, s[0].trace)},
        TWO_LAYERS,
    ),
    # Under a schedule each gradient keeps the rate of its day: optax scales first and remembers after.
    TrajectorySpec(
        "momentum, rate_in_velocity, exponential_decay",
        optimizers.momentum(schedules.exponential_decay(0.1, *DECAY), decay=0.9, rate_in_velocity=True),
        by_optax(
            composed("optax.scale_by_learning_rate, then optax.trace"),
            optax.chain(optax.scale_by_learning_rate(decaying(0.1)), optax.trace(0.9)),
        ),
        {"count": lambda s: s[0].count, "velocity": lambda s: s[1].trace},
        TWO_LAYERS,
    ),
    TrajectorySpec(
        "momentum, nesterov, rate_in_velocity, exponential_decay",
        optimizers.momentum(schedules.exponential_decay(0.1, *DECAY), decay=0.9, nesterov=True, rate_in_velocity=True),
        by_optax(
            composed("optax.scale_by_learning_rate, then optax.trace"),
            optax.chain(optax.scale_by_learning_rate(decaying(0.1)), optax.trace(0.9, nesterov=True)),
        ),
        {"count": lambda s: s[0].count, "velocity": lambda s: s[1].trace},
        TWO_LAYERS,
    ),
    TrajectorySpec(
        "adam",
        optimizers.adam(0.05),
        by_optax(library("optax.adam"), optax.adam(0.05)),
        {"count": lambda s: s[0].count, "mu": lambda s: s[0].mu, "nu": lambda s: s[0].nu},
        TWO_LAYERS,
    ),
    TrajectorySpec(
        "adam, eps_root, exponential_decay",
        optimizers.adam(schedules.exponential_decay(0.05, *DECAY), 0.8, 0.95, 1e-4, 1e-3),
        by_optax(library("optax.adam"), optax.adam(decaying(0.05), 0.8, 0.95, 1e-4, 1e-3)),
        {"count": lambda s: s[0].count, "mu": lambda s: s[0].mu, "nu": lambda s: s[0].nu},
        NESTED,
    ),
    TrajectorySpec(
        "adam, epsilon_hat",
        optimizers.adam(0.05, eps=1e-3, epsilon_hat=True),
        by_optax(
            composed("optax.ema of g and of g^2, the rate corrected instead of the averages"),
            adam_with_epsilon_hat(0.05, 0.9, 0.999, 1e-3),
        ),
        {"count": lambda s: s.mu.count, "mu": lambda s: s.mu.ema, "nu": lambda s: s.nu.ema},
        TWO_LAYERS,
    ),
    TrajectorySpec(
        "chain of weight decay and momentum",
        optimizers.chain(weight_decay(0.02), optimizers.momentum(0.1)),
        by_optax(library("optax.chain"), optax.chain(optax.add_decayed_weights(0.02), optax.sgd(CONSTANT(0.1), momentum=0.9))),
        {"1.count": lambda s: s[1][1].count, "1.velocity": lambda s: s[1][0].trace},
        NESTED,
    ),
)
