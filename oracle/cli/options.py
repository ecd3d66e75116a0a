"""What the options of a command mean: which ops, which dtypes, how many processes, how long, and where reports go."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oracle.report import document
from oracle.running.campaign import DTYPES
from oracle.running.selection import cannot_write, catalogued, foreign

__all__ = [
    "TIMEOUT",
    "TIMEOUT_AT_SIZE",
    "UNCHANGED",
    "check_reports",
    "chosen",
    "dtypes_of",
    "jobs_of",
    "selection_of",
    "timeout_of",
    "write",
    "writing",
]

UNCHANGED = "interrupted; the last reports are unchanged"
TIMEOUT = 120  # seconds for each case, on a slow machine
TIMEOUT_AT_SIZE = 1800  # for a net at its real size


def chosen(options: argparse.Namespace) -> list[tuple[str, Any]]:
    """The records that the command line names, each with its module if it is not of the catalogue."""
    records: list[tuple[str, Any]] = []
    own = [name for name in options.names if ":" not in name]
    for name in options.names:
        if ":" in name:
            module, specs = foreign(name)
            records += [(module, spec) for spec in specs]
    if own or not options.names:
        records += [("", record) for record in catalogued(own, options.family)]
    return records


def dtypes_of(options: argparse.Namespace) -> tuple[str, ...]:
    """The dtypes to verify in, `all` or one."""
    return DTYPES if options.dtype == "all" else (options.dtype,)


def selection_of(options: argparse.Namespace) -> str:
    """The part of the command line that says what is verified: two reports of the same selection are of the same cases."""
    parts = [*options.names, *(f"--{k} {v}" for k in ("family", "case", "dtype") if (v := getattr(options, k)))]
    return " ".join(parts)


def jobs_of(options: argparse.Namespace) -> int:
    """How many processes: one for each core, unless given."""
    return int(options.jobs or os.cpu_count() or 1)


def timeout_of(options: argparse.Namespace, *, at_size: bool = False) -> float | None:
    """Seconds for each case; None for no limit."""
    default = TIMEOUT_AT_SIZE if at_size else TIMEOUT
    return (default if options.timeout is None else options.timeout) or None


def check_reports(folder: Path) -> None:
    """Stop with a message unless a report can be written to this folder: before the first case, not after the last."""
    with writing(folder):
        document.check_writable(folder)


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write these files, or stop with a message."""
    with writing(folder):
        document.write(folder, files)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A folder that cannot be written to ends the command with a message, not with a traceback."""
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, error) from None
