"""Mutants and their fates. A mutant is one function of a backward pass with one mistake in its source."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from oracle.power.edits import Edit, edits
from oracle.power.reach import Reached, source_of

__all__ = ["Fate", "Mutant", "Outcome", "Plan", "mutants_of", "plan"]


class Outcome(StrEnum):
    """The outcome of a mutant, the best one first."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    EQUIVALENT = "equivalent"
    SURVIVED = "survived"


@dataclass(frozen=True)
class Mutant:
    """A mistake in the function `module:qualified name`."""

    function: str
    edit: Edit

    @property
    def family(self) -> str:
        """The family of the ops in its module: the path below the package."""
        parts = self.function.split(":")[0].split(".")
        return parts[1] if parts[0] == "purenet" and len(parts) > 1 else ".".join(parts)

    @property
    def source(self) -> str:
        """The source of the whole module with the mistake."""
        return self.edit.applied(source_of(self.function))

    @property
    def place(self) -> tuple[int, str]:
        """The number of the line at which the mistake begins, and the original text."""
        raw = source_of(self.function).encode()
        return 1 + raw[: self.edit.start].count(b"\n"), raw[self.edit.start : self.edit.end].decode()

    @cached_property
    def lines(self) -> tuple[str, str]:
        """The original and the changed lines, each joined into one line."""
        before, after = source_of(self.function).splitlines(), self.source.splitlines()
        first = next(i for i, (one, two) in enumerate(zip(before, after, strict=False)) if one != two)
        same = next(
            i for i, (one, two) in enumerate(zip(before[first:][::-1], after[first:][::-1], strict=False)) if one != two
        )
        return _joined(before[first : len(before) - same]), _joined(after[first : len(after) - same])

    @cached_property
    def diff(self) -> str:
        """The change in the format of `diff -u`."""
        place = self.function.split(":")[0].replace(".", "/") + ".py"
        before, after = source_of(self.function).splitlines(), self.source.splitlines()
        return "\n".join(difflib.unified_diff(before, after, place, f"{place} ({self.edit.kind})", n=1, lineterm=""))


def _joined(lines: Sequence[str]) -> str:
    return " ".join(line.strip() for line in lines)


@dataclass(frozen=True)
class Fate:
    """The outcome of a mutant, the op and case that decided it, and the diagnosis."""

    mutant: Mutant
    outcome: Outcome
    op: str
    case: str = ""
    verdict: str = ""
    said: str = ""
    """The diagnosis of a killed mutant, or the reason why a mutant is equivalent."""
    moved: float = 0.0
    """The largest change of a gradient over all cases, as a fraction of the gradient's largest entry."""
    seconds: float = 0.0


def mutants_of(function: Reached) -> list[Mutant]:
    """All mutants of this function."""
    found = edits(source_of(function.name), function.name.split(":")[1], function.alike())
    return [Mutant(function.name, edit) for edit in found]


@dataclass
class Plan:
    """Assigns each mutant to the op that tests it first, and lists the other ops that run the same function."""

    first: dict[str, list[Mutant]] = field(default_factory=dict)
    """The mutants by op."""
    others: dict[str, list[str]] = field(default_factory=dict)
    """The other ops, by the name of the function."""


def plan(ran: Mapping[str, Mapping[str, Reached]], own: Mapping[str, Any], measured: Collection[str] | None = None) -> Plan:
    """Assigns the mutants of each function to one op; with `measured`, mutants are made for these ops alone.

    It is the op whose pullback the function is, or else the first op that runs it in the same module, in the same family, or
    anywhere. `ran` has the functions that ran in the backward passes of each op; `own` has the pullback of each op.
    """
    by_function: dict[str, list[str]] = {}
    reached: dict[str, Reached] = {}
    for op, functions in ran.items():
        for name, function in functions.items():
            by_function.setdefault(name, []).append(op)
            reached.setdefault(name, function).join(function)
    done = Plan({op: [] for op in ran})
    for name, ops in by_function.items():
        home = min(ops, key=lambda op: _distance(own[op], reached[name]))
        if measured is None or home in measured:
            done.first[home] += mutants_of(reached[name])
        done.others[name] = [op for op in ops if op != home]
    return done


def _distance(pullback: Any, function: Reached) -> int:
    """0 if the function is the pullback of an op; 1, 2 or 3 if it is in the same module, in the same family, or elsewhere."""
    ours, theirs = function.name.split(":")[0].split("."), str(getattr(pullback, "__module__", "")).split(".")
    return 0 if pullback is function.function else 1 if ours == theirs else 2 if ours[:2] == theirs[:2] else 3
