"""The smallest error that is noticed: one entry of a gradient, which is not a small one, is multiplied by 1 + 10^-k."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from oracle.arrays import Leaf, leaves_of, random_cotangent
from oracle.power.reach import backward, forward, with_backward
from oracle.spec import Case, Flag, Spec
from oracle.subject import Subject
from oracle.verification import verify

__all__ = ["NOT_SMOOTH", "Smallest", "parameters", "plant", "smallest", "usual_entry"]

NOT_SMOOTH = {Flag.AT_KINK, Flag.ZERO_GRADIENT, Flag.EMPTY_BATCH, Flag.NOT_THE_DERIVATIVE}
LARGEST_K, SMALLEST_K = 3, 13


@dataclass(frozen=True)
class Smallest:
    """The largest k for which an error of 10^-k of this entry is noticed; None if even 10^-3 is not."""

    op: str
    parameter: str
    case: str
    index: tuple[int, ...]
    k: int | None


def smallest(spec: Spec) -> Iterator[Smallest]:
    """For each parameter, at the first smooth case that has it."""
    for case, i, leaf, gradient in parameters(spec):
        index = usual_entry(gradient)
        yield Smallest(spec.name, leaf.path, case.name, index, _noticed(spec, case, i, index))


def parameters(spec: Spec) -> Iterator[tuple[Case, int, Leaf, Any]]:
    """Each parameter at the first smooth case that has it: its number there, itself, and its gradient."""
    known: set[str] = set()
    for case in spec.cases:
        if case.flags & NOT_SMOOTH:
            continue
        arguments, options = case.draw(spec.name)
        names = Subject.of(spec.op, options).names(len(arguments))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            y, residuals = forward(spec.op)(*arguments, **options)
            gradients: Any = backward(spec.op)(residuals, random_cotangent(y))
        for i, (leaf, gradient) in enumerate(zip(leaves_of(names, arguments), optree.tree_leaves(gradients), strict=True)):
            if leaf.path not in known and np.any(gradient):
                known.add(leaf.path)
                yield case, i, leaf, np.asarray(gradient)


def usual_entry(gradient: Any) -> tuple[int, ...]:
    """The smallest entry that is not small: of those from a tenth of the largest on."""
    size = np.abs(gradient)
    place = int(np.argmin(np.where(size >= 0.1 * size.max(), size, np.inf)))
    return tuple(int(n) for n in np.unravel_index(place, gradient.shape))


def _noticed(spec: Spec, case: Case, leaf: int, index: tuple[int, ...]) -> int | None:
    """The largest k that is noticed, by bisection; None if the smallest k is not."""
    arguments, options = case.draw(spec.name)

    def found(k: int) -> bool:
        op = plant(spec.op, leaf, index, 1 + 10.0**-k)
        return not verify(
            op,
            *arguments,
            options=options,
            reference=spec.reference,
            flags=case.flags,
            views=spec.views,
            allows=spec.allows,
            strict=True,
        ).passed

    if not found(LARGEST_K):
        return None
    low, high = LARGEST_K, SMALLEST_K + 1  # noticed at low, not at high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if found(middle) else (low, middle)
    return low


def plant(op: Any, leaf: int, index: tuple[int, ...], factor: float) -> Any:
    """The op with one entry of one cotangent multiplied by this factor."""
    right = backward(op)

    def bwd(residuals: Any, dy: Any) -> Any:
        arrays, structure = optree.tree_flatten(right(residuals, dy))
        arrays[leaf] = np.array(arrays[leaf])
        arrays[leaf][index] *= factor
        return structure.unflatten(arrays)

    return with_backward(op, bwd)
