"""Losses with a margin that users of torch look for: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from oracle.catalogue.losses.margins import (
    FAR,
    UNMOVED,
    decided,
    errors_of_decisions,
    errors_of_labels,
    labelled_scores,
    scored,
)
from oracle.catalogue.losses.reductions import (
    EMPTY,
    KINK,
    MASKED,
    ONE,
    REPEATED,
    SATURATED,
    bad_options,
    by_entries,
    cases_of_entries,
    fuzzed,
    narrowed,
    weighting,
)
from oracle.spec import Array, Case, Draw, Error, Spec, composed, library
from purenet.losses.further_margins import hinge_embedding_loss, multi_margin_loss, soft_margin_loss


def soft_margin_by_optax(predictor_outputs: Any, targets: Any) -> Any:
    products = predictor_outputs * targets
    return optax.losses.sigmoid_binary_cross_entropy(products, jnp.ones_like(products))


def below(x: Any, bound: Any) -> Any:
    """How far x is below the bound, by a perceptron that should be above it."""
    return optax.losses.perceptron_loss(x - bound, jnp.ones_like(x))


def embedding_by_perceptron(distances: Any, *, labels: Any, margin: float = 1.0) -> Any:
    return jnp.where(jnp.asarray(labels) == 1, distances, below(distances, margin))


def classes_by_perceptron(scores: Any, *, labels: Any, p: int = 1, margin: float = 1.0) -> Any:
    """The other classes are those that a permutation puts behind the label."""
    k = scores.shape[-1]
    own = jnp.take_along_axis(scores, jnp.asarray(labels)[..., None], axis=-1)
    others = (jnp.asarray(labels)[..., None] + jnp.arange(1, k)) % k
    return (below(own - jnp.take_along_axis(scores, others, axis=-1), margin) ** p).sum(axis=-1) / k


def apart(*shape: int, margin: float = 1.0, **_: Any) -> Any:
    """Draws distances that are not near the margin; the first is below it."""

    def arguments(draw: Draw) -> tuple[Array]:
        distances = np.array(margin + draw.away_from([0.0], *shape, gap=0.1))
        distances.reshape(-1)[:1] = margin - 0.5
        return (distances,)

    return arguments


def belonging(draw: Draw, *shape: int) -> Array:
    """Labels 1 and -1, the first of them -1."""
    labels = np.asarray(2 * draw.labels(2, *shape) - 1)
    labels.reshape(-1)[:1] = -1
    return labels


def labelled(*shape: int, **options: Any) -> Any:
    return lambda draw: {"labels": belonging(draw, *shape), **options}


def pairs(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape, margin = draw.shape(), draw.choice([1.0, 0.5, 2.0])
    return apart(*shape, margin=margin)(draw), {
        "labels": belonging(draw, *shape),
        "margin": margin,
        **weighting(draw, shape),
    }


def rows(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    scores, options = labelled_scores(draw)
    return (scores,), {**options, "p": draw.choice([1, 2])}


HOLES = {"where": np.array([True, False, True]), "weight": np.array([0.5, 2.0, 1.25]), "reduction": "none"}

SPECS = (
    Spec(
        soft_margin_loss,
        reference=by_entries(soft_margin_by_optax),
        source=library("optax.losses.sigmoid_binary_cross_entropy"),
        cases=(
            *cases_of_entries(decided),
            Case("targets of columns", narrowed(decided(3, 4), np.s_[:], np.s_[0]), flags=REPEATED),
            Case("targets of rows", narrowed(decided(3, 4), np.s_[:], np.s_[:, :1]), {"reduction": "none"}, REPEATED),
            Case("far from the margin", FAR, {"reduction": "none"}, SATURATED),
        ),
        strategy=fuzzed(decided, broadcasts=False),
        errors=errors_of_decisions(soft_margin_loss, "targets must broadcast to shape (2, 3), got (2, 2)"),
        tier=2,
    ),
    Spec(
        hinge_embedding_loss,
        reference=by_entries(embedding_by_perceptron),
        source=library("optax.losses.perceptron_loss"),
        cases=(
            Case("mean", apart(3, 4), labelled(3, 4)),
            Case("a margin, no reduction", apart(2, 3, margin=0.5), labelled(2, 3, margin=0.5, reduction="none")),
            Case("holes, weights", apart(3), labelled(3, **HOLES), MASKED),
            Case("labels of columns", apart(3, 4, margin=0.5), labelled(4, margin=0.5)),
            Case("distances broadcast", apart(3, 1), labelled(2, 1, 4, margin=2.0, reduction="none"), REPEATED),
            Case("at the margin", lambda draw: (np.array([1.0, 1.0, 0.5]),), {"labels": np.array([-1, 1, -1])}, KINK),
            Case("far apart", lambda draw: (np.array([1e4, -1e4, 2e4]),), {"labels": np.array([1, -1, -1])}, SATURATED),
            Case("beyond the margin", lambda draw: (np.array([1.5, 2.0]),), {"labels": np.array([-1, -1])}, UNMOVED),
            Case("sum of one row", apart(1, 4), labelled(1, 4, reduction="sum"), ONE),
            Case("no rows", apart(0, 4), labelled(0, 4), EMPTY),
        ),
        strategy=pairs,
        errors=(
            Error(
                "integer distances",
                lambda draw: (np.arange(3),),
                TypeError,
                "hinge_embedding_loss: distances must be a floating-point array",
                {"labels": np.array([1, 1, -1])},
            ),
            *bad_options(
                "hinge_embedding_loss",
                apart(2),
                ("a label of 0", "labels must be 1 or -1, got 0", ValueError, {"labels": np.array([0, 1])}),
                ("booleans", "labels must be integers with a sign, got bool", TypeError, {"labels": np.array([True, False])}),
                ("numbers", "labels must be integers with a sign, got float64", TypeError, {"labels": np.array([1.0, -1.0])}),
                ("three labels", "distances (2,) and labels (3,) must broadcast", ValueError, {"labels": np.ones(3, int)}),
                (
                    "a negative margin",
                    "margin must be finite and at least 0, got -1.0",
                    ValueError,
                    {"labels": np.array([1, -1]), "margin": -1.0},
                ),
                ("no labels", "missing the keyword argument 'labels'", TypeError, {}),
            ),
        ),
        tier=2,
    ),
    Spec(
        multi_margin_loss,
        reference=by_entries(classes_by_perceptron),
        source=composed("optax.losses.perceptron_loss of the leads over the other classes"),
        cases=(
            Case("mean over 4 rows", scored(4, 3), {"labels": np.array([2, 0, 1, 0])}),
            Case("squares, a margin", scored(2, 3, 4), lambda draw: {"labels": draw.labels(4, 2, 3), "p": 2, "margin": 0.75}),
            Case("holes, weights", scored(3, 4), {"labels": np.array([1, 3, 0]), **HOLES}, MASKED),
            Case(
                "leads of 1",
                lambda draw: (np.array([[0.5, 1.5, -0.5], [3.0, 2.0, 0.0]]),),
                {"labels": np.array([0, 0]), "reduction": "none"},
                KINK,
            ),
            Case(
                "far apart",
                lambda draw: (np.array([[1e4, -1e4, 5.0], [-1e4, 1e4, 5.0]]),),
                {"labels": np.array([1, 1]), "reduction": "none"},
                SATURATED,
            ),
            Case("nothing to gain", lambda draw: (np.array([[0.5, 3.0], [2.0, -1.0]]),), {"labels": np.array([1, 0])}, UNMOVED),
            Case("sum of one row", scored(1, 4), {"labels": np.array([3]), "reduction": "sum"}, ONE),
            Case("no rows", lambda draw: (np.zeros((0, 4)),), {"labels": np.zeros(0, np.int64)}, EMPTY),
        ),
        strategy=rows,
        errors=(
            *errors_of_labels("multi_margin_loss"),
            *bad_options(
                "multi_margin_loss",
                scored(2, 3),
                ("cubes", "p must be one of 1, 2, got 3", ValueError, {"labels": np.array([0, 1]), "p": 3}),
                (
                    "a negative margin",
                    "margin must be finite and at least 0, got -1.0",
                    ValueError,
                    {"labels": np.array([0, 1]), "margin": -1.0},
                ),
            ),
        ),
        tier=2,
    ),
)
