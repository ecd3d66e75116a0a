"""Both witnesses on one op at one point: everything that is known about its gradients, before any verdict."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, Leaf, flat, leaves_of, narrowed, vector, widened
from oracle.differences import directional, partials
from oracle.differences.directional import Directional
from oracle.differences.evaluation import Evaluator
from oracle.differences.partials import Estimate
from oracle.judging.conditioning import PERTURBATIONS, condition_error, conditioning, nearby, roundoff_scales
from oracle.judging.error_budget import NUMERICALLY_ZERO, ErrorBudget
from oracle.judging.evidence import Evidence
from oracle.measures import EPSILON, differences, largest, relative
from oracle.spec import Flag
from oracle.subject import Subject

if TYPE_CHECKING:
    from oracle.autodiff import Pullback

__all__ = ["Plan", "Trouble", "Witnesses"]

Array = NDArray[Any]

SAMPLED = 64  # elements of a large argument: random ones, those where JAX disagrees most, and the largest
BLOCKS = 32  # and a random direction in each of so many blocks of all its elements
ROUNDED = 2.0**-13  # of a gradient's scale: the most that intermediate numbers of a narrow dtype may lose
TINY = float(np.finfo(np.float64).tiny)  # XLA takes what is smaller for 0
NOISE = 16.0  # times the noise of the values


class Trouble(Exception):
    """What the op or its reference did instead of answering; `wrong` if the op is wrong, not merely unable."""

    def __init__(self, what: str, *, wrong: bool = False) -> None:
        super().__init__(what)
        self.wrong = wrong


@dataclass(frozen=True)
class Plan:
    """How is measured, at whichever point."""

    reference: Callable[..., Any] | None
    """The same function for JAX."""
    options: Mapping[str, Any]
    """Keywords of the op and of the reference."""
    seed: int
    """Of random directions and samples."""
    flags: frozenset[Flag]
    """What is special about the point."""
    step: float | None
    """The first step of the differences, for all elements; chosen by the size of each if None."""
    limit: int
    """The size of an argument up to which every element is differentiated."""


@dataclass
class Witnesses:
    """What they are asked about: the gradient of `subject` at `primals` that its pullback gave for `dy`.

    Everything is computed in float64, whatever the dtype of the primals; what is narrower is compared with that truth.
    """

    subject: Subject
    primals: tuple[Any, ...]
    leaves: list[Leaf]
    dtype: np.dtype[Any]
    y: Any
    dy: Any
    cotangents: tuple[Any, ...]
    plan: Plan
    estimates: dict[int, Estimate] = field(default_factory=dict)
    """What the differences have said of all entries of an argument, which is the same in every dtype."""
    perturbations: ClassVar[int] = PERTURBATIONS
    """Points nearby at which the gradient is taken to see how exact it can be."""

    def measured(self, i: int, index: Array | None = None) -> Evidence:
        """What both say of argument `i` at first; the differences of the entries `index` alone, if given."""
        ours = self.gradients[i]
        theirs = flat(self.jax.cotangents)[i] if self.jax else None
        along = None
        if index is None and ours.size > self.plan.limit:
            along = directional.differentiate_along(self.evaluator, i, BLOCKS, self.plan.seed)
            index = np.union1d(self._sample(ours, theirs), along.alone)
        estimate = self.estimates.get(i) if index is None else None
        estimate = estimate or partials.differentiate(self.evaluator, i, index, steps=self.plan.step)
        return self.stated(i, estimate, secant=self.evaluator.secant(i), eps=self.evaluator.eps, along=along)

    def stated(
        self, i: int, estimate: Estimate, *, secant: float, eps: float, along: Directional | None = None, **more: Any
    ) -> Evidence:
        """What both say of argument `i`, given what the differences do; `eps` is the rounding of the values.

        A gradient that is zero everywhere is measured by `secant`, the slope that would change the values by their own size.
        """
        leaf = self.leaves[i]
        theirs = flat(self.jax.cotangents)[i] if self.jax else None
        scale = max(self.roundoff_scale[1][i], largest(theirs, estimate.value[~estimate.kink])) or secant
        return Evidence(
            parameter=leaf.path,
            shape=np.shape(leaf.array),
            dtype=self.dtype,
            analytic=self.gradients[i],
            autodiff=theirs,
            estimate=estimate,
            along=along,
            scale=scale,
            budget=self._budget(i, scale, theirs),
            resolution=4 * float(np.sqrt(eps)),
            value_error=self._values[1],
            flags=self.plan.flags,
            overflows=not np.isfinite(vector(self.y)).all(),
            rounding=NUMERICALLY_ZERO * EPSILON["float64"] * secant,
            **more,
        )

    def _budget(self, i: int, scale: float, theirs: Array | None) -> ErrorBudget:
        if self.dtype.name == "float64":
            return ErrorBudget.of(self.dtype, scale)
        if theirs is not None and self.jax_narrow is not None:
            by_jax = largest(differences(flat(self.jax_narrow.cotangents)[i], theirs))
            # JAX may be lucky at a point; but not in 16 bits, where it and the ops compute in 32.
            return ErrorBudget.of(self.dtype, scale, by_jax, self._condition_of(i) if self.dtype.name == "float32" else None)
        condition = self._condition_of(i)
        if condition is not None:
            condition = max(condition, min(largest(self._rounds_narrow[i]), ROUNDED * scale))
        return ErrorBudget.of(self.dtype, scale, condition=condition)

    def _condition_of(self, i: int) -> float | None:
        return None if self._condition_narrow is None else largest(self._condition_narrow[i])

    @cached_property
    def gradients(self) -> list[Array]:
        """What the pullback gave, flat and in float64."""
        return flat(self.cotangents)

    @cached_property
    def condition(self) -> list[Array]:
        """How exact the values and each gradient can be: by JAX, if it is there to ask."""

        def all_of(given: Any) -> list[Array]:
            primals, dy, options = given
            pullback = self._pull(primals, dy)
            if pullback:
                return [vector(pullback.value), *flat(pullback.cotangents)]
            subject = replace(self.subject, options={**self.subject.options, **options})
            value, residuals = subject.fwd(*primals)
            return [vector(value), *flat(subject.bwd(residuals, dy))]

        numbers = {name: a for name, a in self.subject.options.items() if isinstance(a, np.ndarray) and a.dtype.kind == "f"}
        return conditioning(all_of, (self.wide, widened(self.dy), numbers), self.plan.seed, perturbations=self.perturbations)

    @cached_property
    def _condition_narrow(self) -> list[Array] | None:
        """How exact each gradient can be in a narrow dtype; None where the op does not take float64."""

        def all_of(given: Any) -> list[Array]:
            primals, dy = given
            return flat(self.subject.bwd(self.subject.fwd(*primals)[1], dy))

        try:
            return conditioning(all_of, (self.wide, widened(self.dy)), self.plan.seed, self.dtype.name, self.perturbations)
        except RAISED:
            return None

    @cached_property
    def _rounds_narrow(self) -> list[Array]:
        """How far each gradient at neighbouring points is from its own in float64: what its intermediate numbers lose."""

        def all_of(given: Any) -> list[Array]:
            primals, dy = given
            narrow, wide = (
                flat(self.subject.bwd(self.subject.fwd(*p)[1], d))
                for p, d in ((narrowed(primals, self.primals), narrowed(dy, self.dy)), (primals, dy))
            )
            return [differences(a, b) for a, b in zip(narrow, wide, strict=True)]

        try:
            return nearby(all_of, (self.wide, widened(self.dy)), self.plan.seed, self.dtype.name, self.perturbations)
        except RAISED:
            return [np.zeros(1) for _ in self.leaves]

    @cached_property
    def in_float64(self) -> Witnesses | None:
        """The same op and arguments in float64, if they are narrower and it takes that."""
        if self.dtype.name == "float64":
            return None
        try:
            wide = replace(self.at(self.wide, widened(self.dy)), dtype=np.dtype(np.float64), estimates=self.estimates)
        except RAISED:
            return None
        vars(wide).update(evaluator=self.evaluator, jax=self.jax)
        return wide

    def at(self, primals: Any, dy: Any = None) -> Self:
        """The same at other arguments."""
        value, residuals = self.subject.fwd(*primals)
        cotangents = self.subject.bwd(residuals, optree.tree_map(np.copy, self.dy))
        leaves = leaves_of(self.subject.names(len(primals)), primals)
        return replace(self, primals=primals, leaves=leaves, y=value, cotangents=cotangents)

    def _sample(self, ours: Array, theirs: Array | None) -> Array:
        generator = np.random.default_rng([self.plan.seed, ours.size])
        few = SAMPLED // 4
        chosen = [generator.choice(ours.size, min(SAMPLED, ours.size), replace=False), np.argsort(-np.abs(ours))[:few]]
        if theirs is not None:
            chosen.append(np.argsort(-np.nan_to_num(differences(ours, theirs), nan=np.inf))[:few])
        return np.unique(np.concatenate(chosen))

    # ------------------------------------------------------------------------------------------ the differences

    @cached_property
    def wide(self) -> Any:
        return tuple(widened(self.primals))

    @cached_property
    def evaluator(self) -> Evaluator:
        try:
            return Evaluator(self.subject.value, self.wide, widened(self.dy))
        except RAISED as error:
            raise Trouble(f"the forward pass, run again in float64, raised {type(error).__name__}: {error}") from error

    @cached_property
    def roundoff_scale(self) -> tuple[float, list[float]]:
        """The largest value and the largest entry of each gradient, here and on the way to the origin."""
        return roundoff_scales(self.subject, self.primals, self.dy, self.y, self.cotangents)

    # ------------------------------------------------------------------------------------------ JAX

    @cached_property
    def jax(self) -> Pullback | None:
        """The reference in float64: the truth."""
        return self._pull(self.wide, widened(self.dy))

    @cached_property
    def jax_narrow(self) -> Pullback | None:
        """The reference in the dtype of the primals: what rounding does to JAX there."""
        return None if self.dtype.name == "float64" else self._pull(self.primals, self.dy)

    @cached_property
    def _differentiable(self) -> Callable[[Any, Any], Pullback]:
        from oracle import autodiff  # JAX is imported where it is needed, not before

        reference: Any = self.plan.reference
        return autodiff.differentiable(reference, self.plan.options)

    def _pull(self, primals: tuple[Any, ...], dy: Any) -> Pullback | None:
        if self.plan.reference is None:
            return None
        from oracle import autodiff

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pullback = self._differentiable(primals, dy)
        except autodiff.StructureError as error:
            raise Trouble(f"another function than the reference: {error}", wrong=True) from error
        except RAISED as error:
            raise Trouble(f"the reference raised {type(error).__name__}: {error}") from error
        return pullback

    @cached_property
    def _values(self) -> tuple[float | None, float | None]:
        """The largest difference of our values and the reference's: relative to the largest, and to what is allowed."""
        if self.jax is None:
            return None, None
        ours, theirs = vector(self.y), vector(self.jax.value)
        by_jax = largest(differences(vector(self.jax_narrow.value), theirs)) if self.jax_narrow else None
        if self.dtype.name != "float64":
            with np.errstate(over="ignore"):
                rounded = theirs.astype(self.dtype).astype(np.float64)
            theirs = np.where(np.isinf(rounded), rounded, theirs)  # what this dtype cannot hold is rightly infinite
        error = differences(ours, theirs)
        scale = max(self.roundoff_scale[0], largest(theirs))
        noise = NOISE * self._value_noise if self.dtype.name == "float64" else 0.0
        allowed = ErrorBudget.of(self.dtype, scale, by_jax).autodiff + noise + TINY
        if self.dtype.name == "float64" and not largest(error) <= allowed:
            allowed += condition_error(largest(self.condition[0]), scale)
        return relative(error, largest(theirs) or scale), relative(error, allowed)

    @property
    def _value_noise(self) -> float:
        return float(np.max(self.evaluator.noise, initial=0.0))

    @property
    def forward_error(self) -> float | None:
        """The error of the values, relative to the largest."""
        return self._values[0]
