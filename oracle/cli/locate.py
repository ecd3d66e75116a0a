"""`oracle locate`: which stage of a net has the wrong backward pass."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from oracle.cli.options import chosen, show
from oracle.locating import locate as stages
from oracle.running.selection import Exit, Stop
from oracle.spec import Spec
from oracle.text import plain

__all__ = ["locate"]


def locate(options: argparse.Namespace) -> Exit:
    """Runs the nets that the options name at their cases, and prints a table for each."""
    records = [record for _, record in chosen(options)]
    other = next((record for record in records if not isinstance(record, Spec)), None)
    if other is not None:
        raise Stop(Exit.USAGE, f"{other.name} has no stages: it is followed step by step (`oracle verify {other.name}`)")
    passed: list[bool] = []
    for spec, case in _cases(records, options.case):
        arguments, keywords = case.draw(spec.name, options.seed)
        try:
            found = stages.locate(spec.op, *arguments, options=keywords, seed=options.seed, allows=options.allows)
        except (TypeError, ValueError) as error:
            raise Stop(Exit.USAGE, f"{spec.name} / {case.name}: {error}") from None
        show(f"{plain(spec.name)} / {plain(case.name)}\n{found}\n")
        passed.append(found.passed)
    if not passed:
        raise Stop(Exit.NOTHING, f"nothing to check: no case of {', '.join(options.names)} is named {options.case!r}")
    return Exit.PASS if all(passed) else Exit.FAIL


def _cases(records: list[Spec], name: str | None) -> Iterator[tuple[Spec, Any]]:
    """The case of this name of each record; without a name the first case."""
    for spec in records:
        cases = [case for case in spec.cases if case.name == name] if name is not None else spec.cases[:1]
        yield from ((spec, case) for case in cases)
