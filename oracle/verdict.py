"""From evidence to a verdict: what both witnesses say of each element of one gradient, and what follows.

| differences | JAX | and | verdict |
|---|---|---|---|
| agree | agrees | | PASS; KINK where the slopes of the two sides differ |
| contradict | contradicts | | FAIL: the pullback is wrong |
| agree | contradicts | the differences contradict JAX | FAIL: another function than the reference is implemented |
| agree | contradicts | the differences cannot tell | INCONCLUSIVE |
| contradict | agrees | grossly | FAIL: the gradient is not that of the forward pass |
| contradict | agrees | barely | INCONCLUSIVE: the differences claim more than they know |
| contradict | no reference | | FAIL |
| agree | agrees | all zero, undeclared | VACUOUS |
| too uncertain | agrees, or no reference | | INCONCLUSIVE |

An element is contradicted by the differences beyond `MULTIPLE` times their own uncertainty plus rounding, by JAX beyond
rounding alone. Rounding is measured in units of the gradient's natural scale: its largest entry here or on the way to the
origin, so that a saturated function, whose gradient is far below the rounding of its own intermediate values, is not
judged by digits that nobody can compute.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.measures import EPSILON, differences, fit_scale, largest, relative, ulps
from oracle.numerical import Directional, Estimate
from oracle.row import Verdict
from oracle.spec import Flag

__all__ = ["Allowance", "Evidence", "Judgement", "judge"]

Array = NDArray[Any]

MULTIPLE = 4.0  # of the stated uncertainty; the true error was within 2 of it in every function tried
ROUNDING = 16.0  # ULP of the natural scale that the differences and the gradient may be apart beside that
AUTODIFF_ROUNDING = 1024.0  # ULP of the natural scale that JAX may be apart: two routes to the same number, long sums
GROSS = 1e-6  # of the natural scale: beyond this, differences that contradict both others are believed


@dataclass(frozen=True)
class Allowance:
    """What rounding alone may do, as absolute errors, against each witness."""

    numerical: float
    autodiff: float

    @classmethod
    def of(cls, dtype: np.dtype[Any], scale: float, by_jax: float | None) -> Allowance:
        """`by_jax` is the error that JAX itself makes at a dtype narrower than float64."""
        eps = EPSILON["float64"]
        if dtype.name == "float64":
            return cls(ROUNDING * eps * scale, AUTODIFF_ROUNDING * eps * scale)
        # As accurate as JAX: a small multiple of its error, plus the rounding of the result.
        narrow = 4 * by_jax + 4 * EPSILON[dtype.name] * scale if by_jax is not None else 64 * EPSILON[dtype.name] * scale
        return cls(narrow, narrow)

    def beside(self, blur: float) -> Allowance:
        """The same, and the rounding that the arguments themselves carry into the gradient."""
        return Allowance(self.numerical + blur, self.autodiff + blur)


@dataclass(frozen=True)
class Evidence:
    """All that is known about the gradient of one parameter; arrays are flat and float64."""

    parameter: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    analytic: Array
    autodiff: Array | None
    estimate: Estimate
    along: Directional | None
    scale: float
    allowance: Allowance
    resolution: float
    """The largest uncertainty, in units of `scale`, that still decides anything: half the digits of the function."""
    value_error: float | None = None
    """Between our values and the reference's, in units of what is allowed."""
    flags: frozenset[Flag] = frozenset()


@dataclass(frozen=True)
class Judgement:
    """The verdict, the reason in words, and the element that decided it."""

    verdict: Verdict
    reason: str = ""
    worst: int | None = None
    used: float | None = None
    contradicted: Array = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    """Flat indices of the elements that are wrong."""


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
        allowed = MULTIPLE * spread + e.allowance.numerical
        error = differences(ours, seen.value)
        # At a kink any value between the slopes of the two sides is a gradient.
        low, high = np.minimum(seen.left, seen.right), np.maximum(seen.left, seen.right)
        with np.errstate(invalid="ignore"):
            outside = np.maximum(np.maximum(low - ours, ours - high), 0.0)
        error = np.where(seen.kink, outside, error)
        allowed = np.where(seen.kink, MULTIPLE * seen.slope_uncertainty + e.allowance.numerical, allowed)
        uncertain = ~seen.kink & ~(spread <= e.resolution * e.scale) & (spread > 0)
        if e.autodiff is None:
            none = np.zeros(seen.index.size)
            return cls(error, _ratio(error, allowed), none, none, uncertain)
        theirs = e.autodiff[seen.index]
        apart = np.where(seen.kink, 0.0, _ratio(differences(theirs, seen.value), allowed + e.allowance.autodiff))
        return cls(error, _ratio(error, allowed), _ratio(differences(ours, theirs), e.allowance.autodiff), apart, uncertain)


def _ratio(error: Array, allowed: Array | float) -> Array:
    """How much of the allowance an error uses: 0 for no error even where nothing is allowed, infinite for NaN."""
    allowed = np.broadcast_to(allowed, error.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / allowed)
    return np.where(np.isnan(ratio), np.where(np.isinf(allowed), 0.0, np.inf), ratio)


def judge(e: Evidence) -> Judgement:
    """The verdict on one parameter, by the table at the head of this module."""
    infinite = ~np.isfinite(e.analytic)
    if infinite.any():
        truth = _truth(e)
        if not _too_large(e.analytic[infinite], truth[infinite], e.dtype):
            return Judgement(Verdict.FAIL, "not-finite", int(infinite.argmax()), float("inf"), np.flatnonzero(infinite))
        e = replace(e, analytic=np.where(infinite, truth, e.analytic))  # nothing is wrong there
    if e.autodiff is not None and Flag.NOT_THE_DERIVATIVE in e.flags:
        return _by_reference(e, e.autodiff)
    c = Comparison.of(e)
    along = _along(e)
    contradicted = _contradicted(e, c)
    if contradicted is not None:
        return contradicted
    if along > 1:
        return Judgement(Verdict.FAIL, "along", None, along)
    if e.value_error is not None and not e.value_error <= 1:
        return Judgement(Verdict.FAIL, "values", None, e.value_error)
    seen = e.estimate
    used = np.maximum(c.numerical_used, c.autodiff_used)
    worst = int(seen.index[used.argmax()]) if used.size else None
    most = max(float(used.max(initial=0.0)), along)
    if not e.flags & {Flag.ZERO_GRADIENT, Flag.EMPTY_BATCH} and not e.analytic.any():
        return Judgement(Verdict.VACUOUS, "zero" if e.analytic.size else "empty", worst, most)
    if seen.frozen.any():
        return Judgement(Verdict.INCONCLUSIVE, "frozen", int(seen.index[seen.frozen.argmax()]), most)
    if c.uncertain.any():
        spread = np.where(c.uncertain, np.nan_to_num(seen.uncertainty, nan=np.inf), -1.0)
        return Judgement(Verdict.INCONCLUSIVE, "uncertain", int(seen.index[spread.argmax()]), most)
    if seen.kink.any():
        return Judgement(Verdict.KINK, "", int(seen.index[seen.kink.argmax()]), most)
    return Judgement(Verdict.PASS, "", worst, most)


def _by_reference(e: Evidence, reference: Array) -> Judgement:
    """The verdict where the gradient is another than the derivative, by definition."""
    used = _ratio(differences(e.analytic, reference), e.allowance.autodiff)
    worst, most = (int(used.argmax()), float(used.max())) if used.size else (None, 0.0)
    if most > 1:
        return Judgement(Verdict.FAIL, "pullback", worst, most, np.flatnonzero(used > 1))
    return Judgement(Verdict.PASS, "", worst, most)


def _contradicted(e: Evidence, c: Comparison) -> Judgement | None:
    """The verdict if a witness contradicts the gradient somewhere."""
    kink = e.estimate.kink
    by_differences, by_jax = c.numerical_used > 1, c.autodiff_used > 1

    def found(verdict: Verdict, reason: str, where: Array, by: Array) -> Judgement:
        # The allowance against JAX is one number, so the ratio orders as the error does; that of the differences is not.
        size = c.error if by is c.numerical_used else by
        worst = int(np.flatnonzero(where)[size[where].argmax()])
        return Judgement(verdict, reason, int(e.estimate.index[worst]), float(by[worst]), e.estimate.index[where])

    if e.autodiff is None:
        return found(Verdict.FAIL, "pullback", by_differences, c.numerical_used) if by_differences.any() else None
    both = by_differences & by_jax
    if both.any():
        return found(Verdict.FAIL, "kink" if kink[both].all() else "pullback", both, c.autodiff_used)
    another = by_jax & ((c.apart > 1) | kink)
    if another.any():
        return found(Verdict.FAIL, "convention" if kink[another].all() else "another-function", another, c.autodiff_used)
    if by_jax.any():
        return found(Verdict.INCONCLUSIVE, "jax-contradicts", by_jax, c.autodiff_used)
    gross = by_differences & (differences(e.analytic[e.estimate.index], e.estimate.value) > GROSS * e.scale)
    if gross.any():
        return found(Verdict.FAIL, "not-the-forward-pass", gross, c.numerical_used)
    if by_differences.any():
        return found(Verdict.INCONCLUSIVE, "differences-contradict", by_differences, c.numerical_used)
    return None


def _truth(e: Evidence) -> Array:
    """The best that is known of each element: what JAX says in float64, or else the differences; NaN where nothing is."""
    if e.autodiff is not None:
        return e.autodiff
    truth = np.full_like(e.analytic, np.nan)
    truth[e.estimate.index] = e.estimate.value
    return truth


def _too_large(ours: Array, truth: Array, dtype: np.dtype[Any]) -> bool:
    """Whether these infinities stand for numbers that the dtype cannot hold."""
    if dtype.name == "float64" or np.isnan(ours).any():
        return False
    top = {"float32": 3.4028235e38, "float16": 65504.0, "bfloat16": 3.3895314e38}[dtype.name]
    return bool(((np.abs(truth) >= top) & (np.sign(truth) == np.sign(ours))).all())


def _along(e: Evidence) -> float:
    """The worst of the random directions, in units of what is allowed."""
    if e.along is None or not e.along.value.size:
        return 0.0
    ours = e.along.direction @ e.analytic
    norm = np.sqrt((e.along.direction**2).sum(axis=1))
    allowed = MULTIPLE * e.along.uncertainty + e.allowance.numerical * norm
    return float(_ratio(differences(ours, e.along.value), allowed).max())


def measured(e: Evidence) -> dict[str, float | None]:
    """The errors and the fitted factor that a row reports, relative to the largest entry."""
    seen = e.estimate.value[np.isfinite(e.estimate.value)]
    scale = largest(e.autodiff if e.autodiff is not None else seen) or largest(e.analytic) or e.scale
    smooth = ~e.estimate.kink
    index = e.estimate.index[smooth]
    witness = e.autodiff
    if witness is None and e.estimate.index.size == e.analytic.size:
        witness = np.empty_like(e.analytic)
        witness[e.estimate.index] = e.estimate.value
    fit = fit_scale(e.analytic, witness) if witness is not None else None
    report: dict[str, float | None] = {"fitted_scale": fit.scale if fit else None}
    if e.autodiff is None or Flag.NOT_THE_DERIVATIVE not in e.flags:
        report["numerical_error"] = relative(differences(e.analytic[index], e.estimate.value[smooth]), scale)
        report["numerical_uncertainty"] = relative(e.estimate.uncertainty[smooth], scale)
    if e.autodiff is not None:
        error = differences(e.analytic, e.autodiff)
        at = int(error.argmax()) if error.size else 0
        report["autodiff_error"] = relative(error, scale)
        report["autodiff_ulp"] = ulps(float(e.analytic[at]), float(e.autodiff[at]), e.dtype) if error.size else 0.0
    return report
