"""Pairs of functions to plant errors in, and what the tests read from a verification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from oracle.row import Row, Verdict
from oracle.verification import Verification, verify

Array: TypeAlias = NDArray[Any]
Function: TypeAlias = Callable[[Array], Any]
Pair: TypeAlias = tuple[Callable[..., Any], Callable[..., Any]]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def signed(*shape: int, seed: int = 0) -> Array:
    """Numbers of random sign between 1/2 and 3/2: none small, none alike."""
    generator = np.random.default_rng([seed, *shape, 1])
    return generator.choice([-1.0, 1.0], size=shape) * generator.uniform(0.5, 1.5, size=shape)


def elementwise(function: Function, slope: Function) -> Pair:
    """y = f(x), entry by entry, with `slope` as its derivative."""

    def entrywise_fwd(x: Array) -> tuple[Any, Any]:
        return function(x), x.copy()

    def entrywise_bwd(x: Array, dy: Array) -> tuple[Any]:
        return (np.asarray(slope(x) * dy, x.dtype),)

    return entrywise_fwd, entrywise_bwd


def cube(wrong: Callable[[Array], Any] = lambda dx: dx) -> Pair:
    """y = x**3, whose right cotangent `wrong` changes."""

    def cube_fwd(x: Array) -> tuple[Array, Array]:
        return x**3, x.copy()

    def cube_bwd(x: Array, dy: Array) -> tuple[Any]:
        return (wrong(3 * x**2 * dy),)

    return cube_fwd, cube_bwd


def decaying_sums(block: int) -> Pair:
    """h = 0.8 h + x[t]; the backward pass forgets the carry at each end of a block."""

    def sums_fwd(x: Array) -> Any:
        h, rows = np.zeros(x.shape[1]), []
        for row in x:
            h = 0.8 * h + row
            rows.append(h)
        return np.stack(rows), x.shape

    def sums_bwd(shape: tuple[int, ...], dy: Array) -> Any:
        d, dx = np.zeros(shape[1]), np.zeros(shape)
        for t in reversed(range(shape[0])):
            d = 0.8 * d * ((t + 1) % block != 0) + dy[t]
            dx[t] = d
        return (dx,)

    return sums_fwd, sums_bwd


def dense(
    dw: Callable[[Array, Array], Any] = lambda x, dy: x.T @ dy, dx: Callable[[Array, Array], Any] = lambda w, dy: dy @ w.T
) -> Pair:
    """y = x @ w, whose cotangents `dw(x, dy)` and `dx(w, dy)` may be wrong."""

    def dense_fwd(w: Array, x: Array) -> tuple[Array, Any]:
        return x @ w, (w.copy(), x.copy())

    def dense_bwd(residuals: Any, dy: Array) -> tuple[Any, Any]:
        w, x = residuals
        return dw(x, dy), dx(w, dy)

    return dense_fwd, dense_bwd


def row(result: Verification, parameter: str | None = None) -> Row:
    """The one row, or the one about `parameter`."""
    rows = [r for r in result.rows if parameter is None or r.parameter == parameter]
    assert len(rows) == 1, f"one row expected:\n{result}"
    return rows[0]


def found(op: Any, *primals: Any, **options: Any) -> tuple[Verdict, str]:
    """The verdict and the diagnosis of an op with one argument and nothing else wrong."""
    only = row(verify(op, *primals, **options))
    return only.verdict, only.diagnosis


def of_values(op: Any, *primals: Any, **options: Any) -> tuple[Verdict, str]:
    """The verdict and the diagnosis of the row about the values; the gradient of the one argument is right."""
    result = verify(op, *primals, **options)
    gradients = [r for r in result.rows if r.parameter]
    assert [(r.passed, "judged by the differences alone" in r.note) for r in gradients] == [(True, True)], result
    one = row(result, "")
    return one.verdict, one.diagnosis


def causes(op: Pair, *primals: Any, reference: Callable[..., Any] | None = None, **options: Any) -> dict[str, str]:
    """The diagnosis of each gradient that is wrong, by parameter."""
    result = verify(op, *primals, reference=reference, **options)
    return {r.parameter: r.diagnosis for r in result.rows if not r.passed}


def sorted_fwd(x: Array) -> Any:
    order = np.argsort(x, kind="stable")
    return x[order], order


def sorted_bwd(order: Array, dy: Array) -> Any:
    dx = np.empty_like(dy)
    dx[order] = dy
    return (dx,)
