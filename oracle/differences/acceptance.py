"""Checks of extrapolated derivatives: what may be wrong with one although its error estimate is small, and what is done then.

Entries of a Richardson tableau can agree on a wrong slope: where the function has structure within the steps, repeats itself
with the steps, or has a kink nearby. Each check compares with shorter steps or with the slopes of both sides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.differences.one_sided import OneSided, grows_on_one_side, is_diverging
from oracle.differences.richardson import FIRST_STEP, LEVELS, NOISE_SAFETY, RATIO, between
from oracle.differences.table import SWEEP_LAST, SWEEP_LAST_AT_ZERO, DifferenceTable, best_of
from oracle.differences.thresholds import CHANCE, CONTRADICTION, SHARP, UNRESOLVED
from oracle.effort import BATCH
from oracle.measures import EPSILON

__all__ = [
    "checked_at_very_short_step",
    "consistent_with_shorter_steps",
    "diverges",
    "one_side_of_kink",
    "sharp_bends",
]

Array = NDArray[Any]

VERY_SHORT_STEP = np.sqrt(EPSILON["float64"])
"""In units of the argument's size: a one-sided slope's curvature error and rounding noise are equal there."""


def consistent_with_shorter_steps(table: DifferenceTable, value: Array, uncertainty: Array) -> tuple[Array, Array]:
    """The derivatives, replaced where shorter steps contradict them: entries of long steps may agree on another slope.

    That is checked where more steps were taken than one tableau has. A value that is contradicted is replaced by the most
    certain entry that no shorter step contradicts.
    """
    deep = np.isfinite(table.at_all_steps("central")).sum(axis=1) > LEVELS
    if not deep.any():
        return value, uncertainty
    best = best_of(table, deep)
    contradicted = deep & (np.abs(best.value - value) > CONTRADICTION * (best.uncertainty + uncertainty))
    return np.where(contradicted, best.value, value), np.where(contradicted, best.uncertainty, uncertainty)


def one_side_of_kink(
    table: DifferenceTable, sides: OneSided, only_consistent: Array, value: Array, uncertainty: Array
) -> tuple[Array, Array]:
    """The derivatives, taken again from one side of a kink where the steps reach across one near the point.

    Long steps across a kink agree on a slope that is of neither side. That shows where the value lies outside of both slopes,
    or where a kink is suspected and not confirmed. Then only steps count over which the slopes of both sides agree, and of
    their entries those that no shorter step contradicts.
    """
    low, high = np.minimum(sides.left, sides.right), np.maximum(sides.left, sides.right)
    outside = np.maximum(low - value, value - high) > NOISE_SAFETY * (uncertainty + sides.uncertainty)
    near = outside | (sides.suspected & ~sides.confirmed)
    if not near.any():
        return value, uncertainty
    central, noise = table.at_all_steps("central"), table.at_all_steps("noise")
    gap = np.abs(table.at_all_steps("forward") - table.at_all_steps("backward"))
    gap = np.where(gap > 2 * NOISE_SAFETY * noise, gap, 0.0)  # the noise of a one-sided slope is twice as large
    across = near[:, None] & (gap > between(0, 1) * gap.max(axis=1)[:, None])
    best = best_of(table, only_consistent | near, np.where(across, np.nan, central))
    return np.where(near, best.value, value), np.where(near, best.uncertainty, uncertainty)


def checked_at_very_short_step(table: DifferenceTable, value: Array, uncertainty: Array) -> tuple[Array, Array]:
    """The error estimates after a comparison with the slope over one very short step; and which rows have a kink there.

    A function with a period repeats itself over the steps of the table, and a narrow structure lies between them. Where the
    short slope contradicts the value, their distance becomes the error estimate.
    """
    steps = VERY_SHORT_STEP / FIRST_STEP * table.steps
    taken = np.isfinite(table.at_all_steps("central")).sum(axis=1)
    unchecked = np.flatnonzero(table.steps / RATIO ** np.maximum(taken - 1, 0) > steps)
    rows = np.setdiff1d(unchecked, _checked_together(table, unchecked, steps, value, uncertainty))
    excess, kinked = np.zeros(len(value)), np.zeros(len(value), dtype=bool)
    if rows.size:
        short = table.slopes(rows, steps[rows])
        error = np.abs(short.central - value[rows])
        bent = np.flatnonzero(short.gap > SHARP * np.abs(value[rows]) + NOISE_SAFETY * short.noise)
        if bent.size:
            shorter = table.slopes(rows[bent], steps[rows[bent]] / RATIO**2)
            # The gap of a smooth bend shrinks like h, that of a kink does not.
            at_kink = bent[shorter.gap > np.maximum(between(0, 1) * short.gap[bent], NOISE_SAFETY * shorter.noise)]
            error[at_kink] = np.fmax(error[at_kink], short.gap[at_kink])
            kinked[rows[at_kink]] = True
        excess[rows] = np.nan_to_num(error - NOISE_SAFETY * short.noise - CONTRADICTION * uncertainty[rows])
    return np.where(excess > 0, excess + uncertainty, uncertainty), kinked


def _checked_together(table: DifferenceTable, rows: Array, steps: Array, value: Array, uncertainty: Array) -> Array:
    """The rows for which one difference with many of them displaced at once agrees with the sum of their derivatives.

    A row takes part if its derivative is resolved, and if its share of the sum is so large that the others cannot hide it.
    """
    if table.sample_group is None:
        return rows[:0]
    size, spread = np.abs(value * steps), uncertainty * steps
    agreeing = []
    for group in (rows[k : k + BATCH] for k in range(0, rows.size, BATCH)):
        total = size[group].sum()
        group = group[(size[group] * group.size >= total / (2 * BATCH)) & (spread[group] <= UNRESOLVED * size[group])]
        if group.size < 2:
            continue
        signs = np.where(np.random.default_rng(group).integers(0, 2, group.size) > 0, 1.0, -1.0)
        displacements = signs * steps[group]
        taken = table.sample_group(group, displacements)
        off = abs(taken.both / 2 - float(value[group] @ displacements)) - CONTRADICTION * float(spread[group].sum())
        gap = max(abs(2 * taken.ahead - taken.both), taken.bend) - UNRESOLVED * total
        if max(off, gap) <= NOISE_SAFETY * CHANCE * (taken.noise + taken.growth):
            agreeing.append(group)
    return np.concatenate([rows[:0], *agreeing])


def sharp_bends(table: DifferenceTable, sides: OneSided) -> Array:
    """The rows in which what looks like a kink is a sharp bend, or a jump of the value: there is no derivative to accept.

    A bend that is sharper than the shortest step of the table disappears at far shorter steps. At a jump of the value the
    one-sided slopes grow without limit.
    """
    forward, backward, noise = (table.at_all_steps(part) for part in ("forward", "backward", "noise"))
    bends = sides.suspected & (grows_on_one_side(forward, noise) | grows_on_one_side(backward, noise))
    jump = np.abs(sides.right - sides.left)
    left = np.flatnonzero(sides.confirmed)
    for share in (SWEEP_LAST, SWEEP_LAST_AT_ZERO):
        if not left.size:
            break
        short = table.slopes(left, share * table.shortest[left])
        resolved = np.isfinite(short.gap) & ~(CONTRADICTION * NOISE_SAFETY * short.noise > jump[left])
        disappears = resolved & (short.gap < between(0, 1) * jump[left])
        bends[left[disappears]] = True
        left = left[resolved & ~disappears]
    return np.asarray(bends)


def diverges(table: DifferenceTable) -> Array:
    """The rows in which the central difference grows without limit."""
    return is_diverging(table.at_all_steps("central"), table.at_all_steps("noise"))
