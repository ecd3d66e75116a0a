"""What the functions of single entries share: a choice of numbers, the logistic function, the normal distribution.

Up to PLAIN entries each is the plain formula. Above, it is the same function without a branch at each entry and without code
that computes entry by entry: `np.where` takes ten times as long where its mask has no pattern, scipy's `expit` and
`ndtr` five times.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from purenet.op import Array
from purenet.scipy_parts import expit, ndtr

__all__ = [
    "PLAIN",
    "SMALL",
    "at_least",
    "at_most",
    "falling",
    "normal",
    "sigmoid_of",
    "sigmoids_of",
    "slope_of",
    "step",
    "where",
]

PLAIN = 400
"""Entries up to which the plain formulas are used: below, the calls take longer than the entries (equal at 500 to 2,000). It is
low, so that cases of the catalogue use the fast bodies, too."""

SMALL = 8000
"""Entries up to which `np.maximum` is faster than `np.clip`, whose call takes 1.5 microseconds more."""

BITS: dict[Any, Any] = {np.dtype(np.float32): np.dtype(np.uint32), np.dtype(np.float64): np.dtype(np.uint64)}
"""The integers of the same size as a floating-point number."""


SIGN: dict[Any, Any] = {np.dtype(np.float32): np.uint32(2**31), np.dtype(np.float64): np.uint64(2**63)}
"""The bit of the sign."""


def where(mask: Array, x: Any, y: Any) -> Array:
    """The number x where the mask is true, else y, whatever is in the other; one of both may be a number, as in `np.where`.

    The fast body multiplies bits, read as integers, by 1 or 0: an infinite number or a NaN that is not chosen leaves no trace.
    """
    dtype = getattr(x, "dtype", getattr(y, "dtype", None))
    if type(y) is int and y == 0 and type(x) is np.ndarray and mask.size > PLAIN and x.dtype in BITS:
        return np.asarray((x.view(BITS[x.dtype]) * mask).view(x.dtype))
    if mask.size <= PLAIN or dtype not in BITS or not (_fits(x, dtype) and _fits(y, dtype)):
        return np.asarray(np.where(mask, x, y))
    first, second = (np.asarray(a, dtype).view(BITS[dtype]) for a in (x, y))
    chosen = (first ^ second) * mask
    chosen ^= second
    return np.asarray(chosen.view(dtype))


def _fits(a: Any, dtype: Any) -> bool:
    """Whether it is of this dtype, or becomes so beside an array of it."""
    return type(a) in (int, float) or (isinstance(a, np.ndarray | np.generic) and a.dtype in (dtype, np.bool_))


def at_least(x: Array, bound: Any) -> Array:
    """The larger of both, and 0.0 for a -0.0 beside 0, as `np.maximum`, which takes three times as long for one number."""
    if x.size <= SMALL or type(bound) not in (int, float):
        return np.asarray(np.maximum(x, bound))
    y = np.clip(x, bound, np.inf)
    if bound == 0:
        y += 0.0
    return np.asarray(y)


def at_most(x: Array, bound: Any) -> Array:
    """The smaller of both, as `at_least`."""
    if x.size <= SMALL or type(bound) not in (int, float):
        return np.asarray(np.minimum(x, bound))
    y = np.clip(x, -np.inf, bound)
    if bound == 0:
        y += 0.0
    return np.asarray(y)


def step(x: Array) -> Array:
    """1 above 0, 1/2 at 0 and 0 below: `np.heaviside(x, 0.5)`, which takes a branch at each entry."""
    if x.size <= PLAIN:
        return np.asarray(np.heaviside(x, 0.5))
    s = np.sign(x)
    s += 1
    s *= 0.5
    return np.asarray(s)


def falling(x: Array) -> Array:
    """exp(-|x|), which neither overflows nor loses the digits of a small exponential.

    The fast body for float32 computes in float64: NumPy's exponential in float32 is off by up to 2.4 ULPs, and the logistic
    function made of it by 3.3.
    """
    if x.size <= PLAIN or x.dtype not in BITS:
        return np.asarray(np.exp(-np.abs(x)))
    e = (x.view(BITS[x.dtype]) | SIGN[x.dtype]).view(x.dtype)  # -|x|
    return np.asarray(np.exp(e, out=e, dtype=np.float64, casting="same_kind") if e.dtype == np.float32 else np.exp(e, out=e))


def sigmoid_of(x: Array, e: Array) -> Array:
    """The logistic function s(x), given e = exp(-|x|): e / (1 + e) where x < 0, else 1 less that."""
    if x.size <= PLAIN:
        return np.asarray(expit(x))
    s = 1 + e
    np.divide(e, s, out=s)
    s -= x >= 0
    return np.asarray(np.abs(s, out=s))


def sigmoids_of(x: Array, e: Array) -> tuple[Array, Array]:
    """Both s(x) and s(-x), given e = exp(-|x|), each with all its digits, which 1 - s(x) has not where s(x) is nearly 1."""
    if x.size <= PLAIN:
        return np.asarray(expit(x)), np.asarray(expit(-x))
    above = x >= 0
    s = 1 + e
    np.divide(e, s, out=s)
    opposite = s - ~above
    s -= above
    return np.abs(s, out=s), np.abs(opposite, out=opposite)


def slope_of(e: Array) -> Array:
    """The derivative of the logistic function at x, given e = exp(-|x|)."""
    if e.size <= PLAIN:
        return np.asarray(e / np.square(1 + e))
    d = 1 + e
    d *= d
    return np.asarray(np.divide(e, d, out=d))


def normal(x: Array) -> tuple[Array, Array]:
    """The standard normal distribution P(x), and its density.

    The fast body, for float32: P(-|x|) = exp(-x^2 / 2) R(|x|), where R is a quotient of polynomials. It needs more digits than
    float32 has: at x = -10 the rounding of the exponent alone would move P by 25 ULPs.
    """
    if x.size <= PLAIN or x.dtype != np.float32:
        return ndtr(x), np.exp(-0.5 * np.square(x)) * (1 / math.sqrt(2 * math.pi))
    p, density, entries = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype), x.reshape(-1)
    for start in range(0, x.size, BLOCK):
        rows = slice(start, start + BLOCK)
        _normal(entries[rows], p.reshape(-1)[rows], density.reshape(-1)[rows])
    return p, density


BLOCK = 2**16
"""Entries that are computed at once, so that the arrays in between stay in the cache."""


def _normal(x: Array, p: Array, density: Array) -> None:
    """The fast body of `normal`, for one row of entries. In float32 twenty roundings would add up to 7 ULPs in the tail."""
    x = np.clip(x, -FARTHEST, FARTHEST)
    t = np.abs(x, dtype=np.float64)
    e = np.square(t)
    e *= -0.5
    np.exp(e, out=e)
    np.multiply(e, 1 / math.sqrt(2 * math.pi), out=density, casting="same_kind")
    e *= _polynomial(MILLS_ABOVE, t)
    np.divide(e, _polynomial(MILLS_BELOW, t), out=p, casting="same_kind")
    p -= x >= 0
    np.abs(p, out=p)


FARTHEST = 15.0
"""exp(-x^2 / 2) is 0 in float32 from 14.6 on."""

# R(t) = P(-t) / exp(-t^2 / 2) up to t = 14.6, fitted by weighted least squares to a relative error of 6e-9, a tenth of an ULP
# of float32; from the highest power down. With one coefficient fewer in each the error is 4e-7, several ULPs.
MILLS_ABOVE = (0.004123816959535555, 0.0406837020986337, 0.18338470431603623, 0.4384965741590711, 0.5000000029925803)
MILLS_BELOW = (
    0.010336758129957813, 0.10198529660072374, 0.4698655225786711, 1.2031239696864182, 1.6748781346987751, 1.0,
)  # fmt: skip


def _polynomial(coefficients: tuple[float, ...], t: Array) -> Array:
    """Its value by Horner's rule."""
    y = t * coefficients[0]
    y += coefficients[1]
    for coefficient in coefficients[2:]:
        y *= t
        y += coefficient
    return y
