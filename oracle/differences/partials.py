"""Witness 1: central differences that know their own uncertainty.

For a scalar-valued s(t) = <v, f(x + t d)> along one element (or one random direction) d,

    D(h) = (s(h) - s(-h)) / 2h = s'(0) + c2 h^2 + c4 h^4 + ...

is taken at h, h/4, h/16, h/64, and Romberg's table removes one power of h^2 after the other:

    T[k, 0] = D(h / 4^k),    T[k, m] = T[k+1, m-1] + (T[k+1, m-1] - T[k, m-1]) / (16^m - 1)

Large steps suffer from the powers that are left, small steps from rounding. Each entry states both, as the distance to its
neighbour plus the rounding noise of its smallest step; the answer is the entry that states the least, and what it states
is its uncertainty. No tolerance is tuned by hand. While an element is uncertain its step shrinks on, as long as that gains.

The outputs are subtracted one by one and only then contracted with v, so outputs that an element does not reach cancel
exactly. The noise of an output is measured (from its jitter under tiny displacements), not assumed.

Steps can be deceived: by a function that bends within them, or repeats itself over them. So each element has a first step
of its own length, no multiple of its neighbour's, and at the end one look at a step so short that only a slope is left. An
element about which anything is in doubt gets a full sweep: all steps from long to short, where the shorter ones are right.

One-sided slopes tell kinks: where they differ, and go on differing as h shrinks, the function has no derivative.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import quiet, size_of
from oracle.differences.evaluation import Evaluator, Function
from oracle.differences.stepsize import FIRST_STEP, FULL_SWEEP, StepControl, lengths, rounded

__all__ = ["DROWNED", "SMALL", "Estimate", "better", "chosen", "confirm", "differentiate", "estimated", "gradient", "replaced"]

Array = NDArray[Any]

TINY = 2.0**-10  # an argument of this size may be tiny for its function: steps of order 1 are tried as well
SMALL = 2.0**-6  # an element of this share of the argument's size may be
DROWNED = 2.0**-20  # if this fraction of the derivative stays uncertain with its own steps


@dataclass(frozen=True)
class Estimate:
    """The derivative with respect to the elements `index` (flat) of one argument, each with its uncertainty."""

    index: Array
    value: Array
    uncertainty: Array
    kink: Array
    left: Array
    right: Array
    slope_uncertainty: Array
    frozen: Array
    """Elements that the given step cannot move: it is below half the distance of neighbouring floats."""
    step: Array
    """The first step at each element; `differences[:, k]` was taken at `step / 4**k`."""
    differences: Array
    """The plain central differences, before extrapolation."""


def differentiate(
    evaluator: Evaluator, leaf: int, index: Array | None = None, *, steps: Array | float | None = None
) -> Estimate:
    """The derivative of the function with respect to elements of its argument number `leaf` (all, unless `index` says which).

    `steps` are the first steps, chosen by the size of each element unless given.
    """
    x = evaluator.origin[leaf].reshape(-1)
    index = np.arange(x.size) if index is None else np.asarray(index, dtype=np.intp)
    own_steps = steps is None
    if steps is None:
        steps = rounded(FIRST_STEP * np.maximum(np.abs(x[index]), size_of(x)) * lengths(leaf, index))
    steps = np.broadcast_to(np.asarray(steps, np.float64), index.shape)
    with np.errstate(over="ignore"):
        frozen = (x[index] + steps.astype(x.dtype)) - (x[index] - steps.astype(x.dtype)) == 0
    sizes = np.abs(x[index])
    estimate = _controlled(evaluator, leaf, index, steps, sizes, frozen)
    if own_steps:
        # Steps of the argument's size are too long for what happens at a tiny element; those of a tiny argument drown in the
        # noise of outputs that are not tiny, or move nothing at all.
        still = (np.nan_to_num(estimate.differences) == 0).all(axis=1)
        drowned = still | ((estimate.value != 0) & ~(estimate.uncertainty <= DROWNED * np.abs(estimate.value)))
        own = drowned & (sizes > 0) & (sizes < SMALL * size_of(x))
        if own.any():
            shorter = _controlled(evaluator, leaf, index[own], rounded(FIRST_STEP * sizes[own]), sizes[own], frozen[own])
            estimate = better(estimate, shorter, np.flatnonzero(own))
        if size_of(x) < TINY and drowned.any():
            ones = np.ones(np.count_nonzero(drowned))
            longer = _controlled(evaluator, leaf, index[drowned], FIRST_STEP * ones, ones, frozen[drowned])
            estimate = better(estimate, longer, np.flatnonzero(drowned))
    return estimate


def _controlled(
    evaluator: Evaluator, leaf: int, index: Array, steps: Array, sizes: Array, frozen: Array, *, full_sweep: bool = False
) -> Estimate:
    control = StepControl(
        lambda i, h: evaluator.difference(leaf, int(index[i]), h),
        steps,
        sizes,
        lambda some, moves: evaluator.difference(leaf, index[some], moves),
    )
    return estimated(control, index, frozen, evaluator.origin[leaf].reshape(-1)[index] == 0 if full_sweep else None)


def estimated(control: StepControl, index: Array, frozen: Array, full_sweep: Array | None = None) -> Estimate:
    """What step-size control finds of the elements `index`; a full sweep, if it is given which of them are at 0."""
    value, uncertainty = control.run() if full_sweep is None else control.full_sweep(full_sweep)
    with quiet():
        jumps = control.jumps()
    return Estimate(
        index=index,
        value=value,
        uncertainty=uncertainty,
        kink=jumps.confirmed & ~frozen,
        left=jumps.left,
        right=jumps.right,
        slope_uncertainty=jumps.uncertainty,
        frozen=frozen,
        step=control.steps,
        differences=control.table(control.central),
    )


def confirm(evaluator: Evaluator, leaf: int, estimate: Estimate, where: Array) -> Estimate:
    """`estimate` after a full sweep of its elements `where` (flat indices).

    What a full sweep contradicts by more than both state was deceived. Where they are apart by less than that and more than
    their uncertainties, neighbours in one table have agreed by chance: that distance is the uncertainty.
    """
    at = np.flatnonzero(np.isin(estimate.index, where) & ~estimate.frozen)
    if not at.size:
        return estimate
    x = np.abs(evaluator.origin[leaf].reshape(-1)[estimate.index[at]])
    x = np.where(x > 0, x, estimate.step[at] / FIRST_STEP)
    # Over long steps even a quantized function has a slope, which it has nowhere.
    steps = rounded((1.0 if evaluator.quantized else FULL_SWEEP[0]) * estimate.step[at])
    full_sweep = _controlled(evaluator, leaf, estimate.index[at], steps, x, estimate.frozen[at], full_sweep=True)
    old, spread = estimate.value[at], estimate.uncertainty[at]
    with quiet():
        apart = np.abs(full_sweep.value - old)
        deceived = apart > 4 * (full_sweep.uncertainty + spread)
        chosen = deceived | ~estimate.kink[at] & (full_sweep.uncertainty < spread / 4)
        lucky = (apart > full_sweep.uncertainty + spread) & ~chosen & ~full_sweep.kink & ~estimate.kink[at]
    uncertainty = estimate.uncertainty.copy()
    uncertainty[at] = np.where(lucky, apart, spread)
    taken = np.flatnonzero(chosen)
    return replaced(replace(estimate, uncertainty=uncertainty), full_sweep, at[taken], taken)


def better(estimate: Estimate, other: Estimate, at: Array) -> Estimate:
    """`estimate`, but of its elements `at`, which `other` is about, those for which `other` is relatively less uncertain."""
    with quiet():
        one, two = (
            np.where(value == 0, np.inf, uncertainty / np.abs(value))
            for value, uncertainty in ((estimate.value[at], estimate.uncertainty[at]), (other.value, other.uncertainty))
        )
    chosen = np.flatnonzero(two < one)
    return replaced(estimate, other, at[chosen], chosen)


def chosen(estimate: Estimate, which: Array) -> Estimate:
    """Some of the elements of an estimate."""
    return Estimate(**{f.name: getattr(estimate, f.name)[which] for f in fields(Estimate)})


def replaced(estimate: Estimate, by: Estimate, at: Array, source: Array) -> Estimate:
    """`estimate`, but of its elements number `at` what `by` says of its elements number `source`."""

    def merged(name: str) -> Array:
        values = getattr(estimate, name).copy()
        values[at] = getattr(by, name)[source]
        return np.asarray(values)

    names = ("value", "uncertainty", "kink", "left", "right", "slope_uncertainty", "step")
    tables = estimate.differences, by.differences
    differences = np.full((estimate.index.size, max(table.shape[1] for table in tables)), np.nan)
    differences[:, : tables[0].shape[1]] = tables[0]
    differences[at] = np.nan
    differences[at, : tables[1].shape[1]] = tables[1][source]
    return replace(estimate, differences=differences, **{name: merged(name) for name in names})


def gradient(function: Function, *primals: Any) -> tuple[Any, ...]:
    """The gradient of a scalar function of trees, by Romberg's central differences: trees of float64 like the arguments.

    >>> import numpy as np
    >>> gradient(lambda x: np.sum(x**3), np.array([1.0, 2.0]))[0].round(9)
    array([ 3., 12.])
    """
    evaluator = Evaluator(function, primals)
    tree: Any = primals
    structure = optree.tree_structure(tree)
    leaves = [differentiate(evaluator, i).value.reshape(x.shape) for i, x in enumerate(evaluator.origin)]
    return tuple(structure.unflatten(leaves))
