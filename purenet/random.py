"""Random numbers as pure functions of a key: the threefry generator of `jax.random`, in NumPy.

    key = random.key(0)                                # from a seed
    for_weights, for_dropout = random.split(key)       # independent keys; use each one once
    w = random.normal(for_weights, (784, 50))

A key is a NumPy array of dtype uint32 and shape (2,): `jax.random.key_data` of JAX's key. Nothing else is accepted as
one, and the keys made here are read-only. The same key gives the same numbers, always, and the same as `jax.random`
does (threefry2x32 with `jax_threefry_partitionable`, the default): `bits`, `uniform`, `bernoulli` and `permutation` bit
for bit, `normal` and `truncated_normal` to rounding.

Conventions: the default dtype is NumPy's, float64, where JAX's is float32 unless its x64 flag is set; numbers of
different dtypes come from different bits. `key(seed)` is JAX's key with x64 enabled. For seeds below 2**32 the flag
makes no difference; without it JAX drops the upper half of a larger seed, so that 2**32 and 0 are the same to it. Negative
seeds, whose keys depend on the flag, are errors here. float16 and bfloat16 are rounded after each step, as XLA does.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from purenet.arithmetic import erf, erfinv, multiply_add, rounded, working
from purenet.op import Array, is_floating

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["bernoulli", "bits", "fold_in", "key", "normal", "permutation", "split", "truncated_normal", "uniform"]

Shape: TypeAlias = Sequence[int]

_WORD = 0xFFFFFFFF
_PARITY = 0x1BD11BDA
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_BLOCK = 1 << 14  # numbers made at a time: their temporaries stay in the cache
_SOURCE = {"float64": (64, 52), "float32": (32, 23), "float16": (16, 10), "bfloat16": (8, 7)}  # bits drawn, bits kept


# ---------------------------------------------------------------------------------------------------- keys


def key(seed: int) -> Array:
    """The key of a seed: its upper and lower 32 bits.

    Shapes: -> (2,) uint32
    Errors: TypeError unless `seed` is an integer, ValueError unless 0 <= seed < 2**63.
    Source: jax.random.key with x64 enabled. Conventions: see the module's first lines.

    >>> from purenet import random
    >>> random.key(42)
    array([ 0, 42], dtype=uint32)
    """
    seed = _integer("key", "seed", seed, 0, 2**63 - 1)
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
    _check_key("split", key)
    numbers = num if isinstance(num, list | tuple) else (num,)
    shape = tuple(_integer("split", "num", n, 1) for n in numbers)
    keys = np.empty((math.prod(shape), 2), np.uint32)
    for block, high, low in _words(key, len(keys)):
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
    _check_key("fold_in", key)
    data = _integer("fold_in", "data", data, 0, _WORD)
    return _frozen(np.concatenate(_threefry(key, data, data + 1)))


# ----------------------------------------------------------------------------------------------- samplers


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
    _check_key("bits", key)
    shape = checked_shape("bits", shape)
    kind = _dtype("bits", dtype)
    if kind.kind != "u":
        raise TypeError(f"bits: dtype must be uint8, uint16, uint32 or uint64, got {kind}")
    out = np.empty(math.prod(shape), kind.newbyteorder("="))
    for block, high, low in _words(key, out.size):
        out[block] = _bits(high, low, kind.itemsize * 8)
    return out.reshape(shape)


def uniform(key: Array, shape: Shape = (), dtype: DTypeLike = np.float64, minval: Any = 0.0, maxval: Any = 1.0) -> Array:
    """Uniform numbers in [minval, maxval).

    Shapes: key (2,), minval and maxval broadcast to shape -> shape
    Math: u (maxval - minval) + minval, rounded once (in 16 bits: at each step), u = k / 2**m with random k < 2**m and m
        the stored bits of the mantissa.
    Errors: TypeError unless `dtype` is floating and the bounds are real; ValueError where minval > maxval, or the bounds
        do not broadcast to `shape`, or they or their difference are not finite in `dtype`.
    Source: jax.random.uniform. Conventions: one rounding is a fused multiply-add, which XLA emits wherever the processor
        has it. With bounds other than 0 and 1 rounding can reach maxval, here and in JAX, which lets minval > maxval pass.

    >>> from purenet import random
    >>> u = random.uniform(random.key(0), (1000,), minval=-1.0)
    >>> bool(u.min() >= -1), bool(u.max() < 1), abs(float(u.mean())) < 0.1
    (True, True, True)
    """
    _check_key("uniform", key)
    shape, dtype = checked_shape("uniform", shape), checked_dtype("uniform", dtype)
    low, high = (
        checked_parameter("uniform", name, value, shape, dtype) for name, value in (("minval", minval), ("maxval", maxval))
    )
    if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high))):
        raise ValueError(f"uniform: minval and maxval must be finite in {dtype}, got {minval} and {maxval}")
    if np.any(low > high):
        raise ValueError(f"uniform: minval must not exceed maxval, got {minval} and {maxval}")
    with np.errstate(over="ignore"):
        if not np.all(np.isfinite(high - low)):
            raise ValueError(f"uniform: maxval - minval must be finite in {dtype}, got {minval} and {maxval}")
    return _uniform(key, low, high, shape, dtype)


def normal(key: Array, shape: Shape = (), dtype: DTypeLike = np.float64) -> Array:
    """Normal numbers with mean 0 and standard deviation 1.

    Shapes: key (2,) -> shape
    Math: sqrt(2) erfinv(u) with u uniform in (-1, 1).
    Errors: TypeError unless `dtype` is floating.
    Source: jax.random.normal; erfinv after Giles (2012), as in XLA. Conventions: JAX's numbers to 4 ULP, save in float64
        those of size 0.87 to 0.93, one in thirty: there the log1p of XLA lost some 30 ULP on a CPU, in jaxlib 0.10.

    >>> from purenet import random
    >>> z = random.normal(random.key(0), (10000,))
    >>> abs(float(z.mean())) < 0.05, abs(float(z.std()) - 1) < 0.05
    (True, True)
    """
    _check_key("normal", key)
    shape, dtype = checked_shape("normal", shape), checked_dtype("normal", dtype)
    one = np.ones((), dtype)
    return _uniform(key, np.asarray(np.nextafter(-one, one)), one, shape, dtype, _normal)


def truncated_normal(key: Array, lower: Any, upper: Any, shape: Shape | None = None, dtype: DTypeLike = np.float64) -> Array:
    """Normal numbers (mean 0 and standard deviation 1 before truncation) between `lower` and `upper`.

    Shapes: key (2,), lower and upper broadcast to shape -> shape; without one, the shape of their broadcast
    Math: sqrt(2) erfinv(u) with u uniform in [erf(lower / sqrt(2)), erf(upper / sqrt(2))), clipped to the open interval.
    Errors: TypeError unless `dtype` is floating and the bounds are real; ValueError where lower >= upper, or the bounds do
        not broadcast to `shape`, or lie so far out that erf does not tell them apart in `dtype`.
    Source: jax.random.truncated_normal. Conventions: JAX's numbers to a few roundings of u, which count for more in the
        tails. Infinite bounds are allowed. Where erf does not tell the bounds apart JAX returns a constant.

    >>> from purenet import random
    >>> z = random.truncated_normal(random.key(0), -2.0, 2.0, (10000,))
    >>> bool((abs(z) < 2).all()), abs(float(z.std()) - 0.88) < 0.02
    (True, True)
    """
    _check_key("truncated_normal", key)
    dtype = checked_dtype("truncated_normal", dtype)
    shape = _broadcast(lower, upper) if shape is None else checked_shape("truncated_normal", shape)
    low = checked_parameter("truncated_normal", "lower", lower, shape, dtype)
    high = checked_parameter("truncated_normal", "upper", upper, shape, dtype)
    if not np.all(low < high):
        raise ValueError(f"truncated_normal: lower must be less than upper, got {lower} and {upper}")
    a, b = erf(low, dtype), erf(high, dtype)
    if not np.all(a < b):
        raise ValueError(f"truncated_normal: erf does not tell lower and upper apart in {dtype}, got {lower} and {upper}")
    z = _uniform(key, a, b, shape, dtype, _normal)
    infinity = np.full((), np.inf, dtype)
    return np.clip(z, np.nextafter(low, infinity), np.nextafter(high, -infinity), out=z)


def bernoulli(key: Array, p: Any = 0.5, shape: Shape | None = None) -> Array:
    """Booleans that are true with probability `p`.

    Shapes: key (2,), p broadcasts to shape -> shape; without one, the shape of p
    Math: u < p with u uniform in [0, 1), of p's dtype.
    Errors: TypeError unless `p` is floating; ValueError unless 0 <= p <= 1 and p broadcasts to `shape`.
    Source: jax.random.bernoulli. Conventions: a Python float is float64, as in JAX with x64 enabled.

    >>> from purenet import random
    >>> bool(random.bernoulli(random.key(0), 1.0)), bool(random.bernoulli(random.key(0), 0.0))
    (True, False)
    """
    _check_key("bernoulli", key)
    p = np.asarray(p)
    if not is_floating(p.dtype):
        raise TypeError(f"bernoulli: p must be a floating-point number or an array of them, got {p.dtype}")
    shape = p.shape if shape is None else checked_shape("bernoulli", shape)
    probability = checked_parameter("bernoulli", "p", p, shape, checked_dtype("bernoulli", p.dtype))
    if not np.all((probability >= 0) & (probability <= 1)):
        raise ValueError(f"bernoulli: p must lie in [0, 1], got {p}")
    return np.asarray(uniform(key, shape, probability.dtype) < probability)


def permutation(key: Array, x: int | Array, axis: int = 0, independent: bool = False) -> Array:
    """The entries of `x` in random order along an axis; of 0, ..., x - 1 where `x` is an integer.

    Shapes: key (2,), x (...) -> (...), or x an integer -> (x,)
    Math: `x` sorted by random 32-bit numbers, in as many rounds as make collisions of them harmless. Slices move as a
        whole, or each vector along the axis by itself where `independent`.
    Errors: TypeError unless `x` is an integer or an array of at least one dimension; ValueError where `x` is negative or
        `axis` out of range.
    Source: jax.random.permutation. Conventions: JAX takes a negative integer for 0.

    >>> from purenet import random
    >>> sorted(random.permutation(random.key(0), 5).tolist())
    [0, 1, 2, 3, 4]
    """
    _check_key("permutation", key)
    if isinstance(x, np.ndarray) and x.ndim:
        array: Array = x
    elif isinstance(x, np.ndarray | int | np.integer):
        array = np.arange(_integer("permutation", "x", x, 0))
    else:
        raise TypeError(f"permutation: x must be an integer or an array of at least one dimension, got {type(x).__name__}")
    axis = _integer("permutation", "axis", axis, -array.ndim, array.ndim - 1) % array.ndim
    if independent:
        return np.take_along_axis(array, _order(key, array.shape, axis), axis)
    return np.take(array, _order(key, (array.shape[axis],), 0), axis)


# ------------------------------------------------------------------------------------------- the generator


def _threefry(key: Array, start: int, stop: int) -> tuple[Array, Array]:
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


def _words(key: Array, size: int) -> Iterator[tuple[slice, Array, Array]]:
    """The words of the counters 0, ..., size - 1, block by block."""
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        yield slice(start, stop), *_threefry(key, start, stop)


def _bits(high: Array, low: Array, width: int) -> Array:
    if width == 64:
        return high.astype(np.uint64) << 32 | low
    return (high ^ low).astype(f"uint{width}")


def _unit(high: Array, low: Array, dtype: np.dtype[Any]) -> Array:
    """Uniform numbers in [0, 1) with all bits that `dtype` keeps below 1; float32 for the 16-bit dtypes."""
    drawn, kept = _SOURCE[dtype.name]
    return (_bits(high, low, drawn) >> (drawn - kept)).astype(working(dtype)) * 0.5**kept


def _uniform(
    key: Array, low: Array, high: Array, shape: tuple[int, ...], dtype: np.dtype[Any], last: Callable[..., Array] | None = None
) -> Array:
    """Uniform numbers in [low, high), then `last(numbers, dtype)` of them; block by block."""
    wide = working(dtype)
    span = rounded(high.astype(wide) - low.astype(wide), dtype)
    low = low.astype(wide)
    unit_interval = span.ndim == 0 and low == 0 and span == 1
    if span.ndim:
        low, span = (np.broadcast_to(bound, shape).reshape(-1) for bound in (low, span))
    out = np.empty(math.prod(shape), dtype)
    for block, *words in _words(key, out.size):
        u = _unit(words[0], words[1], dtype)
        if not unit_interval:
            start, width = (low[block], span[block]) if span.ndim else (low, span)
            u = multiply_add(u, width, start, dtype)
        out[block] = last(u, dtype) if last else u
    return out.reshape(shape)


def _normal(u: Array, dtype: np.dtype[Any]) -> Array:
    """sqrt(2) erfinv(u)."""
    root = rounded(np.asarray(math.sqrt(2.0), working(dtype)), dtype)
    return rounded(erfinv(u), dtype) * root


def _order(key: Array, shape: tuple[int, ...], axis: int) -> Array:
    """Indices that shuffle along `axis`."""
    size = max(1, math.prod(shape))
    order = np.broadcast_to(np.expand_dims(np.arange(shape[axis]), [i for i in range(len(shape)) if i != axis]), shape)
    for _ in range(math.ceil(3 * math.log(size) / math.log(_WORD))):  # a collision that lasts has odds below 1 / size
        key, subkey = split(key)
        order = np.take_along_axis(order, np.argsort(bits(subkey, shape), axis, kind="stable"), axis)
    return order


# ------------------------------------------------------------------------------------------------- checks


def checked_shape(op: str, shape: Any) -> tuple[int, ...]:
    """`shape` as a tuple of integers, none of them negative."""
    if not isinstance(shape, list | tuple):
        raise TypeError(f"{op}: shape must be a tuple of integers, got {shape!r}")
    return tuple(_integer(op, "every dimension of shape", n, 0) for n in shape)


def checked_dtype(op: str, dtype: DTypeLike) -> np.dtype[Any]:
    """`dtype` as the dtype of floating-point numbers that it names, in native byte order."""
    kind = _dtype(op, dtype)
    if not is_floating(kind):
        raise TypeError(f"{op}: dtype must be float64, float32, float16 or bfloat16, got {kind}")
    return kind if kind.isnative else kind.newbyteorder("=")


def _dtype(op: str, dtype: DTypeLike) -> np.dtype[Any]:
    try:
        return np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{op}: dtype must be a NumPy dtype, got {dtype!r}") from None


def _check_key(op: str, key: Any) -> None:
    if not isinstance(key, np.ndarray):
        raise TypeError(
            f"{op}: key must be a NumPy array of dtype uint32 and shape (2,), got {type(key).__name__} "
            "(of a JAX key, take np.asarray(jax.random.key_data(key)))"
        )
    if key.dtype != np.uint32:
        raise TypeError(f"{op}: key must have dtype uint32, got {key.dtype}")
    if key.shape != (2,):
        raise ValueError(f"{op}: key must have shape (2,), got {key.shape}")


def _integer(op: str, name: str, value: Any, low: int, high: int | None = None) -> int:
    """`value` as an integer from low to high."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{op}: {name} must be an integer, got {value!r}")
    if number < low or (high is not None and number > high):
        bounds = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"{op}: {name} must be {bounds}, got {number}")
    return number


def checked_parameter(op: str, name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A number or array that broadcasts to `shape`, in `dtype`."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu" and not is_floating(array.dtype):
        raise TypeError(f"{op}: {name} must be a real number or an array of them, got {array.dtype}")
    try:
        fits = np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{op}: {name} must broadcast to shape {shape}, got {array.shape}")
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _broadcast(lower: Any, upper: Any) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(np.shape(lower), np.shape(upper))
    except ValueError:
        raise ValueError(
            f"truncated_normal: lower and upper must broadcast, got {np.shape(lower)} and {np.shape(upper)}"
        ) from None


def _frozen(keys: Array) -> Array:
    keys.flags.writeable = False
    return keys
