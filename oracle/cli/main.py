"""The command line: `oracle verify` and the other commands (`_parser` has them all). Exit codes are those of pytest."""

from __future__ import annotations

import argparse
import io
import os
import platform
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import purenet
from oracle import extra
from oracle.cli.options import (
    TIMEOUT,
    TIMEOUT_AT_SIZE,
    UNCHANGED,
    add_effort,
    add_vectors,
    check_reports,
    chosen,
    factor,
    jobs_of,
    natural,
    positive,
    share,
    timeout_of,
    write,
)
from oracle.running import ahead
from oracle.running.selection import Exit, Stop, meant
from oracle.running.tasks import DTYPES
from oracle.settings import GROWTH, JOURNAL
from oracle.spec import Spec
from oracle.text import command_line, plain

__all__ = ["Exit", "main"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Stop(Exit.USAGE, f"{message}{meant(message)} (see `{self.prog} --help`)")


class _Once(argparse.Action):
    """An option that may be given only once. argparse itself would silently use the last one."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, option: Any = None) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option} is given twice: {getattr(namespace, self.dest)} and {value}")
        setattr(namespace, self.dest, value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. A mistake of the user is answered with a message, not with a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a character must not stop the command
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
    except BrokenPipeError:  # the program that reads our output has ended, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.PASS)
    except ModuleNotFoundError as error:
        print(extra.line(str(error.name)), file=sys.stderr)
        return int(Exit.USAGE)
    except Exception:  # an error in oracle itself: its report needs the traceback
        traceback.print_exc()
        print("oracle: internal error; the last reports are unchanged", file=sys.stderr)
        return int(Exit.INTERNAL)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="oracle",
        description="Is this gradient right? oracle compares it with finite differences that have an error bar, and with JAX.",
        epilog="exit codes: 0 every gradient is right, 1 a gradient is not right, 2 interrupted, 3 internal error, "
        "4 wrong usage, 5 nothing checked",
    )
    version = f"oracle {purenet.__version__} (package purenet, Python {platform.python_version()})"
    parser.add_argument("--version", action="version", version=version, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)

    verifying = commands.add_parser("verify", help="check the gradients of the catalogue, or yours as package.module:op")
    _add_selection(
        verifying,
        seed_of="arguments and upstream gradients",
        where="write the reports there and replace those it has; without this option, a bigger report is never replaced",
    )
    _add_timeout(verifying, "case")
    verifying.add_argument("--case", metavar="C", action=_Once, help="only the case with this name")
    verifying.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="print only what does not pass, and the totals: no progress, no names of files",
    )
    form = verifying.add_mutually_exclusive_group()
    form.add_argument(
        "--explain",
        action="store_true",
        help="also print how each verdict arose: the entry that decided, its error budget, the comparisons, more measurements "
        "(with -q only for rows that do not pass)",
    )
    form.add_argument("--json", action="store_true", help="print the JSON report instead of tables")
    verifying.add_argument(
        "--exact",
        action="store_true",
        help="compare small gradients that pass once more without their rounding, with exact derivatives: an error of 1e-14 in "
        "one entry is noticed (float64; needs python-flint)",
    )
    add_effort(verifying)
    verifying.add_argument(
        "--resume",
        action="store_true",
        help=f"reuse the cases that an interrupted run finished (DIR/{JOURNAL}), unless a library version or a source file "
        "(purenet, oracle, your own modules) has changed",
    )
    verifying.add_argument(
        "--github",
        action="store_true",
        help="annotate each wrong backward pass, and add to the summary of the workflow; set by GITHUB_ACTIONS=true",
    )
    verifying.add_argument("--junit", type=Path, metavar="FILE", action=_Once, help="also write JUnit XML: a test for each row")
    verifying.add_argument(
        "--data",
        metavar="D",
        action=_Once,
        help="verify the class of a net (loss and gradient) at ten digits: mnist, or a folder with the files of MNIST",
    )
    verifying.add_argument(
        "--init",
        metavar="ARGS",
        action=_Once,
        help="the arguments with which --data makes the net, such as '784, 50, 10'; by default sizes by the parameters' names",
    )
    verifying.add_argument(
        "--accept",
        type=share,
        default=0.0,
        metavar="X",
        help="accept an error below this share of the gradient's largest entry: a known deviation, such as 1e-5",
    )
    verifying.set_defaults(run=_verify, reports=None)

    locating = commands.add_parser("locate", help="name the stage of a net whose backward pass is wrong")
    locating.add_argument("names", nargs="+", metavar="NAME", help="net of the catalogue, or package.module:net")
    locating.add_argument("--case", metavar="C", action=_Once, help="the case with this name (default: the first)")
    locating.add_argument("--seed", type=natural, default=0, metavar="S", help="seed for arguments and directions (default 0)")
    locating.add_argument(
        "--allows", action="append", default=[], metavar="STAGE", help="a stage whose gradient is no derivative on purpose"
    )
    locating.set_defaults(run=_later("locate"), family=None)

    differing = commands.add_parser("diff", help="compare two JSON reports: what became worse, what was mended, what is new")
    differing.add_argument("old", type=Path, metavar="OLD.json")
    differing.add_argument("new", type=Path, metavar="NEW.json")
    differing.add_argument(
        "--factor",
        type=factor,
        metavar="X",
        action=_Once,
        help=f"fail if an error grew more than X times, too; without it, growth above {GROWTH:g} times is only shown",
    )
    differing.add_argument("--json", action="store_true", help="print the differences as JSON instead of a table")
    differing.set_defaults(run=_later("diff"))

    listing = commands.add_parser("list", help="list the catalogue")
    listing.add_argument("--family", metavar="F", action=_Once, help="only ops of this family, such as losses")
    listing.add_argument("--families", action="store_true", help="print one line for each family, as a markdown table")
    listing.set_defaults(run=_later("listing", "list_catalogue"))

    show = commands.add_parser("show", help="signature and docstring of an op, an optimizer or a net; where its code is")
    show.add_argument("op", metavar="NAME", help="name in the catalogue, or package.module:op")
    show.set_defaults(run=_later("listing", "show_op"))

    random = commands.add_parser("fuzz", help="check random uses of ops; find the smallest use that fails")
    _add_selection(random, seed_of="the random uses", where="write the folder failures/ there")
    random.add_argument("--examples", type=positive, default=200, metavar="N", help="random uses of each op (default 200)")
    _add_timeout(random, "use")
    random.set_defaults(run=_later("fuzz"), case=None)

    power = commands.add_parser("power", help="plant mistakes into every backward pass; show those that verify lets pass")
    power.add_argument("names", nargs="*", metavar="NAME", help="op of the catalogue, or package.module:op (default: all)")
    power.add_argument("--family", metavar="F", action=_Once, help="only ops of this family, such as losses")
    power.add_argument(
        "--alarms", type=natural, default=0, metavar="N", help="also check N random correct uses, all of which must pass"
    )
    power.add_argument(
        "--knock-out",
        action="store_true",
        help="instead of planting mistakes, switch off each mechanism of the checker in turn: which verdicts need it, and what "
        "does it cost? Tried on the cases of these ops, on errors planted in them, and on hard points; writes knock-out.md and "
        "knock-out.json",
    )
    power.add_argument(
        "--timeout", type=positive, default=30, metavar="S", help="seconds for each mutant or verification (default 30)"
    )
    _add_work(power, where="write the reports there")
    power.set_defaults(run=_power)

    accuracy = commands.add_parser("accuracy", help="errors of the gradients in ULPs, against exact derivatives (python-flint)")
    accuracy.add_argument("names", nargs="*", metavar="NAME", help="op of the catalogue, or package.module:op (default: all)")
    accuracy.add_argument("--family", metavar="F", action=_Once, help="only ops of this family, such as losses")
    accuracy.add_argument("--timeout", type=positive, default=120, metavar="S", help="seconds for each op (default 120)")
    _add_work(accuracy, where="write accuracy.md there; without this option only the page of the whole catalogue is written")
    accuracy.set_defaults(run=_accuracy, reports=None)

    seeds = commands.add_parser("seeds", help="repeat the experiments of published study notes, and compare the numbers")
    seeds.add_argument("names", nargs="*", metavar="NAME", help="experiment, such as valley (default: all)")
    seeds.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="use the published sizes, with the full MNIST in this folder (takes hours; default: quick sizes, 5,000 digits)",
    )
    _add_work(seeds, where="write seeds.md and its pictures there (with --data: seeds_published.md)")
    seeds.set_defaults(run=_seeds, reports=None)

    grading = commands.add_parser("grade", help="grade a submission that nobody trusts, in a process of its own")
    grading.add_argument("submission", nargs="?", type=Path, metavar="SUBMISSION", help="Python file of the submission")
    grading.add_argument("--assignment", required=True, metavar="A", action=_Once, help="name of a ready one, or a file")
    grading.add_argument("--starter", action="store_true", help="print the file that students start from, and grade nothing")
    grading.add_argument("--seed", type=natural, metavar="S", help="seed for the hidden cases (default: a new one each time)")
    for option, reader in {"json": "programs", "junit": "CI (JUnit XML)", "gradescope": "Gradescope (results.json)"}.items():
        grading.add_argument(f"--{option}", type=Path, metavar="FILE", help=f"also write the result for {reader}")
    grading.set_defaults(run=_later("grade"))
    add_vectors(commands, positive, _later("vectors"))
    return parser


def _add_selection(command: argparse.ArgumentParser, *, seed_of: str, where: str) -> None:
    command.add_argument("names", nargs="*", metavar="NAME", help="op of the catalogue, or package.module:op (default: all)")
    command.add_argument("--family", metavar="F", action=_Once, help="only ops of this family, such as losses")
    command.add_argument(
        "--dtype",
        metavar="D",
        choices=(*DTYPES, "all"),
        default="float64",
        help="float64 (default), float32, float16, bfloat16 or all",
    )
    command.add_argument("--seed", type=natural, default=0, metavar="S", help=f"seed for {seed_of} (default 0)")
    _add_work(command, where)


def _add_timeout(command: argparse.ArgumentParser, of: str) -> None:
    command.add_argument(
        "--timeout",
        type=natural,
        metavar="S",
        help=f"seconds for each {of}; one that takes longer is an ERROR (default {TIMEOUT}; for nets at their real size "
        f"{TIMEOUT_AT_SIZE}). 0 means no limit; with --jobs 1 everything then runs in this process, as a debugger needs it",
    )


def _add_work(command: argparse.ArgumentParser, where: str) -> None:
    command.add_argument("--jobs", type=positive, metavar="N", help="worker processes (default: one for each core)")
    command.add_argument("--reports", type=Path, default=Path("reports"), metavar="DIR", help=f"{where} (default: reports)")


# --------------------------------------------------------------------------------------------------- the commands


def _later(module: str, name: str = "") -> Callable[[argparse.Namespace], int]:
    """The function of a command. Its module is imported when it is called: each needs parts that the others do not."""

    def run(options: argparse.Namespace) -> int:
        return int(getattr(import_module(f"oracle.cli.{module}"), name or module)(options))

    return run


def _verify(options: argparse.Namespace) -> Exit:
    alone = jobs_of(options) == 1 and timeout_of(options) is None  # then everything runs in this process
    with ahead.process_for([] if alone else options.names):
        from oracle.cli.verify import verify  # imported here, while the other process imports JAX

        return verify(options)


def _power(options: argparse.Namespace) -> Exit:
    from oracle.power import command

    records = chosen(options)
    check_reports(options.reports)
    return command.perform(records, options, lambda files: write(options.reports, files))


def _accuracy(options: argparse.Namespace) -> Exit:
    from oracle import accuracy, exact

    if not exact.available():
        raise Stop(Exit.USAGE, 'accuracy needs python-flint: pip install "purenet[exact]"')
    records = [(m, r) for m, r in chosen(options) if isinstance(r, Spec) and not r.on_request]
    if not records:
        raise Stop(Exit.NOTHING, "nothing to compare: no op with a pullback is named")
    kept = bool(options.names or options.family) and not options.reports
    folder = options.reports or Path("reports")
    if not kept:
        check_reports(folder)
    found = accuracy.measure(records, jobs_of(options), options.timeout)
    print(accuracy.text(found))
    if not kept:
        write(folder, {"accuracy.md": accuracy.page(found, options.command)})
        print(f"written: {folder / 'accuracy.md'}")
    return Exit.PASS


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
        print(f"not written: {folder / stem}.md has all experiments; use --reports DIR to save these")
    else:
        if found.pictures:
            write(folder / stem, found.pictures)
        write(folder, {f"{stem}.md": found.page})
        print(f"written: {folder / stem}.md")
    return Exit.PASS if found.passed else Exit.FAIL
