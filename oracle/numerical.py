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

__all__ = ["Directional", "Estimate", "confirm", "differentiate", "differentiate_along", "gradient"]

Array = NDArray[Any]

LEVELS = 4  # steps of one Romberg table
RATIO = 4.0  # of two neighbouring steps
FIRST_STEP = 0.125  # in units of the argument's size: h^8 f^(9) stays below the noise of h/64 for most functions
SMALLEST_STEP = 2.0**-30  # in units of the element, or of the argument's size for an element at 0
CHANCE = 2.0**-12  # the least by which one more column of the table is believed to gain
TARGET = 2.0**-42  # an uncertainty of this fraction of the largest derivative is good enough to stop at once
TINY = 2.0**-10  # an argument of this size may be tiny for its function: steps of order 1 are tried as well
DROWNED = 2.0**-20  # if this fraction of the derivative stays uncertain with its own steps
JUMP = 1e-7  # one-sided slopes that differ by less than this fraction are not called a kink


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
    """The derivative along random directions of one argument: the rows of `direction`."""

    direction: Array
    value: Array
    uncertainty: Array


def differentiate(probe: Probe, leaf: int, index: Array | None = None, *, steps: Array | float | None = None) -> Estimate:
    """The derivative of `probe` with respect to elements of its argument number `leaf` (all, unless `index` says which).

    `steps` are the first steps, chosen by the size of each element unless given.
    """
    x = probe.origin[leaf].reshape(-1)
    index = np.arange(x.size) if index is None else np.asarray(index, dtype=np.intp)
    own_steps = steps is None
    if steps is None:
        steps = FIRST_STEP * np.maximum(np.abs(x[index]), size_of(x))
    steps = np.broadcast_to(np.asarray(steps, np.float64), index.shape)
    with np.errstate(over="ignore"):
        frozen = (x[index] + steps.astype(x.dtype)) - (x[index] - steps.astype(x.dtype)) == 0
    estimate = _search(probe, leaf, index, steps, np.abs(x[index]), frozen)
    if own_steps and size_of(x) < TINY:
        # Steps of the size of a tiny argument drown in the noise of outputs that are not tiny, or move nothing at all.
        still = (np.nan_to_num(estimate.differences) == 0).all(axis=1)
        drowned = still | ((estimate.value != 0) & ~(estimate.uncertainty <= DROWNED * np.abs(estimate.value)))
        if drowned.any():
            ones = np.ones(index.size)
            estimate = _better(estimate, _search(probe, leaf, index, FIRST_STEP * ones, ones, frozen), drowned)
    return estimate


def _search(probe: Probe, leaf: int, index: Array, steps: Array, sizes: Array, frozen: Array) -> Estimate:
    search = _Search(lambda i, h: probe.difference(leaf, int(index[i]), h), steps, sizes)
    value, uncertainty = search.run()
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
    """`estimate` with its elements `where` looked at again.

    From steps 4,096 times shorter: a function that bends more sharply than the first steps can see (and is flat at each of
    them) deceives every extrapolation. Where that contradicts the first look by more than both state, it is right. And from
    steps a third as long: neighbours in one table may agree by chance, but then another table lies apart from it by more
    than both state, and that distance is the uncertainty.
    """
    if not where.any():
        return estimate
    shorter, other = (
        differentiate(probe, leaf, estimate.index[where], steps=estimate.step[where] / ratio) for ratio in (4096, 3)
    )
    old, spread = estimate.value[where], estimate.uncertainty[where]
    with quiet():
        deceived = np.abs(shorter.value - old) > 4 * (shorter.uncertainty + spread)
        apart = np.abs(other.value - old)
        lucky = (apart > other.uncertainty + spread) & ~other.kink & ~estimate.kink[where]
    uncertainty = estimate.uncertainty.copy()
    uncertainty[where] = np.where(lucky, apart, spread)
    widened = replace(estimate, uncertainty=uncertainty)
    return _replaced(widened, shorter, np.flatnonzero(where)[deceived], np.flatnonzero(deceived))


def _better(one: Estimate, other: Estimate, where: Array) -> Estimate:
    """Of two estimates of the same elements the one with the less relative uncertainty, among those `where`."""
    with quiet():
        relative = [np.where(e.value == 0, np.inf, e.uncertainty / np.abs(e.value)) for e in (one, other)]
    chosen = np.flatnonzero(where & (relative[1] < relative[0]))
    return _replaced(one, other, chosen, chosen)


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


def differentiate_along(probe: Probe, leaf: int, count: int, seed: int = 0) -> Directional:
    """The derivative of `probe` along `count` random directions of its argument number `leaf`, each of about unit length.

    Every element takes part in each direction, with a random sign and in proportion to its size: a wrong element shows
    whichever it is, at the cost of a few evaluations per argument instead of some per element.
    """
    x = probe.origin[leaf].reshape(-1)
    generator = np.random.default_rng([seed, leaf, x.size])
    scale = np.maximum(np.abs(x), size_of(x)) / np.sqrt(x.size)
    directions = generator.choice([-1.0, 1.0], size=(count, x.size)) * 2.0 ** np.round(np.log2(scale))
    everything = slice(None)
    search = _Search(
        lambda i, h: probe.difference(leaf, everything, h * directions[i]), np.full(count, FIRST_STEP), np.ones(count)
    )
    value, uncertainty = search.run()
    with quiet():  # across kinks it is the mean slope of both sides, and a gradient's may be any other between them
        apart = np.sqrt(np.mean(search.bend**2)) if search.jumps().suspected.any() else 0.0
    # x + h d is rounded to the grid of x, element by element: the direction really taken is off by eps |x| / h in each.
    off = probe.eps * np.sqrt(x.size) * np.sqrt(np.mean(value**2)) * RATIO ** (LEVELS - 1) / FIRST_STEP
    return Directional(directions, value, uncertainty + off + apart)


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
                scale = np.abs(value[np.isfinite(value)]).max(initial=0.0)
                # Shorter steps gain nothing where the noise is most of the uncertainty already.
                unsure = ~(uncertainty <= TARGET * scale) & ~(noise > 0.5 * uncertainty)
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
            return value, np.where(self._diverging(), np.inf, uncertainty)

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
        central, forward, backward, noise = (np.full(self.count, np.nan) for _ in range(4))
        for i in alive:
            h = self.steps[i] / RATIO ** len(self.central)
            difference = self.difference(i, h)
            if difference.distance == 0 or not np.isfinite(difference.both):
                continue
            # An output that a larger step moved and this one does not has moved by less than its noise: it still counts.
            self.reached[i] = max(self.reached[i], difference.noise)
            self.bend[i] = difference.bend / h
            width = h * difference.distance
            # The difference belongs to the middle of the two points: from there back to x by the second derivative.
            bend = (2 * difference.ahead - difference.both) / width
            central[i] = difference.both / (2 * width) - difference.shift / width * bend
            forward[i] = difference.ahead / h
            backward[i] = (difference.both - difference.ahead) / h
            noise[i] = (self.reached[i] + difference.growth) / width
        self.central.append(central)
        self.forward.append(forward)
        self.backward.append(backward)
        self.noise.append(noise)

    @staticmethod
    def table(levels: list[Array]) -> Array:
        """One row an element, one column a level."""
        return np.stack(levels, axis=1)

    def _best(self, central: Array | None = None) -> Extrapolated:
        """By h^2, or where that fails by h: next to a jump of the second derivative the odd powers are there too."""
        central = self.table(self.central) if central is None else central
        noise = self.table(self.noise)
        even, all_powers = (_extrapolate(central, noise, factor) for factor in (RATIO**2, RATIO))
        better = even.uncertainty <= all_powers.uncertainty
        return Extrapolated(*(np.where(better, a, b) for a, b in zip(even, all_powers, strict=True)))

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


class Extrapolated(NamedTuple):
    """The limits, what each states as its uncertainty, and how much of that is noise."""

    value: Array
    uncertainty: Array
    noise: Array


def _extrapolate(differences: Array, noise: Array, factor: float) -> Extrapolated:
    """Richardson's extrapolation along axis 1; of all entries of the table the one that states the least uncertainty."""
    count = differences.shape[0]
    best = Extrapolated(np.full(count, np.nan), np.full(count, np.inf), np.full(count, np.inf))
    column, amplified = differences, noise
    before = np.zeros((count, differences.shape[1]))
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
        chosen = stated.argmin(axis=1)[:, None]
        candidate = [np.take_along_axis(table, chosen, axis=1)[:, 0] for table in (column, stated, amplified)]
        better = candidate[1] < best.uncertainty
        best = Extrapolated(*(np.where(better, new, old) for new, old in zip(candidate, best, strict=True)))
    return best
