"""Differences of many elements of one argument at a time, read off group by group (`grouping`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import quiet
from oracle.at_size.grouping import Reading, rounds
from oracle.differences.evaluation import Difference, Evaluator
from oracle.differences.partials import DROWNED, SMALL, Estimate, better, estimated
from oracle.differences.richardson import RATIO
from oracle.differences.stepsize import FIRST_STEP, FULL_SWEEP, StepControl, lengths, rounded
from oracle.judging.evidence import Swept

__all__ = ["again", "entries", "joined", "located", "signs", "sweep"]

Array = NDArray[Any]

STRAIGHT = 4.0  # times as much as a smooth function bends over a step, told by the other steps
NOISY = 8.0  # times the noise of a slope: less than that is no bend
ROUNDS = 8  # displacements, at most, in which entries are seen that move the same outputs


EMPTY: dict[str, Array] = {
    "index": np.zeros(0, np.intp),
    **{name: np.zeros(0) for name in ("value", "uncertainty", "left", "right", "slope_uncertainty", "step")},
    **{name: np.zeros(0, bool) for name in ("kink", "frozen")},
}
"""Of no elements."""


class _Grouped(StepControl):
    """Differences of which all are taken at once, each read off from its own outputs."""

    def __init__(self, evaluator: Evaluator, leaf: int, reading: Reading, steps: Array, sizes: Array) -> None:
        super().__init__(_one_by_one, steps, sizes)
        self.evaluator, self.leaf, self.reading = evaluator, leaf, reading


def _one_by_one(i: int, h: float) -> Difference:
    raise NotImplementedError  # all are displaced at once


class _Entries(_Grouped):
    """The differences of entries that move different outputs."""

    def __init__(self, evaluator: Evaluator, leaf: int, reading: Reading, index: Array, steps: Array, sizes: Array) -> None:
        super().__init__(evaluator, leaf, reading, steps, sizes)
        self.index, self.keys = index, reading.keys_of(index)

    def _differences(self, index: Array, h: Array) -> Difference:
        keys = self.keys[index]
        return self.evaluator.readings(self.leaf, self.index[index], h, lambda a: self.reading.by_key(a)[keys], alone=True)


class _Directions(_Grouped):
    """The differences along one direction of many entries, for each group of outputs."""

    def __init__(self, evaluator: Evaluator, leaf: int, reading: Reading, direction: Array) -> None:
        steps = FIRST_STEP * lengths(leaf, np.arange(reading.groups))
        super().__init__(evaluator, leaf, reading, steps, np.ones(reading.groups))
        self.direction = direction.reshape(reading.shape)
        self.bends: list[Array] = []
        with quiet():
            share = np.where(direction == 0, 0.0, evaluator.origin[leaf].reshape(-1) / direction)
        # x + h d is rounded to the grid of x, element by element: so far is the direction really taken from d.
        self.off = 4 * 2.0**-53 * np.sqrt(reading.of_entries(share**2) * reading.groups / max(share.size, 1))

    def _take_step(self, alive: Array) -> None:
        super()._take_step(alive)
        bends = np.full(self.count, np.nan)
        bends[alive] = self.bend[alive]
        self.bends.append(bends)

    def kinks(self) -> Array:
        """How much the outputs of each group bend over some shorter step, beyond what a smooth function would there.

        The slopes of two sides that differ in one entry of many differ by too little of the whole to be called a kink. What
        bends by less than the noise of the second step may be one, too, unless not even the first step shows that much.
        """
        bends, noise = self.table(self.bends), self.table(self.noise)
        powers = RATIO ** np.arange(bends.shape[1])
        curved = np.where(np.isfinite(bends), bends * powers, np.inf)  # the same at every step where it is smooth
        least, second = np.sort(curved, axis=1)[:, :2].T[..., None]
        smooth = STRAIGHT * np.where(curved == least, second, least) / powers + NOISY * noise
        unseen = np.fmin(bends[:, 0], NOISY * noise[:, 1])
        return np.asarray(np.fmax(np.where(bends > smooth, bends, 0.0).max(axis=1), unseen))

    def _differences(self, index: Array, h: Array) -> Difference:
        steps = np.zeros(self.reading.groups)
        steps[index] = h
        moves = (self.reading.spread(steps) * self.direction).reshape(-1)
        taken = self.evaluator.readings(self.leaf, slice(None), moves, self.reading.by_group, alone=False)
        taken = Difference(*(np.asarray(part)[index] for part in taken))
        return taken._replace(growth=taken.growth + np.abs(taken.both) * self.off[index] / h)


def entries(evaluator: Evaluator, leaf: int, reading: Reading, index: Array, size: float) -> Estimate:
    """The derivative with respect to these elements, in few displacements; those of too many displacements are left out."""
    x = evaluator.origin[leaf].reshape(-1)
    parts = []
    for number, some in enumerate(rounds(reading, index)):
        if number == ROUNDS:
            break
        sizes = np.abs(x[some])
        steps = rounded(FIRST_STEP * np.maximum(sizes, size) * lengths(leaf, some))
        with quiet():
            frozen = (x[some] + steps) - (x[some] - steps) == 0
        estimate = estimated(_Entries(evaluator, leaf, reading, some, steps, sizes), some, frozen)
        # Steps of the argument's size are too long for what happens at a tiny element.
        drowned = (estimate.value != 0) & ~(estimate.uncertainty <= DROWNED * np.abs(estimate.value))
        own = np.flatnonzero(drowned & (sizes > 0) & (sizes < SMALL * size))
        if own.size:
            shorter = _Entries(evaluator, leaf, reading, some[own], rounded(FIRST_STEP * sizes[own]), sizes[own])
            estimate = better(estimate, estimated(shorter, some[own], frozen[own]), own)
        parts.append(estimate)
    return joined(parts)


def again(evaluator: Evaluator, leaf: int, reading: Reading, index: Array, size: float) -> Estimate:
    """The same with all steps from long to short, for elements about which something is in doubt."""
    x = evaluator.origin[leaf].reshape(-1)
    some = next(rounds(reading, index))
    sizes = np.where(x[some] == 0, size, np.abs(x[some]))
    steps = rounded(FULL_SWEEP[0] * FIRST_STEP * np.maximum(sizes, size) * lengths(leaf, some))
    control = _Entries(evaluator, leaf, reading, some, steps, sizes)
    return estimated(control, some, np.zeros(some.size, bool), x[some] == 0)


def joined(parts: list[Estimate]) -> Estimate:
    """Several estimates as one, in the order of their elements."""
    most = max((part.differences.shape[1] for part in parts), default=0)
    tables = [np.pad(p.differences, ((0, 0), (0, most - p.differences.shape[1])), constant_values=np.nan) for p in parts]
    order = np.argsort(np.concatenate([EMPTY["index"], *(part.index for part in parts)]))
    fields = {name: np.concatenate([none, *(getattr(part, name) for part in parts)])[order] for name, none in EMPTY.items()}
    return Estimate(**fields, differences=np.concatenate([np.zeros((0, most)), *tables])[order])


def signs(x: Array, size: float, seed: int, reading: Reading) -> Array:
    """A random sign for each entry, times a power of two of about its size, over the root of how many a group has."""
    generator = np.random.default_rng([seed, x.size])
    direction = np.maximum(np.abs(x), size)
    direction /= np.sqrt(max(x.size / reading.groups, 1))
    np.exp2(np.round(np.log2(direction, out=direction), out=direction), out=direction)
    return np.negative(direction, out=direction, where=generator.integers(0, 2, x.size, dtype=np.uint8).view(np.bool_))


def sweep(evaluator: Evaluator, leaf: int, reading: Reading, contribution: Array, direction: Array, *, usual: bool) -> Swept:
    """The slopes along a direction, one for each group of outputs, beside those that `contribution`, the gradient, says."""
    control = _Directions(evaluator, leaf, reading, direction)
    value, uncertainty = control.run()
    with quiet():
        blind = np.asarray(control.jumps().suspected | control.kinked | ~np.isfinite(uncertainty))
        kinks = np.where(blind, control.bend, control.kinks())
    moving = np.abs(direction[direction != 0])
    return Swept(
        ours=reading.of_entries(contribution * direction),
        value=value,
        # Across kinks a slope is the mean of both sides', and a gradient's may be any other between them.
        uncertainty=np.nan_to_num(uncertainty + kinks, nan=np.inf),
        norm=np.sqrt(reading.of_entries(direction**2)),
        least=float(moving.min(initial=np.inf)),
        blind=blind,
        usual=usual,
    )


def located(evaluator: Evaluator, leaf: int, reading: Reading, contribution: Array, direction: Array, groups: Array) -> Array:
    """One entry in each of these groups, by halving: of two halves the one along which the gradient is further off."""
    place = np.arange(contribution.size).reshape(reading.shape)
    number = np.broadcast_to(reading.spread(np.arange(reading.groups, dtype=float)), reading.shape)
    left = {int(g): place[number == g] for g in groups}
    while any(index.size > 1 for index in left.values()):
        halves = {g: np.array_split(index, 2) for g, index in left.items()}
        some = np.zeros(direction.size)
        for low, high in halves.values():
            some[low if high.size else high] = direction[low if high.size else high]
        whole = np.zeros(direction.size)
        for index in left.values():
            whole[index] = direction[index]
        off, rest = (_off(evaluator, leaf, reading, contribution, d) for d in (some, whole - some))
        left = {g: low if not high.size or off[g] >= rest[g] else high for g, (low, high) in halves.items()}
    return np.concatenate(list(left.values()))


def _off(evaluator: Evaluator, leaf: int, reading: Reading, contribution: Array, direction: Array) -> Array:
    """How far the gradient is from the slope of each group."""
    value, _ = _Directions(evaluator, leaf, reading, direction).run()
    return np.nan_to_num(np.abs(reading.of_entries(contribution * direction) - value))
