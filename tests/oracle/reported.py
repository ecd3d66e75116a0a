"""The rows that `oracle verify` has written: `.ci/run` runs it before the tests, and so no case is verified twice."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from oracle.report.document import row_of
from oracle.row import Row
from oracle.trajectory import SlotRow

REPORT = Path(__file__).parents[2] / "reports" / "verification.json"


@cache
def reported() -> dict[tuple[str, str], list[Row]]:
    """The rows of every case, by the names of its op and of the case."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for values in json.loads(REPORT.read_text())["rows"]:
        row = row_of(values, SlotRow if "steps" in values else Row)
        rows.setdefault((row.op, row.case), []).append(row)
    return rows


def followed(name: str) -> list[SlotRow]:
    """The rows of an optimizer, a schedule or a training, which is followed step by step and has one case."""
    rows = [row for (op, _), found in reported().items() if op == name for row in found if isinstance(row, SlotRow)]
    assert rows, f"{name} is not in {REPORT.name}: run `make verify`"
    return rows
