"""Arrays and trees of them: the dtypes in which ops compute."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import optree
from numpy.typing import NDArray

__all__ = ["Array", "Tree", "cast", "common_dtype", "is_floating", "is_single", "native"]

Array: TypeAlias = NDArray[Any]
Tree: TypeAlias = Any
"""An array, or a dict, tuple, list or NamedTuple of trees."""

_SINGLE_ARRAY = ("Array", "np.ndarray", Array, np.ndarray)
"""The annotations of a single array: a string where annotations are not evaluated."""

_DOUBLE, _SINGLE, _HALF = np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.float16)


def is_single(annotation: Any) -> bool:
    """Whether an argument with this annotation is a single array; any other may be a tree."""
    return annotation in _SINGLE_ARRAY


def common_dtype(values: list[Any], arrays: tuple[bool, ...]) -> np.dtype[Any] | None:
    """The dtype of arguments that need no conversion: arrays, and dicts of arrays, of one common dtype. None for others."""
    dtype = None
    for i, value in enumerate(values):
        if type(value) is np.ndarray:
            if value.dtype is not dtype:
                if dtype is not None:
                    return None
                dtype = value.dtype
        elif type(value) is dict and not arrays[i]:
            for leaf in value.values():
                if type(leaf) is not np.ndarray or (dtype is not None and leaf.dtype is not dtype):
                    return None
                dtype = leaf.dtype
        else:
            return None
    return dtype if dtype is _DOUBLE or dtype is _SINGLE or dtype is _HALF else None


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether ops compute in this dtype: bfloat16, which NumPy does not know, is recognised by its name."""
    return (dtype.kind == "f" and dtype.itemsize <= 8) or (dtype.kind == "V" and dtype.name == "bfloat16")


def native(array: Array) -> Array:
    """The array in the byte order of this machine: a dtype of the other order is another dtype."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def cast(tree: Tree, dtype: np.dtype[Any]) -> Tree:
    """The same tree with every leaf in this dtype."""
    with np.errstate(over="ignore", under="ignore"):  # what float16 cannot hold is inf or 0, as in any float16 sum
        if isinstance(tree, np.ndarray):
            return tree.astype(dtype)
        return optree.tree_map(lambda leaf: np.asarray(leaf).astype(dtype), tree)
