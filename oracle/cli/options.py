"""Reads the options that several commands share: ops, dtypes, processes, time limits, the folder of reports, colours."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
    "add_vectors",
    "check_reports",
    "chosen",
    "dtypes_of",
    "factor",
    "jobs_of",
    "made_of",
    "natural",
    "positive",
    "selection_of",
    "share",
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
    return list({_named(*record): record for record in records}.values())


def _named(module: str, record: Any) -> tuple[str, ...]:
    """The names by which worker processes find a record, so that one that is named twice is verified once."""
    return (module, record.name, *(case.name for case in getattr(record, "cases", ())))


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


def add_vectors(commands: Any, number: Callable[[str], int], run: Callable[[argparse.Namespace], int]) -> None:
    """Add the command `vectors`; `number` reads an integer from 1."""
    command = commands.add_parser(
        "vectors", help="write golden gradients for implementations in other languages, or check them"
    )
    command.add_argument(
        "action", choices=("write", "check"), metavar="write|check", help="write files to DIR, or check those there"
    )
    command.add_argument("folder", type=Path, metavar="DIR", help="folder of the files, two for each op")
    command.add_argument("names", nargs="*", metavar="NAME", help="op of the catalogue, or package.module:op (default: all)")
    command.add_argument("--family", metavar="F", help="only ops of this family, such as losses")
    command.add_argument("--jobs", type=number, metavar="N", help="worker processes (default: one for each core)")
    command.set_defaults(run=run)


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


# ------------------------------------------------------------------------------------------------ numbers


def share(text: str) -> float:
    """The number that an option gives: from 0 on, less than 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return value


def _integer_from(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        """The integer that an option gives."""
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"expected an integer from {low}, got {text!r}")
        return int(text)

    return parse


positive, natural = _integer_from(1), _integer_from(0)


def factor(text: str) -> float:
    """The number that an option gives, from 1 on."""
    with suppress(ValueError):
        if 1 <= (value := float(text)) < float("inf"):
            return value
    raise argparse.ArgumentTypeError(f"expected a number from 1, got {text!r}")
