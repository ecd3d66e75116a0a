"""Gradients that are computed in a narrower dtype than they have: how much of their digits that costs.

A kernel may take float64, compute in float32, and cast the result back. Its gradient is right to the digits of float32, and
another order of its sums changes it by as much.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import optree

from oracle.arrays import RAISED, flat, narrowed, quiet
from oracle.differences.roundoff import NoisyFunction, output_noise
from oracle.measures import EPSILON, largest
from oracle.subject import Subject

__all__ = ["SIXTEEN_BIT_NOISE", "inner_noise"]

SIXTEEN_BIT_NOISE = 2.0**-16
"""The noise, as a share of the largest entry, from which on a computation counts as one in 16 bits: between a rounding to
float32, 2^-25, and one to float16, 2^-12."""


def inner_noise(subject: Subject, primals: tuple[Any, ...], dy: Any, gradients: int) -> list[float]:
    """For each gradient, the largest noise of an entry from roundings to a narrower dtype inside; 0 if there are none.

    `primals` and `dy` are in float64.
    """
    subject = subject.on_copies()
    sizes: list[int] = []

    def gradient(primals: Any, dy: Any) -> Any:
        value, residuals = subject.fwd(*primals)
        found = flat(subject.bwd(residuals, optree.tree_map(np.array, narrowed(dy, value))))
        sizes[:] = [a.size for a in found]
        return np.concatenate(found)

    def noise_of(function: Any, tree: Any) -> list[float]:
        leaves, structure = optree.tree_flatten(tree)
        origin: list[Any] = [np.asarray(leaf, np.float64) for leaf in leaves]
        try:
            with quiet():
                value = function(*tree)
                noise = output_noise(NoisyFunction(function, origin, structure, value, EPSILON["float64"])).inner
        except RAISED:
            return [0.0] * gradients
        return [largest(part) for part in np.split(noise, np.cumsum(sizes)[:-1])]

    noise = noise_of(gradient, (primals, dy))
    if all(noise):
        return noise
    # Where ties or kinks are, a gradient jumps between the points nearby, which hides its rounding. In dy it is linear.
    return [max(pair) for pair in zip(noise, noise_of(lambda dy: gradient(primals, dy), (dy,)), strict=True)]
