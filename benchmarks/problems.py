"""What is put to the checkers: pairs with a planted error and their right twins, at the same points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
import optree
from scipy import sparse

import purenet as pn
from oracle import catalogue
from oracle.arrays import copied_arrays, random_cotangent
from oracle.power.equivalent import judged
from oracle.power.mutants import Fate, Mutant, Outcome, plan
from oracle.power.performing import Baseline, time_limit
from oracle.power.reach import backward, compiled, forward, function_named, reached, with_code
from oracle.power.smallest import plant
from oracle.spec import Flag, Spec
from tests.zoo.test_zoo import BUGS

__all__ = ["Entry", "NotApplicable", "Problem", "Sampled", "entries", "mutants", "sample", "zoo"]

QUANTILES = (0.25, 0.5, 0.75)
ROUNDING = 1e-12  # of the largest entry: what moves a gradient by less is no error


class NotApplicable(Exception):
    """What cannot be put to a checker: not of the dtype that the problem is in, or no derivative."""


@dataclass(frozen=True)
class Problem:
    """An op at a point."""

    op: Any
    arguments: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    reference: Callable[..., Any] | None = None
    flags: frozenset[Flag] = frozenset()
    views: bool = False
    dtype: str = "float64"
    """Of all arrays of the arguments and of the value."""

    def check_is_derivative(self) -> None:
        """A gradient that is another than the derivative, by definition, is nothing for differences."""
        if Flag.NOT_THE_DERIVATIVE in self.flags:
            raise NotApplicable("the gradient is no derivative")

    @property
    def leaves(self) -> list[Any]:
        """Fresh arrays of the arguments, for differences."""
        self.check_is_derivative()
        found = [np.array(leaf) for leaf in optree.tree_leaves(self.arguments)]
        self._check_dtype(found, "an argument")
        return found

    def forward(self, leaves: Sequence[Any]) -> tuple[list[Any], Any]:
        """The arrays of the value, and what the backward pass needs.

        Some checkers compute their points in float64, or in float32: that is another function than the one in question.
        """
        self._check_dtype(leaves, "what the checker hands over")
        tree = optree.tree_unflatten(optree.tree_structure(self.arguments), leaves)
        y, residuals = forward(self.op)(*tree, **copied_arrays(self.options))
        arrays, structure = optree.tree_flatten(y)
        arrays = [np.asarray(a) for a in arrays]
        self._check_dtype(arrays, "a value")
        return arrays, (structure, residuals)

    def _check_dtype(self, arrays: Sequence[Any], what: str) -> None:
        if any(np.asarray(a).dtype.name != self.dtype for a in arrays):
            raise NotApplicable(f"{what} is not of {self.dtype}")

    def backward(self, residuals: Any, dy: Sequence[Any]) -> list[Any]:
        """The arrays of all cotangents."""
        structure, inner = residuals
        return [np.asarray(g) for g in optree.tree_leaves(backward(self.op)(inner, structure.unflatten(dy)))]


# ------------------------------------------------------------------------------------------------ one entry of 100


@dataclass(frozen=True)
class Entry:
    """One entry of one gradient of 100."""

    name: str
    right: Problem
    leaf: int
    index: tuple[int, ...]

    def wrong(self, error: float) -> Problem:
        """The same, that entry too large by this part of itself."""
        return Problem(plant(self.right.op, self.leaf, self.index, 1 + error), self.right.arguments)


def entries() -> list[Entry]:
    """Three entries of each of four gradients: a small, a middling and a large one."""
    draw = np.random.default_rng(0).normal
    x, gamma, beta = draw(size=(10, 10)), draw(size=10), draw(size=10)
    asked: tuple[tuple[Any, tuple[Any, ...], int], ...] = (
        (pn.tanh, (x,), 0),
        (pn.softmax, (x,), 0),
        (pn.affine, ({"b": beta, "w": draw(size=(10, 10))}, draw(size=(7, 10))), 1),
        (pn.layer_norm, ({"beta": beta, "gamma": gamma}, x), 2),
    )
    found = []
    for op, arguments, leaf in asked:
        right = Problem(op, arguments)
        y, residuals = right.forward(right.leaves)
        size = np.abs(right.backward(residuals, random_cotangent(y))[leaf])
        order = np.argsort(size, axis=None)
        for q in QUANTILES:
            index = tuple(int(i) for i in np.unravel_index(order[int(q * size.size)], size.shape))
            found.append(Entry(f"{op.name} {index}", right, leaf, index))
    return found


# ------------------------------------------------------------------------------------------------ historical bugs


def zoo() -> Iterator[tuple[str, Problem, Problem]]:
    """The name of each bug, the wrong gradient and the corrected one."""
    for bug in BUGS:
        wrong, right = (
            Problem(op, arguments, bug.options, bug.reference, bug.flags)
            for op, arguments in ((bug.wrong, bug.arguments), (bug.right, bug.other_arguments or bug.arguments))
        )
        yield bug.name, wrong, right


# ------------------------------------------------------------------------------------------------ mutants


@dataclass(frozen=True)
class Sampled:
    """A mutant, and the case of an op in which it moves a gradient most."""

    mutant: Mutant
    op: str
    case: str
    moved: float


def sample(count: int, seed: int, most: int = 1000) -> list[Sampled]:
    """Random mutants of the catalogue whose gradients are wrong numbers: those that raise by themselves are no test.

    Their cases are without flags (no kinks, no empty batches) and of at most `most` elements, of which a checker needs
    a forward pass each.
    """
    specs = {spec.name: spec for spec in catalogue.specs()}
    todo = plan({n: reached(spec) for n, spec in specs.items()}, {n: spec.backward for n, spec in specs.items()})
    everything = [(op, mutant) for op, mutants in sorted(todo.first.items()) for mutant in mutants]
    points: dict[str, list[Baseline]] = {}
    found: list[Sampled] = []
    for i in np.random.default_rng(seed).permutation(len(everything)):
        if len(found) == count:
            break
        op, mutant = everything[i]
        if op not in points:
            points[op] = [Baseline(specs[op], case) for case in _plain_cases(specs[op], most)]
        wrong = _mutated(specs[op], mutant)
        far, case = max(((_moved(point, wrong, mutant), point.case.name) for point in points[op]), default=(0.0, ""))
        fate = Fate(mutant, Outcome.SURVIVED, op, moved=far)
        if ROUNDING < far < np.inf and judged(fate).outcome is Outcome.SURVIVED:
            found.append(Sampled(mutant, op, case, far))
    return sorted(found, key=lambda s: (s.op, s.mutant.function, s.mutant.edit.start))


def _plain_cases(spec: Spec, most: int) -> list[Any]:
    def small(case: Any) -> bool:
        return sum(np.size(leaf) for leaf in optree.tree_leaves(case.draw(spec.name)[0])) <= most

    return [case for case in spec.cases if not case.flags and small(case)]


def _moved(point: Baseline, wrong: Any, mutant: Mutant) -> float:
    """As a fraction of the largest entry; infinite where a loop does not end."""
    function = function_named(mutant.function)
    right = function.__code__
    try:
        with time_limit(5.0), patch.object(sparse.csr_array, "check_format", _check_format_in_full):
            return point.moved(wrong)
    except KeyboardInterrupt:
        raise
    except BaseException:  # the time was up, it is not known where
        function.__code__ = right
        return float("inf")


CHECK_FORMAT = sparse.csr_array.check_format


def _check_format_in_full(matrix: Any, full_check: bool = True) -> None:
    """Raises where entries are outside of the matrix, as some mutants place them: a product would write into foreign memory."""
    del full_check
    CHECK_FORMAT(matrix, full_check=True)


def _mutated(spec: Spec, mutant: Mutant) -> Any:
    return with_code(spec.op, function_named(mutant.function), compiled(mutant.source, mutant.function))


def mutants(sampled: Sequence[Sampled]) -> Iterator[tuple[str, Problem, Problem]]:
    """What is changed, the wrong gradient and the right one."""
    specs = {spec.name: spec for spec in catalogue.specs()}
    for one in sampled:
        spec = specs[one.op]
        case = spec.case(one.case)
        arguments, options = case.draw(spec.name)
        wrong, right = (
            Problem(op, arguments, options, spec.reference, case.flags, spec.views)
            for op in (_mutated(spec, one.mutant), spec.op)
        )
        yield f"{one.mutant.function} ({one.mutant.edit.kind})", wrong, right
