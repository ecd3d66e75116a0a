"""The whole measurement, on worker processes: all mutants, the smallest errors, and random correct uses."""

from __future__ import annotations

import tempfile
from collections import defaultdict, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from oracle.power.equivalent import judged
from oracle.power.mutants import Fate, Mutant, Outcome, plan
from oracle.power.performing import Findings, Work, perform, written
from oracle.power.reach import pullback_of, reached
from oracle.power.smallest import Smallest
from oracle.running import campaign
from oracle.running.tasks import DTYPES, Task
from oracle.spec import Spec

__all__ = ["Alarms", "Measured", "alarms", "measure"]


@dataclass(frozen=True)
class Alarms:
    """The number of random correct uses that were verified, and the reports of those that did not pass."""

    uses: int = 0
    false: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """The results of the whole measurement."""

    fates: tuple[Fate, ...]
    smallest: tuple[Smallest, ...]
    lost: tuple[str, ...]
    """The ops whose worker raised or died, each with the error."""
    alarms: Alarms = Alarms()

    @property
    def passed(self) -> bool:
        """Whether every mutant is killed or listed as equivalent, no op was lost, and no correct use failed."""
        return not (self.lost or self.alarms.false or any(fate.outcome is Outcome.SURVIVED for fate in self.fates))


def measure(records: Sequence[tuple[str, Spec]], jobs: int, timeout: float) -> Measured:
    """Tests every mutant with one op, and those that survive there with all other ops of the catalogue that run the function.

    The first op of a mutant does not depend on the ops that are measured, so the families measured one by one add up to the
    whole catalogue.
    """
    known = {spec.name: (module, spec) for module, spec in (*_beside(records), *records)}
    tasks = {name: Task(module, name, "", "float64") for name, (module, _) in known.items()}
    todo = plan(
        {name: reached(spec) for name, (_, spec) in known.items()},
        {name: pullback_of(spec) for name, (_, spec) in known.items()},
        {spec.name for _, spec in records},
    )
    works = [Work(tasks[spec.name], tuple(todo.first[spec.name]), timeout) for _, spec in records]
    found, lost = _performed(works, jobs, "power")
    fates = {fate.mutant: fate for one in found for fate in one.fates}

    again: dict[str, list[Mutant]] = defaultdict(list)
    for mutant, fate in fates.items():
        for op in todo.others[mutant.function] if fate.outcome is Outcome.SURVIVED else ():
            again[op].append(mutant)
    works = [Work(tasks[op], tuple(mutants), timeout, planted=False) for op, mutants in again.items()]
    others, more = _performed(works, jobs, "power: survivors, by other ops") if works else ([], [])
    for fate in (fate for one in others for fate in one.fates):
        before = fates[fate.mutant]
        if before.outcome is Outcome.SURVIVED:
            better = fate.outcome is not Outcome.SURVIVED or fate.moved > before.moved
            fates[fate.mutant] = fate if better else before
    return Measured(
        tuple(judged(fate) for fate in fates.values()),
        tuple(small for one in found for small in one.smallest),
        tuple(lost + more),
    )


def _beside(records: Sequence[tuple[str, Spec]]) -> list[tuple[str, Spec]]:
    """The whole catalogue, if one of these records belongs to it."""
    from oracle import catalogue

    return [("", spec) for spec in catalogue.specs()] if any(not module for module, _ in records) else []


def _performed(works: Sequence[Work], jobs: int, what: str) -> tuple[list[Findings], list[str]]:
    """Performs the works in other processes, because a mutant may crash one; the longest ones first, to finish together."""
    waiting = deque(sorted(works, key=lambda work: -len(work.mutants)))
    found: list[Findings] = []
    lost: list[str] = []
    running: dict[Future[Findings], tuple[Work, Path, Executor]] = {}
    with (
        campaign.progress(len(waiting), what, "op") as advance,
        campaign.few_threads(),
        tempfile.TemporaryDirectory() as folder,
        ExitStack() as pools,
    ):

        def start(work: Work, pool: Executor | None = None) -> None:
            diary = Path(folder) / work.task.op.replace("/", " ")
            diary.unlink(missing_ok=True)
            pool = pool or pools.enter_context(campaign.executor(1))
            running[pool.submit(perform, work, diary)] = work, diary, pool

        while waiting and len(running) < jobs:
            start(waiting.popleft())
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                work, diary, pool = running.pop(future)
                error = future.exception()
                more: list[Work] = []
                if error is None:
                    found.append(future.result())
                    if found[-1].wrong:
                        named = f"{work.task.module}:{work.task.op}" if work.task.module else work.task.op
                        lost.append(f"{work.task.op} passes at none of its cases; correct it first (oracle verify {named})")
                else:
                    fates, more, gone = _after(error, work, written(diary))
                    found.append(Findings(fates))
                    lost += gone
                if not more:
                    advance()
                waiting.extendleft(more)
                if waiting:
                    start(waiting.popleft(), None if error else pool)
    return found, lost


def _after(error: BaseException, work: Work, fates: tuple[Fate, ...]) -> tuple[tuple[Fate, ...], list[Work], list[str]]:
    """The fates known after a process raised or died, the works still to do, and the losses.

    Either the mutant under way or an earlier one, by writing to foreign memory, has killed the process. So the mutant under way
    is tried again in a new process, before all others.
    """
    count = len(fates)
    suspect, rest = work.mutants[count : count + 1], work.mutants[count + 1 :]
    if not (work.retried and count == 0):
        return fates, [replace(work, mutants=suspect + rest, retried=True)], []
    more = [replace(work, mutants=rest, retried=False)] if suspect and (rest or work.planted) else []
    if suspect and isinstance(error, BrokenExecutor):
        died = Fate(suspect[0], Outcome.KILLED, work.task.op, verdict="ERROR", said="the process died", moved=float("inf"))
        return (died,), more, []
    return (), more, [f"{work.task.op}: {type(error).__name__}: {error}"]


def alarms(measured: Measured, records: Sequence[tuple[str, Spec]], uses: int, jobs: int, seed: int = 0) -> Measured:
    """The measurement with about `uses` random correct uses of these ops, equally many of each, all of which must pass."""
    from oracle.counterexamples import search
    from oracle.row import Verdict

    tasks = [search.task_of(spec, seed, module) for module, spec in records if search.can(spec)]
    if not tasks or not uses:
        return measured
    outcomes = search.run(tasks, -(-uses // len(tasks)), DTYPES, jobs, lambda outcome: None)
    counts: dict[Verdict, int] = defaultdict(int)
    for outcome in outcomes:
        for verdict, count in outcome.verdicts:
            counts[verdict] += count
    false = tuple(f"{outcome.op}: {outcome.report}" for outcome in outcomes if outcome.failure)
    return replace(measured, alarms=Alarms(sum(counts.values()), false))
