"""The leaves of trees of gradients, parameters and slots: arrays of floating-point numbers, alike in all trees.

Nearly always they are: `alike` sees that in one walk. Otherwise `checked` says what is wrong, or finds other arrays that fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import optree

from purenet.arrays import is_floating
from purenet.op import Array, Tree

__all__ = ["alike", "checked", "leaves_of", "matching", "working_dtype"]

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_COMMON = frozenset(np.dtype(t) for t in (np.float64, np.float32, np.float16))

_Flat: TypeAlias = tuple[str, Tree, list[Array], optree.PyTreeSpec]
"""The name of a tree, the tree, its leaves and its structure."""


def alike(first: Tree, *others: Tree) -> tuple[list[list[Array]], optree.PyTreeSpec] | None:
    """The leaves of trees that need no further check, and their structure: arrays of one dtype, and one shape at each place."""
    leaves, structure = optree.tree_flatten(first)
    if not leaves or type(leaves[0]) is not np.ndarray or not (leaves[0].dtype is _SINGLE or leaves[0].dtype is _DOUBLE):
        return None
    columns: list[Any] = [leaves]
    try:
        columns += [structure.flatten_up_to(tree) for tree in others]
    except (TypeError, ValueError):  # of another structure
        return None
    dtype = leaves[0].dtype
    for column in columns:
        for leaf, array in zip(leaves, column, strict=True):
            if type(array) is not np.ndarray or array.dtype is not dtype or array.shape != leaf.shape:
                return None
    return columns, structure


def checked(
    who: str, grads: Tree, others: Mapping[str, Tree], slots: Mapping[str, Tree]
) -> tuple[list[list[Array]], optree.PyTreeSpec]:
    """The leaves of the gradients, of other trees like them and of the slots of a state, and the structure of all of them."""
    gradients, structure = leaves_of(who, "grads", grads)
    columns = [gradients]
    for name, tree in {**others, **{f"state.{name}": tree for name, tree in slots.items()}}.items():
        arrays, other = leaves_of(who, name, tree)
        _check_match(who, ("grads", grads, gradients, structure), (name, tree, arrays, other))
        for i, (g, slot) in enumerate(zip(gradients, arrays, strict=True)):
            if name not in others and working_dtype(g.dtype) != slot.dtype:
                path, path_of_slot = _paths("grads", grads)[i], _paths(name, tree)[i]
                raise TypeError(f"{who}: {path} is {g.dtype}, but {path_of_slot} is {slot.dtype}")
        columns.append(arrays)
    return columns, structure


def matching(
    who: str, given: tuple[str, Tree], expected: tuple[str, Tree]
) -> tuple[list[Array], list[Array], optree.PyTreeSpec]:
    """The leaves of both trees, which must have the same structure and shapes, and the structure; each tree with its name."""
    arrays, structure = leaves_of(who, *given)
    others, other_structure = leaves_of(who, *expected)
    _check_match(who, (*given, arrays, structure), (*expected, others, other_structure))
    return arrays, others, structure


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which to compute with arrays of this dtype."""
    if dtype.itemsize == 2:
        return _SINGLE
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def leaves_of(who: str, name: str, tree: Tree) -> tuple[list[Array], optree.PyTreeSpec]:
    """The leaves as floating-point arrays, and the structure they came in."""
    leaves: list[Any]
    leaves, structure = optree.tree_flatten(tree)
    for i, leaf in enumerate(leaves):
        if type(leaf) is np.ndarray and (leaf.dtype is _SINGLE or leaf.dtype in _COMMON):  # nearly always
            continue
        if isinstance(leaf, np.ma.MaskedArray) or not (isinstance(leaf, float) or hasattr(leaf, "__array__")):
            raise TypeError(f"{who}: {_paths(name, tree)[i]} must be a floating-point array, got {type(leaf).__name__}")
        array = np.asarray(leaf)
        if not is_floating(array.dtype):
            raise TypeError(f"{who}: {_paths(name, tree)[i]} must be a floating-point array, got {array.dtype}")
        leaves[i] = array
    return leaves, structure


def _check_match(who: str, given: _Flat, expected: _Flat) -> None:
    """Raise unless both trees have the same structure and shapes; the message names what differs."""
    name, tree, arrays, structure = given
    other_name, other_tree, others, other_structure = expected
    if structure != other_structure:
        ours, theirs = _paths("", tree), _paths("", other_tree)
        missing, unknown = sorted(set(theirs) - set(ours)), sorted(set(ours) - set(theirs))
        details = [f"{word} {', '.join(paths)}" for word, paths in (("lacks", missing), ("has in addition", unknown)) if paths]
        what = " and ".join(details) or f"is {structure}, not {other_structure}"
        raise ValueError(f"{who}: {name} does not match {other_name}: it {what}")
    for i, (array, other) in enumerate(zip(arrays, others, strict=True)):
        if array.shape != other.shape:
            path, other_path = _paths(name, tree)[i], _paths(other_name, other_tree)[i]
            raise ValueError(f"{who}: {path} has shape {array.shape}, but {other_path} has {other.shape}")


def _paths(name: str, tree: Tree) -> list[str]:
    """The name of every leaf: `grads.affine1.w`."""
    return [".".join(filter(None, (name, *map(str, path)))) or "a single array" for path in optree.tree_paths(tree)]
