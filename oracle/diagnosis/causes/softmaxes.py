"""Causes in which a softmax has another derivative: p (1 - p) as if it were a sigmoid, or a sum without its probabilities.

A softmax is several calls. What its sums along an axis say, which are 1, tells which arrays are probabilities; it is then
replaced by the linear function that a wrong backward pass transposes (see `Bent`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from oracle.arrays import quiet
from oracle.diagnosis.causes.slopes import explains_slopes
from oracle.diagnosis.held import Recording, recorded
from oracle.diagnosis.sample import Sample
from oracle.diagnosis.screening import Screening, screened
from oracle.diagnosis.uses import Bent, line_of
from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array
from oracle.measures import EPSILON

__all__ = ["wrong_softmax"]

MOST = 4
"""The largest number of softmaxes; each costs about ten evaluations."""
MADE_BY = {"divide", "exp", "subtract"}
"""The calls of which a softmax is made."""
ONE = 64 * EPSILON["float64"]
"""How close the sums of probabilities come to 1: some roundings."""


def wrong_softmax(v: View) -> Iterator[str]:
    """A softmax has another derivative."""
    yield from screened(v, _wrong_softmax)


def _wrong_softmax(v: View, s: Sample, screening: Screening) -> Iterator[str]:
    forward = s.forward
    if not forward.share.pay(forward.cost):
        return
    run = recorded(forward.call, forward.leaf)
    for start, end, axis in islice(_softmaxes(run), MOST):
        p, first = run.made[end].value, run.first[start]
        for words, mistaken in _mistakes(p, axis).items():
            if explains_slopes(v, s, screening, {-1: Bent(start, end, first.value, p, mistaken)}):
                yield (
                    f"wrong softmax: {v.name} is the gradient with {words} for p * (dp - sum(p * dp)), where p is what "
                    f"`{run.made[end].function}` gives in {line_of(run.made[end].place)}"
                )


def _softmaxes(run: Recording) -> Iterator[tuple[int, int, int]]:
    """The number of what enters a softmax, that of its probabilities, and the axis along which their sum is 1."""
    for end, made in run.made.items():
        if made.function not in {"divide", "exp"} or made.value.ndim < 1 or not (made.value >= 0).all():
            continue
        with quiet():
            axes = [a for a, n in enumerate(made.value.shape) if n > 1 and (abs(made.value.sum(axis=a) - 1) <= n * ONE).all()]
        start: int | None = end
        while start is not None and start in run.made and run.made[start].function in MADE_BY:
            start = run.made[start].operands[0]
        if len(axes) == 1 and start is not None and start in run.first and run.first[start].value.shape == made.value.shape:
            yield start, end, axes[0]


def _mistakes(p: Array, axis: int) -> dict[str, Callable[[Array], Array]]:
    """What is written for the gradient of a softmax by mistake, and the linear function whose transpose that is."""

    def total(t: Array) -> Array:
        return np.asarray(t.sum(axis=axis, keepdims=True))

    return {
        "p * (1 - p) * dp": lambda d: p * (1 - p) * d,
        "dp": lambda d: d,
        "p * (dp - sum(dp))": lambda d: p * d - total(p * d),
        "dp - sum(p * dp)": lambda d: d - p * total(d),
        "p * dp - sum(p * dp)": lambda d: p * d - p * total(d),
        "dp - p * sum(dp)": lambda d: d - total(p * d),
    }
