"""Losses of sampled classes: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from oracle.catalogue.linear.lookup import NONE, ONE, REPEATED, bad, table_and_h
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.losses import negative_sampling_loss


def sampling_by_optax(params: dict[str, Any], h: Any, *, targets: Any, negatives: Any, reduction: str = "mean") -> Any:
    logits = h @ params["w"].T
    right = jnp.take_along_axis(logits, jnp.asarray(targets)[..., None], axis=-1)
    wrong = jnp.take_along_axis(logits, jnp.asarray(negatives), axis=-1)
    terms = jnp.sum(optax.losses.sigmoid_binary_cross_entropy(right, jnp.ones_like(right)), axis=-1)
    terms += jnp.sum(optax.losses.sigmoid_binary_cross_entropy(wrong, jnp.zeros_like(wrong)), axis=-1)
    return terms if reduction == "none" else terms.sum() / (max(terms.size, 1) if reduction == "mean" else 1)


def samplings(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    rows, width, leading = draw.between(1, 5), draw.between(1, 4), draw.shape(0, 2, 3)
    options = {"targets": draw.labels(rows, *leading), "negatives": draw.labels(rows, *leading, draw.between(1, 3))}
    return table_and_h(rows, *leading, width)(draw), {**options, "reduction": draw.choice(["mean", "sum", "none"])}


def bad_sampling(what: str, match: str, by: type[Exception] = ValueError, **options: Any) -> Error:
    good = {"targets": np.array([0, 4]), "negatives": np.array([[1], [2]])}
    return bad(table_and_h(5, 2, 3), "negative_sampling_loss", what, match, {**good, **options}, by)


SPECS = (
    Spec(
        negative_sampling_loss,
        reference=sampling_by_optax,
        source=library("optax.losses.sigmoid_binary_cross_entropy"),
        cases=(
            Case(
                "mean over 3 rows",
                table_and_h(6, 3, 4),
                {"targets": np.array([1, 5, 0]), "negatives": np.array([[2, 3], [4, 2], [3, 5]])},
            ),
            Case(
                "sum, two leading dimensions",
                table_and_h(5, 2, 2, 3),
                {"targets": np.array([[1, 0], [4, 1]]), "negatives": np.array([[[2], [3]], [[0], [2]]]), "reduction": "sum"},
            ),
            Case(
                "a target among the negatives, no reduction",
                table_and_h(3, 2, 3),
                {"targets": np.array([1, 1]), "negatives": np.array([[1, 2, 2], [0, 1, 1]]), "reduction": "none"},
                REPEATED,
            ),
            Case(
                "certain rows",
                lambda draw: ({"w": np.array([[100.0, 1.0], [-100.0, 2.0]])}, np.array([[100.0, 1.0], [-0.4, 2.0]])),
                {"targets": np.array([0, 0]), "negatives": np.array([[1, 1], [1, 1]]), "reduction": "none"},
                frozenset({Flag.SATURATED, Flag.REPEATED}),
            ),
            Case("one row", table_and_h(3, 1, 2), {"targets": np.array([1]), "negatives": np.array([[2, 0]])}, ONE),
            Case(
                "no rows",
                table_and_h(3, 0, 2),
                {"targets": np.zeros(0, np.int64), "negatives": np.zeros((0, 2), np.int64)},
                NONE,
            ),
        ),
        strategy=samplings,
        errors=(
            bad_sampling("target too large", "targets must be in 0..4, got 5", targets=np.array([0, 5])),
            bad_sampling("negative too small", "negatives must be in 0..4, got -1", negatives=np.array([[0], [-1]])),
            bad_sampling("targets of another shape", "targets must have shape (2,) to match", targets=np.array([0])),
            bad_sampling("one negative less", "negatives must have shape (*(2,), k) to match", negatives=np.array([[1]])),
            bad_sampling("negatives of float type", "negatives must be integers", TypeError, negatives=np.ones((2, 1))),
            bad_sampling("unknown reduction", "reduction must be one of 'mean', 'sum', 'none', got 'avg'", reduction="avg"),
        ),
    ),
)
