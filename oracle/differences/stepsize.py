"""Step-size control: the steps shrink as long as that makes an error estimate smaller; and the full sweep over all steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import quiet
from oracle.differences.acceptance import (
    checked_at_very_short_step,
    consistent_with_shorter_steps,
    diverges,
    one_side_of_kink,
    sharp_bends,
)
from oracle.differences.one_sided import OneSided
from oracle.differences.richardson import LEVELS, STEP_DIGITS, Extrapolated, between
from oracle.differences.table import SWEEP_LAST, SWEEP_LAST_AT_ZERO, DifferenceTable, best_of, sides_of

__all__ = ["Derivatives", "full_sweep", "lengths", "rounded", "shrink_steps", "sweep_steps"]

Array = NDArray[Any]

# The share of the derivative at which an error estimate is small enough. With 2^-46, well-conditioned functions cost further
# steps that gain nothing; with 2^-38, the error estimates of polynomials are two to three times as large.
TARGET = 2.0**-42

# The first step of a full sweep, in units of the usual first step. It is no power of the ratio, so that the steps lie between
# the usual ones. With 2^4, the error estimate of a small term beside a value of 1e8 is seven times as large.
SWEEP_FIRST = 2.0**16 * 2 / 3

# The same for a function that rounds larger numbers inside, or such of a narrower dtype. With 2^6, error estimates of softmax
# in float32 are ten times too small; with 2, the slopes of linear functions are not known better than from the usual steps.
NARROW_SWEEP_FIRST = 2.0**4 * 2 / 3

# The inverses of the golden ratio and of the plastic number, whose multiples modulo 1 are spread most evenly. With rational
# numbers instead, some elements would have steps of the same length, which one period of a function can fit all.
IRRATIONAL = (0.6180339887498949, 0.7548776662466927)


class Derivatives(NamedTuple):
    """Derivatives with their error estimates, and the slopes of both sides."""

    value: Array
    uncertainty: Array
    sides: OneSided
    kinked: Array
    """The check at a very short step has found a kink."""


def lengths(leaf: int, index: Array) -> Array:
    """Factors between 0.7 and 1.4 for the steps of elements, no two alike: a function may have a period of a round length."""
    return np.asarray(2.0 ** (((index + 1) * IRRATIONAL[0] + (leaf + 1) * IRRATIONAL[1]) % 1.0 - 0.5))


def rounded(steps: Array) -> Array:
    """Steps of six binary digits: they and their quarters lie on the grid of x, so that x + h is exactly h away from x."""
    fraction, exponent = np.frexp(steps)
    return np.asarray(np.ldexp(np.round(fraction * 2**STEP_DIGITS) / 2**STEP_DIGITS, exponent))


def sweep_steps(steps: Array, *, quantized: bool = False, rounds_inside: bool = False) -> Array:
    """The first steps of a full sweep, where `steps` are the usual ones.

    Over long steps even a quantized function has a slope, although it has one at no point. What a function rounds inside grows
    over long steps, and its noise was measured at the point.
    """
    return rounded((1.0 if quantized else NARROW_SWEEP_FIRST if rounds_inside else SWEEP_FIRST) * steps)


def shrink_steps(table: DifferenceTable) -> Derivatives:
    """Derivatives by Richardson extrapolation, each with as many steps as make its error estimate smaller; then checked."""
    with quiet():
        best, sides = _take_steps_that_gain(table, _take_first_steps(table))
        value, uncertainty = consistent_with_shorter_steps(table, best.value, best.uncertainty)
        value, uncertainty = one_side_of_kink(table, sides, _none(table), value, uncertainty)
        uncertainty, kinked = checked_at_very_short_step(table, value, uncertainty)
        return _accepted(table, value, uncertainty, sides, kinked)


def _take_first_steps(table: DifferenceTable) -> Array:
    """Take the steps of one tableau, and return the rows that have all of them: two steps that change nothing are enough."""
    rows = np.arange(len(table.steps))
    table.take_step(rows)
    table.take_step(rows)
    rows = rows[~((table.at_all_steps("central") == 0) & (table.at_all_steps("forward") == 0)).all(axis=1)]
    for _ in range(LEVELS - 2):
        table.take_step(rows)
    return np.asarray(rows)


def _take_steps_that_gain(table: DifferenceTable, active: Array) -> tuple[Extrapolated, OneSided]:
    """Take further steps of the rows `active`, and return the limits of all rows and their slopes of both sides.

    A row gets a further step while its error estimate is neither small nor mostly noise, until two steps in a row gain
    nothing; and while the slopes of its two sides differ.
    """
    idle = np.zeros(len(table.steps), dtype=int)
    best, sides = best_of(table, _none(table)), sides_of(table, _none(table))
    while True:
        unsure = ~(best.uncertainty <= TARGET * np.abs(best.value)) & ~(best.noise > best.uncertainty / 2)
        wanted = ((unsure & (idle < 2)) | sides.suspected) & (table.next_steps() > table.shortest)
        active = active[wanted[active]]
        if not active.size:
            return best, sides
        table.take_step(active)
        before, best, sides = best, best_of(table, _none(table)), sides_of(table, _none(table))
        gained = (best.uncertainty < between(0, 0.5) * before.uncertainty) | ~np.isfinite(best.uncertainty)
        idle[active] = np.where(gained[active], 0, idle[active] + 1)


def _none(table: DifferenceTable) -> Array:
    """No row is restricted to entries that shorter steps do not contradict."""
    return np.zeros(len(table.steps), dtype=bool)


def full_sweep(table: DifferenceTable, at_zero: Array) -> Derivatives:
    """Derivatives from all steps, long to very short: the most certain entry that no shorter step contradicts.

    Elements `at_zero` lose no digits however short the steps are, so that theirs become shorter than those of the others.
    """
    shortest = table.shortest * np.where(at_zero, SWEEP_LAST_AT_ZERO, SWEEP_LAST)
    only_consistent = np.ones(len(table.steps), dtype=bool)
    with quiet():
        while (active := np.flatnonzero(table.next_steps() > shortest)).size or table.levels < LEVELS:
            table.take_step(active)
        value, uncertainty, _ = best_of(table, only_consistent)
        sides = sides_of(table, only_consistent)
        value, uncertainty = one_side_of_kink(table, sides, only_consistent, value, uncertainty)
        return _accepted(table, value, uncertainty, sides, np.zeros_like(only_consistent))


def _accepted(table: DifferenceTable, value: Array, uncertainty: Array, sides: OneSided, kinked: Array) -> Derivatives:
    """The derivatives, with an infinite error estimate where there is none: at a sharp bend, a jump, an infinite slope."""
    bends = sharp_bends(table, sides)
    uncertainty = np.where(bends | diverges(table), np.inf, uncertainty)
    return Derivatives(value, uncertainty, sides._replace(confirmed=sides.confirmed & ~bends), kinked)
