"""What is done about a measurement whose verdict is open, at the point itself: sweeps, conditioning, and equal elements."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.differences import partials
from oracle.differences.evaluation import Evaluator
from oracle.judging import ties
from oracle.judging.comparison import doubted
from oracle.judging.conditioning import CONDITION_SAFETY, condition_error
from oracle.judging.evidence import Evidence
from oracle.judging.measurements import Witnesses
from oracle.judging.verdict import judge
from oracle.measures import largest

__all__ = ["settled", "swept_fully"]

Array = NDArray[Any]

FEW = 4  # elements that are swept fully before the verdict is taken again


def settled(w: Witnesses, i: int, index: Array | None = None) -> Evidence:
    """The evidence about argument `i`; the differences take the entries `index` alone, if given."""
    evidence = w.measured(i, index)
    if w.plan.step is None:
        evidence = swept_fully(evidence, w.evaluator, i)
    if judge(evidence).contradicted.size and w.dtype.name == "float64" and not evidence.estimate.kink.any():
        forgiven = condition_error(largest(w.condition[1 + i]), evidence.scale)
        evidence = replace(evidence, budget=evidence.budget.with_condition(forgiven))
    if judge(evidence).reason == "another-function" and w.dtype.name == "float64":
        evidence = replace(evidence, reference_condition=CONDITION_SAFETY * largest(w.condition[1 + i]))
    evidence = replace(evidence, tied=ties.tied(w.evaluator, i, evidence))
    if evidence.autodiff is None and evidence.tied.size:
        evidence = replace(evidence, tied_slope=ties.tied_slope(w.evaluator, i, evidence))
    if evidence.along is None and index is None:
        w.estimates[i] = evidence.estimate
    return evidence


def swept_fully(evidence: Evidence, evaluator: Evaluator, leaf: int) -> Evidence:
    """The same after full sweeps of its doubtful elements: a few, the worst first, and more until one is still contradicted."""
    known = np.zeros(0, dtype=np.intp)
    few = FEW
    while (todo := (doubt := doubted(evidence))[~np.isin(doubt, known)][:few]).size:
        evidence = replace(evidence, estimate=partials.confirm(evaluator, leaf, evidence.estimate, todo))
        if np.isin(todo, doubted(evidence, only_contradicted=True)).any():
            break
        known, few = np.union1d(known, todo), 2 * few
    return evidence
