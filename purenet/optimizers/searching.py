"""A search along the updates of an optimizer for a step that pays."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from purenet.checks import integer, number
from purenet.op import Array, Tree
from purenet.optimizers.curvature import dot
from purenet.optimizers.norms import times
from purenet.optimizers.transformation import apply_updates, matching, working_dtype
from purenet.scipy_parts import wolfe_step

__all__ = ["LineSearch", "line_search"]

SEARCHES = 4
"""Searches of a line. SciPy tries 10 steps between one that is too long and 0, down to about a hundredth of it; the next search
begins at the best or the shortest of these. Along gradients of Rosenbrock's function 1 search fails at 191 of 200 points
with a first step of 100 gradients, 2 at 12 with one of 10^4; 3 never do."""

ValueAndGrad = Callable[[Tree], tuple[Any, Tree]]
"""From parameters to what is to be minimized, a number, and its gradient, a tree like the parameters."""


class LineSearch(NamedTuple):
    """Where a line search ended: the step over the updates, and what was found there; evaluations are those of the search."""

    rate: float
    params: Tree
    value: float
    grads: Tree
    evaluations: int


class _Trial(NamedTuple):
    """A point on the line; a value of NaN is as bad as an infinite one."""

    params: Tree
    value: float
    grads: Tree
    slope: float


def line_search(
    value_and_grad: ValueAndGrad,
    params: Tree,
    updates: Tree,
    value: Any = None,
    grads: Tree = None,
    *,
    c1: float = 1e-4,
    c2: float = 0.9,
    max_steps: int = 20,
) -> LineSearch:
    """How far to go along the updates of an optimizer, so that the value falls and its slope flattens.

    `value_and_grad(params)` gives the value and its gradient. Those at `params` are not computed anew if you give them, and the
    result holds those at the next parameters.

    Math, with f(a) the value at params + a updates, and f'(a) the product of its gradient and the updates:
        a: f(a) <= f(0) + c1 a f'(0)  and  |f'(a)| <= c2 |f'(0)|          the strong Wolfe conditions; the first trial is a = 1
    Where no trial meets both, a is that of the least value that meets the first, or 0; it is 0 where f'(0) >= 0: uphill.
    Errors: TypeError where value_and_grad is no function or gives no number; ValueError where the trees or shapes differ, for
        c1 and c2 unless 0 < c1 < c2 < 1, or max_steps below 1.
    Source: Nocedal and Wright (2006), algorithms 3.5 and 3.6, by scipy.optimize.line_search. Conventions: torch's
        LBFGS(line_search_fn="strong_wolfe") and optax.scale_by_zoom_linesearch have other trials and the same conditions. The
        rate of the optimizer is the first trial: lbfgs() with 1. The steps of a line search make L-BFGS's curvatures positive.

    >>> import numpy as np, purenet as pn
    >>> def rosenbrock(p):
    ...     x, y = p
    ...     return (1 - x) ** 2 + 100 * (y - x**2) ** 2, np.array([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)])
    >>> opt, params = pn.optimizers.lbfgs(), np.array([-1.2, 1.0])
    >>> state = opt.init(params)
    >>> value, grads = rosenbrock(params)
    >>> for _ in range(40):
    ...     updates, state = opt.update(grads, state, params)
    ...     rate, params, value, grads, _ = pn.optimizers.line_search(rosenbrock, params, updates, value, grads)
    ...     if rate == 0:
    ...         break
    >>> params.round(6)
    array([1., 1.])
    """
    who = "line_search"
    c1, c2 = number(who, "c1", c1, above=0), number(who, "c2", c2, above=0)
    if not c1 < c2 < 1:
        raise ValueError(f"{who}: c1 must be below c2 and c2 below 1, got {c1} and {c2}")
    max_steps = integer(who, "max_steps", max_steps, 1)
    if not callable(value_and_grad):
        raise TypeError(f"{who}: value_and_grad must be a function, got {type(value_and_grad).__name__}")
    steps_of, _, structure = matching(who, ("updates", updates), ("params", params))

    def at(rate: float, known: Any = None) -> _Trial:
        there = apply_updates(params, structure.unflatten([times(u, rate) for u in steps_of]))
        return _trial(who, there, steps_of, value_and_grad(there) if known is None else known)

    tried: dict[float, _Trial] = {}

    def trial(rate: float) -> _Trial:
        if rate not in tried:
            tried[rate] = at(rate)
        return tried[rate]

    known = value is not None and grads is not None
    here = at(0.0, (value, grads) if known else None)
    found, unit = 0.0, 1.0
    for _ in range(SEARCHES if here.slope < 0 else 0):
        first = here.value, unit * here.slope
        rate = wolfe_step(partial(_value, trial, unit), partial(_slope, trial, unit), first, c1, c2, max_steps)
        if rate is not None:
            found = rate * unit
            break
        paying = {a: t.value for a, t in tried.items() if t.value <= here.value + c1 * a * here.slope < here.value}
        found = min(paying, key=paying.__getitem__, default=0.0)
        if len(paying) == len(tried):
            break
        unit = found or min(tried)
    end = tried[found] if found else here
    return LineSearch(found, end.params, end.value, end.grads, len(tried) + (not known))


def _value(trial: Callable[[float], _Trial], unit: float, a: float) -> float:
    """The value at `a` on a line of which `unit` is 1."""
    return trial(a * unit).value


def _slope(trial: Callable[[float], _Trial], unit: float, a: float) -> float:
    """The slope there, by `a`."""
    return unit * trial(a * unit).slope


def _trial(who: str, params: Tree, updates: list[Array], found: Any) -> _Trial:
    """What was found at these parameters, in arrays of its own."""
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(f"{who}: value_and_grad must give (value, grads), got {type(found).__name__}")
    value, grads = found
    if np.ndim(value) or not isinstance(value, float | int | np.number | np.ndarray):
        raise TypeError(f"{who}: value must be a number, got {type(value).__name__}")
    leaves, _, structure = matching(who, ("grads", grads), ("params", params))
    wide = [[a.astype(working_dtype(a.dtype), copy=False) for a in arrays] for arrays in (leaves, updates)]
    height = math.inf if np.isnan(value) else float(value)
    return _Trial(params, height, structure.unflatten([g.copy() for g in leaves]), dot(*wide))
