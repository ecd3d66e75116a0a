"""Losses between vectors: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from oracle.catalogue.losses.reductions import (
    EMPTY,
    KINK,
    MASKED,
    ONE,
    REPEATED,
    SATURATED,
    bad_options,
    by_rows,
    cases_of_rows,
    errors_of,
    fuzzed_rows,
    narrowed,
    reduced,
    weighting,
)
from oracle.spec import Array, Case, Deviation, Draw, Error, Spec, composed, library
from purenet.losses.similarity import contrastive_loss, cosine_distance, cosine_similarity, ntxent, triplet_margin_loss
from purenet.op import Op, vjp


def triplet_by_optax(
    anchors: Any, positives: Any, negatives: Any, *, axis: Any, where: Any = True, norm_degree: float = 2, **options: Any
) -> Any:
    # optax takes no absolute values, so it gets them.
    near, far = (-jnp.where(where, jnp.abs(anchors - other), 0) for other in (positives, negatives))
    loss = optax.losses.triplet_margin_loss(jnp.zeros_like(anchors), near, far, axis=axis, norm_degree=norm_degree, **options)
    return loss.astype(anchors.dtype)


def contrastive_by_norm(
    embeddings1: Any, embeddings2: Any, *, axis: Any, labels: Any, where: Any = True, margin: float = 1.0
) -> Any:
    difference = jnp.where(where, embeddings1 - embeddings2, 0)
    equal = jnp.all(difference == 0, axis=axis, keepdims=True)
    distance = jnp.linalg.norm(jnp.where(equal, 1, difference), axis=axis)  # JAX has no slope where vectors are equal
    distance = jnp.where(jnp.squeeze(equal, axis), 0, distance)
    l2 = optax.losses.l2_loss
    return jnp.where(jnp.asarray(labels) == 1, l2(distance), l2(jax.nn.relu(margin - distance)))


def ntxent_by_optax(embeddings: Any, *, labels: Any, temperature: float = 0.07, reduction: str = "mean") -> Any:
    labels = jnp.asarray(labels)
    same = labels[:, None] == labels
    pairs = same & ~jnp.eye(len(labels), dtype=bool)
    if reduction != "none":
        loss = optax.losses.ntxent(embeddings, labels, temperature) if len(labels) else embeddings.sum()
        return (loss if reduction == "mean" else loss * pairs.sum()).astype(embeddings.dtype)
    epsilon = float(np.finfo(np.float64).eps) if embeddings.dtype == jnp.float64 else 1e-7
    x = optax.losses.cosine_similarity(embeddings[None], embeddings[:, None], epsilon=epsilon) / temperature
    # Each pair against all other labels is a yes or no.
    others = jax.nn.logsumexp(jnp.where(same, -jnp.inf, x), axis=1, keepdims=True)
    terms = optax.losses.sigmoid_binary_cross_entropy(x - others, jnp.ones_like(x))
    return reduced(terms, reduction, where=pairs)


def vectors(*shape: int, **_: Any) -> Any:
    """Draws two arrays of vectors."""

    def arguments(draw: Draw) -> tuple[Array, Array]:
        return draw.normal(*shape), draw.normal(*shape)

    return arguments


def triplets(*shape: int, **_: Any) -> Any:
    """Draws anchors, and positives and negatives whose entries differ from them; most do not meet a margin of 1."""

    def arguments(draw: Draw) -> tuple[Array, Array, Array]:
        anchors = draw.normal(*shape)
        near, far = draw.away_from([0.0], *shape, scale=2.0, gap=0.1), draw.away_from([0.0], *shape, gap=0.1)
        return anchors, anchors + near, anchors - 0.5 * far

    return arguments


def embeddings(*shape: int) -> Any:
    return lambda draw: (draw.normal(*shape),)


def groups(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    n = draw.between(3, 6)
    labels = draw.labels(3, n)
    labels[:3] = [0, 0, 1]  # a pair, and something to tell it from
    options = {"labels": labels, "reduction": draw.choice(["mean", "sum", "none"])}
    return embeddings(n, draw.between(2, 4))(draw), {**options, "temperature": draw.choice([1.0, 0.25, 0.5])}


def pairs(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    rows = draw.shape(0, 2)
    shape = (*rows, draw.between(2, 4))
    options = {"labels": draw.labels(2, *rows), "margin": draw.choice([4.0, 6.0]), **weighting(draw, rows)}
    if draw.choice([False, True]):
        options["where"] = kept = np.asarray(draw.mask(*shape))
        kept[..., 0] = True
    return vectors(*shape)(draw), options


def no_slope(op: Op, point: str, loss: Callable[..., Any], *arguments: Any, **options: Any) -> Deviation:
    """JAX's `loss` has no slope at these arguments, where ours is 0."""

    def measure() -> tuple[float, float]:
        with jax.enable_x64(True):
            theirs = float(jnp.sum(jax.grad(loss)(*map(jnp.asarray, arguments))))
        y, pullback = vjp(op, *arguments, **options)
        return float(pullback(np.ones_like(y))[0].sum()), theirs

    return Deviation(point, 0.0, float("nan"), "the symmetric subgradient of a length: no direction is preferred", measure)


ZERO = np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5]])


def errors_of_angle(op: str) -> tuple[Error, ...]:
    return (
        *errors_of(op, vectors, ("predictions", "targets")),
        *bad_options(
            op,
            vectors(2, 3),
            ("negative epsilon", "epsilon must be finite and at least 0, got -1.0", ValueError, {"epsilon": -1.0}),
            ("no such axis", "axis must be one of the 2 axes of x (2, 3), got 2", ValueError, {"axis": 2}),
            ("axis is not an integer", "axis must be an integer", TypeError, {"axis": 0.5}),
            ("weights of entries", "weight must have a shape that broadcasts to (2,)", ValueError, {"weight": np.ones(3)}),
        ),
    )


SPECS = (
    Spec(
        cosine_similarity,
        reference=by_rows(optax.losses.cosine_similarity),
        source=library("optax.losses.cosine_similarity"),
        cases=(
            *cases_of_rows(vectors),
            Case("each with each", narrowed(vectors(2, 3, 4), np.s_[:, :1], np.s_[0]), {"reduction": "none"}, REPEATED),
            Case("short vectors", vectors(3, 4), {"epsilon": 5.0, "reduction": "none"}),
            Case(
                "long vectors",
                lambda draw: (draw.normal(2, 3, scale=1e4), np.array([[1e4, -1e4, 10.0], [0.5, 0.25, 1.0]])),
                {"reduction": "none"},
                SATURATED,
            ),
            Case(
                "a vector of zeros",
                lambda draw: (ZERO, draw.normal(2, 3)),
                {"epsilon": 0.25, "reduction": "none"},
            ),
        ),
        strategy=fuzzed_rows(vectors, lambda draw: {"epsilon": draw.choice([0.0, 1e-6])}),
        errors=errors_of_angle("cosine_similarity"),
        deviations=(
            no_slope(
                cosine_similarity,
                "a vector of zeros, without epsilon",
                optax.losses.cosine_similarity,
                np.zeros(2),
                np.array([3.0, 4.0]),
            ),
        ),
        tier=2,
    ),
    Spec(
        cosine_distance,
        reference=by_rows(optax.losses.cosine_distance),
        source=library("optax.losses.cosine_distance"),
        cases=(
            *cases_of_rows(vectors),
            Case("one target for all", narrowed(vectors(3, 4), np.s_[:], np.s_[0]), flags=REPEATED),
        ),
        strategy=fuzzed_rows(vectors, lambda draw: {"epsilon": draw.choice([0.0, 1e-6])}),
        errors=errors_of_angle("cosine_distance"),
        tier=2,
    ),
    Spec(
        triplet_margin_loss,
        reference=by_rows(triplet_by_optax),
        source=library("optax.losses.triplet_margin_loss"),
        cases=(
            *cases_of_rows(triplets),
            Case("one anchor", narrowed(triplets(2, 3, 4), np.s_[:1, :1], np.s_[:], np.s_[:, :1]), {"margin": 8.0}, REPEATED),
            Case("degree 3, another margin", triplets(3, 4), {"norm_degree": 3, "margin": 0.25, "reduction": "none"}),
            Case("degree 1, no eps", triplets(3, 4), {"norm_degree": 1, "eps": 0}),
            Case(
                "at the margin",
                lambda draw: (np.zeros((1, 2)), np.array([[3.0, 4.0]]), np.array([[0.0, 6.0]])),
                {"eps": 0.0},
                KINK | ONE,
            ),
            Case(
                "far apart",
                lambda draw: (np.array([[1e4, -1e4]]), np.array([[-1e4, 1e4]]), np.array([[20.0, 1e4]])),
                {"norm_degree": 8},
                SATURATED | ONE,
            ),
        ),
        strategy=fuzzed_rows(
            triplets, lambda draw: {"norm_degree": draw.choice([2, 3, 1.5]), "margin": draw.choice([1.0, 8.0])}
        ),
        errors=(
            *errors_of("triplet_margin_loss", triplets, ("anchors", "positives", "negatives")),
            Error(
                "one positive",
                lambda draw: (draw.normal(2, 3), draw.normal(3), draw.normal(2, 3)),
                ValueError,
                "triplet_margin_loss: positives must have as many axes as anchors (2, 3), got shape (3,)",
            ),
            *bad_options(
                "triplet_margin_loss",
                triplets(2, 3),
                ("no norm", "norm_degree must be finite and at least 1, got 0.5", ValueError, {"norm_degree": 0.5}),
                ("negative eps", "eps must be finite and at least 0, got -1.0", ValueError, {"eps": -1.0}),
                ("margin is not a number", "margin must be a number, got str", TypeError, {"margin": "1"}),
            ),
        ),
        deviations=(
            no_slope(
                triplet_margin_loss,
                "an anchor equal to both others, without eps",
                lambda a, p, n: optax.losses.triplet_margin_loss(a, p, n, eps=0),
                *[np.array([3.0, 4.0])] * 3,
                eps=0,
            ),
        ),
        tier=2,
    ),
    Spec(
        contrastive_loss,
        reference=by_rows(contrastive_by_norm),
        source=composed("jax.numpy.linalg.norm and optax.losses.l2_loss"),
        cases=(
            Case("mean over 4 rows", vectors(4, 3), {"labels": np.array([1, 0, 0, 1]), "margin": 5.0}),
            Case(
                "weighted mean",
                vectors(2, 3, 2),
                {"labels": np.array([[1, 0, 1], [0, 1, 0]]), "margin": 4.0, "weight": np.array([0.5, 2.0, 1.25])},
            ),
            Case(
                "holes, no reduction",
                vectors(2, 3),
                {
                    "labels": np.array([False, True]),
                    "margin": 4.0,
                    "where": np.array([[True, True, False], [True, False, True]]),
                    "reduction": "none",
                },
                MASKED,
            ),
            Case("one beside all", narrowed(vectors(3, 4), np.s_[0], np.s_[:]), {"labels": np.array([0, 1, 0])}, REPEATED),
            Case(
                "equal vectors",
                lambda draw: (np.array([[1.0, 2.0], [0.5, 0.25]]), np.array([[1.0, 2.0], [0.5, 0.75]])),
                {"labels": np.array([0, 0]), "reduction": "none"},
                KINK,
            ),
            Case(
                "far apart",
                lambda draw: (np.array([[1e4, 2e3], [1e4, -1e4]]), np.array([[-1e4, 3e3], [2e3, 5e3]])),
                {"labels": np.array([1, 0]), "margin": 3e4, "reduction": "none"},
                SATURATED,
            ),
            Case("sum of one row", vectors(1, 3), {"labels": np.array([1]), "reduction": "sum"}, ONE),
            Case("no rows", vectors(0, 3), {"labels": np.zeros(0, np.int64)}, EMPTY),
        ),
        strategy=pairs,
        errors=(
            *errors_of("contrastive_loss", vectors, ("embeddings1", "embeddings2"), labels=np.array([0, 1])),
            *bad_options(
                "contrastive_loss",
                vectors(2, 3),
                ("labels of three classes", "labels must be 0 or 1, got 2", ValueError, {"labels": np.array([0, 2])}),
                ("labels of float type", "labels must be integers or booleans", TypeError, {"labels": np.array([0.0, 1.0])}),
                ("labels of another shape", "labels must have shape (2,) to match", ValueError, {"labels": np.array([1])}),
                (
                    "negative margin",
                    "margin must be finite and at least 0",
                    ValueError,
                    {"labels": np.ones(2, int), "margin": -1},
                ),
            ),
        ),
        deviations=(
            no_slope(
                contrastive_loss,
                "equal vectors of different labels",
                lambda a, b: optax.losses.l2_loss(jax.nn.relu(1 - jnp.linalg.norm(a - b))),
                *[np.array([3.0, 4.0])] * 2,
                labels=0,
            ),
        ),
        tier=2,
    ),
    Spec(
        ntxent,
        reference=ntxent_by_optax,
        source=library("optax.losses.ntxent"),
        cases=(
            Case("three pairs", embeddings(6, 3), {"labels": np.array([0, 1, 2, 0, 1, 2]), "temperature": 0.5}),
            Case("unequal groups, sum", embeddings(5, 2), {"labels": np.array([4, 7, 4, 4, 7]), "reduction": "sum"}, REPEATED),
            Case("no reduction", embeddings(4, 3), {"labels": np.array([0, 1, 1, 2]), "temperature": 1.0, "reduction": "none"}),
            Case(
                "long vectors, unlike each other",
                lambda draw: (np.array([[1e3, 200.0], [300.0, 800.0], [900.0, -400.0], [-500.0, 600.0]]),),
                {"labels": np.array([0, 1, 0, 1])},
                SATURATED,
            ),
            Case("no rows", embeddings(0, 3), {"labels": np.zeros(0, np.int64)}, EMPTY),
        ),
        strategy=groups,
        errors=(
            Error(
                "one embedding",
                embeddings(3),
                ValueError,
                "ntxent: embeddings must have shape (batch, features), got (3,)",
                {"labels": np.array([0, 1, 0])},
            ),
            *bad_options(
                "ntxent",
                embeddings(3, 2),
                ("labels of another shape", "labels must have shape (3,) to match", ValueError, {"labels": np.array([0, 1])}),
                ("labels of float type", "labels must be integers, got float64", TypeError, {"labels": np.zeros(3)}),
                (
                    "no temperature",
                    "temperature must be finite and greater than 0, got 0",
                    ValueError,
                    {"labels": np.zeros(3, int), "temperature": 0},
                ),
                ("unknown reduction", "reduction must be one of", ValueError, {"labels": np.zeros(3, int), "reduction": "avg"}),
            ),
        ),
        tier=2,
    ),
)
