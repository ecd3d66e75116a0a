"""Both witnesses at one point: what they measure about each gradient, before any verdict."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np

from oracle.differences import directional, partials
from oracle.differences.partials import Estimate
from oracle.effort import BATCH, ENTRIES, REPEATS
from oracle.judging.comparison import accepting
from oracle.judging.error_budget import ErrorBudget
from oracle.judging.evidence import Array, Directions, Evidence, Parameter, Values
from oracle.judging.plan import Plan
from oracle.judging.point import Point, in_float64
from oracle.judging.reference import ReferenceAt
from oracle.judging.rounding import RoundingAt
from oracle.judging.values import ValuesAt
from oracle.measures import EPSILON, distance, largest

__all__ = ["Measurements"]


@dataclass
class Measurements:
    """What can be measured at one point; each is computed once, when a verdict first needs it."""

    point: Point
    plan: Plan
    estimates: dict[int, Estimate] = field(default_factory=dict)
    """The finished differences of all entries of an argument, which are the same in every dtype."""
    narrow: Measurements | None = None
    """Those in the dtype of the user's arguments, if these are of their copies in float64. Both have the same reference."""
    lenient: bool = False
    """Whether errors that the plan accepts are forgiven."""

    @cached_property
    def reference(self) -> ReferenceAt:
        """The reference at this point."""
        return ReferenceAt(self.plan.reference, self.point, None if self.narrow is None else self.narrow.reference)

    @cached_property
    def rounding(self) -> RoundingAt:
        """What rounding does at this point."""
        return RoundingAt(self.point, self.plan, self.reference, None if self.narrow is None else self.narrow.rounding)

    @cached_property
    def values(self) -> ValuesAt:
        """The values beside the reference's."""
        return ValuesAt(self.point, self.reference, self.rounding, self.plan.flags)

    def first_evidence(self, i: int, index: Array | None = None) -> Evidence:
        """The first measurement of argument `i`: of the entries `index` alone, if given."""
        evaluator = self.point.evaluator
        ours, theirs = self.point.gradients[i], self.reference.gradient(i)
        along = None
        if index is None and ours.size > self.plan.limit:
            along = directional.differentiate_along(evaluator, i, BATCH, self.plan.seed)
            index = np.union1d(self._sample(ours, theirs), along.alone)
        estimate = self.estimates.get(i) if index is None else None
        estimate = estimate or partials.differentiate(evaluator, i, index, steps=self.plan.step)
        return self.evidence(i, estimate, Directions(along), secant=evaluator.secant(i), eps=evaluator.rounding.eps)

    def evidence(
        self, i: int, estimate: Estimate, directions: Directions, *, secant: float, eps: float = EPSILON["float64"]
    ) -> Evidence:
        """Both witnesses on argument `i`, when the differences are taken; `eps` is the rounding of the values.

        The roundoff of a gradient that is zero everywhere is measured by `secant`, the slope that would change the values by
        their own size.
        """
        leaf = self.point.leaves[i]
        theirs = self.reference.gradient(i)
        scale = max(self.rounding.scale(i), largest(theirs, estimate.value[~estimate.kink])) or secant
        e = Evidence(
            parameter=Parameter(leaf.path, np.shape(leaf.array), self.point.dtype, self.plan.flags),
            analytic=self.point.gradients[i],
            autodiff=theirs,
            estimate=estimate,
            budget=ErrorBudget(scale, secant, dtype=self.rounding.lost_in_dtype(i, scale), eps=eps),
            directions=directions,
            values=self._values,
        )
        return accepting(e, self.plan.accept) if self.lenient else e

    @property
    def _values(self) -> Values:
        if self.plan.large:
            return self.values.record
        evaluator = self.point.evaluator
        return replace(self.values.record, varies=evaluator.varies, sixteen_bits=evaluator.rounding.sixteen_bits)

    def at(self, point: Point) -> Self:
        """The same measurements at another point."""
        return replace(self, point=point, estimates={}, narrow=None)

    @cached_property
    def in_float64(self) -> Measurements | None:
        """The same arguments in float64, if they are narrower and the op takes that; the witnesses are the same."""
        wide = in_float64(self.point)
        return None if wide is None else replace(self, point=wide, narrow=self)  # with the same estimates, too

    def _sample(self, ours: Array, theirs: Array | None) -> Array:
        """Elements that are differentiated one by one: random ones, the largest, and those where the reference differs most."""
        generator = np.random.default_rng([self.plan.seed, ours.size])
        chosen = [generator.choice(ours.size, min(ENTRIES, ours.size), replace=False), np.argsort(-np.abs(ours))[:REPEATS]]
        if theirs is not None:
            chosen.append(np.argsort(-np.nan_to_num(distance(ours, theirs), nan=np.inf))[:REPEATS])
        return np.unique(np.concatenate(chosen))
