"""Recognizes an optimizer as one of the rules of `rule`: the rule with its hyperparameters and rates reproduces its run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.trajectory.hyperparameters import proposals, values_of
from oracle.trajectory.rule import Flat, Numbers, Rule, follow_rule

__all__ = ["Recognized", "agree", "constant", "fitted_rates", "recognized"]

Array = NDArray[np.float64]

MATCH = 4.0
"""How many tolerances a rule may be away from the run that it explains. The tolerance is that of two right optimizers; with 1,
a hypothesis would fail by the order of its operations, with 1,000 errors of 1e-12 would have several explanations."""
SAME_RATE = 1e-9
"""Up to this relative difference a fitted rate is one that was found by its name. The fit has 10 to 13 digits, because a step
is a small part of a parameter; with 1e-6, a rate rounded to float32 would be taken for the exact one."""
SHORT = 2
"""Steps after which most rules are ruled out. With 1, a first moment has no effect yet."""


class Recognized(NamedTuple):
    """A rule that reproduces an optimizer's run, and the rate of each step."""

    rule: Rule
    rates: Array

    def __str__(self) -> str:
        numbers = [f"{name} {value:g}" for name, value in zip(Numbers._fields, self.rule.numbers, strict=True) if value]
        rate = f"rate {self.rates[0]:g}" if constant(self.rates) else f"rates {self.rates[0]:g}, {self.rates[1]:g}, ..."
        choices = ["nesterov"] if self.rule.nesterov else ["amsgrad"] if self.rule.largest else []
        return ", ".join([self.rule.family, rate, *numbers, *choices])


def agree(one: Array, other: Array, tolerance: Array) -> bool:
    """Whether two runs are the same up to MATCH tolerances, NaN at the same places included."""
    steps = min(len(one), len(other))
    one, other, tolerance = one[:steps], other[:steps], tolerance[:steps]
    finite = np.isfinite(one)
    if not np.array_equal(finite, np.isfinite(other)):
        return False
    return bool((np.abs(one - other)[finite] <= MATCH * tolerance[finite]).all())


def constant(rates: Array) -> bool:
    """Whether all rates are one."""
    return bool(np.ptp(rates) <= SAME_RATE * np.abs(rates).max(initial=0.0))


def recognized(found: Mapping[str, list[float]], flat: Flat, run: Array, tolerance: Array) -> Recognized | None:
    """The rule, with hyperparameters among those found or usual ones, that reproduces this run; None if there is none."""
    for defaults in (False, True):
        for rule in _rules(found, defaults=defaults):
            short = Flat(flat.start, flat.gradients[:SHORT], flat.places)
            if fitted_rates(rule, short, run, tolerance) is None:
                continue
            rates = fitted_rates(rule, flat, run, tolerance)
            if rates is None:
                continue
            rates = _named(rates, found)
            if agree(follow_rule(rule, flat, list(rates))[0], run, tolerance):
                return Recognized(rule, rates)
    return None


def fitted_rates(rule: Rule, flat: Flat, run: Array, tolerance: Array) -> Array | None:
    """The rate of each step with which the rule makes the steps of this run, each from where the run was; None if it cannot."""
    steps = min(len(flat.gradients), len(run))
    flat = Flat(flat.start, flat.gradients[:steps], flat.places)
    before = np.vstack([flat.start, run[: steps - 1]])
    _, directions = follow_rule(rule, flat, np.ones(steps).tolist(), before)
    moved = run[:steps] - before
    if not (np.isfinite(directions).all() and np.isfinite(moved).all()):
        return None
    with np.errstate(all="ignore"):
        weights = 1 / np.maximum(tolerance[:steps], np.finfo(float).tiny) ** 2
        weights = weights / weights.max(axis=1, keepdims=True)
        norms = (weights * directions**2).sum(axis=1)
        rates = 0.0 - (weights * moved * directions).sum(axis=1) / np.where(norms > 0, norms, 1.0)
    return rates if agree(before - rates[:, None] * directions, run[:steps], tolerance) else None


def _named(rates: Array, found: Mapping[str, list[float]]) -> Array:
    """A constant rate as the number that was found, if there is one: a fit has fewer digits."""
    if not constant(rates):
        return rates
    rate = float(np.median(rates))
    known = [abs(value) for values in found.values() for value in values if abs(abs(value) - rate) <= SAME_RATE * rate]
    return np.full_like(rates, known[0] if known else rate)


def _rules(found: Mapping[str, list[float]], *, defaults: bool) -> Iterator[Rule]:
    """All rules that an optimizer may have by right, the simple ones first."""

    def numbers(*names: str) -> Iterator[Numbers]:
        return proposals(found, (*names, "weight_decay"), defaults=defaults)

    with_velocity = ("b1",) if {"momentum", "keep"} & set(found) or len(found.get("decay", ())) > 1 else ()
    of_adagrad = product(numbers("eps", "start"), ("inside", "outside"))
    of_adam = product(numbers("b1", "b2", "eps", "eps_root"), (False, True), ("outside", "hat", "inside"))
    for rule in chain(
        (Rule("descent", own) for own in numbers()),
        _descents(numbers("b1")),
        (Rule("adagrad", own, correction="none", eps=eps) for own, eps in of_adagrad),
        (Rule("adam", own, nesterov, eps=eps) for own, nesterov, eps in of_adam),
        _roots(numbers(*with_velocity, "b2", "eps", "start")),
        *_relatives_of_adam(found, numbers),
    ):
        yield rule
        if rule.numbers.weight_decay:
            yield replace(rule, decay="decoupled")


def _relatives_of_adam(found: Mapping[str, list[float]], numbers: Callable[..., Iterator[Numbers]]) -> Iterator[Iterator[Rule]]:
    """AMSGrad, AdaMax, Lion, and a NAdam whose b1 grows."""
    of_amsgrad = product(numbers("b1", "b2", "eps", "eps_root"), ("outside", "hat", "inside"), ("corrected", "raw"))
    yield (Rule("adam", own, eps=eps, largest=largest) for own, eps, largest in of_amsgrad)
    yield (Rule("adamax", own, eps=eps) for own, eps in product(numbers("b1", "b2", "eps"), ("inside", "outside", "none")))
    yield (Rule("lion", own) for own in numbers("b1", "b2"))
    if any(values_of(found, "momentum_decay")):
        yield (Rule("adam", own, nesterov=True) for own in numbers("b1", "b2", "eps", "eps_root", "momentum_decay"))


def _descents(numbers: Iterable[Numbers]) -> Iterator[Rule]:
    for own, nesterov, average in product(numbers, (False, True), ("plain", "damped", "later")):
        if own.b1:
            yield Rule("descent", own, nesterov, average=average)


def _roots(numbers: Iterable[Numbers]) -> Iterator[Rule]:
    choices = product(numbers, (False, True), (False, True), ("inside", "outside"), ("none", "both"))
    for own, nesterov, centered, eps, correction in choices:
        if own.b1 or not nesterov:
            yield Rule("rms", own, nesterov, centered, eps=eps, correction=correction)
