"""`oracle power`: what it does with its options."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from oracle.power import knock_out, report
from oracle.power.measuring import Measured, alarms, measure
from oracle.power.mechanisms import MECHANISMS
from oracle.report import document
from oracle.running.selection import Exit, Stop
from oracle.spec import Spec

__all__ = ["perform"]

Write: TypeAlias = Callable[[Mapping[str, str]], None]


def perform(records: Sequence[tuple[str, Any]], options: argparse.Namespace, write: Write) -> Exit:
    """Measure, write the reports, say what was found."""
    chosen = [(module, record) for module, record in records if isinstance(record, Spec)]
    if not chosen:
        raise Stop(Exit.NOTHING, "nothing to mutate: no op with a pullback is named")
    jobs = options.jobs or os.cpu_count() or 1
    env = document.environment(options.command, 0)
    if options.knock_out:
        return _knock_out(chosen, jobs, env, options, write)

    def written(measured: Measured) -> Measured:
        write({"power.json": document.to_json(report.as_dict(measured, env)), "power.md": report.page(measured, env)})
        return measured

    measured = written(measure(chosen, jobs, options.timeout))
    if options.alarms:  # which takes longer still: what is known already is not lost with it
        measured = written(alarms(measured, chosen, options.alarms, jobs))
    print(report.text(measured))
    print(f"written: {options.reports / 'power.md'}, {options.reports / 'power.json'}")
    return Exit.PASS if measured.passed else Exit.FAIL


def _knock_out(
    chosen: Sequence[tuple[str, Spec]], jobs: int, env: Mapping[str, Any], options: argparse.Namespace, write: Write
) -> Exit:
    """The mechanisms of the engine instead of mutants."""
    if options.alarms:
        raise Stop(Exit.USAGE, "--alarms counts correct uses beside mutants: leave it out with --knock-out")
    table = knock_out.measure(chosen, MECHANISMS, jobs, options.timeout)
    write({"knock-out.json": document.to_json(knock_out.as_dict(table, env)), "knock-out.md": knock_out.page(table, env)})
    print(knock_out.text(table))
    print(f"written: {options.reports / 'knock-out.md'}, {options.reports / 'knock-out.json'}")
    return Exit.FAIL if table.lost else Exit.PASS
