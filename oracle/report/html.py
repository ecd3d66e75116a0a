"""The report as one HTML page: failures open, each with pictures of its error; passes folded by family and op.

The page loads nothing: its style and its pictures are inside, it has no script, and its own policy forbids both.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from oracle.report import pictures
from oracle.report.table import totals, trainings
from oracle.row import Descent, ErrorMap, Parting, Row, StepCurve, Verdict, worst_first
from oracle.text import count, digits

if TYPE_CHECKING:
    import jinja2

__all__ = ["page"]

PICTURED = 50  # failures that have pictures, and are open
FEW = 10  # gradients below which only failures are drawn: the pictures of all rows would show nothing
NARROWEST = 6  # passes of which the differences are drawn


class Figure(NamedTuple):
    """A picture, and what it shows in words."""

    title: str
    svg: str
    caption: str


def page(rows: Sequence[Row], env: Mapping[str, Any], sources: Mapping[str, str], reproduce: Callable[[Row], str]) -> str:
    """The whole page. `sources` says for each op where its reference comes from."""
    ordered = worst_first(rows)
    failures = [row for row in ordered if not row.passed]
    passes = [row for row in ordered if row.passed]
    many = len(rows) >= FEW
    with pictures.drawing() if many or any(row.exhibit for row in failures[:PICTURED]) else nullcontext():
        parts = {
            "failures": [
                _failure(row, i, reproduce, figures)
                for i, (row, figures) in enumerate(zip(failures, _pictured(failures), strict=True))
            ],
            "overview": [*_overview(passes, failures)] if many else [],
            "narrowest": [*_narrowest(passes)] if many else [],
            "descents": [*_descents(ordered)] if many else [],
            "partings": [*_partings(ordered)] if many else [],
        }
    counts = Counter(row.verdict for row in rows)
    return _template().render(
        title=f"{counts.total() - len(passes)} of {count(len(rows), 'gradient')} not right" if failures else totals(rows),
        totals=totals(rows),
        verdicts=[(str(verdict), counts[verdict]) for verdict in Verdict if counts[verdict]],
        families=[_family(name, ordered, sources) for name in sorted({row.family for row in rows})],
        environment=env,
        pictured=PICTURED,
        few=FEW,
        **parts,
    )


def _template() -> jinja2.Template:
    import jinja2  # only a report needs it

    loader = jinja2.PackageLoader("oracle", "report")
    settings = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    settings.filters |= {"digits": digits, "short": _short}
    return settings.get_template("page.html")


# ------------------------------------------------------------------------------------------------- failures


def _failure(row: Row, i: int, reproduce: Callable[[Row], str], figures: Sequence[Figure]) -> dict[str, Any]:
    place = f"{row.parameter}{list(row.worst_index)}" if row.worst_index else row.parameter
    return {"row": row, "place": place, "figures": figures, "command": reproduce(row), "open": i < PICTURED}


def _pictured(failures: Sequence[Row]) -> Iterator[list[Figure]]:
    """The figures of each failure: none beyond the first so many, and those of a run only once."""
    runs = set()
    for i, row in enumerate(failures):
        figures = []
        exhibit = row.exhibit if i < PICTURED else None
        if exhibit and (m := exhibit.error_map):
            figures.append(Figure("Where the error is", pictures.error_map(m, f"map-{i}"), _map_in_words(m)))
        if exhibit and (c := exhibit.step_curve):
            figures.append(Figure("Error against step", pictures.step_curve(c, f"curve-{i}"), _curve_in_words(c)))
        if exhibit and (d := exhibit.descent) and (row.op, row.case) not in runs:
            runs.add((row.op, row.case))
            said = f"Thin: ours, wide: the reference's; {_apart(d)}."
            figures.append(Figure("The loss, step by step", pictures.descent(d, f"descent-{i}"), said))
            if p := exhibit.parting:
                figures.append(Figure("Where the runs part", pictures.parting(p, f"parting-{i}"), _parting_in_words(p)))
        yield figures


def _map_in_words(m: ErrorMap) -> str:
    """How the axes are laid out, what a cell is, and what is not shown."""
    words = [_layout_in_words(m)]
    laid = (*m.down, *m.across)
    if len(laid) < len(m.shape):
        slices = ", ".join(":" if d in laid else str(place) for d, place in enumerate(m.index))
        words.append(f"Only the slice [{slices}], which holds the worst element, is shown.")
    if m.cell != (1, 1):
        words.append(f"Each cell is the worst of {m.cell[0]}\N{MULTIPLICATION SIGN}{m.cell[1]} entries.")
    words.append(
        "Red: too large, blue: too small, by so many times what is allowed; white: right. The frame: the worst element."
    )
    ratios = [ratio for row in m.ratios for ratio in row]
    if any(map(math.isnan, ratios)):
        words.append("Grey: not differentiated.")
    if any(map(math.isinf, ratios)):
        words.append("What is not finite is as red as can be.")
    return " ".join(words)


def _layout_in_words(m: ErrorMap) -> str:
    if not m.down:
        return f"Axis {m.across[0]} from left to right."
    if len(m.down) == 1:
        return f"Axis {m.down[0]} down, {m.across[0]} across."
    tiles = f"{m.down[0]} down, {m.across[0]} across" if len(m.across) == 2 else f"{m.down[0]} down"
    return f"Tiles along axis {tiles}; in each of them axis {m.down[1]} down, {m.across[-1]} across."


def _curve_in_words(c: StepCurve) -> str:
    against = "what they are extrapolated to" if c.autodiff is None else "JAX"
    return (
        f"At the worst element: the distance of plain central differences from {against}, by their step; how far off the "
        "extrapolated and the hand-written value are. Relative to the gradient's largest entry; a 0 is drawn at the bottom."
    )


def _apart(d: Descent) -> str:
    apart = max((abs(a - b) for a, b in zip(d.ours, d.theirs, strict=False)), default=0.0)
    return f"at most {digits(apart)} apart"


def _parting_in_words(p: Parting) -> str:
    return (
        f"After each of {count(len(p.parameters), 'step')}: the largest difference of any parameter, relative to its largest "
        f"entry, at most {digits(max(p.parameters, default=0.0))}; used: the largest of all that is compared, as a fraction of "
        f"what is allowed, at most {_short(max(p.used, default=0.0))}."
    )


# ------------------------------------------------------------------------------------------------- all rows


def _overview(passes: Sequence[Row], failures: Sequence[Row]) -> Iterator[Figure]:
    ulps = [row.autodiff_ulp for row in passes if row.dtype == "float64" and row.autodiff_ulp is not None]
    if ulps:
        yield Figure(
            "Against JAX, in units in the last place",
            pictures.ulp_histogram(ulps, "ulp"),
            f"Of {count(len(ulps), 'float64 gradient')} that passed and have a reference: the distance from JAX at the entry "
            "that is furthest off, in units in the last place of that entry. A large number is no error by itself: where an "
            "entry is a small difference of large terms, both routes to it have lost its last digits.",
        )
    passing, failing = ([pair for row in some if (pair := _stated(row))] for some in (passes, failures))
    if passing or failing:
        yield Figure(
            "Do the differences know how uncertain they are?",
            pictures.calibration(passing, failing, "calibration"),
            f"A mark for each of {count(len(passing) + len(failing), 'float64 gradient')}. On the line the error is what the "
            "differences state as their uncertainty, below it they are better than they say. Far above it the gradient is "
            "wrong: 4 times the uncertainty and rounding are allowed. Both are relative to the gradient's largest entry, each "
            "the worst of its gradient; a 0 is drawn at the edge.",
        )


def _stated(row: Row) -> tuple[float, float] | None:
    """The uncertainty and the error, where both are numbers."""
    uncertainty, error = row.numerical_uncertainty, row.numerical_error
    if row.dtype != "float64" or uncertainty is None or error is None or math.isnan(uncertainty) or math.isnan(error):
        return None
    return uncertainty, error


def _narrowest(passes: Sequence[Row]) -> Iterator[Figure]:
    """The passes nearest to their limit, of different ops."""
    found: dict[str, tuple[Row, StepCurve]] = {}
    for row in passes:
        if row.verdict is Verdict.PASS and row.dtype == "float64" and row.exhibit and row.exhibit.step_curve:
            found.setdefault(row.op, (row, row.exhibit.step_curve))
    for i, (row, curve) in enumerate(list(found.values())[:NARROWEST]):
        yield Figure(row.label, pictures.step_curve(curve, f"narrow-{i}"), f"{_short(row.used or 0.0)} of what is allowed.")


def _descents(ordered: Sequence[Row]) -> Iterator[Figure]:
    """One picture for each run, not for each of its slots; what does not pass first."""
    found: dict[tuple[bool, str, str], tuple[Row, Descent]] = {}
    for row in ordered:
        if row.exhibit and row.exhibit.descent and (False, row.op, row.case) not in found:
            found.setdefault((row.passed, row.op, row.case), (row, row.exhibit.descent))
    for i, (row, descent) in enumerate(found[key] for key in sorted(found)):
        said = f"{row.case}, {row.reference}; {_apart(descent)}"
        yield Figure(row.op, pictures.descent(descent, f"run-{i}", small=True), said)


def _partings(ordered: Sequence[Row]) -> Iterator[Figure]:
    for i, (row, parting) in enumerate(trainings(ordered)):
        yield Figure(row.op, pictures.parting(parting, f"training-{i}"), f"{row.case}. {_parting_in_words(parting)}")


# ------------------------------------------------------------------------------------------------- tables


def _family(name: str, ordered: Sequence[Row], sources: Mapping[str, str]) -> dict[str, Any]:
    mine = [row for row in ordered if row.family == name]
    ops = [_op(op, [row for row in mine if row.op == op], sources) for op in dict.fromkeys(row.op for row in mine)]
    return {"name": name or "(no module)", "ops": ops, "said": _said(mine)}


def _op(name: str, rows: Sequence[Row], sources: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "rows": rows,
        "said": _said(rows),
        "source": sources.get(name, ""),
        "used": max((row.used for row in rows if row.used is not None), default=None),
        "notes": [row for row in rows if row.passed and row.diagnosis],
        "passed": all(row.passed for row in rows),
    }


def _said(rows: Sequence[Row]) -> str:
    counts = Counter(row.verdict for row in rows)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])


def _short(value: float | None, figures: int = 2) -> str:
    return "-" if value is None else f"{value:.{figures}g}"
