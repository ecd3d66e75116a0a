"""One formula with choices: the rules of descent, Adam and its relatives, RMSProp, AdaGrad and Lion, right and wrong, in NumPy.

It is no reference. A reference is recognized as one of these rules if the rule reproduces its run; then a rule with one choice
changed is a hypothesis about a wrong optimizer, which holds if that rule reproduces the wrong run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.trajectory.probe import Probe

__all__ = ["Flat", "Numbers", "Rule", "follow_rule"]

Array = NDArray[Any]


class Numbers(NamedTuple):
    """The hyperparameters beside the rate."""

    b1: float = 0.0
    """The share of the first moment, or of the velocity, that is kept."""
    b2: float = 0.0
    eps: float = 0.0
    eps_root: float = 0.0
    weight_decay: float = 0.0
    start: float = 0.0
    """The second moment before the first step."""
    momentum_decay: float = 0.0
    """By how much torch's NAdam lets b1 grow from step to step; 0 for a constant b1."""


@dataclass(frozen=True)
class Rule:
    """A rule of update by its choices. Each comment has the right values first, then those of mistakes."""

    family: str = "descent"
    """descent, adam, rms, adagrad, adamax, lion"""
    numbers: Numbers = field(default_factory=Numbers)
    nesterov: bool = False
    centered: bool = False
    largest: str = ""
    """Empty: Adam's. AMSGrad has the largest second moment so far: corrected (after the correction), raw (before it)"""
    decay: str = "coupled"
    """coupled, decoupled; unscaled (by the rate), moved (of the parameter after the step)"""
    correction: str = "both"
    """both, none; first, second, twice, exchanged, written (into both moments)"""
    eps: str = "outside"
    """outside, inside (the root), hat (before the correction); inside before, squared inside, none. Of
    AdaMax: inside (added to the gradient's size), outside (to the largest)"""
    average: str = "plain"
    """The first moment. plain (m = b1 m + g in descent, with the weight 1 - b1 in Adam), damped (with that weight in descent),
    later (damped, but for the first step), rate (m = b1 m + rate g); sum (m = b1 m + g in Adam), exchanged (the weights), stale
    (that before the step), rate twice, without rate; updated (Lion's sign is that of the moment after the step)"""
    second: str = "plain"
    """The second moment. plain; sum (v = b2 v + g^2), exchanged (the weights), stale, of gradients (not squared), no root. Of
    Lion: no sign"""
    counted: str = "1"
    """The count at the first step; or stuck (always 1), parameters (one more for each parameter)"""
    memory: tuple[str, ...] = ()
    """Empty: each parameter has its own slots. Or ("shared",): one for all parameters of a shape; or two parameters of a shape,
    of which the first uses slots of the other, and which: first, second, both"""


class Flat(NamedTuple):
    """A probe as vectors of all its entries."""

    start: Array
    gradients: Array
    """One row for each step."""
    places: tuple[tuple[str, tuple[int, ...], slice], ...]
    """Name, shape and entries of each parameter."""

    @classmethod
    def of(cls, probe: Probe) -> Flat:
        places, begin = [], 0
        for name, p in probe.params.items():
            places.append((name, p.shape, slice(begin, begin + p.size)))
            begin += p.size
        return cls(_flat(probe.params), np.stack([_flat(g) for g in probe.gradients]), tuple(places))

    def only(self, names: Sequence[str]) -> Flat:
        """The entries of these parameters."""
        places, begin, taken = [], 0, []
        for name, shape, place in self.places:
            if name in names:
                size = place.stop - place.start
                places.append((name, shape, slice(begin, begin + size)))
                taken.append(np.arange(place.start, place.stop))
                begin += size
        entries = np.concatenate(taken)
        return Flat(self.start[entries], self.gradients[:, entries], tuple(places))

    def positions(self, records: Iterable[Any]) -> Array:
        """The parameters after each step of a run, one row for each."""
        return np.stack([_flat({name: record[f"params.{name}"] for name, _, _ in self.places}) for record in records])


def _flat(tree: Any) -> Array:
    return np.concatenate([np.ravel(a) for a in tree.values()]).astype(np.float64)


def follow_rule(rule: Rule, flat: Flat, rates: Sequence[float], forced: Array | None = None) -> tuple[Array, Array]:
    """The parameters after each step, and the direction of each step, which is the step divided by minus the rate.

    With `forced`, each step begins at that row instead of where the last one has ended.
    """
    moments = _Moments(rule, flat)
    p = flat.start.copy()
    positions, directions = np.empty_like(flat.gradients), np.empty_like(flat.gradients)
    decay = rule.numbers.weight_decay
    whole = rule.average in ("rate", "without rate")  # the rate is in the velocity, or nowhere
    with np.errstate(all="ignore"):
        for step, g in enumerate(flat.gradients):
            if forced is not None:
                p = forced[step]
            rate = rates[step]
            d = moments.direction(g + decay * p if rule.decay == "coupled" else g, step, rate)
            if rule.decay == "decoupled" and not whole:
                d = d + decay * p
            moved = p - d - (rate * decay * p if rule.decay == "decoupled" else 0) if whole else p - rate * d
            if rule.decay == "unscaled":
                moved = moved - decay * p
            elif rule.decay == "moved":
                moved = moved - rate * decay * moved
            p = moved
            positions[step], directions[step] = p, d
    return positions, directions


class _Moments:
    """The state of a rule: two moments for each parameter."""

    def __init__(self, rule: Rule, flat: Flat) -> None:
        self.rule = rule
        size = flat.start.size
        self.first, self.second, self.third = np.zeros(size), np.full(size, rule.numbers.start), np.zeros(size)
        self.most = np.zeros(size)
        self.places = flat.places

    def direction(self, g: Array, step: int, rate: float) -> Array:
        counted = self.rule.counted
        if not self.rule.memory and counted != "parameters":
            count = 1 if counted == "stuck" else step + int(counted)
            everything = slice(None)
            return self._updated(g, count, rate, step, everything, everything)
        d = np.empty_like(g)
        for i, (name, shape, place) in enumerate(self.places):
            count = step * len(self.places) + i + 1 if counted == "parameters" else step + int(counted)
            used = place
            if self.rule.memory == ("shared",):
                used = next(other for _, other_shape, other in self.places if other_shape == shape)
            elif self.rule.memory and name == self.rule.memory[0]:
                used = next(other for other_name, _, other in self.places if other_name == self.rule.memory[1])
            d[place] = self._updated(g[place], count, rate, step, place, used)
        return d

    def _updated(self, g: Array, t: int, rate: float, step: int, place: slice, used: slice) -> Array:
        """The direction of these entries. Their slots advance; `used` says whose slots the direction is made of."""
        rule, b1, b2 = self.rule, self.rule.numbers.b1, self.rule.numbers.b2
        shared, which = rule.memory == ("shared",), rule.memory[-1] if rule.memory else "both"
        kept = used if shared else place
        first, second = self.first[kept].copy(), self.second[kept].copy()
        self.second[kept] = _second(rule, self.second[kept], g)
        self.third[kept] = b2 * self.third[kept] + (1 - b2) * g
        v = second if rule.second == "stale" else self.second[place if which == "first" else used]
        if rule.family != "rms":
            self.first[kept] = _first(rule, self.first[kept], g, rate, step)
        m = first if rule.average == "stale" else self.first[place if which == "second" else used]
        if rule.family == "descent":
            return _along_velocity(rule, g, m, rate)
        if rule.family == "lion":
            return _sign(rule, g, first, m)
        c1, c2 = _corrections(rule, t)
        if rule.family == "adamax":
            return m / c1 / (v + rule.numbers.eps if rule.eps == "outside" else v)
        if rule.correction == "written":
            m, v, c1, c2 = m / c1, v / c2, 1.0, 1.0
            self.first[kept], self.second[kept] = m, v
        n = v / c2 - np.square(self.third[used] / c2) if rule.centered else v / c2
        if rule.largest:
            self.most[kept] = np.maximum(self.most[kept], n if rule.largest == "corrected" else v)
            n = self.most[kept] if rule.largest == "corrected" else self.most[kept] / c2
        root = _root(rule, v, n, c2)
        if rule.family == "adam":
            return _average(rule, g, m, t, c1) / root
        d = np.divide(g, root, out=np.zeros_like(g), where=root > 0)
        if not b1:
            return d
        self.first[kept] = b1 * first + d
        return b1 * self.first[kept] + d if rule.nesterov else self.first[kept].copy()


def _first(rule: Rule, m: Array, g: Array, rate: float, step: int) -> Array:
    b1 = rule.numbers.b1
    if rule.average == "exchanged":
        return (1 - b1) * m + b1 * g
    if rule.family == "lion":
        return rule.numbers.b2 * m + (1 - rule.numbers.b2) * g
    in_adam = rule.family in ("adam", "adamax") and rule.average != "sum"
    if in_adam or rule.average == "damped" or (rule.average == "later" and step > 0):
        return b1 * m + (1 - b1) * g
    return b1 * m + (rate * g if rule.average in ("rate", "rate twice") else g)


def _second(rule: Rule, v: Array, g: Array) -> Array:
    b2, new = rule.numbers.b2, g if rule.second == "of gradients" else g * g
    if rule.family == "adagrad":
        return v + new
    if rule.family == "adamax":
        size = np.abs(g) + (rule.numbers.eps if rule.eps == "inside" else 0.0)
        return np.maximum(b2 * v, size)
    if rule.second == "exchanged":
        return (1 - b2) * v + b2 * new
    return b2 * v + (new if rule.second == "sum" else (1 - b2) * new)


def _sign(rule: Rule, g: Array, before: Array, after: Array) -> Array:
    """Lion's direction: the sign of the gradient blended with its average before this step."""
    b1 = rule.numbers.b1
    blended = {"stale": before, "updated": b1 * after + (1 - b1) * g}.get(rule.average, b1 * before + (1 - b1) * g)
    return blended if rule.second == "no sign" else np.sign(blended)


def _along_velocity(rule: Rule, g: Array, m: Array, rate: float) -> Array:
    b1 = rule.numbers.b1
    if not b1:
        return g
    if rule.nesterov:
        m = b1 * m + g * {"damped": 1 - b1, "later": 1 - b1, "rate": rate, "rate twice": rate}.get(rule.average, 1.0)
    return m


def _corrections(rule: Rule, t: int) -> tuple[float, float]:
    """By what both moments are divided."""
    c1, c2 = 1 - np.float64(rule.numbers.b1) ** t, 1 - np.float64(rule.numbers.b2) ** t
    wrong = {"none": (1.0, 1.0), "first": (c1, 1.0), "second": (1.0, c2), "twice": (c1 * c1, c2 * c2), "exchanged": (c2, c1)}
    return wrong.get(rule.correction, (c1, c2))


def _average(rule: Rule, g: Array, m: Array, t: int, c1: float) -> Array:
    b1 = rule.numbers.b1
    if not rule.nesterov:
        return m / c1
    if rule.numbers.momentum_decay:
        share, ahead = (_growing(rule.numbers, count) for count in (t, t + 1))
        return np.asarray(ahead[-1] * m / (1 - ahead.prod()) + (1 - share[-1]) * g / (1 - share.prod()))
    if rule.correction in ("none", "second"):
        return b1 * m + (1 - b1) * g
    return b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / c1


def _growing(numbers: Numbers, t: int) -> Array:
    """The b1 of each step up to step t, as torch's NAdam lets it grow. A count below 1 is that of a mistake."""
    counts = np.arange(min(t, 1), t + 1)
    return np.asarray(numbers.b1 * (1 - 0.5 * 0.96 ** (numbers.momentum_decay * counts)))


def _root(rule: Rule, v: Array, n: Array, c2: float) -> Array:
    """The denominator, of the second moment before its correction and after it."""
    eps, n = rule.numbers.eps, n + rule.numbers.eps_root
    if rule.second == "no root":
        return n + eps
    if rule.eps in ("inside", "inside before", "squared inside"):
        added = {"inside": n + eps, "inside before": (v + eps) / c2, "squared inside": n + eps * eps}
        return np.asarray(np.sqrt(added[rule.eps]))
    return np.asarray(np.sqrt(n) + {"hat": eps / np.sqrt(c2), "none": 0.0}.get(rule.eps, eps))
