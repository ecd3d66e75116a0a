"""Both witnesses on one op at one point: everything that is known about its gradients, before any verdict."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oracle import numerical
from oracle.diagnosis import Budget, Questions, Situation
from oracle.measures import differences, largest, relative
from oracle.probe import RAISED, Probe, vector
from oracle.subject import Leaf, Subject, blur, conditioning, flat, leaves_of, natural_sizes, widened
from oracle.verdict import Allowance, Evidence, judge

if TYPE_CHECKING:
    from oracle.autodiff import Pullback
    from oracle.spec import Flag

__all__ = ["Trouble", "Witnesses"]

Array = NDArray[Any]

SAMPLED = 64  # elements of a large argument: random ones, those where JAX disagrees most, and the largest
DIRECTIONS = 16  # and random directions of all its elements


class Trouble(Exception):
    """What the op or its reference did instead of answering; `wrong` if the op is wrong, not merely unable."""

    def __init__(self, what: str, *, wrong: bool = False) -> None:
        super().__init__(what)
        self.wrong = wrong


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
    reference: Callable[..., Any] | None
    options: Mapping[str, Any]
    seed: int
    flags: frozenset[Flag]
    step: float | None
    limit: int

    def evidence(self) -> Iterator[Evidence]:
        """The evidence about each argument, in order."""
        ours = flat(self.cotangents)
        theirs: list[Any] = flat(self.jax.cotangents) if self.jax else [None] * len(ours)
        narrow = flat(self.jax_narrow.cotangents) if self.jax_narrow else None
        for i, leaf in enumerate(self.leaves):
            by_jax = largest(differences(narrow[i], theirs[i])) if narrow else None
            yield self._about(i, leaf, ours[i], theirs[i], by_jax)

    def _about(self, i: int, leaf: Leaf, ours: Array, theirs: Array | None, by_jax: float | None) -> Evidence:
        index, along = None, None
        if ours.size > self.limit:
            index = self._sample(ours, theirs)
            along = numerical.differentiate_along(self.probe, i, DIRECTIONS, self.seed)
        estimate = numerical.differentiate(self.probe, i, index, steps=self.step)
        # A gradient that is zero everywhere is measured by the slope that would change the values by their own size.
        scale = max(self._natural[1][i], largest(theirs, estimate.value[~estimate.kink])) or self.probe.secant(i)
        evidence = Evidence(
            parameter=leaf.path,
            shape=np.shape(leaf.array),
            dtype=self.dtype,
            analytic=ours,
            autodiff=theirs,
            estimate=estimate,
            along=along,
            scale=scale,
            allowance=Allowance.of(self.dtype, scale, by_jax),
            resolution=float(np.sqrt(self.probe.eps)),
            value_error=self._values[1],
            flags=self.flags,
        )
        first = judge(evidence)
        if not first.verdict.passes and first.contradicted.size:
            if self.step is None:
                doubted = np.isin(estimate.index, first.contradicted)
                evidence = replace(evidence, estimate=numerical.confirm(self.probe, i, estimate, doubted))
            if self.dtype.name == "float64" and not estimate.kink.any():
                evidence = replace(evidence, allowance=evidence.allowance.beside(blur(self._conditioning[1 + i], scale)))
        return evidence

    @cached_property
    def _conditioning(self) -> list[float]:
        """How exact the values and each gradient can be: by JAX, if it is there to ask."""

        def all_of(primals: Any) -> list[Array]:
            seed = widened(self.dy)
            pullback = self._pull(primals, seed)
            if pullback:
                return [vector(pullback.value), *flat(pullback.cotangents)]
            value, residuals = self.subject.fwd(*primals)
            return [vector(value), *flat(self.subject.bwd(residuals, seed))]

        return conditioning(all_of, self.wide, self.seed)

    def _sample(self, ours: Array, theirs: Array | None) -> Array:
        generator = np.random.default_rng([self.seed, ours.size])
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
    def probe(self) -> Probe:
        try:
            return Probe(self.subject.value, self.wide, widened(self.dy))
        except RAISED as error:
            raise Trouble(f"the forward pass, run again in float64, raised {type(error).__name__}: {error}") from error

    @cached_property
    def _natural(self) -> tuple[float, list[float]]:
        """The largest value and the largest entry of each gradient, here and on the way to the origin."""
        return natural_sizes(self.subject, self.primals, self.dy, self.y, self.cotangents)

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

        reference: Any = self.reference
        return autodiff.differentiable(reference, self.options)

    def _pull(self, primals: tuple[Any, ...], dy: Any) -> Pullback | None:
        if self.reference is None:
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
        scale = max(self._natural[0], largest(theirs))
        allowed = Allowance.of(self.dtype, scale, by_jax).autodiff
        if self.dtype.name == "float64" and not largest(error) <= allowed:
            allowed += blur(self._conditioning[0], scale)
        return relative(error, largest(theirs) or scale), relative(error, allowed)

    @property
    def forward_error(self) -> float | None:
        """The error of the values, relative to the largest."""
        return self._values[0]

    # ------------------------------------------------------------------------------------------ for the diagnosis

    @cached_property
    def _budget(self) -> Budget:
        return Budget()

    def situation(self, i: int, samples: int, *, ignores_cotangent: bool) -> Situation:
        """What a diagnosis of argument `i` may ask for."""
        outputs, elements = self.probe.cotangent.size, self.probe.origin[i].size
        sizes = {"batch": samples, "number of outputs": outputs, "number of elements": elements}
        products: dict[str, int] = {}
        value = leaves_of(("the value",), (self.y,))
        for leaf in (*self.leaves, *value):
            sizes |= {f"dimension {d} of {leaf.path}": n for d, n in enumerate(np.shape(leaf.array))}
        for leaf in (*value, *self.leaves):  # a mean over several axes is mostly one of the cotangent
            shape = np.shape(leaf.array)
            for few in (dims for count in range(2, len(shape) + 1) for dims in combinations(range(len(shape)), count)):
                words = ", ".join(map(str, few[:-1])) + f" and {few[-1]}"
                products[f"dimensions {words} of {leaf.path}"] = int(np.prod([shape[d] for d in few]))
        paths = [leaf.path for leaf in self.leaves]
        questions = Questions(
            lambda *primals, **options: self.subject.forward(*primals, **options)[0],
            self.wide,
            paths,
            i,
            widened(self.dy),
            self.subject.options,
            self.subject.defaults,
            lambda primals: flat(self.subject.bwd(self.subject.fwd(*primals)[1], widened(self.dy)))[i],
            self._budget,
            self._budget.reserved(len(self.leaves) - i - 1),
        )
        return Situation(sizes | products, questions.numbers, ignores_cotangent, questions)
