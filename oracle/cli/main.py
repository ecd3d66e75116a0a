"""The command line: `oracle verify`, `list`, `show`, `fuzz`, `power`, `seeds`. Exit codes are pytest's."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from oracle import extra
from oracle.cli.fuzz import fuzz
from oracle.cli.listing import list_catalogue, show_op
from oracle.cli.options import TIMEOUT, TIMEOUT_AT_SIZE, UNCHANGED, check_reports, chosen, jobs_of, write
from oracle.cli.verify import verify
from oracle.running.campaign import DTYPES
from oracle.running.journal import NAME
from oracle.running.selection import Exit, Stop
from oracle.text import command_line, plain

__all__ = ["Exit", "main"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Stop(Exit.USAGE, f"{message} (see `{self.prog} --help`)")


class _Once(argparse.Action):
    """An option of which a second would silently replace the first."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, option: Any = None) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option} is given twice: {getattr(namespace, self.dest)} and {value}")
        setattr(namespace, self.dest, value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; never a traceback for what the user did."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is no fault
            stream.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_args(given)
        options.command = command_line(["oracle", *given])
        return int(options.run(options))
    except Stop as stop:
        print("oracle:", *map(plain, str(stop).splitlines()), file=sys.stderr)
        return int(stop.code)
    except KeyboardInterrupt:
        print(f"oracle: {UNCHANGED}", file=sys.stderr)
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.PASS)
    except ModuleNotFoundError as error:
        print(extra.line(str(error.name)), file=sys.stderr)
        return int(Exit.USAGE)
    except Exception:  # not what the user did: the traceback is wanted
        traceback.print_exc()
        print("oracle: internal error; the last reports are unchanged", file=sys.stderr)
        return int(Exit.INTERNAL)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="oracle",
        description="Is this gradient right? Two witnesses say so: central differences that know their uncertainty, and JAX.",
        epilog="exit codes: 0 right, 1 a gradient is not right, 2 interrupted, 3 internal error, 4 usage, 5 nothing checked",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)

    verifying = commands.add_parser("verify", help="verify ops of the catalogue, or anyone's as package.module:op")
    _add_selection(
        verifying,
        seed_of="cases and cotangents",
        where="where to write, whatever is there; without it, a report of another selection and of more cases is left alone",
    )
    _add_timeout(verifying, "case")
    verifying.add_argument("--case", metavar="C", action=_Once, help="only the case of this name")
    verifying.add_argument("--json", action="store_true", help="print JSON instead of tables")
    verifying.add_argument(
        "--resume",
        action="store_true",
        help=f"take over what an interrupted run has found (DIR/{NAME}), as long as versions and sources are the same: "
        "those of purenet, oracle, and all that is imported from outside the installed packages",
    )
    verifying.set_defaults(run=verify, reports=None)

    listing = commands.add_parser("list", help="list the catalogue")
    listing.add_argument("--family", metavar="F", action=_Once, help="only ops of this family, such as losses")
    listing.add_argument("--families", action="store_true", help="one line for each family, as a markdown table")
    listing.set_defaults(run=list_catalogue)

    show = commands.add_parser("show", help="where an op, its pullback, its reference and its cases are written")
    show.add_argument("op", metavar="OP", help="op of the catalogue, or package.module:op")
    show.set_defaults(run=show_op)

    random = commands.add_parser("fuzz", help="verify random uses of ops, as their strategies draw them; shrink what fails")
    _add_selection(random, seed_of="all choices", where="where failures/ is written")
    random.add_argument("--examples", type=_positive, default=200, metavar="N", help="random uses of each op (default 200)")
    _add_timeout(random, "use")
    random.set_defaults(run=fuzz, case=None)

    power = commands.add_parser("power", help="plant mistakes into every pullback: which ones does the checker not notice?")
    power.add_argument("names", nargs="*", metavar="NAME", help="op of the catalogue, or package.module:op (default: all)")
    power.add_argument("--family", metavar="F", action=_Once, help="only ops of this family, such as losses")
    power.add_argument("--alarms", type=_natural, default=0, metavar="N", help="also N random correct uses, none to be accused")
    power.add_argument(
        "--knock-out",
        action="store_true",
        help="instead of planting mistakes, switch off each mechanism of the checker in turn: which verdicts need it, and what "
        "does it cost? Tried on the cases of these ops and on hard points; writes knock-out.md and knock-out.json",
    )
    power.add_argument(
        "--timeout", type=_positive, default=30, metavar="S", help="seconds for each mutant or verification (default 30)"
    )
    _add_work(power, where="where to write")
    power.set_defaults(run=_power)

    seeds = commands.add_parser("seeds", help="run the published notes: their numbers and the right ones, side by side")
    seeds.add_argument("names", nargs="*", metavar="NAME", help="experiment, such as valley (default: all)")
    seeds.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the published sizes, with the full MNIST in this folder (hours; default: quick sizes, with 5,000 digits)",
    )
    _add_work(seeds, where="where to write seeds.md and its pictures, with --data seeds_published.md")
    seeds.set_defaults(run=_seeds, reports=None)
    return parser


def _add_selection(command: argparse.ArgumentParser, *, seed_of: str, where: str) -> None:
    command.add_argument("names", nargs="*", metavar="NAME", help="op of the catalogue, or package.module:op (default: all)")
    command.add_argument("--family", metavar="F", action=_Once, help="only ops of this family, such as losses")
    command.add_argument(
        "--dtype", metavar="D", choices=(*DTYPES, "all"), default="float64", help="float64 (default), float32..., or all"
    )
    command.add_argument("--seed", type=_natural, default=0, metavar="S", help=f"of {seed_of} (default 0)")
    _add_work(command, where)


def _add_timeout(command: argparse.ArgumentParser, of: str) -> None:
    command.add_argument(
        "--timeout",
        type=_natural,
        metavar="S",
        help=f"seconds for each {of}, after which it is an ERROR (default {TIMEOUT}; for nets at their real size "
        f"{TIMEOUT_AT_SIZE}); 0: no limit, and with --jobs 1 all is done in this process, as a debugger wants it",
    )


def _add_work(command: argparse.ArgumentParser, where: str) -> None:
    command.add_argument("--jobs", type=_positive, metavar="N", help="worker processes (default: one for each core)")
    command.add_argument("--reports", type=Path, default=Path("reports"), metavar="DIR", help=f"{where} (default: reports)")


# ----------------------------------------------------------------------------------------------------- power, seeds


def _power(options: argparse.Namespace) -> Exit:
    from oracle.power import command

    records = chosen(options)
    check_reports(options.reports)
    return command.perform(records, options, lambda files: write(options.reports, files))


def _seeds(options: argparse.Namespace) -> Exit:
    from oracle import seeds

    setting = seeds.Setting(options.data)
    stem = "seeds" if setting.quick else "seeds_published"
    try:
        names = seeds.chosen(options.names)
        setting.check()
    except (OSError, ValueError, ImportError) as error:
        raise Stop(Exit.USAGE, str(error)) from None
    kept = bool(options.names) and not options.reports
    folder = options.reports or Path("reports")
    if not kept:
        check_reports(folder)
    found = seeds.run(setting, names, jobs=jobs_of(options), folder=stem, draw=not kept)
    print(found.text)
    if kept:
        print("not written: the page has all experiments; --reports DIR writes these there")
    else:
        if found.pictures:
            write(folder / stem, found.pictures)
        write(folder, {f"{stem}.md": found.page})
        print(f"written: {folder / stem}.md")
    return Exit.PASS if found.passed else Exit.FAIL


# ----------------------------------------------------------------------------------------------------- values


def _number(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"expected an integer from {low}, got {text!r}")
        return int(text)

    return parse


_positive, _natural = _number(1), _number(0)
