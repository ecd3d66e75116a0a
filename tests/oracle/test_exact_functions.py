"""The functions of NumPy, scipy.special, math and JAX on balls: values beside float64's, derivatives beside differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from math import tanh
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optree
import pytest
import scipy.special
from numpy import array, zeros
from numpy.lib.stride_tricks import sliding_window_view
from scipy import sparse, special
from scipy.special import logsumexp

from oracle.exact.elementary import BINARY, STEPS, UNARY
from oracle.exact.jaxpr import forward_of
from oracle.exact.kinks import NotExact
from oracle.exact.witness import Enclosure, directional

X = np.array([[0.3, -1.2, 2.5], [1.1, -0.4, 0.7], [-0.9, 1.7, 0.2], [0.6, 0.8, -2.1]])
SQUARE = np.array([[4.0, 0.5, -0.3], [0.2, 3.0, 0.7], [-0.6, 0.1, 5.0]])
Function = Callable[..., Any]


def check(function: Function, *primals: Any, exact: Function | None = None, rtol: float = 1e-6) -> Enclosure:
    """The value must be float64's to its rounding, the derivative that of central differences."""
    generator = np.random.default_rng(3)
    tangents = tuple(generator.normal(size=np.shape(p)) for p in primals)
    value = optree.tree_leaves(function(*primals))
    weights = [generator.normal(size=np.shape(leaf)) for leaf in value]
    exactly = exact or function
    found = directional(lambda *a: optree.tree_leaves(exactly(*a)), primals, {}, tangents, weights)
    step = 1e-6

    def contracted(h: float) -> float:
        moved = [p + h * t for p, t in zip(primals, tangents, strict=True)]
        return sum(float(np.sum(w * v)) for w, v in zip(weights, optree.tree_leaves(function(*moved)), strict=True))

    slope = (contracted(step) - contracted(-step)) / (2 * step)
    assert found.nearest == pytest.approx(slope, rel=rtol, abs=1e-8)
    assert found.misfit < 1e-13
    return found


# -------------------------------------------------------------------------------------------- elementary functions

WITHIN = {"arcsin", "arccos", "arctanh", "erfinv", "ndtri", "logit", "entr"}
"""Functions of numbers between 0 and 1; `arccosh` takes numbers above 1, the others positive ones and mostly any."""
POSITIVE = {"log", "log2", "log10", "sqrt", "loggamma", "log1p"}


def ufunc(name: str) -> Any:
    return getattr(np, name, None) or getattr(special, name)


@pytest.mark.parametrize("name", [n for n in UNARY if hasattr(np, n) or hasattr(special, n)])
def test_a_function_of_one_number(name: str) -> None:
    inside = np.array([0.15, 0.4, 0.83])
    x = inside if name in WITHIN else inside + 1 if name == "arccosh" else inside * 3 if name in POSITIVE else X[:2] + 0.05
    check(ufunc(name), x)


@pytest.mark.parametrize("name", [n for n in BINARY if n not in ("ldexp", "copysign", "heaviside")])
def test_a_function_of_two_numbers(name: str) -> None:
    a, b = np.array([0.7, 1.9, 3.3]), np.array([1.2, 0.45, 2.6])
    function = ufunc(name)
    check(function, a, b)
    check(lambda x: function(x, b), a)
    check(lambda x: function(a, x), b)


@pytest.mark.parametrize("name", [n for n in STEPS if n != "signbit"])
def test_a_function_that_jumps_is_constant_between_its_jumps(name: str) -> None:
    assert check(lambda x: ufunc(name)(x) * x + ufunc(name)(x), X + 0.01).kinks == ()


@pytest.mark.parametrize("name", ["isfinite", "isnan", "isinf", "signbit", "isneginf", "isposinf"])
def test_a_predicate_is_a_mask(name: str) -> None:
    check(lambda x: np.where(ufunc(name)(x), x, 2 * x), X)


# -------------------------------------------------------------------------------------------- arrays


def by_loops(x: Any) -> Any:
    out = np.zeros(len(x))
    for i in range(len(x)):
        total = 0.0
        for entry in x[i]:
            total += math.exp(entry) * tanh(entry)
        out[i] = total
    return out


def by_imported_names(x: Any) -> Any:
    out = zeros((3,))
    out[1:] = x[0, :2]
    return array([out, [out[1], 2.0, x[0, 0]]])


def softmax_in_place(x: Any) -> Any:
    y = np.array(x)
    y -= y.max(axis=1, keepdims=True)
    np.exp(y, out=y)
    y /= y.sum(axis=1, keepdims=True)
    return y


def masked(x: Any) -> Any:
    y = x.copy()
    y[y < 0] = 0
    y[y > 1] *= 2
    np.copyto(y, 7 * x, where=y > 3)
    return y


def scattered(x: Any) -> Any:
    total = np.zeros((2, 3))
    np.add.at(total, [0, 1, 1, 0], x)
    np.put_along_axis(total, np.array([[2], [0]]), x[:2, :1], axis=1)
    return total + np.bincount([0, 1, 1, 2], weights=x[:, 0])[:2, None]


def two(x: Any) -> Any:
    return np.frexp(x)[0] * x, np.ldexp(x, np.frexp(np.abs(x).max())[1])


FUNCTIONS: dict[str, Function] = {
    "loops": by_loops,
    "imported names": by_imported_names,
    "in place": softmax_in_place,
    "masks": masked,
    "scatter": scattered,
    "frexp": two,
    "moments": lambda x: x.var(0) + x.std(0, ddof=1) + x.mean(0) + np.median(x, 0) + np.average(x, 0, weights=[1, 2, 3, 4]),
    "norms": lambda x: np.linalg.norm(x) + np.linalg.norm(x, axis=1) + np.linalg.norm(x, np.inf, axis=1),
    "products": lambda x: x @ x.T @ x + np.einsum("ij,kj,kl->il", x, x, x, optimize=True) + np.tensordot(x, x.T, 1) @ x,
    "outer": lambda x: np.outer(x[0], x[1]) + np.multiply.outer(x[0], x[2]) + np.kron(x[0], x[1])[:3],
    "running": lambda x: x.cumsum(0) + np.cumprod(x, 1) + np.logaddexp.accumulate(x) + np.maximum.accumulate(x, 1),
    "reduced": lambda x: np.prod(x, 0) + np.logaddexp.reduce(x) + np.ptp(x, 0) + x.min(0) + np.add.reduceat(x, [0, 2])[0],
    "order": lambda x: np.sort(x, axis=0)[::-1] * [1, 2, 3] + x[np.argsort(-x[:, 0])] + np.partition(x, 1, axis=1),
    "where": lambda x: np.select([x < -1, x < 1], [x * 0, x**3], x) + np.piecewise(x, [x < 0, x >= 0], [np.sin, np.square]),
    "moves": lambda x: (
        np.roll(np.pad(x, ((1, 0), (0, 0))), 1, 0)[1:] + np.flip(x) + np.tile(x[:1], (4, 1)) + np.moveaxis(x.T, 0, 1)
    ),
    "joins": lambda x: np.concatenate([x, np.stack([x[0], x[1]])])[:4] + np.vstack(np.split(x, 2)) + np.r_[x[2:], x[:2]],
    "windows": lambda x: sliding_window_view(x, (2, 2)).sum(axis=(2, 3)) * np.convolve(x[:, 0], x[:2, 1])[:3, None],
    "triangles": lambda x: np.tril(x[:3]) + np.diag(x[0]) + np.triu(x[1:], 1) * np.trace(x[:3]),
    "steps": lambda x: x % 1.0 + np.floor(x) * x + x // 0.3 + x * x.astype(int) + np.round(x),
    "tables": lambda x: np.interp(x, [-3.0, -1, 0, 1, 4], [0.0, 1, 4, 2, 1]) + x * np.digitize(x, [-1, 0, 1]),
    "lists": lambda x: np.array([[v * 2 for v in row] for row in x.tolist()]) + x.sum().item() + sum(row[0] for row in x),
    "python": lambda x: (
        reduce(np.add, [x, x]) + np.vectorize(lambda v: v * math.erf(v))(x) + np.apply_along_axis(lambda r: r * r.sum(), 1, x)
    ),
    "like": lambda x: (np.zeros_like(x) + 1) * x + np.full_like(x, 2.0) * np.full(x.shape, x[0, 0]) + np.ones(3) * x,
    "views": lambda x: x.T.reshape(-1)[::2].copy().reshape(2, 3) @ x.ravel()[:3] + np.ascontiguousarray(x.T)[1, :2],
    "gaps": lambda x: np.diff(x, axis=0).sum() + np.trapezoid(x, axis=0) + np.nan_to_num(x).sum(),
    "equations": lambda x: (
        np.linalg.solve(SQUARE + x[:3], x[0]) * np.linalg.det(SQUARE + x[:3]) + np.linalg.inv(SQUARE + x[1:])
    ),
    "likelihood": lambda x: np.linalg.slogdet(SQUARE + x[:3])[1] + np.linalg.cholesky(x.T @ x + np.eye(3)),
    "logsumexp": lambda x: logsumexp(x, axis=1) + special.logsumexp(x) + scipy.special.softmax(x, axis=1)[:, 0],
    "sparse": lambda x: sparse.csr_array(([1.0, 2.0], ([0, 1], [1, 3])), shape=(2, 4)) @ x,
    "masked scores": lambda x: softmax_in_place(np.where(np.tri(4, 3, 1) > 0, x, -np.inf)),
    "a seeded generator": lambda x: x * np.random.default_rng(3).normal(size=x.shape),
    "checks": lambda x: 3 * x if isinstance(x, np.ndarray) and np.issubdtype(x.dtype, np.floating) and (x > -9).all() else None,
    "zero dimensions": lambda x: np.asarray(np.tanh(x[0, 0]) * x[1, 1], dtype=float).astype(x.dtype, copy=False),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_arrays(name: str) -> None:
    assert check(FUNCTIONS[name], X + 0.01).sides is None


# -------------------------------------------------------------------------------------------- JAX


def by_scan(x: Any) -> Any:
    state, rows = jax.lax.scan(lambda h, row: (jnp.tanh(h + row), h * row), jnp.zeros(3), x, reverse=True)
    return state + rows.sum(0)


def convolved(x: Any) -> Any:
    image = x.reshape(1, 2, 6)
    kernel = x[:2].reshape(2, 1, 3)
    return jax.lax.conv_general_dilated(
        image, kernel, (2,), [(1, 2)], lhs_dilation=(2,), rhs_dilation=(2,), feature_group_count=2
    )


def pooled(x: Any) -> Any:
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2, 2), (1, 1), "VALID") + jax.lax.reduce_window(
        x, 0.0, jax.lax.add, (2, 2), (1, 1), "VALID"
    )


OF_JAX: dict[str, Function] = {
    "softplus": jax.nn.softplus,
    "log softmax": jax.jit(lambda x: jax.nn.log_softmax(x, axis=1)),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False) + jax.checkpoint(jax.nn.silu)(x),
    "scan": by_scan,
    "while": lambda x: jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x))[1],
    "cond": lambda x: jax.lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x),
    "gather": lambda x: x[jnp.array([2, 0]), :][:, ::-1] + jnp.take_along_axis(x[:2], jnp.array([[0], [2]]), axis=1),
    "update": lambda x: x.at[1:3].set(2 * x[:2]) + jax.lax.dynamic_update_slice(x, x[:1] * 3, (2, 0)),
    "sort": lambda x: jnp.sort(x, axis=0) + jax.lax.top_k(x, 2)[0][:, :1],
    "products": lambda x: jnp.einsum("bij,bjk->bik", x.reshape(2, 3, 2), x.reshape(2, 2, 3)) + jnp.cumsum(x[:3], 0),
    "convolution": convolved,
    "pooling": pooled,
    "special": lambda x: jax.scipy.special.erf(x) + jax.scipy.special.gammaln(x * x + 1) + jax.scipy.special.logsumexp(x),
    "clip": lambda x: jnp.clip(x, -1, 1) + jnp.round(x) + x**3 + jnp.where(x > 0, x, 0.1 * x),
}


@pytest.mark.parametrize("name", OF_JAX)
def test_functions_of_jax(name: str) -> None:
    function = OF_JAX[name]

    def in_float64(x: Any) -> Any:
        with jax.enable_x64(True):
            return optree.tree_map(np.asarray, function(jnp.asarray(x)))

    x = X + 0.01
    check(in_float64, x, exact=forward_of(function, (x,), {}))


def test_a_kink_of_jax_has_its_line() -> None:
    def hinge(x: Any) -> Any:
        return jnp.maximum(x, 0.0)

    found = directional(forward_of(hinge, (np.zeros(1),), {}), (np.zeros(1),), {}, (np.ones(1),), np.ones(1))
    assert [kink.line for kink in found.kinks] == ["return jnp.maximum(x, 0.0)"]
    assert found.sides is not None


def summed_over_none(x: Any) -> Any:
    def step(total: Any, row: Any) -> tuple[Any, Any]:
        return total + row, row

    return x + jax.lax.scan(step, x[0], x[:0])[0]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x.at[jnp.array([0, 0, 1, 1])].add(2 * x), "no exact rule for the JAX primitive scatter-add"),
        (lambda x: jnp.sin(x.astype(jnp.float32)), "computes in float32"),
        (summed_over_none, "no exact rule for a scan of no steps"),
    ],
)
def test_what_jax_does_without_a_rule(function: Function, reason: str) -> None:
    forward = forward_of(function, (X,), {})
    with pytest.raises(NotExact, match=reason):
        directional(forward, (X,), {}, (X,), X)
