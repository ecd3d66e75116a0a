"""What gradient checkers notice of the same planted errors, each with its defaults; writes `checkers.md`.

    python -m benchmarks.checkers                              # about a quarter of an hour; the table, and reports/checkers.md
    python -m benchmarks.checkers --mutants 20 --functions 5   # a glance

From the root of the repository: the historical bugs are those of tests/zoo. A checker that is not installed (torch is in no
list of dependencies) is left out, and the table says so. Each works in a process of its own with one thread.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tabulate import tabulate

from benchmarks import narrow, problems
from benchmarks.peers import CHECKERS, SCIPY_NOTICES, Checker, present
from oracle.power.performing import time_limit
from oracle.report import document
from oracle.report.markdown import escape
from oracle.running import campaign

HALF_DECADES = 26  # from an error of 1 down to 1e-13
TIME_LIMIT = 60.0


class Answer(StrEnum):
    """What a checker says of a gradient."""

    ACCEPTED = "accepted"
    NOTICED = "noticed"
    NOT_APPLICABLE = "n/a"


@dataclass(frozen=True)
class Asked:
    """What one checker said of a wrong gradient and of its corrected twin."""

    name: str
    twin: str
    wrong: Answer
    right: Answer
    seconds: float
    """For the right one."""

    @property
    def counts(self) -> bool:
        """Whether anything is learnt: who objects to the right gradient, too, has not noticed what is wrong."""
        return self.right is Answer.ACCEPTED and self.wrong is not Answer.NOT_APPLICABLE


@dataclass(frozen=True)
class Measured:
    """All that one checker said."""

    smallest: list[float | None]
    """The smallest errors noticed in one entry of 100; None where not even an error of 1 is."""
    zoo: list[Asked]
    mutants: list[Asked]
    inside: list[Asked]
    """Of functions that compute in float32 inside; the name is the kind of function."""
    bfloat16: list[Asked]
    """Of functions in bfloat16; the name is the error."""

    @property
    def rights(self) -> dict[str, Asked]:
        """Each right gradient in float64 once."""
        return {asked.twin: asked for asked in (*self.zoo, *self.mutants)}


def measure(name: str, sampled: Sequence[problems.Sampled], choice: narrow.Choice) -> Measured:
    """One checker, all problems; in a process of its own."""
    checker = CHECKERS[name][0]
    entries = problems.entries()
    ask(checker, entries[0].right)  # what is loaded once is not counted
    smallest = [_smallest(checker, entry) for entry in entries]
    zoo = [_asked(checker, bug, f"zoo: {bug}", wrong, right, {}) for bug, wrong, right in problems.zoo()]
    known: dict[str, tuple[Answer, float]] = {}
    mutants = [
        _asked(checker, what, f"{one.op} / {one.case}", wrong, right, known)
        for one, (what, wrong, right) in zip(sampled, problems.mutants(sampled), strict=True)
    ]
    inside = asked_of_pairs(checker, narrow.inside_float32(choice))
    return Measured(smallest, zoo, mutants, inside, asked_of_pairs(checker, narrow.pairs_in_bfloat16(choice)))


def asked_of_pairs(checker: Checker, pairs: Iterable[narrow.Pair]) -> list[Asked]:
    """What it says of functions in narrow precision; each right one is put to it once."""
    known: dict[str, tuple[Answer, float]] = {}
    return [_asked(checker, pair.kind, pair.twin, pair.wrong, pair.right, known) for pair in pairs]


def _smallest(checker: Checker, entry: problems.Entry) -> float | None:
    """By bisection over half decades."""
    low, high = -1, HALF_DECADES + 1  # noticed at low, not at high
    while high - low > 1:
        middle = (low + high) // 2
        noticed = ask(checker, entry.wrong(10.0 ** (-middle / 2)))[0] is Answer.NOTICED
        low, high = (middle, high) if noticed else (low, middle)
    return None if low < 0 else 10.0 ** (-low / 2)


def _asked(
    checker: Checker,
    name: str,
    twin: str,
    wrong: problems.Problem,
    right: problems.Problem,
    known: dict[str, tuple[Answer, float]],
) -> Asked:
    if twin not in known:
        known[twin] = ask(checker, right)
    accepted, seconds = known[twin]
    return Asked(name, twin, ask(checker, wrong)[0], accepted, seconds)


def ask(checker: Checker, problem: problems.Problem) -> tuple[Answer, float]:
    """What it says, and how many seconds it computed. Whatever is raised, by the op, too, is an objection."""
    started = time.process_time()
    try:
        with warnings.catch_warnings(), time_limit(TIME_LIMIT):
            warnings.simplefilter("ignore")
            checker(problem)
        answer = Answer.ACCEPTED
    except problems.NotApplicable:
        answer = Answer.NOT_APPLICABLE
    except KeyboardInterrupt:
        raise
    except BaseException:
        answer = Answer.NOTICED
    return answer, time.process_time() - started


# ------------------------------------------------------------------------------------------------ what is shown

HEADERS = ("checker", "one entry", "worst", "bugs", "mutants", "alarms", "time", "float32 inside", "bfloat16")

LEGEND = """\
*one entry*: the smallest relative error of a single entry of 100 that is noticed, the median of 12 entries of 4 gradients
(tanh, softmax, affine, layer_norm), in half decades; *worst*, of all 12. *bugs*: wrong gradients of `tests/zoo` noticed, at
the points at which the zoo shows them, of those that can be put to the checker and whose corrected twin it accepts.
*mutants*: likewise, of {mutants} random mutants of the catalogue's pullbacks (`oracle power`) that make a gradient a wrong
number, each at the unflagged case in which it moves a gradient most: such mistakes are gross. *alarms*: right gradients that
were not accepted, most of them at kinks and ends of a domain. *time*: of the processor, for the right gradients that all
checkers took, as a multiple of `oracle.verify`'s. *float32 inside*, *bfloat16*: functions in narrow precision, [see
below](#narrow-precision): right ones accepted, of how many; then wrong ones noticed, of how many.

All are given the same points, in float64 except in the last two columns, have their defaults, and see the pair of NumPy
functions as their users would write it: a `torch.autograd.Function`, a `jax.custom_vjp` function of `pure_callback`s, an
autograd primitive, a function of one vector. JAX and autograd cannot differentiate such a rule again, so they are asked for
order 1 in reverse. scipy's `check_grad` returns a number and no judgement: more than {scipy:g} is counted as noticed. What is
raised on the way counts as noticed. `oracle.verify` alone has the differences as its only witness, as all others have; with a
reference it sees, too, where another function is implemented."""

NARROW = """\
Each cell: right functions accepted, of how many; wrong ones noticed, of how many. Who accepts no right function has noticed
nothing: it refuses all.

- *kernels*: the {kernels} of `tests/oracle/kernels/in_numpy*.py` (normalization, attention, activations, sums), which take any
  dtype, compute in float32 and cast back. In the wrong ones one term of the backward pass is off by a thousandth of itself.
- *casts at random places*: {count} ops of the catalogue at float64 points, with arrays inside cast to float32 and back
  (`benchmarks/float32_inside.py`). In the wrong ones the largest entry of a gradient is off by a thousandth.
- *bfloat16*: {count} ops of the catalogue at points in bfloat16, computed in float64 and rounded once to bfloat16. In the wrong
  ones all entries of one gradient have a factor of {factor}, or its largest entry alone one of {entry}, and that only in
  bfloat16: the same function given float64 is right, so that `oracle.verify` gains nothing from calling it there.

`oracle.verify` was developed with these kernels, and with this generator of casts; the others were not.

n/a: the checker hands the function points of another dtype, at which it is another function. scipy turns every point into
float64. autograd multiplies by Python floats, which makes float32 of NumPy's bfloat16.

The others step by fixed lengths: torch and autograd by 1e-6, JAX by 1e-4, scipy by 1.5e-8. A rounding to float32 moves such a
difference by percents, and a step in bfloat16 vanishes. torch documents that its defaults are meant for float64, and warns of
other inputs: its users choose `eps`, `atol` and `rtol` themselves. JAX has a tolerance for each dtype (2e-3 in float32,
which is more than the planted thousandth; 0.1 in bfloat16), but one step for all: with a longer `eps` it accepts most right
functions in bfloat16. All have their defaults here."""

BRACKETS = """\
In brackets: the right gradient is not accepted either. n/a: not of one dtype throughout, or no derivative by definition."""


def summary(measured: Mapping[str, Measured | None]) -> list[tuple[str, ...]]:
    """A row for each checker; None is one that is not installed."""
    there = {name: found for name, found in measured.items() if found is not None}
    shared = set.intersection(
        *({t for t, a in found.rights.items() if a.right is not Answer.NOT_APPLICABLE} for found in there.values())
    )
    first = next(iter(there.values()))
    rows = []
    for name, found in measured.items():
        if found is None:
            rows.append((name, "not installed", *[""] * (len(HEADERS) - 2)))
            continue
        rights = [a for a in found.rights.values() if a.right is not Answer.NOT_APPLICABLE]
        alarms = sum(a.right is Answer.NOTICED for a in rights)
        rows.append(
            (
                name,
                _error(statistics.median(_number(e) for e in found.smallest)),
                _error(max(_number(e) for e in found.smallest)),
                _noticed(found.zoo),
                _noticed(found.mutants),
                f"{alarms}/{len(rights)}",
                f"{_seconds(found, shared) / _seconds(first, shared):.2f}",
                accepted_and_noticed(found.inside),
                accepted_and_noticed(found.bfloat16),
            )
        )
    return rows


def _number(error: float | None) -> float:
    return float("inf") if error is None else error


def _error(error: float) -> str:
    return "none" if error == float("inf") else f"{error:.0e}"


def _noticed(asked: Iterable[Asked]) -> str:
    counted = [a for a in asked if a.counts]
    return f"{sum(a.wrong is Answer.NOTICED for a in counted)}/{len(counted)}"


def accepted_and_noticed(asked: Iterable[Asked]) -> str:
    """Of right functions how many are accepted, of wrong ones how many noticed: who refuses everything shows in the first."""
    put = [a for a in asked if Answer.NOT_APPLICABLE not in (a.wrong, a.right)]
    if not put:
        return str(Answer.NOT_APPLICABLE)
    rights = {a.twin: a.right for a in put}
    accepted = sum(answer is Answer.ACCEPTED for answer in rights.values())
    return f"{accepted}/{len(rights)}, {sum(a.wrong is Answer.NOTICED for a in put)}/{len(put)}"


def in_narrow_precision(asked: Sequence[Sequence[Asked]]) -> list[tuple[str, ...]]:
    """A row for each kind of function or error; `asked` has a row for each checker."""
    kinds = dict.fromkeys(a.name for of_one in asked for a in of_one)
    return [(kind, *(accepted_and_noticed(a for a in of_one if a.name == kind) for of_one in asked)) for kind in kinds]


def _seconds(found: Measured, shared: set[str]) -> float:
    return sum(found.rights[twin].seconds for twin in shared)


def not_by_all(asked: Sequence[Sequence[Asked]]) -> tuple[list[tuple[str, ...]], int]:
    """A row for each error that some checker did not notice, and how many all noticed; `asked` has a row for each checker."""
    rows = [(escape(each[0].name), *map(_cell, each)) for each in zip(*asked, strict=True)]
    some = [row for row in rows if any(cell not in (Answer.NOTICED, Answer.NOT_APPLICABLE) for cell in row[1:])]
    return some, len(rows) - len(some)


def _cell(asked: Asked) -> str:
    if Answer.NOT_APPLICABLE in (asked.wrong, asked.right):
        return str(Answer.NOT_APPLICABLE)
    return str(asked.wrong) if asked.right is Answer.ACCEPTED else f"({asked.wrong})"


def page(
    measured: Mapping[str, Measured | None],
    versions: Mapping[str, str | None],
    mutants: int,
    choice: narrow.Choice,
    command: str,
) -> str:
    """Everything as markdown."""
    there = {name: found for name, found in measured.items() if found is not None}
    packages = dict.fromkeys(f"{CHECKERS[name][1]} {versions[name]}" for name in there)
    parts = [
        "# What gradient checkers notice",
        f"`{command}`, Python {platform.python_version()} on {platform.system()} {platform.machine()}, {', '.join(packages)}.",
        tabulate(summary(measured), HEADERS, tablefmt="github", disable_numparse=True),
        LEGEND.format(mutants=mutants, scipy=SCIPY_NOTICES),
        "## Narrow precision",
        tabulate(
            in_narrow_precision([[*found.inside, *found.bfloat16] for found in there.values()]),
            ("function", *there),
            tablefmt="github",
            disable_numparse=True,
        ),
        NARROW.format(kernels=len(narrow.KERNELS), count=choice.count, factor=narrow.FACTOR, entry=narrow.ENTRY),
    ]
    for title, asked in (
        ("Historical bugs", [found.zoo for found in there.values()]),
        ("Mutants", [found.mutants for found in there.values()]),
    ):
        rows, others = not_by_all(asked)
        parts.append(f"## {title}")
        if rows:
            parts.append(tabulate(rows, (title.lower()[:-1], *there), tablefmt="github", disable_numparse=True))
        parts.append(
            f"The other {others} are noticed by every checker that can be asked." if rows else "All are noticed by all."
        )
    return "\n\n".join([*parts, BRACKETS]) + "\n"


def compare(
    names: Sequence[str], sampled: Sequence[problems.Sampled], choice: narrow.Choice, advance: Callable[[], object]
) -> dict[str, Measured | None]:
    """All checkers, one after the other, so that none disturbs another."""
    found: dict[str, Measured | None] = {}
    for name in names:
        if present(name) is None:
            found[name] = None
        else:
            with campaign.few_threads(), campaign.executor(1) as pool:
                found[name] = pool.submit(measure, name, sampled, choice).result()
        advance()
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=300, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument(
        "--functions", type=int, default=40, metavar="N", help="chosen of each narrow kind (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice of mutants and functions (default: %(default)s)")
    parser.add_argument("--reports", type=Path, default=Path("reports"), metavar="DIR", help="default: %(default)s")
    options = parser.parse_args(arguments)
    if min(options.mutants, options.functions) < 1 or options.seed < 0:
        parser.error("--mutants and --functions must be at least 1, and --seed at least 0")
    sampled = problems.sample(options.mutants, options.seed)
    choice = narrow.Choice(options.functions, options.seed)
    with campaign.progress(len(CHECKERS), "checkers", "checker") as advance:
        measured = compare(list(CHECKERS), sampled, choice, advance)
    command = " ".join(["python -m benchmarks.checkers", *(sys.argv[1:] if arguments is None else arguments)])
    versions = {name: present(name) for name in CHECKERS}
    document.write(options.reports, {"checkers.md": page(measured, versions, len(sampled), choice, command)})
    print(tabulate(summary(measured), HEADERS, disable_numparse=True))
    print(f"written: {options.reports / 'checkers.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
