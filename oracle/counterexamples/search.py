"""Random correct use of every op through `verify`: a strategy draws shapes, options and numbers, and what fails is shrunk.

Hypothesis makes the choices of structure (sizes, options, dtype) and the seed of the numbers, so it can shrink them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import optree

from oracle.contract.process_state import preserved
from oracle.counterexamples import program
from oracle.counterexamples.program import Files, Words
from oracle.row import Verdict
from oracle.running import campaign, workers
from oracle.spec import Draw, Spec
from oracle.text import command_line, plain
from oracle.verification import dtype_named, verify

__all__ = ["WRONG", "Example", "Outcome", "can", "draw_example", "fuzz", "run", "search", "task_of"]

DRAWING = 60.0  # seconds in which a strategy draws again what did not end

WRONG = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR)
"""What no correct op may get. VACUOUS is right where the gradient that was drawn is zero."""


WORST_FIRST = (*WRONG, Verdict.VACUOUS, Verdict.KINK, Verdict.PASS)


@dataclass(frozen=True)
class Example:
    """One call of an op, as a strategy drew it."""

    arguments: tuple[Any, ...]
    options: dict[str, Any]
    dtype: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What became of all examples of one op; `failure` is a runnable program for the smallest one that went wrong."""

    op: str
    examples: int
    verdicts: tuple[tuple[Verdict, int], ...]
    report: str = ""
    failure: Files = field(default_factory=dict)
    command: str = ""
    """What finds it again."""


def draw_example(
    spec: Spec, dtypes: Sequence[str], pick: Callable[[int, int], int], change: Callable[[Any], Any] = lambda array: array
) -> Example:
    """An example of this op's strategy, every choice made by `pick(low, high)`; `change` lays out each argument in memory."""
    if spec.strategy is None:
        raise ValueError(f"fuzz: the Spec of {spec.name} has no strategy")
    seed = pick(0, 2**32 - 1)
    arguments: Any
    arguments, options = spec.strategy(Draw("fuzz", spec.name, seed, pick=pick))
    dtype = dtypes[pick(0, len(dtypes) - 1)]
    arguments = optree.tree_map(lambda array: change(np.asarray(array).astype(dtype_named(dtype))), arguments)
    return Example(arguments, options, dtype, seed)


def can(record: Any) -> bool:
    """Whether there is a strategy to draw from."""
    return isinstance(record, Spec) and record.strategy is not None


def task_of(record: Spec, seed: int, module: str = "") -> campaign.Task:
    """All random uses of one op: of no case, and of whatever dtypes are drawn."""
    return campaign.Task(module, record.name, "", "", seed)


def run(
    tasks: Sequence[campaign.Task],
    examples: int,
    dtypes: Sequence[str],
    jobs: int,
    arrived: Callable[[Outcome], object],
    *,
    timeout: float | None = None,
) -> list[Outcome]:
    """All these ops, in `jobs` processes, each use in at most `timeout` seconds; `arrived` is told of each as it is there."""
    work = partial(_one_of_many, examples=examples, dtypes=dtypes)
    outcomes: dict[campaign.Task, Outcome] = {}

    def told(task: campaign.Task, result: Outcome | BaseException) -> None:
        outcomes[task] = _lost(task, result, dtypes) if isinstance(result, BaseException) else result
        arrived(outcomes[task])

    campaign.each(work, tasks, jobs, "fuzz", "op", timeout=timeout, arrived=told)
    return [outcomes[task] for task in tasks]


def _one_of_many(task: campaign.Task, examples: int, dtypes: Sequence[str]) -> Outcome:
    spec = campaign.spec_of(task)
    if spec.reference is None:
        return fuzz(task, examples, dtypes)
    from oracle import autodiff  # then JAX is here

    try:
        return fuzz(task, examples, dtypes)
    finally:
        autodiff.forget()


def _lost(task: campaign.Task, error: BaseException, dtypes: Sequence[str]) -> Outcome:
    """What is left of an op whose strategy raised, or that did not end, or whose worker died."""
    report = f"ERROR  {task.op}: {plain(workers.said(error))}"
    picks = getattr(error, "note", None)
    command = _command(task)
    files = program.running(command, task.module)
    if picks is not None:
        words = Words(
            title=f"A random use of {task.op}: {workers.said(error)}",
            command=f"Found by `{command_line(command)}`.",
            seconds=error.seconds if isinstance(error, workers.TimedOut) else None,
            dies=isinstance(error, workers.Died),
        )
        work = partial(_program_of, task=task, dtypes=tuple(dtypes), words=words)
        (drawn,) = campaign.each(work, [picks], 1, "", "", quiet=True, timeout=DRAWING)
        files = files if isinstance(drawn, BaseException) else drawn
    return Outcome(task.op, 1, ((Verdict.ERROR, 1),), report, files, command_line(command))


def _program_of(picks: Sequence[int], task: campaign.Task, dtypes: Sequence[str], words: Words) -> Files:
    """The program of the use that these choices draw."""
    choices = iter(picks)
    return _program(task, draw_example(campaign.spec_of(task), dtypes, lambda low, high: next(choices)), words)


def _command(task: campaign.Task) -> list[str]:
    return ["oracle", "fuzz", task.name, "--seed", str(task.seed)]


def _program(task: campaign.Task, example: Example, words: Words) -> Files:
    files = program.holding(task, example.arguments, example.options, words, seed=example.seed)
    return files or program.running(_command(task), task.module)


def fuzz(task: campaign.Task, examples: int, dtypes: Sequence[str]) -> Outcome:
    """`examples` random uses of one op, the same ones for the same seed. It stops at the first failure, and shrinks it."""
    counts: Counter[Verdict] = Counter()
    found = search(task, examples, dtypes, WRONG, counts)
    drawn, verdicts = sum(counts.values()), tuple(counts.items())
    if found is None:
        return Outcome(task.op, drawn, verdicts)
    command = command_line(_command(task))
    words = Words(f"The smallest random use of {task.op} found that is not right.", f"Found by `{command}`.")
    return Outcome(task.op, drawn, verdicts, found.said, _program(task, found.example, words), command)


class Found(NamedTuple):
    """The smallest example that went wrong, and what is said of it."""

    example: Example
    said: str


def search(
    task: campaign.Task,
    examples: int,
    dtypes: Sequence[str],
    wrong: Sequence[Verdict],
    counts: Counter[Verdict],
    seconds: float | None = None,
) -> Found | None:
    """The smallest of so many examples with one of the verdicts `wrong`, if there is one; after `seconds`, the smallest yet."""
    import hypothesis
    from hypothesis import strategies as st

    spec = campaign.spec_of(task)
    smallest: list[Found] = []
    end = None if seconds is None else time.monotonic() + seconds

    @hypothesis.seed(task.seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(data=st.data())
    def check(data: Any) -> None:
        if end is not None and time.monotonic() > end:
            raise _Enough
        picks: list[int] = []

        def pick(low: int, high: int) -> int:
            picks.append(int(data.draw(st.integers(low, high))))
            return picks[-1]

        example = draw_example(spec, dtypes, pick)
        workers.alive(picks)
        verdict, said = _seen(spec, example)
        if not smallest:  # what follows a failure shrinks it
            counts[verdict] += 1
        if verdict in wrong:
            smallest[:] = [Found(example, said)]  # hypothesis ends with the smallest
            raise _WrongError

    with preserved(), suppress(_WrongError, _Enough):
        check()
    return smallest[0] if smallest else None


class _WrongError(Exception):
    pass


class _Enough(BaseException):
    """Not an Exception, which hypothesis would take for another failure."""


def _seen(spec: Spec, example: Example) -> tuple[Verdict, str]:
    """The worst verdict of one example, and the report."""
    try:
        result = verify(
            spec.op,
            *example.arguments,
            options=example.options,
            reference=spec.reference,
            seed=example.seed,
            views=spec.views,
            strict=True,
        )
    except (TypeError, ValueError) as error:
        return Verdict.ERROR, f"{spec.name}: {type(error).__name__}: {error}"
    verdicts = {row.verdict for row in result.rows}
    return min(verdicts, key=WORST_FIRST.index), str(result)
