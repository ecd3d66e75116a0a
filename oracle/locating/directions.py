"""A stage along random directions of its arguments: one number for each array says how far it is displaced.

The slope of such a function is the gradient's contraction with the direction. Every entry takes part with a random sign and a
random size near its own, so an error of any entry shows, and errors of several cancel with probability 0. An error is seen if
it is larger than the rounding of the contraction; an argument whose share is too small for that has a direction to itself.

An entry moves by a share of its own size, so that no step takes it across 0, where most kinks are. Entries at 0 have a
direction of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import quiet, size_of
from oracle.differences.evaluation import Difference, Evaluator
from oracle.differences.one_sided import at_shortest_step
from oracle.differences.richardson import FIRST_STEP
from oracle.differences.stepsize import full_sweep, shrink_steps, sweep_steps
from oracle.differences.table import DifferenceTable, one_by_one
from oracle.judging.error_budget import SAFETY, SHORT_SUM, roundoff
from oracle.measures import EPSILON, largest
from oracle.streams import Stream

__all__ = ["Lines", "Slope"]

Array = NDArray[Any]

LEAST_MOVE = 2.0**-4
"""Of the typical size of an array: a smaller entry is displaced as if it had this size. With 2^-8, an error at a small entry of
an input shows sixteen times less; with 1, one step in three of a rectifier's input crosses a kink."""

FACTOR = 2.0**-20
"""The factor, by its distance from 1, that must show at each argument: 1e-6. With 2^-10, a factor of 1.0001 in the gradient of
one bias passes; with 2^-30, most arguments need a direction to themselves."""

RESOLVED = SAFETY * float(np.sqrt(EPSILON["float64"]))
"""Of the slope: the largest allowance that still decides, about half the digits, as of a single entry."""


ZERO = 2.0**10
"""Of the floor: the noise that may hide a slope. With 1, the bias of the keys of an attention, whose gradient is zero, costs a
verification; with 2^20, a small gradient of the wrong size passes for zero."""


FAR = (0.25, 1.0, 3.0)
"""Of the size of each entry: how far a part moves that is to have no effect. One displacement alone may lead to the same value
by chance; much longer ones round more than the value itself does."""


LARGE = 2**16
"""Elements of the arguments above which the noise of the outputs is not measured, which takes up to 500 evaluations, but set to
ROUNDINGS of their typical size. With 2^20, stages of a GPT of 124 million parameters cost minutes."""

ROUNDINGS = 4.0
"""Of a typical output, in each output: more than sums of some thousand products have. With 1, right stages are verified in
vain; a function whose noise is larger, as in float32, is left to `verify`."""

DIGITS = 2.0**16
"""Of a direction: its numbers have so few digits that x + h d is exact. Were each rounded, the slope along 38 million entries
would be known to 1e-8 only. With 2^8, two entries of one direction are often equal, and so errors of both may cancel."""

EXACT_STEP = 2.0**-20
"""The step from which on that holds for up to a billion entries: 52 digits less 16 of the direction and 15 of its share."""


class Slope(NamedTuple):
    """The slope along a direction, as the backward pass has it and by differences."""

    ours: float
    value: float
    uncertainty: float
    allowed: float
    size: float
    """Of a slope of such entries with random signs."""
    floor: float
    """Up to which a slope is zero but for rounding."""
    blind: bool
    """Whether there are kinks on the way."""

    @property
    def error(self) -> float:
        return abs(self.ours - self.value)

    @property
    def wrong(self) -> bool:
        return not self.error <= self.allowed

    @property
    def decided(self) -> bool:
        """Whether the differences know the slope well enough, or that it is zero but for noise that no step can resolve."""
        scale = max(self.size, abs(self.value))
        zero = scale <= max(self.floor, min(self.allowed, ZERO * self.floor))
        return zero or self.allowed <= RESOLVED * scale

    @property
    def vanishes(self) -> bool:
        """Whether neither the backward pass nor the differences see more than the rounding of the outputs."""
        return max(self.size, abs(self.value), abs(self.ours)) <= self.floor

    @property
    def scale(self) -> float:
        """What errors are relative to."""
        return max(self.size, abs(self.value), abs(self.ours)) or 1.0


class Lines:
    """A function along random directions of its arguments, contracted with an upstream gradient."""

    def __init__(self, value: Any, primals: tuple[Any, ...], dy: Any, gradients: Sequence[Array], seed: int) -> None:
        tree: Any = primals
        leaves, structure = optree.tree_flatten(tree)
        self._leaves = [np.asarray(leaf, np.float64) for leaf in leaves]
        self._parts: list[tuple[int, Array]] = []
        self.at_zero: list[bool] = []
        """Of each part: whether it has the entries of its array that are 0, beside others that are not."""
        self._ours: list[float] = []
        self._squares: list[tuple[float, float, float]] = []
        for k, (x, g) in enumerate(zip(self._leaves, gradients, strict=True)):
            if x.size:
                self._add(k, x, g, np.random.default_rng([seed, Stream.LINES, k]))

        originals, parts = self._leaves, self._parts  # a closure over `self` would keep all of this until a collection

        def displaced(t: Array) -> Any:
            moved = list(originals)
            for (k, direction), by in zip(parts, t.tolist(), strict=True):
                if by:
                    moved[k] = np.asarray(moved[k] + by * direction)
            return value(*structure.unflatten(moved))

        large = sum(leaf.size for leaf in self._leaves) > LARGE
        self._evaluator = Evaluator(displaced, (np.zeros(len(self._parts)),), dy, noise_tables=0 if large else 1)
        if large:
            value_size = np.abs(self._evaluator.value)
            typical = float(np.sqrt(np.mean(np.square(value_size), where=np.isfinite(value_size))))
            rounding = ROUNDINGS * EPSILON["float64"] * np.maximum(value_size, typical)
            self._evaluator.noise = np.where(np.isfinite(rounding), np.abs(self._evaluator.cotangent) * rounding, 0.0)
        with quiet():
            terms = np.abs(self._evaluator.value * self._evaluator.cotangent)
        self._floor = SHORT_SUM * EPSILON["float64"] * float(np.linalg.norm(terms[np.isfinite(terms)]))

    def _add(self, k: int, x: Array, g: Array, generator: np.random.Generator) -> None:
        typical = size_of(x)
        zero = x == 0
        sizes = np.where(zero, typical, np.maximum(np.abs(x), LEAST_MOVE * typical))
        direction = _of_few_digits(np.asarray(sizes * generator.uniform(0.5, 1.5, x.shape) / np.sqrt(x.size)))
        np.negative(direction, out=direction, where=generator.integers(0, 2, x.shape, dtype=np.uint8).view(np.bool_))
        split = bool(zero.any()) and not bool(zero.all())
        for at_zero in (False, True) if split else (False,):
            own = direction if not split else np.where(zero == at_zero, direction, 0.0)
            terms = g * own.ravel()
            norm = float(np.linalg.norm(own))
            self._parts.append((k, own))
            self.at_zero.append(at_zero)
            self._ours.append(float(terms.sum()))
            rounding = float(np.linalg.norm(g * x.ravel())) if not at_zero else 0.0
            self._squares.append((float(terms @ terms), (float(roundoff(largest(g))) * norm) ** 2, rounding**2))

    @property
    def everything(self) -> list[int]:
        return list(range(len(self._parts)))

    def along(self, parts: Sequence[int], *, sweep: bool = False) -> Slope:
        """The slope if these parts are displaced together; with `sweep`, from all steps, long to very short."""
        index = np.array(parts, np.intp)
        squares = np.array([self._squares[i] for i in parts]).sum(axis=0)
        size, rounded, displacement = np.sqrt(squares)

        def difference(_: int, h: float) -> Difference:
            taken = self._evaluator.difference(0, index, np.full(index.size, h))
            # Over a very short step each entry of x + h d is rounded, in both points of a difference.
            rounded_points = 2 * EPSILON["float64"] * displacement if h < EXACT_STEP else 0.0
            return taken._replace(growth=taken.growth + rounded_points)

        steps = np.full(1, FIRST_STEP)
        if sweep:
            steps = sweep_steps(steps)
        table = DifferenceTable(one_by_one(difference), steps, np.ones(1))
        found = full_sweep(table, np.ones(1, bool)) if sweep else shrink_steps(table)
        value, uncertainty = float(found.value[0]), float(found.uncertainty[0])
        blind = bool(found.sides.suspected[0] | found.kinked[0]) or not np.isfinite(uncertainty)
        if blind:  # across kinks the value is the mean slope of both sides, and a gradient's may be any other between them
            with quiet():
                uncertainty += float(np.nan_to_num(at_shortest_step(table.at_all_steps("bend"))[0], nan=np.inf))
        ours = float(sum(self._ours[i] for i in parts))
        allowed = SAFETY * uncertainty + float(rounded)
        return Slope(ours, value, uncertainty, allowed, float(size), self._floor, blind)

    def without_effect(self, part: int) -> bool:
        """Whether the value stays what it is, up to rounding, also if this part moves far: its true gradient is zero.

        So it is with the bias of the keys of an attention, whatever its size. A part that has an effect elsewhere may have a
        small gradient here.
        """
        far = float(np.sqrt(self._parts[part][1].size))  # times a direction: each entry moves by about its own size
        taken = [self._evaluator.difference(0, np.array([part]), np.full(1, far * share)) for share in FAR]
        return all(abs(change) <= self._floor for one in taken for change in (one.both, one.ahead, one.bend))

    def contraction(self, gradients: Sequence[Array]) -> float:
        """Gradients contracted with the direction of everything."""
        return float(sum(gradients[k] @ direction.ravel() for k, direction in self._parts))

    def hidden(self, slope: Slope) -> list[int]:
        """The parts at which a small factor would not show in this slope of all."""
        return [
            i
            for i, (ours, squares) in enumerate(zip(self._ours, self._squares, strict=True))
            if FACTOR * abs(ours) <= slope.allowed and squares[0] > 0
        ]


def _of_few_digits(a: Array) -> Array:
    fraction, exponent = np.frexp(a)
    return np.asarray(np.ldexp(np.round(fraction * DIGITS) / DIGITS, exponent))
