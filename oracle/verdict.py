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
| agree | agrees | an error that only the natural scale forgives is none where it would show | PASS |
| agree | agrees | it is one there | FAIL: the pullback is wrong there, and so probably here |

An element is contradicted by the differences beyond `MULTIPLE` times their own uncertainty plus rounding, by JAX beyond
rounding alone. Rounding is measured in units of the gradient's natural scale: its largest entry here or on the way to the
origin, so that a saturated function, whose gradient is far below the rounding of its own intermediate values, is not
judged by digits that nobody can compute. An entry that is right by that scale alone, and not by its own size, has not been
seen: it is asked about elsewhere, at arguments where rounding hides less (`hidden`, and `elsewhere.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.directions import Directional
from oracle.measures import EPSILON, differences, fit_scale, largest, relative, ulps
from oracle.numerical import Estimate
from oracle.row import Verdict
from oracle.spec import Flag
from oracle.subject import BLURRING

__all__ = ["Allowance", "Elsewhere", "Evidence", "Judgement", "best_known", "doubted", "hidden", "judge"]

Array = NDArray[Any]

MULTIPLE = 4.0  # of the stated uncertainty; the true error was within 2 of it in every function tried
ROUNDING = 16.0  # ULP of the natural scale that the differences and the gradient may be apart beside that
AUTODIFF_ROUNDING = 1024.0  # ULP of the natural scale that JAX may be apart: two routes to the same number, long sums
JAX_ROUNDING = 4.0  # ULP of the natural scale: how exact JAX is taken to be where the differences are measured by it
GROSS = 1e-6  # of the natural scale: beyond this, differences that contradict both others are believed
NARROW = 8.0  # ULP, and times what the arguments' own rounding does, for a dtype below float64 without a reference
NOTHING = 64.0  # ULP of the value over the argument: what is left of terms of that size when they cancel
KNOWN = 0.1  # of an error: what is known better than that speaks against it


@dataclass(frozen=True)
class Allowance:
    """What rounding alone may do, as absolute errors, against each witness."""

    numerical: float
    autodiff: float

    @classmethod
    def of(cls, dtype: np.dtype[Any], scale: float, by_jax: float | None = None, moved: float | None = None) -> Allowance:
        """For a dtype narrower than float64: as accurate as JAX, which is off `by_jax` there, or as the arguments are exact.

        `moved` is how far the gradient moves when they move by their rounding; nothing of it may be known.
        """
        eps = EPSILON["float64"]
        if dtype.name == "float64":
            return cls(ROUNDING * eps * scale, AUTODIFF_ROUNDING * eps * scale)
        ulp = EPSILON[dtype.name] * scale
        alone = 64 * ulp if moved is None else NARROW * (moved + ulp)
        narrow = alone if by_jax is None else 4 * (by_jax + ulp)
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
    """The largest uncertainty, in units of `scale`, that still decides anything: about half the digits of the function."""
    value_error: float | None = None
    """Between our values and the reference's, in units of what is allowed."""
    flags: frozenset[Flag] = frozenset()
    rounding: float = 0.0
    """Gradients of this size are zero but for rounding, where terms as large as the value cancel."""
    joint: float = 0.0
    """At ties: how far the tied entries' sum is from the slope along all of them, in units of what is allowed."""
    blurred: float = 0.0
    """How far JAX's own gradient may be off by the rounding of the arguments, where it contradicts the others."""
    tied: Array = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    """Flat indices of the elements at kinks that are equal to another such element."""
    overflows: bool = False
    """Whether the value itself is not finite somewhere."""
    elsewhere: Elsewhere | None = None

    @property
    def nothing(self) -> bool:
        """Whether the gradient, by all that speak of it, is zero but for rounding; unless JAX has the very same digits."""
        seen = ~self.estimate.kink
        slopes, spread = self.estimate.value[seen], self.estimate.uncertainty[seen]
        size = max(largest(self.analytic), largest(self.autodiff))
        if not (self.dtype.name == "float64" and 0 < size <= self.rounding):
            return False
        if not (np.isfinite(self.analytic).all() and np.isfinite(slopes).all() and np.isfinite(spread).all()):
            return False
        if (
            self.autodiff is not None
            and not (differences(self.analytic, self.autodiff) > AUTODIFF_ROUNDING * EPSILON["float64"] * size).any()
        ):
            return False
        return bool((np.abs(slopes) <= self.rounding + MULTIPLE * spread).all())


@dataclass(frozen=True)
class Elsewhere:
    """What was seen of hidden entries at other arguments: `evidence` if they are wrong there, else whether they are right."""

    index: Array
    """Flat, of the entries: those that are wrong, or those of which nothing was seen."""
    right: bool
    denied: bool = False
    """Whether the differences here know that they are other numbers."""
    where: str = ""
    evidence: Evidence | None = None


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
        # But among ties, as of sorted numbers, the slopes of one element alone are not all there are: there JAX decides.
        excused = np.isin(seen.index, e.tied) if e.autodiff is not None else np.zeros(seen.index.shape, bool)
        error = np.where(seen.kink, np.where(excused, 0.0, outside), error)
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
        truth = best_known(e)
        if _is_truly_infinite(e, infinite) or (e.overflows and e.autodiff is None and not np.isnan(e.analytic).any()):
            return Judgement(Verdict.INCONCLUSIVE, "infinite", int(infinite.argmax()))
        if not _too_large(e.analytic[infinite], truth[infinite], e.dtype):
            return Judgement(Verdict.FAIL, "not-finite", int(infinite.argmax()), float("inf"), np.flatnonzero(infinite))
        e = replace(e, analytic=np.where(infinite, truth, e.analytic))  # nothing is wrong there
    if e.autodiff is not None and Flag.NOT_THE_DERIVATIVE in e.flags:
        return _by_reference(e, e.autodiff)
    return _wrong(e) or _unseen(e) or _passed(e)


def _wrong(e: Evidence) -> Judgement | None:
    """The verdict if something contradicts the gradient, or the reference's values."""
    if e.elsewhere is not None and e.elsewhere.evidence is not None:
        return Judgement(Verdict.FAIL, "elsewhere", int(e.elsewhere.index[0]), None, e.elsewhere.index)
    if e.nothing:
        return None
    contradicted = _contradicted(e, Comparison.of(e))
    if contradicted is not None:
        return contradicted
    along = _along(e)
    if along > 1:
        return Judgement(Verdict.FAIL, "along", None, along)
    if e.joint > 1:
        return Judgement(Verdict.FAIL, "joint", int(e.estimate.index[e.estimate.kink.argmax()]), e.joint)
    if e.value_error is not None and not e.value_error <= 1:
        return Judgement(Verdict.FAIL, "values", None, e.value_error)
    return None


def _unseen(e: Evidence) -> Judgement | None:
    """The verdict if nothing was checked, or the differences cannot tell."""
    passed, seen, c = _passed(e), e.estimate, Comparison.of(e)
    declared = e.flags & {Flag.ZERO_GRADIENT, Flag.EMPTY_BATCH}
    if not declared and not e.analytic.any():
        return replace(passed, verdict=Verdict.VACUOUS, reason="zero" if e.analytic.size else "empty")
    if e.nothing and not (e.elsewhere and e.elsewhere.right):
        return None if declared else replace(passed, verdict=Verdict.VACUOUS, reason="nothing")
    if seen.frozen.any():
        worst = int(seen.index[seen.frozen.argmax()])
        return replace(passed, verdict=Verdict.INCONCLUSIVE, reason="frozen", worst=worst)
    if c.uncertain.any():
        spread = np.where(c.uncertain, np.nan_to_num(seen.uncertainty, nan=np.inf), -1.0)
        return replace(passed, verdict=Verdict.INCONCLUSIVE, reason="uncertain", worst=int(seen.index[spread.argmax()]))
    if e.autodiff is None and any(block.blind and block.usual for block in (e.along.blocks if e.along else ())):
        return replace(passed, verdict=Verdict.INCONCLUSIVE, reason="blind")
    if e.elsewhere is not None and e.elsewhere.denied:
        worst = int(e.elsewhere.index[0])
        return replace(passed, verdict=Verdict.INCONCLUSIVE, reason="hidden", worst=worst, contradicted=e.elsewhere.index)
    return None


def _passed(e: Evidence) -> Judgement:
    """PASS, or KINK where the slopes of the two sides differ."""
    seen, c = e.estimate, Comparison.of(e)
    used = np.maximum(c.numerical_used, c.autodiff_used)
    worst = int(seen.index[used.argmax()]) if used.size else None
    most = max(float(used.max(initial=0.0)), _along(e))
    if seen.kink.any():
        return Judgement(Verdict.KINK, "", int(seen.index[seen.kink.argmax()]), most)
    return Judgement(Verdict.PASS, "", worst, most)


def doubted(e: Evidence) -> Array:
    """Flat indices about which a witness contradicts the gradient or knows nothing, the worst first."""
    c = Comparison.of(e)
    used = np.maximum(c.numerical_used, c.autodiff_used)
    doubt = (used > 1) | c.uncertain
    order = np.argsort(-np.where(doubt, used, -1.0), kind="stable")[: int(doubt.sum())]
    return np.asarray(e.estimate.index[order])


def hidden(e: Evidence, moved: Array | float = 0.0) -> Array:
    """Flat indices of the entries whose error is too large for their own size, however small beside the natural scale.

    `moved` is how far each entry moves with the rounding of the arguments. An entry is not hidden if the differences know it
    better than that, and agree.
    """
    if e.dtype.name != "float64" or Flag.NOT_THE_DERIVATIVE in e.flags:
        return np.zeros(0, dtype=np.intp)
    seen, eps = e.estimate, EPSILON["float64"]
    own = BLURRING * np.broadcast_to(moved, e.analytic.shape)
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
        if not by_differences.any():
            return None
        if e.joint <= 1 and np.isin(e.estimate.index[by_differences], e.tied).all():
            return found(Verdict.INCONCLUSIVE, "tied", by_differences, c.numerical_used)
        return found(Verdict.FAIL, "pullback", by_differences, c.numerical_used)
    both = by_differences & by_jax
    if both.any():
        return found(Verdict.FAIL, "kink" if kink[both].all() else "pullback", both, c.autodiff_used)
    another = by_jax & ((c.apart > 1) | kink)
    if another.any():
        if 0 < largest(differences(e.analytic, best_known(e))) <= e.blurred:
            return found(Verdict.INCONCLUSIVE, "reference-rounds", another, c.autodiff_used)
        return found(Verdict.FAIL, "convention" if kink[another].all() else "another-function", another, c.autodiff_used)
    if by_jax.any():
        return found(Verdict.INCONCLUSIVE, "jax-contradicts", by_jax, c.autodiff_used)
    gross = by_differences & (differences(e.analytic[e.estimate.index], e.estimate.value) > GROSS * e.scale)
    if gross.any():
        return found(Verdict.FAIL, "not-the-forward-pass", gross, c.numerical_used)
    if by_differences.any():
        return found(Verdict.INCONCLUSIVE, "differences-contradict", by_differences, c.numerical_used)
    return None


def best_known(e: Evidence) -> Array:
    """The best that is known of each element: what JAX says in float64, or else the differences; NaN where nothing is."""
    if e.autodiff is not None:
        return e.autodiff
    truth = np.full_like(e.analytic, np.nan)
    truth[e.estimate.index] = e.estimate.value
    return truth


def _is_truly_infinite(e: Evidence, infinite: Array) -> bool:
    """Whether the differences grow without end there, and JAX, if it is here, does too; and the rest is right."""
    at = infinite[e.estimate.index]
    if np.isnan(e.analytic).any() or e.dtype.name != "float64" or np.isfinite(e.estimate.uncertainty[at]).any():
        return False
    if not (at.any() if e.autodiff is None else np.array_equal(e.analytic[infinite], e.autodiff[infinite])):
        return False
    keep = ~at
    names = ("index", "value", "uncertainty", "kink", "left", "right", "slope_uncertainty", "frozen", "step", "differences")
    rest = replace(e.estimate, **{name: getattr(e.estimate, name)[keep] for name in names})
    ours = np.where(infinite, 0.0, e.analytic)
    theirs = None if e.autodiff is None else np.where(infinite, 0.0, e.autodiff)
    others = replace(e, analytic=ours, autodiff=theirs, estimate=rest)
    return _contradicted(others, Comparison.of(others)) is None


def _too_large(ours: Array, truth: Array, dtype: np.dtype[Any]) -> bool:
    """Whether these infinities stand for numbers that the dtype cannot hold."""
    if dtype.name == "float64" or np.isnan(ours).any():
        return False
    top = {"float32": 3.4028235e38, "float16": 65504.0, "bfloat16": 3.3895314e38}[dtype.name]
    return bool(((np.abs(truth) >= top) & (np.sign(truth) == np.sign(ours))).all())


def _along(e: Evidence) -> float:
    """The worst of the directions, in units of what is allowed."""
    if e.along is None or not e.along.blocks:
        return 0.0
    blocks, parts = e.along.blocks, [(e.along.direction[block.index], e.analytic[block.index]) for block in e.along.blocks]
    ours = np.array([direction @ gradient for direction, gradient in parts])
    norm = np.array([np.linalg.norm(direction) for direction, _ in parts])
    allowed = MULTIPLE * np.array([block.uncertainty for block in blocks]) + e.allowance.numerical * norm
    return float(_ratio(differences(ours, np.array([block.value for block in blocks])), allowed).max())


def measured(e: Evidence) -> dict[str, Any]:
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
    report: dict[str, Any] = {"fitted_scale": fit.scale if fit else None}
    if e.autodiff is None or Flag.NOT_THE_DERIVATIVE not in e.flags:
        report["numerical_error"] = relative(differences(e.analytic[index], e.estimate.value[smooth]), scale)
        report["numerical_uncertainty"] = relative(e.estimate.uncertainty[smooth], scale)
    if e.autodiff is not None:
        error = differences(e.analytic, e.autodiff)
        at = int(error.argmax()) if error.size else 0
        report["autodiff_error"] = relative(error, scale)
        if e.dtype.name == "float64" and Flag.NOT_THE_DERIVATIVE not in e.flags:
            apart = differences(e.estimate.value[smooth], e.autodiff[index])
            rounding = JAX_ROUNDING * EPSILON["float64"] * e.scale
            known = np.isfinite(e.estimate.uncertainty[smooth])
            report["compared"] = int(known.sum())
            report["understated"] = int((apart > e.estimate.uncertainty[smooth] + rounding)[known].sum())
        report["autodiff_ulp"] = ulps(float(e.analytic[at]), float(e.autodiff[at]), e.dtype) if error.size else 0.0
    return report
