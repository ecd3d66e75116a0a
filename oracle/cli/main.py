"""The command line: `oracle verify`, `list`, `show`, `fuzz`, `power`, `seeds`. Exit codes are pytest's."""

from __future__ import annotations

import argparse
import difflib
import io
import os
import shlex
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from oracle import extra
from oracle.cli.listing import list_catalogue, show_op
from oracle.cli.verify import Run
from oracle.counterexamples import folder as failures
from oracle.report import document, html, markdown, table
from oracle.row import Row, Verdict
from oracle.running import campaign
from oracle.running.campaign import DTYPES
from oracle.running.journal import NAME
from oracle.running.selection import Exit, Stop, cannot_write, catalogued, foreign
from oracle.spec import Spec
from oracle.text import command_line, count, plain

__all__ = ["Exit", "main"]


SHOWN = 5  # programs that are named
UNCHANGED = "interrupted; the last reports are unchanged"
TIMEOUT = 120  # seconds for each case, on a slow machine
TIMEOUT_AT_SIZE = 1800  # for a net at its real size


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

    verify = commands.add_parser("verify", help="verify ops of the catalogue, or anyone's as package.module:op")
    _add_selection(
        verify,
        seed_of="cases and cotangents",
        where="where to write, whatever is there; without it, a report of another selection and of more cases is left alone",
    )
    _add_timeout(verify, "case")
    verify.add_argument("--case", metavar="C", action=_Once, help="only the case of this name")
    verify.add_argument("--json", action="store_true", help="print JSON instead of tables")
    verify.add_argument(
        "--resume",
        action="store_true",
        help=f"take over what an interrupted run has found (DIR/{NAME}), as long as versions and sources are the same: "
        "those of purenet, oracle, and all that is imported from outside the installed packages",
    )
    verify.set_defaults(run=_verify, reports=None)

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
    random.set_defaults(run=_fuzz, case=None)

    power = commands.add_parser("power", help="plant mistakes into every pullback: which ones does the checker not notice?")
    power.add_argument("names", nargs="*", metavar="NAME", help="op of the catalogue, or package.module:op (default: all)")
    power.add_argument("--family", metavar="F", action=_Once, help="only ops of this family, such as losses")
    power.add_argument("--alarms", type=_natural, default=0, metavar="N", help="also N random correct uses, none to be accused")
    power.add_argument("--timeout", type=_positive, default=30, metavar="S", help="seconds for each mutant (default 30)")
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


# ----------------------------------------------------------------------------------------------------- verify


def _verify(options: argparse.Namespace) -> Exit:
    records = _chosen(options)
    tasks = [task for module, record in records for task in campaign.tasks_of(record, _dtypes(options), options.seed, module)]
    tasks = [task for task in tasks if options.case in (None, task.case)]
    if not tasks:
        names = [case.name for _, record in records if isinstance(record, Spec) for case in record.cases]
        near = difflib.get_close_matches(options.case or "", names, n=1)
        hint = f"; did you mean --case {shlex.quote(near[0])}?" if near else ""
        raise Stop(Exit.NOTHING, f"nothing to check: no case fits {_selection(options)}{hint}")
    unasked = dict.fromkeys(record.name for _, record in records if record.name not in {task.op for task in tasks})
    if options.names and unasked:
        print(f"not checked: {', '.join(unasked)} (no case fits {_selection(options)})", file=sys.stderr)
    folder = options.reports or Path("reports")
    _check_reports(folder)
    env = {**document.environment(options.command, options.seed), "selection": _selection(options), "cases": len(tasks)}
    everything = not (options.names or options.family or options.case) and "float64" in _dtypes(options)
    kept = "" if options.reports or everything else document.larger(folder, len(tasks), env["selection"])
    sources = {record.name: str(record.source) for _, record in records if isinstance(record, Spec) and record.source}
    # Nets at their real size are verified one after the other, each with all cores: two may not fit into memory.
    at_size = any(getattr(record, "on_request", False) for _, record in records)
    jobs, threads = (1, _jobs(options)) if at_size else (_jobs(options), 1)
    with Run(tasks, jobs, _timeout(options, at_size=at_size), quiet=options.json, threads=threads) as run:
        if not kept:
            with _writing(folder):
                run.keep(folder / NAME, env, resume=options.resume)
        run.perform()
        if not run.rows:
            raise Stop(*((Exit.INTERRUPTED, UNCHANGED) if run.interrupted else (Exit.NOTHING, "nothing was checked")))
        if run.interrupted:
            env["unfinished"] = f"interrupted when {len(run.found)} of {count(len(tasks), 'case')} were done"
        _report(run, env, sources, None if kept else folder, options)
        said = [f"not written: {kept}; --reports DIR writes there" if kept else _written(folder)]
        if not run.interrupted:
            run.finish()
            said += _alone(_programs(run, folder, whole=not kept), folder)
    if not options.json:
        print("\n".join(said), flush=True)
    if run.interrupted:
        again = "" if kept else f"; `{options.command.removesuffix(' --resume')} --resume` continues"
        raise Stop(Exit.INTERRUPTED, f"{env['unfinished']}{again}")
    return Exit.PASS if all(row.passed for row in run.rows) else Exit.FAIL


def _report(
    run: Run, env: Mapping[str, Any], sources: Mapping[str, str], folder: Path | None, options: argparse.Namespace
) -> None:
    """Print it; and write it to `folder`, if there is one to write to."""
    known = {(task.op, task.case, task.dtype): task for task in run.tasks}

    def reproduce(row: Row) -> str:  # what is followed step by step has one task, without a case or a dtype of its own
        task = known.get((row.op, row.case, row.dtype)) or campaign.Task("", row.op, "", "float64", options.seed)
        return task.command

    json_text = document.to_json(document.document(run.rows, env))
    if folder:
        page = markdown.markdown(run.rows, env, sources, reproduce)
        pictures = html.page(run.rows, env, sources, reproduce)
        _write(folder, {"verification.json": json_text, "verification.md": page, "index.html": pictures})
    if options.json:
        print(json_text, end="")
    else:
        print(table.render(run.rows, reproduce=reproduce))


def _written(folder: Path) -> str:
    return f"written: {folder / 'index.html'}, verification.md, verification.json"


def _programs(run: Run, folder: Path, *, whole: bool) -> list[Path]:
    try:
        with _writing(folder / "failures"):
            return run.programs(folder / "failures", whole=whole)
    except KeyboardInterrupt:
        raise Stop(Exit.INTERRUPTED, f"interrupted before {folder / 'failures'} was written; all cases were done") from None


def _alone(programs: Sequence[Path], folder: Path) -> list[str]:
    """Where the programs are that show the failures."""
    said = [f"alone: python {shlex.quote(str(program))}" for program in programs[:SHOWN]]
    return said + ([f"alone: {len(programs) - SHOWN} more in {folder / 'failures'}"] if len(programs) > SHOWN else [])


def _jobs(options: argparse.Namespace) -> int:
    return int(options.jobs or os.cpu_count() or 1)


def _timeout(options: argparse.Namespace, *, at_size: bool = False) -> float | None:
    """Seconds for each case; None for no limit."""
    default = TIMEOUT_AT_SIZE if at_size else TIMEOUT
    return (default if options.timeout is None else options.timeout) or None


def _chosen(options: argparse.Namespace) -> list[tuple[str, Any]]:
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


def _dtypes(options: argparse.Namespace) -> tuple[str, ...]:
    return DTYPES if options.dtype == "all" else (options.dtype,)


def _selection(options: argparse.Namespace) -> str:
    parts = [*options.names, *(f"--{k} {v}" for k in ("family", "case", "dtype") if (v := getattr(options, k)))]
    return " ".join(parts)


def _check_reports(folder: Path) -> None:
    with _writing(folder):
        document.check_writable(folder)


def _write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    with _writing(folder):
        document.write(folder, files)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, error) from None


# ----------------------------------------------------------------------------------------------------- fuzz


def _fuzz(options: argparse.Namespace) -> Exit:
    try:
        from oracle.counterexamples import search
    except ImportError as error:
        raise Stop(Exit.USAGE, f"fuzz needs hypothesis: {error}") from None
    tasks = [search.task_of(record, options.seed, module) for module, record in _chosen(options) if search.can(record)]
    if not tasks:
        raise Stop(Exit.NOTHING, f"nothing to draw: no op with a strategy fits {_selection(options)}")
    _check_reports(options.reports)
    dtypes = _dtypes(options)
    root = options.reports / "failures"
    written: list[Path] = []

    def tell(outcome: search.Outcome) -> None:
        if outcome.failure:
            try:
                written.append(failures.write(root, failures.folder_name(outcome.op, "fuzz"), outcome.failure, outcome.command))
            except OSError as error:
                raise Stop(Exit.USAGE, f"cannot write to {root}: {error.strerror or error}") from None
            print(f"{outcome.report}\n      reproduce: python {shlex.quote(str(written[-1]))}\n", flush=True)

    outcomes = search.run(tasks, options.examples, dtypes, _jobs(options), tell, timeout=_timeout(options))
    failures.prune(root, written, [outcome.command for outcome in outcomes])
    counts: Counter[Verdict] = Counter()
    for outcome in outcomes:
        counts.update(dict(outcome.verdicts))
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    uses = count(sum(counts.values()), "random use")
    print(f"{uses} of {count(len(outcomes), 'op')} ({', '.join(dtypes)}): {said}")
    return Exit.FAIL if any(outcome.failure for outcome in outcomes) else Exit.PASS


# ----------------------------------------------------------------------------------------------------- power, seeds


def _power(options: argparse.Namespace) -> Exit:
    from oracle.power import command

    records = _chosen(options)
    _check_reports(options.reports)
    return command.perform(records, options, lambda files: _write(options.reports, files))


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
        _check_reports(folder)
    found = seeds.run(setting, names, jobs=_jobs(options), folder=stem, draw=not kept)
    print(found.text)
    if kept:
        print("not written: the page has all experiments; --reports DIR writes these there")
    else:
        if found.pictures:
            _write(folder / stem, found.pictures)
        _write(folder, {f"{stem}.md": found.page})
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
