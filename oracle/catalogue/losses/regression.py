"""Losses between numbers: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

import purenet as pn
from oracle.spec import Array, Case, Draw, Error, Flag, Spec, library


def squared_error_by_optax(predictions: Any, targets: Any, *, reduction: str = "mean") -> Any:
    terms = optax.losses.squared_error(predictions, targets)
    if reduction == "none":
        return terms
    return terms.mean() if reduction == "mean" and terms.size else terms.sum()


def half_the_sum_by_optax(predictions: Any, targets: Any) -> Any:
    return jnp.sum(optax.losses.l2_loss(predictions, targets))


def pair(*shape: int, scale: float = 1.0) -> Any:
    """Draws predictions and targets of this shape."""

    def arguments(draw: Draw) -> tuple[Array, Array]:
        return draw.normal(*shape, scale=scale), draw.normal(*shape, scale=scale)

    return arguments


def pairs(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return pair(*draw.shape())(draw), {}


def reduced_pairs(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return pair(*draw.shape())(draw), draw.choice([{}, *({"reduction": r} for r in ("mean", "sum", "none"))])


CASES = (
    Case("two dimensions", pair(3, 5)),
    Case("three dimensions", pair(2, 3, 4, scale=1e3)),
    Case("scalars", lambda draw: (np.array(1.5), np.array(-0.25))),
    Case("some are equal", lambda draw: (np.array([1.0, 2.0, -3.0]), np.array([1.0, 0.5, -3.0]))),
    Case("one row", pair(1, 4), flags=frozenset({Flag.BATCH_OF_ONE})),
    Case("no rows", pair(0, 4), flags=frozenset({Flag.EMPTY_BATCH})),
)


def errors(name: str) -> tuple[Error, ...]:
    return (
        Error(
            "targets of another shape",
            lambda draw: (draw.normal(3, 1), draw.normal(3)),
            ValueError,
            f"{name}: targets must have the shape of predictions (3, 1), got (3,)",
        ),
        Error(
            "integer targets", lambda draw: (draw.normal(3), draw.labels(9, 3)), TypeError, f"{name}: targets must be a float"
        ),
        Error(
            "two dtypes",
            lambda draw: (draw.normal(3), draw.normal(3).astype(np.float32)),
            TypeError,
            f"{name}: arguments must share one dtype, but predictions is float64 and targets is float32",
        ),
    )


SPECS = (
    Spec(
        pn.squared_error,
        reference=squared_error_by_optax,
        source=library("optax.losses.squared_error"),
        cases=(
            *CASES,
            Case("sum", pair(3, 5), {"reduction": "sum"}),
            Case("no reduction", pair(4, 2), {"reduction": "none"}),
        ),
        strategy=reduced_pairs,
        errors=(
            *errors("squared_error"),
            Error(
                "unknown reduction",
                pair(3),
                ValueError,
                "squared_error: reduction must be one of 'mean', 'sum', 'none', got 'average'",
                {"reduction": "average"},
            ),
        ),
    ),
    Spec(
        pn.sum_squared_error,
        reference=half_the_sum_by_optax,
        source=library("optax.losses.l2_loss"),
        cases=CASES,
        strategy=pairs,
        errors=errors("sum_squared_error"),
    ),
)
