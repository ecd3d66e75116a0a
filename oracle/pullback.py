"""What a reference gives: its value and its gradients, and a remark where its dtypes needed help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import optree

__all__ = ["Pullback", "StructureError", "check_shapes", "dtypes_apart", "is_float", "like"]


@dataclass(frozen=True)
class Pullback:
    """The value of a reference and the cotangents of its arguments: trees of NumPy arrays."""

    value: Any
    cotangents: tuple[Any, ...]
    note: str = ""
    """What the reader of a row should know about it; empty for an ordinary reference."""


class StructureError(ValueError):
    """The value of the reference has other shapes than ours, or holds no real floats."""


def check_shapes(values: Sequence[Any], seeds: Sequence[Any]) -> None:
    """Raise a StructureError unless the arrays of the reference's value can be compared with ours, which `seeds` are like."""
    ours, theirs = [tuple(s.shape) for s in seeds], [tuple(v.shape) for v in values]
    if ours != theirs:
        raise StructureError(f"its value has the shapes {theirs}, ours {ours}")
    for value, seed in zip(values, seeds, strict=True):
        if value.dtype != seed.dtype and not is_float(value.dtype):
            raise StructureError(f"its value is {value.dtype}, ours {seed.dtype}")


def dtypes_apart(value: Any, like: Any) -> tuple[str, str] | None:
    """The dtypes of the first arrays of two trees that differ in it; None if all are the same."""
    pairs = zip(optree.tree_leaves(value), optree.tree_leaves(like), strict=True)
    return next(((str(v.dtype), str(s.dtype)) for v, s in pairs if v.dtype != s.dtype), None)


def like(value: Any, seeds: Any) -> Any:
    """The value as NumPy arrays of the dtypes of `seeds`."""
    leaves, structure = optree.tree_flatten(value)
    cast = [np.asarray(v).astype(s.dtype, copy=False) for v, s in zip(leaves, optree.tree_leaves(seeds), strict=True)]
    return optree.tree_unflatten(structure, cast)


def is_float(dtype: Any) -> bool:
    """Whether this is a dtype of real floats; NumPy itself counts bfloat16 among those without a kind."""
    return bool(np.dtype(dtype).kind == "f" or np.dtype(dtype) == ml_dtypes.bfloat16)
