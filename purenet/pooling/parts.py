"""The parts into which adaptive pools cut an axis. A global pool has a single part."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from purenet.checks import integers
from purenet.op import Array
from purenet.windows import check_image

__all__ = ["check_entries", "parts"]


def parts(op: str, x: Array, size: Any) -> list[tuple[Array, Array]]:
    """For each axis behind the channels, where its parts start and end."""
    sizes = check_entries(op, x)
    return [_cut(entries, number) for entries, number in zip(sizes, integers(op, "size", size, len(sizes)), strict=True)]


@lru_cache(maxsize=256)
def members(entries: int, number: int, dtype: np.dtype[Any]) -> Array:
    """Which of so many entries are in each of so many parts: 1 or 0, (parts, entries)."""
    starts, ends = _cut(entries, number)
    at = np.arange(entries)
    return _kept(np.asarray((starts[:, None] <= at) & (at < ends[:, None]), dtype))


@lru_cache(maxsize=256)
def _cut(entries: int, number: int) -> tuple[Array, Array]:
    """Where the parts of an axis start and end."""
    i = np.arange(number)
    return _kept(i * entries // number), _kept(-((i + 1) * -entries // number))


def _kept(a: Array) -> Array:
    """The array, which nobody may change because the next call gets it too."""
    a.flags.writeable = False
    return a


def check_entries(op: str, x: Array) -> tuple[int, ...]:
    """The sizes of the axes behind the channels, of which there must be one, and none empty."""
    sizes = check_image(op, x)
    if min(sizes) < 1:
        raise ValueError(f"{op}: x must have entries in each channel, got {x.shape}")
    return sizes
