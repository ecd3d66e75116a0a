"""Descent at one rate for all parameters: along the gradient, along a velocity, or along the signs of a velocity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from purenet.checks import boolean, booleans
from purenet.masks import Mask
from purenet.op import Array, Tree
from purenet.optimizers.adding import decayed_weights, with_decay
from purenet.optimizers.blocks import Writing
from purenet.optimizers.transformation import GradientTransformation, Rule, by_rule, decay_rate
from purenet.schedules import ScalarOrSchedule

__all__ = ["LionState", "MomentumState", "SgdState", "lion", "momentum", "sgd"]


class SgdState(NamedTuple):
    """The number of updates made."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple


class MomentumState(NamedTuple):
    """The number of updates made, and the decaying sum of gradients."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    velocity: Tree


class LionState(NamedTuple):
    """The number of updates made, and a decaying average of the gradients."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    mu: Tree


def sgd(learning_rate: ScalarOrSchedule, momentum: float | None = None, nesterov: bool = False) -> GradientTransformation:
    """Stochastic gradient descent: a step against the gradient.

    Math, with the rate a_t of the t-th update, t = 0, 1, ...:
        u_t = -a_t g_t
    State: count; with `momentum`, that of `optimizers.momentum`, which this then is
    Errors: ValueError for a negative or infinite rate, momentum outside [0, 1), or nesterov without momentum.
    Source: Robbins and Monro (1951); optax.sgd. Conventions: optax ignores `nesterov` without `momentum`.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.sgd(0.1)
    >>> updates, state = opt.update({"w": np.array([2.0])}, opt.init({"w": np.array([5.0])}))
    >>> updates, int(state.count)
    ({'w': array([-0.2])}, 1)
    """
    boolean("sgd", "nesterov", nesterov)
    if momentum is not None:
        return _with_velocity("sgd", "momentum", learning_rate, momentum, nesterov, rate_in_velocity=False)
    if nesterov:
        raise ValueError("sgd: nesterov=True needs a momentum")

    def rule_at(t: int, rate: float) -> Rule:
        def into(results: Sequence[Array], g: Array) -> None:
            np.multiply(g, -rate, out=results[0])

        return Writing(lambda g: (-rate * g,), into)

    return by_rule("sgd", SgdState, learning_rate, rule_at)


def momentum(
    learning_rate: ScalarOrSchedule, decay: float = 0.9, nesterov: bool = False, *, rate_in_velocity: bool = False
) -> GradientTransformation:
    """Gradient descent with a velocity that remembers past gradients.

    Math, with the rate a_t of the t-th update, t = 0, 1, ..., decay d and v_{-1} = 0:
        v_t = d v_{t-1} + g_t           u_t = -a_t v_t            with nesterov: u_t = -a_t (d v_t + g_t)
    with rate_in_velocity:
        v_t = d v_{t-1} - a_t g_t       u_t = v_t                 with nesterov: u_t = d v_t - a_t g_t
    State: count, velocity
    Errors: ValueError for a negative or infinite rate or decay outside [0, 1).
    Source: Polyak (1964); Sutskever et al. (2013) for nesterov. Conventions: the default is optax.sgd's and torch's;
        `rate_in_velocity` is the book's (Saito 2016) and Keras's. At a constant rate both make the same steps, and the
        velocities differ by the factor -a. Under a schedule they differ from the second update on: the default applies
        the current rate to all past gradients, the other keeps for each gradient the rate of its own step.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.momentum(0.1, decay=0.5)
    >>> state = opt.init(np.array([0.0]))
    >>> updates, state = opt.update(np.array([1.0]), state)
    >>> updates, state = opt.update(np.array([1.0]), state)
    >>> updates, state.velocity
    (array([-0.15]), array([1.5]))
    """
    return _with_velocity("momentum", "decay", learning_rate, decay, nesterov, rate_in_velocity=rate_in_velocity)


def lion(
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: ScalarOrSchedule = 1e-3,
    mask: Mask = None,
) -> GradientTransformation:
    """Lion: steps of one size in every entry, against the sign of the gradient blended with its average.

    Math, with the rate a_t of the t-th update, t = 0, 1, ..., weights p and mu_{-1} = 0:
        u_t  = -a_t (sign(b1 mu_{t-1} + (1 - b1) g_t) + weight_decay * p)
        mu_t = b2 mu_{t-1} + (1 - b2) g_t
    and without the decay where `mask` is false. A zero gradient at the first update moves nothing: sign(0) = 0.
    State: count, mu
    Errors: as `optimizers.adamw`.
    Source: Chen et al. (2023); optax.lion.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.lion(0.5, weight_decay=0.25)
    >>> params = np.array([4.0, 4.0, 0.0])
    >>> opt.update(np.array([1e-3, -7.0, 0.0]), opt.init(params), params)[0] + 0.0
    array([-1.,  0.,  0.])
    """
    b1, b2 = decay_rate("lion", "b1", b1), decay_rate("lion", "b2", b2)

    def rule_at(t: int, rate: float) -> Rule:
        def rule(g: Array, mu: Array) -> tuple[Array, Array]:
            return -rate * np.sign(b1 * mu + (1 - b1) * g), b2 * mu + (1 - b2) * g

        return rule

    return by_rule(
        "lion",
        LionState,
        learning_rate,
        with_decay(rule_at),
        ("mu",),
        read=decayed_weights("lion", weight_decay, mask, by_rate=True),
    )


def _with_velocity(
    who: str, decay_name: str, learning_rate: ScalarOrSchedule, decay: float, nesterov: bool, *, rate_in_velocity: bool
) -> GradientTransformation:
    decay = decay_rate(who, decay_name, decay)
    booleans(who, nesterov=nesterov, rate_in_velocity=rate_in_velocity)

    def rule_at(t: int, rate: float) -> Rule:
        def rule(g: Array, v: Array) -> tuple[Array, Array]:
            if rate_in_velocity:
                v = decay * v - rate * g
                return (decay * v - rate * g if nesterov else v.copy()), v
            v = decay * v + g
            return -rate * (decay * v + g if nesterov else v), v

        def into(results: Sequence[Array], g: Array, v: Array) -> None:
            step, after = results
            np.multiply(v, decay, out=after)
            after += g
            np.multiply(after, -rate, out=step)

        return rule if nesterov or rate_in_velocity else Writing(rule, into)

    return by_rule(who, MomentumState, learning_rate, rule_at, ("velocity",))
