"""For each case that is not right a program that shows it, at a smaller random use of the op if one is found quickly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import optree

from oracle.contract.process_state import apart, preserved
from oracle.counterexamples import program, search
from oracle.counterexamples.program import Files, Words
from oracle.row import Row, Verdict, worst_first
from oracle.running import campaign, workers
from oracle.running.campaign import Task
from oracle.running.workers import Died, Lost, TimedOut
from oracle.spec import Spec
from oracle.verification import dtype_named

__all__ = ["Failing", "failing", "program_of", "programs"]

OPS = 3  # the first that fail, for which a smaller use is looked for
EXAMPLES = 50
SECONDS = 10.0
LIMIT = 30.0  # seconds for one use meanwhile


@dataclass(frozen=True)
class Failing:
    """A case that is not right, and how."""

    task: Task
    verdict: Verdict
    words: Words
    shrink: bool


def failing(results: Mapping[Task, Sequence[Row]], lost: Mapping[Task, Lost]) -> list[Failing]:
    """The cases that a program can show: what an op did to its process, or prints, shows in a command alone."""
    found: list[Failing] = []
    shrunk: set[str] = set()
    for task, rows in results.items():
        wrong = worst_first(row for row in rows if not (row.passed or campaign.conducts(row)))
        if not wrong or not (task.case or task.module):  # what is followed step by step is shown by the command
            continue
        first = task not in lost and wrong[0].verdict in search.WRONG and task.name not in shrunk and len(shrunk) < OPS
        if first:
            shrunk.add(task.name)
        found.append(Failing(task, wrong[0].verdict, _words(task, wrong[0], lost.get(task)), first))
    return found


def programs(cases: Sequence[Failing], jobs: int, *, quiet: bool, timeout: float | None) -> list[Files]:
    """The program of each; of what does not end or raises meanwhile, one that draws the arguments when it runs."""
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
    """The program of one, in whichever process."""
    spec: Spec = campaign.spec_of(case.task)
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
            given = optree.tree_map(lambda a: np.asarray(a).astype(dtype_named(task.dtype)), given)
    except Exception:  # that is what is wrong: the program shows it
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
    except Exception:  # its strategy raises, say: the case itself is shown
        return None
    if found is None or _size(found.example.arguments) >= whole:
        return None
    title = f"The smallest random use of {task.op} found that is not right either: {case.verdict}"
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
