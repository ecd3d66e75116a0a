"""Further measurements at the point itself, in order, as long as the verdict is open.

Each takes the evidence about one argument and returns it with what it has measured, or as it is if nothing is in doubt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from oracle.differences import partials
from oracle.differences.evaluation import Evaluator
from oracle.judging import ties
from oracle.judging.comparison import doubted
from oracle.judging.error_budget import SAMPLED_SAFETY, conditioning
from oracle.judging.evidence import Array, Evidence
from oracle.judging.measurements import Measurements
from oracle.judging.reasons import Reason
from oracle.judging.verdict import judge
from oracle.measures import largest
from oracle.text import count

__all__ = ["settled", "swept_fully"]

FIRST_SWEPT = 4  # doubtful entries in the first batch: with more, a wrong gradient costs sweeps that change nothing


def settled(m: Measurements, i: int, index: Array | None = None) -> Evidence:
    """The evidence about argument `i`, with the further measurements at this point; of the entries `index` alone, if given."""
    e = m.first_evidence(i, index)
    for step in STEPS:
        e = step(m, i, e)
    if e.directions.along is None and index is None:
        m.estimates[i] = e.estimate
    return e


def rounded_inside(m: Measurements, i: int, e: Evidence) -> Evidence:
    """A gradient in doubt may be off by what it loses in a narrower dtype, if it is computed in one."""
    if m.point.dtype.name != "float64" or not doubted(e).size:
        return e
    lost = m.lost_inside(i)
    return e.after("the roundings inside the gradient", budget=replace(e.budget, inside=lost)) if lost else e


def full_sweep(m: Measurements, i: int, e: Evidence) -> Evidence:
    """Doubtful entries are differentiated again, at all steps from very long to very short."""
    return e if m.plan.step is not None else swept_fully(e, m.point.evaluator, i)


def swept_fully(e: Evidence, evaluator: Evaluator, leaf: int) -> Evidence:
    """Sweeps doubtful entries in batches of 4, 8, 16, ..., worst first, until an entry of a batch stays contradicted."""
    swept = np.zeros(0, dtype=np.intp)
    few = FIRST_SWEPT
    while (todo := (doubt := doubted(e))[~np.isin(doubt, swept)][:few]).size:
        e = replace(e, estimate=partials.confirm(evaluator, leaf, e.estimate, todo))
        swept, few = np.union1d(swept, todo), 2 * few
        if np.isin(todo, doubted(e, only_contradicted=True)).any():
            break
    entries = count(swept.size, "doubtful entry", "doubtful entries")
    return e.after(f"a full sweep of the steps for {entries}") if swept.size else e


def conditioned(m: Measurements, i: int, e: Evidence) -> Evidence:
    """A contradicted gradient may be off by as much as the rounding of its arguments moves it; at kinks that means nothing."""
    if m.point.dtype.name != "float64" or e.estimate.kink.any() or not judge(e).contradicted.size:
        return e
    forgiven = float(conditioning(largest(m.gradient_spread(i)), e.budget.scale))
    return e.after("the conditioning of the gradient", budget=replace(e.budget, conditioning=forgiven))


def reference_conditioned(m: Measurements, i: int, e: Evidence) -> Evidence:
    """Where the reference alone contradicts, how far its own gradient moves when the arguments are rounded."""
    if m.point.dtype.name != "float64" or judge(e).reason is not Reason.ANOTHER_FUNCTION:
        return e
    moved = SAMPLED_SAFETY * largest(m.gradient_spread(i))
    return e.after("the conditioning of the reference", budget=replace(e.budget, reference_conditioning=moved))


def ties_resolved(m: Measurements, i: int, e: Evidence) -> Evidence:
    """Equal elements at kinks are found; without a reference they are also moved together."""
    e = replace(e, kinks=replace(e.kinks, tied=ties.tied(m.point.evaluator, i, e)))
    if e.autodiff is not None or not e.kinks.tied.size:
        return e
    slope = ties.tied_slope(m.point.evaluator, i, e)
    return e.after("the slope along tied elements", kinks=replace(e.kinks, tied_slope=slope))


STEPS: tuple[Callable[[Measurements, int, Evidence], Evidence], ...] = (
    rounded_inside,
    full_sweep,
    conditioned,
    reference_conditioned,
    ties_resolved,
)
