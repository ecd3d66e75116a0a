"""What is put to the checkers in narrow precision: functions that compute in float32 inside, and functions in bfloat16.

The right ones are right by construction, and no checker chooses among them: kernels of the tests, and ops of the catalogue at
random. An error is planted so that the wrong gradient is still linear in its cotangent.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import optree

from benchmarks import float32_inside
from benchmarks.problems import NotApplicable, Problem
from oracle.arrays import RAISED, cast, quiet, random_cotangent, widened
from oracle.power.smallest import plant
from oracle.spec import Case, Spec
from oracle.subject import Subject
from tests.oracle.kernels.in_numpy import KERNELS

__all__ = ["ENTRY", "FACTOR", "THOUSANDTH", "Choice", "Pair", "in_bfloat16", "inside_float32", "pairs_in_bfloat16"]

THOUSANDTH = 1e-3  # the error of a function that computes in float32 inside, as in tests/oracle/test_float32_inside.py
FACTOR = 1.02  # of all entries of a gradient in bfloat16, whose neighbours differ by 0.4 to 0.8 %
ENTRY = 1.1  # of its largest entry alone
FEWEST_ENTRIES = 20  # of the arguments of an op in bfloat16: beside fewer, a factor of all is one of a few

Change = Callable[[list[Any]], list[Any]]


class Choice(NamedTuple):
    """How many functions are chosen at random among those of each kind."""

    count: int
    seed: int


class Pair(NamedTuple):
    """A wrong gradient and its right twin."""

    kind: str
    twin: str
    wrong: Problem
    right: Problem


# ------------------------------------------------------------------------------------------------ float32 inside


def inside_float32(choice: Choice) -> Iterator[Pair]:
    """Kernels given float64 and float32, and ops of float64 arrays that are cast to float32 and back at random places."""
    importlib.import_module("tests.oracle.kernels.in_numpy_sums")  # enters its kernels, too
    for dtype in ("float64", "float32"):
        for name, kernel in KERNELS.items():
            arguments = tuple(cast(a, dtype) for a in kernel.arguments)
            right, wrong = (
                Problem(kernel.make(error), arguments, reference=kernel.reference, dtype=dtype) for error in (0.0, THOUSANDTH)
            )
            yield Pair(f"kernels given {dtype}", f"{name} given {dtype}", wrong, right)
    seeds = count(choice.seed)
    for _ in range(choice.count):
        yield next(pair for pair in map(_with_casts, seeds) if pair is not None)


def _with_casts(seed: int) -> Pair | None:
    """An op with casts, whose largest entry is wrong; None where no cast shows, or the point is special."""
    function = float32_inside.mixed(seed, always_referenced=True)
    right = Problem((function.fwd, function.bwd), function.arguments, reference=function.reference, views=True)
    if function.flags:
        return None
    uncast = Problem((function.uncast.fwd, function.uncast.bwd), function.arguments)
    found = _all_of(right)
    if found is None or all(np.array_equal(a, b) for a, b in zip(found, _all_of(uncast) or [], strict=True)):
        return None
    leaf, index = _largest(found[-len(right.leaves) :])
    wrong = Problem(plant(right.op, leaf, index, 1 + THOUSANDTH), right.arguments, reference=right.reference, views=right.views)
    return Pair("casts at random places", f"{function.name}, seed {seed}", wrong, right)


# ------------------------------------------------------------------------------------------------ bfloat16


def pairs_in_bfloat16(choice: Choice) -> Iterator[Pair]:
    """Ops of the catalogue that compute in float64 and round once, each with two errors that only bfloat16 has."""
    first: dict[str, tuple[Spec, Case]] = {}
    for spec, case in float32_inside.cases():
        size = sum(np.size(leaf) for leaf in optree.tree_leaves(case.draw(spec.name)[0]))
        if not case.flags and size >= FEWEST_ENTRIES:
            first.setdefault(spec.name, (spec, case))
    every = sorted(first)
    order = np.random.default_rng(choice.seed).permutation(len(every))
    pairs = (_two_errors(*first[every[i]]) for i in order)
    for two, _ in zip((two for two in pairs if two), range(choice.count), strict=False):
        yield from two


def _two_errors(spec: Spec, case: Case) -> list[Pair]:
    """Empty where the op cannot be called in bfloat16 or has no gradient there."""
    arguments, options = case.draw(spec.name)
    reference = None if spec.reference is None else partial(spec.reference, **options)
    subject = Subject.of(spec.op, options)
    given: Any = optree.tree_map(lambda a: cast(a, "bfloat16"), arguments)  # type: ignore[arg-type]

    def problem(change: Change) -> Problem:
        return Problem(in_bfloat16(subject, change), tuple(given), reference=reference, dtype="bfloat16")

    right = problem(lambda gradients: gradients)
    found = _all_of(right)
    if found is None:
        return []
    gradients = found[-len(right.leaves) :]
    leaf, index = _largest(gradients)
    name = f"{spec.name} / {case.name}"
    return [
        Pair(f"a factor of {FACTOR}", name, problem(_multiplied(leaf, ..., FACTOR)), right),
        Pair(f"one entry times {ENTRY}", name, problem(_multiplied(leaf, index, ENTRY)), right),
    ]


def _multiplied(leaf: int, index: Any, factor: float) -> Change:
    def change(gradients: list[Any]) -> list[Any]:
        wrong = np.array(gradients[leaf])
        wrong[index] *= factor
        return [*gradients[:leaf], wrong, *gradients[leaf + 1 :]]

    return change


def in_bfloat16(subject: Subject, change: Change) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The function computed in float64, its results rounded once to what it was given; `change` only in bfloat16."""

    def fwd(*given: Any) -> tuple[Any, Any]:
        y, residuals = subject.fwd(*widened(given))
        dtype = np.asarray(optree.tree_leaves(given)[0]).dtype
        return optree.tree_map(lambda a: np.asarray(a).astype(dtype), y), (residuals, dtype)

    def bwd(kept: Any, dy: Any) -> tuple[Any, ...]:
        residuals, dtype = kept
        leaves, structure = optree.tree_flatten(subject.bwd(residuals, widened(dy)))
        gradients = change(leaves) if dtype.name == "bfloat16" else leaves
        result: Any = structure.unflatten([np.asarray(g).astype(dtype) for g in gradients])
        return tuple(result)

    return fwd, bwd


# ------------------------------------------------------------------------------------------------ both


def _all_of(problem: Problem) -> list[Any] | None:
    """The arrays of the value and of the gradients; None where these are no numbers, or cannot be asked for."""
    try:
        with quiet():
            y, residuals = problem.forward(problem.leaves)
            found = [*y, *problem.backward(residuals, random_cotangent(y))]
    except (NotApplicable, *RAISED):
        return None
    gradients = found[len(y) :]
    usable = len(gradients) == len(problem.leaves) and all(np.isfinite(widened(a)).all() for a in found)
    return found if usable and any(np.any(g) for g in gradients) else None


def _largest(gradients: list[Any]) -> tuple[int, tuple[int, ...]]:
    """The gradient with the most entries, of those that are not zero, and where its largest is."""
    leaf = max((i for i, g in enumerate(gradients) if np.any(g)), key=lambda i: np.size(gradients[i]))
    size = np.abs(np.asarray(gradients[leaf], np.float64))
    return leaf, tuple(int(i) for i in np.unravel_index(int(np.argmax(size)), size.shape))
