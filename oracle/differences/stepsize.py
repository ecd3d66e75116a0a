"""Step-size control: differences at shrinking steps, as long as that gains, and what is made of them (`richardson`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import quiet
from oracle.differences.evaluation import Difference
from oracle.differences.one_sided import SHARP, Jumps, is_diverging, is_growing, jumps
from oracle.differences.richardson import LEVELS, RATIO, Extrapolated, most_certain, tableau

__all__ = ["FIRST_STEP", "FULL_SWEEP", "StepControl", "lengths", "rounded"]

Array = NDArray[Any]

FIRST_STEP = 0.125  # in units of the argument's size: h^8 f^(9) stays below the noise of h/64 for most functions
SMALLEST_STEP = 2.0**-30  # in units of the element, or of the argument's size for an element at 0
AS_NOISE = 2.0  # times the noise that was measured, which is its root mean square
TARGET = 2.0**-42  # an uncertainty of this fraction of the derivative is good enough to stop at once
DEEPER = (2.0**-20, 2.0**-50, 2.0**-100)  # of the shortest step, at which a kink is looked at
SHORT = 2.0**-26  # of the argument's size: the last look
TOGETHER = 32  # elements, at most, that it is taken at at once
FULL_SWEEP = (
    2.0**16 * 2 / 3,
    2.0**-46,
    2.0**-80,
)  # a full sweep's first step in usual ones, its last in units of the element, and at 0


def lengths(leaf: int, index: Array) -> Array:
    """Factors around 1, no two alike: what has a period has it in steps of round lengths."""
    return np.asarray(2.0 ** (((index + 1) * 0.6180339887498949 + (leaf + 1) * 0.7548776662466927) % 1.0 - 0.5))


def rounded(steps: Array) -> Array:
    """Steps of six binary digits: they and their quarters lie on the grid of x, so that x + h is just h away from it."""
    fraction, exponent = np.frexp(steps)
    return np.asarray(np.ldexp(np.round(fraction * 64) / 64, exponent))


class StepControl:
    """Differences of several derivatives at shrinking steps, and for each the best that can be made of them."""

    def __init__(
        self,
        difference: Callable[[int, float], Difference],
        steps: Array,
        sizes: Array,
        together: Callable[[Array, Array], Difference] | None = None,
    ) -> None:
        self.difference = difference
        self.together = together
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
        self.kinked = np.zeros(self.count, dtype=bool)
        self.bent = np.zeros(self.count, dtype=bool)
        self.unrefuted = np.zeros(self.count, dtype=bool)
        """Of which only what no shorter step contradicts is believed."""

    def run(self) -> tuple[Array, Array]:
        alive = np.arange(self.count)
        with quiet():
            self._take_step(alive)
            self._take_step(alive)
            still = [level == 0 for level in (*self.central, *self.forward)]
            alive = alive[~np.logical_and.reduce(still)]  # what neither of two steps moves is flat
            for _ in range(LEVELS - 2):
                self._take_step(alive)
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
                self._take_step(alive)
                value, latest, noise = self._best()
                gained = (latest < 0.9 * uncertainty) | ~np.isfinite(latest)
                uncertainty = latest
                # Two levels without gain end the search, unless the slopes of the two sides still differ.
                self.idle[alive] = np.where(gained[alive], 0, self.idle[alive] + 1)
                alive = alive[(self.idle[alive] < 2) | (self.jumps().suspected | self._parted(value, uncertainty))[alive]]
            value, uncertainty = self._not_denied(value, uncertainty)
            value, uncertainty = self._this_side(value, uncertainty)
            uncertainty = self._looked_at_closely(value, uncertainty)
            uncertainty = np.where(self._bends(), np.inf, uncertainty)
            return value, np.where(self._diverges(), np.inf, uncertainty)

    def full_sweep(self, at_zero: Array) -> tuple[Array, Array]:
        """At all steps, down to the shortest; of the table's entries that no shorter step contradicts, the most certain.

        Elements `at_zero` lose no digits however short the steps are.
        """
        smallest = self.smallest * np.where(at_zero, FULL_SWEEP[2], FULL_SWEEP[1]) / SMALLEST_STEP
        with quiet():
            while (alive := np.flatnonzero(self.steps / RATIO ** len(self.central) > smallest)).size or len(
                self.central
            ) < LEVELS:
                self._take_step(alive)
            self.unrefuted[:] = True
            value, uncertainty, _ = self._best()
            value, uncertainty = self._this_side(value, uncertainty)
            return value, np.where(self._diverges() | self._bends(), np.inf, uncertainty)

    def _not_denied(self, value: Array, uncertainty: Array) -> tuple[Array, Array]:
        """Where more than a table was needed, what no shorter step denies: long ones may agree, on a slope of another scale."""
        deep = np.isfinite(self.table(self.central)).sum(axis=1) > LEVELS
        if not deep.any():
            return value, uncertainty
        best = self._best(unrefuted=deep)
        denied = deep & (np.abs(best.value - value) > 4 * (best.uncertainty + uncertainty))
        return np.where(denied, best.value, value), np.where(denied, best.uncertainty, uncertainty)

    def _looked_at_closely(self, value: Array, uncertainty: Array) -> Array:
        """The distance from the slope over a very short step where that denies an answer from longer ones."""
        steps = SHORT / FIRST_STEP * self.steps
        taken = np.isfinite(self.table(self.central)).sum(axis=1)
        longer = np.flatnonzero(self.steps / RATIO ** np.maximum(taken - 1, 0) > steps)
        index = np.setdiff1d(longer, self._straight(longer, steps, value, uncertainty))
        apart = np.zeros(self.count)
        if index.size:
            look = self._slopes(index, steps[index])
            off = np.abs(look.central - value[index])
            bent = np.flatnonzero(look.gap > SHARP * np.abs(value[index]) + 8 * look.noise)
            if bent.size:
                closer = self._slopes(index[bent], steps[index[bent]] / RATIO**2)
                # What only bends would be straighter by far.
                kinked = bent[closer.gap > np.maximum(0.5 * look.gap[bent], 8 * closer.noise)]
                off[kinked] = np.fmax(off[kinked], look.gap[kinked])
                self.kinked[index[kinked]] = True
            apart[index] = np.nan_to_num(off - 8 * look.noise - 4 * uncertainty[index])
        return np.where(apart > 0, apart + uncertainty, uncertainty)

    def _straight(self, index: Array, steps: Array, value: Array, uncertainty: Array) -> Array:
        """Those for which one look serves many: all move at once, and the slope is what theirs add up to.

        Only of those that are known, and whose share of it is too large to be hidden by the others.
        """
        if self.together is None:
            return index[:0]
        size, spread = np.abs(value * steps), uncertainty * steps
        straight = []
        for group in (index[k : k + TOGETHER] for k in range(0, index.size, TOGETHER)):
            total = size[group].sum()
            group = group[(size[group] * group.size >= 2.0**-6 * total) & (spread[group] <= 2.0**-20 * size[group])]
            if group.size < 2:
                continue
            moves = np.where(np.random.default_rng(group).integers(0, 2, group.size) > 0, 1.0, -1.0) * steps[group]
            look = self.together(group, moves)
            off = abs(look.both / 2 - float(value[group] @ moves)) - 4 * float(spread[group].sum())
            gap = max(abs(2 * look.ahead - look.both), look.bend) - 2.0**-20 * total
            if max(off, gap) <= 8 * AS_NOISE * (look.noise + look.growth):
                straight.append(group)
        return np.concatenate([index[:0], *straight])

    def _bends(self) -> Array:
        """Where what looks like a kink is none.

        A bend that is sharper than the shortest step is gone where steps are shorter by far; and at a jump of the value
        itself the slopes of both sides grow without end.
        """
        sides = self.jumps()
        forward, backward = (is_growing(self.table(side), self.table(self.noise)) for side in (self.forward, self.backward))
        self.bent = sides.suspected & (forward | backward)
        jump = np.abs(sides.right - sides.left)
        left = np.flatnonzero(sides.confirmed)
        for share in DEEPER:
            if not left.size:
                break
            look = self._slopes(left, share * self.smallest[left])
            told = np.isfinite(look.gap) & ~(32 * look.noise > jump[left])
            gone = told & (look.gap < 0.5 * jump[left])
            self.bent[left[gone]] = True
            left = left[told & ~gone]
        return self.bent

    def _diverges(self) -> Array:
        return is_diverging(self.table(self.central), self.table(self.noise))

    def _this_side(self, value: Array, uncertainty: Array) -> tuple[Array, Array]:
        """Beside a kink only steps shorter than its distance count: longer ones agree, on a slope that is of neither side."""
        sides = self.jumps()
        low, high = np.minimum(sides.left, sides.right), np.maximum(sides.left, sides.right)
        outside = np.maximum(low - value, value - high) > 8 * (uncertainty + sides.uncertainty)
        near = outside | (sides.suspected & ~sides.confirmed)
        if not near.any():
            return value, uncertainty
        slopes_apart = np.abs(self.table(self.forward) - self.table(self.backward))
        slopes_apart = np.where(slopes_apart > 16 * self.table(self.noise), slopes_apart, 0.0)
        across = near[:, None] & (slopes_apart > 0.25 * slopes_apart.max(axis=1)[:, None])
        best = self._best(np.where(across, np.nan, self.table(self.central)))
        return np.where(near, best.value, value), np.where(near, best.uncertainty, uncertainty)

    def _take_step(self, alive: Array) -> None:
        levels = np.full((4, self.count), np.nan)
        if len(alive):
            *levels[:, alive], bend = self._slopes(alive, self.steps[alive] / RATIO ** len(self.central))
            self.bend[alive] = np.where(np.isfinite(bend), bend, self.bend[alive])
        for table, level in zip((self.central, self.forward, self.backward, self.noise), levels, strict=True):
            table.append(level)

    def _slopes(self, index: Array, h: Array) -> Slopes:
        """Those of these elements, each at its own step; NaN where the function has no value."""
        d = self._differences(index, h)
        known = (d.distance != 0) & np.isfinite(d.both)
        # An output that a larger step moved and this one does not has moved by less than its noise: it still counts.
        self.reached[index] = np.where(known, np.fmax(self.reached[index], d.noise), self.reached[index])
        width = h * d.distance
        # The difference belongs to the middle of the two points: from there back to x by the second derivative.
        bend = (2 * d.ahead - d.both) / width
        slopes = Slopes(
            central=d.both / (2 * width) - d.shift / width * bend,
            forward=d.ahead / h,
            backward=(d.both - d.ahead) / h,
            noise=AS_NOISE * (self.reached[index] + d.growth) / width,
            bend=d.bend / h,
        )
        return Slopes(*(np.where(known, part, np.nan) for part in slopes))

    def _differences(self, index: Array, h: Array) -> Difference:
        """One after the other, each field an array. A subclass may displace many elements at once."""
        found = [self.difference(i, step) for i, step in zip(index.tolist(), h.tolist(), strict=True)]
        return Difference(*np.array(found).T)

    @staticmethod
    def table(levels: list[Array]) -> Array:
        """One row an element, one column a level."""
        return np.stack(levels, axis=1)

    def _best(self, central: Array | None = None, unrefuted: Array | None = None) -> Extrapolated:
        """By h^2, or where that fails by h: next to a jump of the second derivative the odd powers are there too."""
        central = self.table(self.central) if central is None else central
        noise = self.table(self.noise)
        tables = [tableau(central, noise, factor) for factor in (RATIO**2, RATIO)]
        unrefuted = self.unrefuted if unrefuted is None else unrefuted
        return most_certain([entry for entries in tables for entry in entries], unrefuted)

    def _parted(self, value: Array, uncertainty: Array) -> Array:
        """Where the shortest step contradicts the answer: two entries of the table agreed by chance."""
        before, last, noise = self.central[-2], self.central[-1], self.noise[-1]
        return np.asarray(np.abs(value - last) > np.abs(last - before) + 8 * noise + uncertainty)

    def jumps(self) -> Jumps:
        """Whether the slopes of the two sides differ, as far as the steps tell."""
        return jumps(self.table(self.forward), self.table(self.backward), self.table(self.noise), self.unrefuted, self.bent)


class Slopes(NamedTuple):
    """Of some elements, each at one step; NaN where the function has no value."""

    central: Array
    forward: Array
    backward: Array
    noise: Array
    bend: Array

    @property
    def gap(self) -> Array:
        """Between the two sides: of the contraction, or of all outputs."""
        return np.asarray(np.maximum(np.abs(self.forward - self.backward), self.bend))
