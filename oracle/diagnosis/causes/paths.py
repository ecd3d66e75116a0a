"""Causes in which the gradient lacks one path through the forward pass, or a small constant in it (see `held`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, islice
from typing import Any

import numpy as np

from oracle.arrays import quiet, vector
from oracle.diagnosis.call import numbers_of
from oracle.diagnosis.held import Part, Use, forgotten, holding, uses_of
from oracle.diagnosis.jacobian import leaves_in
from oracle.diagnosis.matching import AGREE, matches_few
from oracle.diagnosis.sample import Sample, gradient_with
from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array, indices_of_axis
from oracle.measures import EPSILON, largest
from oracle.streams import Stream

__all__ = ["constant_left_out", "part_of_a_path_lost", "path_lost"]

MOST = 32
"""The largest number of uses. A norm has 15, attention about 10. With 64, a loop over time whose error has no known cause takes
a third longer to check; with 8, norms are left out."""
TINY = 1e-2
"""The largest error, as a share of the largest entry, that a small constant may explain."""
CLOSE = 1e-4
"""How close the slopes along one direction must come before all entries are compared, as a share of the error. The slopes are
exact to about 1e-6; larger, and more of the budget is spent on uses that are not the cause."""
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
        for use in _uses(v):
            constant = float(use.value.flat[0])
            if not use.constant or constant in keywords or v.sample is None:
                continue
            without = _gradient(v.sample, {use.number: np.zeros_like(use.value)})
            if without is not None and matches_few(v, without):
                yield (
                    f"a small constant left out: {v.name} is the gradient without the {constant:g} that enters "
                    f"`{use.function}` in {use.line}; the error is {largest(v.error) / size:.1g} of the largest entry"
                )


def path_lost(v: View) -> Iterator[str]:
    """One path through the forward pass is lost, counted twice, reversed, or the only one; or two are lost."""
    yield from _screened(v, _path_lost)


def _screened(v: View, search: Callable[[View, Sample, _Screening], Iterator[str]]) -> Iterator[str]:
    """What a search among the uses finds."""
    if v.sample is not None:
        with forgotten(v.sample.forward.call):
            screening = _screening(v.sample, v.sample.picked[v.sample.few], v.sample.ours[v.sample.few])
            if screening is not None:
                yield from search(v, v.sample, screening)


def _path_lost(v: View, s: Sample, screening: _Screening) -> Iterator[str]:
    paths = list(_different_paths(v, screening))
    for times, words in COUNTED.items():
        for use, path in paths:
            if screening.resembles(screening.true + (times - 1) * path):
                held = _gradient(s, {use.number: use.value})
                if held is not None and matches_few(v, held + times * (s.here - held)):
                    yield words.format(v.name, use)
    for (one, path), (two, other) in combinations(paths, 2):
        if screening.resembles(screening.true - path - other):
            held = _gradient(s, {use.number: use.value for use in (one, two)})
            if held is not None and matches_few(v, held):
                yield f"two paths lost: {v.name} is the gradient that treats as constants {one}, and {two}"
    for use, path in paths:
        if screening.resembles(path):
            held = _gradient(s, {use.number: use.value})
            if held is not None and matches_few(v, s.here - held):
                yield f"one path only: {v.name} is the gradient by the path through {use} alone; the rest is lost"


def part_of_a_path_lost(v: View) -> Iterator[str]:
    """Some adjacent indices of an axis are lost on the way, such as one key of an attention."""
    if v.sample is None:
        return
    with forgotten(v.sample.forward.call):
        # Entries that only some indices reach tell these apart, so all sampled entries count.
        screening = _screening(v.sample, v.sample.entries, v.ours[v.sample.where], extrapolated=True)
        if screening is not None:
            yield from _part_lost(v, v.sample, screening)


def _part_lost(v: View, s: Sample, screening: _Screening) -> Iterator[str]:
    for use in _uses(v):
        slope = None if use.constant else screening.slope({use.number: use.value})
        path = screening.true - slope if slope is not None else 0.0
        for axis, n in enumerate(use.value.shape if abs(path) > AGREE * abs(screening.true) else ()):
            found = _parts(use, axis, screening, path) if 1 < n <= INDICES else _ends(use, axis, screening)
            for part in islice(found, TRIED):
                held = _gradient(s, {use.number: part})
                if held is not None and matches_few(v, held):
                    which = indices_of_axis(range(part.start, part.stop), axis)
                    yield f"a part of a path lost: {v.name} is the gradient that treats {which} of {use} as a constant"


def _parts(use: Use, axis: int, screening: _Screening, path: float) -> Iterator[Part]:
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


def _ends(use: Use, axis: int, screening: _Screening) -> Iterator[Part]:
    """The first and the last index of a long axis."""
    n = use.value.shape[axis]
    for start in (n - 1, 0) if n > 1 else ():
        part = Part(use.value, axis, start, start + 1)
        slope = screening.slope({use.number: part})
        if slope is not None and screening.resembles(slope):
            yield part


def _different_paths(v: View, screening: _Screening) -> Iterator[tuple[Use, float]]:
    """The uses through which some of the gradient flows, but not all, and the slope of that part: one use for each slope."""
    seen = [0.0, screening.true]
    for use in _uses(v):
        slope = None if use.constant else screening.slope({use.number: use.value})
        path = screening.true - slope if slope is not None else 0.0
        if all(abs(path - other) > AGREE * abs(screening.true) for other in seen):
            seen.append(path)
            yield use, path


def _uses(v: View) -> list[Use]:
    forward = v.context.forward
    return [] if forward is None or not forward.share.pay(forward.cost) else uses_of(forward.call, forward.leaf, MOST)


def _gradient(s: Sample, held: Mapping[int, Any]) -> Array | None:
    """The gradient at the picked entries with some uses held."""
    call = s.forward.call
    function = holding(call, s.forward.leaf, held)
    other = replace(s.forward, call=replace(call, function=function))
    return gradient_with(replace(s, forward=other), call.primals, call.options)


@dataclass(frozen=True)
class _Screening:
    """The slopes along one random direction in some entries whose differences are sound."""

    sample: Sample
    direction: Array
    """In all entries of the argument."""
    ours: float
    """The slope by our gradient."""
    true: float = 0.0
    extrapolated: bool = False
    """Whether a slope is extrapolated from two steps: many entries move the uses far."""

    def resembles(self, slope: float) -> bool:
        """Whether this may be the slope by our gradient."""
        return abs(slope - self.ours) <= max(CLOSE, self.sample.forward.sound) * abs(self.ours - self.true)

    def slope(self, held: Mapping[int, Any]) -> float | None:
        """The slope with some uses held, by a central difference; None where there is none."""
        forward = self.sample.forward
        extrapolated = self.extrapolated or forward.eps > EPSILON["float64"]
        steps = (forward.step, forward.step / 2) if extrapolated else (forward.step,)
        if not forward.share.pay(2 * len(steps) * forward.cost):
            return None
        call = forward.call
        function = holding(call, forward.leaf, held)
        leaves, structure = leaves_in(call.primals)

        def value(by: float) -> float:
            moved = [leaf + by * self.direction if i == forward.leaf else leaf for i, leaf in enumerate(leaves)]
            return float(call.cotangent @ vector(function(*structure.unflatten(moved), **call.options)))

        with quiet():
            try:
                slopes = [(value(h) - value(-h)) / (2 * h) for h in steps]
            except Exception:  # outside the domain
                return None
        slope = slopes[0] if len(slopes) == 1 else (4 * slopes[1] - slopes[0]) / 3
        return slope if np.isfinite(slope) else None


def _screening(s: Sample, picked: Array, ours: Array, *, extrapolated: bool = False) -> _Screening | None:
    """The screening along a random direction in some entries, at which this is our gradient."""
    x = s.forward.call.arguments[s.forward.leaf]
    direction = np.zeros(x.size)
    direction[picked] = np.random.default_rng(Stream.NEARBY).choice([-1.0, 1.0], picked.size)
    direction[picked] *= np.maximum(np.abs(x.ravel()[picked]), np.abs(x).mean())
    screening = _Screening(s, direction.reshape(x.shape), float(direction[picked] @ ours), extrapolated=extrapolated)
    true = screening.slope({})
    return None if true is None else replace(screening, true=true)
