"""Makes a program for each failing case. It uses a smaller random use of the op if one that fails is found quickly."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import optree

from oracle.arrays import cast
from oracle.contract.process_state import apart, preserved
from oracle.counterexamples import program, search
from oracle.counterexamples.program import Files, Words
from oracle.row import Row, Verdict, worst_first
from oracle.running import campaign, workers
from oracle.running.tasks import Task, spec_of
from oracle.running.workers import Died, Lost, TimedOut
from oracle.spec import Spec

__all__ = ["Failing", "failing", "program_of", "programs"]

# The search for a smaller use must not delay the report by more than about half a minute.
OPS = 3  # failing ops for which a smaller use is searched: the first ones
EXAMPLES = 50  # random uses that are tried for each of them
SECONDS = 10.0  # for the search of each op
LIMIT = 30.0  # seconds for one use in this search


@dataclass(frozen=True)
class Failing:
    """A case that does not pass, its verdict, and whether a smaller use is searched."""

    task: Task
    verdict: Verdict
    words: Words
    shrink: bool


def failing(results: Mapping[Task, Sequence[Row]], lost: Mapping[Task, Lost]) -> list[Failing]:
    """The failing cases that a program can show. What an op does to its process, only the command can show."""
    found: list[Failing] = []
    shrunk: set[str] = set()
    for task, rows in results.items():
        wrong = worst_first(row for row in rows if not (row.passed or campaign.conducts(row)))
        if not wrong or not (task.case or task.module):  # optimizers, schedules and trainings are shown by the command
            continue
        first = task not in lost and wrong[0].verdict in search.WRONG and task.name not in shrunk and len(shrunk) < OPS
        if first:
            shrunk.add(task.name)
        found.append(Failing(task, wrong[0].verdict, _words(task, wrong[0], lost.get(task)), first))
    return found


def programs(cases: Sequence[Failing], jobs: int, *, quiet: bool, timeout: float | None) -> list[Files]:
    """The program of each case. If making it takes too long or raises, a program that draws the arguments when it runs."""
    limit = None if timeout is None else LIMIT
    found = campaign.each(program_of, cases, jobs, "write failures", "case", quiet=quiet, timeout=limit)
    again = [i for i, files in enumerate(found) if isinstance(files, BaseException) and cases[i].shrink]
    plain = [replace(cases[i], shrink=False) for i in again]
    for i, files in zip(again, campaign.each(program_of, plain, jobs, "", "", quiet=True, timeout=limit), strict=True):
        found[i] = files
    return [
        program.drawing(case.task, case.words) if isinstance(files, BaseException) else files
        for case, files in zip(cases, found, strict=True)
    ]


def program_of(case: Failing) -> Files:
    """The program of one case. Runs in a worker process, or in the process of the command."""
    spec = spec_of(case.task)
    if not isinstance(spec, Spec):  # a run of an optimizer has no arguments to hold or to shrink
        return program.running(shlex.split(case.task.command), case.task.module)
    if spec.reference is not None:
        import_module("oracle.autodiff")
    workers.alive()
    with preserved(), apart():
        return _smaller(case, spec) or _as_it_is(case, spec)


def _as_it_is(case: Failing, spec: Spec) -> Files:
    task, drawn = case.task, spec.case(case.task.case)
    try:
        given: Any
        given, options = drawn.draw(spec.name, task.seed)
        if task.dtype != "float64":
            given = optree.tree_map(lambda a: cast(a, task.dtype), given)
    except Exception:  # drawing the arguments fails, which the program then shows
        return program.drawing(task, case.words)
    files = program.holding(task, given, options, case.words, seed=task.seed, flags=drawn.flags)
    return files or program.drawing(task, case.words)


def _smaller(case: Failing, spec: Spec) -> Files | None:
    """A smaller use of the op with the same verdict, if its strategy draws one soon."""
    task = case.task
    if not (case.shrink and search.can(spec)):
        return None
    try:
        found = search.search(task, EXAMPLES, (task.dtype,), (case.verdict,), Counter(), SECONDS)
        whole = _size(spec.case(task.case).draw(spec.name, task.seed)[0])
    except Exception:  # for example an exception in the strategy: the program then shows the case itself
        return None
    if found is None or _size(found.example.arguments) >= whole:
        return None
    title = f"The smallest random use of {task.op} that was found to be {case.verdict}, like the case."
    words = replace(case.words, title=title)
    return program.holding(task, found.example.arguments, found.example.options, words, seed=found.example.seed)


def _size(tree: Any) -> int:
    return sum(np.size(leaf) for leaf in optree.tree_leaves(tree))


def _words(task: Task, row: Row, lost: Lost | None) -> Words:
    return Words(
        title=f"{row.verdict} {task}: {' '.join(row.diagnosis.split())}",
        command=f"Found by `{task.command}`.",
        seconds=lost.seconds if isinstance(lost, TimedOut) else None,
        dies=isinstance(lost, Died) or "KeyboardInterrupt" in row.diagnosis,
    )
