"""Roundings to a narrower dtype inside a function: noise that a table over short spacings cannot show.

Such a rounding is constant between two neighbouring numbers of the narrower dtype, and jumps there. So a table over spacings
that are shorter than that distance shows a smooth function, whose slope is that of another one. Tables over a ladder of
spacings, each four times the one before, show roundings as noise that is absent over the shortest spacings and then stays:

- The differences of order 4 of a smooth function, even of a fast oscillation, grow by 4^4 from spacing to spacing.
- Those of a kink grow by 4 from spacing to spacing.
- A single jump stays, but shows in at most 5 of the 8 differences of order 4.
- The rounding of float64, where terms cancel, is there over the shortest spacings, too.

What looks like a rounding all the same, as the bends of saturated sigmoids may, has no jumps. So noise is believed only if a
function jumps between neighbouring float64 numbers (`jumps`), at several places where the noise shows.

A rounding to 16 bits is shorter than few spacings, so that growth does not tell it, least of all beside a finer rounding. There
the jumps decide alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import RAISED
from oracle.differences.jumps import FINEST, SHARE_OF_NOISE, jump_between
from oracle.differences.ladder import (
    APPEARS,
    BENDING,
    SMOOTH_GROWTH,
    Differences,
    higher_differences,
    joined,
    root_mean_square,
    until_it_bends,
)
from oracle.differences.richardson import RATIO, STEP_DIGITS
from oracle.differences.thresholds import MOST_OUTPUTS, SIXTEEN_BITS, UNRESOLVED
from oracle.effort import AGREEING, SAMPLES
from oracle.measures import EPSILON

__all__ = ["COARSEST", "DENSE", "FINEST", "LONGEST", "Sizes", "inner_rounding"]

Array = NDArray[Any]

# The longest spacing of the ladder, in units of each element: that of neighbouring bfloat16 numbers, over which a rounding to
# any dtype jumps. Twelve points reach about as far as the first step of the differences. Longer, and the points leave the
# domain of many functions.
LONGEST = 2 * EPSILON["bfloat16"]

# The spacings of the ladder, down to the shortest over which x + h still has the digits of h. Of some thousand elements one is
# so near the next float32 number that a table over 2^-36 of its size reaches it.
SPACINGS = 1 + round(np.log(LONGEST / np.ldexp(EPSILON["float64"], STEP_DIGITS)) / np.log(RATIO))

# Spacings above the one where a rounding first shows that are looked at. There it jumps at 4^6 times as many points: first
# perhaps in a single table of many, at last at every point. Over fewer than half of them, a kink's differences do not grow by
# more than the noise of the first few jumps.
UNTIL_DENSE = 2 * AGREEING

# By how much noise may still grow over these spacings: the first jumps show in single differences, with a hundredth of the
# full noise. The limit is half of what a kink's differences grow by over as many spacings as the order has.
MOST_GROWTH = SMOOTH_GROWTH / 2

# The share of the differences of order 4 that a rounding changes where it is dense: four in five. A single jump changes five
# of eight, in those tables that move towards it, which are half of them.
DENSE = 0.55

# The largest noise of a rounding, as a share of the largest value: eight roundings to bfloat16, whose root mean square is a
# quarter of an eps. More is no rounding, but a function with kinks or waves everywhere.
COARSEST = 2 * EPSILON["bfloat16"]

# The spacings of the ladder, 2^-26 to 2^-30, at which a rounding to 16 bits is quiet: such numbers lie at least 2^-11 apart,
# those of a sum of a thousand of them 2^-21. Noise that goes on there is that of no such rounding.
QUIET = slice(10, 13)

# The spacing of the table whose slope is that between two jumps of 16 bits: shorter than their distance, and so long that the
# noise of a rounding to float32 is no slope.
BETWEEN_JUMPS = 2.0**-14


class Sizes(NamedTuple):
    """The largest value of a function."""

    here: float
    towards_origin: float
    """Where a saturated function is no longer saturated: numbers as large as its values there may have cancelled here."""
    moved: float = 0.0
    """By how much a value would change if all elements changed by their own size: as much may have cancelled here."""


class InnerRounding(NamedTuple):
    """Roundings to a narrower dtype inside a function."""

    noise: Array
    """Of each output; 0 where it shows none."""
    sixteen_bits: bool
    """Whether some of them are so coarse that their jumps alone prove them, as those to 16 bits are."""
    moved: float
    """The size of what is rounded where the value itself is 0."""


def inner_rounding(
    values_at: Callable[[float, int], Array],
    line: Callable[[float], Array],
    one_ulp: Array,
    sizes: Sizes,
    least: Array,
    *,
    continuous: bool,
) -> InnerRounding:
    """The roundings to a narrower dtype inside the function.

    `values_at(spacing, table)` has the outputs at equally spaced points along axis 0, in a direction that depends on the number
    of the table alone. `line(t)` has them at a point of the first table's direction. `least` is the noise of each output that
    is none of a rounding. `continuous`: the function has no jumps but those of roundings. A gradient jumps where its function
    has kinks.
    """
    ladder: list[Differences | None] = []
    for k in range(SPACINGS):
        spacing = LONGEST / RATIO**k
        try:
            tables = [values_at(spacing, table) for table in range(AGREEING)]
            ladder.append(joined([higher_differences(table) for table in tables]))
            sizes = sizes if sizes.moved else sizes._replace(moved=_moved(tables, spacing))
        except RAISED:  # points at long spacings may leave the function's domain
            ladder.append(None)
    found = _fine_rounding(ladder, values_at, line, one_ulp, sizes, least)
    lasting = _lasting(ladder, sizes)
    coarse = np.where(lasting > np.fmax(np.fmax(APPEARS * one_ulp, BENDING * found), least), lasting, 0.0)
    longest = LONGEST if ladder[0] is not None else LONGEST / RATIO
    proven = np.zeros(found.shape)
    if continuous and coarse.any():
        proven = _coarse_rounding(values_at, line, longest, coarse, found, steps=bool(least.any()))
    found = np.fmax(found, proven)
    if found.any():
        # The function rounds, so that noise of any spacing may be that of a rounding in its other outputs. It cannot be much
        # larger than in those found, as a number and as a share of the value: that is the bending of the function.
        shares = np.divide(found, one_ulp, out=np.zeros(found.shape), where=(one_ulp > 0) & np.isfinite(one_ulp))
        usual = np.median(shares[shares > 0]) if shares.any() else 0.0
        most = RATIO * np.fmax(found.max(), usual * np.where(np.isfinite(one_ulp), one_ulp, 0.0))
        steady = until_it_bends(ladder[1:], one_ulp)[0]
        steady = np.where(steady > APPEARS * one_ulp, steady, 0.0)
        if proven.any():  # sums of numbers with few digits are whole multiples of the last of them
            steady, least = np.fmax(steady, lasting), np.zeros(least.shape)
        coarsest = COARSEST * (max(sizes) if proven.any() else max(sizes.here, sizes.moved))
        steady = np.where((steady > least) & (steady <= np.fmin(most, coarsest)), steady, 0.0)
        found = np.fmax(found, steady)
    return InnerRounding(found, bool(proven.any()), sizes.moved)


def _fine_rounding(
    ladder: Sequence[Differences | None],
    values_at: Callable[[float, int], Array],
    line: Callable[[float], Array],
    one_ulp: Array,
    sizes: Sizes,
    least: Array,
) -> Array:
    """The noise of each output that the shortest spacings do not show and that then stays, if some output jumps where it shows.

    Jumps of other outputs count as well: each output of a product with rounded weights jumps at places of its own, and in a few
    of them none may be within reach.
    """
    rms = np.stack([np.full(one_ulp.shape, np.inf) if level is None else root_mean_square(level) for level in ladder])
    # A sum inside that lies halfway between two float32 numbers jumps at once, to either side. That is no full noise.
    quiet, few = np.fmax(rms[-AGREEING:].min(axis=0), one_ulp), rms[-AGREEING:].max(axis=0)
    noise = until_it_bends(ladder, quiet)
    found, first = np.zeros(one_ulp.shape), np.zeros(one_ulp.shape)
    shown = np.zeros(one_ulp.shape, dtype=int)
    for last in range(SPACINGS - AGREEING - 1, AGREEING - 1, -1):
        # What a pole shows at long spacings is no noise of what shows at short ones.
        first = np.where(shown, first, np.fmax(rms[last], rms[last - 1]))
        window = slice(max(last - UNTIL_DENSE, 0), last)
        longer = [level for level in ladder[window] if level is not None]
        if len(longer) < AGREEING:
            continue
        full = noise[window].max(axis=0)
        stays = full <= min(MOST_GROWTH, _kink_growth(len(longer)) / 2) * first
        changed = [(np.abs(level.lowest) > first / BENDING).mean(axis=0) for level in longer]
        dense = np.median(changed, axis=0) >= DENSE
        narrow = (full > np.fmax(FINEST * sizes.here, least)) & (full <= COARSEST * max(sizes.here, sizes.moved))
        plain = np.isfinite(first) & (first > APPEARS * quiet) & (full > BENDING * few) & stays & dense & narrow
        shown = np.where(plain & (shown == 0), last - 1, shown)
        found = np.where(plain, np.fmax(found, full), found)
    # What shows over far longer spacings than in other outputs may be where a kink is within reach. Larger jumps tell.
    early = (found > 0) & (shown >= np.median(shown[found > 0]) - AGREEING) if found.any() else found > 0
    finer = RATIO * found.max(initial=0.0, where=early)
    late = np.where(~early & (found > finer), found, 0.0)
    if late.any() and not _jumps_where_it_shows(values_at, line, late, shown, finer):
        found = np.where(late > 0, 0.0, found)
    return found if _jumps_where_it_shows(values_at, line, found, shown) else np.zeros(found.shape)


def _jumps_where_it_shows(
    values_at: Callable[[float, int], Array], line: Callable[[float], Array], noise: Array, shown: Array, finer: float = 0.0
) -> bool:
    """Whether some output jumps at several places, by more than `finer`.

    `shown` is the shortest level of the ladder at which the noise of each output shows.

    The first interval of a table begins at the point itself, where a gradient jumps if its function has a kink there.
    """
    order = np.flatnonzero(noise)[np.argsort(-noise[noise > 0])]
    outputs = order[np.unique(np.linspace(0, len(order) - 1, SAMPLES).astype(int))] if len(order) else order

    @cache
    def at_level(level: int) -> tuple[float, Array, Array]:
        """The spacing there, the usual slope, and by how much each of these outputs is off it between two points."""
        spacing, longer = LONGEST / RATIO**level, LONGEST / RATIO ** max(level - 2, 0)
        slope = np.median(np.diff(values_at(longer, 0), axis=0), axis=0) / longer
        off = np.abs(np.diff(values_at(spacing, 0)[:, outputs], axis=0) - slope[outputs] * spacing)[1:]
        return spacing, slope, off

    for k, output in enumerate(outputs.tolist()):
        jumping, least = 0, max(SHARE_OF_NOISE * float(noise[output]), finer)
        for level in range(int(shown[output]), max(int(shown[output]) - UNTIL_DENSE, 0), -1):  # at first, jumps are rare
            try:
                spacing, slope, off = at_level(level)
                for place in np.argsort(-np.nan_to_num(off[:, k], posinf=0.0))[:AGREEING].tolist():
                    if off[place, k] > least:
                        jumps = jump_between(line, (place + 1) * spacing, (place + 2) * spacing, output, slope, least)
                        jumping += bool(jumps[output] > least)
            except RAISED:  # a point on the way may leave the function's domain
                continue
            if jumping >= AGREEING:
                return True
    return False


def _kink_growth(spacings: int) -> float:
    """What the differences of a kink grow by over so many spacings of the ladder, once it is within reach."""
    return RATIO**spacings


def _lasting(ladder: Sequence[Differences | None], sizes: Sizes) -> Array:
    """The noise of each output that does not shrink over the longest spacings; 0 where it is none of a rounding.

    Over the second spacing, 2^-8, the bending of usual functions is far below a rounding to float32.
    """
    shorter, between = ladder[1], [level.noise for level in ladder[QUIET] if level is not None]
    if shorter is None or not between:
        return np.zeros(())
    longer = ladder[0] or shorter
    narrow = (shorter.noise > FINEST * sizes.here) & (shorter.noise <= COARSEST * max(sizes))
    narrow &= np.max(between, axis=0) <= SHARE_OF_NOISE * shorter.noise
    return np.where(narrow & (longer.noise <= BENDING * shorter.noise), shorter.noise, 0.0)


def _coarse_rounding(
    values_at: Callable[[float, int], Array],
    line: Callable[[float], Array],
    longest: float,
    noise: Array,
    found: Array,
    *,
    steps: bool,
) -> Array:
    """The noise of those outputs that jump by enough to explain it, at several places; 0 for the others.

    `longest` is the longest spacing whose points are in the function's domain. `found` is the noise of finer roundings, whose
    jumps are smaller. `steps`: some outputs look like staircases by design. All jumps of these are one number, where those of a
    rounding to floating-point numbers depend on their exponents.
    """
    proven, sizes = np.zeros(noise.shape), []
    try:
        slope = np.median(np.diff(values_at(BETWEEN_JUMPS, 0), axis=0), axis=0) / BETWEEN_JUMPS
        far = values_at(longest, 0)
        off = np.nan_to_num(np.abs(np.diff(far, axis=0) - slope * longest), posinf=0.0)
        size = np.abs(far).max(axis=0)
        shares = np.divide(found, size, out=np.zeros(size.shape), where=np.isfinite(size) & (size > 0))
        shares = shares[(shares > 0) & (shares < SIXTEEN_BITS)]
        finer = BENDING * np.fmax(found, np.median(shares) * size if shares.size else 0.0)
        jumping = (off > noise).sum(axis=0)
        often, seldom = jumping >= AGREEING, (jumping > 0) & (jumping < AGREEING) & (slope == 0)
        if not often.sum() > MOST_OUTPUTS * np.count_nonzero(often | seldom):
            return proven
        often &= noise > 0
        for _ in range(SAMPLES):
            output = int(np.where(often & (proven == 0), noise, 0.0).argmax())
            if not often[output] or proven[output]:
                break
            often[output] = False
            places = np.argsort(-off[:, output])[:AGREEING]
            least = np.fmax(SHARE_OF_NOISE * noise, finer)
            intervals = [(place * longest, (place + 1) * longest) for place in places.tolist()]
            jumps = [jump_between(line, *ends, output, slope, float(least[output])) for ends in intervals]
            if all(jump[output] > least[output] for jump in jumps):
                shown = np.nan_to_num(np.max(jumps, axis=0), posinf=0.0) > least
                proven = np.where(shown & (noise > 0), noise, proven)
                sizes += [jump[output] for jump in jumps]
    except RAISED:  # a point on the way may leave the function's domain
        pass
    return np.zeros(noise.shape) if steps and sizes and np.ptp(sizes) <= UNRESOLVED * max(sizes) else proven


def _moved(tables: Sequence[Array], spacing: float) -> float:
    """The largest change of a value per spacing, from one end of a table to the other."""
    changes = np.abs([(table[-1] - table[0]) / ((len(table) - 1) * spacing) for table in tables])
    return float(changes[np.isfinite(changes)].max(initial=0.0))
