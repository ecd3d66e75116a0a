"""A gradient in a narrow dtype at points nearby, beside the same formula in float64: what its roundings do on average."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, narrowed, quiet, widened
from oracle.effort import REPEATS
from oracle.judging.point import Point
from oracle.measures import EPSILON, largest

__all__ = ["POINTS", "Sample", "Truth", "samples"]

Array = NDArray[Any]
Truth = Callable[[Any, Any], list[Array]]
"""The gradients in float64, flat, by the primals and the cotangent."""

POINTS = REPEATS
"""Points nearby. With 4 a factor of 1.01 on a hundred entries is lost among the roundings that all of them share; with 64 each
gradient in 16 bits costs a hundred evaluations."""


class Sample(NamedTuple):
    """One gradient at one point, flat, in units of its largest entry."""

    narrow: Array
    wide: Array
    jittered: Array
    """In float64, from arguments that are off by half a rounding in the narrow dtype."""


def samples(point: Point, seed: list[int], truth: Truth | None, share: float, points: int = POINTS) -> list[list[Sample]]:
    """For each argument its gradients at points where every number has moved by up to `share` of itself.

    `truth` is by default the op itself, whose formula is verified in float64.
    """
    generator, eps = np.random.default_rng(seed), EPSILON[point.dtype.name]
    # A gradient whose largest entry is below the smallest normal number has lost digits to underflow, not to rounding.
    normal = float(ml_dtypes.finfo(point.dtype).smallest_normal)  # type: ignore[no-untyped-call]
    truth = truth or point.subject.gradients

    def moved(a: Any, share: float) -> Any:
        return np.asarray(a, np.float64) * (1 + share * generator.uniform(-1, 1, np.shape(a)))

    found: list[list[Sample]] = [[] for _ in point.leaves]
    for _ in range(points):
        given: Any = (point.primals, point.dy)
        primals, dy = optree.tree_map(lambda a: moved(a, share), given)
        primals, dy = narrowed(primals, point.primals), narrowed(dy, point.dy)
        exact: Any = (tuple(widened(primals)), widened(dy))
        with quiet():
            try:
                narrow = point.subject.gradients(primals, optree.tree_map(np.array, dy))
                wide, jittered = truth(*exact), truth(*optree.tree_map(lambda a: moved(a, eps / 2), exact))
            except RAISED:  # outside of the domain, or not in float64
                continue
        for of_argument, arrays in zip(found, zip(narrow, wide, jittered, strict=True), strict=True):
            size = largest(arrays[1])
            if size >= normal and all(np.isfinite(a).all() for a in arrays):
                of_argument.append(Sample(*(a / size for a in arrays)))
    return found
