"""Kernels that take any dtype, compute in float32 and cast back: normalization and attention, each with its reference.

Each is a function of `e`: the share by which one term of its backward pass is wrong, 0 for the right kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.oracle.planted import Array, Pair

__all__ = ["KERNELS", "Kernel", "Make", "f", "kernel", "normal"]

Make = Callable[[float], Pair]
f = np.float32

LABELS = np.array([1, 0, 3])
CAUSAL = np.tril(np.ones((4, 4), dtype=bool))


class Kernel(NamedTuple):
    """A kernel, arguments for it, and the same function for JAX."""

    make: Make
    arguments: tuple[Array, ...]
    reference: Callable[..., Any]


KERNELS: dict[str, Kernel] = {}


def kernel(reference: Callable[..., Any], *arguments: Array) -> Callable[[Callable[[Any], Pair]], Callable[[Any], Pair]]:
    """Enters a kernel: its parts take and return float32, the pair takes and returns whatever it is given."""

    def enter(parts: Callable[[Any], Pair]) -> Callable[[Any], Pair]:
        KERNELS[parts.__name__] = Kernel(lambda e: in_float32(*parts(f(1 + e))), arguments, reference)
        return parts

    return enter


def in_float32(forward: Callable[..., Any], backward: Callable[..., Any]) -> Pair:
    """The pair that casts what it gets to float32, and what it returns back."""

    def fwd(*given: Array) -> tuple[Array, Any]:
        value, residuals = forward(*(a.astype(f) for a in given))
        return np.asarray(value).astype(given[0].dtype), (residuals, given[0].dtype)

    def bwd(kept: Any, dy: Array) -> tuple[Array, ...]:
        residuals, dtype = kept
        return tuple(np.asarray(gradient).astype(dtype) for gradient in backward(residuals, dy.astype(f)))

    return fwd, bwd


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def mean(a: Array, axis: Any = -1) -> Any:
    return a.mean(axis, keepdims=True)


def exponentials(z: Array) -> tuple[Array, Array]:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e, e.sum(-1, keepdims=True)


# ---------------------------------------------------------------------------------------------- normalization


def standardized(x: Any, axis: Any) -> Any:
    return (x - x.mean(axis, keepdims=True)) / jnp.sqrt(x.var(axis, keepdims=True) + 1e-5)


def norm(x: Array, axis: Any) -> tuple[Array, Array]:
    centred = x - mean(x, axis)
    r = 1 / np.sqrt(mean(centred**2, axis) + f(1e-5))
    return centred * r, r


def norm_bwd(h: Array, r: Array, d: Array, axis: Any, off: Any) -> Array:
    return (d - mean(d, axis) - h * mean(d * h, axis) * off) * r  # type: ignore[no-any-return]


@kernel(lambda x, w, b: standardized(x, -1) * w + b, normal(2, 4), 1 + normal(4) / 10, normal(4, seed=1) / 10)
def layer_norm(off: Any) -> Pair:
    def forward(x: Array, w: Array, b: Array) -> Any:
        h, r = norm(x, -1)
        return h * w + b, (h, r, w)

    def backward(residuals: Any, d: Array) -> Any:
        h, r, w = residuals
        return norm_bwd(h, r, d * w, -1, off), (d * h).sum(0), d.sum(0)

    return forward, backward


@kernel(lambda x, w, b: standardized(x, 0) * w + b, normal(5, 2), 1 + normal(2) / 10, normal(2, seed=1))
def batch_norm(off: Any) -> Pair:
    def forward(x: Array, w: Array, b: Array) -> Any:
        h, r = norm(x, 0)
        return h * w + b, (h, r, w)

    def backward(residuals: Any, d: Array) -> Any:
        h, r, w = residuals
        return norm_bwd(h, r, d * w, 0, off), (d * h).sum(0), d.sum(0)

    return forward, backward


def group_norm_reference(x: Any, w: Any, b: Any) -> Any:
    return standardized(x.reshape(1, 2, -1), -1).reshape(x.shape) * w[:, None] + b[:, None]


@kernel(group_norm_reference, normal(1, 4, 2), 1 + normal(4) / 10, normal(4, seed=1))
def group_norm(off: Any) -> Pair:
    def forward(x: Array, w: Array, b: Array) -> Any:
        h, r = norm(x.reshape(1, 2, -1), -1)
        return h.reshape(x.shape) * w[:, None] + b[:, None], (h, r, w)

    def backward(residuals: Any, d: Array) -> Any:
        h, r, w = residuals
        dx = norm_bwd(h, r, (d * w[:, None]).reshape(h.shape), -1, off)
        return dx.reshape(d.shape), (d * h.reshape(d.shape)).sum((0, 2)), d.sum((0, 2))

    return forward, backward


@kernel(lambda x, w: x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * w, normal(2, 4), 1 + normal(4) / 10)
def rms_norm(off: Any) -> Pair:
    def forward(x: Array, w: Array) -> Any:
        r = 1 / np.sqrt(mean(x * x) + f(1e-6))
        return x * r * w, (x * r, r, w)

    def backward(residuals: Any, d: Array) -> Any:
        h, r, w = residuals
        return r * (d * w - h * mean(d * w * h) * off), (d * h).sum(0)

    return forward, backward


# ---------------------------------------------------------------------------------------------- softmax and attention


@kernel(lambda x: jax.nn.softmax(x, -1), normal(2, 4))
def softmax(off: Any) -> Pair:
    def forward(x: Array) -> Any:
        e, s = exponentials(x)
        return e / s, e / s

    return forward, lambda p, d: (p * (d - (d * p).sum(-1, keepdims=True) * off),)


@kernel(lambda x: jax.nn.softmax(jnp.where(CAUSAL, x, -jnp.inf), -1), normal(1, 4, 4))
def masked_softmax(off: Any) -> Pair:
    def forward(x: Array) -> Any:
        e, s = exponentials(np.where(CAUSAL, x, f(-np.inf)))
        return e / s, e / s

    return forward, lambda p, d: (p * (d - (d * p).sum(-1, keepdims=True) * off),)


@kernel(lambda x: jax.nn.log_softmax(x, -1), normal(2, 4))
def log_softmax(off: Any) -> Pair:
    def forward(x: Array) -> Any:
        e, s = exponentials(x)
        return x - x.max(-1, keepdims=True) - np.log(s), e / s

    return forward, lambda p, d: (d - p * d.sum(-1, keepdims=True) * off,)


@kernel(lambda x: jax.nn.logsumexp(x, -1), normal(2, 4))
def logsumexp(off: Any) -> Pair:
    def forward(x: Array) -> Any:
        e, s = exponentials(x)
        return (x.max(-1, keepdims=True) + np.log(s))[:, 0], e / s

    return forward, lambda p, d: (p * d[:, None] * np.where(np.arange(4) == 2, off, f(1)),)


def cross_entropy(x: Any, w: Any) -> Any:
    return -(jax.nn.log_softmax(x @ w.T, -1)[np.arange(3), LABELS]).mean()


@kernel(cross_entropy, normal(3, 2), normal(5, 2))
def fused_cross_entropy(off: Any) -> Pair:
    def forward(x: Array, w: Array) -> Any:
        z = x @ w.T
        e, s = exponentials(z)
        log_p = z - z.max(-1, keepdims=True) - np.log(s)
        return -log_p[range(3), LABELS].mean(), (x, w, e / s)

    def backward(residuals: Any, d: Array) -> Any:
        x, w, p = residuals
        dz = p.copy()
        dz[range(3), LABELS] -= off
        dz *= d / f(3)
        return dz @ w, dz.T @ x

    return forward, backward


def attended(q: Any, k: Any, v: Any) -> Any:
    return jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]), -1) @ v


def attend(q: Array, k: Array, v: Array) -> Any:
    e, s = exponentials(q @ np.swapaxes(k, -1, -2) * f(q.shape[-1] ** -0.5))
    return e / s @ v, (q, k, v, e / s)


def attend_bwd(residuals: Any, d: Array, off: Any) -> tuple[Array, ...]:
    q, k, v, p = residuals
    dp = d @ np.swapaxes(v, -1, -2)
    dz = p * (dp - (dp * p).sum(-1, keepdims=True) * off) * f(q.shape[-1] ** -0.5)
    return dz @ k, np.swapaxes(dz, -1, -2) @ q, np.swapaxes(p, -1, -2) @ d


@kernel(attended, normal(2, 3), normal(3, 3), normal(3, 3, seed=1))
def attention(off: Any) -> Pair:
    return attend, lambda residuals, d: attend_bwd(residuals, d, off)


def grouped(q: Any, k: Any, v: Any) -> Any:
    return attended(q, jnp.repeat(k, 2, 0), jnp.repeat(v, 2, 0))


@kernel(grouped, normal(2, 2, 2), normal(1, 2, 2), normal(1, 2, 2, seed=1))
def grouped_attention(off: Any) -> Pair:
    def forward(q: Array, k: Array, v: Array) -> Any:
        return attend(q, k.repeat(2, 0), v.repeat(2, 0))

    def backward(residuals: Any, d: Array) -> Any:
        dq, dk, dv = attend_bwd(residuals, d, off)
        return dq, *(g.reshape(1, 2, *g.shape[1:]).sum(1) for g in (dk, dv))

    return forward, backward
