"""The power of the checker as text, as a page and as JSON."""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from oracle.power.measuring import Measured
from oracle.power.mutants import Fate, Outcome
from oracle.power.smallest import Smallest
from oracle.report.markdown import escape

__all__ = ["as_dict", "page", "text"]

HEADERS = ("family", "functions", "mutants", "killed", "by FAIL", "timed out", "equivalent", "survived", "smallest error")
NARROW = ("family", "mu-\ntants", "killed", "by\nFAIL", "timed\nout", "equiv-\nalent", "sur-\nvived", "least\nerror")
"""The same without the functions, on two lines, so that the table fits into a terminal of 80 columns."""
WIDEST = 100  # columns of text, which is hard to read in longer lines

FUNCTIONS = "*functions*: the backward passes, and what they call. "
LEGEND = f"""\
A *mutant* is a backward pass with one planted mistake. {FUNCTIONS}*killed*: `verify`
noticed the mistake at some case of an op that runs it; *by FAIL*: with that verdict, while the others raised an exception, or
their gradient could not be judged. *timed out*: the mutant did not end. *equivalent*: no test can tell it from the right code,
for the reason given below. *survived*: `verify` let it pass. *smallest error*: a relative error of this size in a single entry
is noticed, whatever the argument. (The entry is the smallest of those that are at least a tenth of the largest.)"""


def text(measured: Measured) -> str:
    """The report for a terminal: survivors, lost ops and false alarms, then the table, its words, and a line of totals."""
    width = min(shutil.get_terminal_size().columns, WIDEST)
    parts = [_survivor(fate) for fate in _of(measured, Outcome.SURVIVED)]
    parts += [f"LOST  {what}" for what in measured.lost]
    parts += [f"FALSE ALARM  {what}" for what in measured.alarms.false]
    changes = ((FUNCTIONS, ""), ("smallest error", "least error"), ("the reason given below", "the reason in power.md"))
    legend = LEGEND
    for word, instead in (*changes, ("*", ""), ("`", "")):
        legend = legend.replace(word, instead)
    rows = [(family, *counts) for family, _, *counts in _summary(measured)]
    parts += [tabulate(rows, NARROW), textwrap.fill(legend, width), totals(measured)]
    return "\n\n".join(parts)


def totals(measured: Measured) -> str:
    counts = Counter(fate.outcome for fate in measured.fates)
    said = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome)
    alarms = (
        f"; {len(measured.alarms.false)} false alarms in {measured.alarms.uses} random uses" if measured.alarms.uses else ""
    )
    return f"{len(measured.fates)} mutants: {said}{alarms}"


def _of(measured: Measured, outcome: Outcome) -> list[Fate]:
    return sorted(
        (fate for fate in measured.fates if fate.outcome is outcome),
        key=lambda fate: (fate.mutant.family, fate.mutant.function, fate.mutant.edit.start),
    )


def _survivor(fate: Fate) -> str:
    moved = "changes no gradient" if fate.moved == 0 else f"changes a gradient by {fate.moved:.1e} of its largest entry"
    return f"SURVIVED  {fate.mutant.function} ({fate.mutant.edit.kind}; by {fate.op}: {moved})\n{fate.mutant.diff}"


def _summary(measured: Measured) -> list[tuple[Any, ...]]:
    families: dict[str, list[Fate]] = {}
    for fate in measured.fates:
        families.setdefault(fate.mutant.family, []).append(fate)
    family_of = {fate.op: fate.mutant.family for fate in measured.fates}
    rows = []
    for family, fates in sorted(families.items()):
        mine = [small for small in measured.smallest if family_of.get(small.op) == family]
        rows.append((family, *_counted(fates), _largest(mine)))
    if len(rows) > 1:
        rows.append(("all", *_counted(measured.fates), _largest(measured.smallest)))
    return rows


def _counted(fates: Sequence[Fate]) -> tuple[int, ...]:
    counts = Counter(fate.outcome for fate in fates)
    return (
        len({fate.mutant.function for fate in fates}),
        len(fates),
        counts[Outcome.KILLED],
        sum(fate.verdict == "FAIL" for fate in fates),
        counts[Outcome.TIMED_OUT],
        counts[Outcome.EQUIVALENT],
        counts[Outcome.SURVIVED],
    )


def _largest(found: Sequence[Smallest]) -> str:
    if not found:
        return "-"
    return "none" if any(small.k is None for small in found) else f"1e-{min(small.k or 0 for small in found)}"


def page(measured: Measured, env: Mapping[str, Any]) -> str:
    """The whole measurement as Markdown."""
    packages = ", ".join(f"{name} {number}" for name, number in env["packages"].items())
    parts = [
        "# Detection power",
        f"{totals(measured)}.",
        f"`{env['command']}`, Python {env['python']} on {env['platform']}, {env['blas']}, {packages}.",
        LEGEND,
        tabulate(_summary(measured), HEADERS, tablefmt="github", disable_numparse=True),
    ]
    if measured.lost:
        parts += ["## Lost", "\n".join(f"- {escape(what)}" for what in measured.lost)]
    if measured.alarms.false:
        parts += ["## False alarms", *(_fenced(what) for what in measured.alarms.false)]
    survivors = _of(measured, Outcome.SURVIVED)
    if survivors:
        parts += ["## Survivors", *(_fenced(_survivor(fate), "diff") for fate in survivors)]
    for title, outcome in (("Timed out", Outcome.TIMED_OUT), ("Equivalent", Outcome.EQUIVALENT)):
        found = [(f.mutant.function, *f.mutant.lines, f.said) for f in _of(measured, outcome)]
        if found:
            cells = [[escape(cell) for cell in row] for row in found]
            parts += [f"## {title}", tabulate(cells, ("function", "was", "becomes", "why"), "github", disable_numparse=True)]
    kinds = Counter((fate.mutant.edit.kind, fate.outcome) for fate in measured.fates)
    by_kind = [(kind, *(kinds[kind, outcome] for outcome in Outcome)) for kind in sorted({kind for kind, _ in kinds})]
    parts += ["## Kinds of mistakes", tabulate(by_kind, ("kind", *map(str, Outcome)), tablefmt="github")]
    errors = [
        (escape(s.op), escape(s.parameter), escape(s.case), s.index, "none" if s.k is None else f"1e-{s.k}")
        for s in sorted(measured.smallest, key=lambda s: (s.k or 0, s.op))
    ]
    headers = ("op", "parameter", "case", "entry", "smallest error noticed")
    parts += ["## Smallest errors", tabulate(errors, headers, tablefmt="github", disable_numparse=True)]
    return "\n\n".join(parts) + "\n"


def _fenced(what: str, language: str = "") -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in what.replace("\n", " ").split() if set(run) == {"`"}), default=0))
    return f"{fence}{language}\n{what}\n{fence}"


def as_dict(measured: Measured, env: Mapping[str, Any]) -> dict[str, Any]:
    """The whole measurement for `document.to_json`; the mutants of each function are rows with the columns `COLUMNS`."""
    functions: dict[str, list[list[Any]]] = {}
    for fate in sorted(measured.fates, key=lambda fate: (fate.mutant.function, fate.mutant.edit.start)):
        functions.setdefault(fate.mutant.function, []).append([cell(fate) for cell in COLUMNS.values()])
    return {
        "environment": dict(env),
        "totals": {str(outcome): sum(fate.outcome is outcome for fate in measured.fates) for outcome in Outcome},
        "columns": list(COLUMNS),
        "mutants": functions,
        "diffs": [fate.mutant.diff for fate in _of(measured, Outcome.SURVIVED) + _of(measured, Outcome.TIMED_OUT)],
        "smallest": [
            {
                "op": s.op,
                "parameter": s.parameter,
                "case": s.case,
                "index": s.index,
                "error": None if s.k is None else 10.0**-s.k,
            }
            for s in measured.smallest
        ],
        "alarms": {"uses": measured.alarms.uses, "false": measured.alarms.false},
        "lost": measured.lost,
    }


COLUMNS: dict[str, Callable[[Fate], Any]] = {
    "line": lambda fate: fate.mutant.place[0],
    "was": lambda fate: fate.mutant.place[1],
    "becomes": lambda fate: fate.mutant.edit.text,
    "kind": lambda fate: fate.mutant.edit.kind,
    "outcome": lambda fate: str(fate.outcome),
    "op": lambda fate: fate.op,
    "case": lambda fate: fate.case,
    "verdict": lambda fate: fate.verdict,
    "said": lambda fate: fate.said.partition(":")[0] if fate.outcome is Outcome.KILLED else fate.said,  # the cause alone
    "moved": lambda fate: float(f"{fate.moved:.1e}"),
}
