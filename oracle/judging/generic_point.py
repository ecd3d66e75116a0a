"""Zeros, ones and equal entries make many a wrong formula right: the gradient is tested at a generic point nearby, too.

At ones x is as good as x**2, for equal arguments the gradient of a is that of b, and at zeros the second term of a sum is 0. So
where a gradient passes at such arguments, its slope along one random direction is measured at others nearby, no two of whose
entries are alike. If that contradicts it, all of its entries are measured there. A gradient that is wrong there is not for
certain wrong, since a formula may be meant for arguments of one kind. So probabilities go on summing to 1, and a matrix that
is symmetric, antisymmetric or triangular stays so.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import optree

from oracle.arrays import quiet, size_of, vector
from oracle.differences.directional import slope_along
from oracle.differences.richardson import FIRST_STEP
from oracle.differences.thresholds import SHARP
from oracle.judging.error_budget import GROSS, truncation_and_noise
from oracle.judging.evidence import Array, OtherPoint
from oracle.judging.measurements import Measurements
from oracle.judging.point import point_at
from oracle.judging.settling import settled
from oracle.judging.verdict import judge
from oracle.row import Verdict
from oracle.streams import Stream

__all__ = ["generic", "is_special", "measurements", "seek"]

AWAY = (FIRST_STEP / 2, SHARP)
"""Of each element, or of the argument's size for one at 0: far enough that x and x**2 differ plainly. The second distance is
for ops whose domain ends before the first."""
NEAR = FIRST_STEP**2
"""Of the usual first step, which is longer than the way to that point. Longer steps cross the kinks of the special point
itself, shorter ones drown in noise."""
WHOLE = 2.0
"""Whole numbers up to this are special: x**2 = x at 1, 2 x = x**2 at 2. From 3 on no usual formula is right by chance; with 1,
one of these two would not be looked for."""
WHERE = "right here only because these arguments are special (0, whole or equal numbers), wrong at usual ones nearby: there"


def is_special(primals: Any) -> bool:
    """Whether some entries are 0, a small whole number, or as large as another."""
    sizes = np.concatenate([np.abs(np.asarray(leaf, np.float64)).reshape(-1) for leaf in optree.tree_leaves(primals)])
    return bool(np.unique(sizes).size < sizes.size or ((sizes <= WHOLE) & (sizes == np.round(sizes))).any())


def generic(primals: Any, seed: int, away: float = AWAY[0]) -> Any:
    """Arguments nearby, at which no two entries are alike but where they must be."""
    generator = np.random.default_rng([seed, Stream.GENERIC_POINT])

    def moved(x: Array) -> Array:
        by = generator.choice([-1.0, 1.0], x.shape) * generator.uniform(0.5, 1.0, x.shape) * away
        by = np.asarray(by * np.where(x == 0, size_of(x), np.abs(x)))
        if x.ndim and x.shape[-1] > 1 and (x >= 0).all() and np.allclose(x.sum(axis=-1), 1, rtol=0, atol=GROSS):
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


def seek(there: Measurements, i: int) -> OtherPoint | None:
    """The evidence against the gradient of argument `i` at the arguments of `there`, if it is wrong."""
    with quiet(), suppress(Exception):  # arguments that raise are outside the op's domain
        evaluator = there.point.evaluator
        x, ours = evaluator.origin[i].reshape(-1), there.point.gradients[i]
        generator = np.random.default_rng([there.plan.seed, i, x.size])
        sizes = np.maximum(np.abs(x), size_of(x))
        shares = np.abs(ours * sizes)
        usual = np.median(shares[shares > 0]) if shares.any() else 0.0
        with np.errstate(invalid="ignore", divide="ignore"):
            sizes = np.where(shares > usual, sizes * usual / shares, sizes)  # or one entry hides all others
        for _ in range(2):  # where the slopes of several outputs cancel along one direction, that counts as a kink
            direction = generator.choice([-1.0, 1.0], x.size) * sizes
            terms = ours * direction
            slope = slope_along(evaluator, i, np.arange(x.size), direction, NEAR)
            if slope is not None:
                break
        if slope is None or not abs(terms.sum() - slope[0]) > GROSS * np.abs(terms).sum() + truncation_and_noise(slope[1]):
            return None
        evidence = settled(there, i)
        judgement = judge(evidence)
        if judgement.verdict is Verdict.FAIL:
            return OtherPoint(judgement.contradicted, right=False, where=WHERE, evidence=evidence, generic=True)
    return None


def measurements(here: Measurements) -> Measurements | None:
    """The same measurements at a generic point near a special one; None if this is none, or nothing can be computed there."""
    if here.point.dtype.name != "float64" or not is_special(here.point.wide.primals):
        return None
    for away in AWAY:
        with quiet(), suppress(Exception):
            there = here.at(point_at(here.point, generic(here.point.wide.primals, here.plan.seed, away)))
            if all(np.isfinite(a).all() for a in (vector(there.point.y), *there.point.gradients)):
                return there
    return None
