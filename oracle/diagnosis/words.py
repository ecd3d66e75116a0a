"""The names of entries, indices and axes in a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from oracle.judging.evidence import Evidence

__all__ = ["Array", "against", "at", "counted", "for_dy", "indices_of_axis", "named_axes", "per_unit"]

Array: TypeAlias = NDArray[Any]


def against(one: Any, other: Any) -> str:
    """Two numbers that differ, with so many digits that one sees it."""
    short, long = (f"{one:.{digits}g} against {other:.{digits}g}" for digits in (6, 17))
    return long if f"{one:.6g}" == f"{other:.6g}" else short


def at(e: Evidence, index: int | None) -> str:
    """The name of an entry, such as `params.w[0, 3]`."""
    place: Sequence[Any] = np.unravel_index(index, e.parameter.shape) if index is not None and e.parameter.shape else ()
    return f"{e.parameter.name}[{', '.join(str(int(i)) for i in place)}]" if place else e.parameter.name


def counted(indices: Sequence[int] | Array, most: int = 6) -> str:
    """`0, 3, 4`, or the first few and the number of all."""
    shown = ", ".join(str(int(i)) for i in indices[:most])
    return shown if len(indices) <= most else f"{shown}, ... ({len(indices)} of them)"


def indices_of_axis(indices: Sequence[int] | Array, axis: int) -> str:
    """`index 3 of axis 0`, or `indices 0, 2 of axis 1`."""
    return f"{'index' if len(indices) == 1 else 'indices'} {counted(indices)} of axis {axis}"


def named_axes(axes: tuple[int, ...]) -> str:
    """`axis 1`, or `axes 0 and 2`."""
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes[:-1]))} and {axes[-1]}"


def for_dy(unit: float) -> str:
    """A note that names the cotangent, for numbers that cannot be divided by it, such as a limit."""
    return "" if unit == 1.0 else f" (for dy = {unit:.6g})"


def per_unit(unit: float) -> str:
    """A note for numbers that were divided by the cotangent."""
    return "" if unit == 1.0 else " for dy = 1"
