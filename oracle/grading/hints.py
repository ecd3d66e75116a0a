"""Names the mistake in a wrong array, and no number of a hidden case: what a student may read.

The causes are those of `oracle.diagnosis` that look at the array beside the true one, and a few that the model solution
computes: the gradient for another `dout`. Of their sentences only the names are kept, since the rest may have numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import quiet
from oracle.diagnosis.causes import fits, parts, permutations, ranges, regions, terms
from oracle.diagnosis.context import Context
from oracle.diagnosis.matching import explains
from oracle.diagnosis.view import Cause, View
from oracle.differences.partials import Estimate
from oracle.judging.error_budget import ErrorBudget
from oracle.judging.evidence import Evidence, Parameter
from oracle.measures import largest

__all__ = ["UNKNOWN", "named", "of_shape", "without_numbers"]

Array = NDArray[Any]
Pull = Callable[[Array], Array]

CAUSES: tuple[Cause, ...] = (
    fits.truncated,
    permutations.transposed,
    permutations.reversed_or_shifted,
    permutations.reshaped,
    fits.factor,
    fits.signs_lost,
    fits.limited,
    permutations.transposed_and_scaled,
    parts.symmetric_part,
    parts.triangle,
    regions.one_entry,
    regions.mask_not_applied,
    regions.constant_missing,
    regions.rows_exchanged,
    regions.zero_where_it_should_not_be,
    permutations.permuted,
    parts.summed_up,
    terms.factor_along_an_axis,
    regions.block,
    regions.borders,
    regions.rows,
    ranges.periodic,
)
"""In the order of `oracle.diagnosis`, without those that evaluate the forward pass."""
LARGEST = 20_000
"""Entries of an array up to which causes are sought. An error at a large case alone is one of time or of rounding."""
NOISE = 1e-3
"""Of the largest entry: an error below is not that of a wrong formula."""

MEANINGS = {
    "transposed": "the right numbers in another order (a .T too many or too few?)",
    "reversed": "the right numbers in reversed order (a kernel that is flipped, or time that runs the other way?)",
    "shifted": "the right numbers, some places further",
    "reshaped": "the right numbers in another order (a reshape where a transpose is meant?)",
    "permuted": "the right numbers in another order",
    "constant factor": "it is a multiple of the true one",
    "sign lost": "it is the absolute value of the true one",
    "size lost": "it has only the sign of the true one",
    "clipped": "it is the true one, clipped",
    "integer dtype": "it was written into an array of integers",
    "mask not applied": "it is not zero where the true one is",
    "zero where it should not be": "some of it is missing (are only some samples, steps or windows used, or overwritten?)",
    "a single entry is wrong": "all others are right",
    "a constant is missing": "some entries lack the same number (a one-hot?)",
    "one sample for another": "rows are exchanged",
    "one block": "it is wrong in one block of indices alone",
    "only some samples": "it is wrong at some samples and right at the others",
    "borders": "it is wrong only near the ends of an axis (padding, stride?)",
}


def of_shape(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """What a wrong shape suggests."""
    if found == expected[::-1]:
        return "it is transposed"
    if len(found) > len(expected) and (not expected or found[-len(expected) :] == expected):
        return "the sum over the batch is missing" if expected else "a sum is missing"
    if [n for n in found if n != 1] == [n for n in expected if n != 1]:
        return "it has an axis of length 1 too many or too few"
    if int(np.prod(found)) == int(np.prod(expected)):
        return "a reshape or a transpose is missing"
    return "a sum over too many or too few axes, or broadcasting?"


def without_numbers(text: str) -> str:
    """A message in one line, with a # for each number that is no small integer, since it may come from a hidden case."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split())[:200])
    return re.sub(r"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?|\d{5,}|\bnan\b|\binf\b", "#", line)


def named(
    found: Array,
    expected: Array,
    tolerance: float,
    sizes: dict[str, int],
    numbers: dict[str, float],
    others: Mapping[str, Array],
) -> str:
    """The mistake in a wrong array of the right shape; `others` are arrays that certain mistakes give, by what to say then."""
    if not np.isfinite(found).all():
        return "it has NaN" if np.isnan(found).any() else "it has infinities"
    if not found.any():
        return "it is zero everywhere: nothing flows back"
    ours, truth = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    for words, other in others.items():
        if other.shape == expected.shape and explains(other.ravel().astype(np.float64), ours, truth, np.dtype(np.float64)):
            return words
    if largest(ours - truth) < NOISE * largest(truth):
        return "it is nearly right, by less than a thousandth: a small term is missing, or it was computed by differences"
    if truth.size <= LARGEST:
        with quiet():
            return next(_sentences(_view(ours, truth, expected.shape, tolerance, Context(sizes, numbers))), UNKNOWN)
    return UNKNOWN


UNKNOWN = "no known mistake explains it; compare it with differences at a small case of your own"


def _view(ours: Array, truth: Array, shape: tuple[int, ...], tolerance: float, context: Context) -> View:
    none = np.zeros(0)
    nowhere = np.zeros(0, dtype=np.intp)
    unmeasured = Estimate(nowhere, none, none, none.astype(bool), none, none, none, none.astype(bool), none, none)
    scale = largest(truth)
    parameter = Parameter("it", shape, np.dtype(np.float64))
    evidence = Evidence(parameter, ours, truth, unmeasured, ErrorBudget(scale, scale))
    return View(evidence, context, np.arange(ours.size), ours, truth, np.full(ours.size, tolerance))


def _sentences(view: View) -> Iterator[str]:
    for cause in CAUSES:
        try:
            found = next(cause(view), "")
        except (np.linalg.LinAlgError, ArithmeticError):  # some numbers cannot be fitted
            continue
        head, _, rest = found.partition(":")
        if head.startswith("its axes are permuted"):
            head = "permuted"
        if head == "constant factor" and ": " in rest:
            yield f"constant factor: {re.sub(r' [(][^)]*[)]', '', rest.rpartition(': ')[2])}"
        elif head in MEANINGS:
            yield f"{head}: {MEANINGS[head]}"
        elif head and not re.search(r"\d", head.replace(" axis ", " axis", 1).partition(" axis")[0]):
            yield re.sub(r"\d+", "#", head) if "axis" not in head else head
