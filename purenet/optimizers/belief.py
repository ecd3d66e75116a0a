"""Relatives of Adam with another average of squares: of a forecast's errors, or one that moves by a share of each square."""

from __future__ import annotations

import numpy as np

from purenet.checks import boolean, number
from purenet.op import Array
from purenet.optimizers.moments import AdamState
from purenet.optimizers.transformation import GradientTransformation, Rule, by_rule, decay_rate, not_zero
from purenet.schedules import ScalarOrSchedule

__all__ = ["adabelief", "yogi"]


def adabelief(
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-16,
    eps_root: float = 1e-16,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """AdaBelief: the average gradient over the root of its average squared distance from the gradient.

    Math, with the rate a_t of the t-th update, t = 1, 2, ... (a schedule gets the count t - 1):
        mu_t = b1 mu_{t-1} + (1 - b1) g_t                            m = mu_t / (1 - b1^t)
        nu_t = b2 nu_{t-1} + (1 - b2) (g_t - mu_t)^2 + eps_root      n = nu_t / (1 - b2^t)
        u_t  = -a_t m / (sqrt(n) + eps)
    with nesterov: m = b1 mu_t / (1 - b1^(t+1)) + (1 - b1) g_t / (1 - b1^t)
    State: count, mu, nu
    Errors: as `optimizers.adam`.
    Source: Zhuang et al. (2020); optax.adabelief. Conventions: eps_root joins nu_t itself and so is averaged, as in the paper,
        whose only epsilon it is. The less a gradient changes, the longer are the steps, until eps and eps_root limit them.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.adabelief(0.9, b1=0.5, b2=0.75)
    >>> updates, state = opt.update(np.array([4.0, -2.0]), opt.init(np.zeros(2)))
    >>> updates.round(6), state.nu
    (array([-1.8,  1.8]), array([1.  , 0.25]))
    """
    b1, b2 = decay_rate("adabelief", "b1", b1), decay_rate("adabelief", "b2", b2)
    eps, eps_root = number("adabelief", "eps", eps, 0), number("adabelief", "eps_root", eps_root, 0)
    not_zero("adabelief", eps=eps, eps_root=eps_root)
    boolean("adabelief", "nesterov", nesterov)

    def rule_at(t: int, rate: float) -> Rule:
        def rule(g: Array, mu: Array, nu: Array) -> tuple[Array, Array, Array]:
            mu = b1 * mu + (1 - b1) * g
            nu = b2 * nu + (1 - b2) * np.square(g - mu) + eps_root
            m, n = mu / (1 - b1**t), nu / (1 - b2**t)
            if nesterov:
                m = b1 * mu / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
            return -rate * m / (np.sqrt(n) + eps), mu, nu

        return rule

    return by_rule("adabelief", AdamState, learning_rate, rule_at, ("mu", "nu"))


def yogi(
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-3,
    *,
    initial_accumulator_value: float = 1e-6,
) -> GradientTransformation:
    """Yogi: Adam, whose average of squares moves towards each square by a share of the square, not of the distance.

    Math, with the rate a_t of the t-th update, t = 1, 2, ... (a schedule gets the count t - 1):
        mu_t = b1 mu_{t-1} + (1 - b1) g_t
        nu_t = nu_{t-1} - (1 - b2) sign(nu_{t-1} - g_t^2) g_t^2
        u_t  = -a_t mu_t / (1 - b1^t) / (sqrt(nu_t / (1 - b2^t)) + eps)
    and mu_0 = nu_0 = initial_accumulator_value
    State: count, mu, nu
    Errors: ValueError for a negative or infinite rate or accumulator, b1 or b2 outside [0, 1), or eps negative or so small
        that float32 has it as 0.
    Source: Zaheer et al. (2018), algorithm 2; optax.yogi. Conventions: as in optax and TensorFlow Addons both averages start
        at the same number and both are corrected for a start at zero; the paper corrects neither.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.yogi(1.0, b1=0.5, b2=0.75, initial_accumulator_value=0.0)
    >>> updates, state = opt.update(np.array([4.0, 0.0]), opt.init(np.zeros(2)))
    >>> updates.round(4) + 0.0, state.nu
    (array([-0.9998,  0.    ]), array([4., 0.]))
    """
    b1, b2 = decay_rate("yogi", "b1", b1), decay_rate("yogi", "b2", b2)
    eps, start = number("yogi", "eps", eps, 0), number("yogi", "initial_accumulator_value", initial_accumulator_value, 0)
    not_zero("yogi", eps=eps)

    def rule_at(t: int, rate: float) -> Rule:
        def rule(g: Array, mu: Array, nu: Array) -> tuple[Array, Array, Array]:
            square = g * g
            mu = b1 * mu + (1 - b1) * g
            nu = nu - (1 - b2) * np.sign(nu - square) * square
            return -rate / (1 - b1**t) * mu / (np.sqrt(nu / (1 - b2**t)) + eps), mu, nu

        return rule

    return by_rule("yogi", AdamState, learning_rate, rule_at, ("mu", "nu"), start={"mu": start, "nu": start})
