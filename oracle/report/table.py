"""Rows in a terminal: failures first, each with what is wrong and how to see it again; then the table; then the totals."""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence

from tabulate import tabulate

from oracle.row import Row, Verdict, worst_first

__all__ = ["digits", "failure", "render", "totals", "wrong_places"]

HEADERS = ("op", "case", "parameter", "differences", "+-", "JAX", "used", "verdict")
NARROW = (0, 2, 3, 5, 7)  # the columns that fit into 80 characters; a case joins its op


def render(
    rows: Sequence[Row], *, reproduce: Callable[[Row], str] | None = None, width: int | None = None, table: bool = True
) -> str:
    """The whole report. `reproduce` gives the command that shows a row again."""
    width = width or shutil.get_terminal_size((100, 24)).columns
    ordered = worst_first(rows)
    parts = [failure(row, reproduce, width) for row in ordered if not row.passed]
    if table and rows:
        parts.append(_table(ordered, width))
    parts.append(totals(rows))
    return "\n\n".join(parts)


def failure(row: Row, reproduce: Callable[[Row], str] | None = None, width: int = 100) -> str:
    """One failing row: what, where, the three numbers, the cause, the command."""
    lines = [f"{row.verdict}  {row.label}" + (f"  {row.dtype} {_shape(row.shape)}" if row.parameter else "")]
    if row.analytic is not None:
        lines.append(wrong_places(row))
    lines.append(row.diagnosis)
    if reproduce is not None:
        lines.append(f"reproduce: {reproduce(row)}")
    wrapped = [
        textwrap.fill(
            line,
            width,
            initial_indent="" if i == 0 else "      ",
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for i, line in enumerate(lines)
        if line
    ]
    return "\n".join(wrapped)


def wrong_places(row: Row) -> str:
    """The three numbers at the worst element."""
    text = f"at {row.parameter}{_index(row.worst_index)}: hand-written {row.analytic:.15g}"
    if row.numerical is not None:
        text += f", differences {row.numerical:.15g}"
        if row.numerical_uncertainty is not None:
            text += f" (+- {digits(row.numerical_uncertainty)} of the largest entry)"
    if row.autodiff is not None:
        text += f", JAX {row.autodiff:.15g}"
    return text


def totals(rows: Sequence[Row]) -> str:
    """One line: how many of each verdict."""
    if not rows:
        return "nothing was checked"
    counts = Counter(row.verdict for row in rows)
    parts = ", ".join(f"{counts[v]} {v}" for v in Verdict if counts[v])
    cases = len({(row.op, row.case, row.dtype) for row in rows})
    return f"{len(rows)} gradients of {len({row.op for row in rows})} ops in {cases} cases: {parts}"


def digits(value: float | None) -> str:
    """An error in two digits; `-` where there is none."""
    return "-" if value is None else "0" if value == 0 else f"{value:.1e}"


def _table(rows: Sequence[Row], width: int) -> str:
    wide = width >= 110
    lines = []
    for row in rows:
        cells = (
            row.op,
            row.case,
            row.parameter or "(the op)",
            digits(row.numerical_error),
            digits(row.numerical_uncertainty),
            digits(row.autodiff_error),
            "-" if row.used is None else f"{row.used:.2f}" if row.used < 1000 else f"{row.used:.0e}",
            str(row.verdict),
        )
        lines.append(cells if wide else tuple(cells[i] for i in NARROW))
    headers = HEADERS if wide else tuple(HEADERS[i] for i in NARROW)
    numbers = 12 + 9 + 14 + (10 + 9 if wide else 0)
    text = max(width - numbers - 2 * len(headers), 30)
    shares = (0.3, 0.4, 0.3) if wide else (0.55, 0.45)
    clipped = [tuple(_clip(c, int(text * shares[i])) if i < len(shares) else c for i, c in enumerate(line)) for line in lines]
    align = ["left"] * len(shares) + ["right"] * (len(headers) - len(shares) - 1) + ["left"]
    return tabulate(clipped, headers, tablefmt="simple", colalign=align, disable_numparse=True)


def _clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def _shape(shape: tuple[int, ...]) -> str:
    return "scalar" if shape == () else "x".join(map(str, shape))


def _index(index: tuple[int, ...] | None) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""
