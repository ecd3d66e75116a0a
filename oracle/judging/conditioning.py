"""How exact a gradient can be: its size beside which rounding counts, and how far it moves when its arguments are rounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, flat, narrowed, quiet, vector, widened
from oracle.measures import EPSILON, distance, largest
from oracle.streams import Stream
from oracle.subject import Subject

__all__ = ["PERTURBATIONS", "TOWARDS_ORIGIN", "condition", "nearby", "roundoff_scales", "spreads"]

Array = NDArray[Any]

PERTURBATIONS = 4  # random roundings of the arguments: with 2 a spread is often underestimated, 8 cost as many gradients more
TOWARDS_ORIGIN = (1 / 4, 1 / 16, 1 / 64)
"""Of the arguments: points on the ray to the origin, where saturation ends. At 1/64 a sigmoid at 300 is no longer saturated;
nearer points cost evaluations and show the slope at 0."""
STEP = 2.0**-20
"""The share of a number by which it is displaced for the slope of the gradient. The slope then has about 6 digits, and 3 of a
gradient that lost half of its own. With 2^-40, one that lost digits would seem to have a large condition; with 2^-10, a kink
nearby would."""
TINY = 2.0**-20
"""Of the largest number that a direction moves: smaller ones do not shorten its step, since the slope would lose its digits."""


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
    perturbations: int = PERTURBATIONS,
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


def nearby(
    errors: Callable[[Any], Sequence[Array]], primals: Any, seed: int, dtype: str, perturbations: int = PERTURBATIONS
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


def condition(subject: Subject, primals: Any, dy: Any, leaf: int, direction: Array) -> float:
    """How far the derivative along a direction moves at most, to first order, when each number moves by one ULP (eps).

    It is the sum, over the numbers a of the arguments and of dy, of eps |a| times the slope of the derivative by a. Random
    roundings would not do: numbers of one size move by the same ULP, and equal moves with random signs often cancel.

    Second derivatives are symmetric. The slope by an argument is that of its own entry of the gradient along the direction, and
    the slope by a number of dy is that of its own entry of the value. So one displacement of `leaf` gives them all. They are
    differences of both passes under test: a bound needs few digits. At a kink on one side a gradient jumps, which is no slope,
    and a value bends. So of the differences to both sides the smaller one of a gradient counts, and the larger one of a value.
    """
    isolated = subject.on_copies()
    leaves, structure = optree.tree_flatten(primals)
    step = _step(np.ravel(leaves[leaf]), direction)

    def displaced(by: float) -> tuple[Array, Array]:
        moved = [np.array(x, np.float64) for x in leaves]
        moved[leaf] += by * direction.reshape(moved[leaf].shape)
        try:
            value, residuals = isolated.fwd(*structure.unflatten(moved))
            return np.concatenate(flat(isolated.bwd(residuals, dy))), vector(value)
        except RAISED:  # the end of the domain
            return np.full(arguments.size, np.nan), np.full(upstream.size, np.nan)

    with quiet():
        arguments, upstream = np.abs(np.concatenate(flat(primals))), np.abs(vector(dy))
        here, ahead, behind = (displaced(by) for by in (0.0, step, -step))
        pairs = zip((np.fmin, np.fmax), here, ahead, behind, strict=True)
        of_arguments, of_upstream = (f(np.abs(a - at), np.abs(b - at)) for f, at, a, b in pairs)
        moved = arguments @ np.nan_to_num(of_arguments) + upstream @ np.nan_to_num(of_upstream)
        return EPSILON["float64"] * float(moved) / step


def _step(x: Array, direction: Array) -> float:
    """The step along a direction that moves each number by a small share of itself, and zeros by one of the typical size."""
    moved = direction != 0
    size = np.abs(x[moved])
    largest_size = size.max(initial=0.0) or np.abs(x).mean() or 1.0
    size = np.maximum(np.where(size > 0, size, largest_size), TINY * largest_size)
    return STEP * float((size / np.abs(direction[moved])).min(initial=np.inf)) if moved.any() else STEP
