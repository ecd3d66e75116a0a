"""Grades one submission: the story of one run, part by part and case by case.

1. The source is read without running it; what it must not do is named, and it gets no points (`source`).
2. A process of its own loads it (`candidate`). This process becomes unreadable for others, and only then computes true numbers.
3. For each part hidden cases are drawn from a seed that the submission does not know. Two forward passes are asked for before
   the first backward pass, and the first one again with another upstream gradient, so that nothing remembered helps.
4. Each value and each gradient is compared with the true one here (`judging`). A gradient has its points if it is right in all
   cases. Calls of the submission's own forward function during a backward pass are counted: one may compute it again, a second
   one takes differences.
5. Cases follow at which differences are wrong, and a case that is too large for them.
"""

from __future__ import annotations

import ctypes
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from oracle.grading import judging
from oracle.grading.assignment import Assignment, BrokenAssignment, Part
from oracle.grading.calls import Calls, Passed, Wrong, said, top
from oracle.grading.candidate import Candidate, Forged, Lost
from oracle.grading.cases import Hidden
from oracle.grading.hints import UNKNOWN, without_numbers
from oracle.grading.source import objections

__all__ = ["Mark", "Result", "grade"]

VALUE = "value"
FIRST, SECOND = "first", "second"
DIFFERENCES = (
    "right at ordinary cases, wrong where numbers are large or a kink is near: a formula stays right there, differences do not"
)


@dataclass(frozen=True)
class Mark:
    """The points for the value of a part, or for one gradient."""

    part: str
    name: str
    points: float
    most: float
    hint: str
    """What is wrong; empty if nothing is."""


@dataclass(frozen=True)
class Result:
    """What a submission has earned."""

    assignment: str
    seed: int
    """Repeats the hidden cases."""
    marks: tuple[Mark, ...]
    refused: tuple[str, ...] = ()
    """Why it was not graded at all."""
    remarks: tuple[str, ...] = ()
    """For the course: what it tried, what it printed, and which guards this system does not have."""
    seconds: float = 0.0

    @property
    def score(self) -> float:
        return sum(mark.points for mark in self.marks)

    @property
    def most(self) -> float:
        return sum(mark.most for mark in self.marks)

    @property
    def passed(self) -> bool:
        return not self.refused and all(not mark.hint for mark in self.marks)


def grade(assignment: Assignment, source: str, seed: int | None = None) -> Result:
    """Grade a submission, given as its source. Without a seed the hidden cases are new in every run."""
    seed = secrets.randbits(63) if seed is None else seed
    began = time.monotonic()
    reasons = objections(source, assignment.packages)
    if reasons:
        return _refused(assignment, seed, reasons, [])
    remarks: dict[str, None] = {}
    marks: list[Mark] = []
    with _unreadable(), _Session(assignment, source, remarks) as session:
        try:
            for number, part in enumerate(assignment.parts):
                marks += _graded(part, session, [seed, number])
            session.check_silence()
        except (Forged, _Unloaded) as error:
            session.end()
            return _refused(assignment, seed, [str(error)], list(remarks))
    return Result(assignment.name, seed, tuple(marks), (), tuple(remarks), time.monotonic() - began)


def _refused(assignment: Assignment, seed: int, reasons: list[str], remarks: list[str]) -> Result:
    marks = [
        Mark(part.name, name, 0.0, most, "not graded: the submission is refused")
        for part in assignment.parts
        for name, most in _points(part).items()
    ]
    return Result(assignment.name, seed, tuple(marks), tuple(reasons), tuple(remarks))


def _points(part: Part) -> dict[str, float]:
    return {VALUE: part.value, **part.points}


@contextmanager
def _unreadable() -> Iterator[None]:
    """Nobody but root can read the memory of this process, which has the true numbers."""
    if not sys.platform.startswith("linux"):
        yield
        return
    libc = ctypes.CDLL(None)
    before = libc.prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
    libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    try:
        yield
    finally:
        libc.prctl(4, before, 0, 0, 0)


# ------------------------------------------------------------------------------------------------- the submission


class _Unloaded(Exception):
    """The submission cannot even be imported."""


class _Session:
    """The process of the submission, started anew for the next part if it was lost."""

    def __init__(self, assignment: Assignment, source: str, remarks: dict[str, None]) -> None:
        self.assignment, self.source, self.remarks = assignment, source, remarks
        self.watched = tuple(name for part in assignment.parts for name in part.watched)
        self.candidate: Candidate | None = None
        self.until = time.monotonic() + assignment.limits.clock_seconds

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def running(self) -> Candidate:
        """The process; it is started if there is none."""
        if self.candidate is None:
            a = self.assignment
            try:
                self.candidate = Candidate(self.source, a.limits, a.packages, self.watched, until=self.until)
            except ValueError as error:
                raise BrokenAssignment(f"Assignment {a.name!r}: {error}") from None
            except Forged:
                raise
            except Lost as error:
                raise _Unloaded(f"importing it: {error}") from None
            loaded = self.candidate.loaded
            if loaded.raised is not None:
                raise _Unloaded(f"importing it: {said(loaded.raised)}")
        return self.candidate

    def check_silence(self) -> None:
        """Raise if the process has sent more than it was asked for."""
        if self.candidate is not None:
            self.candidate.check_silence()

    def end(self) -> None:
        """End the process, and note what the course should know of it."""
        if self.candidate is None:
            return
        self.remarks.update(dict.fromkeys(f"it tried: {what}" for what in self.candidate.tried))
        self.remarks.update(dict.fromkeys(f"this system has not: {what}" for what in self.candidate.failed))
        if printed := self.candidate.printed:
            self.remarks[f"it printed: {without_numbers(printed)}"] = None
        self.candidate.end()
        self.candidate = None


# --------------------------------------------------------------------------------------------------------- a part


class _Marks:
    """What is wrong with each array of a part: the first mistake counts."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.hints: dict[str, str] = {}

    def add(self, name: str, hint: str) -> None:
        if hint:
            self.hints.setdefault(name, hint)

    def add_to_gradients(self, hint: str) -> None:
        for name in self.part.points:
            self.add(name, hint)

    @property
    def all_wrong(self) -> bool:
        return all(name in self.hints for name in self.part.points)

    def marks(self) -> list[Mark]:
        return [
            Mark(self.part.name, name, 0.0 if name in self.hints else most, most, self.hints.get(name, ""))
            for name, most in _points(self.part).items()
        ]


def _graded(part: Part, session: _Session, seed: list[int]) -> list[Mark]:
    found = _Marks(part)
    if time.monotonic() > session.until:
        for name in _points(part):
            found.add(name, session.assignment.limits.in_all)
        return found.marks()
    candidate = session.running()
    style = next((style for style in part.styles if top(style) in candidate.defined), None)
    if style is None:
        for name in _points(part):
            found.add(name, f"the submission defines no {' or '.join(top(style) for style in part.styles)}")
        return found.marks()
    calls = Calls(candidate, part, style)
    try:
        _perform(calls, part, found, seed)
    except Forged:
        raise
    except Lost as error:
        if calls.forwards:
            found.add(VALUE, str(error))
        found.add_to_gradients(str(error))
        session.end()
    return found.marks()


def _perform(calls: Calls, part: Part, found: _Marks, seed: list[int]) -> None:
    """Ask for all cases, the ordinary ones in pairs; ends early if every gradient is wrong."""
    for k, draw in enumerate(part.cases):
        first, second = (Hidden(part, draw, [*seed, k, one]) for one in (0, 1))
        passed = [_value_compared(calls, case, found, name) for case, name in ((first, FIRST), (second, SECOND))]
        for case, one in zip((first, second), passed, strict=True):
            _gradients_compared(calls, case, one, found)
        _gradients_compared(calls, first, _value_compared(calls, first, found, FIRST), found)
    for draw in part.blind:
        if not found.all_wrong:
            _one_more(calls, Hidden(part, draw, [*seed, len(part.cases)]), found, DIFFERENCES)
    for draw in part.large:
        if not found.all_wrong:
            _one_more(calls, Hidden(part, draw, [*seed, len(part.cases) + 1]), found, "")


def _one_more(calls: Calls, case: Hidden, found: _Marks, instead: str) -> None:
    """One pass forward and back; what is wrong there and was right before gets the hint `instead`, if there is one."""
    here = _Marks(case.part)
    _gradients_compared(calls, case, _value_compared(calls, case, here, FIRST), here)
    for name, hint in here.hints.items():
        where = f"{instead} ({hint})" if instead else f"at a large case: {hint}"
        found.add(name, instead if instead and hint == UNKNOWN else where)


def _value_compared(calls: Calls, case: Hidden, found: _Marks, name: str) -> Passed | None:
    """A forward pass, whose values are compared; None if it failed."""
    try:
        passed = calls.forward(case.arguments, name, fresh=name != SECOND)
    except Wrong as error:
        found.add(VALUE, str(error))
        found.add_to_gradients(str(error))
        return None
    values = passed.value if len(case.values) > 1 and isinstance(passed.value, tuple) else (passed.value,)
    if len(values) != len(case.values):
        found.add(VALUE, f"expected {len(case.values)} values, got {len(values)}")
        return passed
    for index, value in enumerate(values):
        found.add(VALUE, judging.mistake(value, case.expected_value(index)))
    return passed


def _gradients_compared(calls: Calls, case: Hidden, passed: Passed | None, found: _Marks) -> None:
    if passed is None:
        return
    upstream = case.upstream()
    try:
        gradients = judging.named_gradients(calls.backward(passed, upstream), tuple(case.part.points))
    except Wrong as error:
        found.add_to_gradients(str(error))
        return
    if isinstance(gradients, str):
        found.add_to_gradients(gradients)
        return
    for name, expected in case.expected_gradients(upstream).items():
        if name not in found.hints:
            found.add(name, judging.mistake(gradients[name], expected))
