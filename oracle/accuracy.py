"""How exact the gradients of the catalogue are: their largest errors in ULPs, beyond what the rounding of arguments explains.

The exact witness gives some entries of each gradient at each smooth case: the largest, the smallest and random ones. How far an
entry moves at most when every number of the arguments and of the upstream gradient moves by one ULP is its condition
(`conditioning.conditions`). Half of that ULP is the rounding of the number itself, half the first operation on it, which every
formula rounds. A sum that cancels has a large condition, and no formula keeps its digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tabulate import tabulate

from oracle.arrays import random_cotangent
from oracle.judging.exact_point import ExactPoint, Refused
from oracle.judging.point import Point, point_at
from oracle.running import campaign, workers
from oracle.running.tasks import Task, spec_of
from oracle.spec import Case, Flag, Spec
from oracle.subject import Subject
from oracle.text import count

__all__ = ["LIMIT", "REASONS", "Accuracy", "measure", "page", "perform", "text"]

LIMIT = 8.0
"""ULPs beyond its condition up to which an entry is as good as a sum of some terms can be. Above, the formula loses digits."""
ENTRIES = 6
"""Of each gradient that are compared. Each costs an evaluation on balls; with twice as many the table takes twice as long."""
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
    largest: float = 0.0
    """The largest error of an entry, which may be another."""
    entries: int = 0
    """How many entries were compared."""
    why: str = ""
    """Why none was."""

    @property
    def beyond(self) -> float:
        return max(self.error - self.condition, 0.0)


def measure(records: Sequence[tuple[str, Spec]], jobs: int, timeout: float) -> list[Accuracy]:
    """One line for each op, the worst first; `timeout` is for one op, in seconds."""
    tasks = [Task(module, spec.name, "", "float64") for module, spec in records]
    results = campaign.each(perform, tasks, jobs, "accuracy", "op", timeout=timeout)
    pairs = zip(tasks, results, strict=True)
    found = [r if isinstance(r, Accuracy) else Accuracy(task.op, why=workers.described(r)) for task, r in pairs]
    return sorted(found, key=lambda one: (bool(one.why), -one.beyond, one.op))


def perform(task: Task) -> Accuracy:
    """The accuracy of one op, in whichever process."""
    workers.alive()
    spec = spec_of(task)
    worst, largest, entries, why = Accuracy(spec.name), 0.0, 0, "no smooth case"
    for case in spec.cases:
        if case.flags & SPECIAL:
            continue
        try:
            for one in _of_case(spec, case):
                entries, largest = entries + 1, max(largest, one.error)
                worst = max(worst, one, key=lambda accuracy: (accuracy.beyond, accuracy.error))
        except Refused as refused:
            why = str(refused)
    if not entries:
        return Accuracy(spec.name, why=why)
    return replace(worst, largest=largest, entries=entries)


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
            answer = asked.partial(j)
            if answer.sides is not None or answer.value == 0:
                continue
            ulp, ours = float(np.spacing(abs(answer.value))), float(gradient[j])
            error = abs(ours - answer.value) / ulp
            condition = float(point.wide.conditions[i][j]) / ulp if error > 0 else 0.0
            index = ", ".join(str(n) for n in np.unravel_index(j, np.shape(leaf.array)))
            yield Accuracy(spec.name, f"{case.name}: {leaf.path}[{index}]", error, condition)


def _some(gradient: Any) -> list[int]:
    """The largest entry, the smallest that is not 0, and random ones."""
    order = np.argsort(np.abs(gradient))
    order = order[gradient[order] != 0]
    some = np.random.default_rng(gradient.size).permutation(order)[: ENTRIES - 2]
    return [int(j) for j in dict.fromkeys((*order[-1:], *order[:1], *some))]


HEADERS = ("op", "largest error", "beyond", "its error", "its condition", "entries", "the entry that is furthest beyond")
LEGEND = f"""\
All errors are in units in the last place (ULPs) of the entry itself, against its exact derivative. *largest error*: of an entry
of the op's gradients. *beyond*: what the error of an entry has beyond its condition; the last columns are about the entry where
that is largest.

The *condition* of an entry is how far its exact derivative moves at most, to first order, when every number of the arguments
and of the upstream gradient moves by one ULP: the sum of |slope of the entry by the number| x |number| x 2^-52. Half of that
ULP is the rounding of the number itself, the other half the first operation on it, which every formula rounds. Nothing else
counts: no rounding of a number in between. The slopes are differences of the gradient under test.

An entry that cancels, as a sum of upstream gradients can, has a large condition, and no formula keeps its digits. An entry far
beyond its condition has lost digits that another formula would keep. The limit is {LIMIT:g} ULPs."""

REASONS = {
    "linear_attention": (
        "where one key has nearly all the weight, as at the first position if causal, the slope of a query is made of v - y,"
        " and y is v to many digits. Differences of the values of all pairs of positions would keep the digits, at the cost"
        " that the op is there to avoid."
    ),
    "ntxent": (
        "the cosines over the temperature, up to 14, become exponents: their rounding alone moves this entry by up to 64 ULPs,"
        " and that of the unit vectors by up to 77."
    ),
    "softmax_cross_entropy": (
        "with nothing but smoothing the entry is p - 1/K, and p is rounded before 1/K is taken from it; the differences of the"
        " exponentials of all pairs of classes would keep the digits, at K times the cost."
    ),
}
"""Why the entries of an op stay further beyond than the limit."""


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
    worse = [one for one in measured if one.beyond > LIMIT]
    if worse:
        lines = (f"- {one.op}: {REASONS.get(one.op, 'not examined.')}" for one in worse)
        parts += [f"## Why some are more than {LIMIT:g} ULPs beyond", "\n".join(lines)]
    if others:
        parts += ["## Not compared", "\n".join(f"- {one.op}: {one.why}" for one in others)]
    return "\n\n".join(parts) + "\n"


def _rows(found: Sequence[Accuracy]) -> list[tuple[str, ...]]:
    return [(a.op, *(f"{n:.1f}" for n in (a.largest, a.beyond, a.error, a.condition)), str(a.entries), a.where) for a in found]


def _totals(found: Sequence[Accuracy]) -> str:
    measured = [one for one in found if not one.why]
    worse = sum(one.beyond > LIMIT for one in measured)
    entries = sum(one.entries for one in measured)
    its = "its" if worse == 1 else "their"
    compared = f"{count(entries, 'entry', 'entries')} of {count(len(measured), 'op')} compared"
    return f"{compared}; {count(worse, 'op')} more than {LIMIT:g} ULPs beyond {its} condition"
