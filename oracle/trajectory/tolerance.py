"""Where two runs of an optimizer part.

How far apart is too far? Each step adds an error of its own, and the dynamics carry on, and may amplify, those of all steps
before: no fixed number is right. What *is* fixed is how exact a gradient must be everywhere in this project: 1e-11 of its
tensor's largest entry against central differences, 1e-12 against JAX (the largest so far: at a minimum, where the gradient
vanishes, the terms that cancel there have not become smaller). So four *shadows* of our run suffer exactly that: at every
step the gradient is off by this much in every entry, and the update by this fraction of itself. The signs are random; two
shadows keep theirs, since a persistent error grows faster than noise where the dynamics are steady, and two draw new ones at
each step, since where they swing to and fro a persistent error cancels and noise grows. At each step a slot may be off by
four times as much as the shadows have been (their signs are not the worst ones), and by four roundings a step. Real errors of
a right gradient are about 1e-13 and 1e-16, so a right optimizer uses a few percent of this. Integers must be equal.

The shadows also know what a formula for the allowance would have to. Adam's first step is g / (|g| + eps), whose slope is
eps / (|g| + eps)^2: a gradient much larger than eps may be off without effect, but one that is zero up to rounding
becomes a step of any size up to the learning rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.measures import differences, eps_of, fit_scale, largest, relative

__all__ = [
    "AUTODIFF",
    "ENSEMBLE",
    "NUMERICAL",
    "Distance",
    "Gap",
    "Record",
    "errors",
    "factor",
    "fractions",
    "multiple",
    "tolerance",
    "tolerance_of",
]

Array = NDArray[Any]
Record = dict[str, Array]
"""The parameters and the state after one step, by path: `params.affine1.w`, `state.mu.affine1.w`, `state.count`."""

NUMERICAL, AUTODIFF = 1e-11, 1e-12  # how exact a gradient must be against either witness, of its tensor's largest entry
ENSEMBLE, SLACK, ROUNDINGS = 4, 4.0, 4


def tolerance(slot: str, hand: list[Record], ensemble: list[list[Record]]) -> Array:
    """How far this slot may be off after each step."""
    strayed = np.zeros(len(hand))
    for member in ensemble:  # all steps at once
        steps = min(len(hand), len(member))
        ours, theirs = (np.stack([record[slot] for record in run[:steps]]) for run in (hand, member))
        gaps = differences(ours.astype(np.float64, copy=False), theirs.astype(np.float64, copy=False))
        strayed[:steps] = np.fmax(strayed[:steps], gaps.reshape(steps, -1).max(axis=1, initial=0.0))
    return tolerance_of(strayed, [largest(record[slot]) for record in hand], hand[0][slot].dtype)


def tolerance_of(strayed: Sequence[float] | Array, sizes: Sequence[float], dtype: np.dtype[Any]) -> Array:
    """The same from how far the shadows have been off after each step, and the slot's largest entry there."""
    if dtype.kind != "f":
        return np.zeros(len(sizes))
    rounding = ROUNDINGS * eps_of(dtype) * np.arange(1, len(sizes) + 1) * np.maximum.accumulate(sizes)
    both: Array = SLACK * np.maximum.accumulate(strayed) + rounding
    return both


class Distance(NamedTuple):
    """How far two runs are apart in one slot after one step."""

    gap: float
    """The largest difference; NaN where it cannot be said."""
    size: float
    """The largest entry of both."""
    entry: tuple[int, ...] | None
    """Where the difference is largest; None in a slot without entries."""

    @classmethod
    def between(cls, ours: Array, theirs: Array) -> Distance:
        gaps = differences(ours.astype(np.float64, copy=False), theirs.astype(np.float64, copy=False))
        if not gaps.size:
            return cls(0.0, 0.0, None)
        entry = np.unravel_index(np.argmax(gaps), gaps.shape)
        return cls(float(gaps[entry]), largest(ours, theirs), tuple(map(int, entry)))


class Gap(NamedTuple):
    """The distance of two runs in one slot."""

    first: int | None
    """The first step at which it is more than allowed."""
    error: float
    """The largest, relative to the slot's largest entry so far: a velocity that dies away keeps no more digits."""
    used: float
    """The largest, as a fraction of what is allowed at that step."""
    step: int
    """Where the most is used."""
    entry: tuple[int, ...] | None
    """And in which entry of the slot."""

    @classmethod
    def between(cls, slot: str, ours: list[Record], theirs: list[Record], tolerance: Array) -> Gap:
        return cls.of([Distance.between(one[slot], other[slot]) for one, other in zip(ours, theirs, strict=False)], tolerance)

    @classmethod
    def of(cls, distances: Sequence[Distance], tolerance: Array) -> Gap:
        used = fractions(distances, tolerance)
        worst = used.index(max(used))
        first = next((step for step, fraction in enumerate(used, start=1) if fraction > 1), None)
        return cls(first, max(errors(distances)), used[worst], worst + 1, distances[worst].entry)


def errors(distances: Sequence[Distance]) -> list[float]:
    """Each relative to the slot's largest entry so far."""
    sizes = accumulate((distance.size for distance in distances), max)
    return [_share(distance.gap, size) for distance, size in zip(distances, sizes, strict=True)]


def fractions(distances: Sequence[Distance], tolerance: Array) -> list[float]:
    """Each as a fraction of what is allowed at its step."""
    return [_share(distance.gap, float(most)) for distance, most in zip(distances, tolerance, strict=False)]


def _share(gap: float, whole: float) -> float:
    return relative(np.array(gap), whole)


def factor(slot: str, ours: Sequence[Record], theirs: Sequence[Record], whose: str) -> str:
    """By which factor a slot is off, or a parameter's change, from the records before and after a step; empty if by none."""
    (before, one), (other_before, other) = ([record[slot].astype(np.float64) for record in run] for run in (ours, theirs))
    what = "which"
    if slot.startswith("params."):
        one, other, what = one - before, other - other_before, "whose change"
    scale = multiple(one, other)
    return "" if scale is None else f", {what} is {scale:.10g} times {whose}"


def multiple(one: Array, other: Array) -> float | None:
    """The number by which `other` must be multiplied to give `one`, if that explains how they differ."""
    fit = fit_scale(one, other)
    if fit is None or one.size < 2 or np.sum((one - fit.scale * other) ** 2) > 1e-4 * np.sum((one - other) ** 2):
        return None
    return fit.scale
