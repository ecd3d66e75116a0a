"""Arithmetic that gives JAX's random numbers to the last bit: it rounds once where XLA does, and has XLA's inverse of erf."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from purenet.op import Array
from purenet.scipy_parts import error_function

__all__ = ["erf", "erfinv", "multiply_add", "rounded", "working"]


def working(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which numbers of this dtype are computed."""
    return np.dtype(np.float32) if dtype.itemsize == 2 else dtype


def rounded(x: Any, dtype: np.dtype[Any]) -> Array:
    """`x`, rounded to `dtype` if that has 16 bits."""
    return np.asarray(x).astype(dtype).astype(np.float32) if dtype.itemsize == 2 else np.asarray(x)


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum, and its error (Knuth)."""
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)


def _sum_to_odd(a: Array, b: Array) -> Array:
    """The sum, if inexact rounded to the neighbour with an odd last bit: rounding it again rounds the exact sum."""
    total, error = _two_sum(a, b)
    pattern = total.view(np.int64)
    outwards = np.where((error > 0) == (total > 0), 1, -1)
    return np.where((error != 0) & (pattern & 1 == 0), pattern + outwards, pattern).view(np.float64)


def _upper(x: Array) -> Array:
    """`x` without the lower 27 bits of its mantissa, so that products of such numbers are exact."""
    return (x.view(np.uint64) >> 27 << 27).view(np.float64)


def multiply_add(u: Array, s: Array, a: Array, dtype: np.dtype[Any]) -> Array:
    """The value of u * s + a for unit numbers `u`, rounded once (Boldo and Melquiond 2008); in 16 bits, at each step."""
    if dtype.itemsize == 2:
        return rounded(rounded(u * s, dtype) + a, dtype)
    if dtype == np.float32:
        return _sum_to_odd(u.astype(np.float64) * s.astype(np.float64), a.astype(np.float64)).astype(np.float32)
    product = u * s
    u_upper, s_upper = _upper(u), _upper(s)
    u_lower, s_lower = u - u_upper, s - s_upper
    error = ((u_upper * s_upper - product) + u_upper * s_lower + u_lower * s_upper) + u_lower * s_lower
    upper, lower = _two_sum(a, error)
    total, rest = _two_sum(product, upper)
    return total + _sum_to_odd(rest, lower)


# Giles (2012), "Approximating the erfinv function": polynomials in w = -log(1 - x**2), or its root, less an offset.
_SINGLE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
    0.246640727, 1.50140941,
)  # fmt: skip
_SINGLE_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047, 1.00167406,
    2.83297682,
)  # fmt: skip
_DOUBLE = (
    -3.64441206401782e-21, -1.6850591381820166e-19, 1.28584807152564e-18, 1.1157877678025181e-17, -1.333171662854621e-16,
    2.0972767875968562e-17, 6.637638134358324e-15, -4.054566272975207e-14, -8.151934197605472e-14, 2.6335093153082323e-12,
    -1.2975133253453532e-11, -5.415412054294628e-11, 1.0512122733215323e-09, -4.112633980346984e-09,
    -2.9070369957882005e-08, 4.2347877827932404e-07, -1.3654692000834679e-06, -1.3882523362786469e-05,
    0.00018673420803405714, -0.000740702534166267, -0.006033670871430149, 0.24015818242558962, 1.6536545626831027,
)  # fmt: skip
_DOUBLE_MIDDLE = (
    2.2137376921775787e-09, 9.075656193888539e-08, -2.7517406297064545e-07, 1.8239629214389228e-08, 1.5027403968909828e-06,
    -4.013867526981546e-06, 2.9234449089955446e-06, 1.2475304481671779e-05, -4.7318229009055734e-05, 6.828485145957318e-05,
    2.4031110387097894e-05, -0.0003550375203628475, 0.0009532893797373805, -0.0016882755560235047, 0.002491442096107851,
    -0.003751208507569241, 0.005370914553590064, 1.0052589676941592, 3.0838856104922208,
)  # fmt: skip
_DOUBLE_TAIL = (
    -2.7109920616438573e-11, -2.555641816996525e-10, 1.5076572693500548e-09, -3.789465440126737e-09, 7.61570120807834e-09,
    -1.496002662714924e-08, 2.914795345090108e-08, -6.771199775845234e-08, 2.2900482228026655e-07, -9.9298272942317e-07,
    4.526062597223154e-06, -1.968177810553167e-05, 7.599527703001776e-05, -0.00021503011930044477, -0.00013871931833623122,
    1.0103004648645344, 4.849906401408584,
)  # fmt: skip


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    y = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        y *= x
        y += coefficient
    return y


def erfinv(x: Array) -> Array:
    """The inverse of erf on [-1, 1] by the polynomials of XLA, whose rounding in the tails scipy's does not share."""
    with np.errstate(divide="ignore"):
        w = -np.log1p(-x * x)
    limit, offset = (5.0, 2.5) if x.dtype == np.float32 else (6.25, 3.125)
    y = _polynomial(_SINGLE if x.dtype == np.float32 else _DOUBLE, np.minimum(w, limit) - offset)
    outer = np.flatnonzero(w >= limit)
    if outer.size:
        w = w[outer]
        root = np.sqrt(np.minimum(w, 40.0))  # no x below 1 has a w above 37; at 1 it is infinite
        if x.dtype == np.float32:
            tail = _polynomial(_SINGLE_TAIL, root - 3)
        else:
            tail = np.where(w < 16, _polynomial(_DOUBLE_MIDDLE, root - 3.25), _polynomial(_DOUBLE_TAIL, root - 5))
        y[outer] = np.where(np.isinf(w), np.inf, tail)
    y *= x
    return y


def erf(x: Array, dtype: np.dtype[Any]) -> Array:
    """The error function at x / sqrt(2), rounded to `dtype` at each step."""
    wide = working(dtype)
    scaled = rounded(x.astype(wide) / rounded(np.asarray(math.sqrt(2.0), wide), dtype), dtype)
    return np.asarray(error_function(scaled)).astype(dtype)
