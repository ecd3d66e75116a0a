"""`oracle list` and `oracle show`: what is in the catalogue, and where it is written."""

from __future__ import annotations

import argparse
import inspect
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from oracle import campaign
from oracle.campaign import DTYPES
from oracle.report import table
from oracle.selection import Exit, Stop, catalogued
from oracle.spec import Case, Flag, Spec

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
    print(f"{len(rows)} in {table.count(len({row[0] for row in rows}), 'family', 'families')}")
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
    from oracle import catalogue

    try:
        record = catalogue.find(options.op)
    except KeyError as error:
        raise Stop(Exit.USAGE, error.args[0]) from None
    if not isinstance(record, Spec):
        rows = [("update", _place(_callable_of(record))), ("reference", str(_source(record)))]
    else:
        rows = [
            ("forward", _place(record.forward)),
            ("pullback", _place(record.backward)),
            ("reference", f"{_place(record.reference)}  {record.source}"),
            *((f"case {c.name!r}", f"{_place(c.arguments)}  {_notes(c)}".rstrip()) for c in record.cases),
            *((f"error {e.name!r}", f"{_place(e.arguments)}  {e.exception.__name__}") for e in record.errors),
        ]
    print(tabulate(rows, tablefmt="plain"))
    return Exit.PASS


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
