"""Walks over large arrays, a few rows at a time, so that what is computed for these rows stays in the cache."""

from __future__ import annotations

from collections.abc import Iterator

from purenet.op import Array

__all__ = ["row_blocks"]

BLOCK = 2**18
"""Bytes of the rows of one array that are taken at a time: a quarter of the second-level cache, for a walk takes up to four
arrays."""


def row_blocks(a: Array) -> Iterator[slice]:
    """The rows of an array with entries, a few at a time, at least one."""
    count = max(1, BLOCK // a[:1].nbytes)
    return (slice(begin, begin + count) for begin in range(0, len(a), count))
