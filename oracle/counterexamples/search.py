"""Random uses of an op. Its strategy draws shapes, options and numbers; `verify` checks them; a use that fails is shrunk.

Hypothesis makes every choice of structure (sizes, options, dtype) and the seed of the numbers, so it can shrink them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import optree

from oracle.arrays import cast
from oracle.contract.process_state import preserved
from oracle.counterexamples import program
from oracle.counterexamples.program import Files, Words
from oracle.judging.reasons import Reason
from oracle.row import Verdict
from oracle.running import campaign, workers
from oracle.running.tasks import Task, spec_of
from oracle.spec import Draw, Spec
from oracle.text import command_line, plain
from oracle.verification import verify

__all__ = ["WRONG", "Example", "Outcome", "can", "draw_example", "fuzz", "run", "search", "task_of"]

DRAWING = 60.0  # seconds for a strategy to repeat a use; if that takes longer, the program runs the whole command instead

WRONG = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR)
"""Verdicts that no correct op may get. VACUOUS is not among them: a strategy may draw a point where the gradient is zero. One
where rounding in a narrow dtype hides the gradient counts as such, too: there nothing can be checked."""


WORST_FIRST = (*WRONG, Verdict.VACUOUS, Verdict.ACCEPTED, Verdict.KINK, Verdict.PASS)


@dataclass(frozen=True)
class Example:
    """One call of an op, as a strategy drew it."""

    arguments: tuple[Any, ...]
    options: dict[str, Any]
    dtype: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """The result of all examples of one op. `failure` is a program that runs the smallest example that failed."""

    op: str
    examples: int
    verdicts: tuple[tuple[Verdict, int], ...]
    report: str = ""
    failure: Files = field(default_factory=dict)
    command: str = ""
    """The command that finds the failure again."""


def draw_example(
    spec: Spec, dtypes: Sequence[str], pick: Callable[[int, int], int], change: Callable[[Any], Any] = lambda array: array
) -> Example:
    """An example drawn by this op's strategy. `pick(low, high)` makes every choice; `change` may change the memory layout."""
    if spec.strategy is None:
        raise ValueError(f"fuzz: the Spec of {spec.name} has no strategy")
    seed = pick(0, 2**32 - 1)
    arguments: Any
    arguments, options = spec.strategy(Draw("fuzz", spec.name, seed, pick=pick))
    dtype = dtypes[pick(0, len(dtypes) - 1)]
    arguments = optree.tree_map(lambda array: change(cast(array, dtype)), arguments)
    return Example(arguments, options, dtype, seed)


def can(record: Any) -> bool:
    """Whether the record is a Spec with a strategy."""
    return isinstance(record, Spec) and record.strategy is not None


def task_of(record: Spec, seed: int, module: str = "") -> Task:
    """The task of all random uses of one op. It has no case and no dtype, because both are drawn."""
    return Task(module, record.name, "", "", seed)


def run(
    tasks: Sequence[Task],
    examples: int,
    dtypes: Sequence[str],
    jobs: int,
    arrived: Callable[[Outcome], object],
    *,
    timeout: float | None = None,
) -> list[Outcome]:
    """The outcome of each op, in order, found in `jobs` processes with at most `timeout` seconds for each use.

    `arrived` gets each outcome as soon as it is there.
    """
    work = partial(_one_of_many, examples=examples, dtypes=dtypes)
    outcomes: dict[Task, Outcome] = {}

    def finished(task: Task, result: Outcome | BaseException) -> None:
        outcomes[task] = _lost(task, result, dtypes) if isinstance(result, BaseException) else result
        arrived(outcomes[task])

    campaign.each(work, tasks, jobs, "fuzz", "op", timeout=timeout, arrived=finished)
    return [outcomes[task] for task in tasks]


def _one_of_many(task: Task, examples: int, dtypes: Sequence[str]) -> Outcome:
    spec = spec_of(task)
    if spec.reference is None:
        return fuzz(task, examples, dtypes)
    from oracle import autodiff  # imported here, so that ops without a reference need no JAX

    try:
        return fuzz(task, examples, dtypes)
    finally:
        autodiff.forget()


def _lost(task: Task, error: BaseException, dtypes: Sequence[str]) -> Outcome:
    """The outcome of an op whose strategy raised, that took too long, or whose process died."""
    report = f"ERROR  {task.op}: {plain(workers.described(error))}"
    picks = getattr(error, "note", None)
    command = _command(task)
    files = program.running(command, task.module)
    if picks is not None:
        words = Words(
            title=f"A random use of {task.op}: {workers.described(error)}",
            command=f"Found by `{command_line(command)}`.",
            seconds=error.seconds if isinstance(error, workers.TimedOut) else None,
            dies=isinstance(error, workers.Died),
        )
        work = partial(_program_of, task=task, dtypes=tuple(dtypes), words=words)
        (drawn,) = campaign.each(work, [picks], 1, "", "", quiet=True, timeout=DRAWING)
        files = files if isinstance(drawn, BaseException) else drawn
    return Outcome(task.op, 1, ((Verdict.ERROR, 1),), report, files, command_line(command))


def _program_of(picks: Sequence[int], task: Task, dtypes: Sequence[str], words: Words) -> Files:
    """The program of the use that these choices give."""
    choices = iter(picks)
    return _program(task, draw_example(spec_of(task), dtypes, lambda low, high: next(choices)), words)


def _command(task: Task) -> list[str]:
    return ["oracle", "fuzz", task.name, "--seed", str(task.seed)]


def _program(task: Task, example: Example, words: Words) -> Files:
    files = program.holding(task, example.arguments, example.options, words, seed=example.seed)
    return files or program.running(_command(task), task.module)


def fuzz(task: Task, examples: int, dtypes: Sequence[str]) -> Outcome:
    """Check `examples` random uses of one op, the same ones for the same seed. Stop at the first failure and shrink it."""
    counts: Counter[Verdict] = Counter()
    found = search(task, examples, dtypes, WRONG, counts)
    drawn, verdicts = sum(counts.values()), tuple(counts.items())
    if found is None:
        return Outcome(task.op, drawn, verdicts)
    command = command_line(_command(task))
    words = Words(f"The smallest random use of {task.op} that was found not to pass.", f"Found by `{command}`.")
    return Outcome(task.op, drawn, verdicts, found.report, _program(task, found.example, words), command)


class Found(NamedTuple):
    """The smallest example that failed, and its report."""

    example: Example
    report: str


def search(
    task: Task,
    examples: int,
    dtypes: Sequence[str],
    wrong: Sequence[Verdict],
    counts: Counter[Verdict],
    seconds: float | None = None,
) -> Found | None:
    """The smallest example with one of the verdicts `wrong`, or None. After `seconds`, the smallest that was found so far."""
    import hypothesis
    from hypothesis import strategies as st

    spec = spec_of(task)
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
        verdict, report = _checked(spec, example)
        if not smallest:  # examples after the first failure only shrink it, so they do not count
            counts[verdict] += 1
        if verdict in wrong:
            smallest[:] = [Found(example, report)]  # hypothesis tries the smallest one last
            raise _WrongError

    with preserved(), suppress(_WrongError, _Enough):
        check()
    return smallest[0] if smallest else None


class _WrongError(Exception):
    """Tells hypothesis that an example failed."""


class _Enough(BaseException):
    """The time is up. This is no Exception, because hypothesis would take one for another failure."""


def _checked(spec: Spec, example: Example) -> tuple[Verdict, str]:
    """The worst verdict of one example, and its report."""
    try:
        result = verify(
            spec.op,
            *example.arguments,
            options=example.options,
            reference=spec.reference,
            seed=example.seed,
            views=spec.views,
            allows=spec.allows,
            accept=spec.accept,
            order=spec.order,
            convention=spec.convention,
            strict=True,
        )
    except (TypeError, ValueError) as error:
        return Verdict.ERROR, f"{spec.name}: {type(error).__name__}: {error}"
    verdicts = {Verdict.VACUOUS if row.reason == Reason.UNRESOLVED.value else row.verdict for row in result.rows}
    return min(verdicts, key=WORST_FIRST.index), str(result)
