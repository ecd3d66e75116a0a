"""How large an error is: as a number, and in words that tell rounding, a small constant and a wrong formula apart."""

from __future__ import annotations

import math

import numpy as np

from oracle.judging.comparison import Comparison, best_known, reported_scale
from oracle.judging.error_budget import TERMS
from oracle.judging.evidence import Evidence
from oracle.judging.reasons import Reason
from oracle.judging.verdict import DirectionalComparison, Judgement
from oracle.measures import EPSILON, distance, relative

__all__ = ["error_size", "in_words"]

ROUNDINGS = TERMS / 2
"""Roundings of the row's dtype, or of float32 if that is wider: up to half of what a gradient in that dtype is forgiven an
error is like rounding. A kernel that computes in float32 loses 1 to 8; with 64, an eps of 1e-6 would be called rounding, with 1
half of the float32 kernels would not."""
SMALL_CONSTANT = 1e-2
"""Of the largest entry: up to this an error is of the size that a small constant makes, such as an eps of 1e-12 to 1e-3 that
one of two formulas has. A mean over n - 1 numbers instead of n is off by more up to n = 100, and so is a lost term or factor;
with 1e-1 these would be called small, with 1e-3 an eps beside numbers below 1 would be called a wrong formula."""


def error_size(e: Evidence, judgement: Judgement) -> float | None:
    """The largest error of a contradicted entry, relative to the largest entry of all; None if no entry was measured."""
    scale, wrong = reported_scale(e), judgement.contradicted
    if judgement.reason is Reason.NOT_FINITE:
        return math.inf
    if judgement.reason is Reason.DIRECTIONAL_MISMATCH:
        return relative(DirectionalComparison.of(e).errors_of_one_entry, scale)
    if judgement.reason is Reason.NO_SUBGRADIENT:
        return e.kinks.excess
    if judgement.reason in (Reason.OTHER_VALUES, Reason.TIED_SLOPE) or (not wrong.size and judgement.worst is None):
        return None
    wrong = wrong if wrong.size else np.array([judgement.worst])
    measured = np.isin(e.estimate.index, wrong)
    by_differences = Comparison.of(e).error[measured]
    if e.autodiff is None:
        return relative(by_differences, scale) if measured.any() else None
    by_reference = distance(e.analytic[wrong], best_known(e)[wrong])
    if judgement.reason in (Reason.NOT_THE_FORWARD_PASS, Reason.DIFFERENCES_CONTRADICT, Reason.WRONG_FORMULA):
        return relative(by_differences, scale)
    return relative(by_reference, scale)


def in_words(error: float | None, dtype: str) -> str:
    """The size class of an error with its number, such as `a wrong formula (0.3 of the largest entry)`; empty for None."""
    if error is None:
        return ""
    if not math.isfinite(error):
        return "not a finite number"
    rounding = ROUNDINGS * max(EPSILON.get(dtype, 0.0), EPSILON["float32"])  # a slot of an optimizer may be an integer
    what = "like rounding" if error <= rounding else "a small constant's size" if error <= SMALL_CONSTANT else "a wrong formula"
    return f"{what} ({error:.1g} of the largest entry)"
