"""The sample of entries of one argument at which a diagnosis evaluates other gradients, with the Jacobian there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oracle.diagnosis.forward_pass import ForwardPass
from oracle.diagnosis.words import Array
from oracle.effort import AGREEING

__all__ = ["Sample", "gradient_with", "sample_of", "spread_evenly"]

MOST = 256
"""The largest number of sampled entries of one argument. With fewer, causes with many free numbers have too few entries to fit;
with more, the budget ends sooner."""
FEW = 32
"""How many of the sampled entries are evaluated at other points and keywords."""


@dataclass(frozen=True)
class Sample:
    """The sampled entries with sound differences, and a few entries at which other gradients are evaluated.

    The differences are sound where they agree with the true gradient, so that no kink is near.
    """

    forward: ForwardPass
    entries: Array
    """The flat indices of the sampled entries."""
    jacobian: Array
    """The derivative of every output by each sampled entry: one row for each entry."""
    where: Array
    """A mask of the sampled entries over the known entries."""
    picked: Array
    """The flat indices of the few entries at which other gradients are evaluated."""
    ours: Array
    """Our gradient at the picked entries."""
    here: Array
    """The gradient by differences at the picked entries."""
    few: Array
    """The positions of those among the picked entries whose differences are sound."""
    few_where: Array
    """A mask of these few over the known entries."""
    tested: dict[str, tuple[Any, ...]] = field(default_factory=dict, init=False, repr=False)
    """The hypotheses evaluated so far, by the name of their kind."""


def sample_of(forward: ForwardPass, index: Array, wrong: Array, ours: Array, truth: Array, tolerance: Array) -> Sample | None:
    """A sample of the known entries, with as many as half of the available budget allows; half of them are wrong ones.

    `index` holds the flat indices of the known entries in increasing order, and the other arrays are given at these entries:
    a mask of the wrong ones, our gradient, the true one, and how close differences must come to it. None if no entry has
    sound differences.
    """
    call = forward.call
    entries = _affordable(forward, index, wrong)
    derivative = forward.derivative(forward.leaf, call.primals, call.options, entries)
    if derivative is None:
        return None
    known = np.searchsorted(index, entries)
    sound = np.abs(derivative.rows @ call.cotangent - truth[known]) <= tolerance[known]
    if not sound.any():
        return None
    half = spread_evenly(np.flatnonzero(wrong[known]), FEW // 2)
    picked = np.union1d(half, spread_evenly(np.arange(entries.size), FEW - half.size))
    few = np.flatnonzero(sound[picked])
    return Sample(
        forward,
        entries[sound],
        derivative.rows[sound],
        where=np.isin(index, entries[sound]),
        picked=entries[picked],
        ours=ours[known[picked]],
        here=derivative.rows[picked] @ call.cotangent,
        few=few,
        few_where=np.isin(index, entries[picked[few]]),
    )


def _affordable(forward: ForwardPass, index: Array, wrong: Array) -> Array:
    most = min(MOST, forward.share.left // (8 * forward.cost))
    half = spread_evenly(index[wrong], most // 2)
    chosen = np.union1d(half, spread_evenly(index, most - half.size))
    return chosen if chosen.size >= min(index.size, AGREEING) else np.zeros(0, np.intp)


def gradient_with(s: Sample, primals: Any, options: Mapping[str, Any]) -> Array | None:
    """The gradient at the picked entries for other arguments or keywords; None where it cannot be evaluated."""
    derivative = s.forward.derivative(s.forward.leaf, primals, options, s.picked)
    cotangent = s.forward.call.cotangent
    return None if derivative is None or derivative.rows.shape[1] != cotangent.size else derivative.rows @ cotangent


def spread_evenly(entries: Array, most: int) -> Array:
    """At most `most` of the entries, spread evenly."""
    return entries[np.unique(np.linspace(0, entries.size - 1, min(entries.size, max(most, 0))).astype(np.intp))]
