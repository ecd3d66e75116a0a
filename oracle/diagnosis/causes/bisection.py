"""Where a large argument is wrong: directions that contradict its gradient are halved until few of its elements are left.

Of an argument too large to be seen entry by entry the witnesses know a sample, and the slope along a direction in each of
some blocks. Both halves of the indices of one axis, then of the next, are asked for their slopes, as far as they are wrong:
one index is found by as many questions as its axis can be halved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from oracle.diagnosis.forward_pass import ForwardPass
from oracle.diagnosis.view import LEFT, View
from oracle.diagnosis.words import Array, at, counted
from oracle.judging.error_budget import SAFETY, truncation_and_noise
from oracle.measures import fit_scale

__all__ = ["beyond_the_sample", "localized"]

PLACES = 4  # indices of an axis that are told apart; more are a range, or no place at all
KNOWN = 0.1  # of what is wrong along a direction: plain differences must see it as well as that
HOW = "found by halving the directions that contradict the gradient"
SHOWN = 8  # entries of a place by which it is told what they are


def beyond_the_sample(v: View) -> bool:
    """Whether more is wrong than the entries that were seen one by one."""
    return v.e.directions.along is not None and not v.whole and bool(_wrong_blocks(v, v.wrong).size)


def localized(v: View) -> Iterator[str]:
    """Wrong at few places of a large argument, which its sample has missed."""
    forward = v.context.forward
    if v.e.directions.along is None or forward is None or not beyond_the_sample(v):
        return
    halving = _Halving(v, forward)
    index = _wrong_blocks(v, np.zeros_like(v.wrong))
    promised = sum(
        _off(v, block.index, block.value) for block in v.e.directions.along.blocks if np.isin(block.index, index).any()
    )
    off = halving.off(index)
    if off is None or abs(off - promised) > KNOWN * abs(promised):
        return  # a kink on the way, or too small for plain differences
    noise = max(LEFT * abs(off), SAFETY * abs(off - promised))
    said = []
    for axis in range(len(v.shape)):
        found = halving.along(index, off, axis, noise)
        if found is not None:
            index, off, words = found
            said.append(words)
    if index.size == 1:
        i = int(index[0])
        true = float(v.e.analytic[i] - off / halving.direction[i])
        numbers = f"{v.e.analytic[i] / v.unit:.10g} instead of {true / v.unit:.10g}{v.per_unit}"
        yield f"a single entry is wrong: {at(v.e, i)} is {numbers} ({HOW})"
    elif said:
        there = halving.what(index)
        where = f"one place: {v.name} is wrong only at {' and '.join(said)} ({HOW})"
        yield f"{where}: there {there}" if there else where


def _off(v: View, index: Array, slope: float) -> float:
    """How far the gradient is from a slope along the direction of these elements."""
    assert v.e.directions.along is not None
    return float(v.e.directions.along.direction[index] @ v.e.analytic[index]) - slope


def _wrong_blocks(v: View, known: Array) -> Array:
    """The elements of all blocks that are more wrong than the entries that are known to be."""
    assert v.e.directions.along is not None
    error, spread = np.zeros(v.e.analytic.size), np.zeros(v.e.analytic.size)
    error[v.index[known]], spread[v.index[known]] = v.error[known], v.tolerance[known]
    blocks = [np.zeros(0, np.intp)]
    for block in v.e.directions.along.blocks:
        direction = v.e.directions.along.direction[block.index]
        off = _off(v, block.index, block.value) - float(direction @ error[block.index])
        allowed = truncation_and_noise(block.uncertainty) + v.e.budget.entry * float(np.linalg.norm(direction))
        if abs(off) > allowed + float(np.abs(direction) @ spread[block.index]):
            blocks.append(block.index)
    return np.concatenate(blocks)


@dataclass
class _Halving:
    """Slopes along parts of the direction of one argument."""

    view: View
    forward: ForwardPass

    @property
    def direction(self) -> Array:
        assert self.view.e.directions.along is not None
        return self.view.e.directions.along.direction

    def off(self, index: Array) -> float | None:
        """How far the gradient is from the slope along these elements."""
        found = self.forward.slope(index, self.direction[index])
        if found is None:
            return None
        slope, taken = found
        return float(taken @ self.view.e.analytic[index]) - slope

    def along(self, index: Array, off: float, axis: int, noise: float) -> tuple[Array, float, str] | None:
        """The elements at those indices of an axis that are wrong, how far they are off, and where that is."""
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
            return None  # no place
        of_axis = f" of axis {axis}" if len(self.view.shape) > 1 else ""
        indices = counted(wrong) if len(parts) <= PLACES else f"{wrong.min()} to {wrong.max()}"
        return index[np.isin(place, wrong)], float(sum(rest for _, rest in parts)), f"{indices}{of_axis}"

    def what(self, index: Array) -> str:
        """What the entries are there, by a few of them: zero, or a multiple of the true ones; empty if nothing simple."""
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
