"""The form of the cotangents: their number, structure, shapes and dtypes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import optree

from oracle.arrays import Leaf, leaves_of
from oracle.contract.setting import Breach

__all__ = ["completed", "is_tuple_of", "shape_cause", "well_formed"]

NONE = "the backward pass returned None: if the gradient is zero, return zeros"
WITHOUT_END = "the gradient is a tree too deep to walk: does it contain itself?"


def well_formed(cotangents: Any, names: Sequence[str], primals: Sequence[Any], batch: int | None) -> list[Breach]:
    """The breaches of form of the cotangents, one for each argument; `batch` is the number of samples, if it is known."""
    if not is_tuple_of(cotangents, len(primals)):
        got = f"a tuple of {len(cotangents)}" if isinstance(cotangents, tuple) else type(cotangents).__name__
        expected = f"a tuple of {len(primals)}, one for each argument"
        return [Breach("", f"the backward pass returned {got}, expected {expected}")]
    breaches = []
    for name, primal, cotangent in zip(names, primals, cotangents, strict=True):
        if cotangent is None:
            breaches.append(Breach(name, NONE))
            continue
        try:
            ours, theirs = (optree.tree_structure(tree) for tree in (cotangent, primal))
        except RecursionError:
            breaches.append(Breach(name, WITHOUT_END))
            continue
        if ours != theirs and optree.tree_structure(cotangent, none_is_leaf=True) != _with_none(primal):
            breaches.append(Breach(name, f"the gradient has the structure {ours}, the argument {theirs}{_of_numbers(primal)}"))
            continue
        for leaf, array in zip(leaves_of((name,), (primal,)), optree.tree_leaves(cotangent, none_is_leaf=True), strict=True):
            breaches += [Breach(leaf.path, NONE)] if array is None else _of_one_array(leaf, array, batch)
    return breaches


def _of_numbers(primal: Any) -> str:
    """What is meant by an argument that is a list of Python's numbers."""
    is_list = isinstance(primal, list | tuple) and all(not np.ndim(part) and not hasattr(part, "keys") for part in primal)
    kind = type(primal).__name__
    return f" (a {kind} of numbers is a tree of {len(primal)} scalars: is np.array([...]) meant?)" if is_list else ""


def _with_none(tree: Any) -> Any:
    """The structure of a tree in which None may stand for an array."""
    return optree.tree_structure(tree, none_is_leaf=True)


def is_tuple_of(cotangents: Any, count: int) -> bool:
    """Whether there is one cotangent for each argument, so that they can be judged one by one."""
    return isinstance(cotangents, tuple) and len(cotangents) == count


def completed(cotangents: Any, names: Sequence[str], primals: Sequence[Any], missing: Collection[str]) -> Any:
    """The cotangents with zeros instead of the ones named in `missing`, so that the others can be judged."""
    made = []
    for name, primal, cotangent in zip(names, primals, cotangents, strict=True):
        zeros, structure = optree.tree_flatten(optree.tree_map(np.zeros_like, primal))
        if name in missing:
            made.append(structure.unflatten(zeros))
        else:
            given = optree.tree_leaves(cotangent, none_is_leaf=True)
            leaves = zip(leaves_of((name,), (primal,)), given, zeros, strict=True)
            made.append(structure.unflatten([zero if leaf.path in missing else own for leaf, own, zero in leaves]))
    return tuple(made)


def _of_one_array(leaf: Leaf, array: Any, batch: int | None) -> Iterator[Breach]:
    """The breaches of form of the cotangent of one array."""
    primal = np.asarray(leaf.array)
    if isinstance(array, float) and primal.shape == () and primal.dtype == np.float64:
        return  # a Python float may stand for the cotangent of a float64 scalar
    if not hasattr(array, "dtype"):
        yield Breach(leaf.path, f"the gradient is a {type(array).__name__}, not an array")
    elif array.shape != primal.shape:
        yield Breach(leaf.path, shape_cause(array.shape, primal.shape, batch))
    elif array.dtype != primal.dtype:
        kind = "integer dtype: " if array.dtype.kind in "iu" else ""
        yield Breach(leaf.path, f"{kind}the gradient is {array.dtype}, the argument {primal.dtype}")


def shape_cause(found: tuple[int, ...], expected: tuple[int, ...], batch: int | None) -> str:
    """The sentence about a cotangent of the wrong shape, with the mistake that it suggests."""
    extra = len(found) - len(expected)
    broadcast = extra >= 0 and all(n in (m, 1) for m, n in zip(found[extra:], expected, strict=True))
    if extra == 0 and sorted(found) == sorted(expected):
        why = ": transposed?"
    elif extra == 1 and found[1:] == expected and found[0] == batch:
        why = f": batch sum missing (one gradient for each of {batch} samples)"
    elif extra > 0 and found == (1,) * extra + expected:
        why = ": a dimension of size 1 too many (keepdims?)"
    elif broadcast:
        why = ": not summed back over the broadcast dimensions"
    else:
        why = ""
    return f"the gradient has shape {found}, the argument {expected}{why}"
