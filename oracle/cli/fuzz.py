"""`oracle fuzz`: checks random uses of ops, and writes a program for each use that fails."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from pathlib import Path

from oracle.cli.options import check_reports, chosen, dtypes_of, jobs_of, selection_of, show, timeout_of
from oracle.counterexamples import folder
from oracle.row import Verdict
from oracle.running.selection import Exit, Stop
from oracle.text import count

__all__ = ["fuzz"]


def fuzz(options: argparse.Namespace) -> Exit:
    """`oracle fuzz`: checks random uses of ops. The smallest use that fails is written as a program."""
    try:
        from oracle.counterexamples import search
    except ImportError as error:
        raise Stop(Exit.USAGE, f"fuzz needs hypothesis: {error}") from None
    tasks = [search.task_of(record, options.seed, module) for module, record in chosen(options) if search.can(record)]
    if not tasks:
        raise Stop(Exit.NOTHING, f"nothing to fuzz: no op whose Spec has a strategy fits {selection_of(options)}")
    check_reports(options.reports)
    dtypes = dtypes_of(options)
    root = options.reports / "failures"
    written: list[Path] = []

    def write_failure(outcome: search.Outcome) -> None:
        if outcome.failure:
            try:
                written.append(folder.write(root, folder.folder_name(outcome.op, "fuzz"), outcome.failure, outcome.command))
            except OSError as error:
                raise Stop(Exit.USAGE, f"cannot write to {root}: {error.strerror or error}") from None
            show(f"{outcome.report}\n      reproduce: python {shlex.quote(str(written[-1]))}\n")

    outcomes = search.run(tasks, options.examples, dtypes, jobs_of(options), write_failure, timeout=timeout_of(options))
    folder.prune(root, written, [outcome.command for outcome in outcomes])
    counts: Counter[Verdict] = Counter()
    for outcome in outcomes:
        counts.update(dict(outcome.verdicts))
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    uses = count(sum(counts.values()), "random use")
    show(f"{uses} of {count(len(outcomes), 'op')} ({', '.join(dtypes)}): {verdicts}")
    return Exit.FAIL if any(outcome.failure for outcome in outcomes) else Exit.PASS
