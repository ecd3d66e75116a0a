"""How small an error of a single entry would be noticed in an argument too large to be seen entry by entry."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.judging.comparison import reported_scale
from oracle.judging.error_budget import MULTIPLE, ErrorBudget
from oracle.judging.evidence import Evidence, Swept

__all__ = ["allowed", "resolution"]

Array = NDArray[Any]


def resolution(e: Evidence) -> float | None:
    """The smallest error of a single entry that would have been noticed, whichever it is, relative to the largest entry.

    None where that cannot be said: of entries that no direction and no reference sees nothing is known.
    """
    scale = reported_scale(e)
    if not scale:
        return None
    known = [] if e.autodiff is None else [e.budget.autodiff]
    if e.estimate.index.size == e.analytic.size and not e.estimate.kink.any():
        known.append(MULTIPLE * float(e.estimate.uncertainty.max(initial=0.0)) + e.budget.numerical)
    elif e.swept and not any(s.blind.any() for s in e.swept):
        known.append(max(float(allowed(s, e.scale, e.budget.numerical).max(initial=0.0)) / s.least for s in e.swept))
    return min(known) / scale if known else None


def allowed(s: Swept, scale: float, numerical: float | None = None) -> Array:
    """How far the gradient may be from the slope of each group."""
    entry = ErrorBudget.of(np.dtype(np.float64), scale).numerical if numerical is None else numerical
    return MULTIPLE * s.uncertainty + entry * s.norm
