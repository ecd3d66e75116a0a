"""Both witnesses on large arguments: the reference on every element; the differences on some, and on all along directions.

The differences cost evaluations for each argument, not for each of its elements:

- A chain is measured stage by stage (`stages`): each with its own parameters, its own input and the cotangent that reaches it.
  The cotangent that a stage hands back to the one before is checked like a gradient, since all gradients before it are made of
  that.
- Of each argument one entry for each set of outputs is displaced, all at once (`grouping`); then all entries along a direction
  that is read off for each set of outputs (`sweep`); and those that disagree most.
- Where a direction contradicts the gradient, its entries are halved until one is left, which is named.

With `effort="quick"` arguments of every size are measured like this, with one displacement of single entries for each.

Entries are judged by the rounding of the largest entry of their gradient, and at these arguments alone: the small cases of an
op are there for other points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import optree

from oracle.arrays import flat, size_of, vector
from oracle.at_size import stages, sweep
from oracle.at_size.grouping import ATTEMPTS, FEW_GROUPS, GROUPS, Reading, reading_of, without_keys
from oracle.at_size.sampling import chosen_entries, largest_entries, moving_entries
from oracle.at_size.stages import Stage
from oracle.differences import partials
from oracle.differences.evaluation import Evaluator
from oracle.differences.partials import Estimate, chosen, replaced
from oracle.differences.richardson import LEVELS
from oracle.judging.comparison import Comparison, best_known, ratio
from oracle.judging.error_budget import SHORT_SUM, ErrorBudget, conditioning, roundoff
from oracle.judging.escalation import Known, formula_first
from oracle.judging.evidence import Array, Directions, Evidence, Parameter, Swept
from oracle.judging.measurements import Measurements
from oracle.judging.resolution import allowed
from oracle.judging.verdict import judge
from oracle.measures import distance, largest
from oracle.row import Verdict

__all__ = ["LARGE", "AtSize"]

LARGE = 2**16  # elements of one argument from which on evaluations are counted for each argument; below, each has its own
LEADING = 4  # entries of each kind that are always measured: where the reference or a stage disagrees most, and the largest
WRONG_GROUPS = 2  # of a direction, in each of which the wrong entry is located


class AtSize:
    """Both witnesses where some argument has very many elements."""

    def __init__(self, measurements: Measurements) -> None:
        self._m = measurements
        self._point = measurements.point
        self._plan = measurements.plan
        self._links: list[tuple[Stage, Evidence]] = []
        """The cotangent that each stage hands back to the one before: the evidence about it."""

    def known(self) -> Iterator[Known]:
        """The evidence about each argument, and the measurements that it comes from."""
        formula = self._formula
        found = formula._differences_of_all()

        def in_float64(i: int) -> Known:
            return Known(i, formula._with_differences(i, *found[i], formula._broken_before(i)), formula._m)

        def here(i: int) -> Known:
            return Known(i, self._with_differences(i, *found[i], formula._broken_before(i)), self._m)

        return formula_first(self._m, None if formula is self else in_float64, here)

    def wrong_links(self, there: Measurements) -> list[Evidence]:
        """The evidence about each wrong cotangent between two stages, if `there` are the measurements that have found it."""
        return [e for _, e in self._formula._broken] if there is self._formula._m else []

    @cached_property
    def _formula(self) -> AtSize:
        """The same in float64, where the formula is judged; this one itself if it is in float64, or the op takes no other."""
        return self if self._m.in_float64 is None else AtSize(self._m.in_float64)

    # ------------------------------------------------------------------------------------------ stages

    @cached_property
    def _run(self) -> tuple[list[Stage], list[Array]]:
        """The stages of the chain that is verified, and its own cotangents, which need not be those that are verified."""
        chain: Any = getattr(self._point.subject.forward, "__self__", None)
        if not stages.has_stages(chain):
            return [], []
        calls, cotangents = stages.run(chain, self._point.wide.primals, self._point.subject.options, self._point.wide.dy)
        return calls, flat(cotangents)

    @cached_property
    def _uses(self) -> list[list[tuple[Stage, int]]]:
        """The stages that use each argument, and which of their own it is; none where something else does, too."""
        wide = {id(leaf): i for i, leaf in enumerate(optree.tree_leaves(self._point.wide.primals))}
        uses: list[list[tuple[Stage, int]]] = [[] for _ in self._point.leaves]
        calls, own = self._run
        for stage in calls:
            for k, leaf in enumerate(stage.leaves):
                if id(leaf) in wide:
                    uses[wide[id(leaf)]].append((stage, k))
        for i, several in enumerate(uses):
            total: Any = sum(stage.contributions[k] for stage, k in several)
            if not several or largest(total - own[i]) > roundoff(largest(own[i]), SHORT_SUM):
                uses[i] = []
        return uses

    def _parts(self) -> Iterator[tuple[Stage | None, Evaluator, int, int | None, Array]]:
        """Each use of an argument, and each input of a stage: with its contribution to the gradient, or its cotangent."""
        arguments = {(id(stage), k): i for i, several in enumerate(self._uses) for stage, k in several}
        for stage in self._run[0]:
            evaluator = Evaluator(stage.value, stage.primals, stage.dy, noise_tables=1)
            for k in range(len(stage.leaves)):
                i = arguments.get((id(stage), k))
                if i is not None or not any(stage.leaves[k] is leaf for leaf in optree.tree_leaves(self._point.wide.primals)):
                    yield stage, evaluator, k, i, stage.contributions[k]
        left = [i for i, several in enumerate(self._uses) if not several]
        if left:
            evaluator = Evaluator(self._point.subject.value, self._point.wide.primals, self._point.wide.dy, noise_tables=1)
            for i in left:
                yield None, evaluator, i, i, self._point.gradients[i]

    def _differences_of_all(self) -> list[tuple[Estimate, tuple[Swept, ...]]]:
        """The differences of each argument, the uses of one argument added up."""
        leading = [self._leading(i) for i in range(len(self._point.leaves))]
        found: list[list[tuple[Estimate, tuple[Swept, ...]]]] = [[] for _ in self._point.leaves]
        index: dict[int, Array] = {}
        for stage, evaluator, k, i, contribution in self._parts():
            shape = evaluator.origin[k].shape
            if 0 in shape:
                if i is not None:
                    found[i].append((sweep.joined([]), ()))
                continue
            moving = moving_entries(contribution, self._plan.seed)
            reading = reading_of(evaluator, k, shape, moving, FEW_GROUPS if self._plan.quick else GROUPS)
            if i is None and stage is not None:
                some = largest_entries(np.abs(contribution), 1)
                if self._plan.reference is None:  # else every gradient that is made of it is known entry by entry
                    some = chosen_entries(reading, contribution, some, self._plan.seed)
                self._links.append((stage, self._link(stage, evaluator, k, reading, contribution, some)))
            elif i is not None:
                if i not in index:
                    some = chosen_entries(reading, contribution, leading[i], self._plan.seed)
                    index[i] = np.concatenate([leading[i], np.setdiff1d(some, leading[i])])  # those come first
                found[i].append(self._differences(evaluator, k, reading, contribution, index[i], zeros=True))
        return [_added(several) for several in found]

    def _differences(
        self, evaluator: Evaluator, k: int, reading: Reading, contribution: Array, index: Array, *, zeros: bool
    ) -> tuple[Estimate, tuple[Swept, ...]]:
        """Some entries, and a direction of all; where that contradicts the contribution, also the entry that is wrong.

        With `zeros`, entries at 0, where kinks are mostly, have a direction of their own; without, they are left out.
        """
        estimate, swept = self._differences_by_key(evaluator, k, reading, contribution, index, zeros=zeros)
        used = Comparison.of(self._alone("", evaluator, k, contribution, estimate)).differences_used
        wrong = np.argsort(-np.nan_to_num(used, nan=np.inf), kind="stable")[: min(np.count_nonzero(used > 1), ATTEMPTS)]
        if not wrong.size:
            return estimate, swept
        alone = partials.differentiate(evaluator, k, estimate.index[wrong])
        if (Comparison.of(self._alone("", evaluator, k, contribution, alone)).differences_used > 1).any():
            return estimate, swept
        if reading.kept:  # displaced alone, the entries are right: they change other outputs, too
            return self._differences(evaluator, k, without_keys(reading), contribution, index, zeros=zeros)
        return replaced(estimate, alone, wrong, np.arange(wrong.size)), swept

    def _differences_by_key(
        self, evaluator: Evaluator, k: int, reading: Reading, contribution: Array, index: Array, *, zeros: bool
    ) -> tuple[Estimate, tuple[Swept, ...]]:
        """The same, if entries change the outputs that the reading says."""
        x = evaluator.origin[k].reshape(-1)
        size = size_of(x)
        estimate = sweep.entries(evaluator, k, reading, index, size, 1 if self._plan.quick else ATTEMPTS)
        estimate = self._resolved(evaluator, k, reading, contribution, estimate, size)
        if estimate.index.size == x.size:
            return estimate, ()
        swept = []
        direction = sweep.signs(x, size, self._plan.seed, reading)
        zero = x == 0
        parts: list[tuple[bool, Array | None]] = [(True, None)]
        if zero.any() and not zero.all():
            parts = [(True, ~zero), (False, zero)][: 1 + zeros]
        for usual, there in parts:
            some = direction if there is None else np.where(there, direction, 0.0)
            one = sweep.sweep(evaluator, k, reading, contribution, some, usual=usual)
            swept.append(one)
            scale = max(largest(contribution), largest(estimate.value))
            off = ratio(distance(one.ours, one.value), allowed(one, float(roundoff(scale))))
            wrong = np.flatnonzero((off > 1) & ~one.blind)
            if wrong.size:
                worst = wrong[np.argsort(-off[wrong])][:WRONG_GROUPS]
                more = np.setdiff1d(sweep.located(evaluator, k, reading, contribution, some, worst), estimate.index)
                if more.size:
                    estimate = sweep.joined([estimate, sweep.entries(evaluator, k, reading, more, size)])
        return estimate, tuple(swept) if estimate.index.size < x.size else ()

    def _link(self, stage: Stage, evaluator: Evaluator, k: int, reading: Reading, ours: Array, index: Array) -> Evidence:
        """The evidence about the cotangent that a stage hands back to the one before."""
        # Which of several gradients a stage chooses at a kink, which is mostly at 0, is tested by its own cases.
        index = index[evaluator.origin[k].reshape(-1)[index] != 0]
        estimate, swept = self._differences(evaluator, k, reading, ours, index, zeros=False)
        name = f"the input of {stage.path}" if stage.path else "x"
        e = self._alone(name, evaluator, k, ours, chosen(estimate, ~estimate.kink), swept)
        if judge(e).verdict is not Verdict.FAIL:
            return e
        spread = stages.spread_of_input(stage, k, self._plan.seed)
        return replace(e, budget=replace(e.budget, conditioning=float(conditioning(spread, e.budget.scale))))

    def _alone(
        self, name: str, evaluator: Evaluator, k: int, ours: Array, estimate: Estimate, swept: tuple[Swept, ...] = ()
    ) -> Evidence:
        """The evidence about one use of an argument, by differences alone."""
        secant = evaluator.secant(k)
        scale = max(largest(ours), largest(estimate.value[~estimate.kink])) or secant
        return Evidence(
            parameter=Parameter(name, evaluator.origin[k].shape, np.dtype(np.float64), self._plan.flags),
            analytic=ours,
            autodiff=None,
            estimate=estimate,
            budget=ErrorBudget(scale, secant, eps=evaluator.rounding.eps),
            directions=Directions(swept=swept),
        )

    def _resolved(
        self, evaluator: Evaluator, k: int, reading: Reading, ours: Array, estimate: Estimate, size: float
    ) -> Estimate:
        """The same, with a full sweep of the steps for the entries that are in doubt or contradict the gradient."""
        c = Comparison.of(self._alone("", evaluator, k, ours, estimate))
        doubt = np.flatnonzero(((c.differences_used > 1) | c.uncertain) & ~estimate.frozen)
        if not doubt.size:
            return estimate
        other = sweep.again(evaluator, k, reading, estimate.index[doubt], size)
        at = np.searchsorted(estimate.index, other.index)
        better = np.flatnonzero((other.uncertainty < estimate.uncertainty[at]) & ~estimate.kink[at])
        return replaced(estimate, other, at[better], better)

    @cached_property
    def _broken(self) -> list[tuple[Stage, Evidence]]:
        """The stages that hand back a wrong cotangent, once all of them are measured."""
        return [(stage, e) for stage, e in self._links if judge(e).verdict is Verdict.FAIL]

    def _broken_before(self, i: int) -> str:
        """The first stage, as cotangents go, that hands a wrong one to the stages that use argument `i`; empty if none does."""
        for stage, _ in reversed(self._broken):
            if self._uses[i] and any(stage.reaches(user) for user, _ in self._uses[i]):
                return stage.path
        return ""

    # ------------------------------------------------------------------------------------------ which entries

    def _leading(self, i: int) -> Array:
        """Entries that are always measured: where the reference or the chain's own pullback disagree most, and the largest."""
        ours, theirs = self._point.gradients[i], self._m.reference.gradient(i)
        apart = [np.abs(ours)]
        if theirs is not None:
            apart.append(distance(ours, theirs))
        if self._uses[i]:
            apart.append(distance(ours, self._run[1][i]))
        if self._m.narrow is not None:
            apart.append(distance(self._m.narrow.point.gradients[i], ours if theirs is None else theirs))
        return np.unique(np.concatenate([largest_entries(a, LEADING) for a in apart]))

    # ------------------------------------------------------------------------------------------ evidence

    def _with_differences(self, i: int, estimate: Estimate, swept: tuple[Swept, ...], wrong_stage: str) -> Evidence:
        """The evidence about argument `i` with these differences."""
        secant = largest(vector(self._point.y)) / (largest(np.asarray(self._point.leaves[i].array, np.float64)) or 1.0)
        e = self._m.evidence(i, estimate, Directions(swept=swept, wrong_stage=wrong_stage), secant=secant)
        if swept:
            e = e.after("slopes along directions of all entries")
        if estimate.differences.shape[1] > 2 * LEVELS:
            e = e.after("a full sweep of the steps for doubtful entries")
        wrong = judge(e).contradicted
        if self._point.dtype.name == "float64" and not wrong_stage and wrong.size:
            error = largest(distance(e.analytic, best_known(e))[wrong])
            if error <= conditioning(error, e.budget.scale):  # so small that the rounding of the arguments may cause it
                forgiven = float(conditioning(largest(self._m.rounding.spread(i)), e.budget.scale))
                e = e.after("the conditioning of the gradient", budget=replace(e.budget, conditioning=forgiven))
        return e


def _added(several: list[tuple[Estimate, tuple[Swept, ...]]]) -> tuple[Estimate, tuple[Swept, ...]]:
    """The differences of several uses of one argument, added up."""
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
