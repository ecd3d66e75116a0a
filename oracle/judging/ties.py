"""Equal elements: each may have a slope of its own on either side, and what all of them together have is a slope."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.differences.directional import slope_along
from oracle.differences.evaluation import Evaluator
from oracle.judging.error_budget import MULTIPLE
from oracle.judging.evidence import Evidence
from oracle.judging.verdict import judge

__all__ = ["tied", "tied_slope"]

Array = NDArray[Any]

MOST = 64  # groups of equal elements
BENT = 2.0**-10  # of a slope: by how much that of several elements is not the sum of theirs


def tied(evaluator: Evaluator, leaf: int, e: Evidence) -> Array:
    """The elements at kinks that have an equal there; and those of which one alone moves nothing, but all equal ones do."""
    x = evaluator.origin[leaf].reshape(-1)
    kinks = e.estimate.index[e.estimate.kink]
    _, which, counts = np.unique(x[kinks], return_inverse=True, return_counts=True)
    found = [kinks[counts[which] > 1]]
    wrong = np.setdiff1d(judge(e).contradicted, kinks)
    for value in np.unique(x[wrong])[:MOST]:
        equal = np.flatnonzero(x == value)
        slope = slope_along(evaluator, leaf, equal) if 1 < equal.size < x.size else None
        seen = np.isin(e.estimate.index, equal)
        if slope is None or seen.sum() < equal.size:
            continue
        alone = float(e.estimate.value[seen].sum())
        if abs(alone - slope[0]) > BENT * abs(slope[0]) + MULTIPLE * (slope[1] + float(e.estimate.uncertainty[seen].sum())):
            found.append(equal)  # no derivative is the sum of its parts there
    return np.unique(np.concatenate(found)).astype(np.intp)


def tied_slope(evaluator: Evaluator, leaf: int, e: Evidence) -> float:
    """The worst of the sums of tied entries against the slope along all of them, in units of what is allowed."""
    x = evaluator.origin[leaf].reshape(-1)
    worst = 0.0
    for value in np.unique(x[e.tied])[:MOST]:
        equal = e.tied[x[e.tied] == value]
        slope = slope_along(evaluator, leaf, equal)
        if slope is not None:
            allowed = MULTIPLE * slope[1] + e.budget.numerical * equal.size
            off = abs(float(e.analytic[equal].sum()) - slope[0])
            worst = max(worst, off / allowed if allowed else float("inf") if off else 0.0)
    return worst
