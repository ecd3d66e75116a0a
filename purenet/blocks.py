"""Functions of single entries, computed block by block where arrays are large, so that temporaries stay in the cache.

The function itself is the plain formula for arrays of any shape. `blockwise` calls it as it is for arrays up to LARGE bytes;
above, for one block of entries after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np

from purenet.op import Array

__all__ = ["BLOCK", "LARGE", "blockwise"]

F = TypeVar("F", bound=Callable[..., Any])

BLOCK = 2**18
"""Bytes of each array in one block. Four such arrays fit into a second-level cache of 1 MB; the calls for half of it take a
tenth of the time, and with twice as much the temporaries leave the cache."""
LARGE = 3 * BLOCK
"""Bytes of an array up to which it is computed in one piece."""


def blockwise(function: F) -> F:
    """The same function, of arrays of one shape (alone or in tuples, beside numbers), whose results have that shape.

    Every entry of a result must depend on the same entry of the arguments alone. The size of the last positional argument
    decides. Arrays of several shapes, or in another order than C's, are computed in one piece.
    """

    @wraps(function)
    def whole(*arguments: Any, **options: Any) -> Any:
        x = arguments[-1]
        if type(x) is not np.ndarray or x.nbytes <= LARGE or not _alike(arguments, x.shape):
            return function(*arguments, **options)
        result: Any = None
        step = BLOCK // x.itemsize
        for start in range(0, x.size, step):
            rows = slice(start, start + step)
            pieces = _pieces(arguments, rows)
            part = function(*pieces, **options)
            if result is None:
                result = _room(part, x.shape, dict(_pairs(pieces, arguments)))
            _fill(result, part, rows)
        return result

    return cast(F, whole)


def _alike(tree: Any, shape: tuple[int, ...]) -> bool:
    """Whether all arrays have this shape and their entries lie in order."""
    if type(tree) is tuple:
        return all(_alike(item, shape) for item in tree)
    if isinstance(tree, np.ndarray):
        return tree.shape == shape and tree.flags.c_contiguous
    return tree is None or isinstance(tree, bool | int | float)


def _pieces(tree: Any, rows: slice) -> Any:
    """The entries of one block of every array."""
    if type(tree) is tuple:
        return tuple(_pieces(item, rows) for item in tree)
    return tree.reshape(-1)[rows] if isinstance(tree, np.ndarray) else tree


def _pairs(pieces: Any, tree: Any) -> list[tuple[int, Array]]:
    """The whole array of each piece."""
    if type(tree) is tuple:
        return [pair for inner, item in zip(pieces, tree, strict=True) for pair in _pairs(inner, item)]
    return [(id(pieces), tree)] if isinstance(tree, np.ndarray) else []


def _room(part: Any, shape: tuple[int, ...], given: dict[int, Array]) -> Any:
    """Empty arrays for the results; an argument that is returned as it came is that argument."""
    if type(part) is tuple:
        return tuple(_room(item, shape, given) for item in part)
    if not isinstance(part, np.ndarray):
        return part
    found = given.get(id(part))
    return np.empty(shape, part.dtype) if found is None else found


def _fill(result: Any, part: Any, rows: slice) -> None:
    """Write the results of one block, except into an argument, which has them."""
    if type(part) is tuple:
        for whole, item in zip(result, part, strict=True):
            _fill(whole, item, rows)
    elif isinstance(part, np.ndarray):
        target = result.reshape(-1)[rows]
        if not _same_memory(target, part):
            target[...] = part


def _same_memory(a: Array, b: Array) -> bool:
    return bool(a.__array_interface__["data"] == b.__array_interface__["data"])
