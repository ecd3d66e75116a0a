"""Errors of a gradient in 16 bits that rounding does not explain, though it would explain each of them alone.

Rounding in 16 bits moves single entries by a percent. A small factor on all of them hides behind it, and so does a sum that no
longer grows. But rounding errors average out over many entries and points. Let n be gradients in 16 bits at points nearby, and
w those of the same formula in float64:

- The factor <n, w> / <w, w> is 1 on average, with a standard error that the points show.
- The root mean square of n - w is that of a few roundings: of the arguments, which shows in w at arguments that are off by half
  a rounding, and of the gradient itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, narrowed, quiet, widened
from oracle.differences.thresholds import PER_RMS
from oracle.effort import REPEATS
from oracle.judging.evidence import Bias, BiasKind
from oracle.judging.point import Point
from oracle.measures import EPSILON, largest
from oracle.streams import Stream

__all__ = ["SIXTEEN_BIT_DTYPES", "biases"]

Array = NDArray[Any]

SIXTEEN_BIT_DTYPES = ("float16", "bfloat16")

POINTS = REPEATS
"""Points nearby. With 4 a factor of 1.01 on a hundred entries is lost among the roundings that all of them share; with 64 each
gradient in 16 bits costs a hundred evaluations."""
NEARBY = 0.1
"""How far the arguments move, as a share of each element: far enough to be rounded anew, near enough for the same formula."""
STANDARD_ERRORS = 6.0
"""Of the mean factor, from which on it is no rounding. With 4, one right gradient in some thousands would fail, since 16 points
underestimate their own spread now and then; with 10 a factor of 1.01 passes beside shared roundings."""
LEAST_FACTOR = 1 / 4
"""The least distance of the factor from 1, in units of the dtype's eps: 0.2 % in bfloat16. Smaller ones are left to float32 and
float64, where the formula is verified."""
ROUNDINGS = 2.0
"""Roundings of each entry whose errors are independent, at least: the standard error is never less than theirs."""
TINY = EPSILON["bfloat16"] / 2
"""Of the largest entry: smaller ones are as large as the rounding of larger ones in bfloat16, and may underflow in float16."""
PILED_UP = 3.5
"""The root mean square error of a gradient, in units of that of rounding its arguments and itself once, from which on roundings
pile up. A kernel that rounds once has 0.4. Summing 256 terms one after the other in bfloat16 gives 4.2 to 4.9, and 128 terms
2.3 to 3.4. With 2, right ops of several roundings fail; with 7, a sum of 1,024 terms passes."""


class _Sample(NamedTuple):
    """One gradient at one point, flat, in units of its largest entry."""

    narrow: Array
    wide: Array
    jittered: Array
    """In float64, from arguments that are off by half a rounding in 16 bits."""


class _Factor(NamedTuple):
    """A mean factor, and its distance from 1 that rounding explains."""

    size: float
    allowed: float

    @property
    def is_certain(self) -> bool:
        """Whether rounding does not explain it."""
        return abs(self.size - 1) > self.allowed

    def agrees_with(self, other: _Factor) -> bool:
        return abs(self.size - other.size) <= self.allowed + other.allowed


def biases(point: Point, seed: int, truth: Callable[[Any, Any], list[Array]] | None = None) -> list[Bias | None]:
    """For each gradient at a point in 16 bits, what rounding does not explain about it, if anything.

    `truth(primals, dy)` is the gradient in float64; by default that of the op itself, whose formula is verified there.
    """
    eps = EPSILON[point.dtype.name]
    samples = _samples(point, seed, truth or point.subject.gradients, eps)
    return [_bias(of_argument, eps) for of_argument in samples]


def _bias(samples: list[_Sample], eps: float) -> Bias | None:
    if len(samples) < POINTS // 2:
        return None
    mean, of_smaller = _factor(samples, eps), _factor([_smaller_half(s) for s in samples], eps)
    if mean is not None and mean.is_certain:
        alone = all(s.wide.size == 1 for s in samples)
        return Bias(BiasKind.FACTOR, *mean, alike=alone or (of_smaller is not None and of_smaller.agrees_with(mean)))
    if of_smaller is not None and of_smaller.is_certain:
        return Bias(BiasKind.FACTOR_OF_SMALLER_HALF, *of_smaller)
    return _piled_up(samples, eps)


def _samples(point: Point, seed: int, truth: Callable[[Any, Any], list[Array]], eps: float) -> list[list[_Sample]]:
    """For each argument its gradients at points nearby."""
    generator = np.random.default_rng([Stream.BIAS, seed])

    def moved(a: Any, share: float) -> Any:
        return np.asarray(a, np.float64) * (1 + share * generator.uniform(-1, 1, np.shape(a)))

    found: list[list[_Sample]] = [[] for _ in point.leaves]
    for _ in range(POINTS):
        given: Any = (point.primals, point.dy)
        primals, dy = optree.tree_map(lambda a: moved(a, NEARBY), given)
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
            if size > 0 and all(np.isfinite(a).all() for a in arrays):
                of_argument.append(_Sample(*(a / size for a in arrays)))
    return found


def _factor(samples: list[_Sample], eps: float) -> _Factor | None:
    """The mean factor; None if a gradient is 0."""
    squares = [float(s.wide @ s.wide) for s in samples]
    if not all(squares):
        return None
    factors = [float(s.narrow @ s.wide) / square for s, square in zip(samples, squares, strict=True)]
    # The inverse of the number of entries that count.
    shares = [float((s.wide**2) @ (s.wide**2)) / square**2 for s, square in zip(samples, squares, strict=True)]
    mean, count = float(np.mean(factors)), len(factors)
    least = ROUNDINGS * eps / PER_RMS * np.sqrt(np.mean(shares) / count)
    error = max(float(np.std(factors, ddof=1)) / np.sqrt(count), float(least))
    return _Factor(mean, max(STANDARD_ERRORS * error, LEAST_FACTOR * eps))


def _piled_up(samples: list[_Sample], eps: float) -> Bias | None:
    """The root mean square error, if it is far larger than single roundings explain."""
    error = sum(float(np.square(s.narrow - s.wide).mean()) for s in samples)
    once = sum(float((np.square(s.jittered - s.wide) + np.square(s.wide) * ((eps / PER_RMS) ** 2)).mean()) for s in samples)
    ratio = float(np.sqrt(error / once)) if once > 0 else 0.0
    return Bias(BiasKind.PILED_UP, ratio, PILED_UP) if ratio > PILED_UP else None


def _smaller_half(s: _Sample) -> _Sample:
    """The entries of less than the median size, of those that are not tiny."""
    size = np.abs(s.wide)
    seen = size > TINY
    small = seen & (size < np.median(size[seen])) if seen.any() else seen
    return _Sample(s.narrow[small], s.wide[small], s.jittered[small])
