"""How exact the gradients of the catalogue are: their largest errors in ULPs, beyond what the rounding of arguments explains.

The exact witness gives some entries of each gradient at each smooth case: the largest, the smallest and random ones. What an
entry moves when every argument and the upstream gradient are rounded is its condition: no computation in float64 is better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

from oracle.arrays import random_cotangent
from oracle.judging.exact_point import ExactPoint, Refused
from oracle.judging.point import Point, point_at
from oracle.running import campaign, workers
from oracle.spec import Case, Flag, Spec
from oracle.subject import Subject
from oracle.text import count

__all__ = ["LIMIT", "Accuracy", "measure", "page", "perform", "text"]

LIMIT = 8.0
"""ULPs beyond its condition up to which an entry is as good as a sum of some terms can be. Above, the formula loses digits."""
ENTRIES = 6
"""Of each gradient that are compared. Each costs three evaluations; with twice as many the table takes twice as long."""
SPECIAL = frozenset({Flag.AT_KINK, Flag.NOT_THE_DERIVATIVE, Flag.EMPTY_BATCH, Flag.ZERO_GRADIENT})
"""Cases that are left out: an entry at a kink has no derivative; other gradients are not the derivative by definition, have no
entries, or are nothing but the rounding of larger terms, so that ULPs of the entry mean nothing."""


@dataclass(frozen=True)
class Accuracy:
    """The entry of an op's gradients with the largest error beyond its condition, in ULPs of the entry."""

    op: str
    where: str = ""
    """Its case and its name."""
    error: float = 0.0
    condition: float = 0.0
    entries: int = 0
    """How many entries were compared."""
    why: str = ""
    """Why none was."""

    @property
    def beyond(self) -> float:
        return max(self.error - self.condition, 0.0)


def measure(records: Sequence[tuple[str, Spec]], jobs: int, timeout: float) -> list[Accuracy]:
    """One line for each op, the worst first; `timeout` is for one op, in seconds."""
    tasks = [campaign.Task(module, spec.name, "", "float64") for module, spec in records]
    results = campaign.each(perform, tasks, jobs, "accuracy", "op", timeout=timeout)
    pairs = zip(tasks, results, strict=True)
    found = [r if isinstance(r, Accuracy) else Accuracy(task.op, why=workers.described(r)) for task, r in pairs]
    return sorted(found, key=lambda one: (bool(one.why), -one.beyond, one.op))


def perform(task: campaign.Task) -> Accuracy:
    """The accuracy of one op, in whichever process."""
    workers.alive()
    spec = campaign.spec_of(task)
    worst, entries, why = Accuracy(spec.name), 0, "no smooth case"
    for case in spec.cases:
        if case.flags & SPECIAL:
            continue
        try:
            for one in _of_case(spec, case):
                entries += 1
                worst = max(worst, one, key=lambda accuracy: accuracy.beyond)
        except Refused as refused:
            why = str(refused)
    if not entries:
        return Accuracy(spec.name, why=why)
    return Accuracy(spec.name, worst.where, worst.error, worst.condition, entries)


def _of_case(spec: Spec, case: Case) -> Iterator[Accuracy]:
    primals: Any
    primals, options = case.draw(spec.name)
    subject = Subject.of(spec.op, options)
    y = subject.value(*primals)
    point = point_at(Point(subject, primals, y, random_cotangent(y), ()), primals)
    for i, (leaf, gradient) in enumerate(zip(point.leaves, point.gradients, strict=True)):
        asked = ExactPoint(point, i, 0)
        for j in _some(gradient):
            if asked.is_late():
                break
            direction = np.zeros(gradient.size)
            direction[j] = 1.0
            answer = asked.partial(j)
            if answer.sides is not None or answer.value == 0:
                continue
            ulp, ours = float(np.spacing(abs(answer.value))), float(gradient[j])
            error = abs(ours - answer.value) / ulp
            condition = asked.condition(direction) / ulp if error > 1 else 0.0
            index = ", ".join(str(n) for n in np.unravel_index(j, np.shape(leaf.array)))
            yield Accuracy(spec.name, f"{case.name}: {leaf.path}[{index}]", error, condition)


def _some(gradient: Any) -> list[int]:
    """The largest entry, the smallest that is not 0, and random ones."""
    order = np.argsort(np.abs(gradient))
    order = order[gradient[order] != 0]
    some = np.random.default_rng(gradient.size).permutation(order)[: ENTRIES - 2]
    return [int(j) for j in dict.fromkeys((*order[-1:], *order[:1], *some))]


HEADERS = ("op", "error", "condition", "beyond", "entries", "the worst of them")
LEGEND = f"""\
The largest error of an entry of each gradient, in units in the last place of the entry, against its exact derivative;
*condition*: how far the exact derivative moves when the arguments and the upstream gradient are rounded; *beyond*: what the
error has beyond that. Above {LIMIT:g} the backward pass loses digits that it could keep."""


def text(found: Sequence[Accuracy]) -> str:
    """For a terminal: what is worse than the limit, and the totals."""
    worse = [one for one in found if one.beyond > LIMIT]
    parts = [tabulate(_rows(worse), HEADERS)] if worse else []
    return "\n\n".join([*parts, _totals(found)])


def page(found: Sequence[Accuracy], command: str) -> str:
    """The table as markdown."""
    measured, others = [one for one in found if not one.why], [one for one in found if one.why]
    parts = ["# How exact the gradients are", f"`{command}`: {_totals(found)}.", LEGEND]
    parts += [tabulate(_rows(measured), HEADERS, tablefmt="github", disable_numparse=True)]
    if others:
        parts += ["## Not compared", "\n".join(f"- {one.op}: {one.why}" for one in others)]
    return "\n\n".join(parts) + "\n"


def _rows(found: Sequence[Accuracy]) -> list[tuple[str, ...]]:
    return [(a.op, f"{a.error:.1f}", f"{a.condition:.1f}", f"{a.beyond:.1f}", str(a.entries), a.where) for a in found]


def _totals(found: Sequence[Accuracy]) -> str:
    measured = [one for one in found if not one.why]
    worse = sum(one.beyond > LIMIT for one in measured)
    entries = sum(one.entries for one in measured)
    its = "its" if worse == 1 else "their"
    compared = f"{count(entries, 'entry', 'entries')} of {count(len(measured), 'op')} compared"
    return f"{compared}; {count(worse, 'op')} more than {LIMIT:g} ULPs beyond {its} condition"
