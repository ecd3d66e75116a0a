"""The gradient of a smooth loss at many points, for the runs of an optimizer: finite differences with fixed step sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree

from oracle.differences import partials
from oracle.measures import largest

__all__ = ["gradient"]

Tree = Any

STEPS = tuple(2.0**-k for k in range(3, 8))
"""The step sizes. The parameters and the losses here are of the size of 1; for others the two last orders disagree."""
AGREE = 1e-10
"""The largest difference of the last two orders of extrapolation, as a fraction of the largest entry. Larger, and inaccurate
gradients are used; smaller, and the slower `partials` computes most of them."""


def gradient(loss: Callable[[Tree], Any], params: Tree) -> Tree:
    """The gradient by central differences at five step sizes, extrapolated; if the last two orders disagree, by `partials`.

    `partials` also measures noise, looks for kinks and chooses its step sizes, which a smooth loss does not need.
    """
    leaves, structure = optree.tree_flatten(params)
    moving = [np.array(leaf, np.float64) for leaf in leaves]
    tree = structure.unflatten(moving)
    found = []
    for leaf in moving:
        entries = leaf.reshape(-1)
        table = np.empty((len(STEPS), entries.size))
        for i, here in enumerate(entries.copy()):
            for level, h in enumerate(STEPS):
                entries[i] = here + h
                ahead = float(loss(tree))
                entries[i] = here - h
                table[level, i] = (ahead - float(loss(tree))) / (2 * h)
            entries[i] = here
        before = table[-1]
        for order in range(1, len(STEPS)):
            before, table = table[-1], (4**order * table[1:] - table[:-1]) / (4**order - 1)
        if not largest(table[0] - before) <= AGREE * largest(table[0]):
            return partials.gradient(loss, params)[0]
        found.append(table[0].reshape(leaf.shape))
    return structure.unflatten(found)
