"""Jumps of a function: what proves that it rounds.

Between two neighbouring numbers a continuous function changes by no more than its slope times their distance, also at a kink.
Where a number inside is rounded it jumps by a whole step of the narrower dtype. So an interval over which the function is off
its slope is halved, each time towards the half that is further off, until only a jump can be left in it.

This decides where a rounding is too coarse for `inner_rounding`'s ladder to tell it by growth: neighbouring numbers of 16 bits
are so far apart that few spacings are longer, and a finer rounding beside it is noise before.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.differences.thresholds import MUCH_NOISE
from oracle.effort import AGREEING
from oracle.measures import EPSILON

__all__ = ["FINEST", "SHARE_OF_NOISE", "jump_between"]

Array = NDArray[Any]

# The wider interval, in widths of the narrower one. Over it a continuous function changes by that many times as much.
WIDER = 2.0**8

# The width at which an interval counts as two neighbouring numbers, in units of each element: 2^8 roundings of float64. Over
# it a continuous function changes by 2^-36 of what it changes by over 2^-8. Shorter, and the points themselves are rounded.
NEIGHBOURS = WIDER * EPSILON["float64"]

# The smallest noise of a rounding to a narrower dtype, and the smallest jump, as a share of the largest value. Less may be a
# rounding of float64 where terms cancel.
FINEST = MUCH_NOISE * EPSILON["float64"]

# The smallest jump, as a share of the noise that it is to explain. The noise of a sum of n rounded numbers is sqrt(n / 12) of
# their jumps, so this is enough for 2^16 of them. The jumps of a rounding to float32 are 2^-13 of those to float16; this is as
# far from 1 as from these.
SHARE_OF_NOISE = float(np.sqrt(EPSILON["float32"] / EPSILON["float16"]))

# Halvings in a row between whose halves no jump shows, after which the search for one ends. Two halves with equally many jumps
# show none, as half of all halves of a staircase; six times in a row that is rare.
STRAIGHT = 2 * AGREEING


def jump_between(line: Callable[[float], Array], low: float, high: float, output: int, slope: Array, least: float) -> Array:
    """The jumps of all outputs at a place between `low` and `high` where this output jumps, if it does; 0 for the others.

    A jump of this output of less than `least` need not be found.

    `slope` is that of each output between two jumps. What is left besides it is a jump if it is as large as over an interval
    that is wider by far: the change of a continuous function is smaller in proportion.
    """
    below, above = line(low), line(high)
    wider = np.full(below.shape, np.inf)
    usual, straight = float(slope[output]), 0
    while (width := (high - low) / 2) > NEIGHBOURS / 2:
        middle = low + width
        at_middle = line(middle)
        a, m, b = (float(values[output]) for values in (below, at_middle, above))
        straight = straight + 1 if abs(a - 2 * m + b) < least else 0
        if straight == STRAIGHT:
            return np.zeros(below.shape)
        if _size(m - a - usual * width) >= _size(b - m - usual * width):
            high, above = middle, at_middle
        else:
            low, below = middle, at_middle
        if width > WIDER * NEIGHBOURS / 2:
            wider = np.abs(above - below - slope * width)
    left = np.abs(above - below - slope * (high - low))
    finest = FINEST * float(np.abs(np.append(below, above)).max())
    return np.asarray(np.where((left > finest) & (2 * left > wider), left, 0.0))


def _size(a: float) -> float:
    """The size of a change; 0 where a value is not finite."""
    return abs(a) if isfinite(a) else 0.0
