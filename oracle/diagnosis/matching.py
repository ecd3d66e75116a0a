"""Whether a supposed gradient explains the error of ours."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array
from oracle.effort import AGREEING
from oracle.measures import EPSILON, eps_of, largest

__all__ = ["AGREE", "LEFT", "explained_by", "explains", "matches", "matches_few", "matches_sample"]

LEFT = 1e-3
"""A cause explains an error if it leaves less than this share of it. Larger, and a wrong cause explains errors by chance;
smaller, and the rounding of a fit hides a right one."""
NOISY = 0.03
"""The same for a gradient by differences of a function that computes in a narrower dtype inside, whose noise is larger than
that share. Larger, and a wrong cause explains errors by chance; smaller, and errors of 1e-2 in float32 get no cause."""
AGREE = 1e-6
"""The relative distance at which a fitted number counts as a known one. Larger, and numbers get names by chance; smaller, and
the error of the fit hides the name."""


def explains(supposed: Array, ours: Array, truth: Array, dtype: np.dtype[Any], noise: float = 0.0) -> bool:
    """Whether the distance of our gradient from the supposed one is a tiny share of its distance from the true one.

    It may be as large as the `noise` of each supposed entry if that is a small share, too.
    """
    size = largest(ours, truth, supposed)
    if size == 0 or not (np.isfinite(ours).all() and np.isfinite(supposed).all()):
        return False
    left, error = np.linalg.norm((ours - supposed) / size), np.linalg.norm((ours - truth) / size)
    return bool(left < max(LEFT, eps_of(dtype)) * error or left < min(noise / size * np.sqrt(ours.size), NOISY * error))


def explained_by(v: View, supposed: Array, where: Array | None = None, noise: float = 0.0) -> bool:
    """Whether a supposed gradient, given at the known entries or at those in `where`, explains the error."""
    where = np.ones(v.ours.shape, bool) if where is None else where
    return explains(supposed, v.ours[where], v.truth[where], v.e.parameter.dtype, noise)


def matches(v: View, supposed: Array, where: Array | None = None, uncertainty: float = 0.0, noise: float = 0.0) -> bool:
    """As `explained_by`, and each of our entries is closer to the supposed gradient, where it differs from the true one.

    `uncertainty` is the largest error of the supposed gradient, `noise` that part of it which rounding causes.
    """
    where = np.ones(v.ours.shape, bool) if where is None else where
    if not explained_by(v, supposed, where, noise):
        return False
    ours, truth = v.ours[where], v.truth[where]
    differ = np.abs(supposed - truth) > v.tolerance[where] + uncertainty
    return not bool((np.abs(ours - supposed) > np.abs(ours - truth))[differ].any())


def matches_sample(v: View, supposed: Array) -> bool:
    """Whether our gradient is this one, computed from the Jacobian, at the sampled entries."""
    return (
        v.sample is not None
        and supposed.size > 1
        and matches(v, supposed, v.sample.where, v.sample.forward.sound * largest(v.truth))
    )


def matches_few(v: View, supposed: Array) -> bool:
    """Whether our gradient is this one, evaluated at the picked entries; False if fewer than `AGREEING` of them are sound."""
    if v.sample is None or v.sample.few.size < AGREEING:
        return False
    forward, size = v.sample.forward, largest(v.truth)
    noise = forward.sound * size if forward.eps > EPSILON["float64"] else 0.0
    return matches(v, supposed[v.sample.few], v.sample.few_where, forward.sound * size, noise)
