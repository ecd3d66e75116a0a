"""The witnesses of large arguments: every element by JAX; by differences some, and all of them along a direction.

What the differences cost is counted in evaluations for each argument, not for each of its elements:

- A chain is looked at stage by stage (`stages`): each with its own parameters, its own input and the cotangent that reaches it.
  What a stage hands back to the one before is checked like a gradient, since all gradients before it are made of that.
- Of each argument one entry for each set of outputs is displaced, all at once (`grouping`); then all entries along a direction
  that is read off for each set of outputs (`sweep`); and those that disagree most.
- Where a direction contradicts the gradient, its entries are halved until one is left, which is named.

Entries are judged by the rounding of the largest entry of their gradient, and at these arguments alone: the small cases of an
op are there for other points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, flat, size_of, vector, widened
from oracle.at_size import stages, sweep
from oracle.at_size.grouping import Reading, reading_of
from oracle.at_size.resolution import allowed
from oracle.at_size.sampling import chosen_entries, largest_entries, moving_entries
from oracle.at_size.stages import Stage
from oracle.differences.evaluation import Evaluator
from oracle.differences.partials import Estimate, chosen, replaced
from oracle.judging.comparison import Comparison, best_known, ratio
from oracle.judging.conditioning import CONDITION_SAFETY, condition_error
from oracle.judging.error_budget import NUMERICALLY_ZERO, ErrorBudget
from oracle.judging.escalation import grossly_wrong
from oracle.judging.evidence import Evidence, Swept
from oracle.judging.measurements import Witnesses
from oracle.judging.verdict import judge
from oracle.measures import EPSILON, differences, largest
from oracle.row import Verdict

__all__ = ["LARGE", "AtSize"]

Array = NDArray[Any]

LARGE = 2**16  # elements of one argument from which on evaluations are counted for each argument
LEADING = 4  # entries of each kind that are looked at in any case: where JAX or a stage disagrees most, and the largest
WRONG_GROUPS = 2  # of a direction, in each of which a wrong entry is looked for
SAME = 64.0  # ULP of a gradient's largest entry, by which the contributions of its stages may miss it


@dataclass
class AtSize(Witnesses):
    """Both witnesses where some argument has very many elements."""

    links: list[tuple[Stage, Evidence]] = field(default_factory=list)
    """What each stage hands back to the one before, with the evidence about it."""
    perturbations: ClassVar[int] = 1  # the largest of very many entries is moved as far as any at a few points
    narrow: list[Array] | None = None
    """The gradients in a narrower dtype, whose worst entries are looked at, too."""

    def evidence(self) -> Iterator[tuple[int, Evidence, Witnesses]]:
        """The evidence about each argument, and the witnesses who can say more."""
        wide = self.in_float64
        formula = wide if isinstance(wide, AtSize) else self
        seen = formula.differences_of_all()
        for i, leaf in enumerate(self.leaves):
            if formula is not self:
                # Of a narrow dtype's rounding much must be forgiven, of the formula nothing.
                exact = formula.about_seen(i, *seen[i], formula.broken_before(i))
                if grossly_wrong(exact, np.asarray(leaf.array).dtype):
                    yield i, exact, formula
                    continue
            yield i, self.about_seen(i, *seen[i], formula.broken_before(i)), self

    @cached_property
    def in_float64(self) -> Witnesses | None:
        if self.dtype.name == "float64":
            return None
        try:
            wide = replace(self.at(self.wide, widened(self.dy)), dtype=np.dtype(np.float64), narrow=self.gradients, links=[])
        except RAISED:
            return None
        vars(wide).update(jax=self.jax, roundoff_scale=self.roundoff_scale)
        return wide

    # ------------------------------------------------------------------------------------------ stages

    @cached_property
    def _run(self) -> tuple[list[Stage], list[Array]]:
        """The stages of the chain that is verified, and its own cotangents, which need not be those that are verified."""
        chain: Any = getattr(self.subject.forward, "__self__", None)
        if not stages.has_stages(chain):
            return [], []
        calls, cotangents = stages.run(chain, self.wide, self.subject.options, widened(self.dy))
        return calls, flat(cotangents)

    @cached_property
    def _uses(self) -> list[list[tuple[Stage, int]]]:
        """The stages that use each argument, and which of their own it is; none where something else does, too."""
        wide = {id(leaf): i for i, leaf in enumerate(optree.tree_leaves(self.wide))}
        uses: list[list[tuple[Stage, int]]] = [[] for _ in self.leaves]
        calls, own = self._run
        for stage in calls:
            for k, leaf in enumerate(stage.leaves):
                if id(leaf) in wide:
                    uses[wide[id(leaf)]].append((stage, k))
        for i, several in enumerate(uses):
            total: Any = sum(stage.contributions[k] for stage, k in several)
            if not several or largest(total - own[i]) > SAME * EPSILON["float64"] * largest(own[i]):
                uses[i] = []
        return uses

    def _parts(self) -> Iterator[tuple[Stage | None, Evaluator, int, int | None, Array]]:
        """Each use of an argument, and each input of a stage: with its contribution to the gradient, or its cotangent."""
        arguments = {(id(stage), k): i for i, several in enumerate(self._uses) for stage, k in several}
        for stage in self._run[0]:
            evaluator = Evaluator(stage.value, stage.primals, stage.dy, noise_tables=1)
            for k in range(len(stage.leaves)):
                i = arguments.get((id(stage), k))
                if i is not None or not any(stage.leaves[k] is leaf for leaf in optree.tree_leaves(self.wide)):
                    yield stage, evaluator, k, i, stage.contributions[k]
        left = [i for i, several in enumerate(self._uses) if not several]
        if left:
            evaluator = Evaluator(self.subject.value, self.wide, widened(self.dy), noise_tables=1)
            for i in left:
                yield None, evaluator, i, i, self.gradients[i]

    def differences_of_all(self) -> list[tuple[Estimate, tuple[Swept, ...]]]:
        """What the differences say of each argument, the uses of one argument added up."""
        leading = [self._leading(i) for i in range(len(self.leaves))]
        found: list[list[tuple[Estimate, tuple[Swept, ...]]]] = [[] for _ in self.leaves]
        index: dict[int, Array] = {}
        for stage, evaluator, k, i, contribution in self._parts():
            shape = evaluator.origin[k].shape
            moving = moving_entries(contribution, self.plan.seed)
            reading = reading_of(evaluator, k, shape, moving)
            if i is None and stage is not None:
                some = largest_entries(np.abs(contribution), 1)
                if self.plan.reference is None:  # else every gradient that is made of it is known entry by entry
                    some = chosen_entries(reading, contribution, some, self.plan.seed)
                self.links.append((stage, self._about_link(stage, evaluator, k, reading, contribution, some)))
            elif i is not None:
                if i not in index:
                    index[i] = chosen_entries(reading, contribution, leading[i], self.plan.seed)
                found[i].append(self._looked(evaluator, k, reading, contribution, index[i], zeros=True))
        return [_added(several) for several in found]

    def _looked(
        self, evaluator: Evaluator, k: int, reading: Reading, contribution: Array, index: Array, *, zeros: bool
    ) -> tuple[Estimate, tuple[Swept, ...]]:
        """Some entries, and a direction of all; where that contradicts the contribution, also the entry that does.

        Entries that are 0 have a direction of their own, if they are looked at: there kinks are mostly.
        """
        x = evaluator.origin[k].reshape(-1)
        size = size_of(x)
        estimate = sweep.entries(evaluator, k, reading, index, size)
        estimate = _resolved(evaluator, k, reading, contribution, estimate, size)
        if estimate.index.size == x.size:
            return estimate, ()
        swept = []
        direction = sweep.signs(x, size, self.plan.seed, reading)
        zero = x == 0
        parts: list[tuple[bool, Array | None]] = [(True, None)]
        if zero.any() and not zero.all():
            parts = [(True, ~zero), (False, zero)][: 1 + zeros]
        for usual, there in parts:
            some = direction if there is None else np.where(there, direction, 0.0)
            one = sweep.sweep(evaluator, k, reading, contribution, some, usual=usual)
            swept.append(one)
            scale = max(largest(contribution), largest(estimate.value))
            off = ratio(differences(one.ours, one.value), allowed(one, scale))
            wrong = np.flatnonzero((off > 1) & ~one.blind)
            if wrong.size:
                worst = wrong[np.argsort(-off[wrong])][:WRONG_GROUPS]
                more = np.setdiff1d(sweep.located(evaluator, k, reading, contribution, some, worst), estimate.index)
                if more.size:
                    estimate = sweep.joined([estimate, sweep.entries(evaluator, k, reading, more, size)])
        return estimate, tuple(swept)

    def _about_link(self, stage: Stage, evaluator: Evaluator, k: int, reading: Reading, ours: Array, index: Array) -> Evidence:
        """The evidence about what a stage hands back to the one before."""
        # Which of several gradients a stage has at a kink, which is mostly at 0, is for its own cases to say.
        index = index[evaluator.origin[k].reshape(-1)[index] != 0]
        estimate, swept = self._looked(evaluator, k, reading, ours, index, zeros=False)
        estimate = chosen(estimate, ~estimate.kink)
        scale = max(largest(ours), largest(estimate.value[~estimate.kink]))
        value = largest(evaluator.value) / (largest(evaluator.origin[k]) or 1.0)
        dtype = np.dtype(np.float64)
        found = Evidence(
            parameter=f"the input of {stage.path}" if stage.path else "x",
            shape=reading.shape,
            dtype=dtype,
            analytic=ours,
            autodiff=None,
            estimate=estimate,
            along=None,
            scale=scale,
            budget=ErrorBudget.of(dtype, scale or value),
            resolution=4 * float(np.sqrt(evaluator.eps)),
            flags=self.plan.flags,
            rounding=NUMERICALLY_ZERO * EPSILON["float64"] * value,
            swept=swept,
        )
        return replace(found, budget=found.budget.with_condition(self._condition_error(stage, k, found)))

    def _condition_error(self, stage: Stage, k: int, e: Evidence) -> float:
        """What the rounding of a stage's own arguments does to its cotangent, where that is contradicted."""
        return stage.condition_error(k, e.scale, self.plan.seed) if judge(e).verdict is Verdict.FAIL else 0.0

    @cached_property
    def broken(self) -> list[tuple[Stage, Evidence]]:
        """The stages that hand back a wrong cotangent, once the differences have seen all of them."""
        return [(stage, e) for stage, e in self.links if judge(e).verdict is Verdict.FAIL]

    def broken_before(self, i: int) -> str:
        """The first stage, as cotangents go, that hands a wrong one to the stages that use argument `i`; empty if none does."""
        for stage, _ in reversed(self.broken):
            if self._uses[i] and any(stage.reaches(user) for user, _ in self._uses[i]):
                return stage.path
        return ""

    # ------------------------------------------------------------------------------------------ which entries

    def _leading(self, i: int) -> Array:
        """The entries that are looked at in any case: where JAX or the chain's own pullback disagree most, and the largest."""
        ours = self.gradients[i]
        apart = [np.abs(ours)]
        if self.jax:
            apart.append(differences(ours, flat(self.jax.cotangents)[i]))
        if self._uses[i]:
            apart.append(differences(ours, self._run[1][i]))
        if self.narrow is not None:
            apart.append(differences(self.narrow[i], flat(self.jax.cotangents)[i] if self.jax else ours))
        return np.unique(np.concatenate([largest_entries(a, LEADING) for a in apart]))

    # ------------------------------------------------------------------------------------------ evidence

    def about_seen(self, i: int, estimate: Estimate, swept: tuple[Swept, ...], link: str) -> Evidence:
        """The evidence about argument `i`, of which the differences have seen this."""
        secant = largest(vector(self.y)) / (largest(np.asarray(self.leaves[i].array, np.float64)) or 1.0)
        evidence = self.stated(i, estimate, secant=secant, eps=EPSILON["float64"] / 2, swept=swept, link=link)
        scale = evidence.scale
        if self.dtype.name == "float64" and not evidence.link and judge(evidence).contradicted.size:
            error = largest(differences(evidence.analytic, best_known(evidence))[judge(evidence).contradicted])
            if condition_error(error / CONDITION_SAFETY, scale):  # so small that the rounding of the arguments may do it
                evidence = replace(
                    evidence, budget=evidence.budget.with_condition(condition_error(largest(self.condition[1 + i]), scale))
                )
        return evidence

    @property
    def _value_noise(self) -> float:
        return 0.0


def _resolved(evaluator: Evaluator, k: int, reading: Reading, contribution: Array, estimate: Estimate, size: float) -> Estimate:
    """The same; what it leaves in doubt, or contradicts, is asked once more, at all steps."""
    scale = max(largest(contribution), largest(estimate.value))
    e = Evidence("", reading.shape, np.dtype(np.float64), contribution, None, estimate, None, scale,
                 ErrorBudget.of(np.dtype(np.float64), scale), 4 * float(np.sqrt(evaluator.eps)))  # fmt: skip
    c = Comparison.of(e)
    doubt = np.flatnonzero(((c.numerical_used > 1) | c.uncertain) & ~estimate.frozen)
    if not doubt.size:
        return estimate
    other = sweep.again(evaluator, k, reading, estimate.index[doubt], size)
    at = np.searchsorted(estimate.index, other.index)
    better = np.flatnonzero((other.uncertainty < estimate.uncertainty[at]) & ~estimate.kink[at])
    return replaced(estimate, other, at[better], better)


def _added(several: list[tuple[Estimate, tuple[Swept, ...]]]) -> tuple[Estimate, tuple[Swept, ...]]:
    """What several uses of one argument add up to."""
    (first, swept), *others = several
    for estimate, more in others:
        both = np.intersect1d(first.index, estimate.index)
        one, two = (np.searchsorted(e.index, both) for e in (first, estimate))
        sums = {n: getattr(first, n)[one] + getattr(estimate, n)[two]
                for n in ("value", "uncertainty", "left", "right", "slope_uncertainty")}  # fmt: skip
        either = {n: getattr(first, n)[one] | getattr(estimate, n)[two] for n in ("kink", "frozen")}
        first = Estimate(both, **sums, **either, step=first.step[one], differences=first.differences[one])
        swept = (*swept, *more)
    return first, swept
