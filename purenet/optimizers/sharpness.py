"""Sharpness-aware minimization, and the normalized gradient that it climbs along."""

from __future__ import annotations

from typing import Any, NamedTuple

from purenet.checks import boolean, integer
from purenet.op import Array, Tree
from purenet.optimizers.combining import copies, update_of
from purenet.optimizers.norms import global_norm, times
from purenet.optimizers.transformation import (
    GradientTransformation,
    Rule,
    state_of,
    stateless,
    step_count,
    update_each,
    working_copies,
)

__all__ = ["SAMState", "normalize", "sam"]


class SAMState(NamedTuple):
    """The number of steps since the last descent, the states of both optimizers, and the parameters before the climb."""

    steps_since_sync: Array
    opt_state: Any
    adv_state: Any
    cache: Tree


def normalize() -> GradientTransformation:
    """All gradients together scaled to a norm of 1.

    Math, with N the root of the sum of the squares of all entries of the tree:
        u = g / N, or 0 where N is 0
    State: nothing
    Source: optax.contrib.normalize, which gives NaN where N is 0.

    >>> import numpy as np, purenet as pn
    >>> unit = pn.optimizers.normalize()
    >>> grads = {"w": np.array([3.0]), "b": np.array([4.0])}
    >>> unit.update(grads, unit.init(grads))[0]
    {'w': array([0.6]), 'b': array([0.8])}
    """

    def rule_for(grads: Tree) -> Rule:
        norm = global_norm(working_copies("normalize", "grads", grads))
        return lambda g: (times(g, 1 / norm if norm else 0.0),)

    return stateless("normalize", rule_for)


def sam(
    optimizer: GradientTransformation,
    adv_optimizer: GradientTransformation,
    sync_period: int = 2,
    reset_state: bool = True,
) -> GradientTransformation:
    """SAM: steps of `optimizer` from where the parameters were, with the gradient at a place uphill of them.

    Math, with the steps c of adv_optimizer and d of optimizer, and q the parameters p before the climb:
        u_t = -c                          at the first sync_period - 1 updates of each round, which climb
        u_t = q - p + d                   at the last one, with the gradient at p, uphill of q
    State: steps_since_sync, opt_state, adv_state, cache, which is q
    Errors: TypeError for what is no transformation; ValueError unless sync_period is at least 2, and without `params`.
    Source: Foret et al. (2021); optax.contrib.sam, not opaque. Conventions: a step takes sync_period gradients, each at the
        parameters after the last update. The paper's rho is the rate of adv_optimizer: chain(normalize(), sgd(rho)). With
        reset_state it starts anew each round; without it, its state at the last update is that before it, as in optax.

    >>> import numpy as np, purenet as pn
    >>> climb = pn.optimizers.chain(pn.optimizers.normalize(), pn.optimizers.sgd(0.5))
    >>> opt = pn.optimizers.sam(pn.optimizers.sgd(0.1), climb)
    >>> params = np.array([1.0])
    >>> state = opt.init(params)
    >>> for _ in range(2):  # of p^2, whose gradient at 1.5 is 3
    ...     updates, state = opt.update(2 * params, state, params)
    ...     params = pn.apply_updates(params, updates)
    >>> params.round(12)
    array([0.7])
    """
    who = "sam"
    update_down, update_up = update_of(who, "optimizer", optimizer), update_of(who, "adv_optimizer", adv_optimizer)
    period = integer(who, "sync_period", sync_period, 2)
    boolean(who, "reset_state", reset_state)

    def init(params: Tree) -> SAMState:
        return SAMState(step_count(), optimizer.init(params), adv_optimizer.init(params), working_copies(who, "params", params))

    def update(grads: Tree, state: SAMState, params: Tree = None, **extra: Any) -> tuple[Tree, SAMState]:
        made = int(state_of(who, SAMState, state).steps_since_sync)
        if params is None:
            raise ValueError(f"{who}: params are needed: update(grads, state, params)")
        if made < period - 1:
            steps, adv_state = update_up(grads, state.adv_state, params, **extra)
            (updates,) = update_each(who, lambda c: (-c,), steps, params)
            before = working_copies(who, "params" if made == 0 else "state.cache", params if made == 0 else state.cache)
            return updates, SAMState(step_count(made + 1), copies(state.opt_state), adv_state, before)
        steps, opt_state = update_down(grads, state.opt_state, state.cache, **extra)
        updates, before = update_each(who, lambda d, p, q: (q - p + d, q.copy()), steps, params, (params,), cache=state.cache)
        adv_state = adv_optimizer.init(params) if reset_state else state.adv_state
        return updates, SAMState(step_count(), opt_state, copies(adv_state), before)

    return GradientTransformation(init, update)
