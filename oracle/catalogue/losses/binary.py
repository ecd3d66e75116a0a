"""Losses of yes-or-no predictions: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

import purenet as pn
from oracle.spec import Array, Case, Draw, Error, Flag, Spec, library


def binary_cross_entropy_by_optax(
    logits: Any, labels: Any, *, pos_weight: Any = None, where: Any = None, reduction: str = "mean"
) -> Any:
    loss = optax.losses.sigmoid_binary_cross_entropy
    if pos_weight is None:
        terms = loss(logits, labels)
    else:
        # The loss is linear in its label: that of yes, weighted, and that of no.
        yes, no = loss(logits, jnp.ones_like(logits)), loss(logits, jnp.zeros_like(logits))
        terms = jnp.asarray(pos_weight, logits.dtype) * labels * yes + (1 - labels) * no
    where = jnp.broadcast_to(True if where is None else where, terms.shape)
    terms = jnp.where(where, terms, 0)
    if reduction == "none":
        return terms
    return terms.sum() / jnp.maximum(where.sum(), 1).astype(terms.dtype) if reduction == "mean" else terms.sum()


def soft(*shape: int, scale: float = 1.0) -> Any:
    """Draws logits, and labels between 0 and 1."""

    def arguments(draw: Draw) -> tuple[Array, Array]:
        return draw.normal(*shape, scale=scale), draw.uniform(*shape)

    return arguments


def hard(draw: Draw) -> tuple[Array, Array]:
    return draw.normal(4, 3, scale=2.0), draw.mask(4, 3).astype(np.float64)


def ends(draw: Draw) -> tuple[Array, Array]:
    """Certain of the right and of the wrong, beside ordinary predictions."""
    logits = np.concatenate([draw.normal(3), [1e4, -1e4, 1e4, -1e4, 40.0, -40.0, 750.0, -750.0]])
    return logits, np.concatenate([[0.0, 1.0, 0.5], [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.25, 0.75]])


def binaries(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = draw.shape()
    options: dict[str, Any] = {"reduction": draw.choice(["mean", "sum", "none"])}
    if draw.choice([False, True]):
        options["pos_weight"] = draw.uniform(*draw.choice([shape, shape[-1:], ()]), low=0.5, high=3.0)
    if draw.choice([False, True]):
        options["where"] = kept = np.asarray(draw.mask(*draw.choice([shape, shape[-1:]])))
        kept.reshape(-1)[:1] = True  # where nothing counts there is no gradient to look at
    return soft(*shape, scale=draw.choice([1.0, 3.0]))(draw), options


HOLES = np.array([[True, False, True], [True, True, False]])

SPECS = (
    Spec(
        pn.sigmoid_binary_cross_entropy,
        reference=binary_cross_entropy_by_optax,
        source=library("optax.losses.sigmoid_binary_cross_entropy"),
        cases=(
            Case("soft labels", soft(3, 5)),
            Case("hard labels", hard),
            Case("sum over three dimensions", soft(2, 3, 4), {"reduction": "sum"}),
            Case("no reduction", soft(4, 2), {"reduction": "none"}),
            Case("weight of yes", soft(3, 4), lambda draw: {"pos_weight": draw.uniform(4, low=0.5, high=3.0)}),
            Case("one weight of yes, no reduction", soft(3, 4), {"pos_weight": 2.5, "reduction": "none"}),
            Case("weight of yes is zero", soft(3, 2), {"pos_weight": np.array([0.0, 1.5])}, frozenset({Flag.MASKED})),
            Case("holes", soft(2, 3), {"where": HOLES}, frozenset({Flag.MASKED})),
            Case(
                "holes, weight of yes, no reduction",
                soft(2, 3),
                {"where": HOLES, "pos_weight": np.array([0.5, 2.0, 1.5]), "reduction": "none"},
                frozenset({Flag.MASKED}),
            ),
            Case(
                "nothing counts",
                soft(2, 3),
                {"where": np.zeros((2, 3), np.bool_)},
                frozenset({Flag.MASKED, Flag.ZERO_GRADIENT}),
            ),
            Case("certain predictions", ends, {"reduction": "none"}, frozenset({Flag.SATURATED})),
            Case(
                "certain predictions, weight of yes",
                ends,
                {"pos_weight": 3.0, "reduction": "none"},
                frozenset({Flag.SATURATED}),
            ),
            Case("scalars", lambda draw: (np.array(0.5), np.array(0.25))),
            Case("one row", soft(1, 4), flags=frozenset({Flag.BATCH_OF_ONE})),
            Case("no rows", soft(0, 4), flags=frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=binaries,
        errors=(
            Error(
                "labels of another shape",
                lambda draw: (draw.normal(3, 1), draw.uniform(3)),
                ValueError,
                "sigmoid_binary_cross_entropy: labels must have the shape of logits (3, 1), got (3,)",
            ),
            Error(
                "integer labels",
                lambda draw: (draw.normal(3), draw.labels(2, 3)),
                TypeError,
                "sigmoid_binary_cross_entropy: labels must be a floating-point array",
            ),
            Error(
                "negative weight of yes",
                soft(3),
                ValueError,
                "sigmoid_binary_cross_entropy: pos_weight must be finite and at least 0, got -1.0",
                {"pos_weight": -1.0},
            ),
            Error(
                "weights of another width",
                soft(2, 3),
                ValueError,
                "sigmoid_binary_cross_entropy: pos_weight must have a shape that broadcasts to (2, 3), got (2,)",
                {"pos_weight": np.ones(2)},
            ),
            Error(
                "mask of numbers",
                soft(3),
                TypeError,
                "sigmoid_binary_cross_entropy: where must be an array of booleans",
                {"where": np.ones(3)},
            ),
            Error(
                "unknown reduction",
                soft(3),
                ValueError,
                "sigmoid_binary_cross_entropy: reduction must be one of 'mean', 'sum', 'none', got None",
                {"reduction": None},
            ),
        ),
    ),
)
