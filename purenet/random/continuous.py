"""Real random numbers: uniform ones, and functions of them that have other distributions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from purenet.arithmetic import erf, erfinv, multiply_add, rounded, working
from purenet.checks import choice
from purenet.op import Array
from purenet.random.checks import Shape, check_key, checked_dtype, checked_parameter, checked_shape, integer
from purenet.random.threefry import as_bits, words

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["exponential", "gumbel", "normal", "orthogonal", "truncated_normal", "uniform"]

_SOURCE = {"float64": (64, 52), "float32": (32, 23), "float16": (16, 10), "bfloat16": (8, 7)}  # bits drawn, bits kept
_SMALLEST = {"float64": 2.0**-1022, "float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126}  # of the normal numbers


def uniform(key: Array, shape: Shape = (), dtype: DTypeLike = np.float64, minval: Any = 0.0, maxval: Any = 1.0) -> Array:
    """Uniform numbers in [minval, maxval).

    Shapes: key (2,), minval and maxval broadcast to shape -> shape
    Math: u (maxval - minval) + minval, rounded once (in 16 bits: at each step), u = k / 2**m with random k < 2**m and m
        the stored bits of the mantissa.
    Errors: TypeError unless `dtype` is floating and the bounds are real; ValueError where minval > maxval, or the bounds
        do not broadcast to `shape`, or they or their difference are not finite in `dtype`.
    Source: jax.random.uniform. Conventions: one rounding is a fused multiply-add, which XLA emits wherever the processor
        has it; few have one in float16, where XLA then rounds once, too. With bounds other than 0 and 1 rounding can reach
        maxval, here and in JAX, which lets minval > maxval pass.

    >>> from purenet import random
    >>> u = random.uniform(random.key(0), (1000,), minval=-1.0)
    >>> bool(u.min() >= -1), bool(u.max() < 1), abs(float(u.mean())) < 0.1
    (True, True, True)
    """
    check_key("uniform", key)
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
    check_key("normal", key)
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
    check_key("truncated_normal", key)
    dtype = checked_dtype("truncated_normal", dtype)
    if shape is None:
        try:
            shape = np.broadcast_shapes(np.shape(lower), np.shape(upper))
        except ValueError:
            between = f"{np.shape(lower)} and {np.shape(upper)}"
            raise ValueError(f"truncated_normal: lower and upper must broadcast, got {between}") from None
    shape = checked_shape("truncated_normal", shape)
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


def exponential(key: Array, shape: Shape = (), dtype: DTypeLike = np.float64) -> Array:
    """Exponential numbers with mean 1.

    Shapes: key (2,) -> shape
    Math: -log(1 - u) with u uniform in [0, 1).
    Errors: TypeError unless `dtype` is floating.
    Source: jax.random.exponential. Conventions: JAX's numbers to 2 ULP, save in float64 those of size 0.45 to 0.54, where its
        log1p loses up to 120 ULP (see `normal`).

    >>> from purenet import random
    >>> x = random.exponential(random.key(0), (10000,))
    >>> bool(x.min() >= 0), abs(float(x.mean()) - 1) < 0.05
    (True, True)
    """
    check_key("exponential", key)
    shape, dtype = checked_shape("exponential", shape), checked_dtype("exponential", dtype)
    return _uniform(key, np.zeros((), dtype), np.ones((), dtype), shape, dtype, lambda u, _: -np.log1p(-u))


def gumbel(key: Array, shape: Shape = (), dtype: DTypeLike = np.float64, mode: str = "low") -> Array:
    """Gumbel numbers: the argmax of logits plus such numbers is distributed as the softmax of the logits.

    Shapes: key (2,) -> shape
    Math: -log(-log(u)) with u uniform in (0, 1): in steps of eps, so that none exceeds -log(eps), 16 in float32 and 36 in
        float64. Mode "high" draws 1 - u for u, below 1/2 in steps of eps**2, which allows twice that.
    Errors: TypeError unless `dtype` is floating; ValueError for another mode.
    Source: jax.random.gumbel. Conventions: "low" is JAX's default too; its "highest" is not offered. JAX's numbers to 3
        eps (of numbers below 1 the absolute error), save in float64 with "high", where its log1p loses digits (see `normal`).

    >>> from purenet import random
    >>> x = random.gumbel(random.key(0), (10000,))
    >>> abs(float(x.mean()) - 0.5772) < 0.05  # Euler's constant
    True
    """
    check_key("gumbel", key)
    shape, dtype = checked_shape("gumbel", shape), checked_dtype("gumbel", dtype)
    choice("gumbel", "mode", mode, ("low", "high"))
    smallest = working(dtype).type(_SMALLEST[dtype.name])
    zero, one = np.zeros((), dtype), np.ones((), dtype)
    if mode == "low":
        return _uniform(key, zero, one, shape, dtype, lambda u, _: -np.log(rounded(-np.log(np.maximum(u, smallest)), dtype)))
    upper, lower = _uniform(key, zero, one, (2, *shape), dtype).astype(working(dtype))
    fine = rounded(rounded(upper + lower * 0.5 ** _SOURCE[dtype.name][1], dtype) + smallest, dtype)
    return np.asarray(-np.log(rounded(-np.log1p(-np.where(upper >= 0.5, upper, fine)), dtype)), dtype)


def orthogonal(key: Array, n: int, shape: Shape = (), dtype: DTypeLike = np.float64, m: int | None = None) -> Array:
    """Random matrices (n, m) whose rows are orthonormal, or their columns if those are fewer; m is n by default.

    Shapes: key (2,) -> (*shape, n, m)
    Math: q of z = q r (or its transpose where n < m), z normal with at least as many rows as columns, and the diagonal of r
        positive: that makes q unique, and all orthogonal matrices equally likely.
    Errors: TypeError unless `dtype` is floating and `n` and `m` are integers; ValueError where these are negative.
    Source: jax.random.orthogonal; Mezzadri, How to generate random matrices from the classical compact groups (2007).
        Conventions: JAX's numbers to rounding times the condition of z. In 16 bits, which JAX refuses, float32's are rounded.

    >>> import numpy as np
    >>> from purenet import random
    >>> q = random.orthogonal(random.key(0), 3)
    >>> bool(np.allclose(q @ q.T, np.eye(3)))
    True
    """
    check_key("orthogonal", key)
    shape, dtype = checked_shape("orthogonal", shape), checked_dtype("orthogonal", dtype)
    rows = integer("orthogonal", "n", n, 0)
    columns = rows if m is None else integer("orthogonal", "m", m, 0)
    z = normal(key, (*shape, max(rows, columns), min(rows, columns)), working(dtype))
    q, r = np.linalg.qr(z)
    q *= np.copysign(1, np.diagonal(r, axis1=-2, axis2=-1))[..., None, :].astype(q.dtype)
    return np.array(np.swapaxes(q, -1, -2) if rows < columns else q, dtype, order="C")


# ---------------------------------------------------------------------------------- what they share


def _unit(high: Array, low: Array, dtype: np.dtype[Any]) -> Array:
    """Uniform numbers in [0, 1) with all bits that `dtype` keeps below 1; float32 for the 16-bit dtypes."""
    drawn, kept = _SOURCE[dtype.name]
    return (as_bits(high, low, drawn) >> (drawn - kept)).astype(working(dtype)) * 0.5**kept


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
    for block, first, second in words(key, out.size):
        u = _unit(first, second, dtype)
        if not unit_interval:
            start, width = (low[block], span[block]) if span.ndim else (low, span)
            u = multiply_add(u, width, start, dtype)
        out[block] = last(u, dtype) if last else u
    return out.reshape(shape)


def _normal(u: Array, dtype: np.dtype[Any]) -> Array:
    """sqrt(2) erfinv(u)."""
    root = rounded(np.asarray(math.sqrt(2.0), working(dtype)), dtype)
    return rounded(erfinv(u), dtype) * root
