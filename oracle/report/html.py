"""The report as one HTML page. Failures are open and have pictures of their error; passes are folded by family and op.

The page loads nothing: its style, its pictures and its one script are inside it. Its content policy names that script by its
hash, and forbids everything else.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from oracle.report import pictures
from oracle.report.causes import Group, grouped
from oracle.report.table import counted, gradients, notes, summary, totals, trainings
from oracle.row import Descent, ErrorMap, Parting, Row, StepCurve, Verdict, worst_first
from oracle.text import count, digits

if TYPE_CHECKING:
    import jinja2

__all__ = ["displayed", "page"]

PICTURED = 50  # failures that are open and have pictures; the two pictures of a failure add about 20 kB to the page
FEW = 10  # rows from which on pictures of all rows are drawn; with fewer points these show nothing
MULTIPLES = (
    "White entries are right: 1. One colour everywhere is a constant factor. At 0 nothing flows back; below 0 the sign is "
    "wrong. Grey entries were not tested, or the true gradient is nearly zero there."
)
NAMED = 5  # failures that the head of the page names; more would push the first card off the first screen
NEXT = {
    Verdict.INCONCLUSIVE: "give a reference, or test at an ordinary point; the cause above says what the differences lack.",
    Verdict.VACUOUS: "test where the argument has an influence, or declare that the gradient is zero (Flag.ZERO_GRADIENT).",
    Verdict.ERROR: "run the command below: it shows the exception where it is raised.",
}
"""What to do about a verdict that is no statement on the gradient."""
NARROWEST = 6  # passes nearest to their tolerance whose finite differences are drawn


class Figure(NamedTuple):
    """A picture with its title and caption."""

    title: str
    svg: str
    caption: str


def page(
    rows: Sequence[Row],
    env: Mapping[str, Any],
    sources: Mapping[str, str],
    reproduce: Callable[[Row], str],
    places: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The whole page.

    For each op `sources` has the source of its reference, and `places` the file and line of its backward pass, if they are
    known; `reproduce` gives the command for a row.
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
        parts = {
            "failures": [
                _failure(group, numbers, reproduce, figures, places.get(group.first.op, ""))
                for group, numbers, figures in _in_groups(failures)
            ],
            "overview": [*_overview(passes, failures)] if many else [],
            "narrowest": [*_narrowest(passes)] if many else [],
            "descents": [*_descents(ordered)] if many else [],
            "partings": [*_partings(ordered)] if many else [],
        }
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
        cards = [_failure(group, numbers, _no_command, figures) for group, numbers, figures in _in_groups(failures, prefix)]
    return _template("notebook.html").render(failures=cards, table=summary(ordered))


def _no_command(row: Row) -> str:
    """A result in a notebook is repeated by its cell."""
    return ""


def _template(name: str) -> jinja2.Template:
    import jinja2  # imported here, because only a report needs it

    loader = jinja2.PackageLoader("oracle", "report")
    settings = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    settings.filters |= {"digits": digits, "short": _short}
    return settings.get_template(name)


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
    group: Group, numbers: range, reproduce: Callable[[Row], str], figures: Sequence[Sequence[Figure]], place: str = ""
) -> dict[str, Any]:
    rows = []
    commands = [reproduce(row) for row in group.rows]
    for i, (row, mine) in enumerate(zip(group.rows, figures, strict=True)):
        entry = f"{row.parameter}{list(row.worst_index)}" if row.worst_index else row.parameter
        entry += row.part and f".{row.part}"
        last = i + 1 == len(commands) or commands[i] != commands[i + 1]
        parts = {"row": row, "place": entry, "figures": mine, "name": group.place(row)}
        rows.append({**parts, "command": commands[i] if last else ""})
    return {
        "group": group,
        "rows": rows,
        "open": numbers.start < PICTURED,
        "place": place,
        "next": NEXT.get(group.first.verdict, ""),
    }


def _pictured(failures: Sequence[Row], prefix: str) -> Iterator[list[Figure]]:
    """The figures of each failure. Only the first `PICTURED` have any, and each run of an optimizer is drawn once."""
    runs = set()
    for i, row in enumerate(failures):
        figures = []
        details = row.details if i < PICTURED else None
        if details and (m := details.error_map):
            figures.append(Figure("Where the error is", pictures.error_map(m, f"{prefix}map-{i}"), _map_in_words(m)))
            if m.multiples:
                drawing = pictures.multiple_map(m, f"{prefix}multiple-{i}")
                figures.append(Figure("Your gradient, divided by the true one", drawing, MULTIPLES))
        if details and (c := details.step_curve):
            figures.append(Figure("Error against step", pictures.step_curve(c, f"{prefix}curve-{i}"), _curve_in_words(c)))
        if details and (d := details.descent) and (row.op, row.case) not in runs:
            runs.add((row.op, row.case))
            caption = f"The thin line is the tested run, the wide one the reference's; {_apart(d)}."
            figures.append(Figure("Loss at each step", pictures.descent(d, f"{prefix}descent-{i}"), caption))
            if p := details.parting:
                title = "Distance from the reference at each step"
                figures.append(Figure(title, pictures.parting(p, f"{prefix}parting-{i}"), _parting_in_words(p)))
        yield figures


def _map_in_words(m: ErrorMap) -> str:
    """The caption of an error map: its axes, its colours, and what it leaves out."""
    words = [_layout_in_words(m)]
    laid = (*m.down, *m.across)
    if len(laid) < len(m.shape):
        slices = ", ".join(":" if d in laid else str(place) for d, place in enumerate(m.index))
        words.append(f"Only the slice [{slices}] is shown; it holds the worst entry.")
    if m.cell != (1, 1):
        words.append(f"Each cell shows the worst of {m.cell[0]}\N{MULTIPLICATION SIGN}{m.cell[1]} entries.")
    words.append(
        "Red entries are too large, blue ones too small; the scale counts multiples of the tolerance. "
        "White entries are right. The frame marks the worst entry."
    )
    ratios = [ratio for row in m.ratios for ratio in row]
    if any(map(math.isnan, ratios)):
        words.append("Grey entries were not tested.")
    if any(map(math.isinf, ratios)):
        words.append("Entries that are NaN or infinite have the darkest red.")
    return " ".join(words)


def _layout_in_words(m: ErrorMap) -> str:
    if not m.down:
        return f"Axis {m.across[0]} runs from left to right."
    if len(m.down) == 1:
        return f"Axis {m.down[0]} runs down, axis {m.across[0]} across."
    tiles = f"axis {m.down[0]} down, axis {m.across[0]} across" if len(m.across) == 2 else f"axis {m.down[0]} down"
    return f"There is a tile for each index: {tiles}. In each tile axis {m.down[1]} runs down, axis {m.across[-1]} across."


def _curve_in_words(c: StepCurve) -> str:
    against = "the extrapolated value" if c.autodiff is None else "JAX's value"
    return (
        f"Errors at the worst entry, against {against}: of plain finite differences with each step, of the value that is "
        "extrapolated from them, and of the hand-written value. They are relative to the gradient's largest entry. "
        "An error of 0 is drawn at the bottom."
    )


def _apart(d: Descent) -> str:
    apart = max((abs(a - b) for a, b in zip(d.ours, d.theirs, strict=False)), default=0.0)
    return f"they differ by at most {digits(apart)}"


def _parting_in_words(p: Parting) -> str:
    return (
        f"After each of {count(len(p.parameters), 'step')}. Difference: the largest one of a parameter from the "
        f"reference's, relative to the parameter's largest entry (at most {digits(max(p.parameters, default=0.0))}). Used: "
        "the largest difference of the loss, the parameters and the optimizer's state, divided by the tolerance "
        f"(at most {_short(max(p.used, default=0.0))})."
    )


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
        caption = f"{row.case}, {row.reference}; {_apart(descent)}"
        yield Figure(row.op, pictures.descent(descent, f"run-{i}", small=True), caption)


def _partings(ordered: Sequence[Row]) -> Iterator[Figure]:
    for i, (row, parting) in enumerate(trainings(ordered)):
        yield Figure(row.op, pictures.parting(parting, f"training-{i}"), f"{row.case}. {_parting_in_words(parting)}")


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
