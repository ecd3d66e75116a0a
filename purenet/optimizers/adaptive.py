"""Optimizers with a rate of its own for every parameter."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from purenet.checks import number
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

__all__ = ["AdamState", "adam"]


class AdamState(NamedTuple):
    """The number of updates made, and decaying averages of the gradients and of their squares."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    mu: Tree
    nu: Tree


def adam(
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    *,
    epsilon_hat: bool = False,
) -> GradientTransformation:
    """Adam: the average gradient over the root of the average squared gradient, both corrected for their start at zero.

    Math, with the rate a_t of the t-th update, t = 1, 2, ... (a schedule is asked for count t - 1):
        mu_t = b1 mu_{t-1} + (1 - b1) g_t           m = mu_t / (1 - b1^t)
        nu_t = b2 nu_{t-1} + (1 - b2) g_t^2         n = nu_t / (1 - b2^t)
        u_t  = -a_t m / (sqrt(n + eps_root) + eps),  with epsilon_hat: eps / sqrt(1 - b2^t) in place of eps
    State: count, mu, nu
    Errors: ValueError for a negative or infinite rate, b1 or b2 outside [0, 1), negative eps or eps_root, or both so small
        that float32 has them as 0, for then a zero gradient would be divided by zero.
    Source: Kingma and Ba (2015), algorithm 1. Conventions: the default is optax's and torch's. `epsilon_hat` is the order
        of computation that section 2 of the paper proposes, which the book, Keras and ONNX use: there eps joins before
        the correction, a_t sqrt(1 - b2^t) / (1 - b1^t) * mu_t / (sqrt(nu_t) + eps), so that at first it counts 1 / sqrt(1 - b2)
        times as much. Where a gradient is not much larger than eps, the step follows its size; above, only its sign.
        For float16 and bfloat16 parameters mu and nu are float32.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.adam(0.1)
    >>> updates, state = opt.update(np.array([4.0, -0.25, 0.0]), opt.init(np.zeros(3)))
    >>> updates.round(6) + 0.0, state.mu.round(3)
    (array([-0.1,  0.1,  0. ]), array([ 0.4  , -0.025,  0.   ]))
    """
    b1, b2 = decay_rate("adam", "b1", b1), decay_rate("adam", "b2", b2)
    eps, eps_root = number("adam", "eps", eps, 0), number("adam", "eps_root", eps_root, 0)
    if not (np.float32(eps) or np.float32(eps_root)):
        raise ValueError(f"adam: eps and eps_root must not both be 0 in float32, got {eps} and {eps_root}")
    rate_at = as_schedule("adam", learning_rate)

    def init(params: Tree) -> AdamState:
        return AdamState(step_count(), init_slots("adam", params), init_slots("adam", params))

    def update(grads: Tree, state: AdamState, params: Tree = None) -> tuple[Tree, AdamState]:
        count = int(state_of("adam", AdamState, state).count) + 1
        rate = rate_at(count - 1)
        mu_share, nu_share = 1 - b1**count, 1 - b2**count  # how much of the averages is gradient, the rest is their start
        eps_now = eps / math.sqrt(nu_share) if epsilon_hat else eps

        def rule(g: Array, mu: Array, nu: Array) -> tuple[Array, Array, Array]:
            part = (1 - b1) * g
            mu = b1 * mu
            mu += part
            np.multiply(g, g, out=part)  # for a network of any size the time goes into fresh memory, not into arithmetic
            part *= 1 - b2
            nu = b2 * nu
            nu += part
            np.divide(nu, nu_share, out=part)
            part += eps_root
            root = np.sqrt(part, out=part)
            root += eps_now
            step = (-rate / mu_share) * mu
            step /= root
            return step, mu, nu

        updates, mu, nu = update_each("adam", rule, grads, params, mu=state.mu, nu=state.nu)
        return updates, AdamState(step_count(count), mu, nu)

    return GradientTransformation(init, update)
