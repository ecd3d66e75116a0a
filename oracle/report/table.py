"""Rows in a terminal: failures first, each with what is wrong and how to see it again; then the table; then the totals."""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence

from tabulate import tabulate

from oracle.row import Parting, Row, Verdict, worst_first
from oracle.text import count, digits, plain

__all__ = ["failure", "render", "totals", "wrong_places"]

HEADERS = ("op", "case", "parameter", "differences", "+-", "JAX", "used", "verdict")
INDENT = "      "
MANY = 60  # rows beyond which the terminal shows one line for each op


def render(rows: Sequence[Row], *, reproduce: Callable[[Row], str] | None = None, width: int | None = None) -> str:
    """The whole report. `reproduce` gives the command that shows a row again."""
    width = width or shutil.get_terminal_size((100, 24)).columns
    ordered = worst_first(rows)
    parts = [failure(row, reproduce, width) for row in ordered if not row.passed]
    if rows:
        parts.append(_table(ordered, width) if len(rows) <= MANY else _summary(ordered, width))
    parts.append(totals(rows))
    return "\n\n".join(parts)


def failure(row: Row, reproduce: Callable[[Row], str] | None = None, width: int = 100) -> str:
    """One failing row: what, where, the three numbers, the cause, the command."""
    lines = [f"{row.verdict}  {plain(row.label)}" + (f"  {row.dtype} {_shape(row.shape)}" if row.parameter else "")]
    if row.analytic is not None:
        lines.append(plain(wrong_places(row)))
    lines.append(plain(row.diagnosis, keep="\n"))
    wrapped = [_fill(line, width, "" if i == 0 else INDENT) for i, line in enumerate(lines) if line]
    if reproduce is not None:
        wrapped.append(f"{INDENT}reproduce: {reproduce(row)}")  # never broken: it is there to be copied
    return "\n".join(wrapped)


def _fill(text: str, width: int, indent: str) -> str:
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False
    )


def wrong_places(row: Row) -> str:
    """The three numbers at the worst element."""
    text = f"at {row.parameter}{_index(row.worst_index)}: hand-written {row.analytic:.15g}"
    if row.numerical is not None:
        text += f", differences {row.numerical:.15g}"
        if row.numerical_uncertainty is not None:
            text += f" (+- {digits(row.numerical_uncertainty)} of the largest entry)"
    if row.autodiff is not None:
        text += f", JAX {row.autodiff:.15g}"
    return f"{text}; dy is random"


def totals(rows: Sequence[Row]) -> str:
    """One line: how many of each verdict."""
    if not rows:
        return "nothing was checked"
    counts = Counter(row.verdict for row in rows)
    parts = ", ".join(f"{counts[v]} {v}" for v in Verdict if counts[v])
    ops, cases = len({row.op for row in rows}), len({(row.op, row.case, row.dtype) for row in rows})
    peak = max((row.peak_memory or 0 for row in rows), default=0)
    memory = f"; at most {peak / 2**30:.1f} GiB of memory" if peak else ""
    return f"{count(len(rows), 'gradient')} of {count(ops, 'op')} in {count(cases, 'case')}: {parts}{memory}"


def trainings(rows: Sequence[Row]) -> list[tuple[Row, Parting]]:
    """A row for each whole training among them, and how far it is from the reference's."""
    found: dict[tuple[str, str], tuple[Row, Parting]] = {}
    for row in rows:
        if row.exhibit and row.exhibit.parting:
            found.setdefault((row.op, row.case), (row, row.exhibit.parting))
    return sorted(found.values(), key=lambda pair: pair[0].op)


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
    return _fitted(lines, headers, width, text=3 if wide else 2)


def _summary(rows: Sequence[Row], width: int) -> str:
    """One line an op: its worst numbers. The written report has all of its rows."""
    lines = []
    for op in dict.fromkeys(row.op for row in rows):
        mine = [row for row in rows if row.op == op]
        errors = [
            digits(max((e for row in mine if (e := getattr(row, name)) is not None), default=None))
            for name in ("numerical_error", "autodiff_error")
        ]
        verdicts = Counter(str(row.verdict) for row in mine)
        lines.append(
            [plain(op), str(len(mine)), *errors, ", ".join(f"{verdicts[v]} {v}" for v in map(str, Verdict) if verdicts[v])]
        )
    return _fitted(lines, ("op", "gradients", "differences", "JAX", "verdicts"), width, text=1)


def _fitted(lines: Sequence[Sequence[str]], headers: Sequence[str], width: int, *, text: int) -> str:
    """A table no wider than `width`: the first `text` columns share what the others leave, and are clipped to it."""
    columns = list(zip((f"{h}  " for h in headers), *lines, strict=True))  # as tabulate pads its headers
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
