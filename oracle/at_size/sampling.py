"""The entries of a very large argument that are differentiated: the largest, and random ones with a nonzero gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.at_size.grouping import ATTEMPTS, GROUPS, Reading

__all__ = ["chosen_entries", "largest_entries", "moving_entries"]

Array = NDArray[Any]


def moving_entries(contribution: Array, seed: int) -> Array:
    """Random entries, those with a nonzero gradient first."""
    if not contribution.size:
        return np.zeros(0, np.intp)
    drawn = np.random.default_rng([seed, contribution.size]).integers(0, contribution.size, GROUPS)
    _, first = np.unique(drawn, return_index=True)
    drawn = drawn[np.sort(first)]  # each once, in random order
    return drawn[np.argsort(contribution[drawn] == 0, kind="stable")]


def chosen_entries(reading: Reading, contribution: Array, leading: Array, seed: int) -> Array:
    """`leading`, and a random entry for each of some keys; with a nonzero gradient where one of several draws has one."""
    generator = np.random.default_rng([seed, contribution.size, 1])
    if contribution.size <= reading.most and reading.keys == contribution.size:
        return np.arange(contribution.size)
    keys = np.sort(generator.choice(reading.keys, min(reading.keys, reading.most), replace=False))
    keys = np.setdiff1d(keys, reading.keys_of(leading))  # two entries of one key cost one more displacement
    chosen = reading.entry(keys, generator)
    for _ in range(ATTEMPTS):  # most rows of an embedding have a gradient of 0
        chosen = np.where(contribution[chosen] == 0, reading.entry(keys, generator), chosen)
    return np.union1d(chosen, leading)


def largest_entries(a: Array, count: int) -> Array:
    """The indices of the largest of some numbers; NaN counts as larger than any number."""
    if not a.size:
        return np.arange(0)
    width = math.isqrt(a.size)
    highest = np.nan_to_num(np.maximum.reduceat(a, np.arange(0, a.size, width)), nan=np.inf)
    blocks = np.argsort(-highest)[:count]  # no other block contains one of the largest
    index = np.concatenate([np.arange(b * width, min((b + 1) * width, a.size)) for b in blocks.tolist()])
    return index[np.argsort(-np.nan_to_num(a[index], nan=np.inf), kind="stable")[:count]]
