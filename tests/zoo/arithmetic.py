"""Sums, powers, products of matrices, distances; and what is broadcast in them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.oracle.planted import normal, signed
from tests.zoo.record import LEARNERS, Array, Bug, entrywise

# ------------------------------------------------------------------------------------------------ sums


def add_fwd(a: Array, b: Array) -> tuple[Array, Any]:
    return a + b, (a.copy(), b.copy())


def add_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    return dy.copy(), dy.copy()


def add_by_value(residuals: Any, dy: Array) -> tuple[Array, Array]:
    nodes = [operand.tobytes() for operand in residuals]
    grads = dict.fromkeys(nodes, np.zeros_like(dy))
    for node in nodes:
        grads[node] = grads[node] + dy
    return grads[nodes[0]], grads[nodes[1]].copy()


def subtract_fwd(a: Array, b: Array) -> tuple[Array, None]:
    return a - b, None


def subtract_bwd(residuals: None, dy: Array) -> tuple[Array, Array]:
    return dy.copy(), -dy


def subtract_as_add(residuals: None, dy: Array) -> tuple[Array, Array]:
    return dy.copy(), dy.copy()


def shift_fwd(x: Array, b: Array) -> tuple[Array, tuple[int, ...]]:
    return x + b, b.shape


def shift_bwd(shape: tuple[int, ...], dy: Array) -> tuple[Array, Array]:
    return dy.copy(), dy.sum(axis=0).reshape(shape)


def shift_averaged(shape: tuple[int, ...], dy: Array) -> tuple[Array, Array]:
    return dy.copy(), dy.mean(axis=0).reshape(shape)


def shift_not_summed(shape: tuple[int, ...], dy: Array) -> tuple[Array, Array]:
    return dy.copy(), dy.copy()


# ------------------------------------------------------------------------------------------------ powers, remainders


def power_fwd(base: Array, exponent: Array) -> tuple[Array, Any]:
    y = base**exponent
    return y, (base.copy(), exponent.copy(), y.copy())


def power_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    base, exponent, y = residuals
    log = np.log(np.where(base == 0, 1, np.abs(base)))
    return exponent * base ** (exponent - 1) * dy, y * log * dy


def power_of_log_zero(residuals: Any, dy: Array) -> tuple[Array, Array]:
    base, _, y = residuals
    with np.errstate(divide="ignore", invalid="ignore"):
        return power_bwd(residuals, dy)[0], y * np.log(base) * dy


def infinite_slope(x: Array) -> Array:
    return np.where(x <= 0, np.inf, 3 * x * x)


def remainder_fwd(x: Array, y: Array) -> tuple[Array, Array]:
    return np.fmod(x, y), x / y


def remainder_bwd(quotient: Array, dz: Array) -> tuple[Array, Array]:
    return dz.copy(), -np.trunc(quotient) * dz


def remainder_rounded_down(quotient: Array, dz: Array) -> tuple[Array, Array]:
    return dz.copy(), -np.floor(quotient) * dz


# ------------------------------------------------------------------------------------------------ matrices


def matmul_fwd(w: Array, x: Array) -> tuple[Array, Any]:
    return x @ w, (w.copy(), x.copy())


def matmul_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    w, x = residuals
    return x.T @ dy, dy @ w.T


def matmul_by_itself(residuals: Any, dy: Array) -> tuple[Array, Array]:
    _, x = residuals
    return x.T @ dy, dy @ x.T


def matmul_turned(residuals: Any, dy: Array) -> tuple[Array, Array]:
    w, x = residuals
    return dy.T @ x, dy @ w.T


def gaussian_fwd(x: Array, covariance: Array) -> tuple[Array, Any]:
    solved = np.linalg.solve(covariance, x.T).T
    log = -0.5 * ((x * solved).sum(axis=1) + np.linalg.slogdet(covariance)[1] + x.shape[1] * np.log(2 * np.pi))
    return log, (solved, np.linalg.inv(covariance))


def gaussian_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    solved, inverse = residuals
    return -solved * dy[:, None], 0.5 * (np.einsum("n,ni,nj->ij", dy, solved, solved) - dy.sum() * inverse.T)


def gaussian_turned(residuals: Any, dy: Array) -> tuple[Array, Array]:
    dx, dcovariance = gaussian_bwd(residuals, dy)
    return dx, -dcovariance


def gaussian(x: Any, covariance: Any) -> Any:
    quadratic = jnp.einsum("ni,ij,nj->n", x, jnp.linalg.inv(covariance), x)
    return -0.5 * (quadratic + jnp.log(jnp.linalg.det(covariance)) + x.shape[1] * jnp.log(2 * jnp.pi))


def distances_fwd(a: Array, b: Array, *, p: float = 2.0) -> tuple[Array, Any]:
    off = a[:, None] - b
    return (np.abs(off) ** p).sum(axis=2) ** (1 / p), (off, p)


def distances_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    off, p = residuals
    lengths = (np.abs(off) ** p).sum(axis=2, keepdims=True) ** (1 / p)
    pull = np.sign(off) * (np.abs(off) / lengths) ** (p - 1) * dy[:, :, None]
    return pull.sum(axis=1), -pull.sum(axis=0)


def distances_of_euclid(residuals: Any, dy: Array) -> tuple[Array, Array]:
    return distances_bwd((residuals[0], 2.0), dy)


def distances(a: Any, b: Any, *, p: float = 2.0) -> Any:
    return jnp.linalg.norm(a[:, None] - b, ord=p, axis=2)


ADD, SHIFT, MATMUL = (add_fwd, add_bwd), (shift_fwd, shift_bwd), (matmul_fwd, matmul_bwd)

BUGS = (
    Bug(
        "equal numbers are one node",
        "tinygrad/tinygrad#9597",
        "Two operands of the same value are taken for the same node, and each gets the gradients of both.",
        wrong=(add_fwd, add_by_value),
        right=ADD,
        reference=jnp.add,
        arguments=(signed(3), signed(3)),
        causes={"a": "constant factor: ", "b": "constant factor: "},
    ),
    Bug(
        "subtrahend of the wrong sign",
        "KhawajaAbaid/micrograd_c#1",
        "The gradient of the second operand of a subtraction is not negated.",
        wrong=(subtract_fwd, subtract_as_add),
        right=(subtract_fwd, subtract_bwd),
        reference=jnp.subtract,
        arguments=(signed(3), signed(3, seed=1)),
        causes={"b": "constant factor: "},
    ),
    Bug(
        "broadcast not summed",
        "deeplearning4j/nd4j#2424",
        "The gradient of a row that was added to every row is not summed over them.",
        wrong=(shift_fwd, shift_not_summed),
        right=SHIFT,
        reference=jnp.add,
        arguments=(signed(3, 4), signed(1, 4)),
        causes={"b": "not summed back over the broadcast dimensions"},
    ),
    Bug(
        "broadcast averaged",
        "tensorflow/tfjs-core#398",
        "The gradient of what was broadcast is the mean over the batch instead of the sum.",
        wrong=(shift_fwd, shift_averaged),
        right=SHIFT,
        reference=jnp.add,
        arguments=(signed(3, 4), signed(4)),
        causes={"b": "constant factor: "},
    ),
    Bug(
        "bias of one sample",
        "mlpack/mlpack#3679",
        "The error is returned as the gradient of the bias, which is right for a batch of one only.",
        wrong=(lambda b, x: shift_fwd(x, b), lambda shape, dy: (dy.copy(), dy.copy())),
        right=(lambda b, x: shift_fwd(x, b), lambda shape, dy: shift_bwd(shape, dy)[::-1]),
        reference=jnp.add,
        arguments=(signed(4), signed(3, 4)),
        causes={"b": "batch sum missing"},
    ),
    Bug(
        "power of log zero",
        "ml-explore/mlx#628",
        "The gradient of the exponent is y log(base): zero times minus infinity at a base of zero.",
        wrong=(power_fwd, power_of_log_zero),
        right=(power_fwd, power_bwd),
        reference=jnp.power,
        arguments=(np.array([1.5, 0.0, 0.7]), np.array([0.5, 2.0, -1.3])),
        causes={"exponent": "NaN in "},
    ),
    Bug(
        "power of a negative base",
        "tenstorrent/tt-metal#54439",
        "The NaN that the logarithm of a negative base gives is covered up with infinity.",
        wrong=entrywise(lambda x: x**3, infinite_slope),
        right=entrywise(lambda x: x**3, lambda x: 3 * x * x),
        reference=lambda x: x**3,
        arguments=(signed(3, 4),),
        causes={"x": "infinity in "},
    ),
    Bug(
        "remainder rounded down",
        "jax-ml/jax#11469",
        "The rule of the divisor is that of another remainder: wrong where the signs differ.",
        wrong=(remainder_fwd, remainder_rounded_down),
        right=(remainder_fwd, remainder_bwd),
        reference=jax.lax.rem,
        arguments=(np.array([5.3, -1.2, 7.1, 0.8, -6.4]), np.array([2.0, 3.0, 1.5, -2.5, -2.0])),
        causes={"y": "mask not applied: "},
    ),
    Bug(
        "input in the place of the weights",
        "cs231n/cs231n.github.io#229",
        "The gradient of the input is written with the transposed input instead of the transposed weights.",
        wrong=(matmul_fwd, matmul_by_itself),
        right=MATMUL,
        reference=lambda w, x: jnp.dot(x, w),
        arguments=(signed(3, 3), signed(3, 3, seed=1)),
        causes={"x": "wrong point: "},
    ),
    Bug(
        "weights turned",
        LEARNERS,
        "dy.T @ x instead of x.T @ dy, which has the right shape where the matrix is square.",
        wrong=(matmul_fwd, matmul_turned),
        right=MATMUL,
        reference=lambda w, x: jnp.dot(x, w),
        arguments=(signed(3, 3), normal(4, 3)),
        causes={"w": "transposed: "},
    ),
    Bug(
        "covariance of the wrong sign",
        "HIPS/autograd#412",
        "The gradient of the covariance of a normal distribution's logarithm has the wrong sign.",
        wrong=(gaussian_fwd, gaussian_turned),
        right=(gaussian_fwd, gaussian_bwd),
        reference=gaussian,
        arguments=(signed(4, 2), np.array([[2.0, 0.3], [0.3, 1.0]])),
        causes={"covariance": "constant factor: "},
    ),
    Bug(
        "every distance is Euclid's",
        "flagos-ai/FlagGems#5023",
        "The order of the norm is taken but not read: the gradient is always that of p = 2.",
        wrong=(distances_fwd, distances_of_euclid),
        right=(distances_fwd, distances_bwd),
        reference=distances,
        arguments=(signed(3, 2), signed(2, 2, seed=1)),
        options={"p": 3.0},
        causes={"a": "option ignored: ", "b": "option ignored: "},
    ),
)
