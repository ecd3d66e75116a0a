"""Failures of one op that have one cause: the cause is reported once, then the rows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from oracle.row import Row, Verdict
from oracle.text import listed

__all__ = ["Group", "between", "grouped", "with_hint"]

UNKNOWN = "no known cause"
"""How a diagnosis begins that names no cause. Rows without one are never taken for one mistake."""
FACTOR = "constant factor: "
"""How a diagnosis begins that names one factor for the whole gradient."""
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
    """The failures in their order, those of one op with the verdict and the cause of an earlier one beside it.

    Other failures of that op with the same verdict come next, so that the rows of an op stand together. A gradient of one entry
    shows no cause by itself. It belongs to a constant factor of its parameter in another case if it is wrong by that factor.
    """
    ops: dict[tuple[str, str, Verdict], dict[object, list[Row]]] = {}
    for number, row in enumerate(failures):
        of_op = ops.setdefault((row.family, row.op, row.verdict), {})
        of_op.setdefault(_kind(row) or number, []).append(row)
    for of_op in ops.values():
        for key, rows in [*of_op.items()]:
            if (like := _same_factor(rows[0], of_op)) is not None:
                of_op[like] += of_op.pop(key)
    return [Group(tuple(rows)) for of_op in ops.values() for rows in of_op.values()]


def _same_factor(row: Row, of_op: Mapping[object, Sequence[Row]]) -> object | None:
    """The group whose constant factor is that of a gradient of one entry without a known cause."""
    if math.prod(row.shape) != 1 or not row.diagnosis.startswith(UNKNOWN):
        return None
    for key, (first, *_) in of_op.items():
        if first.parameter == row.parameter and first.diagnosis.startswith(FACTOR) and first.dtype == row.dtype:
            factor, ours = first.fitted_scale, row.fitted_scale
            if factor is not None and ours is not None and f"{factor:.{DIGITS}g}" == f"{ours:.{DIGITS}g}":
                return key
    return None


def with_hint(rows: Sequence[Row]) -> list[Row]:
    """The rows, with what they show together as a note."""
    hint = between(rows)
    return [replace(row, note="; ".join(note for note in (row.note, hint) if note)) for row in rows]


def between(rows: Sequence[Row]) -> str:
    """Where to look if the parameters of a net with numbered layers are right from some layer on, and wrong before it.

    The backward pass goes from the last layer to the first, so that one mistake makes all gradients wrong that come after it.
    Empty unless the rows show that.
    """
    layers: dict[int, list[Row]] = {}
    kinds = set()
    for row in rows:
        kind, number = _layer(row.parameter) if row.parameter.startswith("params.") else ("", None)
        if number is not None:
            kinds.add(kind)
            layers.setdefault(number, []).append(row)
    if len(kinds) != 1:  # numbers of two lists say nothing about the order
        return ""
    judged = [(number, layers[number]) for number in sorted(layers)]
    failed = [any(row.verdict is Verdict.FAIL for row in mine) for _, mine in judged]
    wrong = [row for _, mine in judged for row in mine if row.verdict is Verdict.FAIL]
    if not wrong or all(failed) or failed != sorted(failed, reverse=True):
        return ""
    first_right = judged[failed.index(False)][1]
    nearest = judged[failed.index(False) - 1][1]
    if len(wrong) < 2 or not all(row.passed for _, mine in judged[failed.index(False) :] for row in mine):
        return ""
    if not all(row.verdict is Verdict.FAIL for row in nearest):  # that layer itself has a gradient that is right
        return ""
    right, bad = (_said([row.parameter for row in some], what) for some, what in ((first_right, "right"), (nearest, "wrong")))
    return f"{right}, {bad}: look between them, where the backward pass goes from one to the other"


def _said(names: Sequence[str], what: str) -> str:
    return f"{listed(sorted(names))} {'is' if len(names) == 1 else 'are'} {what}"


def _layer(parameter: str) -> tuple[str, int | None]:
    """The number of the layer to which a parameter belongs by its name, and its list: 1 of `W1`, 0 of `layers.0.W`."""
    *places, name = parameter.split(".")
    for i, place in enumerate(places):
        if place.isdecimal():
            return ".".join(places[:i]), int(place)
    found = re.search(r"[^\d](\d+)\Z", name)  # a place in a list of parameters says nothing about layers
    return "", None if found is None else int(found[1])


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
