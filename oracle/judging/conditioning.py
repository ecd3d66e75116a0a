"""How exact a gradient can be: its size beside which rounding counts, and how far it moves when its arguments are rounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, flat, narrowed, quiet, vector, widened
from oracle.differences.richardson import LEVELS, RATIO
from oracle.differences.thresholds import UNRESOLVED
from oracle.effort import SAMPLES
from oracle.measures import EPSILON, distance, largest
from oracle.streams import Stream
from oracle.subject import Subject, on_copies

__all__ = ["STEP", "TOWARDS_ORIGIN", "as_effective", "conditions", "nearby", "roundoff_scales", "spreads"]

Array = NDArray[Any]

TOWARDS_ORIGIN = tuple(RATIO**-k for k in range(1, LEVELS))
"""Of the arguments: points on the ray to the origin, where saturation ends. At 1/64 a sigmoid at 300 is no longer saturated;
nearer points cost evaluations and show the slope at 0."""
STEP = UNRESOLVED
"""The share of a number by which it is displaced for the slope of the gradient. The slope then has about 6 digits, and 3 of a
gradient that lost half of its own. With 2^-40, one that lost digits would seem to have a large condition; with 2^-10, a kink
nearby would."""


def roundoff_scales(subject: Subject, primals: Any, dy: Any, y: Any, cotangents: Any) -> tuple[float, list[float]]:
    """The size of the value and of each gradient, here and on the way to the origin: what their rounding is measured by."""
    path = [[largest(vector(y)), *(largest(a) for a in flat(cotangents))]]
    for t in TOWARDS_ORIGIN:
        with quiet():
            try:
                value, residuals = subject.fwd(*optree.tree_map(lambda a, t=t: np.asarray(a * t), widened(primals)))
                there = flat(subject.bwd(residuals, narrowed(dy, value)))
            except RAISED:  # outside the domain, or float64 is not taken: no such point
                break
        path.append([largest(vector(value)), *(largest(a) for a in there)])
    size, *scales = [_typical(sizes) for sizes in zip(*path, strict=True)]
    return size, scales


def _typical(sizes: Sequence[float]) -> float:
    """The largest of the sizes on the way to the origin, unless they only show a singularity there.

    Where a function is saturated its size grows by less and less towards the origin, where 1 / x**3 grows by the same
    factor with every step: its size there says nothing of its rounding here.
    """
    if len(sizes) > len(TOWARDS_ORIGIN) and min(sizes) > 0:
        here, first, *_, before, last = sizes
        if last > 2 * before and last / before > 0.5 * first / here:
            return here
    return max(sizes)


def spreads(
    gradient: Callable[[Any], Sequence[Array]],
    primals: Any,
    seed: int = 0,
    dtype: str = "float64",
    perturbations: int = SAMPLES,
) -> list[Array]:
    """How far each entry of each gradient (or value) moves when every entry of the arguments moves by its rounding.

    Where large terms cancel, as in 2 (p - t) for p near t, no computation in `dtype` is more exact than that.
    """
    with quiet():
        here = gradient(primals)

        def moved(given: Any) -> list[Array]:
            return [np.nan_to_num(distance(*pair), posinf=0.0) for pair in zip(gradient(given), here, strict=True)]

        try:
            return nearby(moved, primals, seed, dtype, perturbations)
        except RAISED:  # the end of the op's domain: nothing is known
            return [np.zeros(np.shape(g)) for g in here]


def as_effective(gradients: Sequence[Array], arguments: Sequence[Any]) -> list[float]:
    """The size of each gradient with which its argument would move the value as much as the most effective argument does."""
    sizes = [largest(np.asarray(x, np.float64)) or 1.0 for x in arguments]
    most = max(largest(g) * size for g, size in zip(gradients, sizes, strict=True))
    return [most / size for size in sizes]


def nearby(
    errors: Callable[[Any], Sequence[Array]], primals: Any, seed: int, dtype: str, perturbations: int = SAMPLES
) -> list[Array]:
    """The largest of what `errors` says at some points that rounding cannot tell from this one."""
    generator = np.random.default_rng([seed, Stream.CONDITIONING])
    most: list[Array] | None = None
    for _ in range(perturbations):
        signs = optree.tree_map(lambda a: generator.choice([-1.0, 1.0], np.shape(a)), primals)
        perturbed = optree.tree_map(lambda a, sign: np.asarray(a * (1 + EPSILON[dtype] * sign)), primals, signs)
        with quiet():
            found = errors(perturbed)
        most = list(found) if most is None else [np.maximum(*pair) for pair in zip(most, found, strict=True)]
    return most or []


def conditions(subject: Subject, primals: Any, dy: Any) -> list[Array]:
    """How far each entry of each gradient moves at most, to first order, when each number moves by one ULP, that is by eps.

    It is the sum, over the numbers a of the arguments and of dy, of eps |a| times the slope of the entry by a. Slopes are
    differences of the gradient under test: a bound needs few of its digits. Of the differences to both sides the smaller
    counts, so that a kink on one side does not look like a slope. Random roundings would not do: numbers of one size move by
    the same ULP, and equal moves with random signs often cancel. Nor would the symmetry of second derivatives, which needs one
    displacement for each entry: what a tiny entry changes in the others is lost in their rounding.
    """
    isolated = on_copies(subject)
    given: Any = (primals, dy)
    leaves, structure = optree.tree_flatten(given)

    def gradients(k: int, index: int, factor: float) -> list[Array]:
        moved = [np.array(leaf, np.float64) for leaf in leaves]
        moved[k].reshape(-1)[index] *= factor
        try:
            return isolated.gradients(*structure.unflatten(moved))
        except RAISED:  # the end of the domain
            return [np.full(total.shape, np.nan) for total in totals]

    with quiet():
        here = isolated.gradients(primals, dy)
        totals = [np.zeros(gradient.shape) for gradient in here]
        for k, leaf in enumerate(leaves):
            for index in np.flatnonzero(leaf):
                sides = (gradients(k, int(index), 1 + STEP), gradients(k, int(index), 1 - STEP))
                for total, at, *moved in zip(totals, here, *sides, strict=True):
                    total += np.nan_to_num(np.fmin(*(np.abs(there - at) for there in moved)) / STEP * EPSILON["float64"])
    return totals
