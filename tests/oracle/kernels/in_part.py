"""Functions that compute in float32 in one place alone, with float64 around it, in the form of `in_numpy`."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from tests.oracle.kernels.in_numpy import Kernel, normal
from tests.oracle.planted import Array, Pair

__all__ = ["IN_PART"]


def rounded(a: Array) -> Array:
    """The array in float32, in its own dtype."""
    return a.astype(np.float32).astype(a.dtype)


def off(a: Array, e: float) -> Array:
    """The array with a second row that is wrong by the share `e`."""
    changed = a.copy()
    changed[1] *= np.asarray(1 + e, a.dtype)
    return changed


def only_weights(e: float) -> Pair:
    def fwd(x: Array, w: Array) -> tuple[Array, Any]:
        return x @ rounded(w), (x, rounded(w))

    return fwd, lambda s, dy: (off(dy @ s[1].T, e), s[0].T @ dy)


def only_value(e: float) -> Pair:
    return lambda x: (rounded(np.tanh(x)), np.tanh(x)), lambda y, dy: (off(dy * (1 - y * y), e),)


def only_gradient(e: float) -> Pair:
    return lambda x: (np.tanh(x), np.tanh(x)), lambda y, dy: (off(rounded(dy * (1 - y * y)), e),)


def only_residual(e: float) -> Pair:
    return lambda x: (np.tanh(x), np.tanh(x).astype(np.float32)), lambda y, dy: (
        off((dy * (1 - y.astype(dy.dtype) ** 2)).astype(dy.dtype), e),
    )


def only_forward(e: float) -> Pair:
    return lambda x: (np.tanh(x.astype(np.float32)).astype(x.dtype), x), lambda x, dy: (off(dy * (1 - np.tanh(x) ** 2), e),)


def only_backward(e: float) -> Pair:
    def bwd(y: Array, dy: Array) -> tuple[Array]:
        y, d = y.astype(np.float32), dy.astype(np.float32)
        return (off((d * (1 - y * y)).astype(dy.dtype), e),)

    return lambda x: (np.tanh(x), np.tanh(x)), bwd


def only_middle(e: float) -> Pair:
    def fwd(x: Array) -> tuple[Array, Any]:
        inner = np.exp(x / 2).astype(np.float32)
        return np.sin(inner).astype(x.dtype) * x, (x, inner)

    def bwd(residuals: Any, dy: Array) -> tuple[Array]:
        x, inner = residuals
        through = np.cos(inner) * inner / 2
        return (off(dy * (np.sin(inner).astype(x.dtype) + x * through.astype(x.dtype)), e),)

    return fwd, bwd


X = normal(2, 3)
IN_PART: dict[str, Kernel] = {
    "only weights": Kernel(only_weights, (X, normal(3, 2)), lambda x, w: x @ w),
    "only value": Kernel(only_value, (X,), jnp.tanh),
    "only gradient": Kernel(only_gradient, (X,), jnp.tanh),
    "only residual": Kernel(only_residual, (X,), jnp.tanh),
    "only forward": Kernel(only_forward, (X,), jnp.tanh),
    "only backward": Kernel(only_backward, (X,), jnp.tanh),
    "only middle": Kernel(only_middle, (X,), lambda x: jnp.sin(jnp.exp(x / 2)) * x),
}
