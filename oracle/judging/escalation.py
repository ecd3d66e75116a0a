"""Further measurements, in order, as long as the verdict is open.

Those at the point itself come first (`settling`), then exact derivatives (`exact`) where the differences cannot decide. Entries
below the roundoff floor are then tested at rescaled arguments
(`rescaled_point`), kinks without a reference all together (`subdifferential`), and a gradient that passes at special arguments
at generic ones nearby (`generic_point`). Each step takes what is known and returns what is known then; the first that has
measured at another point is the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from oracle.judging import exact, generic_point, rescaled_point, subdifferential
from oracle.judging.bias import SIXTEEN_BIT_DTYPES, biases
from oracle.judging.comparison import accepting, below_roundoff, best_known, reported_scale
from oracle.judging.error_budget import SAFETY, SHORT_SUM, computes_narrower, largest_zero, noise_of_zero, roundoff
from oracle.judging.evidence import Bias, Evidence, deciding
from oracle.judging.lost_digits import Lost, lost_digits
from oracle.judging.measurements import Measurements
from oracle.judging.reasons import Reason
from oracle.judging.samples import Truth
from oracle.judging.settling import settled
from oracle.judging.size import error_size
from oracle.judging.unrounded import Formula
from oracle.judging.verdict import DirectionalComparison, is_rounding, judge
from oracle.measures import EPSILON, fit_scale, largest
from oracle.row import Verdict
from oracle.spec import Flag

__all__ = ["Known", "acceptable", "escalated", "formula_first"]

OPEN = (Reason.ROUNDING_ONLY, Reason.DIFFERENCES_CONTRADICT, Reason.UNRESOLVED)
"""Reasons that another point may settle."""


class Known(NamedTuple):
    """The evidence about one argument, by its number, and the measurements that it comes from: of the point, or another."""

    argument: int
    evidence: Evidence
    measurements: Measurements
    accepted: bool = False
    """Whether the gradient is wrong only by an error that the plan accepts."""


def escalated(m: Measurements) -> Iterator[Known]:
    """The evidence about each argument, when all further measurements are made that its verdict needs."""
    wide = None if m.in_float64 is None else _Escalation(m.in_float64)
    return formula_first(m, None if wide is None else wide.known, _Escalation(m).known)


def formula_first(m: Measurements, in_float64: Callable[[int], Known] | None, here: Callable[[int], Known]) -> Iterator[Known]:
    """The evidence about each argument: in float64 if the formula is wrong, else in its own dtype.

    The formula is judged in float64, where the dtype term of the error budget is 0.
    """
    for i, leaf in enumerate(m.point.leaves):
        if in_float64 is not None:
            known = in_float64(i)
            if _grossly_wrong(known.evidence, np.asarray(leaf.array).dtype.name):
                yield known._replace(accepted=_accepts(known) and _accepts(here(i), unless_right=True))
                continue
            if is_rounding(known.evidence) and _is_zero_in_dtype(known.evidence, m, i):
                yield known
                continue
        known = here(i)
        yield known._replace(accepted=_accepts(known))


def _is_zero_in_dtype(wide: Evidence, m: Measurements, i: int) -> bool:
    """Whether a gradient that is zero but for rounding in float64 is so in its own dtype, too: a bias before batch norm."""
    size, name = largest(m.point.gradients[i]), m.point.dtype.name
    if size <= largest_zero(replace(wide.budget, eps=max(wide.budget.eps, EPSILON[name]))):
        return True
    moved, inside = m.rounding.moved_in_dtype(i) or 0.0, computes_narrower(wide.budget)
    return size <= noise_of_zero(largest(wide.analytic), moved, m.rounding.effective[i], name, "float64" if inside else name)


class _Escalation:
    """The further measurements at one point."""

    def __init__(self, measurements: Measurements) -> None:
        self.measurements = measurements

    def known(self, i: int) -> Known:
        """The evidence about argument `i`."""
        m = self.measurements
        known = Known(i, exact.asked(m, i, settled(m, i), m), m)
        steps: tuple[Callable[[Known], Known], ...] = (
            self.try_lost_digits,
            self.try_rescaled_point,
            self.try_subdifferential,
            self.try_generic_point,
            self.try_mean,
            self.try_unrounded,
        )
        for step in steps:
            if known.evidence.other_point is None:
                known = step(known)
        return known._replace(evidence=exact.asked(m, i, known.evidence, known.measurements))

    def try_lost_digits(self, known: Known) -> Known:
        """A gradient in a narrow dtype may be off by what its roundings lose at random, which is measured.

        That is asked where it is wrong entry by entry, and where the tolerance is larger than the gradient.
        """
        i, e, m, _ = known
        if m.point.dtype.name == "float64" or m.plan.large or Flag.NOT_THE_DERIVATIVE in m.plan.flags:
            return known
        judgement, size = judge(e), reported_scale(e)
        hidden = judgement.reason is Reason.UNRESOLVED
        if not (hidden or judgement.contradicted.size) or not size or not np.isfinite(e.analytic).all():
            return known
        lost = self._lost_digits[i]
        if lost is None or not lost.is_known:
            return known
        measured = replace(e.budget, dtype=SAFETY * lost.at_random * size)
        if hidden:
            if not judge(replace(e, budget=measured)).verdict.passes:
                return known
        elif measured.dtype < e.budget.dtype or lost.is_mistake(e.budget.dtype / size):
            return known
        return known._replace(evidence=e.after("what roundings lose at points nearby", budget=measured))

    def try_rescaled_point(self, known: Known) -> Known:
        """Entries below the roundoff floor are tested where an error would show."""
        i, e, m, _ = known
        entries = below_roundoff(e)
        if entries.size:
            entries = below_roundoff(e, m.rounding.spread(i))
        judgement = judge(e)
        if not entries.size or not (judgement.verdict.passes or judgement.reason in OPEN):
            return known
        found, there = rescaled_point.seek(m, i, e, entries)
        return Known(i, e.after("entries below the roundoff floor, at rescaled arguments", other_point=found), there)

    def try_subdifferential(self, known: Known) -> Known:
        """At kinks without a reference all entries are tested together."""
        i, e, m, _ = known
        if e.autodiff is not None or judge(e).verdict is not Verdict.KINK or computes_narrower(e.budget):
            return known  # in a narrower dtype rounding hides what the slopes over its short steps show
        kinks = e.estimate.index[e.estimate.kink]
        excess = subdifferential.excess(m.point.subject, m.point.wide.primals, m.point.wide.dy, i, kinks, m.plan.seed)
        together = replace(e.kinks, excess=excess)
        return known._replace(evidence=e.after("slopes of both sides in many directions at kinks", kinks=together))

    def try_generic_point(self, known: Known) -> Known:
        """A gradient that passes at a special point is tested at a generic one nearby."""
        i, e, m, _ = known
        if not judge(e).verdict.passes or Flag.NOT_THE_DERIVATIVE in m.plan.flags or self.generic is None:
            return known
        wrong, what = generic_point.seek(self.generic, i), "a generic point near these special arguments"
        if wrong is None:
            return known._replace(evidence=e.after(what))
        return Known(i, e.after(what, other_point=wrong), self.generic)

    def try_mean(self, known: Known) -> Known:
        """A gradient in 16 bits is compared in the mean over points nearby.

        If it fails entry by entry, its factor is measured: few entries are wrong by more than their rounding, and they alone do
        not tell a factor.
        """
        i, e, m, _ = known
        if m.point.dtype.name not in SIXTEEN_BIT_DTYPES or Flag.NOT_THE_DERIVATIVE in m.plan.flags:
            return known
        if judge(e).verdict.passes:
            directions = replace(e.directions, bias=self._biases[i])
        elif _is_factor(self._biases[i], e):
            directions = replace(e.directions, factor=self._biases[i])
        else:
            return known
        return known._replace(evidence=e.after("the mean over points nearby", directions=directions))

    def try_unrounded(self, known: Known) -> Known:
        """If the caller wants it, a gradient that passes is compared with exact derivatives, without its rounding."""
        i, e, m, _ = known
        if not m.plan.exact or not judge(e).verdict.passes or not exact.can_be_asked(m, e):
            return known
        return known._replace(evidence=self._formula.compared(i, e))

    @cached_property
    def _formula(self) -> Formula:
        return Formula(self.measurements.point, self.measurements.plan.seed)

    @cached_property
    def _biases(self) -> list[Bias | None]:
        m = self.measurements
        return biases(m.point, m.plan.seed, self._truth) if self._has_truth else [None for _ in m.point.leaves]

    @cached_property
    def _lost_digits(self) -> list[Lost | None]:
        m = self.measurements
        return [*lost_digits(m.point, m.plan.seed, self._truth)] if self._has_truth else [None for _ in m.point.leaves]

    @property
    def _has_truth(self) -> bool:
        """Whether the gradients at other points are known in float64."""
        return self.measurements.in_float64 is not None or self.measurements.plan.reference is not None

    @property
    def _truth(self) -> Truth | None:
        """These gradients, if they are the reference's: if they are None, the op itself takes float64."""
        return None if self.measurements.in_float64 is not None else self.measurements.reference.gradients_at

    @cached_property
    def generic(self) -> Measurements | None:
        return generic_point.measurements(self.measurements)


def _is_factor(bias: Bias | None, e: Evidence) -> bool:
    """Whether the gradient is this factor times one that passes."""
    if bias is None or not bias.alike or not np.isfinite(e.analytic).all():
        return False
    return judge(replace(e, analytic=e.analytic / bias.size)).verdict.passes


def _accepts(known: Known, *, unless_right: bool = False) -> bool:
    """Whether a gradient is wrong only by an error that the plan accepts, here and at a generic point nearby."""
    i, e, m, _ = known
    if judge(e).verdict.passes:
        return unless_right
    if not acceptable(e, m.plan.accept):
        return False
    if e.other_point is not None or m.plan.large:
        return True
    lenient = _Escalation(replace(m, lenient=True))
    forgiven = Known(i, accepting(e, m.plan.accept), lenient.measurements)
    for step in (lenient.try_subdifferential, lenient.try_generic_point):
        forgiven = step(forgiven)
    return judge(forgiven.evidence).verdict.passes


def acceptable(e: Evidence, share: float) -> bool:
    """Whether a gradient is wrong only by less than this share of its largest entry, and would pass without that error."""
    judgement = judge(deciding(e))
    if not share or judge(e).verdict is Verdict.VACUOUS or judgement.verdict.passes:
        return False
    size = error_size(deciding(e), judgement)
    if size is not None and not size < share:
        return False
    here, there = (accepting(one, share) for one in (replace(e, other_point=None), replace(deciding(e), other_point=None)))
    return judge(here).verdict.passes and judge(there).verdict.passes


def _grossly_wrong(e: Evidence, dtype: str) -> bool:
    """Whether the float64 gradient is wrong by more than a few roundings in `dtype` of the entry itself, or in the mean."""
    judgement = judge(e)
    if judgement.verdict is not Verdict.FAIL:
        return False
    e = deciding(e)
    # A kernel rounds its constants. With `SHORT_SUM` in 16 bits, too, half of an entry would be forgiven in bfloat16.
    terms = SAFETY if dtype in SIXTEEN_BIT_DTYPES else SHORT_SUM
    if judgement.reason is Reason.DIRECTIONAL_MISMATCH:
        return bool((DirectionalComparison.of(e).errors_of_one_entry > roundoff(e.budget.scale, terms, dtype)).any())
    wrong = judgement.contradicted
    ours, truth = e.analytic[wrong], best_known(e)[wrong]
    with np.errstate(invalid="ignore"):
        allowed = roundoff(np.maximum(np.abs(ours), np.abs(truth)), terms, dtype)
        gross = np.abs(ours - truth) > allowed
    fit = fit_scale(ours, truth)
    return bool(gross.any()) or (wrong.size > 1 and fit is not None and abs(fit.scale - 1) > EPSILON[dtype])
