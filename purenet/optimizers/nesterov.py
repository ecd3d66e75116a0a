"""NAdam, which exists in three variants."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from purenet.checks import number
from purenet.op import Array, Tree
from purenet.optimizers.moments import AdamState, adam_rule
from purenet.optimizers.transformation import (
    GradientTransformation,
    by_rule,
    init_slots,
    state_of,
    step_count,
    update_each,
)
from purenet.schedules import ScalarOrSchedule, as_schedule

__all__ = ["NadamState", "nadam"]


class NadamState(NamedTuple):
    """The number of updates made, the product of the weights of the average so far, and averages as Adam's."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    mu_product: Array
    mu: Tree
    nu: Tree


def nadam(
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    *,
    momentum_decay: float | None = None,
) -> GradientTransformation:
    """NAdam: Adam with Nesterov's look ahead.

    Math, with mu_t, nu_t, n and the rate a_t of `optimizers.adam`, t = 1, 2, ...:
        c_t = b1,  with a momentum_decay d: b1 (1 - 0.96^(d t) / 2)          C_t = c_1 c_2 ... c_t
        m   = c_{t+1} mu_t / (1 - C_{t+1}) + (1 - c_t) g_t / (1 - C_t)
        u_t = -a_t m / (sqrt(n + eps_root) + eps)
    State: count, mu, nu; with a momentum_decay mu_product (C_t) too. Without, it is `optimizers.adam` with nesterov=True
    Errors: as `optimizers.adam`; ValueError for a negative or infinite momentum_decay.
    Source: Dozat (2016), algorithm 2 without its second factor b2 for n. Conventions: three NAdams exist. The default is
        optax's, with constant weights; momentum_decay=0.004 is torch's, and 1.0 Keras's.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.nadam(0.1, b1=0.5)
    >>> updates, state = opt.update(np.array([4.0]), opt.init(np.zeros(1)))
    >>> updates.round(6)  # 0.5 * 0.5 / 0.75 + 0.5 / 0.5 = 4 / 3
    array([-0.133333])
    """
    who = "nadam"
    rule_at = adam_rule(who, b1, b2, eps, eps_root, True, False, False)
    if momentum_decay is None:
        return by_rule(who, AdamState, learning_rate, rule_at, ("mu", "nu"))
    d = number(who, "momentum_decay", momentum_decay, 0)
    rate_at = as_schedule(who, learning_rate)

    def weight(t: int) -> float:
        return float(b1 * (1 - 0.5 * 0.96 ** (d * t)))

    def init(params: Tree) -> NadamState:
        return NadamState(step_count(), np.asarray(1.0), init_slots(who, params), init_slots(who, params))

    def update(grads: Tree, state: NadamState, params: Tree = None) -> tuple[Tree, NadamState]:
        t = int(state_of(who, NadamState, state).count) + 1
        rate, product = rate_at(t - 1), float(state.mu_product) * weight(t)
        ahead = weight(t + 1) / (1 - product * weight(t + 1))
        now, nu_share = (1 - weight(t)) / (1 - product), 1 - b2**t

        def rule(g: Array, mu: Array, nu: Array) -> tuple[Array, Array, Array]:
            mu, nu = b1 * mu + (1 - b1) * g, b2 * nu + (1 - b2) * (g * g)
            return -rate * (ahead * mu + now * g) / (np.sqrt(nu / nu_share + eps_root) + eps), mu, nu

        updates, mu, nu = update_each(who, rule, grads, params, mu=state.mu, nu=state.nu)
        return updates, NadamState(step_count(t), np.asarray(product), mu, nu)

    return GradientTransformation(init, update)
