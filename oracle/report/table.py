"""Rows in a terminal: first each failure, with its cause and the command that repeats it; then a table; then the totals."""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from tabulate import tabulate

from oracle.report.causes import Group, grouped
from oracle.row import VALUES, Parting, Row, Verdict, worst_first
from oracle.text import count, digits, plain

__all__ = [
    "MANY_OPS",
    "SUMMARY",
    "counted",
    "failure",
    "fitted",
    "gradients",
    "notes",
    "render",
    "summarized",
    "totals",
    "trainings",
    "wrong_places",
]

HEADERS = ("op", "case", "parameter", "differences", "+-", "JAX", "used", "verdict")
SUMMARY = ("gradients", "differences", "JAX", "verdicts")
INDENT = "      "

# The table of passing gradients must not push the failures above it off the screen.
MANY = 60  # rows of one op; with more, the table has one line for the op
FEW = 20  # rows of several ops; with more, it has one line for each op
MANY_OPS = 60  # ops; with more, it has one line for each family, and for each op that does not pass


def render(
    rows: Sequence[Row],
    *,
    reproduce: Callable[[Row], str] | None = None,
    width: int | None = None,
    quiet: bool = False,
) -> str:
    """The whole report. `reproduce` gives the command that repeats a row. A `quiet` report has only failures and totals."""
    width = width or shutil.get_terminal_size((100, 24)).columns
    ordered = worst_first(rows)
    parts = [failure(group, reproduce, width) for group in grouped([row for row in ordered if not row.passed])]
    return "\n\n".join([*parts, totals(rows) if quiet else summary(ordered, width)])


def summary(rows: Sequence[Row], width: int = 100) -> str:
    """The table of all rows, what is to be known about them, and the totals."""
    parts = []
    if rows:
        parts.append(_overview(rows, width))
        parts += [_fill(f"{plain(row.label)}: {plain(row.diagnosis)}", width, "") for row in accepted(rows)]
        parts += [_fill(f"note: {plain(op)}: {plain(note)}", width, "") for op, note in notes(rows)]
    return "\n\n".join([*parts, totals(rows)])


def failure(group: Group, reproduce: Callable[[Row], str] | None = None, width: int = 100) -> str:
    """Rows that fail for one cause: their op, the cause once, and of each row the values at its place and the command."""
    row, several = group.first, len(group.rows) > 1
    lines = [f"{row.verdict}  {plain(group.label)}" + ("" if several or not row.parameter else f"  {_kind(row)}")]
    if several:
        lines.append(plain(group.cause, keep="\n"))
    wrapped = [_fill(line, width, "" if i == 0 else INDENT) for i, line in enumerate(lines) if line]
    commands = [] if reproduce is None else [f"reproduce: {reproduce(one)}" for one in group.rows]
    for one, command in zip(group.rows, commands or [""] * len(group.rows), strict=True):
        wrapped += [_fill(line, width, INDENT) for line in _about(one, group, several=several) if line]
        if command and (not several or len(set(commands)) > 1):
            wrapped.append(f"{INDENT}{command}")  # on one line, so that it can be copied
    if several and len(set(commands)) == 1:
        wrapped.append(f"{INDENT}{commands[0]}")
    return "\n".join(wrapped)


def _about(row: Row, group: Group, *, several: bool) -> list[str]:
    """The lines about one row of a group; the cause only if it is the only one."""
    values = plain(wrong_places(row)) if row.analytic is not None and row.verdict is not Verdict.VACUOUS else ""
    size = f"how large: {row.size}" if row.size else ""
    if not several:
        return [values, plain(row.diagnosis, keep="\n"), size]
    return [f"- {'; '.join(part for part in (f'{plain(group.place(row))}  {_kind(row)}', values, size) if part)}"]


def _kind(row: Row) -> str:
    return f"{row.dtype} {_shape(row.shape)}"


def _fill(text: str, width: int, indent: str) -> str:
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False
    )


def wrong_places(row: Row) -> str:
    """The value at the worst entry: as the backward pass, the finite differences and the reference compute it.

    Of a slot of an optimizer it is that of a step, and no upstream gradient belongs to it.
    """
    step = getattr(row, "at_step", None)
    ours, theirs = ("hand-written", "JAX") if step is None else ("yours", "the reference's")
    text = "" if step is None else f"after step {step} "
    text += f"at {row.parameter}{_index(row.worst_index)}{row.part and f'.{row.part}'}: {ours} {row.analytic:.15g}"
    if row.numerical is not None:
        text += f", differences {row.numerical:.15g}"
        if row.numerical_uncertainty is not None:
            text += f" (+- {digits(row.numerical_uncertainty)} of the largest entry)"
    if row.autodiff is not None:
        text += f", {theirs} {row.autodiff:.15g}"
    return f"{text}; dy is random" if step is None else text


def accepted(rows: Sequence[Row]) -> list[Row]:
    """The rows that pass although they are wrong."""
    return [row for row in rows if row.verdict is Verdict.ACCEPTED]


def notes(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """What is to be known about ops and their references, once for each op."""
    return list(dict.fromkeys((row.op, row.note) for row in rows if row.note))


def totals(rows: Sequence[Row]) -> str:
    """One line: how many gradients got each verdict, and how often the contract is broken."""
    if not rows:
        return "nothing was checked"
    judged = gradients(rows)
    ops, cases = len({row.op for row in rows}), len({(row.op, row.case, row.dtype) for row in rows})
    text = f"{count(len(judged), 'gradient')} of {count(ops, 'op')} in {count(cases, 'case')}"
    if judged:
        text += f": {counted(judged)}"
    if others := sum(row.evidence == VALUES for row in rows):
        text += f"; {count(others, 'value')} not compared, or not equal to the reference's"
    if breaches := len(rows) - len(judged) - others:
        text += f"; {count(breaches, 'breach', 'breaches')} of the contract"
    peak = max((row.peak_memory or 0 for row in rows), default=0)
    return f"{text}; at most {peak / 2**30:.1f} GiB of memory" if peak else text


def gradients(rows: Sequence[Row]) -> list[Row]:
    """The rows without those about the contract and the values: a broken promise is no gradient."""
    return [row for row in rows if not row.evidence.startswith(("contract", VALUES))]


def counted(rows: Sequence[Row]) -> str:
    """How many rows got each verdict, such as `2 PASS, 1 FAIL`."""
    counts = Counter(row.verdict for row in rows)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])


def trainings(rows: Sequence[Row]) -> list[tuple[Row, Parting]]:
    """One row for each whole training, with its distance from the reference after each step."""
    found: dict[tuple[str, str], tuple[Row, Parting]] = {}
    for row in rows:
        if row.details and row.details.parting:
            found.setdefault((row.op, row.case), (row, row.details.parting))
    return sorted(found.values(), key=lambda pair: pair[0].op)


# ------------------------------------------------------------------------------------------------- tables


def _overview(rows: Sequence[Row], width: int) -> str:
    """A table with a line for each row, each op or each family, so that it stays readable."""
    ops = {row.op: row.op for row in rows}
    if len(rows) <= (MANY if len(ops) == 1 else FEW):
        return _table(rows, width)
    if len(ops) <= MANY_OPS:
        return _summary(rows, ops, "op", width)
    failing = {row.op for row in rows if not row.passed}
    names = {row.op: row.op if row.op in failing else row.family for row in rows}
    return _summary(rows, names, "family, or op that fails" if failing else "family", width)


def _used(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < 1000 else f"{value:.0e}"


def _table(rows: Sequence[Row], width: int) -> str:
    wide = width >= 110
    dtypes = {row.dtype for row in rows}
    lines = []
    for row in rows:
        errors = [digits(row.numerical_error), digits(row.numerical_uncertainty), digits(row.autodiff_error), _used(row.used)]
        parameter = row.parameter or "(the op)"
        case = row.case if len(dtypes) == 1 else f"{row.case} ({row.dtype})"
        where = [row.op, case, parameter] if wide else [f"{row.op} / {case}".removesuffix(" / "), parameter]
        lines.append([*map(plain, where), *(errors if wide else errors[::2]), str(row.verdict)])
    headers = HEADERS if wide else ("op / case", "parameter", "differences", "JAX", "verdict")
    return fitted(lines, headers, width, text=3 if wide else 2)


def _summary(rows: Sequence[Row], names: Mapping[str, str], what: str, width: int) -> str:
    """One line for each name that `names` gives to an op: its largest errors. The written report has every row."""
    lines = [[plain(line[0]), *line[1:]] for line in summarized(rows, names)]
    return fitted(lines, (what, *SUMMARY), width, text=1)


def summarized(rows: Sequence[Row], names: Mapping[str, str]) -> list[list[str]]:
    """For each name that `names` gives to an op: the name, and the columns `SUMMARY`."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(names[row.op], []).append(row)
    lines = []
    for name, mine in groups.items():
        errors = [
            digits(max((e for row in mine if (e := getattr(row, field)) is not None), default=None))
            for field in ("numerical_error", "autodiff_error")
        ]
        lines.append([name, str(len(gradients(mine))), *errors, counted(mine)])
    return lines


def fitted(lines: Sequence[Sequence[str]], headers: Sequence[str], width: int, *, text: int) -> str:
    """A table no wider than `width`: the first `text` columns are clipped to what the others leave."""
    columns = list(zip((f"{h}  " for h in headers), *lines, strict=True))  # tabulate adds two blanks to a header
    taken = sum(max(map(len, column)) for column in columns[text:]) + 2 * (len(headers) - 1)
    wanted = [max(map(len, column)) for column in columns[:text]]
    room = max(width - taken, 8 * text)
    while sum(wanted) > room:
        wanted[wanted.index(max(wanted))] -= 1
    clipped = [[_clip(c, wanted[i]) if i < text else c for i, c in enumerate(line)] for line in lines]
    align = ["left"] * text + ["right"] * (len(headers) - text - 1) + ["left"]
    return tabulate(clipped, headers, tablefmt="simple", colalign=align, disable_numparse=True)


def _clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def _shape(shape: tuple[int, ...]) -> str:
    return "scalar" if shape == () else "x".join(map(str, shape))


def _index(index: tuple[int, ...] | None) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""
