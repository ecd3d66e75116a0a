"""Further measurements at the point itself, in order, as long as the verdict is open.

Each takes the evidence about one argument and returns it with what it has measured, or as it is if nothing is in doubt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from oracle.arrays import size_of
from oracle.differences import partials
from oracle.differences.evaluation import Evaluator
from oracle.differences.fitted import fitted as fit_entries
from oracle.differences.fitted import fitted_along, fitted_blocks, fitted_with
from oracle.effort import ONE_BY_ONE, SAMPLES
from oracle.judging import ties
from oracle.judging.comparison import doubted
from oracle.judging.error_budget import SAMPLED_SAFETY, computes_narrower, conditioning, noise_of_zero
from oracle.judging.error_budget import rounded_inside as lost_inside
from oracle.judging.evidence import Array, Evidence
from oracle.judging.measurements import Measurements
from oracle.judging.reasons import Reason
from oracle.judging.verdict import DirectionalComparison, judge
from oracle.measures import EPSILON, largest
from oracle.streams import Stream
from oracle.text import count

__all__ = ["settled", "swept_fully"]


def settled(m: Measurements, i: int, index: Array | None = None) -> Evidence:
    """The evidence about argument `i`, with the further measurements at this point; of the entries `index` alone, if given."""
    e = m.first_evidence(i, index)
    for step in STEPS:
        e = step(m, i, e)
    if e.directions.along is None and index is None:
        m.estimates[i] = e.estimate
    return e


def fitted(m: Measurements, i: int, e: Evidence) -> Evidence:
    """Where the forward pass computes in a narrower dtype inside, slopes are fitted to many long steps."""
    evaluator, size = m.point.evaluator, e.analytic.size
    if not computes_narrower(e.budget) or m.in_float64 is not None or m.plan.step is not None:
        return e  # in a narrow dtype the differences are those that were taken in float64
    if e.directions.along is not None:
        along = fitted_blocks(evaluator, i, e.directions.along, e.analytic)
        return _fitted_together(evaluator, i, replace(e, directions=replace(e.directions, along=along)))
    generator = np.random.default_rng([Stream.FITTED, m.plan.seed, i])
    x = evaluator.origin[i].reshape(-1)
    sizes = np.where(x == 0, size_of(x), np.abs(x))
    signs = generator.choice([-1.0, 1.0], (SAMPLES if size > 1 else 0, size))
    estimate = fit_entries(evaluator, i, e.estimate) if e.estimate.index.size <= ONE_BY_ONE else e.estimate
    all_smooth = estimate.index.size == size and not estimate.kink.any()
    slopes = fitted_along(evaluator, i, estimate, signs * sizes) if all_smooth else []
    e = e.after("slopes fitted to many long steps", estimate=estimate, directions=replace(e.directions, fitted=tuple(slopes)))
    return _fitted_together(evaluator, i, e)


def _fitted_together(evaluator: Evaluator, i: int, e: Evidence) -> Evidence:
    """With the slope along all entries that may have one, in a direction in which they do not cancel."""
    where = np.ones(e.analytic.size, bool)
    where[e.estimate.index[e.estimate.kink]] = False
    for block in () if e.directions.along is None else e.directions.along.blocks:
        where[block.index] &= not block.blind or block.usual
    slope = fitted_with(evaluator, i, e.analytic, where)
    if slope is None:
        return e
    fitted = (*e.directions.fitted, slope)
    return e.after("a slope fitted along the gradient itself", directions=replace(e.directions, fitted=fitted))


def rounded_inside(m: Measurements, i: int, e: Evidence) -> Evidence:
    """A gradient may be off by what it loses in a narrower dtype, if it is computed in one.

    That is asked where the gradient is in doubt. It is also asked where the forward pass computes in a narrower dtype: the row
    then states which errors would have been in doubt and not forgiven.
    """
    in_doubt = doubted(e).size or DirectionalComparison.of(e).used > 1 or computes_narrower(e.budget)
    return _forgiving(m, i, e) if in_doubt else e


def _forgiving(m: Measurements, i: int, e: Evidence) -> Evidence:
    """The evidence with what the gradient loses in a narrower dtype inside."""
    wide = m if m.in_float64 is None else m.in_float64
    if wide.point.dtype.name != "float64" or e.budget.inside:
        return e
    lost = wide.rounding.lost_inside(i)
    name = m.point.dtype.name
    own = 0.0 if name == "float64" else lost_inside(EPSILON[name] * e.budget.scale, e.budget.scale)
    if not lost > own:  # of its own dtype a gradient may lose the digits anyway
        return e
    return e.after("the roundings inside the gradient", budget=replace(e.budget, inside=lost))


def rounding_alone(m: Measurements, i: int, e: Evidence) -> Evidence:
    """A gradient in doubt may be nothing but rounding: one that moves by its own size when the arguments are rounded."""
    if m.point.dtype.name != "float64" or computes_narrower(e.budget) or not doubted(e).size:
        return e
    size = max(largest(e.analytic), largest(e.autodiff))
    noise = noise_of_zero(size, largest(m.rounding.spread(i)), m.rounding.effective[i], "float64", "float64")
    return replace(e, budget=replace(e.budget, noise=noise)) if noise else e


def full_sweep(m: Measurements, i: int, e: Evidence) -> Evidence:
    """Doubtful entries are differentiated again, at all steps from very long to very short."""
    return e if m.plan.step is not None else swept_fully(e, m.point.evaluator, i)


def swept_fully(e: Evidence, evaluator: Evaluator, leaf: int) -> Evidence:
    """Sweeps doubtful entries in batches of 4, 8, 16, ..., worst first, until an entry of a batch stays contradicted."""
    swept = np.zeros(0, dtype=np.intp)
    fits = computes_narrower(e.budget) and evaluator.rounding.inner_eps > 0
    few = SAMPLES  # with more, a wrong gradient costs sweeps that change nothing
    while (todo := (doubt := doubted(e))[~np.isin(doubt, swept)][:few]).size:
        estimate = partials.confirm(evaluator, leaf, e.estimate, todo)
        if fits:  # beside the noise of a narrower dtype the longest steps may be the most certain ones, and wrong
            estimate = fit_entries(evaluator, leaf, estimate, todo)
        e = replace(e, estimate=estimate)
        swept, few = np.union1d(swept, todo), 2 * few
        if np.isin(todo, doubted(e, only_contradicted=True)).any():
            break
    entries = count(swept.size, "doubtful entry", "doubtful entries")
    return e.after(f"a full sweep of the steps for {entries}") if swept.size else e


def conditioned(m: Measurements, i: int, e: Evidence) -> Evidence:
    """A contradicted gradient may be off by as much as the rounding of its arguments moves it; at kinks that means nothing."""
    if m.point.dtype.name != "float64" or e.estimate.kink.any() or not judge(e).contradicted.size:
        return e
    forgiven = float(conditioning(largest(m.rounding.spread(i)), e.budget.scale))
    return e.after("the conditioning of the gradient", budget=replace(e.budget, conditioning=forgiven))


def reference_conditioned(m: Measurements, i: int, e: Evidence) -> Evidence:
    """Where the reference alone contradicts, how far its own gradient moves when the arguments are rounded."""
    if m.point.dtype.name != "float64" or judge(e).reason is not Reason.ANOTHER_FUNCTION:
        return e
    moved = SAMPLED_SAFETY * largest(m.rounding.spread(i))
    return e.after("the conditioning of the reference", budget=replace(e.budget, reference_conditioning=moved))


def ties_resolved(m: Measurements, i: int, e: Evidence) -> Evidence:
    """Equal elements at kinks are found; without a reference they are also moved together."""
    e = replace(e, kinks=replace(e.kinks, tied=ties.tied(m.point.evaluator, i, e)))
    if e.autodiff is not None or not e.kinks.tied.size:
        return e
    slope = ties.tied_slope(m.point.evaluator, i, e)
    if slope > 1:
        e = _forgiving(m, i, e)
        slope = ties.tied_slope(m.point.evaluator, i, e)
    return e.after("the slope along tied elements", kinks=replace(e.kinks, tied_slope=slope))


STEPS: tuple[Callable[[Measurements, int, Evidence], Evidence], ...] = (
    fitted,
    rounding_alone,
    rounded_inside,
    full_sweep,
    conditioned,
    reference_conditioned,
    ties_resolved,
)
