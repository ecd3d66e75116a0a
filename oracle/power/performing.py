"""Runs `verify` on all mutants of one op in one process, so that JAX compiles the references of the op's cases only once."""

from __future__ import annotations

import math
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import copied_arrays, random_cotangent
from oracle.contract.allowed import allowance_for
from oracle.contract.checks import check_contract
from oracle.contract.setting import Setting
from oracle.judging.point import Point
from oracle.power.mutants import Fate, Mutant, Outcome
from oracle.power.reach import backward, compiled, forward, function_named, with_code
from oracle.power.smallest import Smallest, smallest
from oracle.row import Verdict, worst_first
from oracle.running.tasks import Task, spec_of
from oracle.spec import Case, Spec
from oracle.subject import Subject, on_copies
from oracle.verification import Verification, verify

__all__ = ["Findings", "Work", "perform", "written"]

Array = NDArray[Any]

PLAIN = 1e-9
"""Errors above this fraction of the largest entry should be noticed at any case, so the cheapest such case comes first."""


@dataclass(frozen=True)
class Work:
    """The work of one process: these mutants, tested by the cases of one op."""

    task: Task
    mutants: tuple[Mutant, ...]
    timeout: float
    planted: bool = True
    """Whether the process also determines the smallest errors that are noticed."""
    retried: bool = False
    """Whether a process has already died at the first of these mutants."""


@dataclass(frozen=True)
class Findings:
    """The fates of the mutants, and the smallest error that is noticed in each parameter."""

    fates: tuple[Fate, ...]
    smallest: tuple[Smallest, ...] = ()
    wrong: bool = False
    """Whether the op passes at no case as it is, so that nothing can be learnt from its mutants."""


def perform(work: Work, diary: Path) -> Findings:
    """Tests the mutants of one op, then determines the smallest errors. Each fate is written to the diary at once."""
    spec: Spec = spec_of(work.task)
    baselines = [Baseline(spec, case) for case in spec.cases]
    if baselines and not any(baseline.passes for baseline in baselines):
        return Findings((), wrong=True)
    fates = []
    with diary.open("wb", buffering=0) as file:
        for mutant in work.mutants:
            fates.append(_fate(spec, baselines, mutant, work.timeout))
            file.write(pickle.dumps(fates[-1]))
    return Findings(tuple(fates), tuple(smallest(spec)) if work.planted else ())


def written(diary: Path) -> tuple[Fate, ...]:
    """The fates that a process had written to its diary before it died."""
    fates = []
    with suppress(EOFError, FileNotFoundError, pickle.UnpicklingError), diary.open("rb") as file:
        while True:
            fates.append(pickle.load(file))  # noqa: S301 - another process of ours has just written it
    return tuple(fates)


@dataclass
class Baseline:
    """One case of an op, and the gradients of the unchanged op there."""

    spec: Spec
    case: Case

    @cached_property
    def drawn(self) -> tuple[Any, Any]:
        return self.case.draw(self.spec.name)

    @cached_property
    def size(self) -> int:
        """The number of entries of the arguments. The differences run the forward pass several times for each."""
        arguments: Any = self.drawn[0]
        return sum(np.size(leaf) for leaf in optree.tree_leaves(arguments))

    def gradients(self, op: Any) -> tuple[list[Array], Any]:
        """The gradients that `verify` computes first, and their structure. As there, a warning is an error."""
        arguments, options = self.drawn
        given: Any = arguments
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            y, residuals = forward(op)(*optree.tree_map(np.array, given), **copied_arrays(options))
            leaves, structure = optree.tree_flatten(backward(op)(residuals, random_cotangent(y)))
            return [np.array(leaf) for leaf in leaves], structure

    @cached_property
    def right(self) -> tuple[list[Array], Any]:
        return self.gradients(self.spec.op)

    def moved(self, op: Any) -> float:
        """The largest error of a gradient of `op`, as a fraction of the largest entry; infinite if `op` raises."""
        try:
            found, structure = self.gradients(op)
        except Exception:
            return float("inf")
        right, known = self.right
        if structure != known or [(a.shape, a.dtype) for a in found] != [(a.shape, a.dtype) for a in right]:
            return float("inf")
        return max((_apart(a, b) for a, b in zip(found, right, strict=True)), default=0.0)

    @cached_property
    def passes(self) -> bool:
        """Whether the unchanged op passes here. If it does not, a failure of a mutant means nothing."""
        return self.verification(self.spec.op).passed

    def breach(self, op: Any) -> str:
        """The breaches of the contract. For an op with right gradients `verify` can report nothing else."""
        arguments, options = self.drawn
        subject = Subject.of(op, options)
        y, _ = on_copies(subject).fwd(*arguments)
        setting = Setting(Point(subject, arguments, y, random_cotangent(y), self._tree), self.spec.views)
        return "; ".join(b.what for b in check_contract(setting) if allowance_for(b) not in self.spec.allows)

    @cached_property
    def _tree(self) -> Any:
        arguments, options = self.drawn
        subject = on_copies(Subject.of(self.spec.op, options))
        y, residuals = subject.fwd(*arguments)
        return subject.bwd(residuals, random_cotangent(y))

    def verification(self, op: Any) -> Verification:
        arguments, options = self.drawn
        return verify(
            op,
            *arguments,
            options=options,
            reference=self.spec.reference,
            flags=self.case.flags,
            views=self.spec.views,
            allows=self.spec.allows,
            strict=True,
        )


def _apart(a: Array, b: Array) -> float:
    if np.array_equal(a, b):
        return 0.0
    with np.errstate(all="ignore"):
        ratio = float(np.abs(a - b).max() / np.abs(b).max())
    return ratio if ratio == ratio else float("inf")  # NaN counts as infinitely far


def _fate(spec: Spec, baselines: Sequence[Baseline], mutant: Mutant, timeout: float) -> Fate:
    started = time.perf_counter()
    function = function_named(mutant.function)
    op = with_code(spec.op, function, compiled(mutant.source, mutant.function))
    right = function.__code__
    moved: list[float] = []
    try:
        with time_limit(timeout):
            moved += [baseline.moved(op) for baseline in baselines]
            outcome, case, verdict, said = _noticed(op, baselines, moved)
    except _TooLong:
        function.__code__ = right  # the time may have run out while the mutant's code was in place
        outcome, case, verdict, said = Outcome.TIMED_OUT, "", "", f"not done after {timeout:g} s"
    seconds = time.perf_counter() - started
    return Fate(mutant, outcome, spec.name, case, verdict, said, max(moved, default=0.0), seconds)


def _noticed(op: Any, baselines: Sequence[Baseline], moved: Sequence[float]) -> tuple[Outcome, str, str, str]:
    """The first case at which `verify` does not let the mutant pass, with the verdict and the cause.

    If the mutant changes no gradient at a case, only the contract can notice it there.
    """
    for baseline in _promising(baselines, moved):
        result = baseline.verification(op)
        if not result.passed and baseline.passes:
            row = worst_first(result.rows)[0]
            return Outcome.KILLED, baseline.case.name, str(row.verdict), row.diagnosis
    for baseline, far in zip(baselines, moved, strict=True):
        if far == 0 and (what := baseline.breach(op)) and baseline.passes:
            return Outcome.KILLED, baseline.case.name, str(Verdict.FAIL), what
    return Outcome.SURVIVED, "", "", ""


def _promising(baselines: Sequence[Baseline], moved: Sequence[float]) -> list[Baseline]:
    """The baselines at which a gradient changes: first those where the mutant raises, which is quick, then plain errors."""
    apart = [(far, baseline) for far, baseline in zip(moved, baselines, strict=True) if far > 0]
    return [baseline for _, baseline in sorted(apart, key=lambda one: (one[0] < math.inf, one[0] < PLAIN, one[1].size))]


class _TooLong(BaseException):
    """Not an Exception, because `verify` would report an Exception of the op in a row instead of ending."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Ends a block that takes longer, at any Python instruction. Works only in the main thread, and not on Windows."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)  # again, if something swallows the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
