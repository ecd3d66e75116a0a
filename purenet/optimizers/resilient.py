"""Rprop: steps whose lengths depend on the signs of the gradients alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from purenet.checks import number
from purenet.op import Array, Tree
from purenet.optimizers.transformation import GradientTransformation, init_slots, state_of, update_each

__all__ = ["RpropState", "rprop"]


class RpropState(NamedTuple):
    """The length of the next step of every entry, and the last step uphill, which is 0 after a change of sign."""

    step_sizes: Tree
    prev_updates: Tree


def rprop(
    learning_rate: float,
    eta_minus: float = 0.5,
    eta_plus: float = 1.2,
    min_step_size: float = 1e-6,
    max_step_size: float = 50.0,
) -> GradientTransformation:
    """Rprop: every entry has a step length of its own, which grows while its gradient keeps its sign.

    Math, with s_0 = learning_rate and v_0 = 0:
        g_t v_{t-1} > 0:  s_t = s_{t-1} eta_plus,   v_t = s_t sign(g_t)
        g_t v_{t-1} < 0:  s_t = s_{t-1} eta_minus,  v_t = 0
        otherwise:        s_t = s_{t-1},            v_t = s_t sign(g_t)
        u_t = -v_t;  a length that grows or shrinks is kept within min_step_size and max_step_size
    State: step_sizes, which is s; prev_updates, which is v
    Errors: ValueError for a negative or infinite rate or size, eta_minus outside (0, 1), eta_plus not above 1, or a least
        size above the largest.
    Source: Riedmiller and Braun (1993), without the way back after a change of sign; torch.optim.Rprop. Conventions:
        optax.rprop makes the same steps, each one update late. Signs of the gradients of small batches change too often.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.rprop(0.5)
    >>> first, state = opt.update(np.array([3.0, -7.0]), opt.init(np.zeros(2)))
    >>> second, state = opt.update(np.array([0.1, 2.0]), state)
    >>> first, second + 0.0, state.step_sizes
    (array([-0.5,  0.5]), array([-0.6,  0. ]), array([0.6 , 0.25]))
    """
    who = "rprop"
    start = number(who, "learning_rate", learning_rate, 0)
    shorter, longer = number(who, "eta_minus", eta_minus, above=0), number(who, "eta_plus", eta_plus, above=1)
    if shorter >= 1:
        raise ValueError(f"{who}: eta_minus must be in (0, 1), got {shorter}")
    least, most = number(who, "min_step_size", min_step_size, 0), number(who, "max_step_size", max_step_size, 0)
    if least > most:
        raise ValueError(f"{who}: min_step_size must be at most max_step_size, got {least} and {most}")

    def rule(g: Array, size: Array, before: Array) -> tuple[Array, Array, Array]:
        agreement = np.sign(g) * np.sign(before)
        changed = np.clip(size * np.where(agreement > 0, longer, shorter), least, most).astype(g.dtype, copy=False)
        size = np.where(agreement == 0, size, changed)
        step = np.where(agreement < 0, 0, size * np.sign(g)).astype(g.dtype, copy=False)
        return -step, size, step

    def init(params: Tree) -> RpropState:
        return RpropState(init_slots(who, params, start), init_slots(who, params))

    def update(grads: Tree, state: RpropState, params: Tree = None) -> tuple[Tree, RpropState]:
        sizes, before = state_of(who, RpropState, state)
        updates, *new = update_each(who, rule, grads, params, step_sizes=sizes, prev_updates=before)
        return updates, RpropState(*new)

    return GradientTransformation(init, update)
