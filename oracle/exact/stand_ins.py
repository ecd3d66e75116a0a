"""The functions of NumPy that make arrays, while a forward function is evaluated on balls.

NumPy does not offer `np.asarray(x)` or `np.zeros(n)` to `__array_function__`: the first would make an array of objects of our
array, the second a float array, into which no ball can be written. Forward functions call both everywhere, so during an
evaluation `np.asarray` and its like are replaced by functions that keep balls, and arrays of float64 are made of constants
that balls can replace. Other threads get what they always get.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy import sparse

from oracle.exact.array import FLOAT, HANDLERS, KEPT, BallArray, check_dtype, lifted, unwrapped
from oracle.exact.balls import Ball
from oracle.exact.functions import called, filled
from oracle.exact.kinks import WORK
from oracle.exact.ufuncs import applied

__all__ = ["stand_ins"]

HANDLERS.update(ufunc=applied, function=called)
LOCK = threading.RLock()
AS_ARRAY = ("asarray", "array", "asanyarray", "ascontiguousarray", "asfortranarray", "asarray_chkfinite", "require")
NEW = {"zeros": 0.0, "empty": 0.0, "ones": 1.0}


LIBRARIES = ("numpy", "scipy", "jax", "torch", "optree", "matplotlib", "pandas", "oracle.exact")
"""Packages whose inner calls get what they always get."""


@contextmanager
def stand_ins() -> Iterator[None]:
    """Within the block, NumPy's constructors called by this thread keep and make arrays of balls."""
    here = threading.get_ident()

    def mine(replacement: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
        def either(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == here and not _is_library(sys._getframe(1).f_globals):
                return replacement(original, *args, **kwargs)
            return original(*args, **kwargs)

        either.__name__ = getattr(original, "__name__", "")
        return either

    with LOCK, ExitStack() as stack:
        for (owner, name), replacement in REPLACED.items():
            original = getattr(owner, name)
            stand_in = mine(replacement, original)
            stack.enter_context(patch.object(owner, name, stand_in))
            for module in _importers(name, original):
                stack.enter_context(patch.object(module, name, stand_in))
        yield


def _importers(name: str, original: Any) -> list[Any]:
    """The modules of users that have imported this function by its name."""
    found = []
    for module in list(sys.modules.values()):
        known: dict[str, Any] = getattr(module, "__dict__", {})
        if known.get(name) is original and not _is_library(known):
            found.append(module)
    return found


def _is_library(module: dict[str, Any]) -> bool:
    return str(module.get("__name__")).startswith(LIBRARIES)


def _kept(original: Callable[..., Any], a: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
    """An array of balls as it is, a list of them as one array; everything else as NumPy does."""
    if type(a) is not BallArray:
        if not (isinstance(a, list | tuple) and _holds_balls(a)):
            return original(a, dtype, *args, **kwargs)
        a = BallArray(_joined(a))
    if dtype is not None and np.dtype(dtype) not in KEPT:
        return a.astype(dtype)
    check_dtype(dtype)
    for _ in range(a.ndim, kwargs.get("ndmin", 0)):
        a = a[None]
    name = getattr(original, "__name__", "")
    copies = kwargs.get("copy", name == "array") or (name == "ascontiguousarray" and not a.flags.c_contiguous)
    a = a.copy() if copies else a
    return a.reshape(1) if name == "ascontiguousarray" and a.ndim == 0 else a


def _holds_balls(items: Any) -> bool:
    return any(type(i) in (BallArray, Ball) or (isinstance(i, list | tuple) and _holds_balls(i)) for i in items)


def _joined(items: Any) -> Any:
    """Nested lists of numbers and arrays of balls as one array of objects."""
    parts = [_joined(i) if isinstance(i, list | tuple) else unwrapped(i) if type(i) is BallArray else lifted(i) for i in items]
    elements = np.empty((len(parts), *np.shape(parts[0])), object)
    for index, part in enumerate(parts):
        elements[index] = part
    return elements


def _is_float64(dtype: Any) -> bool:
    return dtype is None or (isinstance(dtype, type | str | np.dtype) and dtype is not object and np.dtype(dtype) == FLOAT)


def _new(value: float) -> Callable[..., Any]:
    def new(original: Callable[..., Any], shape: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
        return filled(value, shape) if _is_float64(dtype) else original(shape, dtype, *args, **kwargs)

    return new


def _full(original: Callable[..., Any], shape: Any, fill_value: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
    if type(fill_value) is BallArray or (_is_float64(dtype) and (dtype is not None or _is_real(fill_value))):
        check_dtype(dtype)
        return filled(fill_value, shape)
    return original(shape, fill_value, dtype, *args, **kwargs)


def _is_real(value: Any) -> bool:
    return np.asarray(value).dtype == FLOAT


def _as_strided(original: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    if type(x) is BallArray:  # an object takes as many bytes as a float64, so the strides hold
        return BallArray(original(x.elements, *args, **kwargs))
    return original(x, *args, **kwargs)


def _default_rng(original: Callable[..., Any], seed: Any = None) -> Any:
    if seed is None:
        raise WORK.refuse("draws random numbers")
    return original(seed)


def _times_sparse(original: Callable[..., Any], matrix: Any, other: Any) -> Any:
    """A sparse matrix times balls; scipy would ask for the numbers."""
    if type(other) is not BallArray:
        return original(matrix, other)
    entries = matrix.tocoo()
    product = filled(0.0, (matrix.shape[0], *other.shape[1:]))
    factors = entries.data.reshape(-1, *(1,) * (other.ndim - 1))
    np.add.at(product, entries.row, other[entries.col] * factors)
    return product


REPLACED: dict[tuple[Any, str], Callable[..., Any]] = {
    **{(np, name): _kept for name in AS_ARRAY if hasattr(np, name)},
    **{(np, name): _new(value) for name, value in NEW.items()},
    (np, "full"): _full,
    (np.lib.stride_tricks, "as_strided"): _as_strided,
    (np.random, "default_rng"): _default_rng,
    (next(c for c in sparse.csr_array.__mro__ if "__matmul__" in vars(c)), "__matmul__"): _times_sparse,
}
