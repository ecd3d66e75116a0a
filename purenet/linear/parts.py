"""Products of matrices of medium size, some rows at a time: with AVX-512, OpenBLAS takes small matrices as they lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from purenet.op import Array

__all__ = ["product"]


def _has_avx512() -> bool:
    """Whether this processor has it, as NumPy found out: the name is AVX512_SKX, from NumPy 2.4 on X86_V4."""
    extensions: Any = np.show_config(mode="dicts")["SIMD Extensions"]
    names = {*extensions.get("baseline", ()), *extensions.get("found", ())}
    return not names.isdisjoint(("AVX512_SKX", "X86_V4"))


SMALL = 10**6 if _has_avx512() else math.inf
"""Multiplications up to which OpenBLAS does not rearrange the matrices before. Its other kernels rearrange matrices of every
size: in parts, 100 x 784 x 50 takes 1.3 times as long with AVX2."""

LARGE = 8 * SMALL
"""Multiplications from which on that takes little time beside what is computed. Measured in float32 and float64, in units of
the whole product: 0.9 and 0.8 for 64 x 256 x 128 and for 784 x 100 x 50, 0.97 for 512 x 64 x 256."""

FEWEST = 24
"""Rows at a time, but for the last ones: with 15 a part takes as long as before."""


def product(a: Array, b: Array) -> Array:
    """The product a @ b of a matrix and another, or of leading dimensions of matrices."""
    if a.ndim != 2 or not SMALL < len(a) * b.size <= LARGE or SMALL // b.size < FEWEST:
        return np.asarray(a @ b)
    y = np.empty((len(a), b.shape[1]), a.dtype)
    rows = math.ceil(len(a) / math.ceil(len(a) * b.size / SMALL))
    for begin in range(0, len(a), rows):
        np.matmul(a[begin : begin + rows], b, out=y[begin : begin + rows])
    return y
