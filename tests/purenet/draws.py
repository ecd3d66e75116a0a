"""What the tests of `purenet.random` share: dtypes, shapes and keys, and comparisons with JAX."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import ml_dtypes
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

if TYPE_CHECKING:
    pass

Array = NDArray[Any]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = [np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.float16), BFLOAT16]
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
MANY = 40_001  # three blocks
SHAPES = [(), (0,), (1,), (7,), (2, 3), (3, 1, 4), (2, 0), (MANY,)]
BOUNDS = [(0.0, 1.0), (-1.0, 1.0), (0.1, 0.3), (5.0, 1000.3), (-0.7, 0.31), (2.0, 2.0)]

examples = settings(derandomize=True, max_examples=25, deadline=None)
seeds = st.integers(0, 2**63 - 1)
keys = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)).map(lambda words: np.array(words, np.uint32))


def jax_key(key: Array) -> Any:
    return jax.random.wrap_key_data(jax.numpy.asarray(key), impl="threefry2x32")


def first_of(many: Array, shape: tuple[int, ...]) -> Array:
    """What JAX draws in this shape: it numbers the elements in order. One shape, because JAX compiles for each."""
    return many[: math.prod(shape)].reshape(shape)


def assert_same_bits(ours: Array, theirs: Array) -> None:
    assert isinstance(ours, np.ndarray)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    assert ours.tobytes() == theirs.tobytes()


def ulps(ours: Array, theirs: Array) -> Array:
    """How many floating-point numbers lie between."""
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    kind = np.dtype(f"int{8 * ours.itemsize}")
    patterns = [np.atleast_1d(x).view(kind).astype(np.int64) for x in (ours, theirs)]
    ordered = [np.where(p < 0, np.iinfo(kind).min - p, p) for p in patterns]
    distance: Array = np.abs(ordered[0] - ordered[1])
    return distance
