"""From a finished measurement to a verdict: a pure function, and the table that it follows.

Each entry has three comparisons (`comparison`): the gradient with the differences, the gradient with the reference, and the
differences with the reference. The first line that some entry falls under decides:

| gradient and differences | gradient and reference | differences and reference | reason |
|---|---|---|---|
| differ | differ | | `WRONG_BACKWARD`; `OUTSIDE_KINK` at kinks |
| differ | there is none | | `WRONG_BACKWARD`; `TIED` if all such entries are tied elements |
| agree | differ | differ | `ANOTHER_FUNCTION`; `CONVENTION` at kinks; `REFERENCE_ROUNDS` if rounding explains it |
| agree | differ | agree | `REFERENCE_CONTRADICTS`; `BEYOND_ITS_DTYPE` for a kernel that computes in a narrower dtype inside |
| differ grossly | agree | | `NOT_THE_FORWARD_PASS` |
| differ | agree | | `DIFFERENCES_CONTRADICT` |
| agree | agree, or there is no reference | | `AGREES`; `AT_KINK` |

Before the table come entries that are not finite, gradients that are not the derivative by declaration, errors that another
measurement has found (at another point, in a stage of a chain), and gradients that are zero but for rounding. After it come
errors of entries taken together (along a direction, tied, at kinks), and at last gradients that were not checked at all: they
are zero, or the differences are too uncertain. `reasons` has every reason with its verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import ml_dtypes
import numpy as np

from oracle.differences.partials import chosen
from oracle.judging.comparison import Comparison, best_known, ratio
from oracle.judging.error_budget import (
    GROSS,
    GROSSLY_CONTRADICTED,
    REFERENCE_TERMS,
    RESOLVED_INSIDE,
    computes_narrower,
    largest_zero,
    roundoff,
    truncation_and_noise,
)
from oracle.judging.evidence import Array, BiasKind, Evidence
from oracle.judging.reasons import Reason
from oracle.judging.resolution import resolution
from oracle.measures import distance, largest
from oracle.row import Verdict
from oracle.spec import Flag

__all__ = ["DirectionalComparison", "Judgement", "is_rounding", "judge"]

FAR_OUTSIDE = 2.0**-5
"""Of the slopes of the two sides: a vector that lies further outside them is no gradient at a kink. A smooth function bends by
less over the step of that measurement; with half as much, right gradients at strongly bent points would fail."""


@dataclass(frozen=True)
class Judgement:
    """The reason, from which the verdict follows, and the entry that decided."""

    reason: Reason
    worst: int | None = None
    """Flat index of that entry; None where a direction or the values decided."""
    used: float | None = None
    """Its error as a fraction of what is allowed."""
    contradicted: Array = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    """Flat indices of all wrong entries."""

    @property
    def verdict(self) -> Verdict:
        return self.reason.verdict


def judge(e: Evidence) -> Judgement:
    """The verdict on one gradient, by the table at the head of this module.

    Evidence never changes. Each further measurement and each report asks for its verdict, so it is judged once and the result
    is kept beside its fields.
    """
    kept = vars(e)
    if "judgement" not in kept:
        kept["judgement"] = _judged(e)
    judgement: Judgement = kept["judgement"]
    return judgement


def _judged(e: Evidence) -> Judgement:
    infinite = ~np.isfinite(e.analytic)
    if infinite.any():
        truth, first = best_known(e), int(infinite.argmax())
        value_overflows = e.values.overflow and e.autodiff is None and not np.isnan(e.analytic).any()
        if value_overflows or _is_truly_infinite(e, infinite):
            return Judgement(Reason.INFINITE, first)
        if not _exceeds_dtype(e.analytic[infinite], truth[infinite], e.parameter.dtype):
            return Judgement(Reason.NOT_FINITE, first, float("inf"), np.flatnonzero(infinite))
        e = replace(e, analytic=np.where(infinite, truth, e.analytic))  # this dtype holds nothing nearer to the truth
    if Flag.NOT_THE_DERIVATIVE in e.parameter.flags:
        return Judgement(Reason.NO_REFERENCE) if e.autodiff is None else _by_reference(e, e.autodiff)
    c, along = Comparison.of(e), DirectionalComparison.of(e)
    return _wrong(e, c, along) or _undecided(e, c) or _agreeing(e, c, along)


def _wrong(e: Evidence, c: Comparison, along: DirectionalComparison) -> Judgement | None:
    """The judgement if something contradicts the gradient, or the values."""
    other = e.other_point
    if other is not None and other.evidence is not None:
        reason = Reason.WRONG_AT_GENERIC_POINT if other.generic else Reason.WRONG_AT_RESCALED_POINT
        return Judgement(reason, int(other.index[0]) if other.index.size else None, None, other.index)
    if e.directions.wrong_stage and e.analytic.size:
        apart = None if e.autodiff is None else distance(e.analytic, e.autodiff)
        if apart is None or not apart.max() <= e.budget.against_reference:  # the reference may show that it is right
            return Judgement(Reason.WRONG_STAGE, None if apart is None else int(apart.argmax()))
    if e.directions.bias is not None:
        bias = e.directions.bias
        if bias.kind is BiasKind.PILED_UP:
            return Judgement(Reason.PILED_UP, None, bias.size / bias.allowed)
        return Judgement(Reason.BIASED, None, abs(bias.size - 1) / bias.allowed)
    if is_rounding(e):
        return None
    wrong = None if e.exact is None else e.exact.wrong
    if wrong is not None and wrong.error > (allowed := wrong.allowed + e.budget.accepted):
        return Judgement(Reason.WRONG_FORMULA, wrong.entry, wrong.error / allowed, np.array([wrong.entry]))
    for where, by, reason in _table(e, c):
        if where.any():
            # `allowed` against the reference is the same for all entries, so the largest share is the largest error.
            size = c.error if by is c.differences_used else by
            worst = int(np.flatnonzero(where)[size[where].argmax()])
            return Judgement(reason, int(e.estimate.index[worst]), float(by[worst]), e.estimate.index[where])
    first_kink = int(e.estimate.index[e.estimate.kink.argmax()]) if e.estimate.kink.any() else None
    if along.used > 1:
        return Judgement(Reason.DIRECTIONAL_MISMATCH, None, along.used)
    if e.kinks.tied_slope > 1:
        return Judgement(Reason.TIED_SLOPE, first_kink, e.kinks.tied_slope)
    if e.kinks.excess > FAR_OUTSIDE:
        return Judgement(Reason.NO_SUBGRADIENT, first_kink)
    if e.values.differ:
        return Judgement(Reason.OTHER_VALUES, None, e.values.error)
    return None


def _table(e: Evidence, c: Comparison) -> Iterator[tuple[Array, Array, Reason]]:
    """The lines of the table: the entries that fall under each, by which comparison they are measured, and the reason."""
    kink = e.estimate.kink
    by_differences, by_reference = c.differences_used > 1, c.reference_used > 1

    def unless_kinks(where: Array, reason: Reason, at_kinks: Reason) -> Reason:
        return at_kinks if kink[where].all() else reason

    if e.autodiff is None:
        tied = e.kinks.tied_slope <= 1 and np.isin(e.estimate.index[by_differences], e.kinks.tied).all()
        yield by_differences, c.differences_used, Reason.TIED if tied else Reason.WRONG_BACKWARD
        return
    both = by_differences & by_reference
    yield both, c.reference_used, unless_kinks(both, Reason.WRONG_BACKWARD, Reason.OUTSIDE_KINK)
    another = by_reference & ((c.witnesses_used > 1) | kink)
    rounds = 0 < largest(distance(e.analytic, best_known(e))) <= e.budget.reference_conditioning
    reason = Reason.REFERENCE_ROUNDS if rounds else unless_kinks(another, Reason.ANOTHER_FUNCTION, Reason.CONVENTION)
    yield another, c.reference_used, reason
    if computes_narrower(e.budget) and not e.values.differ:
        yield by_reference, c.reference_used, Reason.BEYOND_ITS_DTYPE
    yield by_reference, c.reference_used, Reason.REFERENCE_CONTRADICTS
    gross = c.error > GROSS * e.budget.scale
    if computes_narrower(e.budget):
        gross &= c.differences_used > GROSSLY_CONTRADICTED
    if e.exact is not None:  # an exact derivative has no error estimate that could be wrong
        gross |= np.isin(e.estimate.index, e.exact.entries)
    yield by_differences & gross, c.differences_used, Reason.NOT_THE_FORWARD_PASS
    yield by_differences, c.differences_used, Reason.DIFFERENCES_CONTRADICT


def _undecided(e: Evidence, c: Comparison) -> Judgement | None:
    """The judgement if nothing was checked, or the differences are too uncertain."""
    measured = e.estimate
    used = _worst(e, c)
    declared = e.parameter.flags & {Flag.ZERO_GRADIENT, Flag.EMPTY_BATCH}
    if not declared and not e.analytic.any():
        return Judgement(Reason.ZERO if e.analytic.size else Reason.EMPTY, *used)
    if is_rounding(e) and (declared or not (e.other_point and e.other_point.right)):
        return None if declared else Judgement(Reason.ROUNDING_ONLY, *used)
    if _is_declared_zero(e):
        return None
    if measured.frozen.any():
        return Judgement(Reason.STEP_BELOW_ULP, int(measured.index[measured.frozen.argmax()]))
    if c.uncertain.any() and not _is_known_together(e):
        worst = int(np.where(c.uncertain, np.nan_to_num(measured.uncertainty, nan=np.inf), -1.0).argmax())
        return Judgement(Reason.UNCERTAIN, int(measured.index[worst]), float(c.used[worst]))
    if e.kinks.excess > 0:
        return Judgement(Reason.ALMOST_A_SUBGRADIENT, int(measured.index[measured.kink.argmax()]))
    if e.autodiff is None and e.directions.any_usual_is_blind:
        return Judgement(Reason.TOO_MANY_KINKS, *used)
    if e.other_point is not None and e.other_point.contradicted:
        return Judgement(Reason.BELOW_ROUNDOFF, int(e.other_point.index[0]), None, e.other_point.index)
    return Judgement(Reason.UNRESOLVED, *used) if not declared and _is_hidden(e) else None


def _is_hidden(e: Evidence) -> bool:
    """Whether not even a factor of 2 would have been noticed, here or where it would show.

    A float64 gradient is asked about nearer the origin where its entries are below the roundoff floor (`below_roundoff`).
    """
    if e.parameter.dtype.name == "float64" and not computes_narrower(e.budget):
        return False
    if (e.other_point is not None and e.other_point.right) or (e.exact is not None and e.exact.by_own_size):
        return False
    noticed = resolution(e).of_factor
    return noticed is not None and noticed > 1


def _agreeing(e: Evidence, c: Comparison, along: DirectionalComparison) -> Judgement:
    """PASS, or KINK where the slopes of the two sides differ; with the entry, or the direction, that used most."""
    reason = Reason.AT_KINK if e.estimate.kink.any() else Reason.AGREES
    worst, used = _worst(e, c)
    if along.worst is None or used >= (most := float(ratio(along.error, along.allowed)[along.worst])):
        return Judgement(reason, worst, used)
    return Judgement(reason, None, most)


def _worst(e: Evidence, c: Comparison) -> tuple[int | None, float]:
    """The entry that used most of what it is allowed, and how much of it."""
    worst = int(c.used.argmax()) if c.used.size else None
    return (None, 0.0) if worst is None else (int(e.estimate.index[worst]), float(c.used[worst]))


def _by_reference(e: Evidence, reference: Array) -> Judgement:
    """The judgement where the gradient is another than the derivative, by definition."""
    used = ratio(distance(e.analytic, reference), e.budget.against_reference)
    worst, most = (int(used.argmax()), float(used.max())) if used.size else (None, 0.0)
    return Judgement(Reason.WRONG_BACKWARD if most > 1 else Reason.AGREES, worst, most, np.flatnonzero(used > 1))


# ------------------------------------------------------------------------------------------ zero and infinity


def is_rounding(e: Evidence) -> bool:
    """Whether the gradient, by all that was measured, is zero but for rounding; unless the reference has the same digits."""
    smooth = ~e.estimate.kink
    slopes, uncertainty = e.estimate.value[smooth], e.estimate.uncertainty[smooth]
    size = max(largest(e.analytic), largest(e.autodiff))
    if e.parameter.dtype.name != "float64" or not size > 0 or size > largest_zero(e.budget):
        return False
    if (e.exact is not None and e.exact.by_own_size) or _is_known_together(e):
        return False
    if not (np.isfinite(e.analytic).all() and np.isfinite(slopes).all() and np.isfinite(uncertainty).all()):
        return False
    if e.autodiff is not None and not (distance(e.analytic, e.autodiff) > roundoff(size, REFERENCE_TERMS)).any():
        return False
    return bool((np.abs(slopes) <= largest_zero(e.budget) + truncation_and_noise(uncertainty)).all())


def _is_known_together(e: Evidence) -> bool:
    """Whether the entries, moved together, have a slope that is known to a few digits, and so is not what rounding leaves.

    A mean of many terms in float32 changes with one of them by less than its own rounding.
    """
    known = (RESOLVED_INSIDE * abs(s.value) >= truncation_and_noise(s.uncertainty) for s in e.directions.fitted)
    return any(known)


def _is_declared_zero(e: Evidence) -> bool:
    """Whether a gradient in a narrow dtype is declared to be zero, and is zero but for rounding by the reference in float64.

    Where terms cancel, a narrow dtype leaves rounding of its own, which the differences need not resolve further.
    """
    declared = Flag.ZERO_GRADIENT in e.parameter.flags and e.parameter.dtype.name != "float64"
    return declared and e.autodiff is not None and largest(e.autodiff) <= largest_zero(e.budget)


def _is_truly_infinite(e: Evidence, infinite: Array) -> bool:
    """Whether the differences grow without end there, and the reference agrees if there is one; and the rest is right."""
    at = infinite[e.estimate.index]
    if np.isnan(e.analytic).any() or e.parameter.dtype.name != "float64" or np.isfinite(e.estimate.uncertainty[at]).any():
        return False
    if not (at.any() if e.autodiff is None else np.array_equal(e.analytic[infinite], e.autodiff[infinite])):
        return False
    ours = np.where(infinite, 0.0, e.analytic)
    theirs = None if e.autodiff is None else np.where(infinite, 0.0, e.autodiff)
    rest = replace(e, analytic=ours, autodiff=theirs, estimate=chosen(e.estimate, ~at))
    return not any(where.any() for where, _, _ in _table(rest, Comparison.of(rest)))


def _exceeds_dtype(ours: Array, truth: Array, dtype: np.dtype[np.generic]) -> bool:
    """Whether these infinities stand for numbers that the dtype cannot hold."""
    if dtype.name == "float64" or np.isnan(ours).any():
        return False
    largest_number = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    return bool(((np.abs(truth) >= largest_number) & (np.sign(truth) == np.sign(ours))).all())


# ------------------------------------------------------------------------------------------ directions


@dataclass(frozen=True)
class DirectionalComparison:
    """The slopes along directions of many entries, against those that the gradient predicts."""

    error: Array
    uncertainty: Array
    allowed: Array
    size: Array
    """The usual size of one element's part in each direction."""
    blind: Array
    """Whether kinks hide what the elements contribute, so that the error is no measure of theirs."""

    @classmethod
    def of(cls, e: Evidence) -> DirectionalComparison:
        along, columns = e.directions.along, [np.zeros((6, 0))]
        for block in () if along is None else along.blocks:
            direction = along.direction[block.index] if along is not None else np.zeros(0)
            ours, norm, size = direction @ e.analytic[block.index], np.linalg.norm(direction), np.abs(direction).mean()
            columns.append(np.array([[ours], [block.value], [block.uncertainty], [norm], [size], [block.blind]]))
        exact = () if e.exact is None or e.exact.slopes is None else (e.exact.slopes,)
        for swept in (*e.directions.swept, *exact):
            size = np.full(swept.ours.shape, swept.least)
            columns.append(np.stack([swept.ours, swept.value, swept.uncertainty, swept.norm, size, swept.blind]))
        for slope in e.directions.fitted:
            norm, size = np.linalg.norm(slope.direction), np.abs(slope.direction).mean()
            ours = slope.direction @ e.analytic
            columns.append(np.array([[ours], [slope.value], [slope.uncertainty], [norm], [size], [False]]))
        ours, value, uncertainty, norm, sizes, blind = np.concatenate(columns, axis=1)
        allowed = truncation_and_noise(uncertainty) + e.budget.without_u * norm + e.budget.accepted * sizes
        return cls(distance(ours, value), uncertainty, allowed, sizes, blind > 0)

    @property
    def used(self) -> float:
        """The worst of them, as a fraction of what is allowed."""
        return float(ratio(self.error, self.allowed).max(initial=0.0))

    @property
    def worst(self) -> int | None:
        """The direction that used most of what it is allowed, of those that are not blind or contradict the gradient."""
        used = np.where(self.blind & (self.error <= self.allowed), -1.0, ratio(self.error, self.allowed))
        return int(used.argmax()) if used.size and used.max() >= 0 else None

    @property
    def errors_of_one_entry(self) -> Array:
        """Along each wrong direction, the error of a single element that would explain it."""
        wrong = self.error > self.allowed
        return self.error[wrong] / self.size[wrong]
