"""`oracle verify`: finds the cases, runs them, prints the result and writes the reports."""

from __future__ import annotations

import argparse
import difflib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from oracle import exact
from oracle.cli import services
from oracle.cli.options import (
    UNCHANGED,
    check_reports,
    chosen,
    dtypes_of,
    jobs_of,
    made_of,
    selection_of,
    show,
    timeout_of,
    write,
    writing,
)
from oracle.cli.run import Run
from oracle.counterexamples.folder import folder_name
from oracle.counterexamples.program import PROGRAM
from oracle.report import document, html, markdown, table
from oracle.report.explanation import explained
from oracle.row import Row, worst_first
from oracle.running.selection import Exit, Stop
from oracle.running.tasks import Task, tasks_of
from oracle.settings import JOURNAL, QUICK
from oracle.spec import Spec
from oracle.text import count

__all__ = ["verify"]

SHOWN = 5  # programs of failures that are named; with more, they push the table off the screen


def verify(options: argparse.Namespace) -> Exit:
    """`oracle verify`: checks the cases that the options select, prints the result, writes the reports."""
    records = chosen(options)
    if options.exact and not exact.available():
        raise Stop(Exit.USAGE, '--exact needs python-flint: pip install "purenet[exact]"')
    tasks = []
    for module, record in records:
        tasks += tasks_of(record, dtypes_of(options), options.seed, module, exact=options.exact)
    if options.exact and options.effort == QUICK:
        raise Stop(Exit.USAGE, "--exact is not for --quick: it compares gradients that full effort has verified")
    more = {"made": made_of(options), "accept": options.accept}
    tasks = [replace(task, **more) if task.module else task for task in tasks if options.case in (None, task.case)]
    tasks = [replace(task, effort=options.effort) for task in tasks]
    if options.accept and not all(task.module for task in tasks):
        raise Stop(Exit.USAGE, "--accept is for functions of your own, such as package.module:op")
    if not tasks:
        names = [case.name for _, record in records if isinstance(record, Spec) for case in record.cases]
        near = difflib.get_close_matches(options.case or "", names, n=1)
        hint = f"; did you mean --case {shlex.quote(near[0])}?" if near else ""
        raise Stop(Exit.NOTHING, f"nothing to check: no case fits {selection_of(options)}{hint}")
    without_case = dict.fromkeys(record.name for _, record in records if record.name not in {task.op for task in tasks})
    if options.names and without_case:
        print(f"not checked: {', '.join(without_case)} (no case fits {selection_of(options)})", file=sys.stderr)
    folder = options.reports or Path("reports")
    check_reports(folder)
    services.check(options)
    env = {**document.environment(options.command, options.seed), "selection": selection_of(options), "cases": len(tasks)}
    everything = not (options.names or options.family or options.case) and "float64" in dtypes_of(options)
    everything &= options.effort != QUICK  # a quick report replaces none that was made with full effort
    kept = "" if options.reports or everything else document.larger(folder, len(tasks), env["selection"])
    sources = {record.name: str(record.source) for _, record in records if isinstance(record, Spec) and record.source}
    # Nets at their real size run one after the other, each on all cores, because two may not fit into memory.
    at_size = any(getattr(record, "on_request", False) for _, record in records)
    jobs, threads = (1, jobs_of(options)) if at_size else (jobs_of(options), 1)
    silent = options.json or options.quiet
    with Run(tasks, jobs, timeout_of(options, at_size=at_size), quiet=silent, threads=threads) as run:
        if not kept:
            with writing(folder):
                run.keep(folder / JOURNAL, env, resume=options.resume)
        run.perform()
        if not run.rows:
            raise Stop(*((Exit.INTERRUPTED, UNCHANGED) if run.interrupted else (Exit.NOTHING, "nothing was checked")))
        if run.interrupted:
            env["unfinished"] = f"interrupted when {len(run.found)} of {count(len(tasks), 'case')} were done"
        reproduce = _reproducing(run, options.seed)
        write_page = partial(html.page, places={} if kept else _lines(records), program=_programs_of(run))
        _report(run.rows, env, sources, reproduce, write_page, None if kept else folder, options)
        services.tell(run.rows, env, records, reproduce, options)
        files = [f"not written: {kept}; use --reports DIR to save this one" if kept else _written(folder)]
        files += [f"written: {options.junit}"] if options.junit else []
        if not run.interrupted:
            run.finish()
            files += _named(_programs(run, folder, whole=not kept), folder)
    if not silent:
        print("\n".join(files), flush=True)
    if run.interrupted:
        again = "" if kept else f"; `{options.command.removesuffix(' --resume')} --resume` continues"
        raise Stop(Exit.INTERRUPTED, f"{env['unfinished']}{again}")
    return Exit.PASS if all(row.passed for row in run.rows) else Exit.FAIL


def _reproducing(run: Run, seed: int) -> Callable[[Row], str]:
    """A function that gives the command that verifies a row again."""
    task_of = _tasks(run)
    return lambda row: (task_of(row) or Task("", row.op, "", "float64", seed)).command


def _programs_of(run: Run) -> Callable[[Row], str]:
    """A function that gives the place, from the folder of the reports, of the program that will show a row's failure."""
    task_of = _tasks(run)

    def program(row: Row) -> str:
        task = None if run.interrupted else task_of(row)
        return f"failures/{folder_name(task.op, task.case, task.dtype)}/{PROGRAM}" if task else ""

    return program


def _tasks(run: Run) -> Callable[[Row], Task | None]:
    tasks = {(task.op, task.case, task.dtype): task for task in run.tasks}

    def task_of(row: Row) -> Task | None:  # an optimizer, a schedule or a training has one task for each dtype, without a case
        return tasks.get((row.op, row.case, row.dtype)) or tasks.get((row.op, "", row.dtype))

    return task_of


def _lines(records: Sequence[tuple[str, Any]]) -> dict[str, str]:
    """The file and line of each op's backward pass, where it is written in Python."""
    found = services.places_of(records)
    return {op: f"{place.below(Path.cwd())}:{place.line}" for (_, op), place in found.items() if place is not None}


def _report(
    rows: Sequence[Row],
    env: Mapping[str, Any],
    sources: Mapping[str, str],
    reproduce: Callable[[Row], str],
    write_page: Callable[..., str],
    folder: Path | None,
    options: argparse.Namespace,
) -> None:
    """Print the report, and write it to `folder` unless that is None."""
    json_text = document.to_json(document.document(rows, env))
    if folder:
        page = markdown.markdown(rows, env, sources, reproduce)
        pictures = write_page(rows, env, sources, reproduce)
        write(folder, {"verification.json": json_text, "verification.md": page, "index.html": pictures})
    if options.json:
        print(json_text, end="")
    else:
        show(table.render(rows, reproduce=reproduce, quiet=options.quiet))
        for row in worst_first(rows) if options.explain else ():
            if not (options.quiet and row.passed):
                show(explained(row))


def _written(folder: Path) -> str:
    return f"written: {folder / 'index.html'}, verification.md, verification.json"


def _programs(run: Run, folder: Path, *, whole: bool) -> list[Path]:
    try:
        with writing(folder / "failures"):
            return run.programs(folder / "failures", whole=whole)
    except KeyboardInterrupt:
        message = f"interrupted before {folder / 'failures'} was written; all cases are done"
        raise Stop(Exit.INTERRUPTED, message) from None


def _named(programs: Sequence[Path], folder: Path) -> list[str]:
    """A line for each program that shows a failure."""
    lines = [f"repro: python {shlex.quote(str(program))}" for program in programs[:SHOWN]]
    return lines + ([f"repro: {len(programs) - SHOWN} more in {folder / 'failures'}"] if len(programs) > SHOWN else [])
