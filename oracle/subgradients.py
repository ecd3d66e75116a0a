"""At kinks: whether the entries are right together, not only each by itself.

Between the slopes of its two sides every entry of a gradient is as good as another; but not with every other. |a - b| at
a = b has the gradients (t, -t) for t from -1 to 1, so (1, 1) is none, though each 1 is between the slopes -1 and 1; and no
gradient of a norm at 0 is longer than 1. A convex function rises along any direction at least as fast as a gradient of it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.probe import RAISED, quiet, size_of, unvector, vector
from oracle.subject import Subject, flat

__all__ = ["excess"]

Array = NDArray[Any]

DIRECTIONS = 16  # at random; also along single elements, and with equal elements moved alike
STEP = 2.0**-20  # in units of the argument's size: kinks are at the point itself, and nothing else bends so sharply
BENT = 2.0**-10  # of a slope: by how much those of the two sides differ at a kink
SLACK = 2.0**-12  # of the slopes, for the step and the rounding


def excess(subject: Subject, primals: tuple[Any, ...], dy: Any, leaves: Sequence[int], seed: int = 0) -> float:
    """How far the gradient is, along directions of the arguments `leaves`, from between the slopes of both sides.

    As a share of these slopes; 0 if it is between them along all. Only outputs that bend to the same side along every
    direction take part, and their cotangents get the sign that makes all of them convex: what bends both ways has other
    gradients, too.
    """
    tree: Any = primals
    origin, structure = optree.tree_flatten(tree)

    def displaced(direction: list[Array], by: float) -> Array:
        return vector(subject.value(*structure.unflatten([x + by * d for x, d in zip(origin, direction, strict=True)])))

    with quiet():
        try:
            value, residuals = subject.fwd(*primals)
            here = vector(value).copy()
            directions = _directions(origin, leaves, np.random.default_rng([seed, 0x737562, *leaves]))
            ahead = np.array([(displaced(d, STEP) - here) / STEP for d in directions])
            behind = np.array([(here - displaced(d, -STEP)) / STEP for d in directions])
            weights = _one_sided(ahead, behind) * np.abs(vector(dy))
            used = weights != 0
            if not used.any() or not (np.isfinite(ahead[:, used]).all() and np.isfinite(behind[:, used]).all()):
                return 0.0
            seeds = optree.tree_map(lambda w, v: np.asarray(w, np.asarray(v).dtype), unvector(weights, value), value)
            gradient = flat(subject.bwd(residuals, seeds))
        except RAISED:  # the end of the op's domain: nothing can be said
            return 0.0
        rises = np.array([[g @ d.reshape(-1) for g, d in zip(gradient, direction, strict=True)] for direction in directions])
        low, high = behind[:, used] @ weights[used], ahead[:, used] @ weights[used]
        slopes = np.abs(rises).sum(axis=1) + np.abs(low) + np.abs(high)
        beyond = np.maximum(low - rises.sum(axis=1), rises.sum(axis=1) - high) - SLACK * slopes
        return float(np.max(np.nan_to_num(beyond / slopes), initial=0.0))


def _directions(origin: list[Array], leaves: Sequence[int], generator: np.random.Generator) -> list[list[Array]]:
    """Random ones first; those in which equal elements move alike; and single elements."""
    sizes = [size_of(x) * np.full(x.shape, float(i in leaves)) for i, x in enumerate(origin)]
    values, which = np.unique(np.concatenate([x.reshape(-1) for x in origin]), return_inverse=True)
    ends = np.cumsum([x.size for x in origin])
    found = [[generator.normal(size=x.shape) * size for x, size in zip(origin, sizes, strict=True)] for _ in range(DIRECTIONS)]
    for _ in range(DIRECTIONS // 4):
        parts = np.split(generator.normal(size=values.size)[which], ends[:-1])
        found.append([part.reshape(size.shape) * size for part, size in zip(parts, sizes, strict=True)])
    elements = np.flatnonzero(np.concatenate([size.reshape(-1) for size in sizes]))
    for element in generator.choice(elements, min(DIRECTIONS, elements.size), replace=False):
        parts = np.split((np.arange(ends[-1]) == element).astype(float), ends[:-1])
        found.append([part.reshape(size.shape) * size for part, size in zip(parts, sizes, strict=True)])
    return found


def _one_sided(ahead: Array, behind: Array) -> Array:
    """For each output 1 if it bends upwards along all directions, -1 downwards, 0 if not always or to both sides."""
    gap = ahead - behind
    sign = np.where(np.abs(gap) > BENT * np.maximum(np.abs(ahead), np.abs(behind)), np.sign(gap), 0.0)
    always = sign[:DIRECTIONS].sum(axis=0) / DIRECTIONS
    return np.where((np.abs(always) == 1) & (sign * always >= 0).all(axis=0), always, 0.0)
