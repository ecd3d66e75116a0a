"""How small an error of a single entry would be noticed in an argument too large to be differentiated entry by entry."""

from __future__ import annotations

import numpy as np

from oracle.judging.comparison import reported_scale
from oracle.judging.error_budget import truncation_and_noise
from oracle.judging.evidence import Array, Evidence, Swept

__all__ = ["allowed", "resolution"]


def resolution(e: Evidence) -> float | None:
    """The smallest error of a single entry that would have been noticed, whichever it is, relative to the largest entry.

    None where that is unknown: no direction and no reference covers the entry.
    """
    scale = reported_scale(e)
    if not scale:
        return None
    known = [] if e.autodiff is None else [e.budget.against_reference]
    if e.estimate.index.size == e.analytic.size and not e.estimate.kink.any():
        known.append(float(e.budget.against_differences(e.estimate.uncertainty).max(initial=e.budget.without_u)))
    elif e.directions.swept and not any(s.blind.any() for s in e.directions.swept):
        known.append(max(float(allowed(s, e.budget.without_u).max(initial=0.0)) / s.least for s in e.directions.swept))
    return min(known) / scale if known else None


def allowed(s: Swept, entry: float) -> Array:
    """How far the gradient may be from the slope of each group, if each of its entries may be off by `entry`."""
    return np.asarray(truncation_and_noise(s.uncertainty) + entry * s.norm)
