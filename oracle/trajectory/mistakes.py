"""Mistakes in optimizers: what another rule would make of the same gradients. One holds if it reproduces the wrong run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.text import listed
from oracle.trajectory.hyperparameters import values_of
from oracle.trajectory.recognition import SAME_RATE, Recognized, agree, constant, fitted_rates
from oracle.trajectory.rule import Flat, Numbers, Rule, follow_rule

__all__ = ["Mistake", "cause_of", "is_rounded", "multiplied"]

Array = NDArray[np.float64]

FIRST_COUNTS = ("0", "2", "3", "-1")
"""Wrong counts at the first step."""
LONGEST_SHIFT = 20
"""Steps by which a schedule is tried to be shifted. The reference runs for as many steps more than are compared."""

CORRECTIONS = {
    "none": "the bias correction is missing",
    "first": "the second moment has no bias correction",
    "second": "the first moment has no bias correction",
    "twice": "the bias correction is applied twice",
    "exchanged": "the bias corrections of both moments are exchanged",
    "written": "the bias correction is written into the moments, and so is part of the next ones",
}
EPS = {
    "outside": "eps is added outside the root",
    "inside": "eps is added inside the root",
    "inside before": "eps is added inside the root before the bias correction",
    "squared inside": "eps^2 is added inside the root",
    "hat": "eps is added to the root before the bias correction",
    "none": "eps is missing",
}
AVERAGES = {
    "plain": "the gradient enters the velocity with weight 1",
    "damped": "the gradient enters the velocity with the weight 1 - momentum",
    "later": "the gradient enters the velocity with the weight 1 - momentum from the second step on",
    "rate": "the velocity holds the learning rate of each of its steps: past gradients do not get the present rate",
    "rate twice": "the learning rate is applied twice: in the velocity and in the step",
    "without rate": "the velocity is added without the learning rate",
    "exchanged": "the weights of the old moment and of the gradient are exchanged",
    "stale": "the step uses the first moment from before this gradient",
}
SECONDS = {
    "sum": "the squared gradient enters the second moment with weight 1",
    "exchanged": "the weights of the old second moment and of the squared gradient are exchanged",
    "stale": "the step uses the second moment from before this gradient",
    "of gradients": "the second moment is made of the gradients, not of their squares",
    "no root": "the root of the second moment is missing",
}
OF_ADAMAX = {
    "inside": "eps is added to the size of the gradient",
    "outside": "eps is added to the largest gradient",
    "none": "eps is missing",
}
OF_LION = {
    "stale": "the sign is that of the first moment alone, without this gradient",
    "updated": "the sign is taken of the first moment after this gradient, blended with it once more",
}
LARGEST = {
    "": "the second moment is the present one, as Adam's, not the largest so far",
    "corrected": "the second moment is the largest so far, taken after the bias correction",
    "raw": "the second moment is the largest so far, taken before the bias correction",
}
DECAYS = {
    "coupled": "the weight decay is coupled: it is added to the gradient, and goes through the moments",
    "decoupled": "the weight decay is decoupled: it is subtracted beside the step, and does not go through the moments",
    "unscaled": "the weight decay is not multiplied by the learning rate",
    "moved": "the weight decay is that of the parameter after the step, not before it",
}
BORROWED = {"both": "slots", "first": "first moment", "second": "second moment"}
WORDS = {
    "b1": "b1 (the momentum)",
    "b2": "b2",
    "weight_decay": "the weight decay",
    "start": "the second moment at the start",
    "momentum_decay": "the decay of the momentum",
}


class Mistake(NamedTuple):
    """Another rule, in words."""

    words: str
    rule: Rule


def cause_of(like: Recognized, found: Mapping[str, list[float]], flat: Flat, run: Array, tolerance: Array) -> str:
    """The mistake that makes this run of what the reference does, in words; empty if none does.

    `found` are the hyperparameters of the wrong optimizer. `flat` has the gradients of this run alone.
    """
    theirs = follow_rule(like.rule, flat, list(like.rates[: len(run)]))[0]
    if agree(run, theirs, tolerance):  # a difference of a few tolerances says nothing about its cause
        return ""
    words = _cause(like, found, flat, run, tolerance)
    if words:
        return words
    wrong = [place for place in flat.places if not agree(run[:, place[2]], theirs[:, place[2]], tolerance[:, place[2]])]
    own = np.concatenate([np.arange(place.start, place.stop) for _, _, place in wrong or flat.places])
    words = _cause(like, found, flat.only([name for name, _, _ in wrong]), run[:, own], tolerance[:, own]) if wrong else ""
    return words and f"in {listed([name for name, _, _ in wrong])} alone: {words}"


def _cause(like: Recognized, found: Mapping[str, list[float]], flat: Flat, run: Array, tolerance: Array) -> str:
    rates = list(like.rates[: len(flat.gradients)])

    def holds(rule: Rule) -> bool:
        return agree(follow_rule(rule, flat, rates)[0], run, tolerance)

    single = [m.words for m in _mistakes(like.rule, flat) if holds(m.rule)]
    return (
        " (or: ".join(single[:2]) + ")" * (len(single) > 1)
        or _other_rates(like, flat, run, tolerance)
        or next((m.words for m in _with_other_numbers(like.rule, found, flat) if holds(m.rule)), "")
    )


def multiplied(flat: Flat, run: Array, theirs: Array, tolerance: Array) -> str:
    """The factor of all steps, if that makes this run of the reference's; else empty. For a reference that is no known rule."""
    own, other = run - flat.start, theirs[: len(run)] - flat.start
    if not np.isfinite(own).all() or not other.any():
        return ""
    weights = 1 / np.maximum(tolerance[: len(run)], np.finfo(float).tiny) ** 2
    factor = float((weights * own * other).sum() / (weights * other * other).sum())
    return _factor(factor) if agree(flat.start + factor * other, run, tolerance) else ""


def is_rounded(like: Recognized, flat: Flat, run: Array, tolerance: Array) -> str:
    """Says which hyperparameters are rounded to float32, if that explains the run; else empty."""
    rates, rule = like.rates[: len(flat.gradients)], like.rule
    narrow = replace(rule, numbers=Numbers(*(float(np.float32(n)) for n in rule.numbers)))
    rounded = rates.astype(np.float32).astype(np.float64)
    for words, other, own in (
        ("the learning rate is rounded to float32", rule, rounded),
        ("the hyperparameters beside the learning rate are rounded to float32", narrow, rates),
        ("the hyperparameters are rounded to float32", narrow, rounded),
    ):
        if agree(follow_rule(other, flat, list(own))[0], run, tolerance):
            return words
    return ""


def _mistakes(rule: Rule, flat: Flat) -> Iterator[Mistake]:
    """The rule with one choice changed."""
    numbers = rule.numbers
    yield from _of_decay(rule)
    if rule.family in ("adamax", "lion"):
        yield from _of_relatives(rule)
    elif rule.family != "descent":
        yield from _of_correction(rule)
        places = [name for name in EPS if name != rule.eps and (name != "hat" or rule.correction == "both")]
        yield from (Mistake(EPS[name], replace(rule, eps=name)) for name in places)
        yield from (Mistake(words, replace(rule, second=name)) for name, words in SECONDS.items())
    if rule.family == "rms":
        words = "the second moment is centered, the reference's is not"
        yield Mistake(
            "the second moment is not centered" if rule.centered else words, replace(rule, centered=not rule.centered)
        )
        if rule.correction == "none":
            yield Mistake("there is a bias correction, the reference has none", replace(rule, correction="both"))
    if rule.family in ("adam", "descent") and numbers.b1:
        yield from _of_momentum(rule)
    if rule.family == "adam":
        yield from (Mistake(words, replace(rule, largest=name)) for name, words in LARGEST.items() if name != rule.largest)
        if numbers.momentum_decay:
            constant_b1 = replace(rule, numbers=numbers._replace(momentum_decay=0.0))
            yield Mistake("b1 stays the same at all steps: the decay of the momentum is missing", constant_b1)
    if rule.family in ("adam", "adamax", "lion"):
        swapped = numbers._replace(b1=numbers.b2, b2=numbers.b1)
        yield Mistake("b1 and b2 are exchanged", replace(rule, numbers=swapped))
    yield from _of_memory(rule, flat)


def _of_relatives(rule: Rule) -> Iterator[Mistake]:
    """Of AdaMax and Lion."""
    if rule.family == "adamax":
        yield from _of_correction(rule)
        yield from (Mistake(words, replace(rule, eps=name)) for name, words in OF_ADAMAX.items() if name != rule.eps)
    else:
        yield from (Mistake(words, replace(rule, average=name)) for name, words in OF_LION.items())
        yield Mistake("the sign is missing", replace(rule, second="no sign"))


def _of_memory(rule: Rule, flat: Flat) -> Iterator[Mistake]:
    if rule.family == "descent" and not rule.numbers.b1:
        return
    yield Mistake("parameters of the same shape share one slot of the state", replace(rule, memory=("shared",)))
    for name, shape, _ in flat.places:
        for other, other_shape, _ in flat.places:
            if other != name and other_shape == shape:
                for which in BORROWED if rule.family in ("adam", "adamax") else ("both",):
                    words = f"{name} uses the {BORROWED[which]} of {other}"
                    yield Mistake(words, replace(rule, memory=(name, other, which)))


def _of_correction(rule: Rule) -> Iterator[Mistake]:
    if rule.correction != "both":
        return
    names = CORRECTIONS if rule.family == "adam" else ("none", "twice")
    yield from (Mistake(CORRECTIONS[name], replace(rule, correction=name)) for name in names)
    for first in FIRST_COUNTS:
        yield Mistake(f"the bias correction begins with the count {first} instead of 1", replace(rule, counted=first))
    yield Mistake("the count of the bias correction never grows", replace(rule, counted="stuck"))
    words = "the steps are counted once for each parameter, not once for each step"
    yield Mistake(words, replace(rule, counted="parameters"))


def _of_decay(rule: Rule) -> Iterator[Mistake]:
    decay = rule.numbers.weight_decay
    if not decay:
        return
    for name, words in DECAYS.items():
        if name != rule.decay:
            yield Mistake(words, replace(rule, decay=name))
    for factor, words in ((0.0, "is missing"), (-1.0, "has the wrong sign"), (2.0, "is doubled"), (0.5, "is halved")):
        yield Mistake(f"the weight decay {words}", replace(rule, numbers=rule.numbers._replace(weight_decay=factor * decay)))


def _of_momentum(rule: Rule) -> Iterator[Mistake]:
    words = (
        "nesterov's look ahead is missing" if rule.nesterov else "the step looks ahead as Nesterov's, the reference's does not"
    )
    yield Mistake(words, replace(rule, nesterov=not rule.nesterov))
    yield Mistake("the momentum is missing", replace(rule, numbers=rule.numbers._replace(b1=0.0)))
    in_adam = {
        "sum": "the gradient enters the first moment with weight 1",
        "exchanged": AVERAGES["exchanged"],
        "stale": AVERAGES["stale"],
    }
    for name, what in (in_adam if rule.family == "adam" else AVERAGES).items():
        if name != rule.average:
            yield Mistake(what, replace(rule, average=name))


def _with_other_numbers(rule: Rule, found: Mapping[str, list[float]], flat: Flat) -> Iterator[Mistake]:
    """The rule with the hyperparameters of the wrong optimizer, alone and with one choice changed."""
    own = rule.numbers
    used = [name for name in Numbers._fields if getattr(own, name) or name == "weight_decay"]
    others = []
    for values in product(*(dict.fromkeys([getattr(own, name), *values_of(found, name)]) for name in used)):
        changed = {name: value for name, value in zip(used, values, strict=True) if value != getattr(own, name)}
        if changed:
            words = " and ".join(f"{WORDS.get(n, n)} is {value:g}, not {getattr(own, n):g}" for n, value in changed.items())
            others.append((len(changed), Mistake(words, replace(rule, numbers=own._replace(**changed)))))
    several = [mistake for _, mistake in sorted(others, key=lambda pair: pair[0])]
    yield from several
    for mistake in several:
        for other in _mistakes(mistake.rule, flat):
            yield Mistake(f"{mistake.words}, and {other.words}", other.rule)


# ------------------------------------------------------------------------------------------------- rates


def _other_rates(like: Recognized, flat: Flat, run: Array, tolerance: Array) -> str:
    """How the rates differ, if the same rule with other rates makes this run; else empty."""
    own = fitted_rates(like.rule, flat, run, tolerance)
    if own is None:
        return ""
    theirs = like.rates[: len(own)]
    shift = None if constant(like.rates) else _shift(own, like.rates)
    if shift is not None:
        return _shifted(shift, like.rates)
    moving = theirs != 0
    ratios = own[moving] / theirs[moving]
    if ratios.size and constant(ratios) and not np.any(np.abs(own[~moving]) > SAME_RATE * np.abs(own).max()):
        return _factor(float(np.median(ratios)))
    if constant(own):
        return f"the learning rate is {own[0]:.6g} at every step: it does not follow the schedule"
    listed = [", ".join(f"{rate:.6g}" for rate in rates[:3]) for rates in (own, theirs)]
    return f"the learning rates of the steps are {listed[0]}, ..., not {listed[1]}, ..."


def _factor(factor: float) -> str:
    if abs(factor + 1) <= SAME_RATE:
        return "the step has the wrong sign: it goes up the gradient"
    return f"the learning rate is multiplied by {factor:.10g}"


def _shift(own: Array, theirs: Array) -> int | None:
    """By how many steps the other rates must be moved to give these; None if that does not explain them."""
    for size in range(1, LONGEST_SHIFT + 1):
        for k in (size, -size):
            known = [(rate, theirs[t + k]) for t, rate in enumerate(own) if 0 <= t + k < len(theirs)]
            apart = max(abs(one - other) for one, other in known) if len(known) > 1 else np.inf
            if apart <= SAME_RATE * np.abs(theirs).max() and np.ptp([other for _, other in known]) > 0:
                return k
    return None


def _shifted(k: int, theirs: Array) -> str:
    peak = int(np.argmax(theirs))
    if k == peak and k > 1:
        return f"the schedule of the learning rate lacks its first part, the {k} steps up to its largest value"
    return (
        f"the schedule of the learning rate is shifted by {k}: step t has the rate of step t {'+' if k > 0 else '-'} {abs(k)}"
    )
