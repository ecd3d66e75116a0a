"""What the search for a lost path or a wrong slope shares: the uses of an argument, and slopes with some of them held.

One slope along a random direction costs two evaluations, a gradient four for each entry. So only what has the slope of our
gradient is evaluated entry by entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from oracle.arrays import quiet, vector
from oracle.diagnosis.held import forgotten, holding, uses_of
from oracle.diagnosis.jacobian import leaves_in
from oracle.diagnosis.matching import AGREE
from oracle.diagnosis.sample import Sample, gradient_with
from oracle.diagnosis.uses import Use
from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array
from oracle.measures import EPSILON
from oracle.streams import Stream

__all__ = [
    "Path",
    "Screening",
    "at_steps",
    "different_paths",
    "gradient_holding",
    "groups_in",
    "priced",
    "screened",
    "screening_of",
    "silent_maxima",
    "uses_in",
]

MOST = 32
"""The largest number of uses. A norm has 15, attention about 10. With 64, a loop over time whose error has no known cause takes
a third longer to check; with 8, norms are left out."""
STEPS = 16
"""The largest number of steps of a loop with as many uses each. A longer loop makes each evaluation slow; with 4, the smallest
recurrent nets are left out."""
CLOSE = 1e-4
"""How close the slopes along one direction must come before all entries are compared, as a share of the error. The slopes are
exact to about 1e-6; larger, and more of the budget is spent on uses that are not the cause."""


def screened(v: View, search: Callable[[View, Sample, Screening], Iterator[str]]) -> Iterator[str]:
    """What a search among the uses finds."""
    if v.sample is not None:
        with forgotten(v.sample.forward.call):
            s = v.sample
            screening = screening_of(s, s.picked[s.few], s.ours[s.few], v.truth[s.few_where])
            if screening is not None:
                yield from search(v, s, screening)


@dataclass(frozen=True)
class Path:
    """The paths through one use."""

    use: Use
    slope: float
    """The slope of that part of the gradient which flows through it."""
    held: Mapping[int, Any]
    """What is held to lose it, by the number of the use: the use itself, and perhaps others whose paths carry nothing."""


def different_paths(v: View, screening: Screening) -> Iterator[Path]:
    """The paths through which some of the gradient flows, but not all: one for each slope.

    A stable softmax subtracts a maximum, through which nothing flows as long as it is subtracted everywhere. If the sum alone
    is held, the value does depend on it. A backward pass does not know this path, so those that carry nothing are held as well.
    """
    seen = [0.0, screening.true]
    silent: dict[int, Any] = {}
    others: list[Use] = []
    for use in uses_in(v):
        path = None if use.constant else _path(screening, {use.number: use.value})
        if path is not None and abs(path) <= AGREE * abs(screening.true):
            silent[use.number] = use.value
        elif path is not None:
            others.append(use)
            if _is_new(path, seen, screening):
                yield Path(use, path, {use.number: use.value})
    for use in others if silent else ():
        path = _path(screening, held := {use.number: use.value, **silent})
        if path is not None and _is_new(path, seen, screening):
            yield Path(use, path, held)


def silent_maxima(uses: list[Use], screening: Screening) -> dict[int, Any]:
    """What enters the maxima, if nothing flows through them: those that a stable softmax subtracts."""
    held = {use.number: use.value for use in uses if use.function in {"max", "amax"}}
    path = _path(screening, held) if held else None
    return held if path is not None and abs(path) <= AGREE * abs(screening.true) else {}


def _path(screening: Screening, held: Mapping[int, Any]) -> float | None:
    slope = screening.slope(held)
    return None if slope is None else screening.true - slope


def _is_new(path: float, seen: list[float], screening: Screening) -> bool:
    """Whether this slope differs from those seen so far, to which it is added then."""
    new = all(abs(path - other) > AGREE * abs(screening.true) for other in seen)
    if new:
        seen.append(path)
    return new


def uses_in(v: View) -> list[Use]:
    """The uses of the argument; none where the budget is spent."""
    forward = v.context.forward
    return [] if forward is None or not forward.share.pay(forward.cost) else uses_of(forward.call, forward.leaf, MOST)


def groups_in(v: View) -> list[list[Use]]:
    """The uses of the argument, those in the same place of the code together: the steps of a loop."""
    forward = v.context.forward
    if forward is None or not forward.share.pay(forward.cost):
        return []
    groups: dict[object, list[Use]] = {}
    for use in uses_of(forward.call, forward.leaf, MOST * STEPS):
        if not use.constant:
            groups.setdefault((use.site, use.function, use.position), []).append(use)
    return list(groups.values()) if len(groups) <= 2 * MOST else []


def priced(screening: Screening, groups: list[list[Use]]) -> Screening:
    """The screening where the forward pass has these uses."""
    return replace(screening, price=2) if sum(map(len, groups)) > MOST else screening


def at_steps(group: list[Use]) -> str:
    """A note that the same happens at every step of a loop."""
    return f" at every step of a loop ({len(group)} times)" if len(group) > 1 else ""


def gradient_holding(s: Sample, held: Mapping[int, Any]) -> Array | None:
    """The gradient at the picked entries with some uses held."""
    call = s.forward.call
    function = holding(call, s.forward.leaf, held)
    other = replace(s.forward, call=replace(call, function=function))
    return gradient_with(replace(s, forward=other), call.primals, call.options)


@dataclass(frozen=True)
class Screening:
    """The slopes along one random direction in some entries whose differences are sound."""

    sample: Sample
    direction: Array
    """In all entries of the argument."""
    ours: float
    """The slope by our gradient."""
    truth: float
    """The slope by the true gradient."""
    true: float = 0.0
    """The same by differences: what they are off by is in the other slopes as well."""
    extrapolated: bool = False
    """Whether a slope is extrapolated from two steps: many entries move the uses far."""
    price: int = 1
    """Of one evaluation, in units of that of a small forward pass: seeing the uses of a loop takes longer than the loop."""

    def resembles(self, slope: float) -> bool:
        """Whether this may be the slope by our gradient."""
        error = self.ours - self.truth
        return abs(slope - self.true - error) <= max(CLOSE, self.sample.forward.sound) * abs(error)

    def slope(self, held: Mapping[int, Any]) -> float | None:
        """The slope with some uses held, by a central difference; None where there is none."""
        forward = self.sample.forward
        extrapolated = self.extrapolated or forward.eps > EPSILON["float64"]
        steps = (forward.step, forward.step / 2) if extrapolated else (forward.step,)
        if not forward.share.pay(2 * len(steps) * self.price * forward.cost):
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


def screening_of(s: Sample, picked: Array, ours: Array, truth: Array, *, extrapolated: bool = False) -> Screening | None:
    """The screening along a random direction in some entries, at which these are our gradient and the true one."""
    x = s.forward.call.arguments[s.forward.leaf]
    direction = np.zeros(x.size)
    direction[picked] = np.random.default_rng(Stream.NEARBY).choice([-1.0, 1.0], picked.size)
    direction[picked] *= np.maximum(np.abs(x.ravel()[picked]), np.abs(x).mean())
    slopes = float(direction[picked] @ ours), float(direction[picked] @ truth)
    screening = Screening(s, direction.reshape(x.shape), *slopes, extrapolated=extrapolated)
    true = screening.slope({})
    return None if true is None else replace(screening, true=true)
