"""Small entries can be wrong by less than the roundoff of larger ones: they are tested again at rescaled arguments.

A gradient may be tiny because the function is saturated, or because an element is tiny. Then its error is far below the
rounding of larger terms, and passes whatever it is. A formula that is wrong here is also wrong nearer the origin, where the
function is not saturated, and at arguments of like size, where no entry is tiny.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import optree

from oracle.arrays import quiet, size_of
from oracle.differences.thresholds import SHARP
from oracle.effort import REPEATS
from oracle.judging.comparison import best_known
from oracle.judging.conditioning import TOWARDS_ORIGIN
from oracle.judging.error_budget import REFERENCE_TERMS, roundoff, truncation_and_noise
from oracle.judging.evidence import Array, Evidence, OtherPoint
from oracle.judging.measurements import Measurements
from oracle.judging.point import point_at
from oracle.judging.settling import settled
from oracle.judging.verdict import judge
from oracle.measures import distance
from oracle.row import Verdict
from oracle.streams import Stream

__all__ = ["seek"]


def seek(m: Measurements, i: int, here: Evidence, below_roundoff: Array) -> tuple[OtherPoint, Measurements]:
    """Whether these entries of the gradient of argument `i` are wrong somewhere, or right where an error would show.

    And the measurements that show it.
    """
    unknown = _grossest(here, below_roundoff)
    for where, primals in _points(m):
        with quiet(), suppress(Exception):  # arguments that raise are outside the op's domain
            point = point_at(m.point, primals)
            # To measure the noise of roundings inside takes more evaluations than all the rest. It can only forgive.
            for noise_of in (m.point, None) if not any(m.point.inner_noise) else (None,):
                there = m.at(replace(point, noise_of=noise_of))
                evidence = settled(there, i, unknown)
                judgement = judge(evidence)
                if judgement.verdict.passes:
                    break
            wrong = np.intersect1d(judgement.contradicted, unknown)
            if judgement.verdict is Verdict.FAIL and wrong.size:
                return OtherPoint(wrong, right=False, where=f"at {where}, where rounding hides less", evidence=evidence), there
            if judgement.verdict.passes:
                unknown = np.setdiff1d(unknown, _visible(evidence, unknown))
        if not unknown.size:
            return OtherPoint(unknown, right=True), m
    return OtherPoint(unknown, right=False, contradicted=bool(_contradicted(here, unknown).any())), m


def _points(m: Measurements) -> Iterator[tuple[str, Any]]:
    """Nearer and nearer the origin; with the arguments as they are, and with all elements of one about as large."""
    generator = np.random.default_rng([m.plan.seed, Stream.RESCALED_POINT])
    wide: Any = m.point.wide.primals
    factors = optree.tree_map(lambda a: generator.uniform(0.5, 1.5, np.shape(a)), wide)
    level = optree.tree_map(lambda a, f: np.asarray(np.where(a < 0, -1.0, 1.0) * size_of(a) * f), wide, factors)
    for share in (1, *TOWARDS_ORIGIN):
        words = "these arguments" if share == 1 else f"1/{1 / share:.0f} of these arguments"
        if share < 1:
            yield words, optree.tree_map(lambda a, t=share: np.asarray(a * t), wide)
        yield f"{words}, all made of like size", optree.tree_map(lambda a, t=share: np.asarray(a * t), level)


def _grossest(e: Evidence, below_roundoff: Array) -> Array:
    """Some of these entries: those whose error is the largest share of them."""
    ours, truth = e.analytic[below_roundoff], best_known(e)[below_roundoff]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = distance(ours, truth) / np.maximum(np.abs(ours), np.abs(truth))
    return np.sort(below_roundoff[np.argsort(-np.nan_to_num(share), kind="stable")[:REPEATS]])


def _visible(e: Evidence, index: Array) -> Array:
    """Those of the entries of a right gradient that could not be wrong unnoticed."""
    truth = best_known(e)
    close = distance(e.analytic, truth) <= roundoff(np.abs(truth), REFERENCE_TERMS)
    return np.asarray(index[((np.abs(truth) >= SHARP * e.budget.scale) | (close & (truth != 0)))[index]])


def _contradicted(e: Evidence, index: Array) -> Array:
    """Which of the entries are quite other numbers by differences that know them well."""
    at = np.minimum(np.searchsorted(e.estimate.index, index), e.estimate.index.size - 1)
    value, allowed = e.estimate.value[at], truncation_and_noise(e.estimate.uncertainty[at])
    known = (e.estimate.index[at] == index) & ~e.estimate.kink[at] & (value != 0) & (allowed <= SHARP * np.abs(value))
    return np.asarray(known & (np.abs(e.analytic[index] - value) > 0.5 * np.abs(value)))
