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

FEW = 4  # doubtful elements that are swept first: if one of them stays wrong, the others need not be swept


def settled(m: Measurements, i: int, index: Array | None = None) -> Evidence:
    """The evidence about argument `i`, with the further measurements at this point; of the entries `index` alone, if given."""
    e = m.of(i, index)
    for step in STEPS:
        e = step(m, i, e)
    if e.directions.along is None and index is None:
        m.estimates[i] = e.estimate
    return e


def full_sweep(m: Measurements, i: int, e: Evidence) -> Evidence:
    """Doubtful entries are differentiated again, at all steps from very long to very short."""
    return e if m.plan.step is not None else swept_fully(e, m.point.evaluator, i)


def swept_fully(e: Evidence, evaluator: Evaluator, leaf: int) -> Evidence:
    """The same after full sweeps of its doubtful entries: a few, the worst first, and more until one is still contradicted."""
    swept = np.zeros(0, dtype=np.intp)
    few = FEW
    while (todo := (doubt := doubted(e))[~np.isin(doubt, swept)][:few]).size:
        e = replace(e, estimate=partials.confirm(evaluator, leaf, e.estimate, todo))
        swept, few = np.union1d(swept, todo), 2 * few
        if np.isin(todo, doubted(e, only_contradicted=True)).any():
            break
    return (
        _noted(e, f"a full sweep of the steps for {count(swept.size, 'doubtful entry', 'doubtful entries')}")
        if swept.size
        else e
    )


def conditioned(m: Measurements, i: int, e: Evidence) -> Evidence:
    """A contradicted gradient may be off by as much as the rounding of its arguments moves it; at kinks that means nothing."""
    if m.point.dtype.name != "float64" or e.estimate.kink.any() or not judge(e).contradicted.size:
        return e
    forgiven = float(conditioning(largest(m.spread[1 + i]), e.budget.scale))
    return _noted(replace(e, budget=replace(e.budget, conditioning=forgiven)), "the conditioning of the gradient")


def reference_conditioned(m: Measurements, i: int, e: Evidence) -> Evidence:
    """Where the reference alone contradicts, how far its own gradient moves when the arguments are rounded."""
    if m.point.dtype.name != "float64" or judge(e).reason is not Reason.ANOTHER_FUNCTION:
        return e
    moved = SAMPLED_SAFETY * largest(m.spread[1 + i])
    return _noted(replace(e, budget=replace(e.budget, reference_conditioning=moved)), "the conditioning of the reference")


def ties_resolved(m: Measurements, i: int, e: Evidence) -> Evidence:
    """Equal elements at kinks are found; without a reference they are also moved together."""
    e = replace(e, kinks=replace(e.kinks, tied=ties.tied(m.point.evaluator, i, e)))
    if e.autodiff is not None or not e.kinks.tied.size:
        return e
    slope = ties.tied_slope(m.point.evaluator, i, e)
    return _noted(replace(e, kinks=replace(e.kinks, tied_slope=slope)), "the slope along tied elements")


STEPS: tuple[Callable[[Measurements, int, Evidence], Evidence], ...] = (
    full_sweep,
    conditioned,
    reference_conditioned,
    ties_resolved,
)


def _noted(e: Evidence, what: str) -> Evidence:
    return replace(e, measurements=(*e.measurements, what))
