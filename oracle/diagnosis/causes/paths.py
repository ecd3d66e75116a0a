"""Causes in which the gradient lacks one path through the forward pass, or a small constant in it (see `held`)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice

import numpy as np

from oracle.diagnosis.call import numbers_of
from oracle.diagnosis.held import forgotten
from oracle.diagnosis.matching import AGREE, matches_few
from oracle.diagnosis.sample import Sample
from oracle.diagnosis.screening import Screening, different_paths, gradient_holding, screened, screening_of, uses_in
from oracle.diagnosis.uses import Part, Use
from oracle.diagnosis.view import View
from oracle.diagnosis.words import indices_of_axis
from oracle.measures import largest

__all__ = ["COUNTED", "constant_left_out", "part_of_a_path_lost", "path_lost"]

TINY = 1e-2
"""The largest error, as a share of the largest entry, that a small constant may explain."""
INDICES = 64
"""The length of an axis up to which any adjacent indices are tried, for four evaluations each. With 256, one axis may spend all
that is left of the budget; with 16, the keys of most attentions are not told apart."""
TRIED = 3
"""Adjacent indices whose slope fits by chance, and that are compared entry by entry, of one axis. With 1 the right ones may be
missed, with 10 an axis may spend a third of the budget."""


COUNTED = {
    0: "one path lost: {} is the gradient that treats {} as a constant",
    2: "one path twice: {} counts the path through {} twice",
    -1: "one path reversed: {} has the wrong sign in the path through {}",
}
"""How often a path is counted, and the sentence that says so."""


def constant_left_out(v: View) -> Iterator[str]:
    """The gradient of log(y + eps) was written as that of log(y)."""
    size = largest(v.truth)
    if v.context.forward is None or not 0 < largest(v.error) <= TINY * size:
        return
    keywords = numbers_of(v.context.forward.call).values()  # `with_other_options` explains these
    with forgotten(v.context.forward.call):
        for use in uses_in(v):
            constant = float(use.value.flat[0])
            if not use.constant or constant in keywords or v.sample is None:
                continue
            without = gradient_holding(v.sample, {use.number: np.zeros_like(use.value)})
            if without is not None and matches_few(v, without):
                yield (
                    f"a small constant left out: {v.name} is the gradient without the {constant:g} that enters "
                    f"`{use.function}` in {use.line}; the error is {largest(v.error) / size:.1g} of the largest entry"
                )


def path_lost(v: View) -> Iterator[str]:
    """One path through the forward pass is lost, counted twice, reversed, or the only one; or two are lost."""
    yield from screened(v, _path_lost)


def _path_lost(v: View, s: Sample, screening: Screening) -> Iterator[str]:
    paths = list(different_paths(v, screening))
    for times, words in COUNTED.items():
        for path in paths:
            if screening.resembles(screening.true + (times - 1) * path.slope):
                held = gradient_holding(s, path.held)
                if held is not None and matches_few(v, held + times * (s.here - held)):
                    yield words.format(v.name, path.use)
    for one, two in combinations(paths, 2):
        if screening.resembles(screening.true - one.slope - two.slope):
            held = gradient_holding(s, {**one.held, **two.held})
            if held is not None and matches_few(v, held):
                yield f"two paths lost: {v.name} is the gradient that treats as constants {one.use}, and {two.use}"
    for path in paths:
        if screening.resembles(path.slope):
            held = gradient_holding(s, path.held)
            if held is not None and matches_few(v, s.here - held):
                yield f"one path only: {v.name} is the gradient by the path through {path.use} alone; the rest is lost"


def part_of_a_path_lost(v: View) -> Iterator[str]:
    """Some adjacent indices of an axis are lost on the way, such as one key of an attention."""
    if v.sample is None:
        return
    with forgotten(v.sample.forward.call):
        # Entries that only some indices reach tell these apart, so all sampled entries count.
        where = v.sample.where
        screening = screening_of(v.sample, v.sample.entries, v.ours[where], v.truth[where], extrapolated=True)
        if screening is not None:
            yield from _part_lost(v, v.sample, screening)


def _part_lost(v: View, s: Sample, screening: Screening) -> Iterator[str]:
    for use in uses_in(v):
        slope = None if use.constant else screening.slope({use.number: use.value})
        path = screening.true - slope if slope is not None else 0.0
        for axis, n in enumerate(use.value.shape if abs(path) > AGREE * abs(screening.true) else ()):
            found = _parts(use, axis, screening, path) if 1 < n <= INDICES else _ends(use, axis, screening)
            for part in islice(found, TRIED):
                held = gradient_holding(s, {use.number: part})
                if held is not None and matches_few(v, held):
                    which = indices_of_axis(range(part.start, part.stop), axis)
                    yield f"a part of a path lost: {v.name} is the gradient that treats {which} of {use} as a constant"


def _parts(use: Use, axis: int, screening: Screening, path: float) -> Iterator[Part]:
    """The adjacent indices whose path, if it is lost, leaves the slope of our gradient: the fewest first.

    What flows through some indices is the sum of what flows through each. So the paths through the first 1, 2, ... indices tell
    that through any adjacent ones.
    """
    n = use.value.shape[axis]
    upto = [0.0]
    for stop in range(1, n):
        slope = screening.slope({use.number: Part(use.value, axis, 0, stop)})
        if slope is None:
            return
        upto.append(screening.true - slope)
    upto.append(path)
    sizes = range(1, n)
    for start, stop in ((start, start + size) for size in sizes for start in range(n - size + 1)):
        if screening.resembles(screening.true - (upto[stop] - upto[start])):
            yield Part(use.value, axis, start, stop)


def _ends(use: Use, axis: int, screening: Screening) -> Iterator[Part]:
    """The first and the last index of a long axis."""
    n = use.value.shape[axis]
    for start in (n - 1, 0) if n > 1 else ():
        part = Part(use.value, axis, start, start + 1)
        slope = screening.slope({use.number: part})
        if slope is not None and screening.resembles(slope):
            yield part
