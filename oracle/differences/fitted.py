"""Slopes of a function that computes in a narrower dtype inside: least squares through the differences at many long steps.

Richardson's tableau needs short steps, at which the noise of a rounding to float32 is large. A polynomial in odd powers of h,
fitted to s(h) - s(-h) at many steps up to a reach H, has a slope with a far smaller error. What the polynomial leaves over is
the noise at these very steps, and the truncation error as well, so the fit states its own error:

    (s(h) - s(-h)) / 2        = c1 h + c3 h^3 + c5 h^5 + c7 h^7,    var(c1) = var(left over) (A^T A)^-1 [1, 1]
    (s(h) + s(-h)) / 2 - s(0) = a0 + a1 h + a2 h^2 + a4 h^4

The even part of a smooth function has no term in h. At a kink the slopes of the two sides are c1 + a1 and c1 - a1, which short
steps do not tell apart where a step of 16 bits is as large as their difference. a0 is the rounding of s(0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import quiet, size_of
from oracle.differences.evaluation import Difference, Evaluator
from oracle.differences.partials import Estimate
from oracle.differences.richardson import FIRST_STEP, LEVELS, NOISE_SAFETY, RATIO
from oracle.differences.thresholds import CHANCE, COARSE, CONTRADICTION, SIXTEEN_BITS
from oracle.effort import REPEATS
from oracle.measures import EPSILON

__all__ = ["Slope", "fitted", "fitted_along"]

Array = NDArray[Any]

# Standard deviations of a fitted slope that are its error estimate. An estimate counts four times (`SAFETY`); with 1, one slope
# in some thousands is further off, because the 12 degrees of freedom underestimate the noise now and then.
DEVIATIONS = 2.5

# The reaches, in units of the element, or of the argument's size where that is larger: from the first step of the tableau,
# which knows more over shorter ones, each twice the one before. At 1 an element reaches 0, where many functions have kinks and
# poles.
REACHES = (FIRST_STEP, 2 * FIRST_STEP, 2 * 2 * FIRST_STEP)

# The reaches of an entry that these do not resolve: beyond the noise of 16 bits a kink or a pole that matters leaves much over.
# A pure truncation error of order h^9, or of h^6 in the even part, is at most twice the error that the fit states then.
LONGER = (2 * REACHES[-1], 2 * 2 * REACHES[-1])

# The reaches along a direction, in units of each element. Along it all elements move at once, so that a kink of some other
# element may lie before the first step of a fit, where nothing shows it but a shorter fit.
REACHES_ALONG = tuple(RATIO**-k for k in range(LEVELS - 1, 0, -1))

# The steps of one fit, as shares of its reach.
POINTS = np.arange(1, REPEATS + 1) / REPEATS


class Part:
    """The odd or the even part of s, and the polynomial that is fitted to it."""

    def __init__(self, of: Callable[[Difference], float], powers: Sequence[int]) -> None:
        self.of = of
        self.matrix = POINTS[:, None] ** np.array(powers)
        self.solution = np.linalg.pinv(self.matrix)
        self.slope = self.solution[powers.index(1)]
        self.spread = float(np.linalg.norm(self.slope))
        """The standard deviation of the slope, for noise of 1 in this part and a reach of 1."""

    def left_over(self, taken: Array) -> float:
        """The standard deviation of the noise in these numbers, by what the polynomial leaves over."""
        left = taken - self.matrix @ (self.solution @ taken)
        return float(np.linalg.norm(left)) / float(np.sqrt(len(left) - self.matrix.shape[1]))


# The odd powers, as many as a tableau has steps. With three, the truncation error of exp over the longest reach shows in the
# left over; with five, the error of the slope is 1.4 times as large.
ODD = Part(lambda d: d.both / 2, range(1, 2 * LEVELS, 2))
# As exact for a smooth function. The constant is the rounding of s(0), and the term in h is the kink's.
EVEN = Part(lambda d: d.ahead - d.both / 2, (0, 1, *range(2, 2 * LEVELS - 2, 2)))


class Slope(NamedTuple):
    """A slope along a direction of all elements of an argument."""

    direction: Array
    value: float
    uncertainty: float


def fitted(evaluator: Evaluator, leaf: int, estimate: Estimate) -> Estimate:
    """The estimate, with fitted slopes in place of those of its smooth entries that they know better and do not contradict.

    Where the fit shows a kink, the entry is one at a kink.
    """
    x = evaluator.origin[leaf].reshape(-1)
    sizes = np.maximum(np.abs(x[estimate.index]), size_of(x))
    value, uncertainty, kink = estimate.value.copy(), estimate.uncertainty.copy(), estimate.kink.copy()
    left, right, of_sides = estimate.left.copy(), estimate.right.copy(), estimate.slope_uncertainty.copy()
    coarse = evaluator.rounding.inner_eps > SIXTEEN_BITS
    for k in np.flatnonzero(~estimate.kink & ~estimate.frozen & (estimate.uncertainty > 0)):
        difference = cache(partial(_of_entry, evaluator, leaf, int(estimate.index[k])))
        slope, error = _fit(difference, float(sizes[k]), (*REACHES, *LONGER))
        unknown = coarse or not np.isfinite(uncertainty[k])  # short steps do not show whether there is a kink
        half, half_error = _fit(difference, float(sizes[k]), part=EVEN) if unknown else (0.0, 0.0)
        apart = abs(slope - value[k])
        if error < uncertainty[k] and not apart > CONTRADICTION * (error + uncertainty[k]):
            value[k], uncertainty[k] = slope, error
        if abs(half) > CONTRADICTION * half_error and np.isfinite(error):
            kink[k], left[k], right[k], of_sides[k] = True, _minus(slope, half), _minus(slope, -half), error + half_error
        elif abs(half) > CHANCE * half_error:  # the slope is the mean of those of two sides, which may differ
            uncertainty[k] = max(uncertainty[k], abs(half))
    return replace(
        estimate, value=value, uncertainty=uncertainty, kink=kink, left=left, right=right, slope_uncertainty=of_sides
    )


def _minus(a: float, b: float) -> float:
    """The difference of two slopes; 0 if it is what rounding leaves of equal ones."""
    return 0.0 if abs(a - b) <= REPEATS * EPSILON["float64"] * (abs(a) + abs(b)) else a - b


def fitted_along(evaluator: Evaluator, leaf: int, estimate: Estimate, directions: Array) -> list[Slope]:
    """The slopes along these directions of all elements, as far as they have one.

    `estimate` has all elements. A slope that their sum contradicts does not count: there are kinks within reach.
    """
    everything = np.arange(evaluator.origin[leaf].size)
    slopes = []
    for direction in directions:
        value, uncertainty = _fit(cache(partial(_along, evaluator, leaf, everything, direction)), 1.0, REACHES_ALONG)
        known = float(np.linalg.norm(direction * estimate.uncertainty))
        if abs(value - float(direction @ estimate.value)) <= uncertainty + known and np.isfinite(uncertainty):
            slopes.append(Slope(direction, value, uncertainty))
    return slopes


def _of_entry(evaluator: Evaluator, leaf: int, index: int, h: float) -> Difference:
    return evaluator.difference(leaf, index, h)


def _along(evaluator: Evaluator, leaf: int, everything: Array, direction: Array, h: float) -> Difference:
    return evaluator.difference(leaf, everything, h * direction)


def _fit(
    difference: Callable[[float], Difference], size: float, reaches: Sequence[float] = REACHES, part: Part = ODD
) -> tuple[float, float]:
    """The slope with the smallest error that no fit of a shorter reach contradicts, and its error estimate.

    The reaches that are `LONGER` count for a slope alone that is not resolved without them. Half of the steps of a
    reach twice as long are those of the one before, to the last bit, so that a cache knows them.
    """
    found: list[tuple[float, float]] = []
    before = 0.0
    shorter = [reaches[0] / 2, reaches[0] / 2**2]  # where no reach fits there is a kink, a pole or the end of the domain
    with quiet():
        for reach in (*reaches, *shorter):
            if found and (reach in shorter or (reach in LONGER and any(e < COARSE * abs(s) for s, e in found))):
                break
            taken = [difference(float(h)) for h in reach * size * POINTS]
            numbers = np.array([part.of(d) for d in taken])
            left = part.left_over(numbers)
            expected = max(d.noise + d.growth for d in taken)
            noise = max(left, expected / NOISE_SAFETY)
            slope, error = float(part.slope @ numbers) / (reach * size), DEVIATIONS * noise * part.spread / (reach * size)
            # By chance, and with the values, the left over may double from one reach to the next; a kink makes it grow by more.
            grows = bool(found) and noise > CHANCE * before
            contradicted = any(abs(slope - s) > CONTRADICTION * (error + e) for s, e in found)
            # A difference's noise is four standard deviations: what exceeds it is no noise, but a kink or a pole within reach.
            if left <= expected and not grows and not contradicted:
                found.append((slope, error))
                before = noise
            elif found:
                break
    return min(found, key=lambda one: one[1], default=(float("nan"), float("inf")))
