"""A point whose entries are 0, whole or alike makes many a wrong formula right: it is asked about beside that point, too.

At ones x is as good as x**2, for equal arguments the gradient of a is that of b, and at zeros the second term of a sum is
nothing. So where a gradient passes at such arguments its slope along one random direction is taken at others nearby, at which
no two entries are alike; if that contradicts it, all of its entries are asked about there. A symmetric matrix stays one, since
a formula may be meant for these.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.directions import slope_along
from oracle.evidence import MULTIPLE, Elsewhere
from oracle.probe import quiet, size_of
from oracle.row import Verdict
from oracle.verdict import judge

if TYPE_CHECKING:
    from oracle.witnesses import Witnesses

__all__ = ["generic", "is_special", "seek", "witnesses"]

Array = NDArray[Any]

AWAY = 2.0**-4  # of each element, or of the argument's size for one at 0
WHOLE = 2.0  # whole numbers up to this are special
GROSS = 1e-6  # of the terms of a slope: a formula that is right only at the point is wrong by far more
NEAR = 2.0**-6  # of the usual first step: the kinks of the point itself are not far


def is_special(primals: Any) -> bool:
    """Whether some entries are 0, a small whole number, or as large as another."""
    sizes = np.concatenate([np.abs(np.asarray(leaf, np.float64)).reshape(-1) for leaf in optree.tree_leaves(primals)])
    return bool(np.unique(sizes).size < sizes.size or ((sizes <= WHOLE) & (sizes == np.round(sizes))).any())


def generic(primals: Any, seed: int) -> Any:
    """Arguments nearby, at which no two entries are alike, but for those of a symmetric matrix."""
    generator = np.random.default_rng([seed, 0x626573])

    def moved(x: Array) -> Array:
        away = generator.choice([-1.0, 1.0], x.shape) * generator.uniform(0.5, 1.0, x.shape) * AWAY
        if x.ndim > 1 and x.shape[-1] == x.shape[-2] and np.array_equal(x, x.swapaxes(-1, -2)):
            away = np.tril(away) + np.tril(away, -1).swapaxes(-1, -2)
        return np.asarray(x + away * np.where(x == 0, size_of(x), np.abs(x)))

    return optree.tree_map(moved, primals)


def seek(there: Witnesses, i: int) -> Elsewhere | None:
    """What contradicts the gradient of argument `i` at the arguments of `there`, if anything does."""
    with quiet(), suppress(Exception):  # what raises is outside the op's domain
        x, ours = there.probe.origin[i].reshape(-1), there.gradients[i]
        generator = np.random.default_rng([there.seed, i, x.size])
        direction = generator.choice([-1.0, 1.0], x.size) * np.maximum(np.abs(x), size_of(x))
        slope = slope_along(there.probe, i, np.arange(x.size), direction, NEAR)
        terms = ours * direction
        if slope is None or not abs(terms.sum() - slope[0]) > GROSS * np.abs(terms).sum() + MULTIPLE * slope[1]:
            return None
        evidence = there.about(i)
        judgement = judge(evidence)
        if judgement.verdict is Verdict.FAIL and judgement.contradicted.size:
            where = "beside these arguments, where no entry is 0, whole or like another"
            return Elsewhere(judgement.contradicted, False, where=where, evidence=evidence)
    return None


def witnesses(here: Witnesses) -> Witnesses | None:
    """The same witnesses beside a special point; None if it is none, or nothing can be computed there."""
    if here.dtype.name != "float64" or not is_special(here.wide):
        return None
    with quiet(), suppress(Exception):
        return replace(here.at(generic(here.wide, here.seed)), estimates={})
    return None
