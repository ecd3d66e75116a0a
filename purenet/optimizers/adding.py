"""Transformations that add something to gradients: earlier gradients, decaying weights, noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from purenet import random
from purenet.checks import boolean, number
from purenet.masks import Mask, mask_of
from purenet.op import Array, Tree
from purenet.optimizers.blocks import Writing
from purenet.optimizers.transformation import (
    EmptyState,
    GradientTransformation,
    Rule,
    Scaled,
    decay_rate,
    init_slots,
    leaves_of,
    state_of,
    step_count,
    update_each,
)
from purenet.random import check_key
from purenet.schedules import ScalarOrSchedule, as_schedule

__all__ = [
    "AddNoiseState",
    "EmaState",
    "TraceState",
    "WeightDecaySchedule",
    "add_decayed_weights",
    "add_noise",
    "decayed_weights",
    "ema",
    "trace",
    "with_decay",
]


class TraceState(NamedTuple):
    """The decaying sum of gradients."""

    trace: Tree


class EmaState(NamedTuple):
    """The number of updates made, and the decaying average of gradients."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    ema: Tree


class WeightDecaySchedule(NamedTuple):
    """The number of updates made."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple


class AddNoiseState(NamedTuple):
    """The number of updates made, and the key of the next noise."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    rng_key: Array


def trace(decay: float, nesterov: bool = False) -> GradientTransformation:
    """The decaying sum of gradients in place of the gradient: `optimizers.momentum` without a rate.

    Math, with v_{-1} = 0:
        v_t = g_t + decay * v_{t-1}           u_t = v_t,           with nesterov: u_t = g_t + decay * v_t
    State: trace
    Errors: ValueError for decay outside [0, 1).
    Source: Polyak (1964); optax.trace.

    >>> import numpy as np, purenet as pn
    >>> sums = pn.optimizers.trace(0.5)
    >>> updates, state = sums.update(np.array([4.0]), sums.init(np.array([0.0])))
    >>> sums.update(np.array([4.0]), state)[0]
    array([6.])
    """
    decay = decay_rate("trace", "decay", decay)
    boolean("trace", "nesterov", nesterov)

    def rule(g: Array, v: Array) -> tuple[Array, Array]:
        v = g + decay * v
        return (g + decay * v if nesterov else v.copy()), v

    def init(params: Tree) -> TraceState:
        return TraceState(init_slots("trace", params))

    def update(grads: Tree, state: TraceState, params: Tree = None) -> tuple[Tree, TraceState]:
        updates, sums = update_each("trace", rule, grads, params, trace=state_of("trace", TraceState, state).trace)
        return updates, TraceState(sums)

    return GradientTransformation(init, update)


def ema(decay: float, debias: bool = True) -> GradientTransformation:
    """The decaying average of gradients in place of the gradient.

    Math, with m_0 = 0 and t = 1, 2, ...:
        m_t = decay * m_{t-1} + (1 - decay) g_t
        u_t = m_t / (1 - decay^t)                          without debias: m_t
    State: count, ema
    Errors: ValueError for decay outside [0, 1).
    Source: optax.ema. Conventions: `trace` is the sum, of which this is the share 1 - decay.

    >>> import numpy as np, purenet as pn
    >>> average = pn.optimizers.ema(0.5)
    >>> updates, state = average.update(np.array([3.0]), average.init(np.array([0.0])))
    >>> average.update(np.array([6.0]), state)[0], state.ema
    (array([5.]), array([1.5]))
    """
    decay = decay_rate("ema", "decay", decay)
    boolean("ema", "debias", debias)

    def init(params: Tree) -> EmaState:
        return EmaState(step_count(), init_slots("ema", params))

    def update(grads: Tree, state: EmaState, params: Tree = None) -> tuple[Tree, EmaState]:
        count = int(state_of("ema", EmaState, state).count) + 1
        share = 1 - decay**count if debias else 1.0

        def rule(g: Array, m: Array) -> tuple[Array, Array]:
            m = decay * m + (1 - decay) * g
            return m / share, m

        updates, averages = update_each("ema", rule, grads, params, ema=state.ema)
        return updates, EmaState(step_count(count), averages)

    return GradientTransformation(init, update)


def add_decayed_weights(weight_decay: ScalarOrSchedule = 0.0, mask: Mask = None) -> GradientTransformation:
    """The weights, times a factor, are added to the gradients.

    Math, with the factor w_t of the t-th update, t = 0, 1, ...:
        u_t = g_t + w_t p                                  where `mask` is false: g_t
    State: nothing; where `weight_decay` is a schedule, count
    Errors: ValueError for a negative or infinite factor, without `params`, or where the mask is not like the parameters or a
        prefix of them; TypeError where the mask holds other things than booleans.
    Source: optax.add_decayed_weights. Conventions: before an optimizer this is the gradient of the penalty w/2 |p|^2; for
        optimizers that scale the gradient it is not weight decay, which is added to their step: `optimizers.adamw`.

    >>> import numpy as np, purenet as pn
    >>> params, grads = {"w": np.array([2.0]), "b": np.array([2.0])}, {"w": np.array([1.0]), "b": np.array([1.0])}
    >>> decay = pn.optimizers.add_decayed_weights(0.5, mask={"w": True, "b": False})
    >>> decay.update(grads, decay.init(params), params)[0]
    {'w': array([2.]), 'b': array([1.])}
    """
    who = "add_decayed_weights"
    decayed = decayed_weights(who, weight_decay, mask)
    scheduled = callable(weight_decay)
    kind: type[EmptyState] | type[WeightDecaySchedule] = WeightDecaySchedule if scheduled else EmptyState

    def init(params: Tree) -> EmptyState | WeightDecaySchedule:
        leaves_of(who, "params", params)
        return WeightDecaySchedule(step_count()) if scheduled else EmptyState()

    def update(grads: Tree, state: Any, params: Tree = None) -> tuple[Tree, EmptyState | WeightDecaySchedule]:
        state = state_of(who, kind, state)
        count = int(state.count) if scheduled else 0
        (updates,) = update_each(who, lambda g, *decay: (sum(decay, g.copy()),), grads, params, decayed(params, count))
        return updates, WeightDecaySchedule(step_count(count + 1)) if scheduled else EmptyState()

    return GradientTransformation(init, update)


def add_noise(eta: float, gamma: float, key: Array) -> GradientTransformation:
    """Normal noise, less from update to update, is added to the gradients.

    Math, for t = 1, 2, ...:
        u_t = g_t + sqrt(eta / t^gamma) n_t                n_t standard normal
    State: count, rng_key
    Errors: TypeError or ValueError unless `key` is a key of `pn.random`; ValueError for negative or infinite eta or gamma.
    Source: Neelakantan et al. (2015); optax.add_noise, with the same noise for the same key. Conventions: eta is a variance.
        The paper adds 1 to t, which starts at 0 there.

    >>> import numpy as np, purenet as pn
    >>> noise = pn.optimizers.add_noise(0.01, 0.55, pn.random.key(0))
    >>> params = np.zeros(2)
    >>> updates, state = noise.update(params, noise.init(params))
    >>> again, _ = noise.update(params, noise.init(params))
    >>> bool((updates == again).all()), bool((updates == noise.update(params, state)[0]).any())
    (True, False)
    """
    eta, gamma = number("add_noise", "eta", eta, 0), number("add_noise", "gamma", gamma, 0)
    check_key("add_noise", key)

    def init(params: Tree) -> AddNoiseState:
        leaves_of("add_noise", "params", params)
        return AddNoiseState(step_count(), np.array(key))

    def update(grads: Tree, state: AddNoiseState, params: Tree = None) -> tuple[Tree, AddNoiseState]:
        count = int(state_of("add_noise", AddNoiseState, state).count) + 1
        following, own = random.split(state.rng_key)
        leaves, structure = leaves_of("add_noise", "grads", grads)
        keys = random.split(own, len(leaves)) if leaves else ()
        noise = structure.unflatten(
            [random.normal(k, g.shape, g.dtype.newbyteorder("=")) for k, g in zip(keys, leaves, strict=True)]
        )
        deviation = math.sqrt(eta * math.pow(count, -gamma))
        (updates,) = update_each("add_noise", lambda g, n: (g + deviation * n,), grads, params, (noise,))
        return updates, AddNoiseState(step_count(count), np.array(following))

    return GradientTransformation(init, update)


# ------------------------------------------------------------------------------------- for those who write an optimizer


def decayed_weights(
    who: str, weight_decay: ScalarOrSchedule, mask: Mask, name: str = "weight_decay", *, by_rate: bool = False
) -> Callable[[Tree, int], Sequence[Scaled]]:
    """`read` of `by_rule`: the weights times the factor, 0 where the mask is false; no tree at all where it is always 0.

    With `by_rate` also times the rate, as `with_decay` takes them.
    """
    factor_at = as_schedule(who, weight_decay, name)
    if not callable(weight_decay) and weight_decay == 0:
        return lambda params, count: ()

    def read(params: Tree, count: int) -> Sequence[Scaled]:
        if params is None:
            raise ValueError(f"{who}: params are needed, for the decay of weights: update(grads, state, params)")
        factor = factor_at(count)
        return (Scaled(params, [factor if keep else None for keep in mask_of(who, mask, params)], by_rate),)

    return read


def with_decay(rule_at: Callable[[int, float], Rule], slots: int = 1) -> Callable[[int, float], Rule]:
    """The same rule, whose step also takes the decayed weights that it reads, if there are any; they are those at its rate."""

    def decaying_at(t: int, rate: float) -> Rule:
        rule = rule_at(t, rate)

        def decaying(g: Array, *others: Array) -> tuple[Array, ...]:
            decay, old = others[: len(others) - slots], others[len(others) - slots :]
            step, *new = rule(g, *old)
            for weights in decay:
                step = step - weights
            return step, *new

        if not isinstance(rule, Writing):
            return decaying
        write = rule.into

        def into(results: Sequence[Array], g: Array, *others: Array) -> None:
            decay, old = others[: len(others) - slots], others[len(others) - slots :]
            write(results, g, *old)
            step = results[0]
            for weights in decay:
                step -= weights

        return Writing(decaying, into)

    return decaying_at
