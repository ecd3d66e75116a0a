"""Compares what a submission returned with what is true, entry by entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.grading import hints
from oracle.grading.candidate import Other
from oracle.judging.error_budget import REFERENCE_TERMS, roundoff
from oracle.measures import largest

__all__ = ["Expected", "mistake", "named_gradients"]

Array = NDArray[Any]

FLOAT32 = float(roundoff(1.0, REFERENCE_TERMS, "float32"))
"""Of the largest entry: what a right result in float32 may lose, 1.2e-4. It is 1,024 roundings, as many as `oracle.verify`
allows between a gradient and its reference."""
STEADY = 0.25
"""Of the tolerance in float32: if the true numbers move further when the arguments move by a rounding in float32, nothing is
known of a result in float32. With 1, right results that round twice would fail."""


@dataclass(frozen=True)
class Expected:
    """A true array."""

    array: Array
    tolerance: float
    """Of its largest entry, in float64."""
    rounded: Callable[[], Iterator[Array]]
    """The true array at arguments that are moved as float32 rounds them, several times."""
    sizes: dict[str, int]
    numbers: dict[str, float]
    others: Callable[[], Mapping[str, Array]]
    """The arrays that certain mistakes give."""


def mistake(found: Any, expected: Expected) -> str:
    """What is wrong with what was returned, for the student; empty if it is right."""
    if isinstance(found, Other):
        return f"expected an array, got {found.what}"
    if found is None or isinstance(found, str | tuple | dict):
        return f"expected an array, got {'None' if found is None else f'a {type(found).__name__}'}"
    array, truth = np.asarray(found), expected.array
    if array.dtype.kind == "c":
        return "expected real numbers, got complex ones"
    if array.shape != truth.shape:
        return f"its shape is {array.shape} instead of {truth.shape}: {hints.of_shape(array.shape, truth.shape)}"
    scale = largest(truth) or 1.0
    tolerance = expected.tolerance
    if array.dtype == np.float32:
        tolerance = max(tolerance, FLOAT32)
        with np.errstate(all="ignore"):
            moved = any(not largest(other - truth) <= STEADY * tolerance * scale for other in expected.rounded())
            if moved and np.isfinite(array).all():
                return ""
    with np.errstate(all="ignore"):
        error = np.abs(array.astype(np.float64) - truth)
    if (error <= tolerance * scale).all():  # a NaN is no number below anything
        return ""
    return hints.named(array, truth, tolerance * scale, expected.sizes, expected.numbers, expected.others())


def named_gradients(returned: Any, names: Sequence[str]) -> dict[str, Any] | str:
    """The returned gradients by name, or what is wrong with their form."""
    if isinstance(returned, dict):
        missing = [name for name in names if name not in returned]
        return f"the dict of gradients has no {', '.join(missing)}" if missing else {name: returned[name] for name in names}
    if isinstance(returned, Other):
        return f"expected gradients, got {returned.what}"
    gradients = returned if isinstance(returned, tuple) else (returned,)
    if len(gradients) != len(names):
        return f"expected {len(names)} gradients ({', '.join(names)}), got {len(gradients)}"
    return dict(zip(names, gradients, strict=True))
