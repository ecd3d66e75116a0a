"""Norms, sums, products and maxima."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.oracle.planted import signed
from tests.zoo.record import Array, Bug

A_ZERO_ROW = np.array([[3.0, -1.0, 2.0], [0.0, 0.0, 0.0], [0.5, 1.5, -0.5]])
ZEROS = np.array([[2.0, 3.0, 0.0, 1.5], [0.0, 2.0, 3.0, -1.0], [3.0, -2.0, 4.0, 1.5], [-3.0, 4.0, 2.0, -1.5]])

# ------------------------------------------------------------------------------------------------ at a norm of zero


def quietly(numerator: Array, denominator: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return numerator / denominator


def norm_fwd(x: Array) -> tuple[Array, Any]:
    y = np.sqrt((x * x).sum(axis=1))
    return y, (x.copy(), y.copy())


def norm_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, y = residuals
    return (x * (dy / np.where(y == 0, 1, y))[:, None],)


def norm_divided_by_zero(residuals: Any, dy: Array) -> tuple[Array]:
    x, y = residuals
    return (quietly(x, y[:, None]) * dy[:, None],)


def norm(x: Any) -> Any:
    square = jnp.square(x).sum(axis=1)
    return jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))


def deviation_fwd(x: Array) -> tuple[Array, Any]:
    off = x - x.mean(axis=1, keepdims=True)
    y = np.sqrt((off * off).mean(axis=1))
    return y, (off, y.copy())


def deviation_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    off, y = residuals
    return (off * (dy / np.where(y == 0, 1, y))[:, None] / off.shape[1],)


def deviation_divided_by_zero(residuals: Any, dy: Array) -> tuple[Array]:
    off, y = residuals
    return (quietly(off, y[:, None]) * dy[:, None] / off.shape[1],)


def deviation(x: Any) -> Any:
    return norm(x - x.mean(axis=1, keepdims=True)) / jnp.sqrt(x.shape[1])


# ------------------------------------------------------------------------------------------------ products


def product_fwd(x: Array) -> tuple[Array, Array]:
    return x.prod(axis=1), x.copy()


def product_bwd(x: Array, dy: Array) -> tuple[Array]:
    others = [np.delete(x, i, axis=1).prod(axis=1) for i in range(x.shape[1])]
    return (np.stack(others, axis=1) * dy[:, None],)


def product_by_quotient(x: Array, dy: Array) -> tuple[Array]:
    return (quietly(x.prod(axis=1, keepdims=True), x) * dy[:, None],)


def products_fwd(x: Array) -> tuple[Array, Array]:
    return np.cumprod(x, axis=1), x.copy()


def products_bwd(x: Array, dy: Array) -> tuple[Array]:
    before = np.cumprod(np.insert(x[:, :-1], 0, 1, axis=1), axis=1)
    after = dy.copy()
    for i in reversed(range(x.shape[1] - 1)):
        after[:, i] += x[:, i + 1] * after[:, i + 1]
    return (before * after,)


def products_by_quotient(x: Array, dy: Array) -> tuple[Array]:
    later = np.flip(np.cumsum(np.flip(np.cumprod(x, axis=1) * dy, axis=1), axis=1), axis=1)
    return (quietly(later, x),)


def products_by_quotient_or_zero(x: Array, dy: Array) -> tuple[Array]:
    return (np.nan_to_num(products_by_quotient(x, dy)[0]),)


# ------------------------------------------------------------------------------------------------ sums of exponentials

ALLOWED = {"allowed": np.array([[1, 1, 0], [1, 0, 1]], bool)}
SOME = {"allowed": np.array([[1, 0, 1], [0, 0, 0]], bool)}


def logsumexp_fwd(x: Array, *, allowed: Array) -> tuple[Array, Any]:
    most = np.where(allowed, x, -np.inf).max(axis=1, keepdims=True)
    y = most[:, 0] + np.log(np.exp(np.where(allowed, x - most, -np.inf)).sum(axis=1))
    return y, (x.copy(), y.copy(), allowed)


def logsumexp_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, y, allowed = residuals
    return (np.exp(np.where(allowed, x - y[:, None], -np.inf)) * dy[:, None],)


def logsumexp_masked_late(residuals: Any, dy: Array) -> tuple[Array]:
    x, y, allowed = residuals
    with np.errstate(over="ignore", invalid="ignore"):
        return (np.exp(x - y[:, None]) * allowed * dy[:, None],)


def logsumexp(x: Any, *, allowed: Any) -> Any:
    return jax.nn.logsumexp(jnp.where(allowed, x, -jnp.inf), axis=1)


def total_fwd(x: Array, *, allowed: Array) -> tuple[Array, Any]:
    """The sum of the allowed exponentials, by way of its logarithm: of none it is exp(-inf)."""
    scores = np.where(allowed, x, -np.inf)
    most = scores.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        log = most[:, 0] + np.log(np.exp(scores - np.where(np.isinf(most), 0, most)).sum(axis=1))
    return np.exp(log), (scores, log)


def total_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return (np.exp(residuals[0]) * dy[:, None],)


def total_by_softmax(residuals: Any, dy: Array) -> tuple[Array]:
    scores, log = residuals
    with np.errstate(invalid="ignore"):
        return ((dy * np.exp(log))[:, None] * np.exp(scores - log[:, None]),)


def total(x: Any, *, allowed: Any) -> Any:
    return (jnp.exp(x) * allowed).sum(axis=1)


# ------------------------------------------------------------------------------------------------ maxima


def maximum_fwd(x: Array) -> tuple[Array, Array]:
    y = x.max(axis=1)
    return y, x == y[:, None]


def maximum_bwd(is_largest: Array, dy: Array) -> tuple[Array]:
    return (is_largest / is_largest.sum(axis=1, keepdims=True) * dy[:, None],)


def maximum_to_each(is_largest: Array, dy: Array) -> tuple[Array]:
    return (is_largest * dy[:, None],)


BUGS = (
    Bug(
        "norm of zeros",
        "pytorch/pytorch#2421",
        "The gradient x / |x| is 0 / 0 where all entries are zero.",
        wrong=(norm_fwd, norm_divided_by_zero),
        right=(norm_fwd, norm_bwd),
        reference=norm,
        arguments=(A_ZERO_ROW,),
        causes={"x": "NaN in "},
    ),
    Bug(
        "deviation of a constant",
        "pytorch/pytorch#4320",
        "The gradient divides by a standard deviation of zero.",
        wrong=(deviation_fwd, deviation_divided_by_zero),
        right=(deviation_fwd, deviation_bwd),
        reference=deviation,
        arguments=(A_ZERO_ROW,),
        causes={"x": "NaN in "},
    ),
    Bug(
        "product with a zero",
        "apache/mxnet#18078",
        "The product of the others is computed as the product of all over this one.",
        wrong=(product_fwd, product_by_quotient),
        right=(product_fwd, product_bwd),
        reference=lambda x: jnp.prod(x, axis=1),
        arguments=(ZEROS,),
        causes={"x": "NaN in "},
    ),
    Bug(
        "cumprod with a zero",
        "tensorflow/tensorflow#3862",
        "The reversed sum is divided by x, which is 0 / 0 at a zero.",
        wrong=(products_fwd, products_by_quotient),
        right=(products_fwd, products_bwd),
        reference=lambda x: jnp.cumprod(x, axis=1),
        arguments=(ZEROS,),
        causes={"x": "NaN in "},
    ),
    Bug(
        "cumprod with a zero, covered up",
        "tensorflow/tensorflow#119430",
        "The NaN at a zero is replaced by 0, where the gradient is not 0.",
        wrong=(products_fwd, products_by_quotient_or_zero),
        right=(products_fwd, products_bwd),
        reference=lambda x: jnp.cumprod(x, axis=1),
        arguments=(ZEROS,),
        causes={"x": "zero where it should not be: "},
    ),
    Bug(
        "logsumexp masked too late",
        "jax-ml/jax#23842",
        "Masked entries are exponentiated before the mask: infinity times zero.",
        wrong=(logsumexp_fwd, logsumexp_masked_late),
        right=(logsumexp_fwd, logsumexp_bwd),
        reference=logsumexp,
        arguments=(np.array([[0.5, -1.0, 1000.0], [0.3, 900.0, 2.0]]),),
        options=ALLOWED,
        causes={"x": "NaN in "},
    ),
    Bug(
        "logsumexp of nothing",
        "jax-ml/jax#6811",
        "Where all terms are -inf the gradient subtracts -inf from -inf.",
        wrong=(total_fwd, total_by_softmax),
        right=(total_fwd, total_bwd),
        reference=total,
        arguments=(signed(2, 3),),
        options=SOME,
        causes={"x": "NaN in "},
    ),
    Bug(
        "maximum of ties",
        "apache/mxnet#18563",
        "Each of several largest entries gets the whole gradient.",
        wrong=(maximum_fwd, maximum_to_each),
        right=(maximum_fwd, maximum_bwd),
        reference=lambda x: jnp.max(x, axis=1),
        arguments=(np.array([[1.0, 2.0, 2.0], [0.5, -1.0, 0.3], [1.5, 1.5, 1.5]]),),
        causes={"x": "ties: "},
    ),
)
