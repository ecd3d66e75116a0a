"""Gradients that are computed in a narrower dtype than they have: how much of their digits that costs.

A kernel may take float64, compute in float32, and cast the result back. Its gradient is right to the digits of float32, and
another order of its sums changes it by as much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, flat, narrowed, quiet
from oracle.differences.inner_rounding import COARSEST, DENSE, FINEST, LONGEST
from oracle.differences.jumps import SHARE_OF_NOISE
from oracle.differences.richardson import NOISE_SAFETY
from oracle.differences.roundoff import NoisyFunction, output_noise
from oracle.effort import REPEATS, SAMPLES
from oracle.measures import EPSILON, largest
from oracle.streams import Stream
from oracle.subject import Subject, on_copies

__all__ = ["inner_noise", "keeps_digits"]

Array = NDArray[Any]


def inner_noise(subject: Subject, primals: tuple[Any, ...], dy: Any, gradients: int) -> list[float]:
    """For each gradient, the largest noise of an entry from roundings to a narrower dtype inside; 0 if there are none.

    `primals` and `dy` are in float64.
    """
    subject = on_copies(subject)
    sizes: list[int] = []

    def gradient(primals: Any, dy: Any) -> Any:
        return pulled(subject.fwd(*primals), dy)

    def pulled(forward: tuple[Any, Any], dy: Any) -> Any:
        value, residuals = forward
        found = flat(subject.bwd(residuals, narrowed(dy, value)))
        sizes[:] = [a.size for a in found]
        return np.concatenate(found)

    def noise_of(function: Any, tree: Any, *, continuous: bool) -> list[float]:
        leaves, structure = optree.tree_flatten(tree)
        origin: list[Any] = [np.asarray(leaf, np.float64) for leaf in leaves]
        try:
            with quiet():
                value = function(*tree)
                noisy = NoisyFunction(function, origin, structure, value, EPSILON["float64"], continuous=continuous)
                noise = output_noise(noisy).inner
        except RAISED:
            return [0.0] * gradients
        return [largest(part) for part in np.split(noise, np.cumsum(sizes)[:-1])]

    noise = noise_of(gradient, (primals, dy), continuous=False)
    if not sizes:  # every call has raised an exception
        return noise
    # Where ties or kinks are, a gradient jumps between the points nearby, which hides its rounding. In dy it is linear: there
    # jumps prove a rounding that is coarser than those of the arguments.
    with quiet():
        here = subject.fwd(*primals)  # one forward pass serves all cotangents, as in the check that the pass is linear
    of_dy = noise_of(lambda dy: pulled(here, dy), (dy,), continuous=True)
    noise = [coarser if coarser > NOISE_SAFETY * found else found for found, coarser in zip(noise, of_dy, strict=True)]
    if all(noise):
        return noise
    apart = np.split(_not_additive(lambda dy: pulled(here, dy), dy, sum(sizes)), np.cumsum(sizes)[:-1])
    return [max(found, largest(part)) for found, part in zip(noise, apart, strict=True)]


def _not_additive(gradient: Callable[[Any], Array], dy: Any, entries: int) -> Array:
    """By how much the gradient of a sum of cotangents differs from the sum of theirs, where that can only be rounding.

    A rounding does not change with a power of 2 in the cotangent, and most functions that are not linear do. What no dtype
    explains is none, either. In every other sum the roundings of a single number cancel, so that several sums are taken. Nor is
    it a rounding where the gradient is linear nearby, as one is that drops or clips entries by a share of the largest: it is
    linear but where an entry passes that share.
    """
    generator = np.random.default_rng(Stream.NOISE)
    apart, largest_part = np.zeros(entries), 0.0
    try:
        with quiet():
            base = gradient(dy)
            if not keeps_digits(gradient, dy, base, 2.0):
                return np.zeros(entries)
            for _ in range(2 * SAMPLES):
                one = optree.tree_map(lambda a: a * generator.uniform(-1, 1, np.shape(a)), dy)
                other = optree.tree_map(lambda a, b: a - b, dy, one)
                parts = gradient(one), gradient(other)
                apart = np.fmax(apart, np.abs(base - parts[0] - parts[1]))
                largest_part = max(largest_part, largest(base, *parts))
    except RAISED:
        return np.zeros(entries)
    apart = np.where((apart > FINEST * largest_part) & (apart <= COARSEST * largest_part), apart, 0.0)
    found = np.flatnonzero(apart)
    if not found.size:
        return apart
    nearby = _bend_nearby(gradient, dy, base)[found]
    return apart if (nearby > SHARE_OF_NOISE * apart[found]).mean() >= DENSE else np.zeros(entries)


def _bend_nearby(gradient: Callable[[Any], Array], dy: Any, base: Array) -> Array:
    """By how much each entry is off a straight line from `dy` over the distance of a few numbers of any dtype, at most.

    That is as much as over any longer distance for a rounding, and far less for a smooth function.
    """
    generator = np.random.default_rng(Stream.NOISE)
    off = np.zeros(base.shape)
    try:
        with quiet():
            for _ in range(REPEATS):
                step = optree.tree_map(lambda a: LONGEST * a * generator.uniform(-1, 1, np.shape(a)), dy)
                near, far = (gradient(optree.tree_map(lambda a, b, k=k: a + k * b, dy, step)) for k in (1, 2))
                off = np.fmax(off, np.abs(base - 2 * near + far))
    except RAISED:
        return np.zeros(base.shape)
    return off


def keeps_digits(gradient: Callable[[Any], Array], dy: Any, base: Array, factor: float) -> bool:
    """Whether the gradient of `factor dy` is `factor base`, bit for bit, for a power of 2: a floating point moves, no digit."""
    scaled = gradient(optree.tree_map(lambda a: np.asarray(factor * a, np.float64), dy))
    return np.array_equal(scaled, factor * base, equal_nan=True)
