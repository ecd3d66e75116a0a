"""Prodigy, whose rate follows from how far the parameters have come."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from purenet.checks import boolean, number
from purenet.op import Array, Tree
from purenet.optimizers.transformation import (
    GradientTransformation,
    decay_rate,
    init_slots,
    leaves_of,
    matching,
    not_zero,
    state_of,
    step_count,
    update_each,
    working_copies,
)
from purenet.schedules import ScalarOrSchedule, as_schedule

__all__ = ["ProdigyState", "prodigy"]


class ProdigyState(NamedTuple):
    """Averages of gradients, of squares and a sum; the first parameters; the estimated rate and its numerator; the count."""

    exp_avg: Tree
    exp_avg_sq: Tree
    grad_sum: Tree
    params0: Tree
    estim_lr: Array
    numerator_weighted: Array
    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple


def prodigy(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[float, float] = (0.9, 0.999),
    beta3: float | None = None,
    eps: float = 1e-8,
    estim_lr0: float = 1e-6,
    estim_lr_coef: float = 1.0,
    weight_decay: float = 0.0,
    safeguard_warmup: bool = False,
) -> GradientTransformation:
    """Prodigy: Adam with a rate that grows until it is about the distance from the first parameters to the solution.

    Math, with b1, b2 = betas, b3 = beta3 or sqrt(b2), the parameters p, d_0 = estim_lr0, and at the t-th update, t = 1, 2, ...,
    the factor a_t (a schedule gets the count t - 1), d = d_{t-1} and l = d a_t sqrt(1 - b2^t) / (1 - b1^t):
        mu_t = b1 mu_{t-1} + (1 - b1) d g_t        nu_t = b2 nu_{t-1} + (1 - b2) (d g_t)^2
        r_t  = b3 r_{t-1} + (d / d_0) l <g_t, p_0 - p>
        s_t  = b3 s_{t-1} + (d / d_0) l g_t        with safeguard_warmup: d in place of l
        d_t  = max(d, estim_lr_coef r_t / |s_t|_1)
        u_t  = -l (mu_t / (sqrt(nu_t) + d_t eps) + weight_decay p)
    State: exp_avg, exp_avg_sq, grad_sum, which are mu, nu, s; params0; estim_lr, which is d; numerator_weighted, r; count
    Errors: ValueError for a negative or infinite rate, coefficient or decay, betas or beta3 outside [0, 1), eps or estim_lr0
        so small that float32 has it as 0, or without `params`.
    Source: Mishchenko and Defazio (2024); optax.contrib.prodigy. Conventions: where all gradients were 0, optax has NaN; here
        d stays as it is. Leave learning_rate at 1, or give it a schedule that decays from 1.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.prodigy(estim_lr0=0.5)
    >>> params = np.array([1.0])
    >>> updates, state = opt.update(np.array([4.0]), opt.init(params), params)
    >>> updates.round(6), state.estim_lr
    (array([-0.5]), array(0.5))
    """
    who = "prodigy"
    rate_at = as_schedule(who, learning_rate)
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise ValueError(f"{who}: betas must be two numbers, got {betas!r}")
    b1, b2 = (decay_rate(who, f"betas[{i}]", b) for i, b in enumerate(betas))
    b3 = b2**0.5 if beta3 is None else decay_rate(who, "beta3", beta3)
    eps, first = number(who, "eps", eps, 0), number(who, "estim_lr0", estim_lr0, above=0)
    not_zero(who, eps=eps)
    not_zero(who, estim_lr0=first)
    grow, decay = number(who, "estim_lr_coef", estim_lr_coef, 0), number(who, "weight_decay", weight_decay, 0)
    boolean(who, "safeguard_warmup", safeguard_warmup)

    def init(params: Tree) -> ProdigyState:
        mu, nu, sums = (init_slots(who, params) for _ in range(3))
        start = working_copies(who, "params", params)
        return ProdigyState(mu, nu, sums, start, np.asarray(first), np.zeros(()), step_count())

    def update(grads: Tree, state: ProdigyState, params: Tree = None) -> tuple[Tree, ProdigyState]:
        t, d = int(state_of(who, ProdigyState, state).count) + 1, float(state.estim_lr)
        if params is None:
            raise ValueError(f"{who}: params are needed: update(grads, state, params)")
        rate = d * rate_at(t - 1) * (1 - b2**t) ** 0.5 / (1 - b1**t)

        def gather(g: Array, s: Array) -> tuple[Array, Array]:
            return g, b3 * s + d / first * (d if safeguard_warmup else rate) * g

        _, sums = update_each(who, gather, grads, params, grad_sum=state.grad_sum)
        numerator = b3 * float(state.numerator_weighted) + d / first * rate * _progress(who, grads, state.params0, params)
        length = sum(float(np.abs(s).sum()) for s in leaves_of(who, "grads", sums)[0])
        new = max(d, grow * numerator / length) if length else d

        def rule(g: Array, p: Array, mu: Array, nu: Array) -> tuple[Array, Array, Array]:
            mu, nu = b1 * mu + (1 - b1) * d * g, b2 * nu + (1 - b2) * np.square(d * g)
            return -rate * (mu / (np.sqrt(nu) + new * eps) + decay * p), mu, nu

        averages = {"exp_avg": state.exp_avg, "exp_avg_sq": state.exp_avg_sq}
        updates, mu, nu = update_each(who, rule, grads, params, (params,), **averages)
        start = working_copies(who, "state.params0", state.params0)
        return updates, ProdigyState(mu, nu, sums, start, np.asarray(new), np.asarray(numerator), step_count(t))

    return GradientTransformation(init, update)


def _progress(who: str, grads: Tree, start: Tree, params: Tree) -> float:
    """The product of the gradients and the way from the parameters back to the first ones."""
    gradients, now, _ = matching(
        who, ("grads", working_copies(who, "grads", grads)), ("params", working_copies(who, "params", params))
    )
    first = matching(who, ("params", params), ("state.params0", start))[1]
    return float(sum(np.vdot(g, p0 - p) for g, p0, p in zip(gradients, first, now, strict=True)))
