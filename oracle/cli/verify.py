"""`oracle verify`: the tasks, their run, and its reports."""

from __future__ import annotations

import argparse
import difflib
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oracle.cli.options import UNCHANGED, check_reports, chosen, dtypes_of, jobs_of, selection_of, timeout_of, write, writing
from oracle.cli.run import Run
from oracle.report import document, html, markdown, table
from oracle.row import Row
from oracle.running import campaign
from oracle.running.journal import NAME
from oracle.running.selection import Exit, Stop
from oracle.spec import Spec
from oracle.text import count

__all__ = ["verify"]

SHOWN = 5  # programs that are named


def verify(options: argparse.Namespace) -> Exit:
    """`oracle verify`: the cases that are named, in processes; the table, the reports, the exit code."""
    records = chosen(options)
    tasks = [task for module, record in records for task in campaign.tasks_of(record, dtypes_of(options), options.seed, module)]
    tasks = [task for task in tasks if options.case in (None, task.case)]
    if not tasks:
        names = [case.name for _, record in records if isinstance(record, Spec) for case in record.cases]
        near = difflib.get_close_matches(options.case or "", names, n=1)
        hint = f"; did you mean --case {shlex.quote(near[0])}?" if near else ""
        raise Stop(Exit.NOTHING, f"nothing to check: no case fits {selection_of(options)}{hint}")
    unasked = dict.fromkeys(record.name for _, record in records if record.name not in {task.op for task in tasks})
    if options.names and unasked:
        print(f"not checked: {', '.join(unasked)} (no case fits {selection_of(options)})", file=sys.stderr)
    folder = options.reports or Path("reports")
    check_reports(folder)
    env = {**document.environment(options.command, options.seed), "selection": selection_of(options), "cases": len(tasks)}
    everything = not (options.names or options.family or options.case) and "float64" in dtypes_of(options)
    kept = "" if options.reports or everything else document.larger(folder, len(tasks), env["selection"])
    sources = {record.name: str(record.source) for _, record in records if isinstance(record, Spec) and record.source}
    # Nets at their real size are verified one after the other, each with all cores: two may not fit into memory.
    at_size = any(getattr(record, "on_request", False) for _, record in records)
    jobs, threads = (1, jobs_of(options)) if at_size else (jobs_of(options), 1)
    with Run(tasks, jobs, timeout_of(options, at_size=at_size), quiet=options.json, threads=threads) as run:
        if not kept:
            with writing(folder):
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
        write(folder, {"verification.json": json_text, "verification.md": page, "index.html": pictures})
    if options.json:
        print(json_text, end="")
    else:
        print(table.render(run.rows, reproduce=reproduce))


def _written(folder: Path) -> str:
    return f"written: {folder / 'index.html'}, verification.md, verification.json"


def _programs(run: Run, folder: Path, *, whole: bool) -> list[Path]:
    try:
        with writing(folder / "failures"):
            return run.programs(folder / "failures", whole=whole)
    except KeyboardInterrupt:
        raise Stop(Exit.INTERRUPTED, f"interrupted before {folder / 'failures'} was written; all cases were done") from None


def _alone(programs: Sequence[Path], folder: Path) -> list[str]:
    """Where the programs are that show the failures."""
    said = [f"alone: python {shlex.quote(str(program))}" for program in programs[:SHOWN]]
    return said + ([f"alone: {len(programs) - SHOWN} more in {folder / 'failures'}"] if len(programs) > SHOWN else [])
