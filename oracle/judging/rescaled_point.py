"""Small entries can be wrong by less than the roundoff of larger ones: they are tested again at rescaled arguments.

A gradient may be tiny because the function is saturated, or because an element is: then its error is far below the rounding
of larger terms, on the way or in the same tensor, and passes whatever it is. But a formula that is wrong here is wrong
nearer the origin, too, where the function is not saturated, and at arguments of like size, where no entry is tiny.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import quiet, size_of
from oracle.judging.comparison import best_known
from oracle.judging.error_budget import AUTODIFF_ROUNDING, MULTIPLE
from oracle.judging.evidence import Evidence, OtherPoint
from oracle.judging.measurements import Witnesses
from oracle.judging.settling import settled
from oracle.judging.verdict import judge
from oracle.measures import EPSILON, differences
from oracle.row import Verdict

__all__ = ["seek"]

Array = NDArray[Any]

MOST = 16  # entries that are tested
SHARES = {
    1.0: "these arguments",
    0.25: "a quarter of these arguments",
    0.0625: "a sixteenth of these arguments",
    0.015625: "1/64 of these arguments",
}
VISIBLE = 2.0**-10  # of the roundoff scale
KNOWN = 1e-3  # of an entry: how exactly the differences must know what they deny


def seek(witnesses: Witnesses, i: int, here: Evidence, below_roundoff: Array) -> tuple[OtherPoint, Witnesses]:
    """Whether these entries of the gradient of argument `i` are wrong somewhere, or right where that would show.

    And the witnesses that saw it.
    """
    unknown = _grossest(here, below_roundoff)
    for where, primals in _points(witnesses):
        with quiet(), suppress(Exception):  # what raises is outside the op's domain
            others = witnesses.at(primals)
            there = settled(others, i, unknown)
            judgement = judge(there)
            wrong = np.intersect1d(judgement.contradicted, unknown)
            if judgement.verdict is Verdict.FAIL and wrong.size:
                hides_less = f"at {where}, where rounding hides less"
                return OtherPoint(wrong, right=False, where=hides_less, evidence=there), others
            if judgement.verdict.passes:
                unknown = np.setdiff1d(unknown, _visible(there, unknown))
        if not unknown.size:
            return OtherPoint(unknown, right=True), witnesses
    denied = _denied(here, unknown)
    return OtherPoint(unknown, right=False, denied=bool(denied.any())), witnesses


def _points(witnesses: Witnesses) -> Iterator[tuple[str, Any]]:
    """Nearer and nearer the origin; with the arguments as they are, and with all elements of one about as large."""
    generator = np.random.default_rng([witnesses.plan.seed, 0x656C73])
    factors = optree.tree_map(lambda a: generator.uniform(0.5, 1.5, np.shape(a)), witnesses.wide)
    level = optree.tree_map(lambda a, f: np.asarray(np.where(a < 0, -1.0, 1.0) * size_of(a) * f), witnesses.wide, factors)
    for share, words in SHARES.items():
        if share < 1:
            yield words, optree.tree_map(lambda a, t=share: np.asarray(a * t), witnesses.wide)
        yield f"{words}, all made of like size", optree.tree_map(lambda a, t=share: np.asarray(a * t), level)


def _grossest(e: Evidence, below_roundoff: Array) -> Array:
    """Of these entries some, those whose error is the largest share of them."""
    truth = best_known(e)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = differences(e.analytic[below_roundoff], truth[below_roundoff]) / np.maximum(
            np.abs(e.analytic[below_roundoff]), np.abs(truth[below_roundoff])
        )
    return np.sort(below_roundoff[np.argsort(-np.nan_to_num(share), kind="stable")[:MOST]])


def _visible(e: Evidence, index: Array) -> Array:
    """Those of the entries of a gradient that is right which could not be wrong unnoticed."""
    truth = best_known(e)
    close = differences(e.analytic, truth) <= AUTODIFF_ROUNDING * EPSILON["float64"] * np.abs(truth)
    return np.asarray(index[((np.abs(truth) >= VISIBLE * e.scale) | (close & (truth != 0)))[index]])


def _denied(e: Evidence, index: Array) -> Array:
    """Which of the entries are quite other numbers by differences that know them."""
    at = np.searchsorted(e.estimate.index, index)
    at = np.minimum(at, e.estimate.index.size - 1)
    value, spread = e.estimate.value[at], MULTIPLE * e.estimate.uncertainty[at]
    seen = (e.estimate.index[at] == index) & ~e.estimate.kink[at]
    return np.asarray(
        seen & (value != 0) & (spread <= KNOWN * np.abs(value)) & (np.abs(e.analytic[index] - value) > 0.5 * np.abs(value))
    )
