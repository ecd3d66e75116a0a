"""Higher differences over a ladder of spacings: what they show of the noise of a function."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.differences.richardson import RATIO
from oracle.effort import AGREEING

__all__ = [
    "APPEARS",
    "BENDING",
    "ORDER",
    "POINTS",
    "SMOOTH_GROWTH",
    "Differences",
    "higher_differences",
    "joined",
    "root_mean_square",
    "until_it_bends",
]

Array = NDArray[Any]

# The lowest order of the differences that measure noise; the highest is twice that. With 2 the smooth part of most functions is
# left in them, with 8 a table costs 24 evaluations.
ORDER = 4

# The points of a table: as many differences of the highest order as the lowest order has.
POINTS = 2 * ORDER + ORDER

# By how much the differences of a smooth function grow, from one spacing to the next. By chance, noise may exceed that of
# spacings 4^3 times as short by as much: the differences of a smooth function exceed those by 4^12, and near a pole by more.
# The rounding of an element at 0 that is displaced grows by 4^3.
SMOOTH_GROWTH = RATIO**ORDER

# The least noise of a rounding, in units of what there is over the shortest spacings: far above what chance makes of those
# of float64 there, and far below the 2^29 between these and one of float32.
APPEARS = RATIO * SMOOTH_GROWTH

# The growth, from one spacing to the next, from which on noise is the bending of the function: as far above that of dense
# roundings, whose noise changes by chance alone, as below that of a smooth function. What is smaller than the noise of a
# rounding by as much counts as unchanged.
BENDING = float(np.sqrt(SMOOTH_GROWTH))


class Differences(NamedTuple):
    """What the higher differences over equally spaced points show about each output."""

    noise: Array
    """The root mean square of the differences, divided by the factor that they multiply noise by: the least of all orders."""
    lowest: Array
    """The differences of the lowest order, along axis 0, divided by that factor."""


def higher_differences(values: Array) -> Differences:
    """Differences of order 4 to 8 along axis 0: noise shows equally in all of these, the smooth part mostly in the lowest."""
    least = np.full(values.shape[1:], np.inf)
    lowest = values
    for order in range(1, 2 * ORDER + 1):
        values = values[1:] - values[:-1]  # `np.diff` and `mean` take as long as the work: they check what is known here
        if order == ORDER:
            lowest = values / np.sqrt(comb(2 * order, order))
        if order >= ORDER:
            least = np.fmin(least, np.sqrt(np.add.reduce(values**2, axis=0) / len(values) / comb(2 * order, order)))
    return Differences(np.where(np.isfinite(least), least, 0.0), lowest)


def until_it_bends(ladder: Sequence[Differences | None], quiet: Array) -> Array:
    """The largest noise of each output up to each spacing, longest first; beyond its plateau, that of the plateau.

    `quiet` is the noise without roundings to a narrower dtype. These are rare jumps at first. Once they are dense, their noise
    is the same over all spacings, but for chance. At a kink it begins to grow, and may come to rest again far from it, where
    few spacings are left. So a plateau is replaced only by one that is longer by far.
    """
    shape = quiet.shape
    length, most, largest = np.zeros(shape, int), np.zeros(shape), np.zeros(shape)
    longest, plateau, found = np.zeros(shape, int), np.full(shape, np.inf), []
    on_it = np.zeros(shape, bool)
    for level in ladder[::-1]:
        noise = np.zeros(shape) if level is None else level.noise
        shows = noise > APPEARS * quiet
        goes_on = shows & (noise <= RATIO * most) & (noise >= most / BENDING)
        length, most = np.where(goes_on, length + 1, shows), np.where(goes_on, np.fmax(most, noise), noise)
        on_it = shows & ((on_it & goes_on) | (length > longest + AGREEING) | (longest == 0))
        plateau, longest = np.where(on_it, most, plateau), np.where(on_it, length, longest)
        largest = np.fmax(largest, noise)
        found.append(largest)
    return np.asarray(np.fmin(np.stack(found[::-1]), plateau))


def joined(tables: list[Differences]) -> Differences:
    """Several tables at one spacing."""
    return Differences(np.max([table.noise for table in tables], axis=0), np.concatenate([table.lowest for table in tables]))


def root_mean_square(level: Differences) -> Array:
    """The root mean square of the differences of the lowest order; infinite where the function has no value."""
    size = np.sqrt((level.lowest**2).mean(axis=0))
    return np.where(np.isfinite(size), size, np.inf)
