"""Combinators around parts with and without parameters: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

import purenet as pn
from oracle.spec import Case, Draw, Error, Flag, Spec, composed

Arguments = tuple[Any, ...]

RESIDUAL = pn.residual(pn.chain(affine=pn.affine, tanh=pn.tanh))
PARALLEL = pn.parallel(straight=pn.affine, bent=pn.sigmoid, deep=pn.residual(pn.chain(affine=pn.affine)))


def residual_by_jax(params: Any, x: Any) -> Any:
    return x + jnp.tanh(jnp.dot(x, params["affine"]["w"]) + params["affine"]["b"])


def parallel_by_jax(params: Any, x: Any) -> Any:
    w = params["straight"]["w"] + params["deep"]["affine"]["w"] + jnp.eye(x.shape[-1], dtype=x.dtype)
    return jnp.dot(x, w) + params["straight"]["b"] + params["deep"]["affine"]["b"] + 1 / (1 + jnp.exp(-x))


def weights(draw: Draw, width: int) -> dict[str, Any]:
    return {"w": draw.normal(width, width), "b": draw.normal(width)}


def around(draw: Draw, *x: int) -> Arguments:
    return {"affine": weights(draw, x[-1])}, draw.normal(*x)


def side_by_side(draw: Draw, *x: int) -> Arguments:
    return {"straight": weights(draw, x[-1]), "deep": {"affine": weights(draw, x[-1])}}, draw.normal(*x)


def cases(make: Any) -> tuple[Case, ...]:
    return (
        Case("three rows", lambda draw: make(draw, 3, 2)),
        Case("two leading dimensions", lambda draw: make(draw, 2, 2, 3)),
        Case("one row", lambda draw: make(draw, 1, 2), flags=frozenset({Flag.BATCH_OF_ONE})),
        Case("no rows", lambda draw: make(draw, 0, 2), flags=frozenset({Flag.EMPTY_BATCH})),
    )


def narrowing(draw: Draw) -> Arguments:
    params, x = around(draw, 3, 2)
    params["affine"] = {"w": params["affine"]["w"][:, :1]}
    return params, x


def narrowing_branch(draw: Draw) -> Arguments:
    params, x = side_by_side(draw, 3, 2)
    params["straight"] = {"w": params["straight"]["w"][:, :1]}
    return params, x


SPECS = (
    Spec(
        RESIDUAL,
        tier=2,
        reference=residual_by_jax,
        source=composed("the formula, by jax.numpy"),
        cases=cases(around),
        strategy=lambda draw: (around(draw, *draw.shape(), draw.between(1, 3)), {}),
        errors=(
            Error("another shape", narrowing, ValueError, "the value must have the shape of x, but x has (3, 2)"),
            Error(
                "integers",
                lambda draw: (around(draw, 2, 2)[0], np.ones((2, 2), np.int64)),
                TypeError,
                "affine: x must be a floa",
            ),
            Error("params in a list", lambda draw: ([], draw.normal(2)), TypeError, "params must be a dict by stage name"),
            Error("no such stage", lambda draw: around(draw, 2, 2), TypeError, "no stage is named 'net'", {"net": {}}),
        ),
    ),
    Spec(
        PARALLEL,
        tier=2,
        reference=parallel_by_jax,
        source=composed("the formula, with one matrix product for all branches"),
        cases=cases(side_by_side),
        strategy=lambda draw: (side_by_side(draw, *draw.shape(), draw.between(1, 3)), {}),
        errors=(
            Error(
                "another shape",
                narrowing_branch,
                ValueError,
                "must be arrays of one shape and dtype",
            ),
            Error(
                "params of one",
                lambda draw: around(draw, 2, 2),
                ValueError,
                "must hold the branches straight, deep",
            ),
            Error("no such branch", lambda draw: side_by_side(draw, 2, 2), TypeError, "no branch is named 'x'", {"x": {}}),
        ),
    ),
)
