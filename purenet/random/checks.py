"""The checks that random functions and initializers share: keys, shapes, dtypes, parameters."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from purenet.arrays import Array, is_floating
from purenet.checks import array_of

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = [
    "Shape",
    "any_dtype",
    "check_broadcast",
    "check_key",
    "checked_dtype",
    "checked_numbers",
    "checked_parameter",
    "checked_shape",
    "integer",
]

Shape: TypeAlias = Sequence[int]


def checked_shape(op: str, shape: Any) -> tuple[int, ...]:
    """`shape` as a tuple of integers, none of them negative."""
    if not isinstance(shape, list | tuple):
        raise TypeError(f"{op}: shape must be a tuple of integers, got {shape!r}")
    return tuple(integer(op, "every dimension of shape", n, 0) for n in shape)


def checked_dtype(op: str, dtype: DTypeLike) -> np.dtype[Any]:
    """`dtype` as a floating-point dtype in native byte order."""
    kind = any_dtype(op, dtype)
    if not is_floating(kind):
        raise TypeError(f"{op}: dtype must be float64, float32, float16 or bfloat16, got {kind}")
    return kind if kind.isnative else kind.newbyteorder("=")


def any_dtype(op: str, dtype: DTypeLike) -> np.dtype[Any]:
    """`dtype` as a dtype of NumPy."""
    try:
        return np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{op}: dtype must be a NumPy dtype, got {dtype!r}") from None


def check_key(op: str, key: Any, name: str = "key") -> None:
    """Raise unless `key` is a key, in the name of the function `op` whose argument `name` it is.

    Errors: TypeError unless it is a NumPy array of dtype uint32, ValueError unless its shape is (2,).

    >>> from purenet import random
    >>> random.check_key("dropout", random.key(0))
    >>> random.check_key("dropout", random.split(random.key(0)))
    Traceback (most recent call last):
        ...
    ValueError: dropout: key must have shape (2,), got (2, 2)
    """
    if not isinstance(key, np.ndarray):
        raise TypeError(
            f"{op}: {name} must be a NumPy array of dtype uint32 and shape (2,), got {type(key).__name__} "
            "(of a JAX key, take np.asarray(jax.random.key_data(key)))"
        )
    if key.dtype != np.uint32:
        raise TypeError(f"{op}: {name} must have dtype uint32, got {key.dtype}")
    if key.shape != (2,):
        raise ValueError(f"{op}: {name} must have shape (2,), got {key.shape}")


def integer(op: str, name: str, value: Any, low: int, high: int | None = None) -> int:
    """`value` as an integer from low to high."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{op}: {name} must be an integer, got {value!r}")
    if number < low or (high is not None and number > high):
        bounds = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"{op}: {name} must be {bounds}, got {number}")
    return number


def checked_parameter(op: str, name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A number or array that broadcasts to `shape`, in `dtype`."""
    array = checked_numbers(op, name, value, dtype)
    check_broadcast(op, name, array, shape)
    return array


def checked_numbers(op: str, name: str, value: Any, dtype: np.dtype[Any]) -> Array:
    """A number or array of numbers, in `dtype`."""
    array = np.asarray(value) if isinstance(value, str) else array_of(op, name, value)
    if array.dtype.kind not in "iu" and not is_floating(array.dtype):
        raise TypeError(f"{op}: {name} must be a real number or an array of them, got {array.dtype}")
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def check_broadcast(op: str, name: str, array: Array, shape: tuple[int, ...]) -> None:
    """Raise unless `array` broadcasts to `shape`."""
    try:
        fits = np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{op}: {name} must broadcast to shape {shape}, got {array.shape}")
