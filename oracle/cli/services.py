"""What services of continuous integration read of a run of `oracle verify`: annotations and a summary on GitHub, JUnit XML."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oracle.cli.options import check_reports, write
from oracle.report import github
from oracle.report.junit import junit
from oracle.report.places import Place, place_of, place_of_pullback, step_of
from oracle.row import Row
from oracle.running.selection import Exit, Stop
from oracle.spec import Spec

__all__ = ["check", "places_of", "tell"]


def check(options: argparse.Namespace) -> None:
    """Stop with a message if the file of `--junit` cannot be written. Called before the first case, to waste no time."""
    if options.junit is not None:
        if options.junit.is_dir():
            raise Stop(Exit.USAGE, f"--junit names a file, and {options.junit} is a folder")
        check_reports(options.junit.parent)


def tell(
    rows: Sequence[Row],
    env: Mapping[str, Any],
    records: Sequence[tuple[str, Any]],
    reproduce: Callable[[Row], str],
    options: argparse.Namespace,
) -> None:
    """Write the JUnit file, and tell GitHub. It also reads standard error, where annotations do not mix with `--json`."""
    if options.junit is not None:
        write(options.junit.parent, {options.junit.name: junit(rows, env, reproduce)})
    if options.github or github.on_github():
        places = places_of(records)
        lines = github.error_lines(rows, lambda row: places.get((row.family, row.op)), reproduce)
        print(*lines, sep="\n", end="\n" if lines else "", file=sys.stderr, flush=True)
        github.write_summary(rows, reproduce, env.get("unfinished", ""))


def places_of(records: Sequence[tuple[str, Any]]) -> dict[tuple[str, str], Place | None]:
    """Where the backward pass of each op is written. A row has the family of its record, but the module if it is an ERROR."""
    found: dict[tuple[str, str], Place | None] = {}
    for module, record in records:
        place = place_of_pullback(record.op) if isinstance(record, Spec) else place_of(step_of(record))
        found.update(dict.fromkeys([(module, record.name), (record.family, record.name)], place))
    return found
