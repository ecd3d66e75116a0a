"""A gradient without its rounding, against exact derivatives: all entries at once, to 20 digits.

The backward pass is evaluated like the forward pass, on numbers with proven error bounds. That gives the gradient as its
formula has it, and how far each entry in float64 is off by rounding alone. Times a random direction of all arguments it must be
the exact derivative of the forward pass along that direction. This costs one evaluation of each pass, and an error of any entry
shows, however small.

If the two differ, halves of the direction lead to the entry whose error is the largest beside its rounding, and its exact
derivative is asked for. It may be off by a few roundings of its own size: constants such as sqrt(2 / pi) are rounded in both
passes, and not alike. It may also be off by its condition (`conditioning.conditions`) and by what rounding changes in float64.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from oracle.judging.error_budget import SAFETY, roundoff
from oracle.judging.evidence import Array, Evidence, Exact, WrongFormula
from oracle.judging.exact import contradict, with_exact
from oracle.judging.exact_point import Answer, ExactPoint, Refused, unrounded
from oracle.judging.point import Point
from oracle.streams import Stream
from oracle.text import count

__all__ = ["Formula"]


class Formula:
    """The gradients at a point as their formulas have them."""

    def __init__(self, point: Point, seed: int) -> None:
        self._point = point
        self._seed = seed
        generator = np.random.default_rng([seed, Stream.EXACT])
        self._direction = [generator.normal(size=g.size) for g in point.gradients]
        self._gradients: list[Array] = []
        self._rounding: list[Array] = []
        self._agrees = False
        self._refused = ""
        try:
            self._gradients, self._rounding = unrounded(point)
            enclosure = ExactPoint(point, 0, seed).enclosure(self._direction)
            if enclosure.sides is not None:
                raise Refused(f"a kink: {enclosure.kinks[0]}")
            self._agrees = not enclosure.least_error(np.concatenate(self._gradients), np.concatenate(self._direction))
        except Refused as refused:
            self._refused = str(refused)

    def compared(self, i: int, e: Evidence) -> Evidence:
        """The evidence about argument `i`; if an entry is wrong, with the exact derivative of the worst one."""
        try:
            found = self._compared(i, e)
        except Refused as refused:
            return e.after(f"not compared without rounding: {refused}")
        known = found.exact or Exact()
        entries = count(e.analytic.size, "entry", "entries")
        return found.after(f"{entries} without rounding, along a random direction", exact=replace(known, unrounded=True))

    def _compared(self, i: int, e: Evidence) -> Evidence:
        if self._refused:
            raise Refused(self._refused)
        if (self._rounding[i] > e.budget.against_reference).any():
            raise Refused("the exact gradient is not the one in float64")
        point, everywhere = ExactPoint(self._point, i, self._seed), np.arange(e.analytic.size)
        if self._agrees or not self._error(point, everywhere):
            return e
        j = self._worst_entry(point, everywhere)
        answer, error = point.partial(j), self._error(point, np.array([j])) / abs(self._direction[i][j])
        allowed = self.allowed(i, j)
        return _with_wrong(e, WrongFormula(j, error, allowed), answer) if error > allowed else e

    def allowed(self, i: int, j: int) -> float:
        """The largest error of entry `j` of gradient `i` that is forgiven."""
        roundings = roundoff(abs(self._point.gradients[i][j]), SAFETY) + SAFETY * float(self._rounding[i][j])
        return float(roundings + SAFETY * self._point.wide.conditions[i][j])

    def _worst_entry(self, point: ExactPoint, where: Array) -> int:
        """The entry whose error is the largest beside its rounding."""
        gradient, rounding = self._point.gradients[point.leaf], self._rounding[point.leaf]
        scale = (roundoff(np.abs(gradient), 1.0) + rounding) * np.abs(self._direction[point.leaf])

        def share(part: Array) -> float:
            error, size = self._error(point, part), float(scale[part].sum())
            return error / size if size > 0 else error and np.inf

        while where.size > 1:
            where = max(np.array_split(where, 2), key=share)
        return int(where[0])

    def _error(self, point: ExactPoint, part: Array) -> float:
        """A lower bound of the error along the direction of this part of the entries; 0 if they may be right."""
        if point.is_late():
            raise Refused("it takes too long")
        directions = [np.zeros(d.size) for d in self._direction]
        directions[point.leaf][part] = self._direction[point.leaf][part]
        return float(point.enclosure(directions).least_error(self._gradients[point.leaf], directions[point.leaf]))


def _with_wrong(e: Evidence, wrong: WrongFormula, answer: Answer) -> Evidence:
    """The evidence with the exact derivative of a wrong entry, unless the differences know better."""
    row = np.flatnonzero(e.estimate.index == wrong.entry)
    if not row.size or answer.sides is not None:
        raise Refused("a kink, or an entry that the differences have not measured")
    if contradict(e, int(row[0]), answer):
        raise Refused("the differences contradict the exact derivative")
    known = replace(e.exact or Exact(), entries=np.array([wrong.entry]), wrong=wrong)
    return replace(with_exact(e, int(row[0]), answer), exact=known)
