"""Causes in which a norm divides by another deviation: with another small constant, beside the root, or over n - 1.

The formula of the backward pass is right, but the deviation in it is not that of the forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from oracle.diagnosis.causes.slopes import explains_slopes
from oracle.diagnosis.sample import Sample
from oracle.diagnosis.screening import Screening, screened, uses_in
from oracle.diagnosis.uses import Sloped, Use
from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array

__all__ = ["another_deviation"]

CONSTANTS = (0.0, 1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12)
"""The small constants that libraries and courses add to a variance; 0 where it is forgotten."""


INVERSE = -0.5
"""The power that is the inverse of a root."""


def another_deviation(v: View) -> Iterator[str]:
    """A variance or a deviation has another constant, another place of it, or another number of degrees of freedom."""
    yield from screened(v, _another_deviation)


def _another_deviation(v: View, s: Sample, screening: Screening) -> Iterator[str]:
    uses = uses_in(v)
    for words, held in (*_constants(uses), *_deviations(v, uses)):
        if explains_slopes(v, s, screening, dict(held)):
            yield f"another deviation: {v.name} is the gradient {words}"


def _constants(uses: list[Use]) -> Iterator[tuple[str, Mapping[int, Any]]]:
    """Another constant in the place of one."""
    for use in uses:
        if use.constant and use.function == "add":
            constant = float(np.ravel(use.value)[0])
            for other in CONSTANTS:
                if other != constant:
                    held = {use.number: np.full_like(use.value, other)}
                    yield f"with {other:g} for the {constant:g} that enters `add` in {use.line}", held


def _deviations(v: View, uses: list[Use]) -> Iterator[tuple[str, Mapping[int, Any]]]:
    """A deviation whose constant is beside the root and not under it, or the reverse; or over another number than n.

    Its slope is what it would be if that were the deviation, as in a formula that contains it several times.
    """
    lengths = sorted({n for n in v.shape if n > 1})
    for root in uses:
        exponent = root.other if root.function == "power" and root.position == 0 else None
        if root.function != "sqrt" and not (exponent is not None and np.size(exponent) == 1 and np.all(exponent == INVERSE)):
            continue
        under, beside = (_constant(uses, root, where) for where in (root.value, np.sqrt(root.value)))
        others = {}
        if under:
            others[f"with the {under:g} added to the root and not under it"] = np.sqrt(root.value - under) + under
        if beside:
            others[f"with the {beside:g} under the root and not added to it"] = np.sqrt(root.value + beside) - beside
        for n in lengths:
            for times, words in ((n / (n - 1), f"{n - 1} for {n}"), ((n - 1) / n, f"{n} for {n - 1}")):
                others[f"with a variance over {words}"] = np.sqrt((root.value - under) * times + under)
        for words, deviation in others.items():
            yield (
                f"{words}, at `{root.function}` in {root.line}",
                {root.number: _instead(root, deviation, beside, inverse=exponent is not None)},
            )


def _constant(uses: list[Use], root: Use, value: Array) -> float:
    """The small constant that is added to make what enters a root, or that is added to this root; 0 if there is none."""
    for use in uses:
        if use.constant and use.function == "add" and use.other is not None:
            made = use.other + use.value if value is root.value else use.other
            if np.array_equal(made, value):
                return float(np.ravel(use.value)[0])
    return 0.0


def _instead(root: Use, deviation: Array, beside: float, *, inverse: bool) -> Sloped:
    """A root, or the inverse of one, that gives another deviation and has the slope which belongs to it."""
    right = np.sqrt(root.value)
    if inverse:
        return Sloped(root.value, (right**-3 - deviation**-3) / 2, 1 / deviation - 1 / right)
    return Sloped(root.value, 1 / (2 * (deviation + beside)) - 1 / (2 * right), deviation - right)
