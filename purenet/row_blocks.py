"""Walks over large arrays, a few rows at a time, so that what is computed for these rows stays in the cache."""

from __future__ import annotations

from collections.abc import Iterator

from purenet.op import Array

__all__ = ["is_one_block", "row_blocks"]

BLOCK = 2**19
"""Bytes of the rows of one array that are taken at a time: half of the second-level cache. With a quarter of it, in which all
arrays of a walk have room, a softmax and a layer_norm take a tenth longer, because of the calls of NumPy."""


def row_blocks(a: Array) -> Iterator[slice]:
    """The rows of an array with entries, a few at a time, at least one."""
    count = max(1, BLOCK // a[:1].nbytes)
    return (slice(begin, begin + count) for begin in range(0, len(a), count))


def is_one_block(a: Array) -> bool:
    """Whether all rows of an array are taken at once."""
    return a.nbytes <= BLOCK
