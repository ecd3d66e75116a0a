"""Both witnesses on one op at one point: everything that is known about its gradients, before any verdict."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, Leaf, flat, leaves_of, narrowed, vector, widened
from oracle.diagnosis import Budget, Questions, Situation
from oracle.differences import directional, partials
from oracle.differences.evaluation import Probe
from oracle.differences.partials import Estimate
from oracle.judging import generic_point, rescaled_point, subdifferential, ties
from oracle.judging.comparison import best_known, doubted, hidden
from oracle.judging.conditioning import BLURRING, NUDGES, blur, conditioning, natural_sizes, nearby
from oracle.judging.error_budget import NOTHING, Allowance
from oracle.judging.evidence import Evidence
from oracle.judging.verdict import along_errors, judge
from oracle.measures import EPSILON, differences, largest, relative
from oracle.row import Verdict
from oracle.spec import Flag
from oracle.subject import Subject

if TYPE_CHECKING:
    from oracle.autodiff import Pullback

__all__ = ["Trouble", "Witnesses", "grossly_wrong", "surveyed"]

Array = NDArray[Any]

SAMPLED = 64  # elements of a large argument: random ones, those where JAX disagrees most, and the largest
BLOCKS = 32  # and a random direction in each of so many blocks of all its elements
ROUNDED = 2.0**-13  # of a gradient's scale: the most that intermediate numbers of a narrow dtype may lose
TINY = float(np.finfo(np.float64).tiny)  # XLA takes what is smaller for 0
OPEN = ("nothing", "differences-contradict")  # reasons that another point may answer
NOISE = 16.0  # times the noise of the values
NO_ROUNDING = 64.0  # ULP of an entry: no op of a dtype rounds so
FEW = 4  # elements that are surveyed before the verdict is asked again


class Trouble(Exception):
    """What the op or its reference did instead of answering; `wrong` if the op is wrong, not merely unable."""

    def __init__(self, what: str, *, wrong: bool = False) -> None:
        super().__init__(what)
        self.wrong = wrong


def surveyed(evidence: Evidence, probe: Probe, leaf: int) -> Evidence:
    """The same, its doubtful elements surveyed: a few, the worst first, and more until one of them is still contradicted."""
    known = np.zeros(0, dtype=np.intp)
    few = FEW
    while (todo := (doubt := doubted(evidence))[~np.isin(doubt, known)][:few]).size:
        evidence = replace(evidence, estimate=partials.confirm(probe, leaf, evidence.estimate, todo))
        if np.isin(todo, doubted(evidence, only_contradicted=True)).any():
            break
        known, few = np.union1d(known, todo), 2 * few
    return evidence


def grossly_wrong(e: Evidence, dtype: np.dtype[Any]) -> bool:
    """Whether a gradient in float64 is wrong by more than an op that computes in `dtype` would round, by its own size."""
    judgement = judge(e)
    if judgement.verdict is not Verdict.FAIL:
        return False
    if e.elsewhere is not None and e.elsewhere.evidence is not None:
        e = e.elsewhere.evidence
    if judgement.reason == "along":
        return bool((along_errors(e) > NO_ROUNDING * EPSILON[dtype.name] * e.scale).any())
    wrong = judgement.contradicted
    ours, truth = e.analytic[wrong], best_known(e)[wrong]
    with np.errstate(invalid="ignore"):
        gross = np.abs(ours - truth) > NO_ROUNDING * EPSILON[dtype.name] * np.maximum(np.abs(ours), np.abs(truth))
    return bool(gross.any())


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
    estimates: dict[int, Estimate] = field(default_factory=dict)
    """What the differences have said of all entries of an argument, which is the same in every dtype."""
    nudges: ClassVar[int] = NUDGES
    """Points nearby at which the gradient is taken to see how exact it can be."""

    def evidence(self) -> Iterator[tuple[int, Evidence, Witnesses]]:
        """The evidence about each argument, by its number, and the witnesses who can say more: these, or others."""
        for i, leaf in enumerate(self.leaves):
            if self._in_float64 is not None:
                # Of a narrow dtype's rounding much must be forgiven, of the formula nothing.
                evidence, those = self._in_float64.seen(i)
                if grossly_wrong(evidence, np.asarray(leaf.array).dtype):
                    yield i, evidence, those
                    continue
            yield (i, *self.seen(i))

    def seen(self, i: int) -> tuple[Evidence, Witnesses]:
        """The evidence about argument `i`, also from elsewhere if it needs that."""
        evidence = self.about(i)
        doubtful = self._hidden(i, evidence)
        judgement = judge(evidence)
        if doubtful.size and (judgement.verdict.passes or judgement.reason in OPEN):
            found, those = rescaled_point.seek(self, i, evidence, doubtful)
            return replace(evidence, elsewhere=found), those
        if evidence.autodiff is None and judgement.verdict is Verdict.KINK:
            evidence = replace(evidence, excess=self._excess(i, evidence))
            judgement = judge(evidence)
        if judgement.verdict.passes and self._beside is not None and Flag.NOT_THE_DERIVATIVE not in self.flags:
            wrong = generic_point.seek(self._beside, i)
            if wrong is not None:
                return replace(evidence, elsewhere=wrong), self._beside
        return evidence, self

    def about(self, i: int, index: Array | None = None) -> Evidence:
        """The evidence about argument `i`; the differences are asked of the entries `index` alone, if given."""
        ours, leaf = self.gradients[i], self.leaves[i]
        theirs = flat(self.jax.cotangents)[i] if self.jax else None
        along = None
        if index is None and ours.size > self.limit:
            along = directional.differentiate_along(self.probe, i, BLOCKS, self.seed)
            index = np.union1d(self._sample(ours, theirs), along.alone)
        estimate = self.estimates.get(i) if index is None else None
        estimate = estimate or partials.differentiate(self.probe, i, index, steps=self.step)
        # A gradient that is zero everywhere is measured by the slope that would change the values by their own size.
        secant = self.probe.secant(i)
        scale = max(self._natural[1][i], largest(theirs, estimate.value[~estimate.kink])) or secant
        evidence = Evidence(
            parameter=leaf.path,
            shape=np.shape(leaf.array),
            dtype=self.dtype,
            analytic=ours,
            autodiff=theirs,
            estimate=estimate,
            along=along,
            scale=scale,
            allowance=self._allowance(i, scale, theirs),
            resolution=4 * float(np.sqrt(self.probe.eps)),
            value_error=self._values[1],
            flags=self.flags,
            overflows=not np.isfinite(vector(self.y)).all(),
            rounding=NOTHING * EPSILON["float64"] * secant,
        )
        if self.step is None:
            evidence = surveyed(evidence, self.probe, i)
        if judge(evidence).contradicted.size and self.dtype.name == "float64" and not evidence.estimate.kink.any():
            evidence = replace(evidence, allowance=evidence.allowance.beside(blur(largest(self._moved[1 + i]), scale)))
        if judge(evidence).reason == "another-function" and self.dtype.name == "float64":
            evidence = replace(evidence, blurred=BLURRING * largest(self._moved[1 + i]))
        evidence = replace(evidence, tied=ties.tied(self.probe, i, evidence))
        if theirs is None and evidence.tied.size:
            evidence = replace(evidence, joint=ties.joint(self.probe, i, evidence))
        if along is None and index is None:
            self.estimates[i] = evidence.estimate
        return evidence

    def _allowance(self, i: int, scale: float, theirs: Array | None) -> Allowance:
        if self.dtype.name == "float64":
            return Allowance.of(self.dtype, scale)
        if theirs is not None and self.jax_narrow is not None:
            by_jax = largest(differences(flat(self.jax_narrow.cotangents)[i], theirs))
            # JAX may be lucky at a point; but not in 16 bits, where it and the ops compute in 32.
            return Allowance.of(self.dtype, scale, by_jax, self._moves(i) if self.dtype.name == "float32" else None)
        moved = self._moves(i)
        if moved is not None:
            moved = max(moved, min(largest(self._rounds_narrow[i]), ROUNDED * scale))
        return Allowance.of(self.dtype, scale, moved=moved)

    def _moves(self, i: int) -> float | None:
        return None if self._moved_narrow is None else largest(self._moved_narrow[i])

    def _excess(self, i: int, e: Evidence) -> float:
        kinks = e.estimate.index[e.estimate.kink]
        return subdifferential.excess(self.subject, self.wide, widened(self.dy), i, kinks, self.seed)

    @cached_property
    def _beside(self) -> Witnesses | None:
        return generic_point.witnesses(self)

    def _hidden(self, i: int, e: Evidence) -> Array:
        found = hidden(e)
        return hidden(e, self._moved[1 + i]) if found.size else found

    @cached_property
    def gradients(self) -> list[Array]:
        """What the pullback gave, flat and in float64."""
        return flat(self.cotangents)

    @cached_property
    def _moved(self) -> list[Array]:
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
        return conditioning(all_of, (self.wide, widened(self.dy), numbers), self.seed, nudges=self.nudges)

    @cached_property
    def _moved_narrow(self) -> list[Array] | None:
        """How exact each gradient can be in a narrow dtype; None where the op does not take float64."""

        def all_of(given: Any) -> list[Array]:
            primals, dy = given
            return flat(self.subject.bwd(self.subject.fwd(*primals)[1], dy))

        try:
            return conditioning(all_of, (self.wide, widened(self.dy)), self.seed, self.dtype.name, self.nudges)
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
            return nearby(all_of, (self.wide, widened(self.dy)), self.seed, self.dtype.name, self.nudges)
        except RAISED:
            return [np.zeros(1) for _ in self.leaves]

    @cached_property
    def _in_float64(self) -> Witnesses | None:
        """The same op and arguments in float64, if they are narrower and it takes that."""
        if self.dtype.name == "float64":
            return None
        try:
            wide = replace(self.at(self.wide, widened(self.dy)), dtype=np.dtype(np.float64), estimates=self.estimates)
        except RAISED:
            return None
        vars(wide).update(probe=self.probe, jax=self.jax)
        return wide

    def at(self, primals: Any, dy: Any = None) -> Self:
        """The same at other arguments."""
        value, residuals = self.subject.fwd(*primals)
        cotangents = self.subject.bwd(residuals, optree.tree_map(np.copy, self.dy))
        leaves = leaves_of(self.subject.names(len(primals)), primals)
        return replace(self, primals=primals, leaves=leaves, y=value, cotangents=cotangents)

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
        noise = NOISE * self._value_noise if self.dtype.name == "float64" else 0.0
        allowed = Allowance.of(self.dtype, scale, by_jax).autodiff + noise + TINY
        if self.dtype.name == "float64" and not largest(error) <= allowed:
            allowed += blur(largest(self._moved[0]), scale)
        return relative(error, largest(theirs) or scale), relative(error, allowed)

    @property
    def _value_noise(self) -> float:
        return float(np.max(self.probe.noise, initial=0.0))

    @property
    def forward_error(self) -> float | None:
        """The error of the values, relative to the largest."""
        return self._values[0]

    # ------------------------------------------------------------------------------------------ for the diagnosis

    @cached_property
    def _budget(self) -> Budget:
        return Budget()

    def situation(self, i: int, batch: int | None, *, ignores_cotangent: bool) -> Situation:
        """What a diagnosis of argument `i` may ask for."""
        outputs, elements = self.probe.cotangent.size, self.probe.origin[i].size
        sizes = {} if batch is None else {"batch": batch}
        sizes |= {"number of outputs": outputs, "number of elements": elements}
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
            self.subject.defaults(len(self.primals)),
            lambda primals: flat(self.subject.bwd(self.subject.fwd(*primals)[1], widened(self.dy)))[i],
            self._budget,
            self._budget.reserved(len(self.leaves) - i - 1),
            value_by_rule=getattr(self.subject.forward, "value_by_rule", None),
        )
        return Situation(sizes | products, questions.numbers, ignores_cotangent, questions=questions)
