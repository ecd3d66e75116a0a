"""Errors of a gradient in 16 bits that rounding does not explain, though it would explain each of them alone.

Rounding in 16 bits moves single entries by a percent. A small factor on all of them hides behind it, and so does a sum that no
longer grows. But rounding errors average out over many entries and points. Let n be gradients in 16 bits at points nearby, and
w those of the same formula in float64:

- The factor <n, w> / <w, w> is 1 on average, with a standard error that the points show.
- The root mean square of n - w is that of a few roundings: of the arguments, which shows in w at arguments that are off by half
  a rounding, and of the gradient itself. Only where there are long sums can they be the cause of more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import optree

from oracle.differences.thresholds import PER_RMS
from oracle.judging.evidence import Bias, BiasKind
from oracle.judging.point import Point
from oracle.judging.samples import POINTS, Array, Sample, Truth, samples
from oracle.measures import EPSILON
from oracle.streams import Stream

__all__ = ["SIXTEEN_BIT_DTYPES", "biases"]

SIXTEEN_BIT_DTYPES = ("float16", "bfloat16")

NEARBY = 0.1
"""How far the arguments move, as a share of each element: far enough to be rounded anew, near enough for the same formula."""
STANDARD_ERRORS = 6.0
"""Of the mean factor, from which on it is no rounding. With 4, one right gradient in some thousands would fail, since 16 points
underestimate their own spread now and then; with 10 a factor of 1.01 passes beside shared roundings."""
CONFIRMING = 64
"""Points nearby at which a bias must be found again. At 16 one right gradient of a net in a thousand seems biased; with 256 a
wrong gradient costs a thousand evaluations."""
LEAST_FACTOR = 1 / 4
"""The least distance of the factor from 1, in units of the dtype's eps: 0.2 % in bfloat16. Smaller ones are left to float32 and
float64, where the formula is verified."""
ROUNDINGS = 2.0
"""Roundings of each entry whose errors are independent, at least: the standard error is never less than theirs."""
LONG_SUM = 64
"""Terms of the longest sum that there can be, from which on roundings may pile up in it. With 256 the sums of the tests would
just count; with 4, a batch of one row would be said to add up too much."""
TINY = EPSILON["bfloat16"] / 2
"""Of the largest entry: smaller ones are as large as the rounding of larger ones in bfloat16, and may underflow in float16."""
ENTRIES = 8
"""Errors in one mean square, at least; one with fewer entries is evaluated at more points. With 3 a sum of 256 terms in
each of three entries passes, since a mean of so few is mostly below that of many; with 64 a single entry costs 1,024 points."""
PILED_UP = 3.5
"""The root mean square error of a gradient, in units of that of rounding its arguments and itself once, from which on roundings
pile up. A kernel that rounds once has 0.4. Summing 256 terms one after the other in bfloat16 gives 4.2 to 4.9, and 128 terms
2.3 to 3.4. With 2, right ops of several roundings fail; with 7, a sum of 1,024 terms passes."""


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


def biases(point: Point, seed: int, truth: Truth | None = None) -> list[Bias | None]:
    """For each gradient at a point in 16 bits, what rounding does not explain about it, if anything.

    `truth` are the gradients in float64; by default those of the op itself, whose formula is verified there. What is found must
    be found again at more points: a spread that few points understate makes a mean look certain.
    """
    eps, terms = EPSILON[point.dtype.name], _most_terms(point)

    def measured(points: int) -> list[Bias | None]:
        found = samples(point, [Stream.BIAS, seed, points], truth, NEARBY, points)
        return [_bias(of_argument, eps, terms) if len(of_argument) >= points // 2 else None for of_argument in found]

    fewest = min((leaf.array.size for leaf in point.leaves if np.size(leaf.array)), default=ENTRIES)
    points = POINTS * (_grouped(fewest) if terms >= LONG_SUM else 1)
    first = measured(points)
    if not any(first):
        return first
    return [again and before for before, again in zip(first, measured(max(CONFIRMING, 2 * points)), strict=True)]


def _grouped(entries: int) -> int:
    """The points whose errors are taken together, of a gradient with so many entries."""
    return -(-ENTRIES // max(entries, 1))


def _most_terms(point: Point) -> int:
    """The most terms that a sum over an axis can have: no array that goes in or comes out is larger."""
    arrays: Any = (point.primals, point.y, dict(point.subject.options))
    return max((np.size(a) for a in optree.tree_leaves(arrays)), default=0)


def _bias(samples: list[Sample], eps: float, terms: int) -> Bias | None:
    mean, of_smaller = _factor(samples, eps), _factor([_smaller_half(s) for s in samples], eps)
    if mean is not None and mean.is_certain:
        alone = all(s.wide.size == 1 for s in samples)
        return Bias(BiasKind.FACTOR, *mean, alike=alone or (of_smaller is not None and of_smaller.agrees_with(mean)))
    if of_smaller is not None and of_smaller.is_certain:
        return Bias(BiasKind.FACTOR_OF_SMALLER_HALF, *of_smaller)
    return _piled_up(samples, eps) if terms >= LONG_SUM else None


def _factor(samples: list[Sample], eps: float) -> _Factor | None:
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
    # To second order roundings have a mean: they add to each variance. It is at most about the square of their share.
    rests = [float(np.square(s.narrow - mean * s.wide).sum()) / square for s, square in zip(samples, squares, strict=True)]
    return _Factor(mean, max(STANDARD_ERRORS * error, LEAST_FACTOR * eps) + float(np.mean(rests)))


def _piled_up(samples: list[Sample], eps: float) -> Bias | None:
    """The root mean square error at a usual point, if it is far larger than single roundings explain.

    It is the median of the points, or of groups of them: near a singularity a single one has larger errors than all others
    together.
    """
    together = _grouped(samples[0].wide.size)

    def usual(squares: list[Array]) -> float:
        return float(np.median([np.mean(squares[k : k + together]) for k in range(0, len(squares) - together + 1, together)]))

    error = usual([np.square(s.narrow - s.wide) for s in samples])
    once = usual([np.square(s.jittered - s.wide) + np.square(s.wide) * ((eps / PER_RMS) ** 2) for s in samples])
    ratio = float(np.sqrt(error / once)) if once > 0 else 0.0
    return Bias(BiasKind.PILED_UP, ratio, PILED_UP) if ratio > PILED_UP else None


def _smaller_half(s: Sample) -> Sample:
    """The entries of less than the median size, of those that are not tiny."""
    size = np.abs(s.wide)
    seen = size > TINY
    small = seen & (size < np.median(size[seen])) if seen.any() else seen
    return Sample(s.narrow[small], s.wide[small], s.jittered[small])
