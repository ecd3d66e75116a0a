"""The slopes of both sides: whether the point is a kink, a jump of the value, or one where the slope has no limit.

Every array has a row for each derivative and a column for each step, the shortest last; NaN where a step was not taken.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import quiet
from oracle.differences.richardson import NOISE_SAFETY, RATIO, between, most_certain, tableau

__all__ = ["OneSided", "at_shortest_step", "grows_on_one_side", "is_diverging", "one_sided_slopes"]

Array = NDArray[Any]


class OneSided(NamedTuple):
    """The extrapolated slopes of both sides, and whether they differ."""

    suspected: Array
    """They differ by more than their error estimates."""
    confirmed: Array
    """The shortest step that resolves the difference shows most of it: a kink at the point itself."""
    left: Array
    right: Array
    uncertainty: Array


def one_sided_slopes(forward: Array, backward: Array, noise: Array, only_consistent: Array) -> OneSided:
    """The slopes of both sides by Richardson extrapolation, and whether they differ.

    A kink *near* the point looks like one at the point until the steps are shorter than its distance, and so does a bend that
    is sharper than the steps. So a difference is only suspected at first; it is confirmed where the shortest step that
    resolves it shows most of it, which a bend does not: its slopes approach each other like h.
    """
    noise = 2 * noise  # a one-sided difference is divided by half as much
    right, above, _ = most_certain(tableau(forward, noise, RATIO), only_consistent)
    left, below, _ = most_certain(tableau(backward, noise, RATIO), only_consistent)
    jump = right - left
    resolves = np.abs(jump)[:, None] > NOISE_SAFETY * noise
    shortest = resolves.shape[1] - 1 - resolves[:, ::-1].argmax(axis=1)[:, None]
    jump_there = np.take_along_axis(forward - backward, shortest, axis=1)[:, 0]
    suspected = np.abs(jump) > NOISE_SAFETY * (above + below)
    confirmed = suspected & (np.abs(jump_there - jump) < between(0, 1) * np.abs(jump))
    return OneSided(suspected, confirmed, left, right, above + below)


def grows_on_one_side(slopes: Array, noise: Array) -> Array:
    """Whether a one-sided slope goes on growing, like h^(-1/4) or faster, or like log h."""
    last = _last(slopes)
    before = np.take_along_axis(slopes, np.maximum(last - 2, 0), axis=1)[:, 0]
    with quiet():
        factor = np.nan_to_num(np.take_along_axis(slopes, last, axis=1)[:, 0] / before, posinf=0.0, neginf=0.0)
    return np.asarray(np.abs(factor) > between(-0.5, 0) ** 2) | _grows_like_a_logarithm(slopes, noise)


def is_diverging(central: Array, noise: Array) -> Array:
    """Where the central difference goes on growing, at a jump or an infinite slope: like h^(-1/4) or faster, or like log h."""
    last = _last(central)
    a, b, c = (np.abs(np.take_along_axis(central, np.maximum(last - k, 0), axis=1)[:, 0]) for k in (2, 1, 0))
    resolved = c > NOISE_SAFETY * np.take_along_axis(noise, last, axis=1)[:, 0]
    growing = between(-0.5, 0)
    return np.asarray(resolved & (c > growing * b) & (b > growing * a)) | _grows_like_a_logarithm(central, noise)


def _grows_like_a_logarithm(slopes: Array, noise: Array) -> Array:
    """Whether a slope changes by the same amount at every step, as log h does, as far as that exceeds the noise.

    The changes of a slope that has a limit shrink, like h^(1/2) at the slowest.
    """
    change, noise = np.abs(np.diff(slopes, axis=1)), NOISE_SAFETY * noise[:, 1:]

    def at(table: Array, where: Array) -> Array:
        return np.take_along_axis(table, np.clip(where, 0, table.shape[1] - 1), axis=1)[:, 0]

    with quiet():
        resolved = change > noise
        resolved[:, :2] = False
        last = change.shape[1] - 1 - resolved[:, ::-1].argmax(axis=1)[:, None]
        one, two, three = (at(change, last - k) for k in (2, 1, 0))
        shrinking = between(0, 0.5)
        settled = (last[:, 0] < change.shape[1] - 1) & (at(noise, last + 1) < shrinking * three)
        return np.asarray(resolved.any(axis=1) & ~settled & (two > shrinking * one) & (three > shrinking * two))


def at_shortest_step(table: Array) -> Array:
    """Of each row, the entry of the shortest step that was taken."""
    return np.asarray(np.take_along_axis(table, _last(table), axis=1)[:, 0])


def _last(table: Array) -> Array:
    """The column of the shortest step that was taken, as a column of indices."""
    return np.asarray(table.shape[1] - 1 - np.isfinite(table)[:, ::-1].argmax(axis=1)[:, None])
