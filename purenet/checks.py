"""The checks of arguments that several ops share. What no formula should repeat and `Op` cannot know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from purenet.op import Array

__all__ = ["axes", "choice", "factors", "fields", "indices", "mask", "number", "one_axis", "same_shape"]


def fields(op: str, params: Any, *required: str, optional: tuple[str, ...] = ()) -> list[Array | Any]:
    """The parameters by name, None for an absent optional one."""
    if isinstance(params, Mapping):
        names = (*required, *optional)
        if all(name in names for name in params) and all(name in params for name in required):
            values = [params.get(name) for name in names]
            for name, value in zip(names, values, strict=True):
                if not (value is None or hasattr(value, "shape")):
                    raise TypeError(f"{op}: params.{name} must be an array, got {type(value).__name__}")
            return values
    expected = ", ".join((*required, *(f"{name} (optional)" for name in optional)))
    if not isinstance(params, Mapping):
        raise TypeError(f"{op}: params must be a dict with {expected}, got {type(params).__name__}")
    raise ValueError(f"{op}: params must hold {expected}, got {', '.join(map(str, params)) or 'nothing'}")


def choice(op: str, name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{op}: {name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def number(op: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a Python float, which leaves the dtype of arrays alone; raise unless it is finite and in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, float | int | np.floating | np.integer):
        raise TypeError(f"{op}: {name} must be a number, got {type(value).__name__}")
    if not (math.isfinite(value) and low <= value <= high):
        bounds = f"in [{low}, {high}]" if math.isfinite(high) else f"finite and at least {low}"
        raise ValueError(f"{op}: {name} must be {bounds}, got {value}")
    return float(value)


def axes(op: str, axis: Any, x: Array, name: str = "axis") -> tuple[int, ...]:
    """`axis` (an integer, a tuple of them, None for all) as a tuple of axes 0..x.ndim-1."""
    given = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for a in given:
        if isinstance(a, bool) or not isinstance(a, int | np.integer):
            raise TypeError(f"{op}: {name} must be an integer, a tuple of integers or None, got {axis!r}")
        if not -x.ndim <= a < x.ndim:
            raise ValueError(f"{op}: {name} must be one of the {x.ndim} axes of x {x.shape}, got {axis}")
    named = tuple(int(a) % x.ndim for a in given)
    if len(set(named)) != len(named):
        raise ValueError(f"{op}: {name} must name each axis once, got {axis}")
    return named


def one_axis(op: str, axis: Any, x: Array, name: str = "axis") -> int:
    """`axis`, an integer, as an axis 0..x.ndim-1."""
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        raise TypeError(f"{op}: {name} must be an integer, got {axis!r}")
    return axes(op, axis, x, name)[0]


def indices(op: str, name: str, value: Any, count: int) -> Array:
    """`value` as an array of integers 0..count-1, our own: a caller may write to his before the pullback."""
    given = np.asarray(value)
    if given.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name} must be integers, got {given.dtype}")
    wrong = (given < 0) | (given >= count)
    if wrong.any():
        raise ValueError(f"{op}: {name} must be in 0..{count - 1}, got {given[wrong][0]}")
    return given.astype(np.intp)


def mask(op: str, name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """`value` as an array of booleans of the given shape (broadcast to it)."""
    kept = np.asarray(value)
    if kept.dtype != np.bool_:
        raise TypeError(f"{op}: {name} must be an array of booleans (true = keep), got {kept.dtype}")
    return _broadcast(op, name, kept, shape)


def factors(op: str, name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """`value` as an array of finite real numbers >= 0 of the given shape (broadcast to it) and dtype."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{op}: {name} must be an array of real numbers, got {array.dtype}")
    array = array.astype(dtype)
    if not ((array >= 0) & (array < np.inf)).all():
        raise ValueError(f"{op}: {name} must be finite and at least 0, got {array[~((array >= 0) & (array < np.inf))][0]}")
    return _broadcast(op, name, array, shape)


def same_shape(op: str, **arrays: Array) -> None:
    """Raise unless both arrays have one shape: broadcasting a loss silently is a bug more often than a wish."""
    (first, a), (second, b) = arrays.items()
    if a.shape != b.shape:
        raise ValueError(f"{op}: {second} must have the shape of {first} {a.shape}, got {b.shape}")


def _broadcast(op: str, name: str, array: Array, shape: tuple[int, ...]) -> Array:
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"{op}: {name} must have a shape that broadcasts to {shape}, got {array.shape}") from None
