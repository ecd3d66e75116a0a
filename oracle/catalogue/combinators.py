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


TIED = pn.tied(pn.chain(embedding=pn.embedding, tanh=pn.tanh, affine=pn.affine, again=pn.affine), again="affine")


def residual_by_jax(params: Any, x: Any) -> Any:
    return x + jnp.tanh(jnp.dot(x, params["affine"]["w"]) + params["affine"]["b"])


def parallel_by_jax(params: Any, x: Any) -> Any:
    w = params["straight"]["w"] + params["deep"]["affine"]["w"] + jnp.eye(x.shape[-1], dtype=x.dtype)
    return jnp.dot(x, w) + params["straight"]["b"] + params["deep"]["affine"]["b"] + 1 / (1 + jnp.exp(-x))


def tied_by_jax(params: Any, *, embedding: dict[str, Any]) -> Any:
    h = jnp.tanh(jnp.take(params["embedding"]["w"], embedding["ids"], axis=0))
    w, b = params["affine"]["w"], params["affine"]["b"]
    return jnp.einsum("...i,ij,jk->...k", h, w, w) + jnp.dot(b, w) + b


def weights(draw: Draw, width: int) -> dict[str, Any]:
    return {"w": draw.normal(width, width), "b": draw.normal(width)}


def around(draw: Draw, *x: int) -> Arguments:
    return {"affine": weights(draw, x[-1])}, draw.normal(*x)


def side_by_side(draw: Draw, *x: int) -> Arguments:
    return {"straight": weights(draw, x[-1]), "deep": {"affine": weights(draw, x[-1])}}, draw.normal(*x)


def words(draw: Draw, rows: int, width: int, *shape: int) -> tuple[Arguments, dict[str, Any]]:
    params = {"embedding": {"w": draw.normal(rows, width)}, "affine": weights(draw, width)}
    return (params,), {"embedding": {"ids": draw.labels(rows, *shape)}}


def named_words(name: str, *sizes: int, flags: frozenset[Flag] = frozenset()) -> Case:
    return Case(name, lambda draw: words(draw, *sizes)[0], lambda draw: words(draw, *sizes)[1], flags)


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
            Error("no such branch", lambda draw: side_by_side(draw, 2, 2), TypeError, "no branch is named 'y'", {"y": {}}),
        ),
    ),
    Spec(
        TIED,
        tier=2,
        reference=tied_by_jax,
        source=composed("the formula, with both matrices in one sum of products"),
        cases=(
            named_words("two sequences", 4, 3, 2, 3),
            named_words("a repeated word", 1, 2, 4, flags=frozenset({Flag.REPEATED})),
            named_words("no words", 3, 2, 0, flags=frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=lambda draw: words(draw, draw.between(1, 4), draw.between(1, 3), *draw.shape()),
        errors=(
            Error(
                "params of both",
                lambda draw: ({**words(draw, 3, 2, 4)[0][0], "again": weights(draw, 2)},),
                ValueError,
                "params must hold the stages embedding, affine, got embedding, affine, again",
                {"embedding": {"ids": np.array([0])}},
            ),
            Error(
                "data",
                lambda draw: (*words(draw, 3, 2, 4)[0], draw.normal(2)),
                TypeError,
                "takes 1 positional argument (params), got 2",
            ),
        ),
    ),
)
