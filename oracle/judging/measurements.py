"""Both witnesses at one point: what they measure about each gradient, before any verdict."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from oracle.arrays import RAISED, flat, narrowed, vector
from oracle.differences import directional, partials
from oracle.differences.partials import Estimate
from oracle.judging.comparison import accepting
from oracle.judging.conditioning import PERTURBATIONS, nearby, roundoff_scales, spreads
from oracle.judging.error_budget import (
    NARROW_LOSS,
    SAMPLED_SAFETY,
    SHORT_SUM,
    ErrorBudget,
    conditioning,
    narrow_dtype,
    rounded_inside,
    roundoff,
)
from oracle.judging.evidence import Array, Directions, Evidence, Parameter, Values
from oracle.judging.point import Point, in_float64
from oracle.judging.reference import Reference
from oracle.measures import EPSILON, distance, largest, relative
from oracle.pullback import Pullback
from oracle.spec import Flag

__all__ = ["Measurements", "Plan"]

SAMPLED = 64  # elements of a large argument that are differentiated one by one: twice as many cost twice the evaluations
BLOCKS = 32  # of a large argument, each with a slope along one direction: with more, smaller errors show, at more evaluations
SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)  # XLA takes smaller values for 0


@dataclass(frozen=True)
class Plan:
    """How to measure, at whichever point."""

    reference: Reference | None
    """The same function for JAX or torch, with its keywords."""
    seed: int
    """Of random directions and samples."""
    flags: frozenset[Flag]
    """What is declared about the point."""
    step: float | None
    """The first step of the differences, for all elements; chosen by the size of each if None."""
    limit: int
    """The size of an argument up to which every element is differentiated."""
    large: bool = False
    """Whether some argument is so large that evaluations are saved: the conditioning is measured at a single point nearby, and
    the rounding noise of the values is not measured."""
    accept: float = 0.0
    """The share of the gradient's largest entry up to which an error is accepted."""
    exact: bool = False
    """Whether gradients that pass are compared with exact derivatives, too."""
    quick: bool = False
    """Whether evaluations are saved although no argument is large: of each argument one part of the entries is displaced."""


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

    def first_evidence(self, i: int, index: Array | None = None) -> Evidence:
        """The first measurement of argument `i`: of the entries `index` alone, if given."""
        evaluator = self.point.evaluator
        ours, theirs = self.point.gradients[i], self.reference_gradient(i)
        along = None
        if index is None and ours.size > self.plan.limit:
            along = directional.differentiate_along(evaluator, i, BLOCKS, self.plan.seed)
            index = np.union1d(self._sample(ours, theirs), along.alone)
        estimate = self.estimates.get(i) if index is None else None
        estimate = estimate or partials.differentiate(evaluator, i, index, steps=self.plan.step)
        return self.evidence(i, estimate, Directions(along), secant=evaluator.secant(i), eps=evaluator.eps)

    def evidence(
        self, i: int, estimate: Estimate, directions: Directions, *, secant: float, eps: float = EPSILON["float64"], **more: Any
    ) -> Evidence:
        """Both witnesses on argument `i`, when the differences are taken; `eps` is the rounding of the values.

        The roundoff of a gradient that is zero everywhere is measured by `secant`, the slope that would change the values by
        their own size.
        """
        leaf = self.point.leaves[i]
        theirs = self.reference_gradient(i)
        scale = max(self._roundoff_scales[1][i], largest(theirs, estimate.value[~estimate.kink])) or secant
        e = Evidence(
            parameter=Parameter(leaf.path, np.shape(leaf.array), self.point.dtype, self.plan.flags),
            analytic=self.point.gradients[i],
            autodiff=theirs,
            estimate=estimate,
            budget=ErrorBudget(scale, secant, dtype=self._lost_in_dtype(i, scale, theirs), eps=eps),
            directions=directions,
            values=replace(self.values, varies=not self.plan.large and self.point.evaluator.varies),
            **more,
        )
        return accepting(e, self.plan.accept) if self.lenient else e

    def at(self, point: Point) -> Self:
        """The same measurements at another point."""
        return replace(self, point=point, estimates={}, narrow=None)

    @cached_property
    def in_float64(self) -> Measurements | None:
        """The same arguments in float64, if they are narrower and the op takes that; the witnesses are the same."""
        wide = in_float64(self.point)
        return None if wide is None else replace(self, point=wide, narrow=self)  # with the same estimates, too

    @property
    def forward_error(self) -> float | None:
        """The error of the values, relative to the largest; None without a reference."""
        return self._values[0]

    @property
    def values(self) -> Values:
        """The value beside the reference's."""
        return Values(self._values[1], overflow=not np.isfinite(vector(self.point.y)).all())

    @property
    def other_values(self) -> bool:
        """Whether the reference has another value here, so that its gradient is that of another function."""
        differ = self.values.differ and Flag.NOT_THE_DERIVATIVE not in self.plan.flags
        return differ and not self._reference_loses_its_value

    @property
    def _reference_loses_its_value(self) -> bool:
        """Whether the reference's own value moves as far when its arguments are rounded: it loses these digits itself."""
        if self.reference_pullback is None or self.point.dtype.name != "float64":
            return False
        error = distance(vector(self.point.y), vector(self.reference_pullback.value))
        return bool((error <= SAMPLED_SAFETY * largest(self._spreads[0])).all())

    @property
    def reference_is_narrow(self) -> bool:
        """Whether the reference alone computes in float32: its values are such numbers, and ours but for their rounding."""
        if self.reference_pullback is None or self.point.dtype.name != "float64" or not self.values.differ:
            return False
        ours, theirs = vector(self.point.y), vector(self.reference_pullback.value)
        with np.errstate(over="ignore"):
            held, too = (np.array_equal(a.astype(np.float32), a) for a in (theirs, ours))
        return held and not too and largest(distance(ours, theirs)) <= roundoff(largest(theirs), SHORT_SUM, "float32")

    @property
    def note(self) -> str:
        """What is to be known about the reference; empty for an ordinary one, and for none."""
        pullbacks = (self.reference_pullback, self._reference_narrow)
        return "; ".join(dict.fromkeys(p.note for p in pullbacks if p is not None and p.note))

    # ------------------------------------------------------------------------------------------ the reference

    @cached_property
    def reference_pullback(self) -> Pullback | None:
        """The reference in float64: the truth."""
        if self.narrow is not None:
            return self.narrow.reference_pullback
        reference = self.plan.reference
        return None if reference is None else reference.pullback(self.point.wide, self.point.wide_dy)

    @cached_property
    def _reference_narrow(self) -> Pullback | None:
        """The reference in the dtype of the primals: what rounding does to it there."""
        if self.plan.reference is None or self.point.dtype.name == "float64":
            return None
        return self.plan.reference.pullback(self.point.primals, self.point.dy)

    def true_gradients(self, primals: Any, dy: Any) -> list[Array]:
        """The reference's gradients at other arguments in float64, flat."""
        reference = self.plan.reference
        return [] if reference is None else flat(reference.pullback(primals, dy).cotangents)

    def reference_gradient(self, i: int) -> Array | None:
        """The reference's gradient by argument `i` in float64, flat; None without a reference."""
        return None if self.reference_pullback is None else flat(self.reference_pullback.cotangents)[i]

    @cached_property
    def _values(self) -> tuple[float | None, float | None]:
        """The largest difference of our values and the reference's: relative to the largest, and to the error budget."""
        if self.reference_pullback is None:
            return None, None
        ours, theirs = vector(self.point.y), vector(self.reference_pullback.value)
        narrow, dtype = self._reference_narrow, self.point.dtype
        by_reference = None if narrow is None else largest(distance(vector(narrow.value), theirs))
        if dtype.name != "float64":
            with np.errstate(over="ignore"):
                rounded = theirs.astype(dtype).astype(np.float64)
            theirs = np.where(np.isinf(rounded), rounded, theirs)  # a value that this dtype cannot hold is rightly infinite
        error = distance(ours, theirs)
        scale = max(self._roundoff_scales[0], largest(theirs))
        budget = ErrorBudget(scale, 0.0, dtype=narrow_dtype(dtype.name, scale, by_reference))
        allowed = budget.against_reference + SMALLEST_NORMAL
        if dtype.name == "float64" or (not largest(error) <= allowed and self._rounds_below(dtype.name)):
            allowed += SAMPLED_SAFETY * self._value_noise
        if dtype.name == "float64" and not largest(error) <= allowed:
            allowed += float(conditioning(largest(self._spreads[0]), scale))
        return relative(error, largest(theirs) or scale), relative(error, allowed)

    def lost_inside(self, i: int) -> float:
        """The term `t` of a float64 gradient that is computed in a narrower dtype inside; 0 if it is not."""
        noise = self.point.inner_noise[i]
        return rounded_inside(noise, max(self._roundoff_scales[1][i], largest(self.reference_gradient(i)))) if noise else 0.0

    def _rounds_below(self, dtype: str) -> bool:
        """Whether the function computes in a dtype that is narrower than this one inside."""
        return not self.plan.large and self.point.evaluator.inner_eps > 2 * EPSILON[dtype]

    @property
    def _value_noise(self) -> float:
        """The largest rounding noise of a value; 0 where it is not measured."""
        return 0.0 if self.plan.large else float(np.max(self.point.evaluator.noise, initial=0.0))

    # ------------------------------------------------------------------------------------------ the budget

    def gradient_spread(self, i: int) -> Array:
        """How far each entry of gradient `i` moves when the arguments are rounded: by the reference, if there is one."""
        return self._spreads[1 + i]

    @property
    def _perturbations(self) -> int:
        """Points nearby at which the gradient is evaluated to measure its conditioning."""
        return 1 if self.plan.large else PERTURBATIONS  # the largest of very many entries moves as far at one as at a few

    @cached_property
    def _spreads(self) -> list[Array]:
        """How far the value and each gradient move; without a reference also when float options are rounded."""
        subject = self.point.subject

        def all_of(given: Any) -> list[Array]:
            primals, dy, options = given
            if self.plan.reference is not None:
                pullback = self.plan.reference.pullback(primals, dy)
                return [vector(pullback.value), *flat(pullback.cotangents)]
            rounded = replace(subject, options={**subject.options, **options})
            value, residuals = rounded.fwd(*primals)
            return [vector(value), *flat(rounded.bwd(residuals, dy))]

        floats = {name: a for name, a in subject.options.items() if isinstance(a, np.ndarray) and a.dtype.kind == "f"}
        given = (self.point.wide, self.point.wide_dy, floats)
        return spreads(all_of, given, self.plan.seed, perturbations=self._perturbations)

    @cached_property
    def _roundoff_scales(self) -> tuple[float, list[float]]:
        """The largest value and the largest entry of each gradient, here and on the ray to the origin."""
        if self.narrow is not None and self.plan.large:
            return self.narrow._roundoff_scales
        p = self.point
        return roundoff_scales(p.subject, p.primals, p.dy, p.y, p.cotangents)

    def _lost_in_dtype(self, i: int, scale: float, theirs: Array | None) -> float:
        """The term `t` of the error budget of argument `i`."""
        name = self.point.dtype.name
        if name == "float64":
            return 0.0
        if theirs is not None and self._reference_narrow is not None:
            by_reference = largest(distance(flat(self._reference_narrow.cotangents)[i], theirs))
            # The reference may be lucky at a point; but not in 16 bits, where it and the ops compute in 32.
            return narrow_dtype(name, scale, by_reference, self._moved_in_dtype(i) if name == "float32" else None)
        own_error = self._moved_in_dtype(i)
        if own_error is not None:
            own_error = max(own_error, min(largest(self._lost_nearby[i]), NARROW_LOSS * scale))
        return narrow_dtype(name, scale, own_error=own_error)

    def _moved_in_dtype(self, i: int) -> float | None:
        return None if self._all_moved_in_dtype is None else largest(self._all_moved_in_dtype[i])

    @cached_property
    def _all_moved_in_dtype(self) -> list[Array] | None:
        """How far each gradient moves when the arguments are rounded to their dtype; None if the op does not take float64."""
        point, given = self.point, (self.point.wide, self.point.wide_dy)
        try:
            return spreads(
                lambda both: point.subject.gradients(*both), given, self.plan.seed, point.dtype.name, self._perturbations
            )
        except RAISED:
            return None

    @cached_property
    def _lost_nearby(self) -> list[Array]:
        """How far each gradient at nearby points is from its own in float64: what its intermediate numbers lose."""
        point = self.point

        def lost(given: Any) -> list[Array]:
            primals, dy = given
            narrow = point.subject.gradients(narrowed(primals, point.primals), narrowed(dy, point.dy))
            return [distance(a, b) for a, b in zip(narrow, point.subject.gradients(primals, dy), strict=True)]

        try:
            return nearby(lost, (point.wide, point.wide_dy), self.plan.seed, point.dtype.name, self._perturbations)
        except RAISED:
            return [np.zeros(1) for _ in point.leaves]

    def _sample(self, ours: Array, theirs: Array | None) -> Array:
        """Elements that are differentiated one by one: random ones, the largest, and those where the reference differs most."""
        generator = np.random.default_rng([self.plan.seed, ours.size])
        few = SAMPLED // 4
        chosen = [generator.choice(ours.size, min(SAMPLED, ours.size), replace=False), np.argsort(-np.abs(ours))[:few]]
        if theirs is not None:
            chosen.append(np.argsort(-np.nan_to_num(distance(ours, theirs), nan=np.inf))[:few])
        return np.unique(np.concatenate(chosen))
