"""Random decisions: of booleans, integers and categories, of orders and of entries of an array."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from purenet.arrays import Array, is_floating
from purenet.checks import array_of, boolean, one_axis
from purenet.random.checks import (
    Shape,
    any_dtype,
    check_broadcast,
    check_key,
    checked_dtype,
    checked_parameter,
    checked_shape,
    integer,
)
from purenet.random.continuous import gumbel, uniform
from purenet.random.threefry import bits, split

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["bernoulli", "categorical", "choice", "permutation", "randint"]

_WORD = 0xFFFFFFFF


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
    check_key("bernoulli", key)
    p = np.asarray(p)
    if not is_floating(p.dtype):
        raise TypeError(f"bernoulli: p must be a floating-point number or an array of them, got {p.dtype}")
    shape = p.shape if shape is None else checked_shape("bernoulli", shape)
    probability = checked_parameter("bernoulli", "p", p, shape, checked_dtype("bernoulli", p.dtype))
    if not np.all((probability >= 0) & (probability <= 1)):
        raise ValueError(f"bernoulli: p must lie in [0, 1], got {p}")
    return np.asarray(uniform(key, shape, probability.dtype) < probability)


def randint(key: Array, shape: Shape, minval: Any, maxval: Any, dtype: DTypeLike = np.int64) -> Array:
    """Uniform integers in minval, ..., maxval - 1.

    Shapes: key (2,), minval and maxval broadcast to shape -> shape
    Math: minval + (h 2**w + l) mod (maxval - minval), with random integers h and l of w = 64 bits, or 32 for a `dtype` with
        fewer than 64. All are equally likely to (maxval - minval) / 2**w, more or less.
    Errors: TypeError unless `dtype` is an integer type and the bounds are integers; ValueError where minval >= maxval, or the
        bounds do not broadcast to `shape`, or a number below maxval is none of `dtype`.
    Source: jax.random.randint. Conventions: JAX cuts bounds that `dtype` cannot hold, and gives minval where minval >= maxval.

    >>> from purenet import random
    >>> sorted(set(random.randint(random.key(0), (100,), 1, 7).tolist()))
    [1, 2, 3, 4, 5, 6]
    """
    check_key("randint", key)
    shape, kind = checked_shape("randint", shape), any_dtype("randint", dtype)
    if kind.kind not in "iu":
        raise TypeError(f"randint: dtype must be an integer type, got {kind}")
    low, high = (_bound(name, value, shape) for name, value in (("minval", minval), ("maxval", maxval)))
    limits = np.iinfo(kind)
    if np.any(low < limits.min) or np.any(high - 1 > limits.max):
        raise ValueError(f"randint: minval and maxval - 1 must be in {limits.min}..{limits.max}, got {minval} and {maxval}")
    if not np.all(low < high):
        raise ValueError(f"randint: minval must be less than maxval, got {minval} and {maxval}")
    width = max(32, limits.bits)
    word = np.dtype(f"uint{width}")
    span, start = (np.asarray(x % 2**width, word) for x in (high - low, low))
    upper, lower = (bits(subkey, shape, word) for subkey in split(key))
    with np.errstate(over="ignore"):  # in words it wraps, and is meant to
        return np.asarray(_modulo(upper, lower, span) + start).astype(kind.newbyteorder("="))


def categorical(
    key: Array, logits: Any, axis: int = -1, shape: Shape | None = None, replace: bool = True, mode: str = "low"
) -> Array:
    """Categories 0, ..., C - 1, drawn with the probabilities softmax(logits).

    Shapes: key (2,), logits (..., C, ...) with C at `axis` -> shape, to which logits without that axis broadcast; without
        one, the shape of these
    Math: argmax over C of logits + g with Gumbel numbers g of their dtype; of equal ones the first. Without replacement, the
        samples along the dimensions of `shape` ahead of those of logits are the largest, the second largest, ...
    Errors: TypeError unless logits are floating; ValueError where the axis is out of range, the shape does not match, a logit
        is NaN or infinity, there are fewer categories above -infinity than to be drawn, or for a mode `gumbel` does not know.
    Source: jax.random.categorical; Kool et al. (2019) for samples without replacement. Conventions: JAX's categories, save
        where two are equal to rounding. With mode "low", the default there too, categories of a probability below eps are
        drawn too rarely. JAX draws something where too few are possible, and without replacement its indices are int32.

    >>> import numpy as np
    >>> from purenet import random
    >>> drawn = random.categorical(random.key(0), np.log([0.2, 0.8]), shape=(10000,))
    >>> abs(float(drawn.mean()) - 0.8) < 0.02
    True
    """
    check_key("categorical", key)
    boolean("categorical", "replace", replace)
    x = array_of("categorical", "logits", logits)
    if not is_floating(x.dtype):
        raise TypeError(f"categorical: logits must be a floating-point array, got {x.dtype}")
    axis = one_axis("categorical", axis, x)
    rest = x.shape[:axis] + x.shape[axis + 1 :]
    shape = rest if shape is None else checked_shape("categorical", shape)
    prefix, own = shape[: len(shape) - len(rest)], shape[len(shape) - len(rest) :]
    if not (x < np.inf).all():
        raise ValueError(f"categorical: logits must be numbers below infinity, got {x[~(x < np.inf)][0]}")
    draws = 1 if replace else math.prod(prefix)
    possible = int((x > -np.inf).sum(axis).min(initial=x.shape[axis]))
    if possible < draws:
        raise ValueError(f"categorical: logits must leave at least {draws} possible (above -inf), got {possible}")
    if not replace:
        if own != rest:
            raise ValueError(f"categorical: shape must end in {rest} where nothing is replaced, got {shape}")
        order = np.argsort(-(x + gumbel(key, x.shape, x.dtype, mode)), axis, kind="stable")
        return np.moveaxis(np.take(order, np.arange(draws), axis), axis, 0).reshape(shape)
    if len(shape) < len(rest) or any(a not in (1, b) for a, b in zip(rest, own, strict=True)):
        raise ValueError(f"categorical: shape must be one that {rest} broadcasts to, got {shape}")
    own = (*own[:axis], x.shape[axis], *own[axis:])
    return np.asarray(np.argmax(x + gumbel(key, (*prefix, *own), x.dtype, mode), len(prefix) + axis))


def choice(
    key: Array, a: int | Array, shape: Shape = (), replace: bool = True, p: Any = None, axis: int = 0, mode: str = "low"
) -> Array:
    """Entries of `a` along an axis, drawn at random; of 0, ..., a - 1 where `a` is an integer.

    Shapes: key (2,), a (..., N, ...) with N at `axis`, or an integer N, p (N,) -> (..., *shape, ...)
    Math: with replacement, entry `randint`, or with probabilities p the first whose p_1 + ... + p_i reaches (1 - u) sum p;
        without, the first of a `permutation`, or those of the largest log p + g with Gumbel numbers g.
    Errors: TypeError unless `a` is an integer or an array of at least one dimension, and p are real numbers, of 32 bits at
        least; ValueError for another shape of p, where one is negative or not finite or no entry is possible, where more
        entries are to be drawn than there are without replacement, or for an axis out of range.
    Source: jax.random.choice. Conventions: JAX's entries without p; with p, save where rounding decides. The probabilities
        need not sum to 1. JAX draws something where too few entries are possible. `mode` is that of `gumbel`.

    >>> from purenet import random
    >>> sorted(random.choice(random.key(0), 5, (5,), replace=False).tolist())
    [0, 1, 2, 3, 4]
    """
    check_key("choice", key)
    boolean("choice", "replace", replace)
    shape, array = checked_shape("choice", shape), _entries("choice", "a", a)
    axis = integer("choice", "axis", axis, -array.ndim, array.ndim - 1) % array.ndim
    n, draws = array.shape[axis], math.prod(shape)
    weights = None if p is None else _probabilities(p, n)
    possible = n if weights is None else np.count_nonzero(weights)
    needed = min(draws, 1) if replace else draws
    if possible < needed:
        raise ValueError(f"choice: a and p must leave at least {needed} possible, got {possible}")
    if weights is None and replace:
        drawn = randint(key, shape, 0, max(n, 1))
    elif weights is None:
        drawn = _order(key, (n,), 0)[:draws].reshape(shape)
    elif replace:
        total = np.cumsum(weights)
        drawn = np.searchsorted(total, total[-1] * (1 - uniform(key, shape, weights.dtype))) if draws else np.zeros(shape, int)
    else:
        with np.errstate(divide="ignore"):
            g = gumbel(key, (n,), weights.dtype, mode) + np.log(weights)
        drawn = np.argsort(-g, kind="stable")[:draws].reshape(shape)
    return np.asarray(np.take(array, drawn, axis))


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
    check_key("permutation", key)
    array = _entries("permutation", "x", x)
    axis = integer("permutation", "axis", axis, -array.ndim, array.ndim - 1) % array.ndim
    if boolean("permutation", "independent", independent):
        return np.take_along_axis(array, _order(key, array.shape, axis), axis)
    return np.take(array, _order(key, (array.shape[axis],), 0), axis)


# ---------------------------------------------------------------------------------- what they share


def _entries(op: str, name: str, x: Any) -> Array:
    """`x`, or the range of the integer that it is."""
    if isinstance(x, np.ndarray) and x.ndim:
        return x
    if isinstance(x, np.ndarray | int | np.integer):
        return np.arange(integer(op, name, x, 0))
    raise TypeError(f"{op}: {name} must be an integer or an array of at least one dimension, got {type(x).__name__}")


def _bound(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """A bound of `randint` as Python's integers, which neither overflow nor lose digits beside others."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu" and not (isinstance(value, int) and array.dtype == object):
        raise TypeError(f"randint: {name} must be an integer or an array of them, got {array.dtype}")
    check_broadcast("randint", name, array, shape)
    return array.astype(object)


def _modulo(upper: Array, lower: Array, span: Array) -> Array:
    """(upper 2**w + lower) mod span in words of w bits, as JAX computes it: a span beyond 2**(w / 2) loses the upper word."""
    one = span.dtype.type(1)
    divisor = np.where(span == 0, one, span)  # 0 stands for 2**w, of which nothing is left to divide
    half = np.asarray(2 ** (4 * span.itemsize), span.dtype) % divisor
    return np.where(span == 0, lower, (upper % divisor * (half * half % divisor) + lower % divisor) % divisor)


def _probabilities(p: Any, n: int) -> Array:
    """The probabilities of `choice`, checked."""
    array = np.asarray(p)
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if not is_floating(array.dtype) or array.itemsize < 4:
        raise TypeError(f"choice: p must be an array of real numbers of 32 bits at least, got {array.dtype}")
    if array.shape != (n,):
        raise ValueError(f"choice: p must have shape ({n},), one for each entry, got {array.shape}")
    bad = ~((array >= 0) & (array < np.inf))
    if bad.any():
        raise ValueError(f"choice: p must be finite and at least 0, got {array[bad][0]}")
    return array


def _order(key: Array, shape: tuple[int, ...], axis: int) -> Array:
    """Indices that shuffle along `axis`."""
    size = max(1, math.prod(shape))
    order = np.broadcast_to(np.expand_dims(np.arange(shape[axis]), [i for i in range(len(shape)) if i != axis]), shape)
    for _ in range(math.ceil(3 * math.log(size) / math.log(_WORD))):  # a collision that lasts has odds below 1 / size
        key, subkey = split(key)
        order = np.take_along_axis(order, np.argsort(bits(subkey, shape), axis, kind="stable"), axis)
    return order
