"""The generator: keys, and the random bits of a key, by the hash threefry2x32."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from purenet.op import Array
from purenet.random.checks import Shape, any_dtype, check_key, checked_shape, integer

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["as_bits", "bits", "fold_in", "key", "split", "threefry2x32", "words"]

_WORD = 0xFFFFFFFF
_PARITY = 0x1BD11BDA
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_BLOCK = 1 << 14  # numbers made at a time: their temporaries stay in the cache


def key(seed: int) -> Array:
    """The key of a seed: its upper and lower 32 bits.

    Shapes: -> (2,) uint32
    Errors: TypeError unless `seed` is an integer, ValueError unless 0 <= seed < 2**63.
    Source: jax.random.key with x64 enabled. Conventions: see the module's first lines.

    >>> from purenet import random
    >>> random.key(42)
    array([ 0, 42], dtype=uint32)
    """
    seed = integer("key", "seed", seed, 0, 2**63 - 1)
    return _frozen(np.array([seed >> 32, seed & _WORD], np.uint32))


def split(key: Array, num: int | Shape = 2) -> Array:
    """`num` new keys, independent of each other and of `key`, which is not to be used again.

    Shapes: key (2,) -> (num, 2), or (*num, 2) for a shape
    Math: the i-th is the threefry hash of the counter i, the same as `fold_in(key, i)`.
    Errors: TypeError or ValueError unless `num` is a positive integer or a shape of such.
    Source: jax.random.split. Conventions: JAX allows 0 keys; here it is an error.

    >>> from purenet import random
    >>> first, second = random.split(random.key(0))
    >>> bool((second == random.fold_in(random.key(0), 1)).all())
    True
    """
    check_key("split", key)
    numbers = num if isinstance(num, list | tuple) else (num,)
    shape = tuple(integer("split", "num", n, 1) for n in numbers)
    keys = np.empty((math.prod(shape), 2), np.uint32)
    for block, high, low in words(key, len(keys)):
        keys[block, 0], keys[block, 1] = high, low
    return _frozen(keys.reshape(*shape, 2))


def fold_in(key: Array, data: int) -> Array:
    """The key of (`key`, `data`): one per step or layer, say, without splitting in advance.

    Shapes: key (2,) -> (2,)
    Math: the threefry hash of the counter `data`.
    Errors: TypeError unless `data` is an integer, ValueError unless 0 <= data < 2**32.
    Source: jax.random.fold_in; the doctest is the first known answer of Random123 (Salmon et al. 2011).

    >>> from purenet import random
    >>> [hex(word) for word in random.fold_in(random.key(0), 0)]
    ['0x6b200159', '0x99ba4efe']
    """
    check_key("fold_in", key)
    data = integer("fold_in", "data", data, 0, _WORD)
    return _frozen(np.concatenate(threefry2x32(key, data, data + 1)))


def bits(key: Array, shape: Shape = (), dtype: DTypeLike = np.uint32) -> Array:
    """Uniform random bits, as unsigned integers.

    Shapes: key (2,) -> shape
    Math: with (a, b) the threefry hash of the element's index: a * 2**32 + b for uint64, else the lower bits of a ^ b.
    Errors: TypeError unless `dtype` is uint8, uint16, uint32 or uint64.
    Source: jax.random.bits. Conventions: the default is uint32; JAX's is uint64 with x64 enabled.

    >>> from purenet import random
    >>> hex(random.bits(random.key(0))), hex(0x6B200159 ^ 0x99BA4EFE)  # compare fold_in
    ('0xf29a4fa7', '0xf29a4fa7')
    """
    check_key("bits", key)
    shape = checked_shape("bits", shape)
    kind = any_dtype("bits", dtype)
    if kind.kind != "u":
        raise TypeError(f"bits: dtype must be uint8, uint16, uint32 or uint64, got {kind}")
    out = np.empty(math.prod(shape), kind.newbyteorder("="))
    for block, high, low in words(key, out.size):
        out[block] = as_bits(high, low, kind.itemsize * 8)
    return out.reshape(shape)


# ---------------------------------------------------------------------------------------- the hash


def threefry2x32(key: Array, start: int, stop: int) -> tuple[Array, Array]:
    """The two words that threefry2x32 (20 rounds) gives for the 64-bit counters start, ..., stop - 1.

    The upper halves of the counters must agree.
    """
    first, second = (int(word) for word in key)
    schedule = (first, second, first ^ second ^ _PARITY)
    low = np.arange(start & _WORD, (start & _WORD) + stop - start, dtype=np.uint64).astype(np.uint32)
    low += schedule[1]
    high = np.full(stop - start, (schedule[0] + (start >> 32)) & _WORD, np.uint32)
    rotated = np.empty_like(low)
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            high += low
            np.left_shift(low, distance, out=rotated)
            low >>= 32 - distance
            low |= rotated
            low ^= high
        high += schedule[(group + 1) % 3]
        low += (schedule[(group + 2) % 3] + group + 1) & _WORD
    return high, low


def words(key: Array, size: int) -> Iterator[tuple[slice, Array, Array]]:
    """The words of the counters 0, ..., size - 1, block by block."""
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        yield slice(start, stop), *threefry2x32(key, start, stop)


def as_bits(high: Array, low: Array, width: int) -> Array:
    """The words as unsigned integers of `width` bits."""
    if width == 64:
        return high.astype(np.uint64) << 32 | low
    return (high ^ low).astype(f"uint{width}")


def _frozen(keys: Array) -> Array:
    keys.flags.writeable = False
    return keys
