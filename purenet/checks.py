"""Checks of arguments that several ops share and that `Op` cannot do for all."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from purenet.op import Array, boolean

__all__ = [
    "array_of",
    "axes",
    "boolean",
    "booleans",
    "choice",
    "common_shape",
    "degree",
    "factors",
    "fields",
    "indices",
    "integer",
    "integers",
    "mask",
    "nearest",
    "number",
    "one_axis",
    "same_rank",
    "same_shape",
]

MOST = 2**31 - 1
"""The largest that `integers` takes, sizes and steps of windows: NumPy's integers hold what is computed from a few of them."""


_NUMBERS = (float, int, np.floating, np.integer)
_INTEGERS = (int, np.integer)
_ONLY_ARRAYS = {np.ndarray}


def fields(op: str, params: Any, *required: str, optional: tuple[str, ...] = ()) -> list[Array | Any]:
    """The parameters by name, None for an absent optional one."""
    names = (*required, *optional)
    if type(params) is dict and tuple(params) == names:  # the usual call: all arrays, in the usual order
        values = list(params.values())
        if set(map(type, values)) == _ONLY_ARRAYS:
            return values
    if isinstance(params, Mapping) and all(name in names for name in params) and all(name in params for name in required):
        values = [params.get(name) for name in names]
        for name, value in zip(names, values, strict=True):
            if not (hasattr(value, "shape") or (value is None and name in optional)):
                raise TypeError(f"{op}: params.{name} must be an array, got {type(value).__name__}")
        return values
    expected = ", ".join((*required, *(f"{name} (optional)" for name in optional)))
    if not isinstance(params, Mapping):
        raise TypeError(f"{op}: params must be a dict with {expected}, got {type(params).__name__}")
    raise ValueError(f"{op}: params must hold {expected}, got {', '.join(map(str, params)) or 'nothing'}")


def choice(op: str, name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise unless `value` is one of `choices`, of its type: 1 is not True."""
    if type(value) is str and value in choices:
        return
    value = bool(value) if isinstance(value, np.bool_) else value
    if not any(isinstance(value, type(one)) and value == one for one in choices):
        raise ValueError(f"{op}: {name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint with the most similar of the known names."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"


def number(
    op: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf, *, above: float | None = None
) -> float:
    """`value` as a Python float, which leaves the dtype of arrays alone; raise unless it is finite and in [low, high].

    With `above` it must be greater than that.
    """
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, _NUMBERS)):
        raise TypeError(f"{op}: {name} must be a number, got {type(value).__name__}")
    try:
        finite = float(value)
    except OverflowError:  # an integer of more than 308 digits
        finite = math.inf
    if not (math.isfinite(finite) and low <= finite <= high and (above is None or finite > above)):
        least = f"at least {low}" if above is None else f"greater than {above}"
        bounds = f"in {'[' if above is None else '('}{low if above is None else above}, {high}]"
        raise ValueError(f"{op}: {name} must be {bounds if math.isfinite(high) else f'finite and {least}'}, got {value}")
    return finite


def degree(op: str, name: str, value: Any) -> float:
    """`value` as the degree of a norm: a number from 1 to infinity."""
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        raise TypeError(f"{op}: {name} must be a number, got {value!r}")
    if not value >= 1:
        raise ValueError(f"{op}: {name} must be at least 1, got {value}")
    return float(value)


def booleans(op: str, **values: Any) -> None:
    """Raise unless all of these are booleans."""
    for name, value in values.items():
        boolean(op, name, value)


def integer(op: str, name: str, value: Any, low: float = -math.inf) -> int:
    """`value` as a Python integer that is at least `low`."""
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, _INTEGERS)):
        raise TypeError(f"{op}: {name} must be an integer, got {value!r}")
    if value < low:
        raise ValueError(f"{op}: {name} must be at least {low}, got {value}")
    return int(value)


def integers(op: str, name: str, value: Any, n: int, low: int = 1) -> tuple[int, ...]:
    """`value`, an integer or one for each of n axes, as a tuple of integers that are at least `low`."""
    given = tuple(value) if isinstance(value, tuple | list) else (value,) * n
    for v in given:
        if type(v) is not int and (isinstance(v, bool) or not isinstance(v, _INTEGERS)):
            raise TypeError(f"{op}: {name} must be an integer or a tuple of {n}, got {value!r}")
    if len(given) != n:
        raise ValueError(f"{op}: {name} must be an integer or a tuple of {n}, got {value!r}")
    if min(given, default=low) < low:
        raise ValueError(f"{op}: {name} must be at least {low}, got {value!r}")
    if max(given, default=low) > MOST:
        raise ValueError(f"{op}: {name} must be at most {MOST}, got {value!r}")
    return tuple(map(int, given))


def array_of(op: str, name: str, value: Any) -> Array:
    """`value` as an array: a number, an array, or lists of numbers that are as long as each other."""
    if type(value) is np.ndarray:
        return value
    if isinstance(value, (np.ma.MaskedArray, Mapping, str, bytes)):
        raise TypeError(f"{op}: {name} must be an array, got {type(value).__name__}")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"{op}: {name} must be an array, got a {type(value).__name__} that is none") from None
    return array


def axes(op: str, axis: Any, x: Array, name: str = "axis") -> tuple[int, ...]:
    """`axis` (an integer, a tuple of them, None for all) as a tuple of axes 0..x.ndim-1."""
    given = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for a in given:
        if type(a) is not int and (isinstance(a, bool) or not isinstance(a, _INTEGERS)):
            raise TypeError(f"{op}: {name} must be an integer, a tuple of integers or None, got {axis!r}")
        if not -x.ndim <= a < x.ndim:
            raise ValueError(f"{op}: {name} must be one of the {x.ndim} axes of x {x.shape}, got {axis}")
    named = tuple(int(a) % x.ndim for a in given)
    if len(set(named)) != len(named):
        raise ValueError(f"{op}: {name} must name each axis once, got {axis}")
    return named


def one_axis(op: str, axis: Any, x: Array, name: str = "axis") -> int:
    """`axis`, an integer, as an axis 0..x.ndim-1."""
    return axes(op, integer(op, name, axis), x, name)[0]


def indices(op: str, name: str, value: Any, count: int) -> Array:
    """`value` as an array of integers 0..count-1, our own: a caller may write to his before the pullback."""
    given = array_of(op, name, value)
    if given.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name} must be integers, got {given.dtype}")
    wrong = (given < 0) | (given >= count)
    if wrong.any():
        raise ValueError(f"{op}: {name} must be in 0..{count - 1}, got {given[wrong][0]}")
    return given.astype(np.intp)


def mask(op: str, name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """`value` as an array of booleans of the given shape (broadcast to it)."""
    if isinstance(value, bool):  # True may be meant as "use a mask", but the mask must be an array
        raise TypeError(f"{op}: {name} must be an array of booleans (true = keep), got {value!r}")
    kept = array_of(op, name, value)
    if kept.dtype != np.bool_:
        raise TypeError(f"{op}: {name} must be an array of booleans (true = keep), got {kept.dtype}")
    return _broadcast(op, name, kept, shape)


def factors(op: str, name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """`value` as an array of finite real numbers >= 0 of the given shape (broadcast to it) and dtype."""
    array = array_of(op, name, value)
    if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{op}: {name} must be an array of real numbers, got {array.dtype}")
    array = array.astype(dtype)
    if not ((array >= 0) & (array < np.inf)).all():
        raise ValueError(f"{op}: {name} must be finite and at least 0, got {array[~((array >= 0) & (array < np.inf))][0]}")
    return _broadcast(op, name, array, shape)


def common_shape(op: str, **shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that these, each by the name of its array, broadcast to; raise unless there is one."""
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        *others, last = (f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{op}: {', '.join(others)} and {last} must broadcast") from None


def same_rank(op: str, **arrays: Array) -> None:
    """Raise unless all arrays have as many axes as the first, where an array with fewer is mostly a mistake."""
    first, *_ = arrays
    for name, array in arrays.items():
        if array.ndim != arrays[first].ndim:
            raise ValueError(f"{op}: {name} must have as many axes as {first} {arrays[first].shape}, got shape {array.shape}")


def same_shape(op: str, **arrays: Array) -> None:
    """Raise unless both arrays have one shape, where torch does not broadcast either: to do so silently is mostly a mistake."""
    (first, a), (second, b) = arrays.items()
    if a.shape != b.shape:
        raise ValueError(f"{op}: {second} must have the shape of {first} {a.shape}, got {b.shape}")


def _broadcast(op: str, name: str, array: Array, shape: tuple[int, ...]) -> Array:
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"{op}: {name} must have a shape that broadcasts to {shape}, got {array.shape}") from None
