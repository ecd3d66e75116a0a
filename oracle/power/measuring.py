"""The whole measurement on worker processes: every mutant, the smallest errors, and random correct uses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Any

from oracle import campaign
from oracle.power.equivalent import judged
from oracle.power.mutants import Fate, Mutant, Outcome, plan
from oracle.power.performing import Findings, Work, perform
from oracle.power.reach import reached
from oracle.power.smallest import Smallest
from oracle.spec import Spec

__all__ = ["Alarms", "Measured", "alarms", "measure"]


@dataclass(frozen=True)
class Alarms:
    """How many random correct uses were verified, and the reports of those that were accused."""

    uses: int = 0
    false: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """All that is known about the checker's power."""

    fates: tuple[Fate, ...]
    smallest: tuple[Smallest, ...]
    lost: tuple[str, ...]
    """Ops whose worker raised or died, and of what."""
    alarms: Alarms = Alarms()

    @property
    def passed(self) -> bool:
        """Whether every mutant is killed or explained, nothing was lost, and no right gradient accused."""
        return not (self.lost or self.alarms.false or any(fate.outcome is Outcome.SURVIVED for fate in self.fates))


def measure(records: Sequence[tuple[str, Spec]], jobs: int, timeout: float) -> Measured:
    """Every mutant goes to one op; those that survive there, to all others of the catalogue that run the function.

    Which op is the first does not depend on which ones are measured, so that families together are the whole.
    """
    known = {spec.name: (module, spec) for module, spec in (*_beside(records), *records)}
    tasks = {name: campaign.Task(module, name, "", "float64") for name, (module, _) in known.items()}
    todo = plan(
        {name: reached(spec) for name, (_, spec) in known.items()}, {n: spec.backward for n, (_, spec) in known.items()}
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
    """The whole catalogue, if one of these is of it."""
    from oracle import catalogue

    return [("", spec) for spec in catalogue.specs()] if any(not module for module, _ in records) else []


def _performed(works: Sequence[Work], jobs: int, what: str) -> tuple[list[Findings], list[str]]:
    """The longest first, so that no process is left alone with it; always in other processes, since a mutant may crash one."""
    ordered = sorted(works, key=lambda work: -len(work.mutants))
    found: list[Findings] = []
    lost: list[str] = []
    with campaign.progress(len(ordered), what, "op") as advance:
        waiting = ordered
        for alone in (False, True):  # where a process died, nothing is known of all that had not ended
            died: list[Work] = []
            for work, result in _alone(waiting) if alone else _together(waiting, jobs):
                if isinstance(result, Findings):
                    found.append(result)
                elif isinstance(result, BrokenExecutor) and not alone:
                    died.append(work)
                    continue
                else:
                    lost.append(f"{work.task.op}: {type(result).__name__}: {result}")
                advance()
            waiting = died
    return found, lost


def _together(works: Sequence[Work], jobs: int) -> Iterator[tuple[Work, Any]]:
    """Each with what was found, or with what was raised, as they end."""
    with campaign.one_thread_each(), campaign.executor(max(1, min(jobs, len(works)))) as pool:
        pending = {pool.submit(perform, work): work for work in works}
        for future in as_completed(pending):
            error = future.exception()
            yield pending[future], future.result() if error is None else error


def _alone(works: Sequence[Work]) -> Iterator[tuple[Work, Any]]:
    """One after the other, each in a process of its own: one that ends its process is halved until the mutant is found."""
    for work in works:
        ((_, result),) = _together([work], 1)
        if not isinstance(result, BrokenExecutor) or not work.mutants:
            yield work, result
        elif len(work.mutants) == 1:
            (mutant,) = work.mutants
            fate = Fate(mutant, Outcome.KILLED, work.task.op, verdict="ERROR", said="the process died", moved=float("inf"))
            yield work, Findings((fate,))
        else:
            half = len(work.mutants) // 2
            parts = [replace(work, mutants=some, planted=False) for some in (work.mutants[:half], work.mutants[half:])]
            if work.planted:
                parts.append(replace(work, mutants=()))
            results = [result for _, result in _alone(parts)]
            wrong = next((result for result in results if not isinstance(result, Findings)), None)
            fates = tuple(fate for result in results if isinstance(result, Findings) for fate in result.fates)
            small = tuple(s for result in results if isinstance(result, Findings) for s in result.smallest)
            yield work, wrong or Findings(fates, small)


def alarms(measured: Measured, records: Sequence[tuple[str, Spec]], uses: int, jobs: int, seed: int = 0) -> Measured:
    """The same, and about `uses` random uses of these ops, as many of each: right ones, none of which may be accused."""
    from oracle import fuzz
    from oracle.row import Verdict

    tasks = [fuzz.task_of(spec, seed, module) for module, spec in records if fuzz.can(spec)]
    if not tasks or not uses:
        return measured
    outcomes = fuzz.run(tasks, -(-uses // len(tasks)), campaign.DTYPES, jobs, lambda outcome: None)
    counts: dict[Verdict, int] = defaultdict(int)
    for outcome in outcomes:
        for verdict, count in outcome.verdicts:
            counts[verdict] += count
    false = tuple(f"{outcome.op}: {outcome.report}" for outcome in outcomes if outcome.failure)
    return replace(measured, alarms=Alarms(sum(counts.values()), false))
