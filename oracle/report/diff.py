"""Two reports compared row by row: what became worse, what was mended, what appeared or vanished, which errors grew."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from oracle.measures import EPSILON
from oracle.report.document import SCHEMA, row_of
from oracle.report.table import counted, fitted
from oracle.row import VALUES, Row, Verdict
from oracle.settings import GROWTH
from oracle.text import count, digits, plain

__all__ = ["Change", "Difference", "compare", "rows_of"]

LINES = 40  # of each kind in the table; a report of another selection of ops has thousands of rows that the other lacks
KINDS = ("worse", "grown", "changed", "appeared", "vanished", "mended")
"""All kinds of change, in the order in which they are shown. `changed`: wrong in both reports, with another verdict."""
HEADERS = ("change", "op / case", "parameter", "was", "is")
ORDER = (Verdict.ERROR, Verdict.FAIL, Verdict.VACUOUS, Verdict.INCONCLUSIVE, Verdict.ACCEPTED)
"""The verdicts from the worst on. PASS and KINK, which both say that the gradient is right, come after them."""
FIELDS = {one.name for one in fields(Row)}
NUMBERS = ("forward_error", "numerical_error", "numerical_uncertainty", "autodiff_error", "order")
Case = tuple[str, str, str, str]


@dataclass(frozen=True)
class Change:
    """A row that is not the same in both reports, or is in one of them only."""

    kind: str
    row: Row
    """That of the new report if it is there, else that of the old one."""
    was: str
    now: str
    weight: float = 0.0
    """Of changes of one kind, those with more weight are shown first."""


@dataclass(frozen=True)
class Difference:
    """All changes between two reports, worst first."""

    changes: tuple[Change, ...]
    same: int
    """Rows of both that did not change."""
    factor: float
    notes: tuple[str, ...]
    """What is to be known about the two reports, such as that one is unfinished."""

    def of(self, kind: str) -> list[Change]:
        """The changes of one of `KINDS`."""
        return [change for change in self.changes if change.kind == kind]

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        kinds = {kind: [_as_dict(change) for change in self.of(kind)] for kind in KINDS}
        return {"schema": 1, "factor": self.factor, "notes": list(self.notes), **kinds, "same": self.same}

    def text(self, width: int) -> str:
        """A table, the causes of what became worse, notes, and a line of totals."""
        parts = [fitted(list(self._lines()), HEADERS, width, text=3)] if self.changes else []
        told = [f"{one.now}  {plain(one.row.label)}: {plain(one.row.diagnosis)}" for one in self.of("worse")[:LINES]]
        told += [f"note: {plain(note)}" for note in self.notes]
        numbers = ", ".join(f"{len(self.of(kind))} {kind}" for kind in KINDS if kind != "grown")
        grown = f"{count(len(self.of('grown')), 'error')} grew more than {self.factor:g} times"
        told.append(f"{numbers}; {grown}; {count(self.same, 'row')} as before")
        return "\n\n".join([*parts, *(textwrap.fill(line, width, subsequent_indent="      ") for line in told)])

    def _lines(self) -> Iterator[list[str]]:
        """A line for each change; for rows that only one report has, one for each op."""
        for kind in KINDS:
            lines = list(_by_op(self.of(kind)) if kind in ("appeared", "vanished") else map(_line, self.of(kind)))
            yield from lines[:LINES]
            if len(lines) > LINES:
                yield [kind, f"and {len(lines) - LINES} more", "", "", ""]


def rows_of(report: Any) -> list[Row]:
    """The rows of a JSON report. Fields that a newer version has added are left out.

    Raises:
        ValueError: for anything but a report of this schema; the message says what is wrong with it.

    """
    if not isinstance(report, Mapping) or "schema" not in report or not isinstance(report.get("rows"), list):
        raise ValueError("is no report of oracle")
    if report["schema"] != SCHEMA:
        raise ValueError(f"has schema {report['schema']!r}; this version of oracle compares reports of schema {SCHEMA}")
    rows = []
    for number, values in enumerate(report["rows"]):
        try:
            row = row_of({name: value for name, value in values.items() if name in FIELDS})
            if not all(getattr(row, name) is None or isinstance(getattr(row, name), int | float) for name in NUMBERS):
                raise TypeError(f"{', '.join(NUMBERS)} must be numbers")
            rows.append(row)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"has no valid row {number}: {error}") from None
    return rows


def compare(old: Any, new: Any, factor: float = GROWTH) -> Difference:
    """The difference of two JSON reports.

    Rows about the contract, the values and exceptions are there only if something is wrong. So a row that does not pass and was
    not there before is worse, and one that is gone is mended if its case is still there.
    """
    before, after = rows_of(old), rows_of(new)
    several = _shared_names(before) | _shared_names(after)
    found = list(_changes(_Rows.of(before, several), _Rows.of(after, several), factor))
    changes = sorted((change for change in found if change is not None), key=_place)
    return Difference(tuple(changes), len(found) - len(changes), factor, tuple(_notes(old, new)))


# ------------------------------------------------------------------------------------------------- what is compared


class _Rows(NamedTuple):
    """The rows of a report by their names."""

    rows: dict[tuple[Any, ...], Row]
    cases: set[Case]
    errors: dict[Case, Row]
    """The ERROR rows that stand for all rows of their case."""

    @classmethod
    def of(cls, rows: Sequence[Row], several: set[str]) -> _Rows:
        named: dict[tuple[Any, ...], Row] = {}
        known: Counter[tuple[Any, ...]] = Counter()
        for row in rows:
            key = (_case(row, several), row.parameter, _about(row), row.order)
            known[key] += 1
            named[*key, known[key]] = row
        errors = {_case(row, several): row for row in rows if row.verdict is Verdict.ERROR and not row.parameter}
        return cls(named, {_case(row, several) for row in rows}, errors)


def _case(row: Row, several: set[str]) -> Case:
    """The names of a case. An op is known by its own name, because an ERROR row may have another family than the others."""
    return (row.family if row.op in several else "", row.op, row.case, row.dtype)


def _shared_names(rows: Sequence[Row]) -> set[str]:
    """The ops whose name is that of another op in another module, too."""
    families: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        families.setdefault((row.op, row.case, row.dtype), set()).add(row.family)
    return {op for (op, _, _), found in families.items() if len(found) > 1}


def _about(row: Row) -> str:
    """Of a row about the contract or the values: which; empty for a gradient."""
    return row.evidence if row.evidence.startswith(("contract", VALUES)) else ""


# ------------------------------------------------------------------------------------------------- changes


def _changes(before: _Rows, after: _Rows, factor: float) -> Iterator[Change | None]:
    """A change, or None, for each row that can be compared or is in one report only."""
    for key in dict.fromkeys([*after.rows, *before.rows]):
        case, parameter, about, *_ = key
        old, new = before.rows.get(key), after.rows.get(key)
        if new is not None:
            old = old or before.errors.get(case)
            if old is not None:
                yield _pair(old, new, factor)
            elif new.passed:
                yield Change("appeared", new, "-", str(new.verdict))
            else:
                yield Change("worse", new, "-", str(new.verdict), len(ORDER) - _rank(new))
        elif old is not None and case not in after.errors:  # else that ERROR is the change
            gone = "mended" if (about or not parameter) and case in after.cases else "vanished"
            if not (gone == "mended" and old is before.errors.get(case)):  # else the rows that came instead are the change
                yield Change(gone, old, str(old.verdict), "-")


def _rank(row: Row) -> int:
    return ORDER.index(row.verdict) if row.verdict in ORDER else len(ORDER)


def _pair(old: Row, new: Row, factor: float) -> Change | None:
    better = _rank(new) - _rank(old)
    if better:
        kind = "worse" if better < 0 else "mended" if new.passed else "changed"
        return Change(kind, new, str(old.verdict), str(new.verdict), len(ORDER) - _rank(new) + 1)
    ratio, was, now, column = max(_growths(old, new), default=(0.0, 0.0, 0.0, ""))
    return Change("grown", new, digits(was), f"{digits(now)} {column}", ratio) if new.passed and ratio > factor else None


def _growths(old: Row, new: Row) -> Iterator[tuple[float, float, float, str]]:
    """For each error that both rows have: its growth, the old and the new one, and its column in a report.

    An error below one rounding of the dtype, or below the error bar of the differences, may be anything: it counts as that.
    """
    rounding = EPSILON.get(new.dtype, 0.0)
    bar = max(rounding, old.numerical_uncertainty or 0.0, new.numerical_uncertainty or 0.0)
    for name, column, least in (
        ("forward_error", "values", rounding),
        ("autodiff_error", "JAX", rounding),
        ("numerical_error", "differences", bar),
    ):
        was, now = getattr(old, name), getattr(new, name)
        if was is not None and now is not None and math.isfinite(now) and max(was, least) > 0:
            yield now / max(was, least), was, now, column


def _place(change: Change) -> tuple[Any, ...]:
    row = change.row
    return KINDS.index(change.kind), -change.weight, row.op, row.case, row.dtype, row.parameter


def _notes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    found = [report.get("environment") for report in (old, new)]
    environments = [one if isinstance(one, Mapping) else {} for one in found]
    for name, environment in zip(("old", "new"), environments, strict=True):
        if "unfinished" in environment:
            yield f"the {name} report is unfinished: {environment['unfinished']}"
    commands = [environment.get("selection") for environment in environments]
    if commands[0] != commands[1]:
        yield f"the reports are of other selections: {commands[0] or 'everything'}; {commands[1] or 'everything'}"


# ------------------------------------------------------------------------------------------------- shown


def _line(change: Change) -> list[str]:
    row = change.row
    case = row.case if row.dtype == "float64" else f"{row.case} ({row.dtype})".strip()
    where = " / ".join(part for part in (row.op, case) if part)
    return [change.kind, plain(where), plain(row.parameter or "(the op)"), change.was, change.now]


def _by_op(changes: Sequence[Change]) -> Iterator[list[str]]:
    ops: dict[str, list[Change]] = {}
    for change in changes:
        ops.setdefault(change.row.op, []).append(change)
    for op, mine in ops.items():
        verdicts = counted([change.row for change in mine])
        was, now = ("-", verdicts) if mine[0].was == "-" else (verdicts, "-")
        yield [mine[0].kind, plain(op), count(len(mine), "row"), was, now]


def _as_dict(change: Change) -> dict[str, Any]:
    row = change.row
    names = {name: getattr(row, name) for name in ("family", "op", "case", "dtype", "parameter", "order", "diagnosis")}
    return {**names, "was": change.was, "is": change.now}
