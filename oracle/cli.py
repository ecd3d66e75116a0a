"""The command line: `oracle verify`, `list`, `show`, `fuzz`, `power`, `seeds`. Exit codes are pytest's."""

from __future__ import annotations

import argparse
import difflib
import inspect
import os
import re
import shlex
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tabulate import tabulate

from oracle import campaign
from oracle.campaign import DTYPES
from oracle.report import document, html, markdown, table
from oracle.row import Row, Verdict
from oracle.selection import Exit, Stop, catalogued, foreign
from oracle.spec import Case, Flag, Spec

__all__ = ["Exit", "main"]

FEW = 4  # tasks for which starting worker processes takes longer than the work


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Stop(Exit.USAGE, f"{message} (see `{self.prog} --help`)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; never a traceback for what the user did."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser().parse_args(given)
        options.command = shlex.join(["oracle", *given])
        return int(options.run(options))
    except Stop as stop:
        print("oracle:", *str(stop).splitlines(), file=sys.stderr)
        return int(stop.code)
    except KeyboardInterrupt:
        print("oracle: interrupted; the last reports are unchanged", file=sys.stderr)
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.PASS)
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
    _add_selection(verify, seed_of="cases and cotangents", where="where to write")
    verify.add_argument("--case", metavar="C", help="only the case of this name")
    verify.add_argument("--json", action="store_true", help="print JSON instead of tables")
    verify.set_defaults(run=_verify)

    listing = commands.add_parser("list", help="list the catalogue")
    listing.add_argument("--family", metavar="F", help="only ops of this family, such as losses")
    listing.add_argument("--families", action="store_true", help="one line for each family, as a markdown table")
    listing.set_defaults(run=_list)

    show = commands.add_parser("show", help="where an op, its pullback, its reference and its cases are written")
    show.add_argument("op", metavar="OP")
    show.set_defaults(run=_show)

    random = commands.add_parser("fuzz", help="verify random uses of ops, as their strategies draw them; shrink what fails")
    _add_selection(random, seed_of="all choices", where="where failures/ is written")
    random.add_argument("--examples", type=_positive, default=200, metavar="N", help="random uses of each op (default 200)")
    random.set_defaults(run=_fuzz, case=None)

    power = commands.add_parser("power", help="plant mistakes into every pullback: which ones does the checker not notice?")
    power.add_argument("names", nargs="*", metavar="NAME", help="op of the catalogue, or package.module:op (default: all)")
    power.add_argument("--family", metavar="F", help="only ops of this family, such as losses")
    power.add_argument("--alarms", type=_natural, default=0, metavar="N", help="also N random correct uses, none to be accused")
    power.add_argument("--timeout", type=_positive, default=30, metavar="S", help="seconds for each mutant (default 30)")
    _add_work(power, where="where to write")
    power.set_defaults(run=_power)

    seeds = commands.add_parser("seeds", help="run the published notes: their numbers and the right ones, side by side")
    _add_work(seeds, where="where to write")
    seeds.add_argument("--mnist", type=Path, metavar="FOLDER", help="take the three digits from the full MNIST in this folder")
    seeds.set_defaults(run=_seeds)
    return parser


def _add_selection(command: argparse.ArgumentParser, *, seed_of: str, where: str) -> None:
    command.add_argument("names", nargs="*", metavar="NAME", help="op of the catalogue, or package.module:op (default: all)")
    command.add_argument("--family", metavar="F", help="only ops of this family, such as losses")
    command.add_argument(
        "--dtype", metavar="D", choices=(*DTYPES, "all"), default="float64", help="float64 (default), float32..., or all"
    )
    command.add_argument("--seed", type=_natural, default=0, metavar="S", help=f"of {seed_of} (default 0)")
    _add_work(command, where)


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
    _check_reports(options.reports)
    jobs = options.jobs or (1 if len(tasks) <= FEW else os.cpu_count() or 1)
    rows = campaign.run(tasks, jobs, quiet=options.json)
    if not rows:
        raise Stop(Exit.NOTHING, "nothing was checked")
    known = {(task.op, task.case, task.dtype): task for task in tasks}

    def reproduce(row: Row) -> str:  # what is followed step by step has one task, without a case or a dtype of its own
        return _command(known.get((row.op, row.case, row.dtype)) or campaign.Task("", row.op, "", "float64", options.seed))

    env = document.environment(options.command, options.seed)
    json_text = document.to_json(document.document(rows, env))
    sources = {record.name: str(record.source) for _, record in records if isinstance(record, Spec) and record.source}
    page = markdown.markdown(rows, env, sources, reproduce)
    pictures = html.page(rows, env, sources, reproduce)
    _write(options.reports, {"verification.json": json_text, "verification.md": page, "index.html": pictures})
    if options.json:
        print(json_text, end="")
    else:
        print(table.render(rows, reproduce=reproduce))
        print(f"written: {options.reports / 'index.html'}, verification.md, verification.json")
    return Exit.PASS if all(row.passed for row in rows) else Exit.FAIL


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


def _command(task: campaign.Task) -> str:
    parts = ["oracle", "verify", f"{task.module}:{task.op}" if task.module else task.op]
    if task.case:
        parts += ["--case", task.case]
    if task.dtype != "float64":
        parts += ["--dtype", task.dtype]
    if task.seed:
        parts += ["--seed", str(task.seed)]
    return shlex.join(parts)


def _check_reports(folder: Path) -> None:
    try:
        document.check_writable(folder)
    except OSError as error:
        raise Stop(Exit.USAGE, f"cannot write reports to {folder}: {error.strerror or error}") from None


def _write(folder: Path, files: Mapping[str, str]) -> None:
    try:
        document.write(folder, files)
    except OSError as error:
        raise Stop(Exit.USAGE, f"cannot write reports to {folder}: {error.strerror or error}") from None


# ----------------------------------------------------------------------------------------------------- list, show


def _list(options: argparse.Namespace) -> Exit:
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


def _show(options: argparse.Namespace) -> Exit:
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


# ----------------------------------------------------------------------------------------------------- fuzz


def _fuzz(options: argparse.Namespace) -> Exit:
    try:
        from oracle import fuzz
    except ImportError as error:
        raise Stop(Exit.USAGE, f"fuzz needs hypothesis: {error}") from None
    tasks = [fuzz.task_of(record, options.seed, module) for module, record in _chosen(options) if fuzz.can(record)]
    if not tasks:
        raise Stop(Exit.NOTHING, f"nothing to draw: no op with a strategy fits {_selection(options)}")
    _check_reports(options.reports)
    dtypes = _dtypes(options)

    def tell(outcome: fuzz.Outcome) -> None:
        if outcome.failure:
            program = options.reports / "failures" / f"{outcome.op}-fuzz" / "repro.py"
            _write(program.parent, {program.name: outcome.failure})
            print(f"{outcome.report}\n      reproduce: python {program}\n", flush=True)

    outcomes = fuzz.run(tasks, options.examples, dtypes, options.jobs or os.cpu_count() or 1, tell)
    counts: Counter[Verdict] = Counter()
    for outcome in outcomes:
        counts.update(dict(outcome.verdicts))
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    uses = table.count(sum(counts.values()), "random use")
    print(f"{uses} of {table.count(len(outcomes), 'op')} ({', '.join(dtypes)}): {said}")
    return Exit.FAIL if any(outcome.failure for outcome in outcomes) else Exit.PASS


# ----------------------------------------------------------------------------------------------------- power, seeds


def _power(options: argparse.Namespace) -> Exit:
    from oracle.power import command

    records = _chosen(options)
    _check_reports(options.reports)
    return command.perform(records, options, lambda files: _write(options.reports, files))


def _seeds(options: argparse.Namespace) -> Exit:
    from oracle import seeds

    _check_reports(options.reports)
    try:
        digits = seeds.three_digits(options.mnist)
    except (OSError, ValueError, ImportError) as error:
        raise Stop(Exit.USAGE, str(error)) from None
    found = seeds.run(digits, options.jobs or os.cpu_count() or 1)
    print(found.text)
    _write(options.reports, {"seeds.md": found.page})
    print(f"written: {options.reports / 'seeds.md'}")
    return Exit.PASS if found.passed else Exit.FAIL


# ----------------------------------------------------------------------------------------------------- values


def _number(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"expected an integer from {low}, got {text!r}")
        return int(text)

    return parse


_positive, _natural = _number(1), _number(0)
