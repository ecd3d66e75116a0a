"""Random correct use of every op through `verify`: a strategy draws shapes, options and numbers, and what fails is shrunk.

Hypothesis makes the choices of structure (sizes, options, dtype) and the seed of the numbers, so it can shrink them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import optree

from oracle import campaign, repro
from oracle.row import Verdict
from oracle.spec import Draw, Spec
from oracle.verification import dtype_named, verify

__all__ = ["WRONG", "Example", "Outcome", "can", "draw_example", "fuzz", "run", "task_of"]

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
    failure: str = ""


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
    tasks: Sequence[campaign.Task], examples: int, dtypes: Sequence[str], jobs: int, arrived: Callable[[Outcome], object]
) -> list[Outcome]:
    """All these ops, in `jobs` processes; `arrived` is told of each outcome as soon as it is there: all may take an hour."""
    work = partial(_one_of_many, examples=examples, dtypes=dtypes)
    found = campaign.each(work, tasks, jobs, "fuzz", "op", arrived=lambda task, result: arrived(_outcome(task, result)))
    return [_outcome(task, result) for task, result in zip(tasks, found, strict=True)]


def _one_of_many(task: campaign.Task, examples: int, dtypes: Sequence[str]) -> Outcome:
    outcome = fuzz(task, examples, dtypes)
    if campaign.spec_of(task).reference is not None:  # then JAX is here
        from oracle import autodiff

        autodiff.forget()
    return outcome


def _outcome(task: campaign.Task, result: Outcome | BaseException) -> Outcome:
    return _lost(task, result) if isinstance(result, BaseException) else result


def _lost(task: campaign.Task, error: BaseException) -> Outcome:
    """What is left of an op whose strategy raised, or whose worker died."""
    report = f"ERROR  {task.op}: {type(error).__name__}: {error}"
    return Outcome(task.op, 1, ((Verdict.ERROR, 1),), report, f"raise SystemExit({report!r})\n")


def fuzz(task: campaign.Task, examples: int, dtypes: Sequence[str]) -> Outcome:
    """`examples` random uses of one op, the same ones for the same seed. It stops at the first failure, and shrinks it."""
    import hypothesis
    from hypothesis import strategies as st

    spec = campaign.spec_of(task)
    counts: Counter[Verdict] = Counter()
    smallest: list[tuple[Example, str]] = []

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
        example = draw_example(spec, dtypes, lambda low, high: int(data.draw(st.integers(low, high))))
        verdict, said = _seen(spec, example)
        if not smallest:  # what follows a failure shrinks it
            counts[verdict] += 1
        if verdict in WRONG:
            smallest[:] = [(example, said)]  # hypothesis ends with the smallest
            raise _WrongError

    try:
        check()
    except _WrongError:
        example, said = smallest[0]
        command = f"oracle fuzz {task.module + ':' if task.module else ''}{task.op} --seed {task.seed}"
        source = repro.program(
            task.module,
            task.op,
            example.arguments,
            example.options,
            example.seed,
            title=f"The smallest random use of {task.op} found that is not right.",
            command=f"Found by `{command}`.",
        )
        return Outcome(task.op, sum(counts.values()), tuple(counts.items()), said, source)
    return Outcome(task.op, sum(counts.values()), tuple(counts.items()))


class _WrongError(Exception):
    pass


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
        )
    except (TypeError, ValueError) as error:
        return Verdict.ERROR, f"{spec.name}: {type(error).__name__}: {error}"
    verdicts = {row.verdict for row in result.rows}
    return min(verdicts, key=WORST_FIRST.index), str(result)
