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
| agree | agrees | an error that only the roundoff scale forgives is none where it would show | PASS |
| agree | agrees | it is one there | FAIL: the pullback is wrong there, and so probably here |
| agree | agrees | at a special point, and not beside it | INCONCLUSIVE |
| agree one by one, at kinks | no reference | together no gradient, grossly | FAIL |
| agree one by one, at kinks | no reference | together no gradient, barely | INCONCLUSIVE |

An element is contradicted by the differences beyond `MULTIPLE` times their own uncertainty plus rounding, by JAX beyond
rounding alone (`comparison.py`). One below the roundoff floor is measured again at rescaled arguments (`rescaled_point.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.differences.partials import chosen
from oracle.judging.comparison import Comparison, best_known, ratio
from oracle.judging.error_budget import MULTIPLE
from oracle.judging.evidence import Evidence
from oracle.measures import differences, largest
from oracle.row import Verdict
from oracle.spec import Flag

__all__ = ["Judgement", "directional_errors", "judge"]

Array = NDArray[Any]

FAR_OUTSIDE = 2.0**-5  # of the slopes of the two sides: beyond them by more, a vector is no gradient at a kink
GROSS = 1e-6  # of the roundoff scale: beyond this, differences that contradict both others are accepted


@dataclass(frozen=True)
class Judgement:
    """The verdict, the reason in words, and the element that decided it."""

    verdict: Verdict
    reason: str = ""
    worst: int | None = None
    used: float | None = None
    contradicted: Array = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    """Flat indices of the elements that are wrong."""


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
    c, along = Comparison.of(e), _along(e)
    return _wrong(e, c, along) or _unseen(e, c, _passed(e, c, along))


def _wrong(e: Evidence, c: Comparison, along: float) -> Judgement | None:
    """The verdict if something contradicts the gradient, or the reference's values."""
    if e.other_point is not None and e.other_point.evidence is not None:
        verdict = Verdict.INCONCLUSIVE if e.other_point.generic else Verdict.FAIL
        wrong = e.other_point.index
        return Judgement(verdict, "elsewhere", int(wrong[0]) if wrong.size else None, None, wrong)
    if e.link and e.analytic.size:
        apart = None if e.autodiff is None else differences(e.analytic, e.autodiff)
        if apart is None or not apart.max() <= e.budget.autodiff:  # JAX may know that it is right all the same
            return Judgement(Verdict.FAIL, "link", None if apart is None else int(apart.argmax()))
    if e.numerically_zero:
        return None
    contradicted = _contradicted(e, c)
    if contradicted is not None:
        return contradicted
    if along > 1:
        return Judgement(Verdict.FAIL, "along", None, along)
    if e.tied_slope > 1:
        return Judgement(Verdict.FAIL, "joint", int(e.estimate.index[e.estimate.kink.argmax()]), e.tied_slope)
    if e.excess > FAR_OUTSIDE:
        return Judgement(Verdict.FAIL, "no-subgradient", int(e.estimate.index[e.estimate.kink.argmax()]))
    if e.value_error is not None and not e.value_error <= 1:
        return Judgement(Verdict.FAIL, "values", None, e.value_error)
    return None


def _unseen(e: Evidence, c: Comparison, passed: Judgement) -> Judgement:
    """`passed`, unless nothing was checked or the differences cannot tell."""
    seen = e.estimate
    declared = e.flags & {Flag.ZERO_GRADIENT, Flag.EMPTY_BATCH}
    if not declared and not e.analytic.any():
        return replace(passed, verdict=Verdict.VACUOUS, reason="zero" if e.analytic.size else "empty")
    if e.numerically_zero and not (e.other_point and e.other_point.right):
        return passed if declared else replace(passed, verdict=Verdict.VACUOUS, reason="nothing")
    if e.zero_by_right:
        return passed
    if seen.frozen.any():
        worst = int(seen.index[seen.frozen.argmax()])
        return replace(passed, verdict=Verdict.INCONCLUSIVE, reason="frozen", worst=worst)
    if c.uncertain.any():
        spread = np.where(c.uncertain, np.nan_to_num(seen.uncertainty, nan=np.inf), -1.0)
        return replace(passed, verdict=Verdict.INCONCLUSIVE, reason="uncertain", worst=int(seen.index[spread.argmax()]))
    if e.excess > 0:
        return replace(passed, verdict=Verdict.INCONCLUSIVE, reason="no-subgradient")
    blind = [block.blind and block.usual for block in (e.along.blocks if e.along else ())]
    if e.autodiff is None and any([*blind, *(s.usual and bool(s.blind.any()) for s in e.swept)]):
        return replace(passed, verdict=Verdict.INCONCLUSIVE, reason="blind")
    if e.other_point is not None and e.other_point.denied:
        worst = int(e.other_point.index[0])
        return replace(passed, verdict=Verdict.INCONCLUSIVE, reason="hidden", worst=worst, contradicted=e.other_point.index)
    return passed


def _passed(e: Evidence, c: Comparison, along: float) -> Judgement:
    """PASS, or KINK where the slopes of the two sides differ."""
    seen = e.estimate
    used = np.maximum(c.numerical_used, c.autodiff_used)
    worst = int(seen.index[used.argmax()]) if used.size else None
    most = max(float(used.max(initial=0.0)), along)
    if seen.kink.any():
        return Judgement(Verdict.KINK, "", int(seen.index[seen.kink.argmax()]), most)
    return Judgement(Verdict.PASS, "", worst, most)


def _by_reference(e: Evidence, reference: Array) -> Judgement:
    """The verdict where the gradient is another than the derivative, by definition."""
    used = ratio(differences(e.analytic, reference), e.budget.autodiff)
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
        if e.tied_slope <= 1 and np.isin(e.estimate.index[by_differences], e.tied).all():
            return found(Verdict.INCONCLUSIVE, "tied", by_differences, c.numerical_used)
        return found(Verdict.FAIL, "pullback", by_differences, c.numerical_used)
    both = by_differences & by_jax
    if both.any():
        return found(Verdict.FAIL, "kink" if kink[both].all() else "pullback", both, c.autodiff_used)
    another = by_jax & ((c.apart > 1) | kink)
    if another.any():
        if 0 < largest(differences(e.analytic, best_known(e))) <= e.reference_condition:
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


def _is_truly_infinite(e: Evidence, infinite: Array) -> bool:
    """Whether the differences grow without end there, and JAX, if it is here, does too; and the rest is right."""
    at = infinite[e.estimate.index]
    if np.isnan(e.analytic).any() or e.dtype.name != "float64" or np.isfinite(e.estimate.uncertainty[at]).any():
        return False
    if not (at.any() if e.autodiff is None else np.array_equal(e.analytic[infinite], e.autodiff[infinite])):
        return False
    rest = chosen(e.estimate, ~at)
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
    off, allowed, _ = _blocks(e)
    return float(ratio(off, allowed).max(initial=0.0))


def directional_errors(e: Evidence) -> Array:
    """The error of a single element that would explain what is wrong along each direction that contradicts the gradient."""
    off, allowed, size = _blocks(e)
    return off[off > allowed] / size[off > allowed]


def _blocks(e: Evidence) -> tuple[Array, Array, Array]:
    """Of the direction in each block: how far it is off, how far it may be, and the usual size of its elements."""
    blocks = () if e.along is None else e.along.blocks
    parts = [] if e.along is None else [(e.along.direction[block.index], e.analytic[block.index]) for block in blocks]
    ours = np.array([direction @ gradient for direction, gradient in parts])
    norm = np.array([np.linalg.norm(direction) for direction, _ in parts])
    known = [np.array([block.value for block in blocks]), np.array([block.uncertainty for block in blocks])]
    size = np.array([np.abs(direction).mean() for direction, _ in parts])
    swept = [
        np.concatenate([one, *some])
        for one, some in (
            (ours, [s.ours for s in e.swept]),
            (norm, [s.norm for s in e.swept]),
            (known[0], [s.value for s in e.swept]),
            (known[1], [s.uncertainty for s in e.swept]),
            (size, [np.full(s.ours.shape, s.least) for s in e.swept]),
        )
    ]
    ours, norm, value, uncertainty, size = swept
    return differences(ours, value), MULTIPLE * uncertainty + e.budget.numerical * norm, size
