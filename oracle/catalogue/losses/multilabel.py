"""Losses of rows with several labels: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from oracle.catalogue.losses.binary import ends, soft
from oracle.catalogue.losses.further_margins import below
from oracle.catalogue.losses.margins import UNMOVED, scored
from oracle.catalogue.losses.reductions import (
    EMPTY,
    KINK,
    MASKED,
    ONE,
    REPEATED,
    SATURATED,
    bad_options,
    by_entries,
    errors_of,
    narrowed,
    reduced,
    weighting,
)
from oracle.spec import Array, Case, Draw, Error, Spec, composed, library
from purenet.losses.multilabel import multilabel_margin_loss, multilabel_soft_margin_loss


def classes_by_optax(scores: Any, targets: Any, *, weight: Any = None, where: Any = None, reduction: str = "mean") -> Any:
    terms = optax.losses.sigmoid_binary_cross_entropy(*jnp.broadcast_arrays(scores, targets))
    if weight is not None:
        terms = terms * jnp.asarray(weight, terms.dtype)
    return reduced(terms.mean(axis=-1), reduction, where=where)


def labels_by_perceptron(scores: Any, *, labels: Any) -> Any:
    """Each pair of classes, as often as the first is a label and the second is none."""
    labels, k = jnp.asarray(labels), scores.shape[-1]
    listed = jnp.cumsum(labels == -1, axis=-1) == 0
    times = (jax.nn.one_hot(labels, k, dtype=scores.dtype) * listed[..., None]).sum(axis=-2)
    lacks = below(scores[..., :, None] - scores[..., None, :], 1.0)
    return jnp.einsum("...j,...jk,...k->...", times, lacks, times == 0) / k


def weighted_classes(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    rows, classes = draw.shape(0, 2), draw.between(1, 4)
    options: dict[str, Any] = {"reduction": draw.choice(["mean", "sum", "none"])}
    if draw.choice([False, True]):
        options["weight"] = draw.uniform(*draw.choice([(classes,), (*rows, classes), ()]), low=0.5, high=3.0)
    if draw.choice([False, True]):
        options["where"] = kept = np.asarray(draw.mask(*rows))
        kept.reshape(-1)[:1] = True
    return soft(*rows, classes)(draw), options


def listed(draw: Draw, classes: int, *shape: int) -> Array:
    """Labels and ends of lists; the first row has the label 0 alone."""
    labels = np.asarray(draw.labels(classes + 1, *shape) - 1)
    labels.reshape(-1)[: shape[-1]] = [0, *[-1] * (shape[-1] - 1)]
    return labels


def several(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The first row costs something: the class of its only label has the lowest score."""
    rows, classes = draw.shape(0, 2), draw.between(2, 5)
    (scores,) = scored(*rows, classes)(draw)
    first = scores.reshape(-1, classes)[0]
    first[:] = np.sort(first)
    return (scores,), {"labels": listed(draw, classes, *rows, draw.between(1, classes)), **weighting(draw, rows)}


def lists(*rows: list[Any], **options: Any) -> dict[str, Any]:
    return {"labels": np.array(rows), **options}


SPECS = (
    Spec(
        multilabel_soft_margin_loss,
        reference=classes_by_optax,
        source=library("optax.losses.sigmoid_binary_cross_entropy"),
        cases=(
            Case("mean over 3 rows", soft(3, 4)),
            Case("weights of classes", soft(2, 3, 4), {"weight": np.array([0.5, 2.0, 1.25, 3.0])}),
            Case("the same targets of all rows", narrowed(soft(3, 4), np.s_[:], np.s_[0]), {"reduction": "none"}, REPEATED),
            Case(
                "a target of all classes",
                narrowed(soft(2, 3, 4), np.s_[:, :1], np.s_[0, :, :1]),
                {},
                REPEATED,
            ),
            Case(
                "weights of entries, holes",
                soft(3, 2),
                {
                    "weight": np.array([[0.5, 2.0], [1.25, 0.0], [3.0, 0.75]]),
                    "where": np.array([True, True, False]),
                    "reduction": "none",
                },
                MASKED,
            ),
            Case(
                "certain predictions",
                lambda draw: tuple(a[3:].reshape(2, 4) for a in ends(draw)),
                {"reduction": "none"},
                SATURATED,
            ),
            Case("sum of one row", soft(1, 4), {"reduction": "sum"}, ONE),
            Case("no rows", soft(0, 4), {}, EMPTY),
        ),
        strategy=weighted_classes,
        errors=(
            *errors_of("multilabel_soft_margin_loss", soft, ("scores", "targets")),
            Error(
                "more classes of targets",
                lambda draw: (draw.normal(2, 1), np.ones((2, 3))),
                ValueError,
                "multilabel_soft_margin_loss: scores must have the axes and classes of targets (2, 3), got (2, 1)",
            ),
            Error(
                "one score without classes",
                lambda draw: (np.array(1.0), np.array(1.0)),
                ValueError,
                "multilabel_soft_margin_loss: scores must have shape (..., classes), got ()",
            ),
            *bad_options(
                "multilabel_soft_margin_loss",
                soft(2, 3),
                (
                    "weights of rows",
                    "weight must have a shape that broadcasts to (2, 3), got (2,)",
                    ValueError,
                    {"weight": np.ones(2)},
                ),
                (
                    "a mask of entries",
                    "where must have a shape that broadcasts to (2,)",
                    ValueError,
                    {"where": np.ones((2, 3), bool)},
                ),
            ),
        ),
        tier=2,
    ),
    Spec(
        multilabel_margin_loss,
        reference=by_entries(labels_by_perceptron),
        source=composed("optax.losses.perceptron_loss of the leads of each class over each other"),
        cases=(
            Case("mean over 3 rows", scored(3, 4), lists([3, 0, -1, 1], [1, -1, -1, -1], [2, 0, 1, -1])),
            Case("few labels of many classes", scored(2, 5), lists([4, -1], [1, 3], reduction="none")),
            Case("a label three times", scored(1, 4), lists([1, 2, 1, 1]), ONE | REPEATED),
            Case(
                "holes, weights",
                scored(3, 3),
                lists(
                    [1, -1],
                    [0, 2],
                    [2, 0],
                    where=np.array([True, False, True]),
                    weight=np.array([0.5, 2.0, 1.25]),
                    reduction="none",
                ),
                MASKED,
            ),
            Case("leads of 1", lambda draw: (np.array([[0.5, 1.5, -0.5], [3.0, 2.0, 0.0]]),), lists([0], [0]), KINK),
            Case(
                "far apart",
                lambda draw: (np.array([[1e4, -1e4, 5.0], [-1e4, 1e4, 5.0]]),),
                lists([1, -1], [1, 2], reduction="none"),
                SATURATED,
            ),
            Case("nothing to gain", lambda draw: (np.array([[0.5, 3.0], [2.0, -1.0]]),), lists([1, -1], [0, 1]), UNMOVED),
            Case("sum of one row", scored(1, 4), lists([3, 1], reduction="sum"), ONE),
            Case("no rows", lambda draw: (np.zeros((0, 4)),), {"labels": np.zeros((0, 2), np.int64)}, EMPTY),
        ),
        strategy=several,
        errors=(
            Error(
                "one score without classes",
                lambda draw: (np.array(1.0),),
                ValueError,
                "multilabel_margin_loss: scores must have shape (..., classes), got ()",
                {"labels": np.array([0])},
            ),
            *bad_options(
                "multilabel_margin_loss",
                scored(2, 3),
                ("label too large", "labels must be in -1..2, got 3", ValueError, lists([0, -1], [-1, 3])),
                ("a negative label", "labels must be in -1..2, got -2", ValueError, lists([0, -1], [1, -2])),
                ("labels of float type", "labels must be integers with a sign, got float64", TypeError, lists([0.0], [1.0])),
                (
                    "one label",
                    "labels must have shape (2, ...) to match scores (2, 3), got (2,)",
                    ValueError,
                    {"labels": np.zeros(2, int)},
                ),
                ("negative weight", "weight must be finite and at least 0", ValueError, lists([0], [1], weight=-1.0)),
                ("unknown reduction", "reduction must be one of", ValueError, lists([0], [1], reduction="average")),
                ("no labels", "missing the keyword argument 'labels'", TypeError, {}),
            ),
        ),
        tier=2,
    ),
)
