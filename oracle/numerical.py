"""Witness 1: central differences that know their own uncertainty.

For a scalar-valued s(t) = <v, f(x + t d)> along one element (or one random direction) d,

    D(h) = (s(h) - s(-h)) / 2h = s'(0) + c2 h^2 + c4 h^4 + ...

is taken at h, h/4, h/16, h/64, and Romberg's table removes one power of h^2 after the other:

    T[k, 0] = D(h / 4^k),    T[k, m] = T[k+1, m-1] + (T[k+1, m-1] - T[k, m-1]) / (16^m - 1)

Large steps suffer from the powers that are left, small steps from rounding. Each entry states both, as the distance to its
neighbour plus the rounding noise of its smallest step; the answer is the entry that states the least, and what it states
is its uncertainty. No tolerance is tuned by hand. While an element is uncertain its step shrinks on, as long as that gains.

The outputs are subtracted one by one and only then contracted with v, so outputs that an element does not reach cancel
exactly. The noise of an output is measured (from its jitter under tiny displacements), not assumed.

Steps can be deceived: by a function that bends within them, or repeats itself over them. So each element has a first step
of its own length, no multiple of its neighbour's, and at the end one look at a step so short that only a slope is left. An
element about which anything is in doubt is surveyed: at all steps from long to short, where the shorter ones are right.

One-sided slopes tell kinks: where they differ, and go on differing as h shrinks, the function has no derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.probe import Difference, Function, Probe, quiet, size_of

__all__ = ["Directional", "Estimate", "confirm", "differentiate", "differentiate_along", "gradient", "slope_along"]

Array = NDArray[Any]

LEVELS = 4  # steps of one Romberg table
RATIO = 4.0  # of two neighbouring steps
FIRST_STEP = 0.125  # in units of the argument's size: h^8 f^(9) stays below the noise of h/64 for most functions
SMALLEST_STEP = 2.0**-30  # in units of the element, or of the argument's size for an element at 0
CHANCE = 2.0**-12  # the least by which one more column of the table is believed to gain
TARGET = 2.0**-42  # an uncertainty of this fraction of the derivative is good enough to stop at once
TINY = 2.0**-10  # an argument of this size may be tiny for its function: steps of order 1 are tried as well
SMALL = 2.0**-6  # an element of this share of the argument's size may be
DROWNED = 2.0**-20  # if this fraction of the derivative stays uncertain with its own steps
JUMP = 1e-7  # one-sided slopes that differ by less than this fraction are not called a kink
BENT = 2.0**-6  # of the slope: less than a kink, more than what a short step bends
SPLITS = 64  # of blocks of elements
SHORT = 2.0**-26  # of the argument's size: the last look
SURVEYED = (2.0**16 * 2 / 3, 2.0**-36)  # the first step of a survey in usual first steps, and the last in units of the element


@dataclass(frozen=True)
class Estimate:
    """The derivative with respect to the elements `index` (flat) of one argument, each with its uncertainty."""

    index: Array
    value: Array
    uncertainty: Array
    kink: Array
    left: Array
    right: Array
    slope_uncertainty: Array
    frozen: Array
    """Elements that the given step cannot move: it is below half the distance of neighbouring floats."""
    step: Array
    """The first step at each element; `differences[:, k]` was taken at `step / 4**k`."""
    differences: Array
    """The plain central differences, before extrapolation."""


@dataclass(frozen=True)
class Directional:
    """The derivative along one direction in each of some disjoint blocks of the elements of one argument."""

    blocks: tuple[Array, ...]
    direction: Array
    """Of all elements, each in its block."""
    value: Array
    uncertainty: Array
    blind: Array
    """Blocks with so many kinks that nothing is known of single elements."""
    alone: Array
    """Elements in no block, since they are to be looked at one by one: at a kink, or of another size than the others."""


def differentiate(probe: Probe, leaf: int, index: Array | None = None, *, steps: Array | float | None = None) -> Estimate:
    """The derivative of `probe` with respect to elements of its argument number `leaf` (all, unless `index` says which).

    `steps` are the first steps, chosen by the size of each element unless given.
    """
    x = probe.origin[leaf].reshape(-1)
    index = np.arange(x.size) if index is None else np.asarray(index, dtype=np.intp)
    own_steps = steps is None
    if steps is None:
        steps = FIRST_STEP * np.maximum(np.abs(x[index]), size_of(x)) * _lengths(leaf, index)
    steps = np.broadcast_to(np.asarray(steps, np.float64), index.shape)
    with np.errstate(over="ignore"):
        frozen = (x[index] + steps.astype(x.dtype)) - (x[index] - steps.astype(x.dtype)) == 0
    sizes = np.abs(x[index])
    estimate = _searched(probe, leaf, index, steps, sizes, frozen)
    if own_steps:
        # Steps of the argument's size are too long for what happens at a tiny element; those of a tiny argument drown in the
        # noise of outputs that are not tiny, or move nothing at all.
        still = (np.nan_to_num(estimate.differences) == 0).all(axis=1)
        drowned = still | ((estimate.value != 0) & ~(estimate.uncertainty <= DROWNED * np.abs(estimate.value)))
        own = drowned & (sizes > 0) & (sizes < SMALL * size_of(x))
        if own.any():
            shorter = _searched(probe, leaf, index[own], FIRST_STEP * sizes[own], sizes[own], frozen[own])
            estimate = _better(estimate, shorter, np.flatnonzero(own))
        if size_of(x) < TINY and drowned.any():
            ones = np.ones(np.count_nonzero(drowned))
            longer = _searched(probe, leaf, index[drowned], FIRST_STEP * ones, ones, frozen[drowned])
            estimate = _better(estimate, longer, np.flatnonzero(drowned))
    return estimate


def _lengths(leaf: int, index: Array) -> Array:
    """Factors around 1, no two alike: what has a period has it in steps of round lengths."""
    return np.asarray(2.0 ** (((index + 1) * 0.6180339887498949 + (leaf + 1) * 0.7548776662466927) % 1.0 - 0.5))


def _rounded(steps: Array) -> Array:
    """Steps of six binary digits: they and their quarters lie on the grid of x, so that x + h is just h away from it."""
    fraction, exponent = np.frexp(steps)
    return np.asarray(np.ldexp(np.round(fraction * 64) / 64, exponent))


def _searched(
    probe: Probe, leaf: int, index: Array, steps: Array, sizes: Array, frozen: Array, *, survey: bool = False
) -> Estimate:
    steps = _rounded(steps)
    search = _Search(lambda i, h: probe.difference(leaf, int(index[i]), h), steps, sizes)
    value, uncertainty = search.survey() if survey else search.run()
    with quiet():
        jumps = search.jumps()
    return Estimate(
        index=index,
        value=value,
        uncertainty=uncertainty,
        kink=jumps.confirmed & ~frozen,
        left=jumps.left,
        right=jumps.right,
        slope_uncertainty=jumps.uncertainty,
        frozen=frozen,
        step=steps,
        differences=search.table(search.central),
    )


def confirm(probe: Probe, leaf: int, estimate: Estimate, where: Array) -> Estimate:
    """`estimate` with its elements `where` (flat indices) surveyed.

    What a survey contradicts by more than both state was deceived. Where they are apart by less than that and more than
    their uncertainties, neighbours in one table have agreed by chance: that distance is the uncertainty.
    """
    at = np.flatnonzero(np.isin(estimate.index, where) & ~estimate.frozen)
    if not at.size:
        return estimate
    x = np.abs(probe.origin[leaf].reshape(-1)[estimate.index[at]])
    steps = SURVEYED[0] * estimate.step[at]
    survey = _searched(probe, leaf, estimate.index[at], steps, x, estimate.frozen[at], survey=True)
    old, spread = estimate.value[at], estimate.uncertainty[at]
    with quiet():
        apart = np.abs(survey.value - old)
        deceived = apart > 4 * (survey.uncertainty + spread)
        chosen = deceived | ~estimate.kink[at] & (survey.uncertainty < spread / 4)
        lucky = (apart > survey.uncertainty + spread) & ~chosen & ~survey.kink & ~estimate.kink[at]
    uncertainty = estimate.uncertainty.copy()
    uncertainty[at] = np.where(lucky, apart, spread)
    taken = np.flatnonzero(chosen)
    return _replaced(replace(estimate, uncertainty=uncertainty), survey, at[taken], taken)


def _better(estimate: Estimate, other: Estimate, at: Array) -> Estimate:
    """`estimate`, but of its elements `at`, which `other` is about, those for which `other` is relatively less uncertain."""
    with quiet():
        one, two = (
            np.where(value == 0, np.inf, uncertainty / np.abs(value))
            for value, uncertainty in ((estimate.value[at], estimate.uncertainty[at]), (other.value, other.uncertainty))
        )
    chosen = np.flatnonzero(two < one)
    return _replaced(estimate, other, at[chosen], chosen)


def _replaced(estimate: Estimate, by: Estimate, at: Array, source: Array) -> Estimate:
    def merged(name: str) -> Array:
        values = getattr(estimate, name).copy()
        values[at] = getattr(by, name)[source]
        return np.asarray(values)

    names = ("value", "uncertainty", "kink", "left", "right", "slope_uncertainty", "step")
    tables = estimate.differences, by.differences
    differences = np.full((estimate.index.size, max(table.shape[1] for table in tables)), np.nan)
    differences[:, : tables[0].shape[1]] = tables[0]
    differences[at] = np.nan
    differences[at, : tables[1].shape[1]] = tables[1][source]
    return replace(estimate, differences=differences, **{name: merged(name) for name in names})


def differentiate_along(probe: Probe, leaf: int, blocks: int, seed: int = 0) -> Directional:
    """The derivative of `probe` along random directions in `blocks` disjoint blocks of the elements of its argument `leaf`.

    Every element takes part, with a random sign and in proportion to its size: a wrong element shows whichever it is, at
    the cost of a few evaluations per block instead of some per element. Across a kink there is no slope, and a step that is
    too long for one element is for all: where that happens a block is halved, and halved again.
    """
    x = probe.origin[leaf].reshape(-1)
    generator = np.random.default_rng([seed, leaf, x.size])
    blocks = min(blocks, x.size)
    scale = np.maximum(np.abs(x), size_of(x)) / np.sqrt(x.size / blocks)
    direction = generator.choice([-1.0, 1.0], size=x.size) * 2.0 ** np.round(np.log2(scale))

    def difference(block: Array, h: float) -> Difference:
        # x + h d is rounded to the grid of x, element by element: so far is the direction really taken from d.
        taken = probe.difference(leaf, block, h * direction[block])
        off = 4 * 2.0**-53 * np.sqrt(np.mean((x[block] / direction[block]) ** 2)) / h
        return taken._replace(growth=taken.growth + abs(taken.both) * off)

    todo = np.array_split(generator.permutation(x.size), blocks)
    known: list[tuple[Array, float, float, bool]] = []
    alone: list[int] = []
    splits = SPLITS
    while todo:
        search = _Search(
            lambda i, h, these=todo: difference(these[i], h),
            FIRST_STEP * _lengths(leaf, np.arange(len(todo))),
            np.ones(len(todo)),
        )
        value, uncertainty = search.run()
        with quiet():
            bad = search.jumps().suspected | ~np.isfinite(uncertainty)
        halves: list[Array] = []
        for i, block in enumerate(todo):
            if bad[i] and len(block) == 1:
                alone.append(int(block[0]))
            elif bad[i] and splits:
                splits -= 1
                halves += np.array_split(block, 2)
            else:  # across kinks it is the mean slope of both sides, and a gradient's may be any other between them
                known.append((block, value[i], uncertainty[i] + (search.bend[i] if bad[i] else 0.0), bool(bad[i])))
        todo = halves
    parts = tuple(zip(*known, strict=True)) or ((), (), (), ())
    return Directional(
        parts[0], direction, *(np.array(part) for part in parts[1:3]), np.array(parts[3], bool), np.array(alone, np.intp)
    )


def slope_along(probe: Probe, leaf: int, index: Array) -> tuple[float, float] | None:
    """The derivative along these elements moved alike, with its uncertainty; None if there is a kink that way too.

    At ties each entry is at a kink, but all of them together are not: the largest of equal numbers rises with them.
    """
    size = size_of(probe.origin[leaf])
    search = _Search(
        lambda i, h: probe.difference(leaf, index, np.full(index.size, h)), np.full(1, FIRST_STEP * size), np.full(1, size)
    )
    value, uncertainty = search.run()
    with quiet():
        # No output may bend there: kinks of several can cancel in the contraction.
        smooth = not search.jumps().suspected[0] and search.bend[0] <= BENT * abs(value[0]) and np.isfinite(uncertainty[0])
    return (float(value[0]), float(uncertainty[0])) if smooth else None


def gradient(function: Function, *primals: Any) -> tuple[Any, ...]:
    """The gradient of a scalar function of trees, by Romberg's central differences: trees of float64 like the arguments.

    >>> import numpy as np
    >>> gradient(lambda x: np.sum(x**3), np.array([1.0, 2.0]))[0].round(9)
    array([ 3., 12.])
    """
    probe = Probe(function, primals)
    tree: Any = primals
    structure = optree.tree_structure(tree)
    leaves = [differentiate(probe, i).value.reshape(x.shape) for i, x in enumerate(probe.origin)]
    return tuple(structure.unflatten(leaves))


class Jumps(NamedTuple):
    """The slopes of the two sides, and whether they differ."""

    suspected: Array
    confirmed: Array
    left: Array
    right: Array
    uncertainty: Array


class _Search:
    """Differences of several derivatives at shrinking steps, and for each the best that can be made of them."""

    def __init__(
        self,
        difference: Callable[[int, float], Difference],
        steps: Array,
        sizes: Array,
    ) -> None:
        self.difference = difference
        self.steps = steps
        self.smallest = SMALLEST_STEP * np.where(sizes > 0, np.minimum(sizes, steps / FIRST_STEP), steps / FIRST_STEP)
        self.count = len(steps)
        self.central: list[Array] = []
        self.forward: list[Array] = []
        self.backward: list[Array] = []
        self.noise: list[Array] = []
        self.idle = np.zeros(self.count, dtype=int)
        self.reached = np.zeros(self.count)
        self.bend = np.zeros(self.count)
        self.surveying = False

    def run(self) -> tuple[Array, Array]:
        alive = np.arange(self.count)
        with quiet():
            self._level(alive)
            self._level(alive)
            still = [level == 0 for level in (*self.central, *self.forward)]
            alive = alive[~np.logical_and.reduce(still)]  # what neither of two steps moves is flat
            for _ in range(LEVELS - 2):
                self._level(alive)
            value, uncertainty, noise = self._best()
            while True:
                # Shorter steps gain nothing where the noise is most of the uncertainty already.
                unsure = ~(uncertainty <= TARGET * np.abs(value)) & ~(noise > 0.5 * uncertainty)
                wanted = unsure | self.jumps().suspected | self._parted(value, uncertainty)
                next_step = self.steps / RATIO ** len(self.central)
                wanted &= next_step > self.smallest
                alive = alive[wanted[alive]]
                if not alive.size:
                    break
                self._level(alive)
                value, latest, noise = self._best()
                gained = (latest < 0.9 * uncertainty) | ~np.isfinite(latest)
                uncertainty = latest
                # Two levels without gain end the search, unless the slopes of the two sides still differ.
                self.idle[alive] = np.where(gained[alive], 0, self.idle[alive] + 1)
                alive = alive[(self.idle[alive] < 2) | (self.jumps().suspected | self._parted(value, uncertainty))[alive]]
            value, uncertainty = self._this_side(value, uncertainty)
            uncertainty = self._looked_at_closely(value, uncertainty)
            return value, np.where(self._diverging(), np.inf, uncertainty)

    def survey(self) -> tuple[Array, Array]:
        """At all steps, down to the shortest; of the table's entries that no shorter step contradicts, the most certain."""
        smallest = self.smallest * (SURVEYED[1] / SMALLEST_STEP)
        with quiet():
            while (alive := np.flatnonzero(self.steps / RATIO ** len(self.central) > smallest)).size or len(
                self.central
            ) < LEVELS:
                self._level(alive)
            self.surveying = True
            value, uncertainty, _ = self._best()
            value, uncertainty = self._this_side(value, uncertainty)
            return value, np.where(self._diverging(), np.inf, uncertainty)

    def _looked_at_closely(self, value: Array, uncertainty: Array) -> Array:
        """The distance from the slope over a very short step where that denies an answer from longer ones."""
        steps = SHORT / FIRST_STEP * self.steps
        taken = np.isfinite(self.table(self.central)).sum(axis=1)
        longer = np.flatnonzero(self.steps / RATIO ** np.maximum(taken - 1, 0) > steps)
        apart = np.zeros(self.count)
        for i in longer:
            look = self._slopes(i, float(steps[i]))
            apart[i] = np.nan_to_num(np.abs(look.central - value[i]) - 8 * look.noise - 4 * uncertainty[i])
        return np.where(apart > 0, apart + uncertainty, uncertainty)

    def _diverging(self) -> Array:
        """Where the slope goes on growing as the steps shrink: at a jump, or where the slope is infinite."""
        central, noise = self.table(self.central), self.table(self.noise)
        last = central.shape[1] - 1 - np.isfinite(central)[:, ::-1].argmax(axis=1)[:, None]
        a, b, c = (np.abs(np.take_along_axis(central, np.maximum(last - k, 0), axis=1)[:, 0]) for k in (2, 1, 0))
        certain = c > 8 * np.take_along_axis(noise, last, axis=1)[:, 0]
        return np.asarray(certain & (c > 1.5 * b) & (b > 1.5 * a))

    def _this_side(self, value: Array, uncertainty: Array) -> tuple[Array, Array]:
        """Beside a kink only steps shorter than its distance count: longer ones agree, on a slope that is of neither side."""
        jumps = self.jumps()
        low, high = np.minimum(jumps.left, jumps.right), np.maximum(jumps.left, jumps.right)
        outside = np.maximum(low - value, value - high) > 8 * (uncertainty + jumps.uncertainty)
        near = outside | (jumps.suspected & ~jumps.confirmed)
        if not near.any():
            return value, uncertainty
        slopes_apart = np.abs(self.table(self.forward) - self.table(self.backward))
        slopes_apart = np.where(slopes_apart > 16 * self.table(self.noise), slopes_apart, 0.0)
        across = near[:, None] & (slopes_apart > 0.25 * slopes_apart.max(axis=1)[:, None])
        best = self._best(np.where(across, np.nan, self.table(self.central)))
        return np.where(near, best.value, value), np.where(near, best.uncertainty, uncertainty)

    def _level(self, alive: Array) -> None:
        levels = np.full((4, self.count), np.nan)
        for i in alive:
            *levels[:, i], bend = self._slopes(i, self.steps[i] / RATIO ** len(self.central))
            self.bend[i] = bend if np.isfinite(bend) else self.bend[i]
        for table, level in zip((self.central, self.forward, self.backward, self.noise), levels, strict=True):
            table.append(level)

    def _slopes(self, i: int, h: float) -> _Slopes:
        difference = self.difference(i, h)
        if difference.distance == 0 or not np.isfinite(difference.both):
            return _Slopes(np.nan, np.nan, np.nan, np.nan, np.nan)
        # An output that a larger step moved and this one does not has moved by less than its noise: it still counts.
        self.reached[i] = max(self.reached[i], difference.noise)
        width = h * difference.distance
        # The difference belongs to the middle of the two points: from there back to x by the second derivative.
        bend = (2 * difference.ahead - difference.both) / width
        return _Slopes(
            central=difference.both / (2 * width) - difference.shift / width * bend,
            forward=difference.ahead / h,
            backward=(difference.both - difference.ahead) / h,
            noise=(self.reached[i] + difference.growth) / width,
            bend=difference.bend / h,
        )

    @staticmethod
    def table(levels: list[Array]) -> Array:
        """One row an element, one column a level."""
        return np.stack(levels, axis=1)

    def _best(self, central: Array | None = None) -> Extrapolated:
        """By h^2, or where that fails by h: next to a jump of the second derivative the odd powers are there too."""
        central = self.table(self.central) if central is None else central
        noise = self.table(self.noise)
        tables = [_entries(central, noise, factor) for factor in (RATIO**2, RATIO)]
        return _most_certain([entry for entries in tables for entry in entries], unrefuted=self.surveying)

    def _parted(self, value: Array, uncertainty: Array) -> Array:
        """Where the shortest step contradicts the answer: two entries of the table agreed by chance."""
        before, last, noise = self.central[-2], self.central[-1], self.noise[-1]
        return np.asarray(np.abs(value - last) > np.abs(last - before) + 8 * noise + uncertainty)

    def jumps(self) -> Jumps:
        """Whether the slopes of the two sides differ, as far as the steps tell.

        A kink *near* the point looks the same until the steps are shorter than its distance, and so does a bend that is
        sharper than the steps. So the search goes on shrinking where a kink is suspected; it is confirmed where the shortest
        step that still resolves the jump shows it whole.
        """
        noise = 2 * self.table(self.noise)
        forward, backward = self.table(self.forward), self.table(self.backward)
        right, above, _ = _extrapolate(forward, noise, RATIO)
        left, below, _ = _extrapolate(backward, noise, RATIO)
        jump = right - left
        resolves = np.abs(jump)[:, None] > 8 * noise
        shortest = resolves.shape[1] - 1 - resolves[:, ::-1].argmax(axis=1)[:, None]
        seen = np.take_along_axis(forward - backward, shortest, axis=1)[:, 0]
        size = np.maximum(np.abs(left), np.abs(right))
        suspected = np.abs(jump) > 8 * (above + below) + JUMP * size
        return Jumps(suspected, suspected & (np.abs(seen - jump) < 0.25 * np.abs(jump)), left, right, above + below)


class _Slopes(NamedTuple):
    """Of one element at one step; NaN where the function has no value."""

    central: float
    forward: float
    backward: float
    noise: float
    bend: float


class Extrapolated(NamedTuple):
    """The limits, what each states as its uncertainty, and how much of that is noise."""

    value: Array
    uncertainty: Array
    noise: Array


def _entries(differences: Array, noise: Array, factor: float) -> list[Extrapolated]:
    """The columns of Richardson's table along axis 1: the last entry of each belongs to the shortest step."""
    columns = []
    column, amplified = differences, noise
    before = np.zeros(differences.shape)
    for m in range(1, LEVELS):
        weight = 1 / (factor**m - 1)
        coarse, fine = column[:, :-1], column[:, 1:]
        column = fine + (fine - coarse) * weight
        amplified = amplified[:, 1:] * (1 + weight) + amplified[:, :-1] * weight
        # Neighbours may agree by chance, where powers of h cancel: they state no less than a share of those before them.
        apart = np.maximum(np.abs(column - fine), CHANCE * before[:, 1:])
        before = apart
        stated = apart + amplified
        stated[~np.isfinite(stated)] = np.inf
        columns.append(Extrapolated(column, stated, amplified))
    return columns


def _most_certain(columns: list[Extrapolated], *, unrefuted: bool = False) -> Extrapolated:
    """Of all entries of some tables the one that states the least; if asked, of those that no shorter step contradicts."""
    length = max(column.value.shape[1] for column in columns)
    value, stated, amplified = (
        np.concatenate([np.pad(part, ((0, 0), (length - part.shape[1], 0)), constant_values=np.inf) for part in parts], axis=1)
        for parts in zip(*columns, strict=True)
    )
    if unrefuted:
        shortest = np.tile(np.arange(length), len(columns))
        for row in range(len(value)):  # the table of all against all, of one element at a time
            apart = np.abs(value[row][:, None] - value[row])
            denied = (apart > 4 * (stated[row][:, None] + stated[row])) & (shortest[:, None] < shortest)
            stated[row, denied.any(axis=1)] = np.inf
    chosen = stated.argmin(axis=1)[:, None]
    return Extrapolated(*(np.take_along_axis(table, chosen, axis=1)[:, 0] for table in (value, stated, amplified)))


def _extrapolate(differences: Array, noise: Array, factor: float) -> Extrapolated:
    """Richardson's extrapolation along axis 1."""
    return _most_certain(_entries(differences, noise, factor))
