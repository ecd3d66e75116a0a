"""Finds where a large argument is wrong, by bisection along its axes.

A large argument is not tested entry by entry: the differences test a sample of its entries, and the slope along a random
direction in each of some blocks. If the slope of a block contradicts the gradient, the bisection evaluates the slopes of both
halves of the indices of one axis and goes on with the wrong halves, then does the same along the next axis. To find one
index takes as many slopes as the axis can be halved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from oracle.arrays import quiet, size_of, vector
from oracle.diagnosis.forward_pass import ForwardPass
from oracle.diagnosis.jacobian import leaves_in
from oracle.diagnosis.matching import LEFT
from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array, at, indices_of_axis, per_unit
from oracle.judging.error_budget import SAFETY, truncation_and_noise
from oracle.measures import fit_scale

__all__ = ["beyond_the_sample", "localized"]

PLACES = 4
"""The largest number of indices of an axis that are named one by one. More are reported as a range; a higher limit costs more
slopes."""
KNOWN = 0.1
"""The relative distance at which the slope of the diagnosis must confirm the error of the verdict's slope. Larger, and a kink
on the way can mislead the bisection; smaller, and small errors are not located."""
HOW = "found by bisection"
SHOWN = 8
"""The number of entries of a place that are tested for a common factor."""
SHORT = 2.0**-17
"""The step of a slope, as a fraction of an element. Here the truncation and rounding of a central difference are of the same
size: a larger step adds truncation, a smaller one adds rounding."""
DEAR = 16
"""The largest price of one evaluation, in evaluations, for a slope of a large argument: its verification has taken thousands
anyway, and at the full price the bisection would end before it finds a place."""


def beyond_the_sample(v: View) -> bool:
    """Whether entries are wrong that were not tested one by one."""
    return v.e.directions.along is not None and not v.whole and bool(_wrong_blocks(v, v.wrong).size)


def localized(v: View) -> Iterator[str]:
    """A large argument is wrong in a few places that its sample has missed."""
    forward = v.context.forward
    if v.e.directions.along is None or forward is None or not beyond_the_sample(v):
        return
    bisection = _Bisection(v, forward)
    index = _wrong_blocks(v, np.zeros_like(v.wrong))
    expected = sum(
        _off(v, block.index, block.value) for block in v.e.directions.along.blocks if np.isin(block.index, index).any()
    )
    off = bisection.off(index)
    if off is None or abs(off - expected) > KNOWN * abs(expected):
        return  # a kink lies on the way, or the error is too small for a single difference
    noise = max(LEFT * abs(off), SAFETY * abs(off - expected))
    places = []
    for axis in range(len(v.shape)):
        found = bisection.along(index, off, axis, noise)
        if found is not None:
            index, off, words = found
            places.append(words)
    if index.size == 1:
        i = int(index[0])
        true = float(v.e.analytic[i] - off / bisection.direction[i])
        unit = v.context.unit
        numbers = f"{v.e.analytic[i] / unit:.10g} instead of {true / unit:.10g}{per_unit(unit)}"
        yield f"a single entry is wrong: {at(v.e, i)} is {numbers} ({HOW})"
    elif places:
        there = bisection.description(index)
        where = f"one place: {v.name} is wrong only at {' and '.join(places)} ({HOW})"
        yield f"{where}; there {there}" if there else where


def _off(v: View, index: Array, slope: float) -> float:
    """The error of the gradient along the direction of these elements, given the true slope."""
    assert v.e.directions.along is not None
    return float(v.e.directions.along.direction[index] @ v.e.analytic[index]) - slope


def _wrong_blocks(v: View, known: Array) -> Array:
    """The elements of all blocks whose slopes are wrong even after the errors of the known entries are subtracted."""
    assert v.e.directions.along is not None
    error, spread = np.zeros(v.e.analytic.size), np.zeros(v.e.analytic.size)
    error[v.index[known]], spread[v.index[known]] = v.error[known], v.tolerance[known]
    blocks = [np.zeros(0, np.intp)]
    for block in v.e.directions.along.blocks:
        direction = v.e.directions.along.direction[block.index]
        off = _off(v, block.index, block.value) - float(direction @ error[block.index])
        allowed = truncation_and_noise(block.uncertainty) + v.e.budget.without_u * float(np.linalg.norm(direction))
        if abs(off) > allowed + float(np.abs(direction) @ spread[block.index]):
            blocks.append(block.index)
    return np.concatenate(blocks)


@dataclass
class _Bisection:
    """The errors of the gradient along parts of the random direction of one argument."""

    view: View
    forward: ForwardPass

    @property
    def direction(self) -> Array:
        assert self.view.e.directions.along is not None
        return self.view.e.directions.along.direction

    def off(self, index: Array) -> float | None:
        """The error of the gradient along the direction of these elements; None where no slope can be evaluated."""
        found = _slope(self.forward, index, self.direction[index])
        if found is None:
            return None
        slope, taken = found
        return float(taken @ self.view.e.analytic[index]) - slope

    def along(self, index: Array, off: float, axis: int, noise: float) -> tuple[Array, float, str] | None:
        """The elements at the wrong indices of an axis, their error along the direction, and the name of these indices.

        None if more than half of the indices are wrong, or a slope cannot be evaluated.
        """
        n = self.view.shape[axis]
        place = np.unravel_index(index, self.view.shape)[axis]
        parts = [(np.unique(place), off)]
        while any(len(part) > 1 for part, _ in parts) and len(parts) <= PLACES:
            halves = []
            for part, whole in parts:
                if len(part) == 1:
                    halves.append((part, whole))
                    continue
                low, high = np.array_split(part, 2)
                lower = self.off(index[np.isin(place, low)])
                if lower is None:
                    return None
                halves += [(half, rest) for half, rest in ((low, lower), (high, whole - lower)) if abs(rest) > noise]
            parts = halves
        if not parts:
            return None
        wrong = np.concatenate([part for part, _ in parts])
        if 2 * wrong.size > n > 1:
            return None  # more than half of the axis is wrong
        name = (
            indices_of_axis(wrong, axis) if len(parts) <= PLACES else f"indices {wrong.min()} to {wrong.max()} of axis {axis}"
        )
        return index[np.isin(place, wrong)], float(sum(rest for _, rest in parts)), name

    def description(self, index: Array) -> str:
        """`it is zero`, or `it is 2 times the true one`, according to a few of these entries; empty if neither."""
        few = index[np.unique(np.linspace(0, index.size - 1, SHOWN).astype(np.intp))]
        offs = [self.off(np.array([i])) for i in few]
        known = [(i, off / self.direction[i]) for i, off in zip(few, offs, strict=True) if off is not None]
        if len(known) < min(len(few), SHOWN // 2):
            return ""
        ours = self.view.e.analytic[[i for i, _ in known]]
        truth = ours - np.array([error for _, error in known])
        if not ours.any():
            return "it is zero"
        fit = fit_scale(ours, truth)
        left = np.inf if fit is None else np.linalg.norm(ours - fit.scale * truth)
        return f"it is {fit.scale:.6g} times the true one" if fit and left <= LEFT * np.linalg.norm(ours - truth) else ""


def _slope(forward: ForwardPass, index: Array, direction: Array) -> tuple[float, Array] | None:
    """The slope of the contracted value along a direction in these elements alone, by a central difference.

    Also returns the direction that was really taken, since x + h is rounded. None outside the domain, or when the budget
    is spent.
    """
    if not forward.share.pay(2 * min(forward.cost, DEAR)):
        return None
    call = forward.call
    leaves, structure = leaves_in(call.primals)
    x = leaves[forward.leaf].ravel()[index]
    far = SHORT / float(np.linalg.norm(direction / np.maximum(np.abs(x), size_of(leaves[forward.leaf]))))
    h = float(2.0 ** np.round(np.log2(far)))

    def moved(by: float) -> tuple[Array, Array]:
        copies = [np.array(leaf) for leaf in leaves]
        copies[forward.leaf].reshape(-1)[index] = x + by * direction
        value = vector(call.function(*structure.unflatten(copies), **call.options))
        return value.copy(), copies[forward.leaf].reshape(-1)[index]

    with quiet():
        try:
            (above, ahead), (below, behind) = moved(h), moved(-h)
            slope = float(call.cotangent @ (above - below)) / (2 * h)
            return (slope, (ahead - behind) / (2 * h)) if np.isfinite(slope) else None
        except Exception:  # outside the domain
            return None
