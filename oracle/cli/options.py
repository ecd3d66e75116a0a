"""Reads the options that several commands share: ops, dtypes, processes, time limits, the folder of reports, colours."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oracle.report import colour, document
from oracle.running import making
from oracle.running.selection import Exit, Stop, cannot_write, catalogued, foreign, is_module
from oracle.running.tasks import DTYPES
from oracle.settings import EFFORTS, QUICK

__all__ = [
    "TIMEOUT",
    "TIMEOUT_AT_SIZE",
    "UNCHANGED",
    "add_effort",
    "check_reports",
    "chosen",
    "dtypes_of",
    "jobs_of",
    "made_of",
    "selection_of",
    "show",
    "timeout_of",
    "write",
    "writing",
]

UNCHANGED = "interrupted; the last reports are unchanged"
# Seconds. With much less, right cases become ERRORs on a slow machine; with more, a hang holds up the run for longer.
TIMEOUT = 120  # for each case
TIMEOUT_AT_SIZE = 1800  # for a net at its real size


def chosen(options: argparse.Namespace) -> list[tuple[str, Any]]:
    """The records that the command line names. Each comes with the name of its module, which is empty for the catalogue."""
    records: list[tuple[str, Any]] = []
    made = made_of(options)
    modules = [name for name in options.names if ":" in name or is_module(name)]
    own = [name for name in options.names if name not in modules]
    for name in options.names:
        if name in modules:
            module, specs = foreign(name, made)
            records += [(module, spec) for spec in specs]
    if own or not options.names:
        records += [("", record) for record in catalogued(own, options.family)]
    return records


def made_of(options: argparse.Namespace) -> str:
    """How the nets are made whose classes the command line names; empty without `--data`."""
    source, init = getattr(options, "data", None), getattr(options, "init", None)
    if source is None:
        if init is not None:
            raise Stop(Exit.USAGE, f"--init needs --data, such as --data {making.MNIST}")
        return ""
    if not options.names or any(":" not in name for name in options.names):
        raise Stop(Exit.USAGE, "--data is for a class of nets in a module of yours, such as mynet.py:TwoLayerNet")
    return making.recipe(source, init)


def dtypes_of(options: argparse.Namespace) -> tuple[str, ...]:
    """The dtypes that `--dtype` names."""
    return DTYPES if options.dtype == "all" else (options.dtype,)


def add_effort(command: argparse.ArgumentParser) -> None:
    """Add the options that say how many forward passes a verification may take."""
    either = command.add_mutually_exclusive_group()
    either.add_argument(
        "--quick",
        dest="effort",
        action="store_const",
        const=QUICK,
        default=EFFORTS[0],
        help="some 60 forward passes for one argument of any size, 35 more for each other; rows say which errors they notice",
    )
    either.add_argument("--effort", choices=EFFORTS, default=EFFORTS[0], metavar="E", help="full (default) or quick")


def selection_of(options: argparse.Namespace) -> str:
    """The options that select cases, as on the command line. Two reports with the same selection have the same cases."""
    parts = [
        *options.names,
        *(["--quick"] if getattr(options, "effort", "") == QUICK else []),
        *(f"--{k} {v}" for k in ("family", "case", "dtype", "data", "init", "accept") if (v := getattr(options, k, None))),
    ]
    return " ".join(parts)


def jobs_of(options: argparse.Namespace) -> int:
    """The number of worker processes: `--jobs`, or one for each core."""
    return int(options.jobs or os.cpu_count() or 1)


def timeout_of(options: argparse.Namespace, *, at_size: bool = False) -> float | None:
    """Seconds for each case, or None for no limit."""
    default = TIMEOUT_AT_SIZE if at_size else TIMEOUT
    return (default if options.timeout is None else options.timeout) or None


def check_reports(folder: Path) -> None:
    """Stop with a message if no report can be written to this folder. Called before the first case, to waste no time."""
    with writing(folder):
        document.check_writable(folder)


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write these files, or stop with a message."""
    with writing(folder):
        document.write(folder, files)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """If a folder cannot be written to, the command ends with a message instead of a traceback."""
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, error) from None


def show(text: str) -> None:
    """Print a report at once, with coloured verdicts on a terminal."""
    print(colour.painted(text) if colour.wanted(sys.stdout) else text, flush=True)
