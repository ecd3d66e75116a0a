"""The gradient against both witnesses, element by element, in units of what is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.judging.conditioning import CONDITION_SAFETY
from oracle.judging.error_budget import AUTODIFF_ROUNDING, KNOWN, MULTIPLE, ROUNDING
from oracle.judging.evidence import Evidence
from oracle.measures import EPSILON, differences, largest
from oracle.spec import Flag

__all__ = ["Comparison", "below_roundoff", "best_known", "doubted", "ratio", "reported_scale"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Comparison:
    """The elements seen by the differences against the other two."""

    error: Array
    """Against the differences; at a kink, beyond the slopes of both sides."""
    numerical_used: Array
    autodiff_used: Array
    apart: Array
    """The differences against JAX, in units of what is allowed between these two."""
    uncertain: Array

    @classmethod
    def of(cls, e: Evidence) -> Comparison:
        seen = e.estimate
        ours = e.analytic[seen.index]
        spread = np.where(np.isfinite(seen.uncertainty), seen.uncertainty, np.inf)
        allowed = MULTIPLE * spread + e.budget.numerical
        error = differences(ours, seen.value)
        # At a kink any value between the slopes of the two sides is a gradient.
        low, high = np.minimum(seen.left, seen.right), np.maximum(seen.left, seen.right)
        with np.errstate(invalid="ignore"):
            outside = np.maximum(np.maximum(low - ours, ours - high), 0.0)
        # But among ties, as of sorted numbers, the slopes of one element alone are not all there are: there JAX decides.
        excused = np.isin(seen.index, e.tied) if e.autodiff is not None else np.zeros(seen.index.shape, bool)
        error = np.where(excused, 0.0, np.where(seen.kink, outside, error))
        allowed = np.where(seen.kink, MULTIPLE * seen.slope_uncertainty + e.budget.numerical, allowed)
        uncertain = ~seen.kink & ~(spread <= e.resolution * e.scale) & (spread > 0)
        if e.autodiff is None:
            none = np.zeros(seen.index.size)
            return cls(error, ratio(error, allowed), none, none, uncertain)
        theirs = e.autodiff[seen.index]
        apart = np.where(seen.kink | excused, 0.0, ratio(differences(theirs, seen.value), allowed + e.budget.autodiff))
        return cls(error, ratio(error, allowed), ratio(differences(ours, theirs), e.budget.autodiff), apart, uncertain)


def ratio(error: Array, allowed: Array | float) -> Array:
    """How much of the allowance an error uses: 0 for no error even where nothing is allowed, infinite for NaN."""
    allowed = np.broadcast_to(allowed, error.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / allowed)
    return np.where(np.isnan(ratio), np.where(np.isinf(allowed), 0.0, np.inf), ratio)


def doubted(e: Evidence, *, only_contradicted: bool = False) -> Array:
    """Flat indices about which a witness contradicts the gradient (or knows nothing), the worst first."""
    c = Comparison.of(e)
    used = np.maximum(c.numerical_used, c.autodiff_used)
    doubt = (used > 1) | (c.uncertain & (not only_contradicted))
    order = np.argsort(-np.where(doubt, used, -1.0), kind="stable")[: int(doubt.sum())]
    return np.asarray(e.estimate.index[order])


def below_roundoff(e: Evidence, condition: Array | float = 0.0) -> Array:
    """Flat indices of the entries whose error is too large for their own size, however small beside the roundoff scale.

    `condition` is how far each entry moves with the rounding of the arguments. An entry is not meant if the differences know it
    better than that, and agree.
    """
    if e.dtype.name != "float64" or Flag.NOT_THE_DERIVATIVE in e.flags:
        return np.zeros(0, dtype=np.intp)
    seen, eps = e.estimate, EPSILON["float64"]
    own = CONDITION_SAFETY * np.broadcast_to(condition, e.analytic.shape)
    ours = e.analytic[seen.index]
    spread = MULTIPLE * seen.uncertainty + ROUNDING * eps * np.abs(seen.value) + own[seen.index]
    error = differences(ours, seen.value)
    if e.autodiff is None:
        # And where of no entry anything is known but that it is small, of none is known that it is right.
        ignorant = not (spread < KNOWN * np.abs(ours)).any()
        return np.asarray(seen.index[~seen.kink & (error > spread) | (ignorant & (ours != 0))])
    apart = differences(e.analytic, e.autodiff)
    bad = apart > AUTODIFF_ROUNDING * eps * np.abs(e.autodiff) + own
    agree = ~seen.kink & (error <= spread) & (spread < KNOWN * apart[seen.index])
    bad[seen.index[agree | seen.kink]] = False
    return np.flatnonzero(bad)


def reported_scale(e: Evidence) -> float:
    """What a reported error is relative to: the largest entry of the true gradient, as far as it is known."""
    seen = e.estimate.value[np.isfinite(e.estimate.value)]
    return largest(e.autodiff if e.autodiff is not None else seen) or largest(e.analytic) or e.scale


def best_known(e: Evidence) -> Array:
    """The best that is known of each element: what JAX says in float64, or else the differences; NaN where nothing is."""
    if e.autodiff is not None:
        return e.autodiff
    truth = np.full_like(e.analytic, np.nan)
    truth[e.estimate.index] = e.estimate.value
    return truth
