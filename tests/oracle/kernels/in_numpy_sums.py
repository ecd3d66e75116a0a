"""Kernels that take any dtype, compute in float32 and cast back: products, sums and activations, in the form of `in_numpy`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from tests.oracle.kernels.in_numpy import f, kernel, normal
from tests.oracle.planted import Array, Pair

ANGLES = np.arange(2.0)[:, None] * 0.7 ** np.arange(3)
TANH, CUBE = f(0.7978845608028654), f(0.044715)  # the constants of the approximate GELU


# ---------------------------------------------------------------------------------------------- products and sums


@kernel(lambda x, w: x @ w, normal(2, 5), normal(5, 2))
def matmul(off: Any) -> Pair:
    row = np.where(np.arange(5) == 3, off, f(1))[:, None]
    return lambda x, w: (x @ w, (x, w)), lambda s, d: (d @ (s[1] * row).T, s[0].T @ d)


@kernel(lambda x, y: x * y, normal(2, 3), normal(2, 3, seed=1))
def product(off: Any) -> Pair:
    row = np.where(np.arange(2) == 1, off, f(1))[:, None]
    return lambda x, y: (x * y, (x, y)), lambda s, d: (d * s[1] * row, d * s[0])


@kernel(lambda x: jnp.cumsum(x, -1), normal(2, 6))
def cumulative_sum(off: Any) -> Pair:
    column = np.where(np.arange(6) == 3, off, f(1))
    return lambda x: (np.cumsum(x, -1), ()), lambda _, d: (np.cumsum((d * column)[:, ::-1], -1)[:, ::-1],)


@kernel(lambda x: jnp.cumprod(x, -1), 1 + normal(2, 5) / 4)
def cumulative_product(off: Any) -> Pair:
    column = np.where(np.arange(5) == 2, off, f(1))

    def forward(x: Array) -> Any:
        y = np.cumprod(x, -1)
        return y, (x, y)

    return forward, lambda s, d: (np.cumsum((d * s[1] * column)[:, ::-1], -1)[:, ::-1] / s[0],)


@kernel(lambda x: (x * x).sum(), 3 + normal(12))
def sum_of_squares(off: Any) -> Pair:
    entry = np.where(np.arange(12) == 3, off, f(1))

    def forward(x: Array) -> Any:
        total = f(0)
        for one in x:  # in order, so that its rounding grows with the number of terms
            total = f(total + one * one)
        return total, x

    return forward, lambda x, d: (2 * x * entry * d,)


def linear_scan(a: Any, b: Any) -> Any:
    def step(h: Any, given: Any) -> Any:
        h = given[0] * h + given[1]
        return h, h

    return jax.lax.scan(step, jnp.zeros_like(b[0]), (a, b))[1]


@kernel(linear_scan, 0.5 + normal(5, 1) / 4, normal(5, 1, seed=1))
def scan(off: Any) -> Pair:
    def forward(a: Array, b: Array) -> Any:
        h = np.zeros((6, 1), f)
        for t in range(5):
            h[t + 1] = a[t] * h[t] + b[t]
        return h[1:].copy(), (a, h)

    def backward(residuals: Any, d: Array) -> Any:
        a, h = residuals
        da, db = np.empty_like(a), np.empty_like(a)
        carried = np.zeros(1, f)
        for t in reversed(range(5)):
            carried = carried + d[t]
            da[t], db[t] = carried * h[t], carried
            carried = carried * a[t] * (off if t == 2 else f(1))
        return da, db

    return forward, backward


def padded(x: Any, w: Any) -> Any:
    return sum(w[k] * jnp.pad(x, ((k, 0), (0, 0)))[: x.shape[0]] for k in range(w.shape[0]))


@kernel(padded, normal(6, 1), normal(3, 1))
def causal_convolution(off: Any) -> Pair:
    def forward(x: Array, w: Array) -> Any:
        long = np.pad(x, ((2, 0), (0, 0)))
        return sum(w[k] * long[2 - k : 8 - k] for k in range(3)), (long, w)

    def backward(residuals: Any, d: Array) -> Any:
        long, w = residuals
        further = np.pad(d, ((0, 2), (0, 0)))
        dx = sum(w[k] * further[k : 6 + k] * (off if k == 1 else f(1)) for k in range(3))
        return dx, np.stack([(d * long[2 - k : 8 - k]).sum(0) for k in range(3)])

    return forward, backward


@kernel(lambda x: x.reshape(1, 4, 2, 2).mean(2), normal(1, 8, 2))
def mean_pool(off: Any) -> Pair:
    first = np.where(np.arange(4) == 1, off, f(1))[:, None]
    return lambda x: (x.reshape(1, 4, 2, 2).mean(2), ()), lambda _, d: ((d / f(2) * first).repeat(2, 1),)


def rotated(x: Any) -> Any:
    a, b = x[:, :3], x[:, 3:]
    return jnp.concatenate([a * np.cos(ANGLES) - b * np.sin(ANGLES), a * np.sin(ANGLES) + b * np.cos(ANGLES)], 1)


@kernel(rotated, normal(2, 6))
def rotary(off: Any) -> Pair:
    c, s = np.cos(ANGLES).astype(f), np.sin(ANGLES).astype(f)

    def turn(x: Array, by: Array) -> Array:
        return np.concatenate([x[:, :3] * c - x[:, 3:] * by, x[:, :3] * by + x[:, 3:] * c], 1)

    return lambda x: (turn(x, s), ()), lambda _, d: (turn(d, -s * off),)


# ---------------------------------------------------------------------------------------------- activations


@kernel(lambda x: jax.nn.gelu(x, approximate=True), 2 * normal(2, 4))
def gelu(off: Any) -> Pair:
    def inner(x: Array) -> Any:
        return np.tanh(TANH * (x + CUBE * x**3))

    def backward(x: Array, d: Array) -> Any:
        t = inner(x)
        return (d * (f(0.5) * (1 + t) + f(0.5) * x * (1 - t * t) * TANH * (1 + 3 * CUBE * x * x * off)),)

    return lambda x: (f(0.5) * x * (1 + inner(x)), x), backward


@kernel(lambda x: jax.nn.gelu(x, approximate=False), 2 * normal(2, 4))
def gelu_erf(off: Any) -> Pair:
    def phi(x: Array) -> Any:
        return f(0.5) * (1 + special.erf(x * f(0.5**0.5)))

    density = f((2 * np.pi) ** -0.5)
    return lambda x: (x * phi(x), x), lambda x, d: (d * (phi(x) + x * density * np.exp(f(-0.5) * x * x) * off),)


@kernel(jax.nn.silu, 2 * normal(2, 4))
def silu(off: Any) -> Pair:
    def forward(x: Array) -> Any:
        s = 1 / (1 + np.exp(-x))
        return x * s, (x, s)

    return forward, lambda r, d: (d * r[1] * (1 + r[0] * (1 - r[1]) * off),)


@kernel(lambda a, b: jax.nn.silu(a) * b, normal(2, 4), normal(2, 4, seed=1))
def swiglu(off: Any) -> Pair:
    def forward(a: Array, b: Array) -> Any:
        s = 1 / (1 + np.exp(-a))
        return a * s * b, (a, b, s)

    def backward(residuals: Any, d: Array) -> Any:
        a, b, s = residuals
        return d * b * s * (1 + a * (1 - s) * off), d * a * s

    return forward, backward
