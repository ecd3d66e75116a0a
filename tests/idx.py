"""Writes IDX, the format of MNIST's files, for the tests that read it."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx(array: Any, code: int = 0x08) -> bytes:
    """`array` as the content of an IDX file of the type `code`."""
    array = np.asarray(array)
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + bytes(array.astype(TYPES[code]).data)
