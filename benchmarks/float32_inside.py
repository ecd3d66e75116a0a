"""Right functions that compute in float32 at random places, and the same with one wrong entry: what `verify` says of them.

    python -m benchmarks.float32_inside 2000            # about an hour on one core; the counts, and what is not PASS
    python -m benchmarks.float32_inside 100 --first 500 # seeds 500 to 599
    python -m benchmarks.float32_inside 100 --dtypes float32 float16 bfloat16 # a random one of these for each array

Each function is an op of the catalogue at one of its cases. At random places its arrays are cast to float32 and back: the
arguments, the value, the residuals, the cotangent, the gradients. Half of the functions are verified with their reference.
Planted is an error of ten times what the row states as its resolution, in one random entry of one gradient.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from typing import Any

import ml_dtypes
import numpy as np
import optree

from oracle import catalogue
from oracle.arrays import leaves_of, random_cotangent, vector
from oracle.row import Row, Verdict
from oracle.spec import Case, Flag, Spec
from oracle.subject import Subject
from oracle.verification import Verification, verify

DTYPES = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
MOST_ENTRIES = 300  # of all arguments of a case together: more cost minutes and have nothing new
SMALLEST = float(np.finfo(np.float32).tiny)
PLACES = 5  # the arguments, the value, the residuals, the cotangent, the gradients
SHARES = (0.0, 0.5, 1.0)  # of the arrays at one place that are cast
PLANTED = 10.0  # times the stated resolution
INSIDE = "inside: errors above"  # what a row says whose gradient is computed in a narrower dtype
EVERY = 100  # functions after which the counts so far are printed


@dataclass(frozen=True)
class Mixed:
    """An op with casts inside, and how it is verified."""

    name: str
    fwd: Callable[..., Any]
    bwd: Callable[..., Any]
    arguments: tuple[Any, ...]
    reference: Callable[..., Any] | None
    flags: frozenset[Flag]
    uncast: Subject

    def verified(self, bwd: Callable[..., Any] | None = None) -> Verification:
        return self._verify((self.fwd, bwd or self.bwd))

    def passes_uncast(self) -> bool:
        """Whether the op passes without any cast: otherwise the case is no right function for `verify` at all."""
        return self._verify((self.uncast.fwd, self.uncast.bwd)).passed

    def _verify(self, pair: Any) -> Verification:
        return verify(pair, *self.arguments, reference=self.reference, flags=self.flags, views=True, aliases=True)


@cache
def cases() -> list[tuple[Spec, Case]]:
    """All cases of ops that are small enough."""
    specs = [spec for spec in catalogue.specs() if isinstance(spec, Spec) and spec.family not in ("models", "seeds")]
    return [(spec, case) for spec in specs for case in spec.cases if 0 < _entries(spec, case) <= MOST_ENTRIES]


def _entries(spec: Spec, case: Case) -> int:
    arguments: Any = case.draw(spec.name, 0)[0]
    return sum(np.size(leaf) for leaf in optree.tree_leaves(arguments))


def mixed(seed: int, *, always_referenced: bool = False, dtypes: Sequence[str] = ("float32",)) -> Mixed:
    """The function of this number; otherwise half of them have a reference."""
    rng = np.random.default_rng(seed)
    every = cases()
    spec, case = every[rng.integers(len(every))]
    arguments, options = case.draw(spec.name, 0)
    subject = Subject.of(spec.op, options)
    shares = [float(rng.choice(SHARES)) for _ in range(PLACES)]
    casts = [partial(cast, seed=int(rng.integers(2**31)), share=share, dtypes=dtypes) for share in shares]

    def fwd(*given: Any) -> tuple[Any, Any]:
        value, residuals = subject.fwd(*casts[0](given))
        return casts[1](value), casts[2](residuals)

    def bwd(residuals: Any, dy: Any) -> tuple[Any, ...]:
        return tuple(casts[4](subject.bwd(residuals, casts[3](dy))))

    needed = Flag.NOT_THE_DERIVATIVE in case.flags
    referenced = spec.reference is not None and (needed or always_referenced or rng.random() < 0.5)
    reference = partial(spec.reference, **options) if referenced and spec.reference is not None else None
    return Mixed(f"{spec.name} / {case.name}", fwd, bwd, tuple(arguments), reference, case.flags, subject)


def cast(tree: Any, *, seed: int, share: float, dtypes: Sequence[str] = ("float32",)) -> Any:
    """The tree with a share of its float64 arrays rounded, each to one of the dtypes: the same ones at every call."""
    if share == 0:
        return tree
    chosen = _chosen(seed, share, tuple(dtypes))
    number = count()

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, np.ndarray | np.floating) or leaf.dtype != np.float64:
            return leaf
        name = chosen(next(number))
        if name is None:
            return leaf
        rounded = leaf.astype(DTYPES[name]).astype(np.float64)
        # Below it float32 has fewer digits. One number decides for itself: a gradient whose other entries decided whether it is
        # rounded would not be linear in the cotangent.
        small = np.abs(leaf) < SMALLEST
        return np.where(small, leaf, rounded) if np.any(small) else np.asarray(rounded)

    with np.errstate(over="ignore"):
        return optree.tree_map(one, tree)


@cache
def _chosen(seed: int, share: float, dtypes: tuple[str, ...]) -> Callable[[int], str | None]:
    """To which dtype the array of each number is rounded; None: it is not. Drawn once: a generator takes longer than a cast."""
    rng = np.random.default_rng(seed)
    drawn: list[str | None] = []

    def name(number: int) -> str | None:
        while len(drawn) <= number:
            kept = rng.random() >= share
            drawn.append(None if kept else dtypes[rng.integers(len(dtypes))] if len(dtypes) > 1 else dtypes[0])
        return drawn[number]

    return name


def planted(function: Mixed, rows: Sequence[Row], seed: int) -> Callable[..., Any] | None:
    """The backward pass with one entry that is off by ten times the resolution; None where no row is computed in float32.

    What is added is linear in the cotangent, like the right gradient. Of a row that no cast has reached, errors of 1e-13 are
    contradicted by the reference alone, which is no FAIL.
    """
    rng = np.random.default_rng([seed, PLACES])
    value, residuals = function.fwd(*function.arguments)
    cotangent = random_cotangent(value, 0)
    right = function.bwd(residuals, cotangent)
    names = [f"argument {i}" for i in range(len(function.arguments))]
    stated = {row.parameter: row.resolution for row in rows if row.resolution is not None and INSIDE in row.diagnosis}
    leaves = [(i, leaf) for i, leaf in enumerate(leaves_of(names, right)) if leaf.path in stated]
    leaves = [(i, leaf) for i, leaf in leaves if np.any(leaf.array)]  # no share of a gradient that is zero is an error
    places = [(i, leaf, entry) for i, leaf in leaves for entry in range(np.size(leaf.array))]
    if not places:
        return None
    number, leaf, entry = places[rng.integers(len(places))]
    amount = PLANTED * stated[leaf.path] * np.abs(leaf.array).max()
    weights = vector(cotangent) / np.sum(vector(cotangent) ** 2)

    def wrong(residuals: Any, dy: Any) -> tuple[Any, ...]:
        given: Any = function.bwd(residuals, dy)
        leaves, structure = optree.tree_flatten(given)
        off = np.array(leaves[number])
        off.flat[entry] += amount * (weights @ vector(dy))
        result: Any = structure.unflatten([*leaves[:number], off, *leaves[number + 1 :]])
        return tuple(result)

    return wrong


def verdict_of(verification: Verification) -> str:
    """FAIL if anything fails, PASS if everything passes, else the verdicts that do not."""
    verdicts = {row.verdict for row in verification.rows if not row.passed}
    if verdicts & {Verdict.FAIL, Verdict.ERROR}:
        return "FAIL"
    return "/".join(sorted(verdicts)) or "PASS"


def measured(seeds: Iterable[int], dtypes: Sequence[str] = ("float32",)) -> Iterator[tuple[str, str, str]]:
    """For each function its name, the verdict on the right one (empty if the op itself does not pass), on the planted one."""
    for seed in seeds:
        function = mixed(seed, dtypes=dtypes)
        result = function.verified()
        verdict = verdict_of(result)
        if verdict != "PASS" and not function.passes_uncast():
            yield function.name, "", ""
            continue
        wrong = planted(function, result.rows, seed) if result.passed else None
        yield function.name, verdict, "" if wrong is None else verdict_of(function.verified(wrong))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Verify right functions that compute in float32 inside, and wrong ones.")
    parser.add_argument("count", type=int, help="of right functions")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=["float32"], help="that arrays are rounded to")
    asked = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    seeds = count(asked.first)
    while right.total() < asked.count:
        seed = next(seeds)
        ((name, verdict, noticed),) = measured([seed], asked.dtypes)
        if verdict:
            right[verdict] += 1
        if noticed:
            wrong[noticed] += 1
        if verdict not in ("", "PASS") or noticed not in ("", "FAIL"):
            print(f"{seed}: {name}: right {verdict}, planted {noticed or 'nothing'}", flush=True)
        if verdict and right.total() % EVERY == 0:
            print(f"up to seed {seed}: right: {_counts(right)}; planted: {_counts(wrong)}", flush=True)
    print(f"right:   {_counts(right)}\nplanted: {_counts(wrong)}")
    return 0 if not right["FAIL"] and set(wrong) <= {"FAIL"} else 1


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common()) + f", of {counts.total()}"


if __name__ == "__main__":
    sys.exit(main())
