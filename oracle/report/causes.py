"""Failures of one op that have one cause: the cause is reported once, then the rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from oracle.row import Row

__all__ = ["Group", "grouped"]

UNKNOWN = "no known cause"
"""How a diagnosis begins that names no cause. Rows without one are never taken for one mistake."""
DIGITS = 3
"""The significant digits to which the numbers of two diagnoses must agree. With 6, the factors that are fitted to two gradients
of one mistake differ; with 1, a factor of 1.1 and one of 1.14 would count as the same."""
NAMED = 4
"""Parameters that a headline names; with more, it would not fit on a line."""
NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?", re.IGNORECASE)
PLACE = re.compile(r"\[[-\d, :]*\]")


class Group(NamedTuple):
    """Rows that fail for one cause, worst first."""

    rows: tuple[Row, ...]

    @property
    def first(self) -> Row:
        return self.rows[0]

    @property
    def label(self) -> str:
        """The op, and its case if that is the same for all; for a single row its whole name."""
        if len(self.rows) == 1:
            return self.first.label
        cases = {row.case for row in self.rows}
        return " / ".join(part for part in (self.first.op, self.first.case if len(cases) == 1 else "") if part)

    @property
    def cause(self) -> str:
        """The diagnosis; of several rows, that of the first with the names of all parameters."""
        name, names = _named_first(self.first), list(dict.fromkeys(row.parameter for row in self.rows))
        if not name or len(names) == 1:
            return self.first.diagnosis
        listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        alone = rf"(?<![\w.\[]){re.escape(name)}(?![\w.\[])"
        return re.sub(alone, lambda _: f"each of {listed}", self.first.diagnosis, count=1)

    def place(self, row: Row) -> str:
        """What tells this row apart from the others of the group."""
        cases = {other.case for other in self.rows}
        parts = [row.case if len(cases) > 1 else "", row.parameter or "(the op)"]
        return " / ".join(part for part in parts if part)


def grouped(failures: Sequence[Row]) -> list[Group]:
    """The failures in their order, those of one op with the verdict and the cause of an earlier one beside it."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for number, row in enumerate(failures):
        kind = _kind(row)
        key = (row.family, row.op, row.verdict, kind) if kind else (number,)
        groups.setdefault(key, []).append(row)
    return [Group(tuple(rows)) for rows in groups.values()]


def _kind(row: Row) -> str:
    """The diagnosis without what differs between the parameters of one mistake; empty if it names no cause."""
    if not row.diagnosis or row.diagnosis.startswith(UNKNOWN):
        return ""
    text = row.diagnosis
    if name := _named_first(row):
        # Later mentions stay: "not divided by the dimension 1 of w" is said of every parameter.
        text = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", "<parameter>", text, count=1)
    text = PLACE.sub("[]", text)
    return NUMBER.sub(lambda found: f"{float(found[0]):.{DIGITS}g}", text)


def _named_first(row: Row) -> str:
    """The parameter that the diagnosis is about. That of an optimizer names one slot in every row: the first that differs."""
    return "" if hasattr(row, "at_step") else row.parameter
