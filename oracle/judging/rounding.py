"""What rounding does to the values and gradients at one point: their sizes, how far they move, what a narrow dtype loses."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from oracle.arrays import RAISED, flat, narrowed, vector
from oracle.effort import SAMPLES
from oracle.judging.conditioning import as_effective, nearby, roundoff_scales, spreads
from oracle.judging.error_budget import NARROW_LOSS, narrow_dtype, rounded_inside
from oracle.judging.evidence import Array
from oracle.judging.plan import Plan
from oracle.judging.point import Point
from oracle.judging.reference import ReferenceAt
from oracle.measures import EPSILON, distance, largest

__all__ = ["RoundingAt"]


class RoundingAt:
    """What rounding does at one point; each number is measured once, when it is first needed."""

    def __init__(self, point: Point, plan: Plan, reference: ReferenceAt, narrow: RoundingAt | None = None) -> None:
        self._point = point
        self._plan = plan
        self._reference = reference
        self._narrow = narrow
        """The same at the arguments in their own dtype, if `point` has their copies in float64."""

    def spread(self, i: int) -> Array:
        """How far each entry of gradient `i` moves when the arguments are rounded: by the reference, if there is one."""
        return self._spreads[1 + i]

    @property
    def value_spread(self) -> float:
        """How far the value moves then: the largest of all its entries."""
        return largest(self._spreads[0])

    def scale(self, i: int) -> float:
        """The largest entry of gradient `i`, here and on the ray to the origin."""
        return self._scales[1][i]

    @property
    def value_scale(self) -> float:
        """The largest value, here and on the ray to the origin."""
        return self._scales[0]

    @property
    def value_noise(self) -> float:
        """The largest rounding noise of a value; 0 where it is not measured."""
        return 0.0 if self._plan.large else float(np.max(self._point.evaluator.noise, initial=0.0))

    def is_below(self, dtype: str) -> bool:
        """Whether the function computes in a dtype that is narrower than this one inside."""
        return not self._plan.large and self._point.evaluator.rounding.inner_eps > 2 * EPSILON[dtype]

    def lost_inside(self, i: int) -> float:
        """The term `t` of a float64 gradient that is computed in a narrower dtype inside; 0 if it is not."""
        noise = self._point.inner_noise[i]
        return rounded_inside(noise, max(self.scale(i), largest(self._reference.gradient(i)))) if noise else 0.0

    def lost_in_dtype(self, i: int, scale: float) -> float:
        """The term `t` of the error budget of argument `i`."""
        name, theirs, in_its_dtype = self._point.dtype.name, self._reference.gradient(i), self._reference.in_its_dtype
        if name == "float64":
            return 0.0
        if theirs is not None and in_its_dtype is not None:
            by_reference = largest(distance(flat(in_its_dtype.cotangents)[i], theirs))
            # The reference may be lucky at a point; but not in 16 bits, where it and the ops compute in 32.
            return narrow_dtype(name, scale, by_reference, self.moved_in_dtype(i) if name == "float32" else None)
        own_error = self.moved_in_dtype(i)
        if own_error is not None:
            own_error = max(own_error, min(largest(self._lost_nearby[i]), NARROW_LOSS * scale))
        return narrow_dtype(name, scale, own_error=own_error)

    @property
    def _perturbations(self) -> int:
        """Points nearby at which the gradient is evaluated to measure its conditioning."""
        return 1 if self._plan.large else SAMPLES  # the largest of very many entries moves as far at one as at a few

    @cached_property
    def _spreads(self) -> list[Array]:
        """How far the value and each gradient move; without a reference also when float options are rounded."""
        subject = self._point.subject

        def all_of(given: Any) -> list[Array]:
            primals, dy, options = given
            if self._plan.reference is not None:
                pullback = self._plan.reference.pullback(primals, dy)
                return [vector(pullback.value), *flat(pullback.cotangents)]
            rounded = replace(subject, options={**subject.options, **options})
            value, residuals = rounded.fwd(*primals)
            return [vector(value), *flat(rounded.bwd(residuals, dy))]

        floats = {name: a for name, a in subject.options.items() if isinstance(a, np.ndarray) and a.dtype.kind == "f"}
        given = (self._point.wide.primals, self._point.wide.dy, floats)
        return spreads(all_of, given, self._plan.seed, perturbations=self._perturbations)

    @cached_property
    def _scales(self) -> tuple[float, list[float]]:
        if self._narrow is not None and self._plan.large:
            return self._narrow._scales
        p = self._point
        return roundoff_scales(p.subject, p.primals, p.dy, p.y, p.cotangents)

    @property
    def value_moved_in_dtype(self) -> float | None:
        """How far the value moves when the arguments are rounded to their dtype; None if the op does not take float64."""
        return None if self._all_moved_in_dtype is None else largest(self._all_moved_in_dtype[0])

    def moved_in_dtype(self, i: int) -> float | None:
        """How far gradient `i` moves then: the largest of its entries."""
        return None if self._all_moved_in_dtype is None else largest(self._all_moved_in_dtype[1 + i])

    @cached_property
    def effective(self) -> list[float]:
        """The size of each gradient with which it would have as much effect as the most effective one."""
        return as_effective(self._point.gradients, [leaf.array for leaf in self._point.leaves])

    @cached_property
    def _all_moved_in_dtype(self) -> list[Array] | None:
        """How far the value and each gradient move when the arguments are rounded to their dtype, if the op takes float64."""
        subject, given = self._point.subject, (self._point.wide.primals, self._point.wide.dy)

        def all_of(given: Any) -> list[Array]:
            primals, dy = given
            value, residuals = subject.fwd(*primals)
            return [vector(value), *flat(subject.bwd(residuals, dy))]

        try:
            return spreads(all_of, given, self._plan.seed, self._point.dtype.name, self._perturbations)
        except RAISED:
            return None

    @cached_property
    def _lost_nearby(self) -> list[Array]:
        """How far each gradient at nearby points is from its own in float64: what its intermediate numbers lose."""
        point = self._point

        def lost(given: Any) -> list[Array]:
            primals, dy = given
            narrow = point.subject.gradients(narrowed(primals, point.primals), narrowed(dy, point.dy))
            return [distance(a, b) for a, b in zip(narrow, point.subject.gradients(primals, dy), strict=True)]

        try:
            return nearby(lost, (point.wide.primals, point.wide.dy), self._plan.seed, point.dtype.name, self._perturbations)
        except RAISED:
            return [np.zeros(1) for _ in point.leaves]
