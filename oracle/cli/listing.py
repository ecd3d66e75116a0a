"""`oracle list` and `oracle show`: what is in the catalogue, how an op is called, and where its code is."""

from __future__ import annotations

import argparse
import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from oracle.report.places import place_of, step_of
from oracle.running.selection import Exit, at_size, catalogued, foreign
from oracle.running.tasks import DTYPES, dtypes_of
from oracle.spec import Case, Flag, Spec
from oracle.subject import Subject
from oracle.text import count
from oracle.trajectory.spec import ScheduleSpec, TrainingSpec
from purenet import Op, optimizers, schedules

__all__ = ["list_catalogue", "show_op"]

UNKNOWN = (100, 24)  # columns and lines where there is no terminal, such as in a pipe
NARROWEST = 30  # columns for each half of the table of places; in fewer, nearly every line would hold one word


def list_catalogue(options: argparse.Namespace) -> Exit:
    """`oracle list`: a line for each record of the catalogue, or for each family."""
    records = catalogued((), options.family)
    if options.families:
        print(_families(records))
        return Exit.PASS
    width = shutil.get_terminal_size(UNKNOWN).columns
    wide = width >= 120
    rows = []
    for record in records:
        source = _source(record)
        cases = str(len(record.cases)) if isinstance(record, Spec) else "steps"
        dtypes = dtypes_of(record)
        dtype_text = "all four" if dtypes == DTYPES else " ".join(dtypes)
        name = _folded(record.name, 40 if wide else 24)
        rows.append((record.family, name, f"T{record.tier}", str(source) if wide else source.kind, dtype_text, cases))
    headers = ("family", "op", "tier", "reference", "dtypes", "cases")
    print(tabulate(rows, headers, maxcolwidths=[None, None, None, 36, None, None], colalign=("left",) * 5 + ("right",)))
    named = [record.name for record in at_size() if options.family in (None, record.family)]
    if named:
        print(textwrap.fill(f"only when named, at their real size: {', '.join(named)}", width, break_on_hyphens=False))
    print(f"{len(rows)} in {count(len({row[0] for row in rows}), 'family', 'families')}")
    return Exit.PASS


def _folded(name: str, width: int) -> str:
    """A long name on several lines, each of which ends after a blank or an underscore."""
    lines = [""]
    for part in re.split(r"(?<=[_ ])", name):
        if len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def _families(records: Sequence[Any]) -> str:
    rows: list[tuple[Any, ...]] = []
    for family in dict.fromkeys(record.family for record in records):
        members = [record for record in records if record.family == family]
        by_library = sum(_source(record).kind == "library" for record in members)
        cases = sum(len(record.cases) if isinstance(record, Spec) else 1 for record in members)
        rows.append((family, len(members), by_library, len(members) - by_library, cases))
    rows.append(("all", *(sum(row[i] for row in rows) for i in range(1, 5))))
    return tabulate(rows, ("family", "records", "reference: library", "composed", "cases"), tablefmt="github")


# ------------------------------------------------------------------------------------------------- one op


def show_op(options: argparse.Namespace) -> Exit:
    """`oracle show`: the signature and docstring of an op, and where its code, its reference and its cases are."""
    records = foreign(options.op)[1] if ":" in options.op else catalogued([options.op], None)
    width = shutil.get_terminal_size(UNKNOWN).columns
    print("\n\n".join(_shown(record, width) for record in records))
    return Exit.PASS


def _shown(record: Any, width: int) -> str:
    parts = [record.name]
    maker = _maker(record)
    if isinstance(record, Spec):
        op = record.op if isinstance(record.op, Op) else inspect.unwrap(record.forward)
        parts = [_signature(record.name, record.op if callable(record.op) else record.forward, width), _docstring(op, width)]
        if op.__module__.startswith("purenet.models."):
            parts.append(_docstring(sys.modules[op.__module__], width).split("\n\n")[0])  # the net itself, in a sentence
    elif isinstance(record, TrainingSpec):
        parts.append(textwrap.fill(f"{count(record.steps, 'step')} of training: {record.case}", width))
    elif maker is not None:
        parts = [_signature(maker.__name__, maker, width), _docstring(maker, width)]
    return "\n\n".join(part for part in [*parts, _places(record, width)] if part)


def _maker(record: Any) -> Callable[..., Any] | None:
    """The function of purenet that makes this optimizer, schedule or chain of stages; None if it is not found."""
    if isinstance(record, Spec):
        op = record.op
        if not hasattr(op, "stages"):
            return None
        functions = inspect.getmembers(sys.modules.get(op.__module__), inspect.isfunction)
        return next((made for _, made in functions if made.__doc__ and made.__doc__ == op.__doc__), None)
    made = getattr(schedules if isinstance(record, ScheduleSpec) else optimizers, re.split(r"\W", record.name)[0], None)
    return made if inspect.isfunction(made) else None


def _docstring(of: Any, width: int) -> str:
    return _fitted(inspect.cleandoc(of.__doc__ or ""), width)


def _signature(name: str, function: Callable[..., Any], width: int) -> str:
    """`conv2d(x, w, b, *, stride=1)`, without annotations, which `help` shows."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return name
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    text = f"{name}{signature.replace(parameters=bare, return_annotation=signature.empty)}"
    return textwrap.fill(text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _fitted(docstring: str, width: int) -> str:
    """The docstring with no line wider than `width`. Prose is filled anew; formulas and examples keep their lines."""
    if max(map(len, docstring.splitlines()), default=0) <= width:
        return docstring
    blocks = []
    for block in docstring.split("\n\n"):
        lines = block.splitlines()
        prose = not any(line.startswith((" ", ">>>")) for line in lines)
        blocks.append("\n".join(textwrap.wrap(block, width, break_on_hyphens=False) if prose else _broken(lines, width)))
    return "\n\n".join(blocks)


def _broken(lines: Sequence[str], width: int) -> list[str]:
    """Each line that is too long goes on in the next, a little further to the right."""
    broken: list[str] = []
    for line in lines:
        indent = line[: len(line) - len(line.lstrip())]
        broken += textwrap.wrap(line, width, subsequent_indent=f"{indent}  " if indent else " " * 4, break_on_hyphens=False)
    return broken


def _places(record: Any, width: int) -> str:
    """A table of labels and places. Both columns are broken between words to fit, but a path stays whole.

    If a path leaves no room for labels, each place stands below its label.
    """
    rows = _written(record)
    labels, places = (max(map(len, column)) for column in zip(*rows, strict=True))
    left = min(labels, max(width - places - 2, NARROWEST))
    right = max(width - left - 2, NARROWEST)
    if left + 2 + max(len(word) for _, place in rows for word in place.split()) > width:
        whole = {"break_long_words": False, "break_on_hyphens": False}
        return "\n".join(
            f"{textwrap.fill(label, width)}\n"
            f"{textwrap.fill(place, width, initial_indent='  ', subsequent_indent='  ', **whole)}"  # type: ignore[arg-type]
            for label, place in rows
        )
    broken = [
        [
            textwrap.fill(text, room, break_long_words=False, break_on_hyphens=False)
            for text, room in zip(row, (left, right), strict=True)
        ]
        for row in rows
    ]
    return tabulate(broken, tablefmt="plain")


def _written(record: Any) -> list[tuple[str, str]]:
    if isinstance(record, TrainingSpec):
        return [
            ("forward pass", _place(Subject.of(record.goal, {}).forward)),
            ("update", _place(record.optimizer.update)),
            ("parameters and batches", _place(record.draw)),
            ("reference", f"{_place(record.value_and_gradient)}  {record.source}"),
        ]
    maker = _maker(record)
    made = [] if maker is None else [("made by", _place(maker))]
    if not isinstance(record, Spec):
        return [*made, ("update", _place(step_of(record))), ("reference", str(_source(record)))]
    backward = "those of the stages, the last one first" if hasattr(record.op, "stages") else _place(record.backward)
    return [
        *made,
        ("forward pass", _place(record.forward)),
        ("backward pass", backward),
        ("reference", f"{_place(record.reference)}  {record.source}" if record.reference else "-"),
        *((f"case {c.name!r}", f"{_place(c.arguments)}  {_notes(c)}".rstrip()) for c in record.cases),
        *((f"error {e.name!r}", f"{_place(e.arguments)}  {e.exception.__name__}") for e in record.errors),
    ]


def _source(record: Any) -> Any:
    if hasattr(record, "like"):
        return "the optimizer or schedule given as like"
    return record.source if hasattr(record, "source") else record.reference.source


def _notes(case: Case) -> str:
    return ", ".join(flag.name.lower() for flag in sorted(case.flags, key=list(Flag).index))


def _place(function: Any) -> str:
    """`file:line` of a function. The file is relative to the working directory if it lies below it."""
    place = place_of(function)
    return "-" if place is None else f"{place.below(Path.cwd())}:{place.line}"
