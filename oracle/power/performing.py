"""All mutants of one op through `verify`, in one process: what JAX has compiled for the op's cases serves them all."""

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
from oracle.contract.checks import check_contract
from oracle.contract.setting import Setting
from oracle.power.mutants import Fate, Mutant, Outcome
from oracle.power.reach import backward, compiled, forward, function_named, with_code
from oracle.power.smallest import Smallest, smallest
from oracle.row import Verdict, worst_first
from oracle.running import campaign
from oracle.spec import Case, Spec
from oracle.subject import Subject
from oracle.verification import Verification, verify

__all__ = ["Findings", "Work", "perform", "written"]

Array = NDArray[Any]

PLAIN = 1e-9  # of the largest entry: an error that no case should miss


@dataclass(frozen=True)
class Work:
    """What one process does at a time: these mutants, seen by one op."""

    task: campaign.Task
    mutants: tuple[Mutant, ...]
    timeout: float
    planted: bool = True
    """Whether the smallest error noticed is looked for, too."""
    retried: bool = False
    """Whether a process has died of the first of them, or of one before it."""


@dataclass(frozen=True)
class Findings:
    """What became of the mutants; and the smallest error noticed in each parameter."""

    fates: tuple[Fate, ...]
    smallest: tuple[Smallest, ...] = ()


def perform(work: Work, diary: Path) -> Findings:
    """The mutants of one op one after the other, and the smallest errors. Each fate is in the diary as soon as it is known."""
    spec: Spec = campaign.spec_of(work.task)
    points = [Point(spec, case) for case in spec.cases]
    fates = []
    with diary.open("wb", buffering=0) as file:
        for mutant in work.mutants:
            fates.append(_fate(spec, points, mutant, work.timeout))
            file.write(pickle.dumps(fates[-1]))
    return Findings(tuple(fates), tuple(smallest(spec)) if work.planted else ())


def written(diary: Path) -> tuple[Fate, ...]:
    """What a process that died had found until then."""
    fates = []
    with suppress(EOFError, FileNotFoundError, pickle.UnpicklingError), diary.open("rb") as file:
        while True:
            fates.append(pickle.load(file))  # noqa: S301 - what another process of ours has just written
    return tuple(fates)


@dataclass
class Point:
    """One case of an op, and the gradients of the op as it is."""

    spec: Spec
    case: Case

    @cached_property
    def drawn(self) -> tuple[Any, Any]:
        return self.case.draw(self.spec.name)

    @cached_property
    def size(self) -> int:
        """How many entries the arguments have: for each of them the differences run the forward pass several times."""
        arguments: Any = self.drawn[0]
        return sum(np.size(leaf) for leaf in optree.tree_leaves(arguments))

    def gradients(self, op: Any) -> tuple[list[Array], Any]:
        """Those that `verify` will see first, and their structure; a warning is an error, as there."""
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
        """How far a gradient of `op` is from the right one, as a fraction of the largest entry; infinite if it has none."""
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
        """Whether the op as it is passes here: else nothing is learnt from a mutant that does not."""
        return self.verification(self.spec.op).passed

    def breach(self, op: Any) -> str:
        """What is wrong beside the gradients: of an op with the right ones, this is all that `verify` may say."""
        arguments, options = self.drawn
        subject = Subject.of(op, options)
        y, _ = subject.on_copies().fwd(*arguments)
        setting = Setting(subject, arguments, random_cotangent(y), y, self._tree, self.spec.views)
        return "; ".join(breach.what for breach in check_contract(setting))

    @cached_property
    def _tree(self) -> Any:
        arguments, options = self.drawn
        subject = Subject.of(self.spec.op, options).on_copies()
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
            strict=True,
        )


def _apart(a: Array, b: Array) -> float:
    if np.array_equal(a, b):
        return 0.0
    with np.errstate(all="ignore"):
        ratio = float(np.abs(a - b).max() / np.abs(b).max())
    return ratio if ratio == ratio else float("inf")  # NaN is far from everything


def _fate(spec: Spec, points: Sequence[Point], mutant: Mutant, timeout: float) -> Fate:
    started = time.perf_counter()
    function = function_named(mutant.function)
    op = with_code(spec.op, function, compiled(mutant.source, mutant.function))
    right = function.__code__
    moved: list[float] = []
    try:
        with time_limit(timeout):
            moved += [point.moved(op) for point in points]
            outcome, case, verdict, said = _noticed(op, points, moved)
    except _TooLong:
        function.__code__ = right  # where the time was up is not known
        outcome, case, verdict, said = Outcome.TIMED_OUT, "", "", f"not done after {timeout:g} s"
    seconds = time.perf_counter() - started
    return Fate(mutant, outcome, spec.name, case, verdict, said, max(moved, default=0.0), seconds)


def _noticed(op: Any, points: Sequence[Point], moved: Sequence[float]) -> tuple[Outcome, str, str, str]:
    """A case at which `verify` does not let a mutant pass. Where it moves no gradient only its conduct can be wrong."""
    for point in _promising(points, moved):
        result = point.verification(op)
        if not result.passed and point.passes:
            row = worst_first(result.rows)[0]
            return Outcome.KILLED, point.case.name, str(row.verdict), row.diagnosis
    for point, far in zip(points, moved, strict=True):
        if far == 0 and (what := point.breach(op)) and point.passes:
            return Outcome.KILLED, point.case.name, str(Verdict.FAIL), what
    return Outcome.SURVIVED, "", "", ""


def _promising(points: Sequence[Point], moved: Sequence[float]) -> list[Point]:
    """Those where a gradient is another one: first where there is none, which is soon seen; then where it plainly is one."""
    apart = [(far, point) for far, point in zip(moved, points, strict=True) if far > 0]
    return [point for _, point in sorted(apart, key=lambda one: (one[0] < math.inf, one[0] < PLAIN, one[1].size))]


class _TooLong(BaseException):
    """Not an Exception: what a verified op raises is a row of a report, this ends the verification."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Ends a block that takes longer, wherever it is in Python. Only the main thread hears the clock, and not on Windows."""
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
