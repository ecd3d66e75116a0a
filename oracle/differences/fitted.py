"""Slopes of a function that computes in a narrower dtype inside: least squares through the differences at many long steps.

Richardson's tableau needs short steps, at which the noise of a rounding to float32 is large. A polynomial in odd powers of h,
fitted to s(h) - s(-h) at many steps up to a reach H, has a slope with a far smaller error. What the polynomial leaves over is
the noise at these very steps, and the truncation error as well, so the fit states its own error:

    (s(h) - s(-h)) / 2        = c1 h + c3 h^3 + c5 h^5 + c7 h^7,    var(c1) = var(left over) (A^T A)^-1 [1, 1]
    (s(h) + s(-h)) / 2 - s(0) = a0 + a1 h + a2 h^2 + a4 h^4

Where the second derivative jumps, as that of the softsign does at 0, the odd part has a term in h |h|, too. It is fitted where
the point is 0; elsewhere it makes the reach too long, or chance explains it and the error covers it.

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
from oracle.differences.directional import Directional
from oracle.differences.evaluation import Difference, Evaluator
from oracle.differences.partials import Estimate
from oracle.differences.polynomials import EVEN, ODD, POINTS, Part
from oracle.differences.richardson import FIRST_STEP, LEVELS, NOISE_SAFETY, RATIO
from oracle.differences.thresholds import CHANCE, COARSE, CONTRADICTION, SIXTEEN_BITS
from oracle.effort import REPEATS
from oracle.measures import EPSILON, largest

__all__ = ["Slope", "fitted", "fitted_along", "fitted_blocks", "fitted_with"]

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

# The shortest reach, in units of the element: over it the element passes a single float32 number.
SHORTEST_REACH = EPSILON["float32"]


class Fit(NamedTuple):
    """The slope of a polynomial that was fitted to the differences at the steps of one reach."""

    slope: float
    error: float
    noise: float = 0.0
    """The standard deviation of a difference."""
    reach: float = SHORTEST_REACH
    """In units of the element."""
    numbers: Array = POINTS
    """What the polynomial was fitted to."""
    part: Part = ODD


class Samples(NamedTuple):
    """The differences of one entry, or along one direction, at any step."""

    at: Callable[[float], Difference]
    size: float
    """The unit of the reaches."""
    at_zero: bool
    """Whether elements that are 0 move: where the second derivative jumps, it jumps there, and not somewhere nearby."""


class Slope(NamedTuple):
    """A slope along a direction of all elements of an argument."""

    direction: Array
    value: float
    uncertainty: float


def fitted(evaluator: Evaluator, leaf: int, estimate: Estimate, which: Array | None = None) -> Estimate:
    """The estimate, with fitted slopes in place of those of its smooth entries that they know better and do not contradict.

    Where the fit shows a kink, the entry is one at a kink. `which` are the flat indices of the entries that are fitted, by
    default all.
    """
    x = evaluator.origin[leaf].reshape(-1)
    sizes = np.maximum(np.abs(x[estimate.index]), size_of(x))
    value, uncertainty, kink = estimate.value.copy(), estimate.uncertainty.copy(), estimate.kink.copy()
    left, right, of_sides = estimate.left.copy(), estimate.right.copy(), estimate.slope_uncertainty.copy()
    coarse = evaluator.rounding.inner_eps > SIXTEEN_BITS
    asked = np.isin(estimate.index, estimate.index if which is None else which)
    for k in np.flatnonzero(asked & (coarse | ~estimate.kink) & ~estimate.frozen & (estimate.uncertainty > 0)):
        one = int(estimate.index[k])
        samples = Samples(partial(evaluator.difference, leaf, one), float(sizes[k]), bool(x[one] == 0))
        fit = _checked(samples, (*REACHES, *LONGER))
        # Short steps do not show whether there is a kink.
        even = _even(samples, fit.reach) if coarse or not np.isfinite(uncertainty[k]) else Fit(0.0, 0.0)
        known = np.isfinite(fit.error)
        if kink[k] and not (known and abs(even.slope) + CONTRADICTION * even.error < abs(right[k] - left[k]) / 2):
            continue
        apart, both = abs(fit.slope - value[k]), fit.error + uncertainty[k]
        contradicts = apart > CONTRADICTION * both
        if known and not kink[k] and both < apart and not contradicts:  # one of them is too certain, and nothing says which
            value[k], uncertainty[k] = (fit.slope if fit.error < uncertainty[k] else value[k]), apart
        elif kink[k] or (known and (contradicts or fit.error < uncertainty[k])):
            value[k], uncertainty[k], kink[k] = fit.slope, fit.error, False
        elif not known and _is_of_the_tails(samples, value[k]):
            uncertainty[k] = np.inf
        if known and _is_kink(samples, even):
            kink[k], of_sides[k] = True, fit.error + even.error
            left[k], right[k] = _minus(fit.slope, even.slope), _minus(fit.slope, -even.slope)
        elif abs(even.slope) > CHANCE * even.error:  # the slope is the mean of those of two sides, which may differ
            uncertainty[k] = max(uncertainty[k], abs(even.slope))
    return replace(
        estimate, value=value, uncertainty=uncertainty, kink=kink, left=left, right=right, slope_uncertainty=of_sides
    )


def _even(samples: Samples, reach: float) -> Fit:
    """The fit of the even part, over reaches no longer than this one."""
    return _checked(samples, tuple(one for one in REACHES if one <= reach) or (reach,), EVEN)


def _is_kink(samples: Samples, even: Fit) -> bool:
    """Whether the even part has a term in h over a shorter reach, too: where a function saturates it fades there."""
    if not abs(even.slope) > CONTRADICTION * even.error:
        return False
    shorter, _ = _over(samples, even.reach / RATIO, EVEN)
    same = abs(shorter.slope - even.slope) <= CONTRADICTION * (shorter.error + even.error)
    return same and abs(shorter.slope) > CONTRADICTION * shorter.error


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
        along = Samples(_along(evaluator, leaf, everything, direction), 1.0, not evaluator.origin[leaf].all())
        fit = _checked(along, REACHES_ALONG)
        known = float(np.linalg.norm(direction * estimate.uncertainty))
        if abs(fit.slope - float(direction @ estimate.value)) <= fit.error + known and np.isfinite(fit.error):
            slopes.append(Slope(direction, fit.slope, fit.error))
    return slopes


def fitted_with(evaluator: Evaluator, leaf: int, gradient: Array, where: Array) -> Slope | None:
    """The slope along a direction in which every entry of `gradient` adds to the change; None if it has none.

    Entry by entry a mean of many terms may change by less than its own rounding. Moved together, they do not cancel. Only the
    elements `where` move: at kinks the mean slope of two sides is no gradient's.
    """
    x = evaluator.origin[leaf].reshape(-1)
    signs = np.where(where, np.sign(gradient), 0.0)
    if not (np.isfinite(signs).all() and signs.any()):
        return None
    direction = signs * 2.0 ** np.round(np.log2(np.maximum(np.abs(x), size_of(x))))
    samples = Samples(_along(evaluator, leaf, np.arange(x.size), direction), 1.0, not x.all())
    fit = _checked(samples, REACHES_ALONG)
    if not np.isfinite(fit.error):
        return None
    return Slope(direction, fit.slope, max(fit.error, _bend(samples, fit)))


def fitted_blocks(evaluator: Evaluator, leaf: int, along: Directional, gradient: Array) -> Directional:
    """With fitted slopes of the blocks that the gradient contradicts by more than their error estimate, and of blind ones."""
    x = evaluator.origin[leaf].reshape(-1)
    unit = float(np.median(np.maximum(np.abs(x), size_of(x)) / np.abs(along.direction)))
    blocks = list(along.blocks)
    for k, block in enumerate(blocks):
        direction = along.direction[block.index]
        if abs(direction @ gradient[block.index] - block.value) <= block.uncertainty and not block.blind:
            continue
        samples = Samples(_along(evaluator, leaf, block.index, direction), unit, not x[block.index].all())
        fit = _checked(samples, REACHES_ALONG)
        if not np.isfinite(fit.error) or (block.blind and not block.usual):
            continue
        fit = fit._replace(error=max(fit.error, _bend(samples, fit)))
        if block.blind:
            blocks[k] = replace(block, value=fit.slope, uncertainty=fit.error, blind=False)
            continue
        apart, both = abs(fit.slope - block.value), fit.error + block.uncertainty
        better = fit if fit.error < block.uncertainty or apart > CONTRADICTION * both else Fit(block.value, block.uncertainty)
        uncertainty = apart if both < apart <= CONTRADICTION * both else better.error
        blocks[k] = replace(block, value=better.slope, uncertainty=uncertainty)
    return replace(along, blocks=tuple(blocks))


def _bend(samples: Samples, fit: Fit) -> float:
    """By how much the slopes of the two sides may be off their mean; 0 where chance explains that."""
    even = _even(samples, fit.reach)
    return abs(even.slope) if abs(even.slope) > CHANCE * even.error else 0.0


def _along(evaluator: Evaluator, leaf: int, index: Array, direction: Array) -> Callable[[float], Difference]:
    """The differences along a direction of some elements. The noise of what a longer step changes counts at a shorter one."""
    most = 0.0

    @cache
    def at(h: float) -> Difference:
        nonlocal most
        taken = evaluator.difference(leaf, index, h * direction)
        most = max(most, taken.noise)
        return taken._replace(noise=most)

    return at


def _best(samples: Samples, reaches: Sequence[float], part: Part = ODD) -> Fit:
    """The fit with the smallest error that no fit of a shorter reach contradicts.

    The reaches that are `LONGER` count for a slope alone that is not resolved without them. Half of the steps of a
    reach twice as long are those of the one before, to the last bit, so that a cache knows them.
    """
    found: list[Fit] = []
    for reach in reaches:
        if reach in LONGER and any(fit.error < COARSE * abs(fit.slope) for fit in found):
            break
        fit, smooth = _over(samples, reach, part)
        # By chance, and with the values, the left over may double from one reach to the next; a kink makes it grow by more.
        grows = bool(found) and fit.noise > CHANCE * found[-1].noise
        contradicted = any(abs(fit.slope - one.slope) > CONTRADICTION * (fit.error + one.error) for one in found)
        if smooth and not grows and not contradicted:
            found.append(fit)
        elif found:
            break
    return min(found, key=lambda one: one.error) if found else _first(samples, reaches[0] / 2, part)


def _first(samples: Samples, reach: float, part: Part = ODD) -> Fit:
    """The fit of the longest reach, from this one down, that leaves nothing over but noise: no kink or pole is within it."""
    while reach > SHORTEST_REACH:
        fit, smooth = _over(samples, reach, part)
        if smooth:
            return fit
        reach /= 2 if reach > REACHES[0] / RATIO else RATIO
    return Fit(float("nan"), float("inf"))


def _over(samples: Samples, reach: float, part: Part) -> tuple[Fit, bool]:
    """The fit over one reach, and whether it leaves nothing over but noise.

    What exceeds the noise that was measured near the point on average, or twice that at one step, is no noise, but a kink or a
    pole within reach, or the end of a bump. Nor is a term in h |h|, unless the second derivative may jump at the point itself.
    Where chance may explain that term, the error estimate covers what it adds to the slope.
    """
    with quiet():
        taken = [samples.at(float(h)) for h in reach * samples.size * POINTS]
        numbers = np.array([part.of(d) for d in taken])
        excess, smooth = part.excess(numbers)
        if not smooth and samples.at_zero and part.wider is not None:
            part, excess, smooth = part.wider, 0.0, True
        over, expected = part.left_over(numbers), max(d.noise + d.growth for d in taken)
        left = float(np.linalg.norm(over))
        noise = max(left, expected / NOISE_SAFETY)
        width = reach * samples.size
        slope = float(part.slope @ numbers) / width
        error = max(DEVIATIONS * noise * part.spread, excess / CHANCE) / width
    within = left <= expected and largest(over) * np.sqrt(len(over)) <= CHANCE * expected
    return Fit(slope, error, noise, reach, numbers, part), bool(smooth and within)


def _checked(samples: Samples, reaches: Sequence[float], part: Part = ODD) -> Fit:
    """The best fit; one of a shorter reach if differences at shorter steps contradict it.

    A polynomial fits a function that is saturated over its whole reach, as a softmax of numbers near 1,000 is over a tenth of
    them: its slope is that of the tails. Differences at far shorter steps have large noise, and show that all the same.
    """
    fit = _best(samples, reaches, part)
    while np.isfinite(fit.error) and (step := _contradicting(samples, fit, fit.reach * POINTS[0] / RATIO)):
        fit = _first(samples, RATIO * step, part)
    return fit


def _is_of_the_tails(samples: Samples, slope: float) -> bool:
    """Whether this slope, of another measurement, is contradicted by differences at short steps."""
    constant = Fit(slope, 0.0, 0.0, 1.0, slope * samples.size * POINTS)
    return _contradicting(samples, constant, REACHES[0] * POINTS[0]) > 0


def _contradicting(samples: Samples, fit: Fit, step: float) -> float:
    """The longest step, from this one down, at which the difference is not what the fit says; 0 if there is none.

    Steps are in units of the element.
    """
    while step > SHORTEST_REACH:
        with quiet():
            taken = samples.at(step * samples.size)
        off = abs(fit.part.of(taken) - fit.part.at(step / fit.reach, fit.numbers))
        if off > CHANCE * (taken.noise + taken.growth) + fit.error * step * samples.size:
            return step
        step /= RATIO
    return 0.0
