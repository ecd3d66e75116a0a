"""From findings to rows: breaches of the contract, and evidence with its verdict, its errors and its cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from oracle.arrays import Leaf, leaves_of, narrowest
from oracle.contract.setting import Breach
from oracle.diagnosis import diagnose
from oracle.diagnosis.by_reason import other_values
from oracle.diagnosis.context import Context
from oracle.judging.evidence import Evidence, deciding
from oracle.judging.measurements import Measurements
from oracle.judging.point import Trouble
from oracle.judging.reasons import Reason
from oracle.judging.reported_errors import reported
from oracle.judging.resolution import in_words as missed_in_words
from oracle.judging.resolution import resolution
from oracle.judging.size import error_size, in_words
from oracle.judging.verdict import Judgement, judge
from oracle.report.details import details_of
from oracle.report.explanation import explanation_of_values
from oracle.row import VALUES, Details, Row, Verdict
from oracle.subject import note_of
from oracle.text import count, digits

__all__ = ["Findings", "Label", "batch_of", "of_another_function", "of_none"]


ALONE = "judged by the differences alone, because the reference {}"


@dataclass(frozen=True)
class Label:
    """Where the rows of one verification belong."""

    family: str
    op: str
    case: str
    source: str


@dataclass(frozen=True)
class Findings:
    """The rows of one verification, which all belong to the same label."""

    label: Label
    leaves: tuple[Leaf, ...]
    has_reference: bool
    large: bool
    """Whether the number of evaluations does not grow with the number of elements."""
    note: str = ""
    """What is to be known about the op and the reference, for every row."""

    def row(self, parameter: str, shape: tuple[int, ...], verdict: Verdict, diagnosis: str, **measures: Any) -> Row:
        return Row(
            family=self.label.family,
            op=self.label.op,
            case=self.label.case,
            dtype=narrowest(self.leaves).name,
            parameter=parameter,
            shape=shape,
            reference=self.label.source if self.has_reference else "none",
            evidence=measures.pop("evidence", ""),
            verdict=verdict,
            diagnosis=diagnosis,
            note=self.note,
            **measures,
        )

    def breached(self, breaches: Iterable[Breach]) -> list[Row]:
        shapes = {leaf.path: np.shape(leaf.array) for leaf in self.leaves}
        return [self.row(b.parameter, shapes.get(b.parameter, ()), Verdict.FAIL, b.what, evidence="contract") for b in breaches]

    def compared(self, measurements: Measurements, accept: float) -> tuple[Findings, list[Row], bool]:
        """These findings with what is to be known of the reference, a row if it is at fault, and whether it judges gradients.

        It does not if it raises, computes another function, or computes in float32.
        """
        own = note_of(measurements.point.subject)

        def noted(*notes: str) -> Findings:
            return replace(self, note="; ".join(note for note in (own, *notes) if note))

        try:
            known = noted(measurements.reference.note)
            if not measurements.values.are_of_another_function:
                return known, [], True
            if measurements.values.reference_is_narrow:
                return noted(ALONE.format("computes in float32")), [], False
        except Trouble as trouble:
            verdict = Verdict.FAIL if trouble.wrong else Verdict.ERROR
            row, why = self.row("", (), verdict, str(trouble), evidence=VALUES), "has no value to compare with"
        else:
            error = measurements.values.error
            size = in_words(error, measurements.point.dtype.name)
            diagnosis = other_values(measurements.point.y, measurements.reference.pullback)
            accepted = error is not None and error < accept
            row = known.row(
                "",
                (),
                Verdict.ACCEPTED if accepted else Verdict.FAIL,
                f"accepted, {size}: {diagnosis}" if accepted else diagnosis,
                evidence=VALUES,
                forward_error=error,
                size=size,
                reason=Reason.OTHER_VALUES.value,
                details=Details(explanation=explanation_of_values(measurements.values.record)),
            )
            why = "is another function"
        return noted(ALONE.format(why)), [row], False

    def judged(self, e: Evidence, context: Context, forward_error: float | None, *, accepted: bool = False) -> Row:
        """The verdict follows from all evidence; the numbers are those of the point at which it was found."""
        overall, other = judge(e), e.other_point
        before = () if deciding(e) is e else e.measurements
        e = deciding(e)  # at another point, if the gradient is wrong there
        judgement = judge(e)
        where = f"{other.where}{' ' if other.generic else ', '}" if other is not None and other.evidence is not None else ""
        noticed = resolution(e)
        wrong = accepted or overall.verdict is Verdict.FAIL
        size = in_words(error_size(e, judgement), e.parameter.dtype.name) if wrong else ""
        cause = where + diagnose(e, judgement, context)
        if overall.verdict.passes and (missed := missed_in_words(e, noticed)):
            cause = f"{cause}; {missed}" if cause else missed
        if e.exact is not None and e.exact.kinks:
            cause = "; ".join([cause, *e.exact.kinks] if cause else e.exact.kinks)
        return self.row(
            e.parameter.name,
            e.parameter.shape,
            Verdict.ACCEPTED if accepted else overall.verdict,
            f"accepted, {size}: {cause}" if accepted else cause,
            size=size,
            evidence=_compared(e, noticed.of_entry if self.large else None),
            forward_error=forward_error,
            used=judgement.used,
            reason=overall.reason.value,
            resolution=noticed.of_entry,
            resolution_of_row=noticed.of_row,
            resolution_of_factor=noticed.of_factor,
            worst_index=_place(judgement, e.parameter.shape),
            details=details_of(e, judgement, overall.reason, before),
            **reported(e, judgement),
        )


def of_none(row: Row) -> Row:
    """The row of a gradient that torch did not compute: it returned None, which is zero by its convention."""
    if row.passed or row.verdict is Verdict.VACUOUS:
        return replace(row, verdict=Verdict.PASS, diagnosis="torch returned None, and the true gradient is zero")
    return replace(row, diagnosis=f"the backward pass returned None, which torch takes for zero: {row.diagnosis}")


def of_another_function(e: Evidence, i: int, measurements: Measurements) -> Evidence:
    """The evidence, with the gradient of a reference that is another function if a wrong gradient `i` is that function's."""
    if judge(e).verdict is not Verdict.FAIL or e.other_point is not None:
        return e
    beside = replace(e, autodiff=measurements.reference.gradient(i))
    return beside if judge(beside).reason is Reason.NOT_THE_FORWARD_PASS else e


def _compared(e: Evidence, noticed: float | None) -> str:
    """How many elements were compared with each witness; and the smallest error that would have been noticed."""
    compared = f"numerical {e.estimate.index.size}/{e.analytic.size}"
    if e.directions.along is not None:
        compared += f" and {count(len(e.directions.along.blocks), 'direction')}"
    if e.directions.swept:
        compared += (
            f" and {count(len(e.directions.swept), 'direction')} in {sum(s.ours.size for s in e.directions.swept)} parts"
        )
    if e.exact is not None and e.exact.entries.size:
        compared += f", exact {e.exact.entries.size}/{e.analytic.size}"
    if e.exact is not None and e.exact.unrounded:
        compared += f", unrounded {e.analytic.size}/{e.analytic.size}"
    if e.autodiff is not None:
        compared += f", autodiff {e.analytic.size}/{e.analytic.size}"
    if noticed is not None:
        compared += f"; a single entry that is off by {digits(noticed)} of the largest would be noticed"
    return compared


def _place(judgement: Judgement, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    if judgement.worst is None:
        return None
    return tuple(int(n) for n in np.unravel_index(judgement.worst, shape)) if shape else ()


def batch_of(leaves: Sequence[Leaf], y: Any) -> int | None:
    """How many samples there are: the first dimension of most of the data, and of the value; a vector has elements."""
    data = [np.shape(leaf.array) for leaf in leaves if not leaf.path.startswith("params.")]
    if max(map(len, data), default=0) < 2 and len(data) < 2:
        return None
    counts = Counter(shape[0] for shape in data if shape)
    rows = {np.shape(leaf.array)[0] for leaf in leaves_of(("the value",), (y,)) if np.ndim(leaf.array)}
    shared = {n: count for n, count in counts.items() if not rows or n in rows}
    most = [n for n, count in shared.items() if count == max(shared.values())]
    return int(most[0]) if len(most) == 1 else None
