"""Losses that ask for a margin: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from oracle.catalogue.losses.reductions import (
    EMPTY,
    KINK,
    MASKED,
    ONE,
    SATURATED,
    bad_options,
    broadcast_cases,
    by_entries,
    cases_of_entries,
    errors_of,
    fuzzed,
    weighting,
)
from oracle.spec import Array, Case, Draw, Error, Flag, Spec, library
from purenet.losses.margins import (
    hinge_loss,
    margin_ranking_loss,
    multiclass_hinge_loss,
    perceptron_loss,
    squared_hinge_loss,
)
from purenet.op import Op


def squared_hinge_by_optax(predictor_outputs: Any, targets: Any) -> Any:
    return jnp.square(optax.losses.hinge_loss(predictor_outputs, targets))


def ranking_by_hinge(input1: Any, input2: Any, targets: Any, *, margin: float = 0.0) -> Any:
    # A hinge at 1 is a perceptron's at 0, and a margin moves it there.
    return optax.losses.perceptron_loss(targets * (input1 - input2) - margin, jnp.ones_like(targets))


def costly(products: Any, product: float) -> Any:
    """The products of outputs and targets with the first on the wrong side, so that there is a gradient."""
    products = np.array(products)
    products.reshape(-1)[:1] = product
    return products


def decided(*shape: int, kink: float = 1.0, **_: Any) -> Any:
    """Draws outputs of a decision function, and targets that are not all of size 1; their product is not near the kink."""

    def arguments(draw: Draw) -> tuple[Array, Array]:
        targets = np.where(draw.mask(*shape), 1.0, -1.0) * draw.uniform(*shape, low=0.5, high=1.5)
        return costly(draw.away_from([0.0, kink], *shape, scale=2.0, gap=0.1), -1.5) / targets, targets

    return arguments


def undecided(*shape: int, **_: Any) -> Any:
    return decided(*shape, kink=0.0)


def ranked(*shape: int, margin: float = 0.0, **_: Any) -> Any:
    """Draws pairs that do not just meet the margin, and targets that are not all of size 1."""

    def arguments(draw: Draw) -> tuple[Array, Array, Array]:
        targets = np.where(draw.mask(*shape), 1.0, -1.0) * draw.uniform(*shape, low=0.5, high=1.5)
        second = draw.normal(*shape)
        leads = costly(draw.away_from([margin], *shape, scale=2.0, gap=0.1), margin - 1.5)
        return second + leads / targets, second, targets

    return arguments


def scored(*shape: int) -> Any:
    """Draws scores, no two of a row near each other or 1 apart."""

    def arguments(draw: Draw) -> tuple[Array]:
        ranks = np.argsort(draw.normal(*shape), axis=-1)
        return (0.3 * ranks + draw.uniform(*shape, low=-0.04, high=0.04) + draw.normal(*shape[:-1], 1),)

    return arguments


def errors_of_labels(op: str) -> tuple[Error, ...]:
    """The errors that every loss of scores and labels has."""
    return bad_options(
        op,
        scored(2, 3),
        ("label too large", "labels must be in 0..2, got 3", ValueError, {"labels": np.array([0, 3])}),
        ("labels of float type", "labels must be integers, got float64", TypeError, {"labels": np.array([0.0, 1.0])}),
        (
            "labels of another shape",
            "integer labels must have shape (2,) to match scores (2, 3), got (3,)",
            ValueError,
            {"labels": np.array([0, 1, 2])},
        ),
        (
            "weights of classes",
            "weight must have a shape that broadcasts to (2,), got (3,)",
            ValueError,
            {"labels": np.array([0, 1]), "weight": np.ones(3)},
        ),
        ("no labels", "missing the keyword argument 'labels'", TypeError, {}),
    )


def labelled_scores(draw: Draw) -> tuple[Array, dict[str, Any]]:
    """Scores, their labels and weights. The first row has the label of its lowest score: some row must cost something."""
    rows, classes = draw.shape(0, 2), draw.between(2, 5)
    options = {"labels": draw.labels(classes, *rows), **weighting(draw, rows)}
    (scores,) = scored(*rows, classes)(draw)
    options["labels"].reshape(-1)[:1] = scores.reshape(-1, classes)[0].argmin()
    return scores, options


def scored_rows(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    scores, options = labelled_scores(draw)
    if draw.choice([False, True]):
        options["where"] = kept = np.asarray(draw.mask(*scores.shape[:-1]))
        kept.reshape(-1)[:1] = True
    return (scores,), options


def sides(*products: float) -> Any:
    """Outputs whose products with the targets are these."""
    targets = np.resize([1.0, -1.0, 0.5], len(products))
    return lambda draw: (np.array(products) / targets, targets)


def errors_of_decisions(op: Op, unequal: str = "") -> tuple[Error, ...]:
    return errors_of(op.name, decided, ("predictor_outputs", "targets"), unequal=unequal)


UNMOVED = frozenset({Flag.ZERO_GRADIENT})
FAR = sides(-1e4, 1e4, 3.0, -0.5, 750.0)

SPECS = (
    Spec(
        hinge_loss,
        reference=by_entries(optax.losses.hinge_loss),
        source=library("optax.losses.hinge_loss"),
        cases=(
            *cases_of_entries(decided),
            *broadcast_cases(decided),
            Case("at the margin", sides(1.0, 1.0, 1.0, -0.5, 2.0), {"reduction": "none"}, KINK),
            Case("far from the margin", FAR, {"reduction": "none"}, SATURATED),
        ),
        strategy=fuzzed(decided),
        errors=errors_of_decisions(hinge_loss),
        tier=2,
    ),
    Spec(
        squared_hinge_loss,
        reference=by_entries(squared_hinge_by_optax),
        source=library("optax.losses.hinge_loss"),
        cases=(
            *cases_of_entries(decided),
            *broadcast_cases(decided),
            Case("far from the margin", sides(-60.0, 100.0, 3.0, -0.5), {"reduction": "none"}),
        ),
        strategy=fuzzed(decided),
        errors=errors_of_decisions(squared_hinge_loss),
        tier=2,
    ),
    Spec(
        perceptron_loss,
        reference=by_entries(optax.losses.perceptron_loss),
        source=library("optax.losses.perceptron_loss"),
        cases=(
            *cases_of_entries(undecided),
            *broadcast_cases(undecided),
            Case("undecided", sides(0.0, 0.0, 0.0, -0.5, 2.0), {"reduction": "none"}, KINK),
            Case("far from the margin", FAR, {"reduction": "none"}, SATURATED),
        ),
        strategy=fuzzed(undecided),
        errors=errors_of_decisions(perceptron_loss),
        tier=2,
    ),
    Spec(
        multiclass_hinge_loss,
        reference=by_entries(optax.losses.multiclass_hinge_loss),
        source=library("optax.losses.multiclass_hinge_loss"),
        cases=(
            Case("mean over 4 rows", scored(4, 3), {"labels": np.array([2, 0, 1, 0])}),
            Case(
                "weighted mean, two leading dimensions",
                scored(2, 3, 4),
                lambda draw: {"labels": draw.labels(4, 2, 3), "weight": np.array([0.5, 2.0, 1.25])},
            ),
            Case(
                "holes, weights",
                scored(3, 4),
                {
                    "labels": np.array([1, 3, 0]),
                    "where": np.array([True, False, True]),
                    "weight": np.array([0.5, 2.0, 1.25]),
                    "reduction": "none",
                },
                MASKED,
            ),
            Case(
                "ties, and a lead of 1",
                lambda draw: (np.array([[0.5, 2.0, 2.0], [3.0, 2.0, 0.0], [1.0, 1.0, 1.0]]),),
                {"labels": np.array([0, 0, 2]), "reduction": "none"},
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
        strategy=scored_rows,
        errors=(
            Error(
                "one score without classes",
                lambda draw: (np.array(1.0),),
                ValueError,
                "multiclass_hinge_loss: scores must have shape (..., classes), got ()",
                {"labels": np.int64(0)},
            ),
            *errors_of_labels("multiclass_hinge_loss"),
        ),
        tier=2,
    ),
    Spec(
        margin_ranking_loss,
        reference=by_entries(ranking_by_hinge),
        source=library("optax.losses.perceptron_loss"),
        cases=(
            *cases_of_entries(ranked),
            *broadcast_cases(ranked, 3, rank=True),
            Case("a margin", ranked(3, 4, margin=0.75), {"margin": 0.75, "reduction": "none"}),
            Case(
                "at the margin",
                lambda draw: (np.array([1.5, 2.0, 4.0]), np.array([1.0, 1.0, 0.0]), np.array([1.0, -0.5, -2.0])),
                {"margin": 0.5, "reduction": "none"},
                KINK,
            ),
            Case(
                "far apart",
                lambda draw: (np.array([1e4, -1e4, 5.0]), np.array([-1e4, 1e4, 4.0]), np.array([-1.0, -1.0, 1.0])),
                {"margin": 2.0, "reduction": "none"},
                SATURATED,
            ),
        ),
        strategy=fuzzed(ranked, lambda draw: {"margin": draw.choice([0.0, 0.5, 1.0])}),
        errors=(
            *errors_of("margin_ranking_loss", ranked, ("input1", "input2", "targets")),
            Error(
                "targets with fewer axes",
                lambda draw: (draw.normal(2, 3), draw.normal(2, 3), np.ones(3)),
                ValueError,
                "margin_ranking_loss: targets must have as many axes as input1 (2, 3), got shape (3,)",
            ),
            *bad_options(
                "margin_ranking_loss",
                ranked(3),
                ("margin is not finite", "margin must be finite", ValueError, {"margin": np.inf}),
                ("margin is not a number", "margin must be a number, got str", TypeError, {"margin": "1"}),
            ),
        ),
        tier=2,
    ),
)
