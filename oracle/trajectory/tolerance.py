"""The ensemble tolerance: how far two runs of an optimizer may differ, and the step at which they depart.

No fixed tolerance is right, because each step adds a rounding error, and the dynamics carry the errors of all earlier steps on
and may amplify them. But the exactness of a gradient is fixed in this project: 1e-11 of the largest entry of its tensor
against central differences, and 1e-12 against JAX. (The largest entry so far counts: at a minimum the gradient vanishes, but
the terms that cancel there keep their rounding.)

So an ensemble of four disturbed copies of our run gets exactly this error: at every step each entry of the gradient changes
by that amount, and each update by that fraction of itself, with random signs. Two copies keep their signs, because a
persistent error grows faster than noise if the dynamics are steady. Two draw new signs at each step, because a persistent
error cancels and noise grows if the dynamics oscillate. At each step a slot may differ by four times the largest deviation in
the ensemble so far (its signs are not the worst ones), and by four roundings for each step. The real errors of a right
gradient are about 1e-13 and 1e-16, so a right optimizer uses a few percent of the tolerance. Integers must be equal.

The ensemble also includes effects that a formula would have to model. For example, Adam's first step is g / (|g| + eps), with
the slope eps / (|g| + eps)^2: the error of a gradient much larger than eps has no effect, but a gradient that is zero up to
rounding becomes a step of any size up to the learning rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.measures import distance, eps_of, fit_scale, largest, relative

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

NUMERICAL, AUTODIFF = 1e-11, 1e-12
"""The exactness that a gradient must have against central differences and against JAX, as a fraction of its largest entry.
Larger, and wrong gradients pass; smaller, and the truncation of the differences fails right ones."""
ENSEMBLE = 4
"""The number of disturbed runs. With fewer, the random signs may all be harmless ones; each more costs a whole run."""
SLACK = 4.0
"""The tolerance in units of the largest deviation in the ensemble. Smaller, and right runs fail, because the signs of the
ensemble are not the worst ones; larger, and small errors of an optimizer pass."""
ROUNDINGS = 4
"""The tolerance for each step in roundings of the slot's largest entry. Smaller, and right runs fail; larger, and small errors
pass."""


def tolerance(slot: str, hand: list[Record], ensemble: list[list[Record]]) -> Array:
    """The tolerance of this slot after each step."""
    strayed = np.zeros(len(hand))
    for member in ensemble:  # one array operation for all steps
        steps = min(len(hand), len(member))
        ours, theirs = (np.stack([record[slot] for record in run[:steps]]) for run in (hand, member))
        gaps = distance(ours.astype(np.float64, copy=False), theirs.astype(np.float64, copy=False))
        strayed[:steps] = np.fmax(strayed[:steps], gaps.reshape(steps, -1).max(axis=1, initial=0.0))
    return tolerance_of(strayed, [largest(record[slot]) for record in hand], hand[0][slot].dtype)


def tolerance_of(strayed: Sequence[float] | Array, sizes: Sequence[float], dtype: np.dtype[Any]) -> Array:
    """The tolerance at each step, from the largest deviation in the ensemble and the slot's largest entry at each step."""
    if dtype.kind != "f":
        return np.zeros(len(sizes))
    rounding = ROUNDINGS * eps_of(dtype) * np.arange(1, len(sizes) + 1) * np.maximum.accumulate(sizes)
    both: Array = SLACK * np.maximum.accumulate(strayed) + rounding
    return both


class Distance(NamedTuple):
    """The distance of two runs in one slot after one step."""

    gap: float
    """The largest difference; NaN if an entry is NaN."""
    size: float
    """The largest entry of both."""
    entry: tuple[int, ...] | None
    """The index of the largest difference; None for a slot without entries."""

    @classmethod
    def between(cls, ours: Array, theirs: Array) -> Distance:
        gaps = distance(ours.astype(np.float64, copy=False), theirs.astype(np.float64, copy=False))
        if not gaps.size:
            return cls(0.0, 0.0, None)
        entry = np.unravel_index(np.argmax(gaps), gaps.shape)
        return cls(float(gaps[entry]), largest(ours, theirs), tuple(map(int, entry)))

    @classmethod
    def at_each(cls, ours: Sequence[Array], theirs: Sequence[Array]) -> list[Distance]:
        """The same at each step, from one array operation for all steps."""
        one, other = (np.stack([step.astype(np.float64, copy=False) for step in run]) for run in (ours, theirs))
        shape, gaps = one.shape[1:], distance(one, other).reshape(len(one), -1)
        if not gaps.size:
            return [cls(0.0, 0.0, None) for _ in ours]
        sizes = np.fmax(*(np.abs(np.where(np.isfinite(run), run, 0.0)).reshape(gaps.shape).max(axis=1) for run in (one, other)))
        worst = gaps.argmax(axis=1)
        return [
            cls(float(gap[entry]), size, tuple(map(int, np.unravel_index(entry, shape))))
            for gap, size, entry in zip(gaps, sizes.tolist(), worst.tolist(), strict=True)
        ]


class Gap(NamedTuple):
    """The distance of two runs in one slot over all steps."""

    first: int | None
    """The first step at which the distance exceeds the tolerance; None if it never does."""
    error: float
    """The largest distance relative to the slot's largest entry so far, because a velocity that decays keeps its rounding."""
    used: float
    """The largest distance as a fraction of the tolerance at its step."""
    step: int
    """The step of `used`."""
    entry: tuple[int, ...] | None
    """The index of the largest difference at that step."""

    @classmethod
    def between(cls, slot: str, ours: list[Record], theirs: list[Record], tolerance: Array) -> Gap:
        steps = min(len(ours), len(theirs))
        return cls.of(Distance.at_each(*([record[slot] for record in run[:steps]] for run in (ours, theirs))), tolerance)

    @classmethod
    def of(cls, distances: Sequence[Distance], tolerance: Array) -> Gap:
        used = fractions(distances, tolerance)
        worst = used.index(max(used))
        first = next((step for step, fraction in enumerate(used, start=1) if fraction > 1), None)
        return cls(first, max(errors(distances)), used[worst], worst + 1, distances[worst].entry)


def errors(distances: Sequence[Distance]) -> list[float]:
    """Each distance relative to the slot's largest entry so far."""
    sizes = accumulate((distance.size for distance in distances), max)
    return [_share(distance.gap, size) for distance, size in zip(distances, sizes, strict=True)]


def fractions(distances: Sequence[Distance], tolerance: Array) -> list[float]:
    """Each distance as a fraction of the tolerance at its step."""
    return [_share(distance.gap, float(most)) for distance, most in zip(distances, tolerance, strict=False)]


def _share(gap: float, whole: float) -> float:
    return relative(np.array(gap), whole)


def factor(slot: str, ours: Sequence[Record], theirs: Sequence[Record], whose: str) -> str:
    """`, which is 2 times the reference's`, if a slot or the change of a parameter differs by a factor; else empty.

    `ours` and `theirs` are the records before and after one step.
    """
    (before, one), (other_before, other) = ([record[slot].astype(np.float64) for record in run] for run in (ours, theirs))
    what = "which"
    if slot.startswith("params."):
        one, other, what = one - before, other - other_before, "whose change"
    scale = multiple(one, other)
    return "" if scale is None else f", {what} is {scale:.10g} times {whose}"


def multiple(one: Array, other: Array) -> float | None:
    """The number by which `other` must be multiplied to give `one`; None if a factor does not explain their difference."""
    fit = fit_scale(one, other)
    if fit is None or one.size < 2 or np.sum((one - fit.scale * other) ** 2) > 1e-4 * np.sum((one - other) ** 2):
        return None
    return fit.scale
