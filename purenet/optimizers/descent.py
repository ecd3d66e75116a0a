"""Gradient descent at one rate for all parameters, with and without a velocity."""

from __future__ import annotations

from typing import NamedTuple

from purenet.op import Array, Tree
from purenet.optimizers.transformation import (
    GradientTransformation,
    decay_rate,
    init_slots,
    state_of,
    step_count,
    update_each,
)
from purenet.schedules import ScalarOrSchedule, as_schedule

__all__ = ["MomentumState", "SgdState", "momentum", "sgd"]


class SgdState(NamedTuple):
    """The number of updates made."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple


class MomentumState(NamedTuple):
    """The number of updates made, and the decaying sum of gradients."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    velocity: Tree


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
    if momentum is not None:
        return _with_velocity("sgd", "momentum", learning_rate, momentum, nesterov, rate_in_velocity=False)
    if nesterov:
        raise ValueError("sgd: nesterov=True needs a momentum")
    rate_at = as_schedule("sgd", learning_rate)

    def init(params: Tree) -> SgdState:
        init_slots("sgd", params)  # for its checks: there is nothing to remember
        return SgdState(step_count())

    def update(grads: Tree, state: SgdState, params: Tree = None) -> tuple[Tree, SgdState]:
        count = int(state_of("sgd", SgdState, state).count)
        rate = rate_at(count)
        (updates,) = update_each("sgd", lambda g: (-rate * g,), grads, params)
        return updates, SgdState(step_count(count + 1))

    return GradientTransformation(init, update)


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
        today's rate to all past gradients, the other keeps for each gradient the rate of its own day.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.momentum(0.1, decay=0.5)
    >>> state = opt.init(np.array([0.0]))
    >>> updates, state = opt.update(np.array([1.0]), state)
    >>> updates, state = opt.update(np.array([1.0]), state)
    >>> updates, state.velocity
    (array([-0.15]), array([1.5]))
    """
    return _with_velocity("momentum", "decay", learning_rate, decay, nesterov, rate_in_velocity=rate_in_velocity)


def _with_velocity(
    who: str, decay_name: str, learning_rate: ScalarOrSchedule, decay: float, nesterov: bool, *, rate_in_velocity: bool
) -> GradientTransformation:
    decay = decay_rate(who, decay_name, decay)
    rate_at = as_schedule(who, learning_rate)

    def init(params: Tree) -> MomentumState:
        return MomentumState(step_count(), init_slots(who, params))

    def update(grads: Tree, state: MomentumState, params: Tree = None) -> tuple[Tree, MomentumState]:
        count = int(state_of(who, MomentumState, state).count)
        rate = rate_at(count)

        def rule(g: Array, v: Array) -> tuple[Array, Array]:
            if rate_in_velocity:
                v = decay * v - rate * g
                return (decay * v - rate * g if nesterov else v.copy()), v
            v = decay * v + g
            return -rate * (decay * v + g if nesterov else v), v

        updates, velocity = update_each(who, rule, grads, params, velocity=state.velocity)
        return updates, MomentumState(step_count(count + 1), velocity)

    return GradientTransformation(init, update)
