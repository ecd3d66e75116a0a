"""Everything that a comparison may forgive: four terms, each one function, and every safety factor that they use.

| term | what it is | function |
|---|---|---|
| truncation and noise `u` | the error estimate of the differences for one entry | `truncation_and_noise` |
| roundoff `r`, `R` | what 16 roundings lose; 1,024 against the reference, another route to the same number | `roundoff` |
| conditioning `c` | how far the gradient moves when its arguments are rounded | `conditioning` |
| dtype `t` | what a dtype below float64 loses; 0 in float64 | `narrow_dtype` |

Three comparisons use them (`ErrorBudget`): a gradient agrees with the differences within `SAFETY u + r + c + t`, with the
reference within `R + c + t`, and the differences agree with the reference within `SAFETY u + R + c + t`. A reference that alone
contradicts is excused by its own conditioning (`ErrorBudget.reference_conditioning`).

Roundoff is measured by the roundoff scale: the largest entry of the gradient, by any witness, at the point or on the ray to the
origin (unless it grows there as at a singularity); and if all of these are 0, the secant. A saturated function has a gradient
far below the rounding of its own intermediate values. Nobody can compute its digits, so it is not judged by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.differences.thresholds import COARSE, CONTRADICTION, UNRESOLVED
from oracle.measures import EPSILON

__all__ = [
    "GROSS",
    "GROSSLY_CONTRADICTED",
    "KNOWN",
    "NARROW_LOSS",
    "REFERENCE_TERMS",
    "REORDERED_TERMS",
    "RESOLVED_INSIDE",
    "SAFETY",
    "SAMPLED_SAFETY",
    "SHORT_SUM",
    "TERMS",
    "ErrorBudget",
    "between_witnesses",
    "coarsest_estimate",
    "computes_narrower",
    "conditioning",
    "largest_zero",
    "narrow_dtype",
    "noise_of_zero",
    "rounded_inside",
    "roundoff",
    "truncation_and_noise",
]

Array = NDArray[Any]

SAFETY = CONTRADICTION
"""Times an error estimate, which is contradicted beyond that. The true error was within 2 estimates for every function tried;
with 2 instead of 4, one right gradient in some thousands fails, with 8 the error that a check notices doubles."""
TERMS = 16.0
"""Terms of size `scale` whose roundings may add up in a gradient or in a difference. An op that sums more has a larger scale on
its way; with 4, right softmax and norm layers fail, with 64 an error of 1e-14 passes."""
SHORT_SUM = SAFETY * TERMS
"""The first of three longer sums, each with `SAFETY` times the terms of the one before. Terms where an entry is judged by its
own size, or a sum cancels: more than any op of the catalogue rounds there, and less than any error that is not rounding."""
REORDERED_TERMS = SAFETY * SHORT_SUM
"""Terms between two gradients of one op whose arguments differ in their memory layout, or whose cotangents are scaled: its sums
run in another order. With 64, right matrix products fail; 1,024 would let a small error of a layout pass."""
REFERENCE_TERMS = SAFETY * REORDERED_TERMS
"""Terms between our gradient and the reference's: two routes to one number, through sums in another order. JAX's convolutions
and norms need up to 300; with 10,000 an error of 2e-12 of the largest entry would pass."""
SAMPLED_SAFETY = SAFETY * SAFETY
"""`SAFETY` of an estimate, and again for a few samples. Times the largest of a few random samples of a spread: another order of
the same operations moves a result further than the samples do. With 4, right gradients beside cancellation fail; 64 would hide
errors of the fourth digit there."""
MOST_FORGIVEN = 2.0**-30
"""Of the roundoff scale: conditioning forgives no more, so that an ill-conditioned point never hides an error of 1e-9."""
GROSS = UNRESOLVED
"""Of the roundoff scale. A larger spread counts as a discontinuity, for which `c` is 0; a larger error against the differences
alone is a FAIL, a smaller one INCONCLUSIVE. No rounding in float64 is as large."""
MOST_ZERO = EPSILON["bfloat16"]
"""Of the secant: the size of the largest gradient that may be nothing but rounding, in whichever dtype. Without a limit every
gradient of a kernel in bfloat16 would be."""
GROSSLY_CONTRADICTED = SAFETY * SAMPLED_SAFETY
"""Times what is allowed: an error against the differences alone is a FAIL from there on, if the function computes in a narrower
dtype inside. With 4, rare points where its noise is larger than measured fail, such as saturated ones; with 1,000 no
straight-through gradient is found there."""
RESOLVED_INSIDE = COARSE
"""Of the roundoff scale: the largest error estimate that still decides, if the function computes in a narrower dtype inside.
With 2^-9, one right gradient in a hundred is undecided in float32; with 1/4 nothing would be known but the sign."""
MOST_UNRESOLVED = 0.5
"""Of the roundoff scale: no larger error estimate decides, however few digits are left of a value where terms cancel. With 1 a
gradient of the other sign would pass; with 1/4 right kernels in bfloat16 are undecided."""
KNOWN = 0.1
"""Of an error: an entry counts as measured if its allowance is below this share of the error in question. With 1 the
differences would decide about errors as small as their own estimate; with 0.01 few entries below the roundoff floor count."""
NARROW_LOSS = 2.0**-13
"""Of the roundoff scale: the most that intermediate numbers of a narrow dtype may lose where no reference shows what they do;
about half the digits of float32. An op that loses more should compute in a wider dtype."""


def truncation_and_noise(uncertainty: Any) -> Any:
    """`SAFETY u`: the extrapolation's own error estimate of an entry, which covers truncation and measured rounding noise."""
    return SAFETY * uncertainty


def roundoff(scale: Any, terms: float = TERMS, dtype: str = "float64") -> Any:
    """`r = terms eps scale`: so many roundings of numbers no larger than `scale`, partial sums included.

    n roundings add up to at most n u scale with u = eps / 2 (Higham 2002, section 3.1); eps leaves a factor of 2.
    """
    return terms * EPSILON[dtype] * scale


def conditioning(spread: Any, scale: float) -> Any:
    """`c = min(SAMPLED_SAFETY spread, MOST_FORGIVEN scale)`, and 0 where the spread exceeds `GROSS scale`: a discontinuity.

    No computation is more exact than its arguments, whose rounding moves the gradient by `spread` (sampled).
    """
    limited = np.minimum(SAMPLED_SAFETY * spread, MOST_FORGIVEN * scale)
    return np.where(np.less_equal(spread, GROSS * scale), limited, 0.0)


def narrow_dtype(dtype: str, scale: float, reference_error: float | None = None, own_error: float | None = None) -> float:
    """`t`: what a dtype below float64 may lose, where `ulp = eps(dtype) scale`.

    With a reference it is `SAFETY max(reference_error + ulp, own_error)`, without one `2 SAFETY (own_error + ulp)`. If the
    op does not take float64, so that its own error is unknown, it is `SHORT_SUM ulp`.

    `reference_error` is what the reference loses in that dtype. `own_error` is how far our gradient moves when its arguments
    are rounded to it, or what its intermediate numbers lose if that is more; None if that is not known. A gradient may lose
    as much as the reference and as its conditioning.
    """
    if dtype == "float64":
        return 0.0
    ulp = EPSILON[dtype] * scale
    if reference_error is not None:
        return SAFETY * max(reference_error + ulp, own_error or 0.0)
    return SHORT_SUM * ulp if own_error is None else 2 * SAFETY * (own_error + ulp)


def rounded_inside(noise: float, scale: float) -> float:
    """`t` of a float64 gradient that is computed in a narrower dtype: `2 SAFETY (noise + eps(float32) scale)`.

    `noise` is the root mean square of its roundings, measured. The other term is for what they do alike at all points, such as
    the rounding of a constant.
    """
    return 2 * SAFETY * (noise + EPSILON["float32"] * scale)


@dataclass(frozen=True)
class ErrorBudget:
    """The terms of one gradient that all its entries share, and the comparisons that they allow."""

    scale: float
    """The roundoff scale of the gradient."""
    secant: float
    """The slope that would change the values by their own size."""
    conditioning: float = 0.0
    """The term `c`."""
    dtype: float = 0.0
    """The term `t` of a gradient in a narrow dtype."""
    inside: float = 0.0
    """The term `t` of a gradient that is computed in a narrower dtype than it has."""
    eps: float = EPSILON["float64"]
    """The rounding of the values, which limits what differences can know."""
    reference_conditioning: float = 0.0
    """How far the reference's own gradient may be off, where it alone contradicts the others."""
    noise: float = 0.0
    """The size up to which the gradient is nothing but rounding, if that was measured; else 0."""
    accepted: float = 0.0
    """The error that the caller has declared to accept; 0 for the strict verdict."""

    @property
    def without_u(self) -> float:
        """`r + c + t`: what an entry may be off besides the differences' own error estimate."""
        return float(roundoff(self.scale)) + self.conditioning + self.dtype + self.inside

    def against_differences(self, uncertainty: Array) -> Array:
        """`SAFETY u + r + c + t`, for entries with these error estimates."""
        return np.asarray(truncation_and_noise(uncertainty) + self.without_u + self.accepted)

    @property
    def against_reference(self) -> float:
        """`R + c + t`."""
        return float(roundoff(self.scale, REFERENCE_TERMS)) + self.conditioning + self.dtype + self.inside + self.accepted


def between_witnesses(budget: ErrorBudget, uncertainty: Array) -> Array:
    """`SAFETY u + R + c + t`, for the differences against the reference."""
    return np.asarray(truncation_and_noise(uncertainty) + budget.against_reference)


def computes_narrower(budget: ErrorBudget) -> bool:
    """Whether the forward or the backward pass computes in a narrower dtype than float64."""
    return budget.inside > 0 or budget.eps > EPSILON["float64"]


def coarsest_estimate(budget: ErrorBudget) -> float:
    """The largest error estimate, in units of the scale, that still decides anything: about half the digits."""
    half_the_digits = min(SAFETY * float(np.sqrt(budget.eps)), MOST_UNRESOLVED)
    return max(half_the_digits, RESOLVED_INSIDE if computes_narrower(budget) else 0.0)


def largest_zero(budget: ErrorBudget) -> float:
    """The size up to which a gradient is zero but for rounding: what is left when terms as large as the values cancel.

    A bias before a norm may be far larger than what it is added to. Then its terms are larger than the values say, and what
    rounding leaves of them is measured.
    """
    return max(min(SHORT_SUM * budget.eps, MOST_ZERO) * budget.secant, budget.noise)


def noise_of_zero(size: float, moved: float, effective: float, moved_by: str, dtype: str) -> float:
    """The size of what rounding in `dtype` leaves of a gradient that is zero; 0 if this one is not.

    In float64 its size is `size`, and it moves by `moved` when the arguments are rounded to `moved_by`. A gradient that is
    rounding alone moves by its own size, and any other one by a small share. The rounding grows with the eps of the dtype.
    With the size `effective` its argument would have as much effect as another one.
    """
    # A gradient that jumps, as at a tie, moves by its own size as well. It is no smaller than others.
    if not (size <= SAMPLED_SAFETY * moved and size <= float(np.sqrt(EPSILON["float64"])) * effective):
        return 0.0
    # A gradient that is zero at this point alone moves by the eps of that dtype: the limit is halfway between.
    if moved_by != "float64" and not moved <= float(np.sqrt(EPSILON[moved_by] / EPSILON["float64"])) * size:
        return 0.0
    return SAMPLED_SAFETY * max(size, moved) * EPSILON[dtype] / EPSILON["float64"]
