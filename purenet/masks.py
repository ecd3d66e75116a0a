"""The choice of some leaves of a tree: masks of booleans and trees of labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import optree

from purenet.op import Tree

__all__ = ["Mask", "labels_of", "mask_of"]

Mask: TypeAlias = Tree | Callable[[Tree], Tree] | None
"""A tree of booleans like the parameters, or a prefix of one, or a function of the parameters that gives it; None is all."""


def mask_of(who: str, mask: Mask, tree: Tree) -> list[bool]:
    """The boolean for each leaf of `tree`, in order."""
    if mask is None:
        return [True] * len(optree.tree_leaves(tree))
    chosen = labels_of(who, "mask", mask, tree)
    for value in chosen:
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{who}: mask must hold booleans, got {type(value).__name__}")
    return [bool(value) for value in chosen]


def labels_of(who: str, name: str, labels: Tree | Callable[[Tree], Tree], tree: Tree) -> list[Any]:
    """The label for each leaf of `tree`, in order; `labels` may be a prefix of it, or a function that gives one."""
    given = labels(tree) if callable(labels) else labels
    try:
        return list(optree.broadcast_prefix(given, tree))
    except ValueError as error:
        raise ValueError(f"{who}: {name} must be a tree like the parameters or a prefix of it: {error}") from None
