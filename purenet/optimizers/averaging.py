"""Averages of parameters: lookahead, schedule-free training, and the plain moving average."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from purenet.checks import boolean, integer, number
from purenet.op import Array, Tree
from purenet.optimizers.adaptive import rmsprop
from purenet.optimizers.adding import add_decayed_weights
from purenet.optimizers.combining import chain, copies, update_of
from purenet.optimizers.descent import sgd
from purenet.optimizers.scaling import scale, scale_by_learning_rate
from purenet.optimizers.transformation import (
    GradientTransformation,
    decay_rate,
    matching,
    not_zero,
    state_of,
    step_count,
    update_each,
    working_copies,
    working_dtype,
)
from purenet.schedules import ScalarOrSchedule, as_schedule

__all__ = [
    "LookaheadState",
    "ScheduleFreeState",
    "incremental_update",
    "lookahead",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_eval_params",
    "schedule_free_sgd",
]


class LookaheadState(NamedTuple):
    """The state of the optimizer inside, the number of steps since the last return, and the slow parameters."""

    fast_state: Any
    steps_since_sync: Array
    slow: Tree


class ScheduleFreeState(NamedTuple):
    """The share b1, the sum of the weights, the number of updates made, the largest rate, the state and parameters inside."""

    b1: Array
    weight_sum: Array
    count: Array  # type: ignore[assignment]  # the name that all states of ours have for it; it hides the method of tuple
    max_lr: Array
    base_optimizer_state: Any
    z: Tree


def incremental_update(new_tensors: Tree, old_tensors: Tree, step_size: float) -> Tree:
    """The moving average of parameters: a share of the new ones, and the rest of the old.

    Math:
        step_size * new + (1 - step_size) * old
    Errors: TypeError for leaves that are not floating-point arrays; ValueError where the trees or shapes differ, or for a
        step_size outside [0, 1].
    Source: Polyak and Juditsky (1992); optax.incremental_update. Conventions: the result has the dtype of `old_tensors`.

    >>> import numpy as np, purenet as pn
    >>> pn.optimizers.incremental_update({"w": np.array([4.0])}, {"w": np.array([0.0])}, 0.25)
    {'w': array([1.])}
    """
    who = "incremental_update"
    share = number(who, "step_size", step_size, 0, 1)
    new, old, structure = matching(who, ("new_tensors", new_tensors), ("old_tensors", old_tensors))
    working = [p.astype(working_dtype(p.dtype), copy=False) for p in old]
    averages = [share * n.astype(p.dtype, copy=False) + (1 - share) * p for n, p in zip(new, working, strict=True)]
    return structure.unflatten([np.asarray(a).astype(p.dtype, copy=False) for a, p in zip(averages, old, strict=True)])


def lookahead(
    fast_optimizer: GradientTransformation, sync_period: int, slow_step_size: float, reset_state: bool = False
) -> GradientTransformation:
    """Lookahead: after every few steps of an optimizer the parameters return part of the way to where these began.

    Math, with the steps d_t of fast_optimizer, the parameters p, k = sync_period, and slow_0 the first parameters:
        u_t = d_t                                                    at each k-th update:
        slow_{n+1} = slow_n + slow_step_size (p + d_t - slow_n)      u_t = slow_{n+1} - p
    State: fast_state, steps_since_sync, slow
    Errors: TypeError for what is no transformation; ValueError unless sync_period is at least 1 and slow_step_size in [0, 1],
        and without `params`.
    Source: Zhang et al. (2019), algorithm 1. Conventions: optax.lookahead does the same to pairs of fast and slow parameters;
        here the slow ones are part of the state. With reset_state the optimizer inside starts anew at each return.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.lookahead(pn.optimizers.sgd(1.0), 2, 0.5)
    >>> params = np.array([0.0])
    >>> state = opt.init(params)
    >>> for _ in range(2):
    ...     updates, state = opt.update(np.array([-1.0]), state, params)
    ...     params = pn.apply_updates(params, updates)
    >>> params, state.slow
    (array([1.]), array([1.]))
    """
    who = "lookahead"
    update_fast, period = update_of(who, "fast_optimizer", fast_optimizer), integer(who, "sync_period", sync_period, 1)
    share = number(who, "slow_step_size", slow_step_size, 0, 1)
    boolean(who, "reset_state", reset_state)

    def init(params: Tree) -> LookaheadState:
        return LookaheadState(fast_optimizer.init(params), step_count(), working_copies(who, "params", params))

    def update(grads: Tree, state: LookaheadState, params: Tree = None, **extra: Any) -> tuple[Tree, LookaheadState]:
        made = int(state_of(who, LookaheadState, state).steps_since_sync) + 1
        if params is None:
            raise ValueError(f"{who}: params are needed: update(grads, state, params)")
        steps, fast_state = update_fast(grads, state.fast_state, params, **extra)

        def rule(d: Array, p: Array, slow: Array) -> tuple[Array, Array]:
            if made < period:
                return d.copy(), slow.copy()
            slow = slow + share * (p + d - slow)
            return slow - p, slow

        updates, slow = update_each(who, rule, steps, params, (params,), slow=state.slow)
        if made == period and reset_state:
            fast_state = copies(fast_optimizer.init(params))
        return updates, LookaheadState(fast_state, step_count(made % period), slow)

    return GradientTransformation(init, update)


def schedule_free(
    base_optimizer: GradientTransformation,
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    weight_lr_power: float = 2.0,
) -> GradientTransformation:
    """Schedule-free training: gradients are taken between the optimizer's own parameters and their average.

    Math, with the steps d_t of base_optimizer, the parameters y, z_0 = y, and the largest rate so far m_t:
        w_t = m_t^weight_lr_power       c_t = w_t / (w_1 + ... + w_t), or 0 where that is 0 / 0
        x_{t-1} = (y - (1 - b1) z_{t-1}) / b1
        z_t = z_{t-1} + d_t             x_t = (1 - c_t) x_{t-1} + c_t z_t
        u_t = b1 x_t + (1 - b1) z_t - y
    State: b1, weight_sum, count, max_lr, base_optimizer_state, z
    Errors: TypeError for what is no transformation; ValueError for a negative or infinite rate or power, b1 outside (0, 1],
        and without `params`.
    Source: Defazio et al. (2024); optax.contrib.schedule_free. Conventions: learning_rate is that of base_optimizer, which
        must have no momentum of its own; a schedule gives the weights its value at t = 1, 2, ..., one ahead of the
        optimizer's, as in optax. The net to be used is x: see `schedule_free_eval_params`.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.schedule_free(pn.optimizers.sgd(1.0), 1.0, b1=0.5)
    >>> params = np.array([0.0])
    >>> state = opt.init(params)
    >>> for _ in range(2):
    ...     updates, state = opt.update(np.array([-1.0]), state, params)
    ...     params = pn.apply_updates(params, updates)
    >>> state.z, pn.optimizers.schedule_free_eval_params(state, params)
    (array([2.]), array([1.5]))
    """
    who = "schedule_free"
    update_base, rate_at = update_of(who, "base_optimizer", base_optimizer), as_schedule(who, learning_rate)
    share, power = number(who, "b1", b1, high=1, above=0), number(who, "weight_lr_power", weight_lr_power, 0)

    def init(params: Tree) -> ScheduleFreeState:
        z = working_copies(who, "params", params)
        zero = np.zeros(())
        return ScheduleFreeState(np.asarray(share), zero, step_count(), zero.copy(), base_optimizer.init(params), z)

    def update(grads: Tree, state: ScheduleFreeState, params: Tree = None, **extra: Any) -> tuple[Tree, ScheduleFreeState]:
        t = int(state_of(who, ScheduleFreeState, state).count) + 1
        if params is None:
            raise ValueError(f"{who}: params are needed: update(grads, state, params)")
        most = max(float(state.max_lr), rate_at(t))
        weight = most**power
        total = float(state.weight_sum) + weight
        c = weight / total if total else 0.0
        steps, base_state = update_base(grads, state.base_optimizer_state, params, **extra)

        def rule(d: Array, y: Array, z: Array) -> tuple[Array, Array]:
            x = (y - (1 - share) * z) / share
            z = z + d
            x = (1 - c) * x + c * z
            return share * x + (1 - share) * z - y, z

        updates, z = update_each(who, rule, steps, params, (params,), z=state.z)
        new = ScheduleFreeState(np.asarray(share), np.asarray(total), step_count(t), np.asarray(most), base_state, z)
        return updates, new

    return GradientTransformation(init, update)


def schedule_free_eval_params(state: ScheduleFreeState, params: Tree) -> Tree:
    """The parameters of the net to be used: the average x that a state of `schedule_free` and its parameters y imply.

    Math:
        x = (y - (1 - b1) z) / b1
    Errors: TypeError unless `state` is a ScheduleFreeState; ValueError where the trees or shapes differ.
    Source: Defazio et al. (2024); optax.contrib.schedule_free_eval_params.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.schedule_free_sgd(0.5)
    >>> params = np.array([3.0])
    >>> pn.optimizers.schedule_free_eval_params(opt.init(params), params).round(12)
    array([3.])
    """
    who = "schedule_free_eval_params"
    share = float(state_of(who, ScheduleFreeState, state).b1)
    y, z, structure = matching(who, ("params", params), ("state.z", state.z))
    averages = [(p.astype(old.dtype, copy=False) - (1 - share) * old) / share for p, old in zip(y, z, strict=True)]
    return structure.unflatten([np.asarray(a).astype(p.dtype, copy=False) for a, p in zip(averages, y, strict=True)])


def schedule_free_sgd(
    learning_rate: ScalarOrSchedule = 1.0, b1: float = 0.9, weight_decay: float = 0.0, weight_lr_power: float = 2.0
) -> GradientTransformation:
    """Schedule-free descent: `schedule_free` around `optimizers.sgd`, whose gradients include the decay of the weights.

    Math: that of `optimizers.schedule_free`, with d_t = -a_t (g_t + weight_decay y)
    State: that of `optimizers.schedule_free`
    Errors: as `optimizers.schedule_free`; ValueError for a negative or infinite weight_decay.
    Source: Defazio et al. (2024); optax.contrib.schedule_free_sgd. Conventions: optax's warmup_steps is a schedule here.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.schedule_free_sgd(0.5, weight_decay=1.0)
    >>> params = np.array([2.0])
    >>> opt.update(np.array([2.0]), opt.init(params), params)[0].round(12)
    array([-2.])
    """
    who = "schedule_free_sgd"
    _checked(who, learning_rate, b1, weight_decay, weight_lr_power)
    base = chain(add_decayed_weights(weight_decay), sgd(learning_rate))
    return schedule_free(base, learning_rate, b1, weight_lr_power)


def schedule_free_adamw(
    learning_rate: ScalarOrSchedule = 0.0025,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    weight_lr_power: float = 2.0,
) -> GradientTransformation:
    """Schedule-free AdamW: `schedule_free` around AdamW without its average of gradients, whose part b1 has.

    Math: that of `optimizers.schedule_free`, with nu_t and n of `optimizers.adam` and d_t = -a_t (g_t / (sqrt(n) + eps) +
        weight_decay y)
    State: that of `optimizers.schedule_free`
    Errors: as `optimizers.schedule_free`; ValueError for b2 outside [0, 1), a negative or infinite weight_decay, or eps
        negative or so small that float32 has it as 0.
    Source: Defazio et al. (2024); optax.contrib.schedule_free_adamw. Conventions: optax's warmup_steps is a schedule here.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.schedule_free_adamw(0.5)
    >>> params = np.array([2.0])
    >>> opt.update(np.array([4.0]), opt.init(params), params)[0].round(6)
    array([-0.5])
    """
    who = "schedule_free_adamw"
    _checked(who, learning_rate, b1, weight_decay, weight_lr_power)
    decay_rate(who, "b2", b2)
    not_zero(who, eps=number(who, "eps", eps, 0))
    scaled = rmsprop(1.0, b2, eps, eps_in_sqrt=False, bias_correction=True)
    base = chain(scaled, scale(-1.0), add_decayed_weights(weight_decay), scale_by_learning_rate(learning_rate))
    return schedule_free(base, learning_rate, b1, weight_lr_power)


def _checked(who: str, learning_rate: ScalarOrSchedule, b1: float, weight_decay: float, weight_lr_power: float) -> None:
    """Raise for what `schedule_free` and the transformations inside would refuse under their own names."""
    as_schedule(who, learning_rate)
    number(who, "b1", b1, high=1, above=0)
    number(who, "weight_decay", weight_decay, 0)
    number(who, "weight_lr_power", weight_lr_power, 0)
