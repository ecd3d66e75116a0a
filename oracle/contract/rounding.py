"""How far two gradients of one call may be apart by rounding alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import RAISED, vector, widened
from oracle.differences.thresholds import SIXTEEN_BITS
from oracle.judging.conditioning import as_effective, roundoff_scales, spreads
from oracle.judging.error_budget import (
    REORDERED_TERMS,
    SAMPLED_SAFETY,
    SHORT_SUM,
    conditioning,
    noise_of_zero,
    rounded_inside,
    roundoff,
)
from oracle.judging.point import Point
from oracle.measures import EPSILON, largest

__all__ = ["Rounding"]

Array = NDArray[Any]


class Rounding:
    """The rounding errors of the gradients at a point, in its dtype, as far as they can be told without a reference."""

    def __init__(self, point: Point) -> None:
        self._point = point

    @cached_property
    def scales(self) -> list[float]:
        """The roundoff scale of each cotangent: its rounding errors are a few ulps of this."""
        p = self._point
        return roundoff_scales(p.subject, p.primals, p.dy, p.y, p.cotangents)[1]

    @cached_property
    def zero(self) -> list[float]:
        """For each argument, the size up to which a gradient is numerically zero: the rounding of terms as large as the value.

        Terms of that size may cancel in the gradient.
        """
        value = largest(vector(self._point.y))
        arrays = [np.asarray(leaf.array) for leaf in self._point.leaves]
        return [roundoff(value / (largest(np.asarray(a, np.float64)) or 1.0), SHORT_SUM, a.dtype.name) for a in arrays]

    def is_close(self, i: int, one: Array, two: Array) -> bool:
        """Whether two gradients of argument `i` are equal up to the rounding of another order of operations."""
        a, b = np.asarray(one, np.float64), np.asarray(two, np.float64)
        if a.shape != b.shape or largest(a, b) <= self.zero[i]:
            return a.shape == b.shape
        return self.explains(i, largest(a - b), roundoff(max(self.scales[i], largest(a)), REORDERED_TERMS, one.dtype.name))

    def explains(self, i: int, apart: float, allowed: float) -> bool:
        """Whether rounding, of the gradients or of the arguments, explains this distance of two gradients of argument `i`.

        `allowed` is what the rounding of the gradients explains.
        """
        return not apart > allowed or not apart > allowed + self._by_arguments(i) or not apart > self._of_zero(i)

    def _of_zero(self, i: int) -> float:
        """What rounding leaves of gradient `i` if it is zero in float64; 0 if it is not."""
        return noise_of_zero(*self._spreads[i], self._point.dtype.name, self._point.dtype.name)

    def is_inside(self, i: int) -> bool:
        """Whether gradient `i` is computed in a narrower dtype than it has."""
        return self._point.inner_noise[i] > 0

    def of_sixteen_bits(self, i: int) -> bool:
        """Whether gradient `i` is as noisy as if it was computed in 16 bits, which do not hold numbers far from 1."""
        return self._point.inner_noise[i] > SIXTEEN_BITS * self.scales[i]

    def _by_arguments(self, i: int) -> float:
        """How far two gradients of argument `i` may be apart by the rounding of the arguments, as by another order of sums.

        Where terms as large as the value cancel, the gradient is tiny and that is a large share of it.
        """
        if inside := self._point.inner_noise[i]:
            return rounded_inside(inside, self.scales[i])
        spread, scale = self._spreads[i][1], self.scales[i]
        cancelled = min(SAMPLED_SAFETY * spread, self.zero[i])
        if self._point.dtype.name == "float64":
            return max(cancelled, float(conditioning(spread, scale)))
        # No narrow dtype rounds by more than bfloat16 does: an ill-conditioned point hides no larger error.
        return max(cancelled, min(SAMPLED_SAFETY * spread, EPSILON["bfloat16"] / 2 * scale))

    @cached_property
    def _spreads(self) -> list[tuple[float, float, float]]:
        """The size of each cotangent in float64, how far it moves when the arguments are rounded, and its effective size.

        All are 0 if the op does not accept float64.
        """
        p = self._point

        def gradients(primals: Sequence[Any]) -> list[Array]:
            return p.subject.gradients(primals, widened(p.dy))

        try:
            here = gradients(widened(p.primals))
            moved = spreads(gradients, widened(p.primals), dtype=p.dtype.name)
        except RAISED:
            return [(0.0, 0.0, 0.0)] * len(self.scales)
        effective = as_effective(here, [leaf.array for leaf in p.leaves])
        return [(largest(g), largest(m), e) for g, m, e in zip(here, moved, effective, strict=True)]
