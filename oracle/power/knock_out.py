"""Knock-outs: each mechanism of the engine is switched off in turn, and the verdicts that change show what it is good for."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tabulate import tabulate

from oracle.power.corpora import HARD_CORPORA, Item, items_of
from oracle.power.mechanisms import DIAGNOSIS
from oracle.power.switching import Mechanism, in_use, switched_off
from oracle.report.markdown import escape
from oracle.row import Verdict
from oracle.running import campaign, workers
from oracle.running.tasks import Task, spec_of
from oracle.spec import Spec

__all__ = [
    "LOSSES",
    "RIGHT_LOST",
    "WRONG_PASSED",
    "Change",
    "Found",
    "Table",
    "Work",
    "as_dict",
    "measure",
    "page",
    "perform",
    "text",
]

SLOW = 0.25  # seconds: a verification of an op that takes longer is left out; at 1 nets and blocks take most of a run
SHOWN = 3  # names in a cell of the table; the JSON report has all
NOTHING = "nothing in these corpora"
RIGHT_LOST, WRONG_PASSED, WRONG_UNDECIDED = LOSSES = ("right ones lost", "wrong ones passed", "wrong ones undecided")


@dataclass(frozen=True)
class Work:
    """One corpus for one process: that of an op, or one of the hard corpora."""

    mechanisms: tuple[Mechanism, ...]
    task: Task | None = None
    corpus: str = ""

    def __str__(self) -> str:
        return str(self.task or self.corpus)


@dataclass(frozen=True)
class Change:
    """A gradient whose verdict is worse without a mechanism."""

    mechanism: str
    item: str
    loss: str
    before: Verdict
    after: Verdict


@dataclass(frozen=True)
class Found:
    """What one corpus showed."""

    right: int
    wrong: int
    changes: tuple[Change, ...]
    left_out: tuple[str, ...]
    """Gradients without a use here, and why: too slow, or not judged as they should be with every mechanism on."""
    seconds: float
    """Of all verifications with every mechanism on: of the processor, so that other processes do not count."""
    costs: Mapping[str, float]
    """How many of them each mechanism takes; negative where it saves time."""


@dataclass(frozen=True)
class Table:
    """The findings of all corpora."""

    mechanisms: tuple[Mechanism, ...]
    found: tuple[Found, ...]
    lost: tuple[str, ...]
    """Corpora whose process raised, died or hung, and of what."""

    def changes(self, mechanism: Mechanism, *losses: str) -> list[Change]:
        return [c for f in self.found for c in f.changes if c.mechanism == mechanism.name and c.loss in (losses or LOSSES)]

    def cost(self, mechanism: Mechanism) -> float:
        """The seconds that a mechanism takes; negative where it saves time."""
        return sum(f.costs[mechanism.name] for f in self.found)


def measure(records: Sequence[tuple[str, Spec]], mechanisms: Sequence[Mechanism], jobs: int, timeout: float) -> Table:
    """All corpora of these ops and the hard ones, each in a process; `timeout` is for one verification."""
    chosen = tuple(mechanisms)
    for mechanism in chosen:  # a target that is gone is an error now, not in each process
        with switched_off(mechanism):
            pass
    works = [Work(chosen, corpus=corpus) for corpus in HARD_CORPORA]
    works += [Work(chosen, Task(module, spec.name, "", "float64")) for module, spec in records]
    results = campaign.each(perform, works, jobs, "knock-out", "corpus", timeout=timeout)
    pairs = list(zip(works, results, strict=True))
    lost = [f"{work}: {workers.described(result)}" for work, result in pairs if isinstance(result, BaseException)]
    return Table(chosen, tuple(result for _, result in pairs if isinstance(result, Found)), tuple(lost))


def perform(work: Work) -> Found:
    """One corpus, in whichever process. What JAX has compiled for a gradient serves all mechanisms."""
    import_module("oracle.autodiff")
    workers.alive()
    items = items_of(spec_of(work.task)) if work.task else HARD_CORPORA[work.corpus]()
    counts, changes, left_out = {True: 0, False: 0}, [], []
    total, costs = 0.0, dict.fromkeys((mechanism.name for mechanism in work.mechanisms), 0.0)
    with switched_off(DIAGNOSIS):
        for item in items:
            with in_use(work.mechanisms) as used:
                _taken(item)  # which compiles the reference
            before, seconds = _taken(item)
            if why := _unfit(item, before, seconds, SLOW if work.task else float("inf")):
                left_out.append(f"{item.name}: {why}")
                continue
            counts[item.right] += 1
            total += seconds
            for mechanism in used:  # without any other the verification would be the same
                with switched_off(mechanism):
                    after, less = _taken(item)
                costs[mechanism.name] += seconds - less
                if loss := _loss(before, after, right=item.right):
                    changes.append(Change(mechanism.name, item.name, loss, before, after))
    return Found(counts[True], counts[False], tuple(changes), tuple(left_out), total, costs)


def _taken(item: Item) -> tuple[Verdict, float]:
    """The verdict, and the seconds that it took. Without one of its parts the engine may raise: that is an ERROR."""
    workers.alive(item.name)
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            verdict = item.verdict()
        except Exception:
            verdict = Verdict.ERROR
    return verdict, time.process_time() - started


def _unfit(item: Item, verdict: Verdict, seconds: float, most: float) -> str:
    """Why nothing can be learnt from this gradient; empty if something can."""
    unexpected = _badness(verdict) == 2 if item.right else verdict.passes or verdict is Verdict.ERROR
    if unexpected:
        return f"{'right' if item.right else 'wrong'}, and {verdict} with every mechanism on"
    return f"takes {seconds:.1f} s" if seconds > most else ""


def _badness(verdict: Verdict) -> int:
    """Of a right gradient: 0 if it passes, 1 if it is undecided, 2 if it is accused."""
    return 0 if verdict.passes else 1 if verdict in (Verdict.INCONCLUSIVE, Verdict.VACUOUS) else 2


def _loss(before: Verdict, after: Verdict, *, right: bool) -> str:
    """How the second verdict is worse than the first; empty if it is not."""
    if right:
        return RIGHT_LOST if _badness(after) > _badness(before) else ""
    if after.passes:
        return WRONG_PASSED
    return WRONG_UNDECIDED if _badness(after) < _badness(before) else ""


# ----------------------------------------------------------------------------------------------------- reports

HEADERS = ("mechanism", "what it is for", *(f"{loss} without it" for loss in LOSSES), "seconds")

LEGEND = """\
Each mechanism is switched off alone. *right ones lost*: right gradients that are accused, or undecided, only then; *wrong
ones passed*: wrong gradients that pass only then; *wrong ones undecided*: wrong gradients that are no FAIL only then.
*seconds*: processor time that the mechanism takes in these verifications; negative where it saves time; that of a check of
the contract only where it finds something. Gradients that the engine does not judge as it should with every mechanism on,
and slow ones of ops, take no part.

Of two mechanisms that notice the same, neither saves anything here: delete one at a time, and measure again."""


def text(table: Table) -> str:
    """For a terminal."""
    parts = [f"LOST  {what}" for what in table.lost]
    parts += [tabulate(_rows(table), HEADERS, maxcolwidths=[24, 36, 36, 36, 36, None]), totals(table)]
    return "\n\n".join(parts)


def totals(table: Table) -> str:
    right, wrong = sum(f.right for f in table.found), sum(f.wrong for f in table.found)
    useless = sum(not table.changes(mechanism) for mechanism in table.mechanisms)
    seconds = sum(f.seconds for f in table.found)
    return (
        f"{len(table.mechanisms)} mechanisms, {useless} of which save nothing here; {right} right and {wrong} wrong gradients "
        f"in {seconds:.1f} s with every mechanism on; {sum(len(f.left_out) for f in table.found)} left out"
    )


def _rows(table: Table) -> list[tuple[str, ...]]:
    """The most useful first."""
    order = sorted(table.mechanisms, key=lambda mechanism: -len(table.changes(mechanism)))
    return [(m.name, m.purpose, *_cells(table, m), f"{table.cost(m):.1f}") for m in order]


def _cells(table: Table, mechanism: Mechanism) -> list[str]:
    if not table.changes(mechanism):
        return [NOTHING] * len(LOSSES)
    return [_examples(table.changes(mechanism, loss)) for loss in LOSSES]


def _examples(changes: Sequence[Change]) -> str:
    """How many, and the names of some."""
    names = [f"{c.item} ({c.after})" for c in changes[:SHOWN]]
    more = ["..."] if len(changes) > SHOWN else []
    return f"{len(changes)}: {'; '.join(names + more)}" if changes else "0"


def page(table: Table, env: Mapping[str, Any]) -> str:
    """The table as markdown."""
    cells = [tuple(map(escape, row)) for row in _rows(table)]
    left_out = [f"- {escape(what)}" for f in table.found for what in f.left_out]
    parts = [
        "# What each mechanism is good for",
        f"{totals(table)}.",
        f"`{env['command']}`, Python {env['python']} on {env['platform']}.",
        LEGEND,
        tabulate(cells, HEADERS, tablefmt="github", disable_numparse=True),
        *(["## Lost", "\n".join(f"- {escape(what)}" for what in table.lost)] if table.lost else []),
        *(["## Left out", "\n".join(left_out)] if left_out else []),
    ]
    return "\n\n".join(parts) + "\n"


def as_dict(table: Table, env: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, for `document.to_json`."""
    return {
        "environment": dict(env),
        "right": sum(f.right for f in table.found),
        "wrong": sum(f.wrong for f in table.found),
        "seconds": round(sum(f.seconds for f in table.found), 1),
        "mechanisms": [
            {
                "name": m.name,
                "purpose": m.purpose,
                "targets": list(m.off),
                **{loss: [[c.item, c.before, c.after] for c in table.changes(m, loss)] for loss in LOSSES},
                "seconds": round(table.cost(m), 1),
            }
            for m in table.mechanisms
        ],
        "left_out": [what for f in table.found for what in f.left_out],
        "lost": list(table.lost),
    }
