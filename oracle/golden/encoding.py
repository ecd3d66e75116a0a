"""Trees of arguments and options as JSON: arrays become tensors of the file, `{"tensor": name}`; the rest stays as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["decoded", "encoded"]

Array = NDArray[Any]


def encoded(tree: Any, name: str, tensors: dict[str, Array]) -> Any:
    """The tree as JSON. Its arrays are put into `tensors`, under names that begin with `name`.

    A tuple is a list, a NamedTuple an object, a number that is not finite `{"number": "inf"}`.
    """
    if isinstance(tree, np.ndarray | np.generic):
        tensors[name] = np.asarray(tree)
        return {"tensor": name}
    if isinstance(tree, float) and not math.isfinite(tree):
        return {"number": str(tree)}
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if hasattr(tree, "_asdict"):
        tree = tree._asdict()
    if isinstance(tree, Mapping):
        return {str(key): encoded(child, f"{name}.{key}", tensors) for key, child in tree.items()}
    if isinstance(tree, tuple | list):
        return [encoded(child, f"{name}.{i}", tensors) for i, child in enumerate(tree)]
    raise TypeError(f"encoded: {name} must hold numbers, texts, arrays and trees of them, got {type(tree).__name__}")


def decoded(like: Any, name: str, tensors: Mapping[str, Array]) -> Any:
    """A tree like `like`, with the arrays that the file has instead of its own. A KeyError if the file lacks one."""
    if isinstance(like, np.ndarray | np.generic):
        return np.array(tensors[name])
    if hasattr(like, "_asdict"):
        return type(like)(*(decoded(child, f"{name}.{key}", tensors) for key, child in like._asdict().items()))
    if isinstance(like, Mapping):
        return {key: decoded(child, f"{name}.{key}", tensors) for key, child in like.items()}
    if isinstance(like, tuple | list):
        return type(like)(decoded(child, f"{name}.{i}", tensors) for i, child in enumerate(like))
    return like
