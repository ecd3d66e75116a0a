"""The gradient of a smooth loss at many points: Romberg's differences with fixed steps, for the runs of an optimizer."""

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
AGREE = 1e-10  # of the largest entry: how near the last two orders must be


def gradient(loss: Callable[[Tree], Any], params: Tree) -> Tree:
    """The gradient by Romberg's differences at five steps; where the last two orders disagree, by `partials`.

    That measures noise, looks for kinks and controls the size of its steps. A smooth loss at 50 points needs none of it.
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
