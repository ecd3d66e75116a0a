"""Linear maps: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

import purenet as pn
from oracle.spec import Case, Draw, Error, Flag, Spec, library


def affine_by_dot(params: dict[str, Any], x: Any) -> Any:
    y = jnp.dot(x, params["w"])
    return y + params["b"] if "b" in params else y


def affines(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    inner, outer = draw.between(1, 6), draw.between(1, 6)
    params = {"w": draw.normal(inner, outer)}
    if draw.choice([True, False]):
        params["b"] = draw.normal(outer)
    return (params, draw.normal(*draw.shape(), inner)), {}


SPECS = (
    Spec(
        pn.affine,
        reference=affine_by_dot,
        source=library("jax.numpy.dot"),
        cases=(
            Case("batch of 3", lambda draw: ({"w": draw.normal(4, 2), "b": draw.normal(2)}, draw.normal(3, 4))),
            Case("no bias", lambda draw: ({"w": draw.normal(3, 5)}, draw.normal(2, 3))),
            Case(
                "two leading dimensions",
                lambda draw: ({"w": draw.normal(3, 4), "b": draw.normal(4)}, draw.normal(2, 5, 3)),
            ),
            Case("no leading dimension", lambda draw: ({"w": draw.normal(3, 2), "b": draw.normal(2)}, draw.normal(3))),
            Case(
                "one row",
                lambda draw: ({"w": draw.normal(3, 2), "b": draw.normal(2)}, draw.normal(1, 3)),
                flags=frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "no rows",
                lambda draw: ({"w": draw.normal(3, 2), "b": draw.normal(2)}, draw.normal(0, 3)),
                flags=frozenset({Flag.EMPTY_BATCH}),
            ),
        ),
        strategy=affines,
        errors=(
            Error(
                "inner dimension",
                lambda draw: ({"w": draw.normal(4, 2)}, draw.normal(3, 5)),
                ValueError,
                "affine: x must have shape (..., 4) to match params.w (4, 2), got (3, 5)",
            ),
            Error(
                "bias of another width",
                lambda draw: ({"w": draw.normal(4, 2), "b": draw.normal(3)}, draw.normal(3, 4)),
                ValueError,
                "affine: params.b must have shape (2,)",
            ),
            Error(
                "weights are a vector",
                lambda draw: ({"w": draw.normal(4)}, draw.normal(3, 4)),
                ValueError,
                "affine: params.w must have shape (in, out), got (4,)",
            ),
            Error("weights missing", lambda draw: ({}, draw.normal(3, 4)), ValueError, "affine: params must hold w, b (opt"),
            Error(
                "integer x",
                lambda draw: ({"w": draw.normal(2, 2)}, draw.labels(9, 3, 2)),
                TypeError,
                "affine: x must be a floating-point array",
            ),
        ),
    ),
)
