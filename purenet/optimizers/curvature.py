"""L-BFGS, with a fixed rate, a schedule, or the steps of a `line_search`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import optree

from purenet.checks import boolean, integer
from purenet.op import Array, Tree
from purenet.optimizers.norms import norm_of_all
from purenet.optimizers.transformation import (
    GradientTransformation,
    init_slots,
    leaves_of,
    matching,
    state_of,
    step_count,
    update_each,
    working_copies,
    working_dtype,
)
from purenet.schedules import ScalarOrSchedule, as_schedule

__all__ = ["LbfgsState", "dot", "lbfgs"]


class LbfgsState(NamedTuple):
    """The number of updates made, the last parameters and gradients, and the last differences of both with their weights."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    params: Tree
    updates: Tree
    diff_params_memory: Tree
    diff_updates_memory: Tree
    weights_memory: Array


def lbfgs(
    learning_rate: ScalarOrSchedule = 1.0, memory_size: int = 10, scale_init_precond: bool = True
) -> GradientTransformation:
    """L-BFGS without a line search: the gradient times an estimate of the inverse Hessian, made of the last few steps.

    Math, with s_t = p_t - p_{t-1}, y_t = g_t - g_{t-1}, rho_t = 1 / (s_t y_t), or 0 where s_t y_t is 0, and the rate a_t:
        H_t = (I - rho s y^T) H (I - rho y s^T) + rho s s^T          over the last memory_size pairs, the oldest first, from
        H   = s_t y_t / |y_t|^2 I, or I where y_t is 0; at the first update min(1, 1 / |g_t|) I; without scale_init_precond: I
        u_t = -a_t H_t g_t
    State: count, params, updates, diff_params_memory, diff_updates_memory, weights_memory
    Errors: ValueError for a negative or infinite rate, a memory below 1, or without `params`.
    Source: Nocedal and Wright (2006), algorithm 7.4; optax.lbfgs with linesearch=None. Conventions: without a line search a
        pair with s y < 0 is kept, as in optax, and the step may then lead uphill: give a small rate, and all of the data.
        `line_search` finds the lengths of steps, as torch and optax do by default; then s y > 0.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.lbfgs()
    >>> params = np.array([8.0])
    >>> state = opt.init(params)
    >>> for _ in range(2):  # of 2 p^2: with the first pair the second step leads to the minimum
    ...     updates, state = opt.update(4 * params, state, params)
    ...     params = pn.apply_updates(params, updates)
    >>> params
    array([0.])
    """
    who = "lbfgs"
    rate_at, size = as_schedule(who, learning_rate), integer(who, "memory_size", memory_size, 1)
    boolean(who, "scale_init_precond", scale_init_precond)

    def init(params: Tree) -> LbfgsState:
        def memory() -> Tree:
            arrays, structure = leaves_of(who, "params", params)
            return structure.unflatten([np.zeros((size, *p.shape), working_dtype(p.dtype)) for p in arrays])

        zeros = init_slots(who, params), init_slots(who, params)
        return LbfgsState(step_count(), *zeros, memory(), memory(), np.zeros(size))

    def update(grads: Tree, state: LbfgsState, params: Tree = None) -> tuple[Tree, LbfgsState]:
        count = int(state_of(who, LbfgsState, state).count)
        if params is None:
            raise ValueError(f"{who}: params are needed: update(grads, state, params)")
        here, gradient = working_copies(who, "params", params), working_copies(who, "grads", grads)
        steps, structure = _differences(who, ("params", here), ("state.params", state.params), count)
        changes, _ = _differences(who, ("grads", gradient), ("state.updates", state.updates), count)
        place, product, square = (count - 1) % size, dot(steps, changes), dot(changes, changes)
        s = _remembered(who, "state.diff_params_memory", state.diff_params_memory, steps, place)
        y = _remembered(who, "state.diff_updates_memory", state.diff_updates_memory, changes, place)
        rho = state.weights_memory.copy()
        rho[place] = 1 / product if product else 0.0
        g = leaves_of(who, "grads", gradient)[0]
        first = 1.0
        if scale_init_precond:
            first = 1 / max(1.0, norm_of_all(g)) if count == 0 else product / square if square else 1.0
        direction = _times_inverse_hessian(g, s, y, rho, [(place - i) % size for i in range(size)], first)
        rate = rate_at(count)
        (updates,) = update_each(who, lambda _, d: (-rate * d,), grads, params, (structure.unflatten(direction),))
        memories = structure.unflatten(s), structure.unflatten(y)
        return updates, LbfgsState(step_count(count + 1), here, gradient, *memories, rho)

    return GradientTransformation(init, update)


def _times_inverse_hessian(
    g: list[Array], s: list[Array], y: list[Array], rho: Array, newest_first: list[int], first: float
) -> list[Array]:
    """H g by two loops over the pairs of all leaves, from the newest to the oldest and back."""
    q, alphas = g, dict[int, float]()
    for i in newest_first:
        alphas[i] = float(rho[i]) * dot([a[i] for a in s], q)
        q = [v - alphas[i] * a[i] for v, a in zip(q, y, strict=True)]
    q = [first * v for v in q]
    for i in reversed(newest_first):
        beta = float(rho[i]) * dot([a[i] for a in y], q)
        q = [v + (alphas[i] - beta) * a[i] for v, a in zip(q, s, strict=True)]
    return q


def _differences(who: str, given: tuple[str, Tree], old: tuple[str, Tree], count: int) -> tuple[list[Array], optree.PyTreeSpec]:
    """The leaves minus those of the last update, or zeros at the first."""
    now, before, structure = matching(who, given, old)
    return [a - b if count else np.zeros_like(a) for a, b in zip(now, before, strict=True)], structure


def _remembered(who: str, name: str, memory: Tree, newest: list[Array], place: int) -> list[Array]:
    """The memory with the newest difference in the place of the oldest."""
    entries = [np.array(entry) for entry in leaves_of(who, name, memory)[0]]
    for entry, difference in zip(entries, newest, strict=True):
        entry[place] = difference
    return entries


def dot(a: list[Array], b: list[Array]) -> float:
    """The sum of the products of all entries."""
    return float(sum(np.vdot(one, other) for one, other in zip(a, b, strict=True)))
