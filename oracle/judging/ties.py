"""Equal elements: each alone may have a kink there, while all of them moved together have one slope."""

from __future__ import annotations

import numpy as np

from oracle.differences.directional import slope_along
from oracle.differences.evaluation import Evaluator
from oracle.differences.thresholds import SHARP
from oracle.effort import ENTRIES
from oracle.judging.comparison import ratio
from oracle.judging.error_budget import truncation_and_noise
from oracle.judging.evidence import Array, Evidence
from oracle.judging.verdict import judge

__all__ = ["tied", "tied_slope"]


def tied(evaluator: Evaluator, leaf: int, e: Evidence) -> Array:
    """The elements at kinks that have an equal there; and those that move nothing alone, but do with all equal ones."""
    x = evaluator.origin[leaf].reshape(-1)
    kinks = e.estimate.index[e.estimate.kink]
    _, which, counts = np.unique(x[kinks], return_inverse=True, return_counts=True)
    found = [kinks[counts[which] > 1]]
    wrong = np.setdiff1d(judge(e).contradicted, kinks)
    for value in np.unique(x[wrong])[:ENTRIES]:
        equal = np.flatnonzero(x == value)
        slope = slope_along(evaluator, leaf, equal) if 1 < equal.size < x.size else None
        measured = np.isin(e.estimate.index, equal)
        if slope is None or measured.sum() < equal.size:
            continue
        alone, uncertainty = e.estimate.value[measured].sum(), e.estimate.uncertainty[measured].sum()
        if abs(alone - slope[0]) > SHARP * abs(slope[0]) + truncation_and_noise(slope[1] + uncertainty):
            found.append(equal)  # no derivative is the sum of its parts there
    return np.unique(np.concatenate(found)).astype(np.intp)


def tied_slope(evaluator: Evaluator, leaf: int, e: Evidence) -> float:
    """The worst sum of tied entries against the slope along all of them, as a fraction of what is allowed."""
    x = evaluator.origin[leaf].reshape(-1)
    worst = 0.0
    for value in np.unique(x[e.kinks.tied])[:ENTRIES]:
        equal = e.kinks.tied[x[e.kinks.tied] == value]
        slope = slope_along(evaluator, leaf, equal)
        if slope is not None:
            error = np.abs(e.analytic[equal].sum() - slope[0])
            worst = max(worst, float(ratio(error, truncation_and_noise(slope[1]) + e.budget.without_u * equal.size)))
    return worst
