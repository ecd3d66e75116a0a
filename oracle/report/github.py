"""What GitHub shows of a run: an annotation at each wrong pullback, and a summary on the page of the workflow.

An annotation is a line of output that begins with `::error`. The summary is appended to the file that the variable
`GITHUB_STEP_SUMMARY` names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tabulate import tabulate

from oracle.report.causes import UNKNOWN, Group, grouped
from oracle.report.markdown import escape, failure
from oracle.report.places import Place
from oracle.report.table import MANY_OPS, SUMMARY, summarized, totals, wrong_places
from oracle.row import Row, Verdict, worst_first
from oracle.text import count, plain

__all__ = ["error_lines", "on_github", "summary", "write_summary"]

SHOWN = 10  # error annotations of one step; GitHub drops more without a word
TITLE, MESSAGE = 255, 60_000  # characters; GitHub refuses longer titles, and messages above 64 KiB
SUMMARY_BYTES = 1_000_000  # of one step; GitHub drops a summary above 1 MiB as a whole
CLOSING = 300  # bytes kept for the lines that say how much a summary leaves out


def on_github() -> bool:
    """Whether this process runs in a workflow of GitHub, which sets this variable."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


# ------------------------------------------------------------------------------------------------- annotations


def error_lines(
    rows: Sequence[Row], place: Callable[[Row], Place | None], reproduce: Callable[[Row], str], shown: int = SHOWN
) -> list[str]:
    """A line for each op and cause among the rows that do not pass, worst first; the last of `shown` sums up the rest."""
    groups = _by_op([row for row in worst_first(rows) if not row.passed])
    kept = groups if len(groups) <= shown else groups[: shown - 1]
    lines = [_annotation(group, place(group.first), reproduce) for group in kept]
    if rest := groups[len(kept) :]:
        wrong = sum(len(group.rows) for group in rest)
        ops = ", ".join(dict.fromkeys(group.first.op for group in rest))
        lines.append(_command(None, f"{wrong} more do not pass", f"GitHub shows {shown} errors of a step. The others: {ops}"))
    return lines


def _by_op(failures: Sequence[Row]) -> list[Group]:
    """As `grouped`, but failures of one op without a known cause are one group, since they share the line they point to."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for number, group in enumerate(grouped(failures)):
        row = group.first
        known = row.diagnosis and not row.diagnosis.startswith(UNKNOWN)
        groups.setdefault((number,) if known else (row.family, row.op, row.verdict), []).extend(group.rows)
    return [Group(tuple(rows)) for rows in groups.values()]


def _annotation(group: Group, place: Place | None, reproduce: Callable[[Row], str]) -> str:
    row, several = group.first, len(group.rows)
    lines = [group.cause]
    if row.analytic is not None and row.verdict is not Verdict.VACUOUS:
        lines.append(wrong_places(row))
    if several > 1:
        lines.append(f"{several} rows, the first of them {row.label}")
    lines.append(f"reproduce: {reproduce(row)}")
    return _command(place, f"{row.verdict} {group.label}", "\n".join(line for line in lines if line))


def _command(place: Place | None, title: str, message: str) -> str:
    """One `::error` line. A file outside the repository stands in the message, because GitHub cannot show it."""
    where = {}
    if place is not None:
        root = _root()
        name = place.below(root)
        if not Path(name).is_absolute():
            where = {"file": name, "line": str(place.line)}
        else:
            message += f"\nwritten in {place.file}:{place.line}"
    properties = {**where, "title": plain(title)[:TITLE]}
    written = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::error {written}::{_data(plain(message, keep=chr(10))[:MESSAGE])}"


def _root() -> Path:
    """The folder that GitHub's paths start from: that of the repository if the command runs inside it."""
    here = Path.cwd()
    workspace = os.environ.get("GITHUB_WORKSPACE")
    return Path(workspace) if workspace and here.is_relative_to(Path(workspace).resolve()) else here


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


# ------------------------------------------------------------------------------------------------- the summary


def write_summary(rows: Sequence[Row], reproduce: Callable[[Row], str], unfinished: str = "") -> None:
    """Append the summary to the file that GitHub names, if it names one. If that cannot be written, a warning says so."""
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return
    try:
        path = Path(name)
        room = SUMMARY_BYTES - (path.stat().st_size if path.exists() else 0)  # an earlier command may have written to it
        with path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(summary(rows, reproduce, unfinished, room))
    except OSError as error:
        print(f"oracle: cannot write the summary to {plain(name)}: {error.strerror or error}", file=sys.stderr)


def summary(rows: Sequence[Row], reproduce: Callable[[Row], str], unfinished: str = "", room: int = SUMMARY_BYTES) -> str:
    """The result, the failures, and a folded table of what passes, as markdown of at most `room` bytes.

    `unfinished` says how far a run came that was interrupted.
    """
    ordered = worst_first(rows)
    groups, passes = grouped([row for row in ordered if not row.passed]), [row for row in ordered if row.passed]
    result = "unfinished" if unfinished else "not all are right" if groups else "all right"
    parts = [f"## Gradients: {result}", f"{totals(rows)}.", *([f"**{unfinished}.**"] if unfinished else [])]
    wanted = [*(failure(group, reproduce) for group in groups), *([_folded(passes)] if passes else [])]
    left = room - CLOSING - _size(parts)
    dropped = 0
    for part in wanted:
        if _size([part]) <= left:
            parts.append(part)
            left -= _size([part])
        else:
            dropped += 1
    if dropped:
        parts.append(f"{count(dropped, 'part')} left out: GitHub shows at most 1 MiB. The log of this step has all failures.")
    return "\n\n".join(parts) + "\n\n" if left >= 0 else ""


def _size(parts: Sequence[str]) -> int:
    return sum(len(part.encode("utf-8", "backslashreplace")) + 2 for part in parts)


def _folded(passes: Sequence[Row]) -> str:
    """A table that opens by a click: a line for each op, or for each family if there are many."""
    ops = {row.op: row.op for row in passes}
    names, what = (ops, "op") if len(ops) <= MANY_OPS else ({row.op: row.family for row in passes}, "family")
    lines = [[escape(line[0]), *line[1:]] for line in summarized(passes, names)]
    table = tabulate(lines, (what, *SUMMARY), tablefmt="github", disable_numparse=True)
    return f"<details><summary>{count(len(passes), 'row passes', 'rows pass')}</summary>\n\n{table}\n\n</details>"
