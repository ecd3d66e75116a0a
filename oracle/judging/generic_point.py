"""A point whose entries are 0, whole or alike makes many a wrong formula right: a generic point nearby is measured, too.

At ones x is as good as x**2, for equal arguments the gradient of a is that of b, and at zeros the second term of a sum is
nothing. So where a gradient passes at such arguments its slope along one random direction is taken at others nearby, at which
no two entries are alike; if that contradicts it, all of its entries are measured there. What is wrong there is not certainly
wrong: a formula may be meant for arguments of a kind. So probabilities go on summing to 1, and a matrix that is symmetric,
antisymmetric or triangular stays so.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import quiet, size_of, vector
from oracle.differences.directional import slope_along
from oracle.judging.error_budget import MULTIPLE
from oracle.judging.evidence import OtherPoint
from oracle.judging.measurements import Witnesses
from oracle.judging.settling import settled
from oracle.judging.verdict import judge
from oracle.row import Verdict

__all__ = ["generic", "is_special", "seek", "witnesses"]

Array = NDArray[Any]

AWAY = (2.0**-4, 2.0**-10)  # of each element, or of the argument's size for one at 0; the second, if the domain ends before
WHOLE = 2.0  # whole numbers up to this are special
WHERE = "right at these arguments, but not beside them, where no entry is 0, whole or like another (choose such ones): there"
SUM = 1e-9  # how near to 1 probabilities sum
TINY = float(np.finfo(np.float64).tiny)
GROSS = 1e-6  # of the terms of a slope: a formula that is right only at the point is wrong by far more
NEAR = 2.0**-6  # of the usual first step: the kinks of the point itself are not far


def is_special(primals: Any) -> bool:
    """Whether some entries are 0, a small whole number, or as large as another."""
    sizes = np.concatenate([np.abs(np.asarray(leaf, np.float64)).reshape(-1) for leaf in optree.tree_leaves(primals)])
    return bool(np.unique(sizes).size < sizes.size or ((sizes <= WHOLE) & (sizes == np.round(sizes))).any())


def generic(primals: Any, seed: int, away: float = AWAY[0]) -> Any:
    """Arguments nearby, at which no two entries are alike but where they must be."""
    generator = np.random.default_rng([seed, 0x626573])

    def moved(x: Array) -> Array:
        by = generator.choice([-1.0, 1.0], x.shape) * generator.uniform(0.5, 1.0, x.shape) * away
        by = np.asarray(by * np.where(x == 0, size_of(x), np.abs(x)))
        if x.ndim and x.shape[-1] > 1 and (x >= 0).all() and np.allclose(x.sum(axis=-1), 1, rtol=0, atol=SUM):
            there = np.abs(x + by)
            return np.asarray(there / there.sum(axis=-1, keepdims=True))
        return np.asarray(x + _of_its_kind(x, by))

    return optree.tree_map(moved, primals)


def _of_its_kind(x: Array, by: Array) -> Array:
    """`by`, so that a symmetric, antisymmetric or triangular matrix stays one, unless it is diagonal or constant."""
    if x.ndim < 2 or x.shape[-1] != x.shape[-2] or np.ptp(x) == 0:
        return by
    lower, upper = np.tril(x, -1), np.triu(x, 1)
    if not lower.any() and not upper.any():
        return by
    if not upper.any() or not lower.any():
        return np.where(x == 0, 0.0, by)
    below = np.tril(by, -1)
    for sign in (1.0, -1.0):
        if np.array_equal(x, sign * x.swapaxes(-1, -2)):
            return np.asarray(below + sign * below.swapaxes(-1, -2) + (np.tril(by) - below) * (sign > 0))
    return by


def seek(there: Witnesses, i: int) -> OtherPoint | None:
    """What contradicts the gradient of argument `i` at the arguments of `there`, if anything does."""
    with quiet(), suppress(Exception):  # what raises is outside the op's domain
        x, ours = there.evaluator.origin[i].reshape(-1), there.gradients[i]
        generator = np.random.default_rng([there.plan.seed, i, x.size])
        direction = generator.choice([-1.0, 1.0], x.size) * np.maximum(np.abs(x), size_of(x))
        sizes = np.abs(ours * direction)
        usual = np.median(sizes[sizes > 0]) if (sizes > 0).any() else 0.0
        direction = np.where(sizes > usual, direction * usual / np.maximum(sizes, TINY), direction)  # or one hides all others
        slope = slope_along(there.evaluator, i, np.arange(x.size), direction, NEAR)
        terms = ours * direction
        if slope is None or not abs(terms.sum() - slope[0]) > GROSS * np.abs(terms).sum() + MULTIPLE * slope[1]:
            return None
        evidence = settled(there, i)
        judgement = judge(evidence)
        if judgement.verdict is Verdict.FAIL:
            return OtherPoint(judgement.contradicted, right=False, where=WHERE, evidence=evidence, generic=True)
    return None


def witnesses(here: Witnesses) -> Witnesses | None:
    """The same witnesses at a generic point near a special one; None if this is none, or nothing can be computed there."""
    if here.dtype.name != "float64" or not is_special(here.wide):
        return None
    for away in AWAY:
        with quiet(), suppress(Exception):
            there = replace(here.at(generic(here.wide, here.plan.seed, away)), estimates={})
            if all(np.isfinite(a).all() for a in (vector(there.y), *there.gradients)):
                return there
    return None
