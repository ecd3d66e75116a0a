"""Further measurements, in order, as long as what is known leaves the verdict open.

The point itself is settled first (`settling`). Entries whose error only the largest entry forgives are then tested where
they would show (`rescaled_point`), kinks without a reference all together (`subdifferential`), and what passes at a point at
which wrong formulas are right by chance, at a generic one nearby (`generic_point`). Each step takes what is known and gives
what is known then; one that has measured at another point is the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import widened
from oracle.judging import generic_point, rescaled_point, subdifferential
from oracle.judging.comparison import below_roundoff, best_known
from oracle.judging.evidence import Evidence
from oracle.judging.measurements import Witnesses
from oracle.judging.settling import settled
from oracle.judging.verdict import directional_errors, judge
from oracle.measures import EPSILON
from oracle.row import Verdict
from oracle.spec import Flag

__all__ = ["Known", "escalated", "grossly_wrong"]

Array = NDArray[Any]

OPEN = ("nothing", "differences-contradict")  # reasons that another point may answer
NO_ROUNDING = 64.0  # ULP of an entry: no op of a dtype rounds so


class Known(NamedTuple):
    """The evidence about one argument, by its number, and the witnesses who can say more: those of the point, or others."""

    argument: int
    evidence: Evidence
    witnesses: Witnesses


def escalated(w: Witnesses) -> Iterator[Known]:
    """What is known of each argument, when all further measurements are made that its verdict needs."""
    here = _Escalation(w)
    wide = None if w.in_float64 is None else _Escalation(w.in_float64)
    for i, leaf in enumerate(w.leaves):
        if wide is not None:
            # Of a narrow dtype's rounding much must be forgiven, of the formula nothing.
            known = wide.of(i)
            if grossly_wrong(known.evidence, np.asarray(leaf.array).dtype):
                yield known
                continue
        yield here.of(i)


class _Escalation:
    """The further measurements at one point."""

    def __init__(self, witnesses: Witnesses) -> None:
        self.witnesses = witnesses

    def of(self, i: int) -> Known:
        known = Known(i, settled(self.witnesses, i), self.witnesses)
        for step in (self.rescaled_point, self.subdifferential, self.generic_point):
            if known.evidence.other_point is None:
                known = step(known)
        return known

    def rescaled_point(self, known: Known) -> Known:
        """Entries below the roundoff floor are tested where they would show."""
        i, e, w = known
        entries = below_roundoff(e)
        if entries.size:
            entries = below_roundoff(e, w.condition[1 + i])
        judgement = judge(e)
        if not entries.size or not (judgement.verdict.passes or judgement.reason in OPEN):
            return known
        found, those = rescaled_point.seek(w, i, e, entries)
        return Known(i, replace(e, other_point=found), those)

    def subdifferential(self, known: Known) -> Known:
        """At kinks without a reference all entries are looked at together."""
        i, e, w = known
        if e.autodiff is not None or judge(e).verdict is not Verdict.KINK:
            return known
        kinks = e.estimate.index[e.estimate.kink]
        excess = subdifferential.excess(w.subject, w.wide, widened(w.dy), i, kinks, w.plan.seed)
        return known._replace(evidence=replace(e, excess=excess))

    def generic_point(self, known: Known) -> Known:
        """What passes at a special point is tested at a generic one nearby."""
        i, e, w = known
        if not judge(e).verdict.passes or Flag.NOT_THE_DERIVATIVE in w.plan.flags or self.generic is None:
            return known
        wrong = generic_point.seek(self.generic, i)
        return known if wrong is None else Known(i, replace(e, other_point=wrong), self.generic)

    @cached_property
    def generic(self) -> Witnesses | None:
        return generic_point.witnesses(self.witnesses)


def grossly_wrong(e: Evidence, dtype: np.dtype[Any]) -> bool:
    """Whether a gradient in float64 is wrong by more than an op that computes in `dtype` would round, by its own size."""
    judgement = judge(e)
    if judgement.verdict is not Verdict.FAIL:
        return False
    if e.other_point is not None and e.other_point.evidence is not None:
        e = e.other_point.evidence
    if judgement.reason == "along":
        return bool((directional_errors(e) > NO_ROUNDING * EPSILON[dtype.name] * e.scale).any())
    wrong = judgement.contradicted
    ours, truth = e.analytic[wrong], best_known(e)[wrong]
    with np.errstate(invalid="ignore"):
        gross = np.abs(ours - truth) > NO_ROUNDING * EPSILON[dtype.name] * np.maximum(np.abs(ours), np.abs(truth))
    return bool(gross.any())
