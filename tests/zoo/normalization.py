"""Normalization."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.row import Verdict
from tests.oracle.planted import normal, signed
from tests.zoo.record import BOOK, LEARNERS, Array, Bug, Pair

GAMMA, BETA = np.array([1.5, -0.7, 0.4, 2.0]), np.array([0.3, -1.0, 0.2, 0.5])

# ------------------------------------------------------------------------------------------------ over an axis


def normalized(x: Array, axis: int, eps: float) -> tuple[Array, Array]:
    inverse = 1 / np.sqrt(x.var(axis=axis, keepdims=True) + eps)
    return (x - x.mean(axis=axis, keepdims=True)) * inverse, inverse


def centered(dz: Array, z: Array, axis: int) -> Array:
    """What is left of `dz` when mean and variance are constants of it."""
    return dz - dz.mean(axis=axis, keepdims=True) - z * (dz * z).mean(axis=axis, keepdims=True)


def by_input_gradient(axis: int, gradient: Any) -> Pair:
    """Batch (axis 0) or layer (axis 1) normalization, whose dx is `gradient(dy, gamma, z, inverse)`."""

    def norm_fwd(gamma: Array, beta: Array, x: Array, *, eps: float = 1e-5) -> tuple[Array, Any]:
        z, inverse = normalized(x, axis, eps)
        return gamma * z + beta, (gamma.copy(), z, inverse)

    def norm_bwd(residuals: Any, dy: Array) -> tuple[Array, Array, Array]:
        gamma, z, inverse = residuals
        return (dy * z).sum(axis=0), dy.sum(axis=0), gradient(dy, gamma, z, inverse)

    return norm_fwd, norm_bwd


def batch_norm(gamma: Any, beta: Any, x: Any, *, eps: float = 1e-5) -> Any:
    return jax.nn.standardize(x, axis=0, epsilon=eps) * gamma + beta


def layer_norm(gamma: Any, beta: Any, x: Any, *, eps: float = 1e-5) -> Any:
    return jax.nn.standardize(x, axis=1, epsilon=eps) * gamma + beta


BATCH_NORM = by_input_gradient(0, lambda dy, gamma, z, inverse: inverse * centered(gamma * dy, z, 0))
LAYER_NORM = by_input_gradient(1, lambda dy, gamma, z, inverse: inverse * centered(gamma * dy, z, 1))
WITHOUT_VARIANCE = by_input_gradient(0, lambda dy, gamma, z, inverse: inverse * gamma * (dy - dy.mean(axis=0)))


def swapped_bwd(residuals: Any, dy: Array) -> tuple[Array, Array, Array]:
    dgamma, dbeta, dx = LAYER_NORM[1](residuals, dy)
    return dbeta, dgamma, dx


# ------------------------------------------------------------------------------------------------ by running statistics

RUNNING = {"mean": np.array([0.2, -0.1, 0.5, 0.0]), "var": np.array([1.2, 0.4, 0.9, 2.0])}


def evaluated_fwd(gamma: Array, beta: Array, x: Array, *, mean: Array, var: Array) -> tuple[Array, Any]:
    inverse = 1 / np.sqrt(var + 1e-5)
    z = (x - mean) * inverse
    return gamma * z + beta, (gamma.copy(), z, inverse)


def evaluated_bwd(residuals: Any, dy: Array) -> tuple[Array, Array, Array]:
    gamma, z, inverse = residuals
    return (dy * z).sum(axis=0), dy.sum(axis=0), gamma * inverse * dy


def evaluated(gamma: Any, beta: Any, x: Any, *, mean: Any, var: Any) -> Any:
    return jax.nn.standardize(x, axis=0, mean=mean, variance=var, epsilon=1e-5) * gamma + beta


# ------------------------------------------------------------------------------------------------ by a length


def unit_fwd(x: Array, *, eps: float = 1e-5) -> tuple[Array, Any]:
    size = np.sqrt((x * x).sum(axis=1, keepdims=True))
    return x / (size + eps), (x.copy(), size, eps)


def unit_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, size, eps = residuals
    along = (x * dy).sum(axis=1, keepdims=True)
    return (dy / (size + eps) - x * along / (size * (size + eps) ** 2),)


def unit_without_eps(residuals: Any, dy: Array) -> tuple[Array]:
    x, size, _ = residuals
    return unit_bwd((x, size, 0.0), dy)


def unit(x: Any, *, eps: float = 1e-5) -> Any:
    return x / (jnp.linalg.norm(x, axis=1, keepdims=True) + eps)


def eps_inside_fwd(x: Array, *, eps: float) -> tuple[Array, Any]:
    size = np.sqrt((x * x).sum(axis=1, keepdims=True) + eps)
    return x / size, (x.copy(), size)


def eps_outside_fwd(x: Array, *, eps: float) -> tuple[Array, Any]:
    y, _ = unit_fwd(x, eps=eps)
    return y, (x.copy(), np.sqrt((x * x).sum(axis=1, keepdims=True) + eps))


def eps_inside_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, size = residuals
    return ((dy - x * (x * dy).sum(axis=1, keepdims=True) / size**2) / size,)


def eps_inside(x: Any, *, eps: float) -> Any:
    return x * jax.lax.rsqrt(jnp.square(x).sum(axis=1, keepdims=True) + eps)


def rms_norm_fwd(gamma: Array, x: Array) -> tuple[Array, Any]:
    inverse = 1 / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-5)
    return gamma * x * inverse, (gamma.copy(), x.copy(), inverse)


def rms_norm_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    gamma, x, inverse = residuals
    dz = gamma * dy
    dx = inverse * (dz - x * inverse**2 * (x * dz).mean(axis=1, keepdims=True))
    return (dy * x * inverse).sum(axis=0), dx


def rms_norm_of_a_constant(residuals: Any, dy: Array) -> tuple[Array, Array]:
    gamma, x, inverse = residuals
    return (dy * x * inverse).sum(axis=0), inverse * gamma * dy


def rms_norm(gamma: Any, x: Any) -> Any:
    return jax.nn.standardize(x, axis=1, mean=0.0, variance=jnp.square(x).mean(axis=1, keepdims=True), epsilon=1e-5) * gamma


BUGS = (
    Bug(
        "batch_norm with constant statistics",
        "facebookresearch/CrypTen#143",
        "The backward pass ignores that mean and variance depend on the input.",
        wrong=by_input_gradient(0, lambda dy, gamma, z, inverse: inverse * gamma * dy),
        right=BATCH_NORM,
        reference=batch_norm,
        arguments=(GAMMA, BETA, normal(5, 4)),
        causes={"x": "two paths lost: "},
    ),
    Bug(
        "batch_norm without the path through the mean",
        LEARNERS,
        "The derivative along the mean is left out.",
        wrong=by_input_gradient(0, lambda dy, gamma, z, inverse: inverse * gamma * (dy - z * (dy * z).mean(axis=0))),
        right=BATCH_NORM,
        reference=batch_norm,
        arguments=(GAMMA, BETA, normal(5, 4)),
        causes={"x": "one path lost: "},
    ),
    Bug(
        "batch_norm checked on a batch of one",
        f"{BOOK}, the gradient check of chapter 6",
        "A single sample is normalized to zero, so every gradient is zero and a wrong one looks right.",
        wrong=WITHOUT_VARIANCE,
        right=BATCH_NORM,
        reference=batch_norm,
        arguments=(GAMMA, BETA, normal(1, 4)),
        other_arguments=(GAMMA, BETA, normal(5, 4)),
        verdict=Verdict.VACUOUS,
        causes={"gamma": "vacuous: ", "x": "vacuous: "},
    ),
    Bug(
        "layer_norm multiplies by gamma too late",
        LEARNERS,
        "The means are taken of dy instead of gamma dy, which is the same only where gamma is one number.",
        wrong=by_input_gradient(1, lambda dy, gamma, z, inverse: inverse * gamma * centered(dy, z, 1)),
        right=LAYER_NORM,
        reference=layer_norm,
        arguments=(GAMMA, BETA, normal(5, 4)),
        causes={"x": "wrong point: "},
    ),
    Bug(
        "layer_norm swaps gamma and beta",
        "Oneflow-Inc/oneflow#6149",
        "The gradients of weight and bias are returned in each other's place.",
        wrong=(LAYER_NORM[0], swapped_bwd),
        right=LAYER_NORM,
        reference=layer_norm,
        arguments=(GAMMA, BETA, normal(5, 4)),
        causes={"gamma": "arguments swapped: ", "beta": "arguments swapped: "},
    ),
    Bug(
        "batch_norm evaluated as in training",
        "pytorch/xla#913",
        "With running statistics the gradient still has the terms of batch statistics.",
        wrong=(evaluated_fwd, BATCH_NORM[1]),
        right=(evaluated_fwd, evaluated_bwd),
        reference=evaluated,
        arguments=(GAMMA, BETA, normal(5, 4)),
        options=RUNNING,
        causes={"x": "a term too many: "},
    ),
    Bug(
        "unit length without eps",
        "chainer/chainer#4190",
        "The backward pass of x / (|x| + eps) is right only where eps is negligible: here, where it is 0.",
        wrong=(unit_fwd, unit_without_eps),
        right=(unit_fwd, unit_bwd),
        reference=unit,
        arguments=(signed(3, 4),),
        options={"eps": 0.3},
        causes={"x": "option ignored: "},
    ),
    Bug(
        "eps outside the root",
        "apache/mxnet#4810",
        "The forward pass divides by sqrt(s) + eps, the backward pass belongs to sqrt(s + eps).",
        wrong=(eps_outside_fwd, eps_inside_bwd),
        right=(eps_inside_fwd, eps_inside_bwd),
        reference=eps_inside,
        arguments=(signed(3, 4),),
        options={"eps": 0.3},
        causes={"x": "the gradient agrees with the reference, but it is not that of the forward pass"},
    ),
    Bug(
        "rms_norm with a constant root",
        "ooples/AiDotNet#695",
        "That the root mean square depends on the input is left out.",
        wrong=(rms_norm_fwd, rms_norm_of_a_constant),
        right=(rms_norm_fwd, rms_norm_bwd),
        reference=rms_norm,
        arguments=(GAMMA, normal(3, 4)),
        causes={"x": "one path lost: "},
    ),
)
