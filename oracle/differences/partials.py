"""Partial derivatives by central differences, each with an error estimate: the first of the two witnesses.

For a scalar s(t) = <v, f(x + t e)> along one element, the central difference

    D(h) = (s(h) - s(-h)) / 2h = s'(0) + c2 h^2 + c4 h^4 + ...

is taken at h, h/4, h/16, h/64 and extrapolated by Richardson's tableau (`richardson`). Long steps have a large truncation
error, short steps a large rounding error. The error estimate of each entry is the sum of both, and the entry with the least
one is the derivative. While that is not small the step shrinks further, as long as it becomes smaller (`stepsize`).

The outputs are subtracted one by one and only then contracted with v, so that outputs an element does not change cancel
exactly. The noise of each output is measured (`roundoff`).

A function with a period or a narrow structure can make entries over all these steps agree on a wrong slope. So each element
has a first step of its own length, no multiple of its neighbour's, and in the end the derivative is compared with the slope
over one very short step (`acceptance`). A full sweep, for elements that remain in doubt, takes all steps from long to very
short; where they disagree, the shorter ones are right.

At a kink the slopes of the two sides differ, and go on differing as h shrinks (`one_sided`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import quiet, size_of
from oracle.differences.evaluation import Evaluator, Function
from oracle.differences.richardson import FIRST_STEP
from oracle.differences.stepsize import full_sweep, lengths, rounded, shrink_steps, sweep_steps
from oracle.differences.table import DifferenceTable
from oracle.differences.thresholds import COARSE, CONTRADICTION, UNRESOLVED

__all__ = [
    "Estimate",
    "better",
    "chosen",
    "confirm",
    "differentiate",
    "estimate_of",
    "gradient",
    "is_tiny",
    "is_unresolved",
    "replaced",
]

Array = NDArray[Any]


@dataclass(frozen=True)
class Estimate:
    """The derivatives with respect to the elements `index` (flat) of one argument, each with its error estimate."""

    index: Array
    value: Array
    uncertainty: Array
    """The error estimate: truncation and rounding noise."""
    kink: Array
    """Whether the slopes of the two sides differ."""
    left: Array
    right: Array
    slope_uncertainty: Array
    """The error estimates of both one-sided slopes together."""
    frozen: Array
    """Elements that the given step does not change, as it is below half the distance of neighbouring floats."""
    step: Array
    """The first step at each element; `differences[:, k]` was taken at `step / 4**k`."""
    differences: Array
    """The central differences before extrapolation."""


def differentiate(
    evaluator: Evaluator, leaf: int, index: Array | None = None, *, steps: Array | float | None = None
) -> Estimate:
    """The derivatives with respect to elements of argument number `leaf`: all of them, or those of `index`.

    `steps` are the first steps; by default they are chosen by the size of each element.
    """
    x = evaluator.origin[leaf].reshape(-1)
    index = np.arange(x.size) if index is None else np.asarray(index, dtype=np.intp)
    sizes, usual_steps = np.abs(x[index]), steps is None
    if steps is None:
        steps = rounded(FIRST_STEP * np.maximum(sizes, size_of(x)) * lengths(leaf, index))
    steps = np.broadcast_to(np.asarray(steps, np.float64), index.shape)
    with np.errstate(over="ignore"):
        frozen = (x[index] + steps.astype(x.dtype)) - (x[index] - steps.astype(x.dtype)) == 0
    estimate = _estimated(evaluator, leaf, index, steps, sizes, frozen)
    if usual_steps:
        # Steps of the argument's size are too long for the scale of a function at a tiny element. The steps of a tiny argument
        # may change nothing at all, or less than the noise of outputs that are not tiny.
        flat = (np.nan_to_num(estimate.differences) == 0).all(axis=1)
        unresolved = flat | is_unresolved(estimate)
        tiny = unresolved & is_tiny(sizes, size_of(x))
        if tiny.any():
            shorter = _estimated(evaluator, leaf, index[tiny], rounded(FIRST_STEP * sizes[tiny]), sizes[tiny], frozen[tiny])
            estimate = better(estimate, shorter, np.flatnonzero(tiny))
        if size_of(x) < COARSE and unresolved.any():
            ones = np.ones(np.count_nonzero(unresolved))
            longer = _estimated(evaluator, leaf, index[unresolved], FIRST_STEP * ones, ones, frozen[unresolved])
            agrees = flat[unresolved] | _agree(longer, chosen(estimate, np.flatnonzero(unresolved)), ~flat[unresolved])
            estimate = better(estimate, chosen(longer, np.flatnonzero(agrees)), np.flatnonzero(unresolved)[agrees])
    return estimate


def _agree(longer: Estimate, estimate: Estimate, known: Array) -> Array:
    """Which elements have two estimates that do not differ by more than their error estimates.

    If two of them contradict each other, no element has. Then the long steps are longer than the scale of the function, as that
    of a row that is normalised, and what agrees among them agrees by chance. `known` are the elements that the shorter steps
    change.
    """
    with quiet():
        apart, both = np.abs(longer.value - estimate.value), longer.uncertainty + estimate.uncertainty
    beyond = bool((known & (apart > CONTRADICTION * both)).any())
    return np.asarray((apart <= both) & (not beyond))


def is_unresolved(estimate: Estimate) -> Array:
    """The elements whose error estimate is more than a small share of the derivative."""
    return np.asarray((estimate.value != 0) & ~(estimate.uncertainty <= UNRESOLVED * np.abs(estimate.value)))


def is_tiny(sizes: Array, size: float) -> Array:
    """The elements that are so much smaller than their argument that its steps may be too long for them."""
    return np.asarray((sizes > 0) & (sizes < COARSE * size))


def _estimated(
    evaluator: Evaluator, leaf: int, index: Array, steps: Array, sizes: Array, frozen: Array, *, sweep: bool = False
) -> Estimate:
    table = DifferenceTable(
        lambda rows, h: evaluator.differences(leaf, index[rows], h),
        steps,
        sizes,
        lambda rows, displacements: evaluator.difference(leaf, index[rows], displacements),
    )
    return estimate_of(table, index, frozen, evaluator.origin[leaf].reshape(-1)[index] == 0 if sweep else None)


def estimate_of(table: DifferenceTable, index: Array, frozen: Array, at_zero: Array | None = None) -> Estimate:
    """The derivatives with respect to the elements `index`; by a full sweep if it is given which of them are 0."""
    found = shrink_steps(table) if at_zero is None else full_sweep(table, at_zero)
    return Estimate(
        index=index,
        value=found.value,
        uncertainty=found.uncertainty,
        kink=found.sides.confirmed & ~frozen,
        left=found.sides.left,
        right=found.sides.right,
        slope_uncertainty=found.sides.uncertainty,
        frozen=frozen,
        step=table.steps,
        differences=table.at_all_steps("central"),
    )


def confirm(evaluator: Evaluator, leaf: int, estimate: Estimate, where: Array) -> Estimate:
    """`estimate` after a full sweep of its elements `where` (flat indices).

    The sweep replaces a value that it contradicts, and one whose error estimate is several times larger. Where both values
    differ by more than their error estimates and do not contradict each other, entries of one tableau have agreed by chance:
    that difference becomes the error estimate.
    """
    at = np.flatnonzero(np.isin(estimate.index, where) & ~estimate.frozen)
    if not at.size:
        return estimate
    sizes = np.abs(evaluator.origin[leaf].reshape(-1)[estimate.index[at]])
    sizes = np.where(sizes > 0, sizes, estimate.step[at] / FIRST_STEP)
    steps = sweep_steps(estimate.step[at], quantized=evaluator.rounding.quantized, rounds_inside=evaluator.rounding.inside)
    swept = _estimated(evaluator, leaf, estimate.index[at], steps, sizes, estimate.frozen[at], sweep=True)
    old, spread = estimate.value[at], estimate.uncertainty[at]
    with quiet():
        apart = np.abs(swept.value - old)
        contradicted = apart > CONTRADICTION * (swept.uncertainty + spread)
        taken = contradicted | ~estimate.kink[at] & (CONTRADICTION * swept.uncertainty < spread)
        by_chance = (apart > swept.uncertainty + spread) & ~taken & ~swept.kink & ~estimate.kink[at]
    uncertainty = estimate.uncertainty.copy()
    uncertainty[at] = np.where(by_chance, apart, spread)
    source = np.flatnonzero(taken)
    return replaced(replace(estimate, uncertainty=uncertainty), swept, at[source], source)


def better(estimate: Estimate, other: Estimate, at: Array) -> Estimate:
    """`estimate`, with `other` in place of its elements `at` where `other` has the smaller relative error estimate."""
    with quiet():
        mine, others = (
            np.where(value == 0, np.inf, uncertainty / np.abs(value))
            for value, uncertainty in ((estimate.value[at], estimate.uncertainty[at]), (other.value, other.uncertainty))
        )
    chosen = np.flatnonzero(others < mine)
    return replaced(estimate, other, at[chosen], chosen)


def chosen(estimate: Estimate, which: Array) -> Estimate:
    """Some of the elements of an estimate."""
    return Estimate(**{f.name: getattr(estimate, f.name)[which] for f in fields(Estimate)})


def replaced(estimate: Estimate, by: Estimate, at: Array, source: Array) -> Estimate:
    """`estimate`, with elements number `source` of `by` in place of its own elements number `at`."""

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
    """The gradient of a scalar function of trees, by central differences and Richardson extrapolation.

    It consists of trees of float64 arrays like the arguments.

    >>> import numpy as np
    >>> gradient(lambda x: np.sum(x**3), np.array([1.0, 2.0]))[0].round(9)
    array([ 3., 12.])
    """
    evaluator = Evaluator(function, primals)
    tree: Any = primals
    structure = optree.tree_structure(tree)
    leaves = [differentiate(evaluator, i).value.reshape(x.shape) for i, x in enumerate(evaluator.origin)]
    return tuple(structure.unflatten(leaves))
