"""The table of differences of several derivatives: a row for each derivative, a column for each step, the shortest last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.differences.evaluation import Difference
from oracle.differences.one_sided import OneSided, one_sided_slopes
from oracle.differences.richardson import FIRST_STEP, RATIO, SHORTEST_STEP, STEP_DIGITS, Extrapolated, extrapolated
from oracle.differences.thresholds import CHANCE
from oracle.measures import EPSILON

__all__ = ["SWEEP_LAST", "SWEEP_LAST_AT_ZERO", "DifferenceTable", "Slopes", "best_of", "one_by_one", "sides_of"]

Array = NDArray[Any]

SWEEP_LAST = np.ldexp(EPSILON["float64"], STEP_DIGITS) / SHORTEST_STEP
"""The last step of a full sweep, as a share of the usual shortest step: x + h still has the digits of h there."""

SWEEP_LAST_AT_ZERO = EPSILON["float64"]
"""The same for an element at 0, where every step is exact: a scale of 1e-12 is resolved, as in 1 / (x + 1e-12)."""


class Slopes(NamedTuple):
    """Difference quotients of some derivatives, each at one step; NaN where the function has no value."""

    central: Array
    forward: Array
    backward: Array
    noise: Array
    bend: Array
    """The norm over all outputs of the difference between forward and backward slopes; 0 where one element is displaced."""

    @property
    def gap(self) -> Array:
        """The difference between the slopes of both sides: of the contraction, or of all outputs where that is larger."""
        return np.asarray(np.maximum(np.abs(self.forward - self.backward), self.bend))


class DifferenceTable:
    """Difference quotients of several derivatives at steps h, h/4, h/16, ..., taken as they are needed.

    `sample(rows, h)` takes the differences of these derivatives, each at its own step; `sample_group(rows, displacements)`
    takes one difference with all of them displaced at once, where that is possible.
    """

    def __init__(
        self,
        sample: Callable[[Array, Array], Difference],
        steps: Array,
        sizes: Array,
        sample_group: Callable[[Array, Array], Difference] | None = None,
    ) -> None:
        self.sample_group = sample_group
        self.steps = steps
        """The first step of each derivative."""
        self.shortest = SHORTEST_STEP * np.where(sizes > 0, np.minimum(sizes, steps / FIRST_STEP), steps / FIRST_STEP)
        self._sample = sample
        self._levels: list[Slopes] = []
        self._largest_noise = np.zeros(len(steps))
        self._bend = np.zeros(len(steps))

    @property
    def levels(self) -> int:
        return len(self._levels)

    def at_all_steps(self, part: Literal["central", "forward", "backward", "noise", "bend"]) -> Array:
        """One part of the `Slopes`: a row for each derivative, a column for each step.

        Where a step leaves the domain, the bend is that of the step before.
        """
        return np.stack([getattr(level, part) for level in self._levels], axis=1)

    def next_steps(self) -> Array:
        with np.errstate(over="ignore", under="ignore"):  # of tiny elements a full sweep takes hundreds of steps
            return np.asarray(self.steps / np.float64(RATIO) ** len(self._levels))

    def take_step(self, rows: Array) -> None:
        """Add a column: these derivatives at their next step, NaN for the others."""
        level = Slopes(*(np.full(len(self.steps), np.nan) for _ in Slopes._fields))
        if len(rows):
            slopes = self.slopes(rows, self.next_steps()[rows])
            self._bend[rows] = np.where(np.isfinite(slopes.bend), slopes.bend, self._bend[rows])
            for column, part in zip(level, slopes._replace(bend=self._bend[rows]), strict=True):
                column[rows] = part
        self._levels.append(level)

    def slopes(self, rows: Array, h: Array) -> Slopes:
        """Difference quotients of these derivatives, each at a step of its own; the table does not keep them."""
        d = self._sample(rows, h)
        known = (d.distance != 0) & np.isfinite(d.both)
        # An output that a longer step changed and this one does not has changed by less than its noise, which still counts.
        self._largest_noise[rows] = np.where(known, np.fmax(self._largest_noise[rows], d.noise), self._largest_noise[rows])
        width = h * d.distance
        # The quotient belongs to the middle of the two points: from there back to x by the second derivative.
        curvature = (2 * d.ahead - d.both) / width
        slopes = Slopes(
            central=d.both / (2 * width) - d.shift / width * curvature,
            forward=d.ahead / h,
            backward=(d.both - d.ahead) / h,
            noise=CHANCE * (self._largest_noise[rows] + d.growth) / width,
            bend=d.bend / h,
        )
        return Slopes(*(np.where(known, part, np.nan) for part in slopes))


def one_by_one(difference: Callable[[int, float], Difference]) -> Callable[[Array, Array], Difference]:
    """A `sample` that takes the difference of one derivative after the other."""

    def sample(rows: Array, h: Array) -> Difference:
        taken = [difference(i, step) for i, step in zip(rows.tolist(), h.tolist(), strict=True)]
        return Difference(*np.array(taken).T)

    return sample


def best_of(table: DifferenceTable, only_consistent: Array, central: Array | None = None) -> Extrapolated:
    """The limit of each row: the entry of the Richardson tableau with the least error estimate."""
    central = table.at_all_steps("central") if central is None else central
    return extrapolated(central, table.at_all_steps("noise"), only_consistent)


def sides_of(table: DifferenceTable, only_consistent: Array) -> OneSided:
    """The slopes of both sides of each row, and whether they differ."""
    forward, backward = table.at_all_steps("forward"), table.at_all_steps("backward")
    return one_sided_slopes(forward, backward, table.at_all_steps("noise"), only_consistent)
