"""The report as markdown: first the failures, then a table for each family, worst rows first."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from textwrap import indent
from typing import Any

from tabulate import tabulate

from oracle.report.causes import Group, grouped
from oracle.report.table import notes, totals, trainings, wrong_places
from oracle.row import Parting, Row, worst_first
from oracle.text import digits, plain

__all__ = ["escape", "failure", "markdown"]

HEADERS = (
    "op", "case", "dtype", "parameter", "shape", "values", "differences", "+-", "JAX", "ULP", "used", "verdict", "evidence"
)  # fmt: skip

LEGEND = """\
Errors are relative to the largest entry of the gradient. *values*: error of the forward pass against the reference's. All
other numbers of a row belong to the entry that decided. *differences*: its error against the finite differences; *+-*: their
error bar. *JAX*: its error against JAX's gradient; *ULP*: the same error in units in the last place. *used*: the error in the
comparison that decided, divided by the tolerance; above 1 the two disagree. *evidence*: how many entries were compared with
the finite differences ("numerical") and with JAX ("autodiff"). A dash means: not measured, or not meaningful for this row."""

ACCURACY = """\
The finite differences are compared with JAX at every entry of a float64 gradient that has both and is not at a corner.
*understated* counts the entries at which the two differ by more than the error bar (plus 4 ULP of the roundoff scale, which is
the accuracy that JAX is assumed to have). *+-* is the largest error bar of a gradient, relative to the gradient's largest
entry."""


TRAININGS = """\
Both runs begin with the same parameters and get the same batches. *difference*: the largest difference of a parameter from the
reference's after that many steps, relative to the parameter's largest entry. *used*: the largest difference of the loss, the
parameters and the optimizer's state at that step, divided by the tolerance."""


def markdown(rows: Sequence[Row], env: Mapping[str, Any], sources: Mapping[str, str], reproduce: Callable[[Row], str]) -> str:
    """The whole page. `sources` has, for each op, the source of its reference; `reproduce` gives the command for a row."""
    packages = ", ".join(f"{name} {number}" for name, number in env["packages"].items())
    parts = [
        "# Verification",
        *([f"**This report is unfinished: {env['unfinished']}.**"] if "unfinished" in env else []),
        f"{totals(rows)}.",
        f"{_code(env['command'])}, seed {env['seed']}, Python {env['python']} on {env['platform']}, {env['blas']}, {packages}.",
        LEGEND,
    ]
    if any(row.compared for row in rows):
        parts += ["## How exact the finite differences are", ACCURACY, _accuracy(rows)]
    failures = [row for row in worst_first(rows) if not row.passed]
    if failures:
        parts += ["## Failures", *(failure(group, reproduce) for group in grouped(failures))]
    for family in sorted({row.family for row in rows}):
        mine = worst_first(row for row in rows if row.family == family)
        table = tabulate([_cells(row) for row in mine], HEADERS, tablefmt="github", disable_numparse=True)
        parts += [f"## {escape(family)}", table]
        origins = sorted({(row.op, sources[row.op]) for row in mine if row.op in sources})
        if origins:
            parts.append("References: " + "; ".join(f"{escape(op)}: {escape(source)}" for op, source in origins) + ".")
        kinks = [row for row in mine if row.passed and row.diagnosis]
        if kinks:
            parts.append("\n".join(f"- {escape(row.label)}: {escape(row.diagnosis)}" for row in kinks))
        if remarks := notes(mine):
            parts.append("\n".join(f"- {escape(op)}: {escape(note)}" for op, note in remarks))
        if trained := trainings(mine):
            parts += ["### Whole trainings", TRAININGS, _trainings([(row.op, parting) for row, parting in trained])]
    return "\n\n".join(parts) + "\n"


def _trainings(trained: Sequence[tuple[str, Parting]]) -> str:
    """Two lines for each training, at steps 1, 2, 5, 10, ... and at the last one."""
    longest = max(len(parting.used) for _, parting in trained)
    steps = [step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if step < longest] + [longest]
    lines = []
    for name, parting in trained:
        for what, numbers in (("difference", parting.parameters), ("used", parting.used)):
            shown = (digits(numbers[step - 1]) if step <= len(numbers) else "-" for step in steps)
            lines.append((escape(name), what, *shown))
    return tabulate(lines, ("training", "step", *map(str, steps)), tablefmt="github", disable_numparse=True)


def _accuracy(rows: Sequence[Row]) -> str:
    """One line for each family: the finite differences against JAX. The hand-written gradients play no part here."""
    lines = []
    families = sorted({row.family for row in rows if row.compared})
    for family in [*families, "all"]:
        mine = [row for row in rows if row.compared and family in (row.family, "all")]
        stated = sorted(row.numerical_uncertainty for row in mine if row.numerical_uncertainty is not None)
        compared, understated = sum(row.compared for row in mine), sum(row.understated for row in mine)
        share = f"{1000 * understated / compared:.2g} in 1,000" if understated else "none"
        lines.append((escape(family), compared, digits(stated[len(stated) // 2]), digits(stated[-1]), understated, share))
    headers = ("family", "entries", "median +-", "largest +-", "understated", "share")
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def escape(text: str) -> str:
    """A name from a user's module, so that it breaks neither a table cell nor HTML."""
    text = plain(" ".join(text.splitlines())).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*\[\]|])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)  # inside a word markdown leaves an underscore alone


def failure(group: Group, reproduce: Callable[[Row], str]) -> str:
    """The cause once, then each row that has it."""
    first, several = group.first, len(group.rows) > 1
    parts = [f"### {first.verdict} {escape(group.label)}" + ("" if several else f" ({first.dtype})"), escape(group.cause)]
    for row in group.rows:
        if several:
            parts.append(f"**{escape(group.place(row))}** ({row.dtype})")
        if row.size:
            parts.append(f"How large: {escape(row.size)}.")
        if row.analytic is not None:
            parts.append(escape(wrong_places(row)))
        if row is group.rows[-1] or reproduce(row) != reproduce(group.rows[-1]):
            parts.append(indent(reproduce(row), "    ", lambda _: True))
    return "\n\n".join(parts)


def _code(text: str) -> str:
    """Text as code. The fence is longer than any run of backticks in the text."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{fence}{space}{plain(' '.join(text.splitlines()))}{space}{fence}"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        escape(row.op),
        escape(row.case),
        row.dtype,
        escape(row.parameter or "(the op)"),
        "x".join(map(str, row.shape)) or "scalar",
        digits(row.forward_error),
        digits(row.numerical_error),
        digits(row.numerical_uncertainty),
        digits(row.autodiff_error),
        "-" if row.autodiff_ulp is None else f"{row.autodiff_ulp:.3g}",
        "-" if row.used is None else f"{row.used:.2g}",
        str(row.verdict),
        escape(row.evidence),
    )
