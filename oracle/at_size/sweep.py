"""Differences of many elements of one argument at a time, separated by the groups of outputs that they change (`grouping`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import quiet
from oracle.at_size.grouping import ATTEMPTS, Reading, rounds
from oracle.differences.directional import rounding_of_direction
from oracle.differences.evaluation import Difference, Evaluator
from oracle.differences.one_sided import at_shortest_step
from oracle.differences.partials import Estimate, better, estimate_of, is_tiny, is_unresolved
from oracle.differences.richardson import FIRST_STEP, NOISE_SAFETY, RATIO
from oracle.differences.stepsize import lengths, rounded, shrink_steps, sweep_steps
from oracle.differences.table import DifferenceTable
from oracle.differences.thresholds import UNRESOLVED
from oracle.judging.evidence import Swept

__all__ = ["again", "entries", "joined", "located", "signs", "sweep"]

Array = NDArray[Any]

EMPTY: dict[str, Array] = {
    "index": np.zeros(0, np.intp),
    **{name: np.zeros(0) for name in ("value", "uncertainty", "left", "right", "slope_uncertainty", "step")},
    **{name: np.zeros(0, bool) for name in ("kink", "frozen")},
}
"""The fields of an estimate of no elements."""


def _table_of_entries(
    evaluator: Evaluator, leaf: int, reading: Reading, index: Array, steps: Array, sizes: Array
) -> DifferenceTable:
    """The differences of entries that change different outputs, all displaced at once."""
    keys = reading.keys_of(index)

    def sample(rows: Array, h: Array) -> Difference:
        some = keys[rows]
        return evaluator.differences_by_part(leaf, index[rows], h, lambda a: reading.by_key(a)[some], one_each=True)

    return DifferenceTable(sample, steps, sizes)


def _table_along(evaluator: Evaluator, leaf: int, reading: Reading, direction: Array) -> DifferenceTable:
    """The differences along one direction of many entries, one row for each group of outputs."""
    shaped = direction.reshape(reading.shape)
    with quiet():
        share = np.where(direction == 0, 0.0, evaluator.origin[leaf].reshape(-1) / direction)
    off = rounding_of_direction(reading.of_entries(share**2) * reading.groups / max(share.size, 1))

    def sample(rows: Array, h: Array) -> Difference:
        steps = np.zeros(reading.groups)
        steps[rows] = h
        displacement = (reading.spread(steps) * shaped).reshape(-1)
        taken = evaluator.differences_by_part(leaf, slice(None), displacement, reading.by_group, one_each=False)
        taken = Difference(*(np.asarray(part)[rows] for part in taken))
        return taken._replace(growth=taken.growth + np.abs(taken.both) * off[rows] / h)

    return DifferenceTable(sample, FIRST_STEP * lengths(leaf, np.arange(reading.groups)), np.ones(reading.groups))


def entries(evaluator: Evaluator, leaf: int, reading: Reading, index: Array, size: float, attempts: int = ATTEMPTS) -> Estimate:
    """The derivatives with respect to these elements in a limited number of displacements; the others are left out."""
    x = evaluator.origin[leaf].reshape(-1)
    parts = []
    for number, some in enumerate(rounds(reading, index)):
        if number == attempts:
            break
        sizes = np.abs(x[some])
        steps = rounded(FIRST_STEP * np.maximum(sizes, size) * lengths(leaf, some))
        with quiet():
            frozen = (x[some] + steps) - (x[some] - steps) == 0
        estimate = estimate_of(_table_of_entries(evaluator, leaf, reading, some, steps, sizes), some, frozen)
        # Steps of the argument's size are too long for the scale of a function at a tiny element.
        tiny = np.flatnonzero(is_unresolved(estimate) & is_tiny(sizes, size))
        if tiny.size:
            steps = rounded(FIRST_STEP * sizes[tiny])
            table = _table_of_entries(evaluator, leaf, reading, some[tiny], steps, sizes[tiny])
            estimate = better(estimate, estimate_of(table, some[tiny], frozen[tiny]), tiny)
        parts.append(estimate)
    return joined(parts)


def again(evaluator: Evaluator, leaf: int, reading: Reading, index: Array, size: float) -> Estimate:
    """The same by a full sweep, for elements that are in doubt."""
    x = evaluator.origin[leaf].reshape(-1)
    some = next(rounds(reading, index))
    sizes = np.where(x[some] == 0, size, np.abs(x[some]))
    steps = sweep_steps(FIRST_STEP * np.maximum(sizes, size) * lengths(leaf, some))
    table = _table_of_entries(evaluator, leaf, reading, some, steps, sizes)
    return estimate_of(table, some, np.zeros(some.size, bool), x[some] == 0)


def joined(parts: list[Estimate]) -> Estimate:
    """Several estimates as one, in the order of their elements."""
    most = max((part.differences.shape[1] for part in parts), default=0)
    tables = [np.pad(p.differences, ((0, 0), (0, most - p.differences.shape[1])), constant_values=np.nan) for p in parts]
    order = np.argsort(np.concatenate([EMPTY["index"], *(part.index for part in parts)]))
    fields = {name: np.concatenate([none, *(getattr(part, name) for part in parts)])[order] for name, none in EMPTY.items()}
    return Estimate(**fields, differences=np.concatenate([np.zeros((0, most)), *tables])[order])


def signs(x: Array, size: float, seed: int, reading: Reading) -> Array:
    """A direction: for each entry a random sign times a power of two near its size, over the root of the entries of a group."""
    generator = np.random.default_rng([seed, x.size])
    direction = np.maximum(np.abs(x), size)
    direction /= np.sqrt(max(x.size / reading.groups, 1))
    np.exp2(np.round(np.log2(direction, out=direction), out=direction), out=direction)
    return np.negative(direction, out=direction, where=generator.integers(0, 2, x.size, dtype=np.uint8).view(np.bool_))


def sweep(evaluator: Evaluator, leaf: int, reading: Reading, contribution: Array, direction: Array, *, usual: bool) -> Swept:
    """The slopes along a direction, one for each group of outputs, beside those of the gradient `contribution`."""
    table = _table_along(evaluator, leaf, reading, direction)
    found = shrink_steps(table)
    with quiet():
        # A kink of one entry of very many changes the slope of all by too little to hide them.
        gap = np.abs(found.sides.right - found.sides.left) > UNRESOLVED * np.abs(found.value)
        blind = np.asarray((found.sides.suspected & gap) | found.kinked | ~np.isfinite(found.uncertainty))
        # Across kinks a slope is the mean of both sides', and a gradient's may be any other between them.
        kinks = np.fmax(np.where(blind, at_shortest_step(table.at_all_steps("bend")), 0.0), _unresolved_kinks(table))
    moving = np.abs(direction[direction != 0])
    return Swept(
        ours=reading.of_entries(contribution * direction),
        value=found.value,
        uncertainty=np.nan_to_num(found.uncertainty + kinks, nan=np.inf),
        norm=np.sqrt(reading.of_entries(direction**2)),
        least=float(moving.min(initial=np.inf)),
        blind=blind,
        usual=usual,
    )


def _unresolved_kinks(table: DifferenceTable) -> Array:
    """How much more the outputs of each group bend over some shorter step than a smooth function does there.

    Where one entry of many is at a kink, the slopes of both sides of the whole group differ too little to count as a kink. A
    bend that is less than the noise of the second step may be one as well, unless already the first step bends less.
    """
    bend, noise = table.at_all_steps("bend"), table.at_all_steps("noise")
    powers = RATIO ** np.arange(bend.shape[1])
    curvature = np.where(np.isfinite(bend), bend * powers, np.inf)  # the same at every step of a smooth function
    least, second = np.sort(curvature, axis=1)[:, :2].T[..., None]
    # At a kink the bend is the same at every step, and so exceeds that of a smooth function RATIO times after one step.
    smooth = RATIO * np.where(curvature == least, second, least) / powers + NOISE_SAFETY * noise
    below_noise = np.fmin(bend[:, 0], NOISE_SAFETY * noise[:, 1])
    return np.asarray(np.fmax(np.where(bend > smooth, bend, 0.0).max(axis=1), below_noise))


def located(evaluator: Evaluator, leaf: int, reading: Reading, contribution: Array, direction: Array, groups: Array) -> Array:
    """One entry in each of these groups, by halving: always the half along which the gradient is further off."""
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
    value = shrink_steps(_table_along(evaluator, leaf, reading, direction)).value
    return np.nan_to_num(np.abs(reading.of_entries(contribution * direction) - value))
