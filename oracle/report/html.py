"""The report as one HTML page. Failures are open and have pictures of their error; passes are folded by family and op.

The page loads nothing: its style, its pictures and its one script are inside it. Its content policy names that script by its
hash, and forbids everything else.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from oracle.report import captions, pictures
from oracle.report.causes import Group, grouped
from oracle.report.explanation import explained
from oracle.report.table import counted, gradients, notes, summary, totals, trainings
from oracle.row import Descent, Row, StepCurve, Verdict, worst_first
from oracle.text import count, digits

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

__all__ = ["displayed", "page"]

PICTURED = 50  # failures that are open and have pictures; the two pictures of a failure add about 20 kB to the page
FEW = 10  # rows from which on pictures of all rows are drawn; with fewer points these show nothing
NAMED = 5  # failures that the head of the page names; more would push the first card off the first screen
NEXT = {
    Verdict.INCONCLUSIVE: "give a reference, or test at an ordinary point; the cause above says what the differences lack.",
    Verdict.VACUOUS: "test where the argument has an influence, or declare that the gradient is zero (Flag.ZERO_GRADIENT).",
}
"""What to do about a verdict that is no statement on the gradient."""
REPEAT = {
    Verdict.FAIL: "mend it, then run the command below again.",
    Verdict.ERROR: "run the command below: it shows the exception where it is raised.",
}
"""What to do where a command repeats the case."""
WIDTH = 100  # columns of an explanation; with more, its last lines would be wider than a laptop shows
NARROWEST = 6  # passes nearest to their tolerance whose finite differences are drawn


class Figure(NamedTuple):
    """A picture with its title and caption."""

    title: str
    svg: str
    caption: str


def _nothing(row: Row) -> str:
    """The command or the program of a row that has none: a result in a notebook is repeated by its cell."""
    return ""


def page(
    rows: Sequence[Row],
    env: Mapping[str, Any],
    sources: Mapping[str, str],
    reproduce: Callable[[Row], str],
    places: Mapping[str, str] = MappingProxyType({}),
    program: Callable[[Row], str] = _nothing,
) -> str:
    """The whole page.

    For each op `sources` has the source of its reference, and `places` the file and line of its backward pass, if they are
    known; `reproduce` gives the command for a row, and `program` the place of the program that shows its failure, from the
    folder of the page.
    """
    ordered = worst_first(rows)
    failures = [row for row in ordered if not row.passed]
    passes = [row for row in ordered if row.passed]
    many = len(rows) >= FEW
    with (
        pictures.drawing()
        if many or any(row.details and row.details.has_figures for row in failures[:PICTURED])
        else nullcontext()
    ):
        groups = [*_in_groups(failures)]
        parts = {
            "failures": [
                _failure(group, numbers, reproduce, figures, places.get(group.first.op, ""), program)
                for group, numbers, figures in groups
            ],
            "overview": [*_overview(passes, failures)] if many else [],
            "narrowest": [*_narrowest(passes)] if many else [],
            "descents": [*_descents(ordered)] if many else [],
            "partings": [*_partings(ordered)] if many else [],
        }
    cards = {id(row): number for number, (group, _, _) in enumerate(groups, 1) for row in group.rows}
    judged = gradients(rows)
    counts = Counter(row.verdict for row in judged)
    script = (resources.files("oracle.report") / "page.js").read_text(encoding="utf-8")
    return _template("page.html").render(
        breaches=len(rows) - len(judged),
        switches=[str(verdict) for verdict in Verdict if any(row.verdict is verdict for row in rows)],
        named=NAMED,
        script=script,
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        headline=_headline(rows),
        totals=totals(rows),
        verdicts=[(str(verdict), counts[verdict]) for verdict in Verdict if counts[verdict]],
        card_of=lambda row: cards.get(id(row)),
        families=[_family(name, ordered, sources) for name in sorted({row.family for row in rows})],
        environment=env,
        pictured=PICTURED,
        failed=len(failures),
        **parts,
    )


def _headline(rows: Sequence[Row]) -> str:
    """The result in a few words: `All 3 ops are right`, `1 of 3 ops is not right`."""
    ops = {(row.family, row.op) for row in rows}
    wrong = {(row.family, row.op) for row in rows if not row.passed}
    if wrong:
        return f"{len(wrong)} of {count(len(ops), 'op')} {'is' if len(wrong) == 1 else 'are'} not right"
    if not ops:
        return "Nothing was checked"
    return f"All {len(ops)} ops are right" if len(ops) > 1 else f"{rows[0].op} is right"


DISPLAYED = itertools.count()
"""Numbers the results displayed in a notebook, so that no two pictures of it have one id."""


def displayed(rows: Sequence[Row]) -> str:
    """A part of a page for notebooks: the cards of the failures with their pictures, and the table."""
    ordered = worst_first(rows)
    failures = [row for row in ordered if not row.passed]
    prefix = f"result-{next(DISPLAYED)}-"
    with pictures.drawing() if failures else nullcontext():
        cards = [_failure(group, numbers, _nothing, figures) for group, numbers, figures in _in_groups(failures, prefix)]
    return _template("notebook.html").render(failures=cards, table=summary(ordered))


def _template(name: str) -> jinja2.Template:
    import jinja2  # imported here, because only a report needs it

    loader = jinja2.PackageLoader("oracle", "report")
    settings = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    settings.filters |= {"digits": digits, "short": _short, "marked": _marked, "in_words": captions.evidence_in_words}
    return settings.get_template(name)


def _marked(text: str) -> Markup:
    """A text in which names stand between backticks, as elsewhere in the reports: these are code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)(?:`|$)", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped first


# ------------------------------------------------------------------------------------------------- failures


def _in_groups(failures: Sequence[Row], prefix: str = "") -> Iterator[tuple[Group, range, list[list[Figure]]]]:
    """The groups of failures with one cause, each with the numbers of its rows on the page and their figures."""
    groups = grouped(failures)
    drawn = _pictured([row for group in groups for row in group.rows], prefix)
    start = 0
    for group in groups:
        numbers = range(start, start + len(group.rows))
        yield group, numbers, [next(drawn) for _ in numbers]
        start = numbers.stop


def _failure(
    group: Group,
    numbers: range,
    reproduce: Callable[[Row], str],
    figures: Sequence[Sequence[Figure]],
    place: str = "",
    program: Callable[[Row], str] = _nothing,
) -> dict[str, Any]:
    rows = []
    commands = [reproduce(row) for row in group.rows]
    for i, (row, mine) in enumerate(zip(group.rows, figures, strict=True)):
        entry = f"{row.parameter}{list(row.worst_index)}" if row.worst_index else row.parameter
        entry += row.part and f".{row.part}"
        last = i + 1 == len(commands) or commands[i] != commands[i + 1]
        parts = {"row": row, "place": entry, "figures": mine, "name": group.place(row)}
        told = ""
        if i + numbers.start < PICTURED and row.details and row.details.explanation:
            told = explained(replace(row, diagnosis=""), WIDTH)  # the card begins with the diagnosis
        rows.append(
            {**parts, "explained": told, "command": commands[i] if last else "", "program": program(row) if last else ""}
        )
    return {
        "group": group,
        "rows": rows,
        "open": numbers.start < PICTURED,
        "place": place,
        "next": (NEXT | (REPEAT if any(commands) else {})).get(group.first.verdict, ""),
    }


def _pictured(failures: Sequence[Row], prefix: str) -> Iterator[list[Figure]]:
    """The figures of each failure. Only the first `PICTURED` have any, and each run of an optimizer is drawn once."""
    runs = set()
    for i, row in enumerate(failures):
        figures = []
        details = row.details if i < PICTURED else None
        if details and (m := details.error_map):
            figures.append(Figure("Where the error is", pictures.error_map(m, f"{prefix}map-{i}"), captions.map_in_words(m)))
            if m.multiples:
                drawing = pictures.multiple_map(m, f"{prefix}multiple-{i}")
                figures.append(Figure("Your gradient, divided by the true one", drawing, captions.MULTIPLES))
        if details and (c := details.step_curve):
            drawing = pictures.step_curve(c, f"{prefix}curve-{i}")
            figures.append(Figure("Error against step", drawing, captions.curve_in_words(c)))
        if details and (d := details.descent) and (row.op, row.case) not in runs:
            runs.add((row.op, row.case))
            caption = f"The thin line is the tested run, the wide one the reference's; {captions.apart(d)}."
            figures.append(Figure("Loss at each step", pictures.descent(d, f"{prefix}descent-{i}"), caption))
            if p := details.parting:
                title = "Distance from the reference at each step"
                figures.append(Figure(title, pictures.parting(p, f"{prefix}parting-{i}"), captions.parting_in_words(p)))
        yield figures


# ------------------------------------------------------------------------------------------------- all rows


def _overview(passes: Sequence[Row], failures: Sequence[Row]) -> Iterator[Figure]:
    ulps = [row.autodiff_ulp for row in passes if row.dtype == "float64" and row.autodiff_ulp is not None]
    if ulps:
        yield Figure(
            "Distance from JAX in units in the last place",
            pictures.ulp_histogram(ulps, "ulp"),
            f"{count(len(ulps), 'float64 gradient')} passed and {'has' if len(ulps) == 1 else 'have'} a reference. The bars "
            "count them by the distance from JAX at the entry that is furthest off, in units in the last place of that entry. "
            "A large distance alone is no mistake: if an entry is a small difference of large terms, both computations lose "
            "its last digits.",
        )
    passing, failing = ([pair for row in some if (pair := _stated(row))] for some in (passes, failures))
    if passing or failing:
        yield Figure(
            "Are the error bars right?",
            pictures.calibration(passing, failing, "calibration"),
            f"One mark for each of {count(len(passing) + len(failing), 'float64 gradient')}. Across: the error bar of the "
            "finite differences. Up: the difference between them and the gradient. On the line the two are equal. Below it the "
            "finite differences are better than their error bar. Far above it the gradient is wrong: the tolerance is 4 error "
            "bars plus rounding. Both numbers are the largest of the gradient, relative to its largest entry. A 0 is drawn at "
            "the edge.",
        )


def _stated(row: Row) -> tuple[float, float] | None:
    """The error bar and the error of a float64 gradient; None if one of them is missing or NaN."""
    uncertainty, error = row.numerical_uncertainty, row.numerical_error
    if row.dtype != "float64" or uncertainty is None or error is None or math.isnan(uncertainty) or math.isnan(error):
        return None
    return uncertainty, error


def _narrowest(passes: Sequence[Row]) -> Iterator[Figure]:
    """The passing gradients nearest to their tolerance, at most one of each op."""
    found: dict[str, tuple[Row, StepCurve]] = {}
    for row in passes:
        if row.verdict is Verdict.PASS and row.dtype == "float64" and row.details and row.details.step_curve:
            found.setdefault(row.op, (row, row.details.step_curve))
    for i, (row, curve) in enumerate(list(found.values())[:NARROWEST]):
        caption = f"The error is {_short(row.used or 0.0)} times the tolerance."
        yield Figure(row.label, pictures.step_curve(curve, f"narrow-{i}"), caption)


def _descents(ordered: Sequence[Row]) -> Iterator[Figure]:
    """One picture for each run of an optimizer, whatever the number of its rows; failing runs first."""
    found: dict[tuple[bool, str, str], tuple[Row, Descent]] = {}
    for row in ordered:
        if row.details and row.details.descent and (False, row.op, row.case) not in found:
            found.setdefault((row.passed, row.op, row.case), (row, row.details.descent))
    for i, (row, descent) in enumerate(found[key] for key in sorted(found)):
        caption = f"{row.case}, {row.reference}; {captions.apart(descent)}"
        yield Figure(row.op, pictures.descent(descent, f"run-{i}", small=True), caption)


def _partings(ordered: Sequence[Row]) -> Iterator[Figure]:
    for i, (row, parting) in enumerate(trainings(ordered)):
        yield Figure(row.op, pictures.parting(parting, f"training-{i}"), f"{row.case}. {captions.parting_in_words(parting)}")


# ------------------------------------------------------------------------------------------------- tables


def _family(name: str, ordered: Sequence[Row], sources: Mapping[str, str]) -> dict[str, Any]:
    mine = [row for row in ordered if row.family == name]
    ops = [_op(op, [row for row in mine if row.op == op], sources) for op in dict.fromkeys(row.op for row in mine)]
    return {"name": name or "(no module)", "ops": ops, "counts": counted(mine)}


def _op(name: str, rows: Sequence[Row], sources: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "rows": rows,
        "counts": counted(rows),
        "source": sources.get(name, ""),
        "used": max((row.used for row in rows if row.used is not None), default=None),
        "remarks": [row for row in rows if row.passed and row.diagnosis],
        "notes": [note for _, note in notes(rows)],
        "passed": all(row.passed for row in rows),
    }


def _short(value: float | None, figures: int = 2) -> str:
    return "-" if value is None else f"{value:.{figures}g}"
