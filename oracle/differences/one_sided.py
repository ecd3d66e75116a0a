"""What the slopes of the two sides tell: kinks, jumps, and slopes that have no limit.

Every table has a row for each derivative and a column for each step, the shortest last; NaN where it was not taken.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import quiet
from oracle.differences.richardson import RATIO, most_certain, tableau

__all__ = ["SHARP", "Jumps", "is_diverging", "is_growing", "jumps"]

Array = NDArray[Any]

JUMP = 1e-7  # one-sided slopes that differ by less than this fraction are not called a kink
GROWING = 3.0  # times as large two steps on: no slope
SETTLING = 0.75  # of what the step before has changed: a slope that has a limit changes by a quarter, or half near a root
SHARP = 2.0**-10  # of the slope: how far those of the two sides may be apart over a very short step


class Jumps(NamedTuple):
    """The slopes of the two sides, and whether they differ."""

    suspected: Array
    confirmed: Array
    left: Array
    right: Array
    uncertainty: Array


def jumps(forward: Array, backward: Array, noise: Array, unrefuted: Array, bent: Array) -> Jumps:
    """Whether the slopes of the two sides differ, as far as the steps tell.

    A kink *near* the point looks the same until the steps are shorter than its distance, and so does a bend that is
    sharper than the steps. So steps go on shrinking where a kink is suspected; it is confirmed where the shortest
    step that still resolves the jump shows it whole, unless it is known to be a bend (`bent`). Of `unrefuted` derivatives
    only what no shorter step contradicts is believed.
    """
    noise = 2 * noise
    right, above, _ = most_certain(tableau(forward, noise, RATIO), unrefuted)
    left, below, _ = most_certain(tableau(backward, noise, RATIO), unrefuted)
    jump = right - left
    resolves = np.abs(jump)[:, None] > 8 * noise
    shortest = resolves.shape[1] - 1 - resolves[:, ::-1].argmax(axis=1)[:, None]
    seen = np.take_along_axis(forward - backward, shortest, axis=1)[:, 0]
    size = np.maximum(np.abs(left), np.abs(right))
    suspected = np.abs(jump) > 8 * (above + below) + JUMP * size
    confirmed = suspected & ~bent & (np.abs(seen - jump) < 0.25 * np.abs(jump))
    return Jumps(suspected, confirmed, left, right, above + below)


def is_growing(slopes: Array, noise: Array) -> Array:
    """Whether a slope of one side has no limit."""
    last = _last(slopes)
    before = np.take_along_axis(slopes, np.maximum(last - 2, 0), axis=1)[:, 0]
    with quiet():
        factor = np.nan_to_num(np.take_along_axis(slopes, last, axis=1)[:, 0] / before, posinf=0.0, neginf=0.0)
    return np.asarray(np.abs(factor) > GROWING) | _is_steady(slopes, noise)


def is_diverging(central: Array, noise: Array) -> Array:
    """Where the slope goes on growing as the steps shrink: at a jump, or where the slope is infinite."""
    last = _last(central)
    a, b, c = (np.abs(np.take_along_axis(central, np.maximum(last - k, 0), axis=1)[:, 0]) for k in (2, 1, 0))
    certain = c > 8 * np.take_along_axis(noise, last, axis=1)[:, 0]
    return np.asarray(certain & (c > 1.5 * b) & (b > 1.5 * a)) | _is_steady(central, noise)


def _is_steady(slopes: Array, noise: Array) -> Array:
    """Whether a slope changes by the same again and again, as log h does, as long as that is seen above the noise."""
    change, noise = np.abs(np.diff(slopes, axis=1)), 8 * noise[:, 1:]

    def at(table: Array, where: Array) -> Array:
        return np.take_along_axis(table, np.clip(where, 0, table.shape[1] - 1), axis=1)[:, 0]

    with quiet():
        seen = (change > noise) & (change > SHARP * np.abs(slopes[:, 1:]))
        seen[:, :2] = False
        last = change.shape[1] - 1 - seen[:, ::-1].argmax(axis=1)[:, None]
        one, two, three = (at(change, last - k) for k in (2, 1, 0))
        settled = (last[:, 0] < change.shape[1] - 1) & (at(noise, last + 1) < SETTLING * three)
        return np.asarray(seen.any(axis=1) & ~settled & (two > SETTLING * one) & (three > SETTLING * two))


def _last(table: Array) -> Array:
    """The column of the shortest step that was taken, as a column of indices."""
    return np.asarray(table.shape[1] - 1 - np.isfinite(table)[:, ::-1].argmax(axis=1)[:, None])
