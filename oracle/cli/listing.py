"""`oracle list` and `oracle show`: what is in the catalogue, and where it is written."""

from __future__ import annotations

import argparse
import inspect
import re
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from oracle.running import campaign
from oracle.running.campaign import DTYPES
from oracle.running.selection import Exit, at_size, catalogued, foreign
from oracle.spec import Case, Flag, Spec
from oracle.subject import Subject
from oracle.text import count
from oracle.trajectory.spec import TrainingSpec

__all__ = ["list_catalogue", "show_op"]


def list_catalogue(options: argparse.Namespace) -> Exit:
    """`oracle list`: a line for each record of the catalogue, or for each family."""
    records = catalogued((), options.family)
    if options.families:
        print(_families(records))
        return Exit.PASS
    wide = shutil.get_terminal_size((100, 24)).columns >= 120
    rows = []
    for record in records:
        source = _source(record)
        cases = str(len(record.cases)) if isinstance(record, Spec) else "steps"
        dtypes = campaign.dtypes_of(record)
        said = "all four" if dtypes == DTYPES else " ".join(dtypes)
        name = _folded(record.name, 40 if wide else 24)
        rows.append((record.family, name, f"T{record.tier}", str(source) if wide else source.kind, said, cases))
    headers = ("family", "op", "tier", "reference", "dtypes", "cases")
    print(tabulate(rows, headers, maxcolwidths=[None, None, None, 36, None, None], colalign=("left",) * 5 + ("right",)))
    named = [record.name for record in at_size() if options.family in (None, record.family)]
    if named:
        width = shutil.get_terminal_size((100, 24)).columns
        print(textwrap.fill(f"only when named, at their real size: {', '.join(named)}", width, break_on_hyphens=False))
    print(f"{len(rows)} in {count(len({row[0] for row in rows}), 'family', 'families')}")
    return Exit.PASS


def _folded(name: str, width: int) -> str:
    """A long name in lines that end after a blank or an underscore."""
    lines = [""]
    for part in re.split(r"(?<=[_ ])", name):
        if len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _families(records: Sequence[Any]) -> str:
    rows: list[tuple[Any, ...]] = []
    for family in dict.fromkeys(record.family for record in records):
        members = [record for record in records if record.family == family]
        by_library = sum(_source(record).kind == "library" for record in members)
        cases = sum(len(record.cases) if isinstance(record, Spec) else 1 for record in members)
        rows.append((family, len(members), by_library, len(members) - by_library, cases))
    rows.append(("all", *(sum(row[i] for row in rows) for i in range(1, 5))))
    return tabulate(rows, ("family", "records", "reference: library", "composed", "cases"), tablefmt="github")


def show_op(options: argparse.Namespace) -> Exit:
    """`oracle show`: where an op, its pullback, its reference and its cases are written."""
    records = foreign(options.op)[1] if ":" in options.op else catalogued([options.op], None)
    for record in records:
        print(tabulate(_written(record), tablefmt="plain"))
    return Exit.PASS


def _written(record: Any) -> list[tuple[str, str]]:
    if isinstance(record, TrainingSpec):
        return [
            ("forward", _place(Subject.of(record.goal, {}).forward)),
            ("update", _place(record.optimizer.update)),
            ("parameters and batches", _place(record.draw)),
            ("reference", f"{_place(record.value_and_gradient)}  {record.source}"),
        ]
    if not isinstance(record, Spec):
        return [("update", _place(_callable_of(record))), ("reference", str(_source(record)))]
    return [
        ("forward", _place(record.forward)),
        ("pullback", _place(record.backward)),
        ("reference", f"{_place(record.reference)}  {record.source}" if record.reference else "-"),
        *((f"case {c.name!r}", f"{_place(c.arguments)}  {_notes(c)}".rstrip()) for c in record.cases),
        *((f"error {e.name!r}", f"{_place(e.arguments)}  {e.exception.__name__}") for e in record.errors),
    ]


def _source(record: Any) -> Any:
    return record.source if hasattr(record, "source") else record.reference.source


def _callable_of(record: Any) -> Any:
    return record.schedule if hasattr(record, "schedule") else record.optimizer.update


def _notes(case: Case) -> str:
    return ", ".join(flag.name.lower() for flag in sorted(case.flags, key=list(Flag).index))


def _place(function: Any) -> str:
    """`file:line` of a function, the file relative to here where it lies below."""
    function = inspect.unwrap(function) if callable(function) else function
    code = getattr(function, "__code__", None)
    if code is None:
        return "-"
    path = Path(code.co_filename)
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{code.co_firstlineno}"
