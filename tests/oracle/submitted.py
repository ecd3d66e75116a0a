"""Submissions for the tests of the grader and for `benchmarks.grading`: right ones, mutants, cheats, with their marks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from oracle.grading import Limits, Result, grade, load
from tests.oracle.cheats import CHEATS, HARMLESS
from tests.oracle.mistakes import ALIKE, MISTAKES

__all__ = ["REFUSED", "Submission", "cheats", "graded", "lost", "mutants", "right"]

FOLDER = Path(__file__).parent / "submissions"
ASSIGNMENTS = ("two_layer_net", "batch_norm_and_dropout", "convolution", "recurrent")
REFUSED = frozenset({"refused"})


@dataclass(frozen=True)
class Submission:
    """A source, and the marks that it must lose: none if it is right, `REFUSED` if it must not even be graded."""

    name: str
    assignment: str
    source: str
    lost: frozenset[str] = frozenset()
    seconds: float | None = None
    """The limit of processor time for a call, if it must be short."""


@cache
def source(name: str) -> str:
    """A right solution."""
    return (FOLDER / f"{name}.py").read_text(encoding="utf-8")


def right() -> list[Submission]:
    """Right solutions in several styles, and the same with changes that change no gradient."""
    files = [
        Submission(path.stem, next(a for a in ASSIGNMENTS if path.stem.startswith(a)), source(path.stem))
        for path in sorted(FOLDER.glob("*.py"))
    ]
    changed = [Submission(f"{a}: {new}", a, _changed(a, old, new)) for a, edits in ALIKE.items() for old, new in edits]
    harmless = [Submission(name, "two_layer_net", _with(code)) for name, code in HARMLESS.items()]
    return files + changed + harmless


def mutants() -> list[Submission]:
    """A right solution with one mistake each."""
    return [
        Submission(f"{a}: {new}", a, _changed(a, old, new), _lost(marks))
        for a, edits in MISTAKES.items()
        for old, new, marks in edits
    ]


def cheats() -> list[Submission]:
    """Attempts to get points without a backward pass, or to harm the grader."""
    return [
        Submission(
            cheat.name, "two_layer_net", cheat.code if cheat.alone else _with(cheat.code), _lost(cheat.lost), cheat.seconds
        )
        for cheat in CHEATS
    ]


def _changed(assignment: str, old: str, new: str) -> str:
    text = source(assignment)
    assert text.count(old) == 1, (assignment, old, text.count(old))
    return text.replace(old, new)


def _with(code: str) -> str:
    """The two-layer net with other functions in the place of its own."""
    return f"{source('two_layer_net')}\n{code}"


def _lost(marks: str) -> frozenset[str]:
    """`affine: x w; net: W1` as the names of marks."""
    if marks == "refused":
        return REFUSED
    pairs = [piece.split(":") for piece in marks.split(";") if piece.strip()]
    return frozenset(f"{part.strip()} / {name}" for part, names in pairs for name in names.split())


def lost(result: Result) -> frozenset[str]:
    """The marks that a submission has lost."""
    return REFUSED if result.refused else frozenset(f"{mark.part} / {mark.name}" for mark in result.marks if mark.hint)


def graded(submission: Submission, seed: int) -> Result:
    """Its result, at hidden cases of this seed."""
    assignment = load(submission.assignment)
    if submission.seconds is not None:
        assignment = replace(assignment, limits=Limits(seconds=submission.seconds))
    return grade(assignment, submission.source, seed)
