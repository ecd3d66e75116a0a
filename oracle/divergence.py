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

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.measures import differences, eps_of, largest, relative

__all__ = ["AUTODIFF", "NUMERICAL", "SHADOWS", "Gap", "Record", "allowance"]

Array = NDArray[Any]
Record = dict[str, Array]
"""The parameters and the state after one step, by path: `params.affine1.w`, `state.mu.affine1.w`, `state.count`."""

NUMERICAL, AUTODIFF = 1e-11, 1e-12  # how exact a gradient must be against either witness, of its tensor's largest entry
SHADOWS, SLACK, ROUNDINGS = 4, 4.0, 4


def allowance(slot: str, hand: list[Record], shadows: list[list[Record]]) -> Array:
    """How far this slot may be off after each step."""
    strayed, sizes = np.zeros(len(hand)), np.array([largest(record[slot]) for record in hand])
    if hand[0][slot].dtype.kind != "f":
        return strayed
    for shadow in shadows:
        for step, (ours, theirs) in enumerate(zip(hand, shadow, strict=False)):
            strayed[step] = np.fmax(strayed[step], np.max(differences(ours[slot], theirs[slot]), initial=0.0))
    rounding = ROUNDINGS * eps_of(hand[0][slot].dtype) * np.arange(1, len(hand) + 1) * np.maximum.accumulate(sizes)
    allowed: Array = SLACK * np.maximum.accumulate(strayed) + rounding
    return allowed


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
    def between(cls, slot: str, ours: list[Record], theirs: list[Record], allowance: Array) -> Gap:
        first, error, used, worst, entry, size = None, 0.0, 0.0, 1, None, 0.0
        for step, (one, other, allowed) in enumerate(zip(ours, theirs, allowance, strict=False), start=1):
            gaps = differences(one[slot].astype(np.float64), other[slot].astype(np.float64))
            fraction = relative(gaps, allowed)
            if first is None and fraction > 1:
                first = step
            size = max(size, largest(one[slot], other[slot]))
            error = max(error, relative(gaps, size))
            if entry is None or fraction > used:
                used, worst = fraction, step
                entry = tuple(map(int, np.unravel_index(np.argmax(gaps), gaps.shape))) if gaps.size else None
        return cls(first, error, used, worst, entry)
