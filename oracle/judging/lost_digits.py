"""What a right gradient loses in a narrow dtype, measured.

A function that rounds between its stages loses more than one that rounds once, and how much more depends on what follows: a
difference of numbers that are nearly equal, a layer norm of rows that hardly vary. Nobody can tell that from the arguments. But
what rounding does is random: where all numbers move by a few roundings, it is something else each time. A mistake stays.

So a gradient is evaluated at points nearby, in its dtype and in float64. The errors of each entry have a mean and a spread.
A gradient may be off by its spread, unless the mean is certain to be an error.
"""

from __future__ import annotations

import numpy as np

from oracle.judging.point import Point
from oracle.judging.samples import POINTS, Array, Sample, Truth, samples
from oracle.measures import EPSILON, largest
from oracle.streams import Stream

__all__ = ["Lost", "lost_digits"]

NEAR = 4.0
"""Roundings of its dtype by which each number moves. With 1 many intermediate numbers are rounded as before; with 100 the
points are far from a singularity that this one is near."""
FAR = 0.1
"""Of itself, by which each number moves to show what stays. A rounding that is the same at all points within a few roundings is
another one there, and a mistake is not."""
STANDARD_ERRORS = 6.0
"""Of a mean error, from which on it is no rounding. Of 40,000 right gradients of nets, 3 had a larger one near the point or far
from it, and none had it in both. With 12, a mistake is noticed only from three spreads on; with 3, one of 40 entries has it."""


class Lost:
    """The errors of one gradient in a narrow dtype, at points nearby."""

    def __init__(self, near: list[Sample], far: list[Sample], eps: float) -> None:
        self._near, self._far, self._eps = _Errors(near), _Errors(far), eps

    @property
    def is_known(self) -> bool:
        """Whether the gradient could be evaluated at enough points of both kinds."""
        return min(self._near.points, self._far.points) >= POINTS // 2

    @property
    def at_random(self) -> float:
        """The largest spread of the errors of an entry, and the rounding of the gradient itself; of its largest entry."""
        return largest(self._near.spread) + self._eps

    def is_mistake(self, allowed: float) -> bool:
        """Whether some entry is off in one direction at all these points, by more than half of this share of the largest."""
        near, far = (errors.certain(allowed / 2) for errors in (self._near, self._far))
        return bool((near * far > 0).any())


class _Errors:
    """The mean and the spread of each entry's error, in units of the largest entry."""

    def __init__(self, found: list[Sample]) -> None:
        self.points = len(found)
        errors = np.stack([s.narrow - s.wide for s in found]) if found else np.zeros((0, 0))
        known = self.points > 1
        self.mean: Array = errors.mean(axis=0) if known else np.zeros(errors.shape[1])
        self.spread: Array = errors.std(axis=0, ddof=1) if known else np.zeros(errors.shape[1])

    def certain(self, least: float) -> Array:
        """The sign of each entry's mean error, if it is certain and larger than `least`; 0 where it is not."""
        limit = np.maximum(STANDARD_ERRORS * self.spread / np.sqrt(max(self.points, 1)), least)
        return np.where(np.abs(self.mean) > limit, np.sign(self.mean), 0.0)


def lost_digits(point: Point, seed: int, truth: Truth | None = None) -> list[Lost]:
    """What each gradient at a point in a narrow dtype loses. `truth` are the gradients in float64; by default the op's own."""
    eps = EPSILON[point.dtype.name]
    near, far = (samples(point, [Stream.LOST_DIGITS, seed, ring], truth, share) for ring, share in enumerate((NEAR * eps, FAR)))
    return [Lost(*pair, eps) for pair in zip(near, far, strict=True)]
