"""The gradient against both witnesses, entry by entry, in units of the error budget."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from oracle.judging.error_budget import (
    KNOWN,
    REFERENCE_TERMS,
    SAMPLED_SAFETY,
    between_witnesses,
    coarsest_estimate,
    computes_narrower,
    roundoff,
    truncation_and_noise,
)
from oracle.judging.evidence import Array, Evidence
from oracle.measures import distance, largest
from oracle.spec import Flag

__all__ = ["Comparison", "accepting", "below_roundoff", "best_known", "doubted", "ratio", "reported_scale"]


@dataclass(frozen=True)
class Comparison:
    """The three comparisons, for the entries that were differentiated."""

    error: Array
    """Of the gradient against the differences; at a kink, beyond the slopes of both sides."""
    differences_used: Array
    """That error as a fraction of `SAFETY u + r + c + t`."""
    reference_used: Array
    """Of the gradient against the reference, as a fraction of `R + c + t`; 0 without a reference."""
    witnesses_used: Array
    """Of the differences against the reference, as a fraction of what these two are allowed; 0 at kinks."""
    uncertain: Array
    """Whether the differences are too uncertain to decide."""

    @classmethod
    def of(cls, e: Evidence) -> Comparison:
        """The comparisons for this evidence, which never changes: they are made once and kept beside its fields."""
        kept = vars(e)
        if "comparison" not in kept:
            kept["comparison"] = cls._made(e)
        comparison: Comparison = kept["comparison"]
        return comparison

    @classmethod
    def _made(cls, e: Evidence) -> Comparison:
        measured = e.estimate
        ours = e.analytic[measured.index]
        uncertainty = np.where(np.isfinite(measured.uncertainty), measured.uncertainty, np.inf)
        # At a kink any value between the slopes of the two sides is a gradient.
        low, high = np.minimum(measured.left, measured.right), np.maximum(measured.left, measured.right)
        with np.errstate(invalid="ignore"):
            outside = np.maximum(np.maximum(low - ours, ours - high), 0.0)
        error = np.where(measured.kink, outside, distance(ours, measured.value))
        # Among ties, as in sorted numbers, one element's own two slopes do not bound the gradient: there the reference decides.
        excused = np.isin(measured.index, e.kinks.tied) & (e.autodiff is not None)
        error = np.where(excused, 0.0, error)
        estimate = np.where(measured.kink, measured.slope_uncertainty, uncertainty)
        decisive = (uncertainty <= coarsest_estimate(e.budget) * e.budget.scale) | (uncertainty == 0)
        decisive |= truncation_and_noise(uncertainty) <= e.budget.without_u  # no more than what the gradient itself is forgiven
        decisive |= not (e.analytic.any() or measured.value.any())  # nothing moves, and nothing is said to
        by_differences = ratio(error, e.budget.against_differences(estimate))
        by_reference, apart = np.zeros(error.size), np.zeros(error.size)
        if e.autodiff is not None:
            theirs = e.autodiff[measured.index]
            by_reference = ratio(distance(ours, theirs), e.budget.against_reference)
            apart = ratio(distance(theirs, measured.value), between_witnesses(e.budget, estimate))
            apart = np.where(measured.kink | excused, 0.0, apart)
        return cls(error, by_differences, by_reference, apart, ~measured.kink & ~decisive)

    @property
    def used(self) -> Array:
        """The larger share of what the gradient is allowed against each witness."""
        return np.maximum(self.differences_used, self.reference_used)


def ratio(error: Array, allowed: Array | float) -> Array:
    """How much of its allowance an error uses: 0 for no error even where nothing is allowed, infinite for NaN."""
    allowed = np.broadcast_to(allowed, error.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / allowed)
    return np.where(np.isnan(ratio), np.where(np.isinf(allowed), 0.0, np.inf), ratio)


def doubted(e: Evidence, *, only_contradicted: bool = False) -> Array:
    """Flat indices where a witness contradicts the gradient (or is too uncertain to decide), the worst first."""
    c = Comparison.of(e)
    doubt = (c.used > 1) | (c.uncertain & (not only_contradicted))
    order = np.argsort(-np.where(doubt, c.used, -1.0), kind="stable")[: int(doubt.sum())]
    return np.asarray(e.estimate.index[order])


def below_roundoff(e: Evidence, spread: Array | float = 0.0) -> Array:
    """Flat indices of the entries below the roundoff floor: their error is too large for their own size.

    `spread` is how far each entry moves when the arguments are rounded. An entry does not count if the differences agree with
    it and know it to a fraction of that error.
    """
    if e.parameter.dtype.name != "float64" or computes_narrower(e.budget) or Flag.NOT_THE_DERIVATIVE in e.parameter.flags:
        return np.zeros(0, dtype=np.intp)
    measured = e.estimate
    own = SAMPLED_SAFETY * np.broadcast_to(spread, e.analytic.shape)  # not capped: an entry's own size is small anyway
    ours = e.analytic[measured.index]
    allowed = truncation_and_noise(measured.uncertainty) + roundoff(np.abs(measured.value)) + own[measured.index]
    error = distance(ours, measured.value)
    if e.autodiff is None:
        # If no entry is known to a fraction of its size, nothing shows that any of them is right.
        ignorant = not (allowed < KNOWN * np.abs(ours)).any()
        return np.asarray(measured.index[~measured.kink & (error > allowed) | (ignorant & (ours != 0))])
    apart = distance(e.analytic, e.autodiff)
    bad = apart > roundoff(np.abs(e.autodiff), REFERENCE_TERMS) + own
    agree = ~measured.kink & (error <= allowed) & (allowed < KNOWN * apart[measured.index])
    bad[measured.index[agree | measured.kink]] = False
    return np.flatnonzero(bad)


def reported_scale(e: Evidence) -> float:
    """The number to which reported errors are relative: the largest entry of the true gradient, as far as it is known."""
    measured = e.estimate.value[np.isfinite(e.estimate.value)]
    return largest(e.autodiff if e.autodiff is not None else measured) or largest(e.analytic) or e.budget.scale


def accepting(e: Evidence, share: float) -> Evidence:
    """The evidence with a budget that forgives errors up to this share of the gradient's largest entry."""
    return replace(e, budget=replace(e.budget, accepted=share * reported_scale(e)))


def best_known(e: Evidence) -> Array:
    """The best known value of each element: the reference's in float64, or else the differences'; NaN where there is none."""
    if e.autodiff is not None:
        return e.autodiff
    truth = np.full_like(e.analytic, np.nan)
    truth[e.estimate.index] = e.estimate.value
    return truth
