"""The parts into which adaptive pools cut an axis. A global pool has a single part."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import integers
from purenet.op import Array
from purenet.windows import check_image

__all__ = ["check_entries", "parts"]


def parts(op: str, x: Array, size: Any) -> list[tuple[Array, Array]]:
    """For each axis behind the channels, where its parts start and end."""
    sizes = check_entries(op, x)
    cut = []
    for entries, number in zip(sizes, integers(op, "size", size, len(sizes)), strict=True):
        i = np.arange(number)
        cut.append((i * entries // number, -((i + 1) * -entries // number)))
    return cut


def check_entries(op: str, x: Array) -> tuple[int, ...]:
    """The sizes of the axes behind the channels, of which there must be one, and none empty."""
    sizes = check_image(op, x)
    if min(sizes) < 1:
        raise ValueError(f"{op}: x must have entries in each channel, got {x.shape}")
    return sizes
