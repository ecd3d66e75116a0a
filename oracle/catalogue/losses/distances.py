"""Distances of vectors, and the loss of the angle between pairs: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from oracle.catalogue.losses.further_margins import below, labelled
from oracle.catalogue.losses.margins import UNMOVED
from oracle.catalogue.losses.reductions import (
    EMPTY,
    KINK,
    MASKED,
    ONE,
    REPEATED,
    SATURATED,
    bad_options,
    by_rows,
    errors_of,
    narrowed,
    weighting,
)
from oracle.catalogue.losses.similarity import ZERO, no_slope, vectors
from oracle.catalogue.reductions.moments import norm_by_jax
from oracle.spec import Array, Case, Draw, Error, Spec, composed, library
from purenet.losses.distances import cdist, cosine_embedding_loss, pairwise_distance


def distance_by_jax(x1: Any, x2: Any, *, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> Any:
    return norm_by_jax(x1 - x2 + eps, ord=p, axis=-1, keepdims=keepdims)


def distances_by_pairs(x1: Any, x2: Any, *, p: float = 2.0) -> Any:
    """Of one pair of rows, mapped over all rows of the one and of the other."""

    def of_pair(a: Any, b: Any) -> Any:
        return norm_by_jax(a - b, ord=p, axis=-1)

    of_rows = jax.vmap(jax.vmap(of_pair, (None, 0)), (0, None))
    return jnp.vectorize(of_rows, signature="(m,k),(n,k)->(m,n)")(x1, x2)


def embedding_by_optax(
    input1: Any,
    input2: Any,
    *,
    axis: Any,
    labels: Any,
    where: Any = None,
    margin: float = 0.0,
    epsilon: float = 0.0,
) -> Any:
    kept = {} if where is None else {"where": where}
    angle = {"epsilon": epsilon, "axis": axis, **kept}
    apart = below(-optax.losses.cosine_similarity(input1, input2, **angle), -margin)
    return jnp.where(jnp.asarray(labels) == 1, optax.losses.cosine_distance(input1, input2, **angle), apart)


def beside(first: tuple[int, ...], second: tuple[int, ...]) -> Callable[[Draw], tuple[Array, Array]]:
    """Draws arrays of these shapes whose entries differ, also those that meet when they broadcast."""
    return lambda draw: (draw.uniform(*first, low=2.0, high=5.0), draw.uniform(*second, low=-2.0, high=1.9))


def _with_a_row_of_both(x1: Array, x2: Array) -> tuple[Array, Array]:
    x2[3] = x1[7]
    return x1, x2


def distant(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = (*draw.shape(0, 2), draw.between(2, 4))
    options = {
        "p": draw.choice([2.0, 1.0, 3.0, 1.5, np.inf]),
        "eps": draw.choice([1e-6, 0.0]),
        "keepdims": draw.choice([False, True]),
    }
    return beside(*draw.choice([(shape, shape), (shape, shape[-1:]), ((1, *shape), shape)]))(draw), options


def rows_of_both(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    features, first, second = (draw.between(2, 4) for _ in range(3))
    batch = draw.choice([((), ()), ((2,), (2,)), ((3,), ()), ((2, 1), (3,))])
    arguments = beside((*batch[0], first, features), (*batch[1], second, features))(draw)
    return arguments, {"p": draw.choice([2.0, 1.0, 3.0, 1.5, np.inf])}


def angles(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    rows = draw.shape(0, 2)
    shape = (*rows, draw.between(2, 4))
    labels = np.asarray(1 - 2 * draw.labels(2, *rows))
    labels.reshape(-1)[:1] = 1
    options = {"labels": labels, "margin": draw.choice([0.0, 0.5, -0.25]), "epsilon": draw.choice([0.0, 1e-6])}
    if draw.choice([False, True]):
        options["where"] = kept = np.asarray(draw.mask(*shape))
        kept[..., :2] = True  # the cosine of rows with one entry does not change
    return vectors(*shape)(draw), {**options, **weighting(draw, rows)}


def bad_degrees(op: str, arguments: Any) -> tuple[Error, ...]:
    return bad_options(
        op,
        arguments,
        ("no norm", "p must be at least 1, got 0.5", ValueError, {"p": 0.5}),
        ("NaN", "p must be at least 1, got nan", ValueError, {"p": np.nan}),
        ("p is not a number", "p must be a number, got '1'", TypeError, {"p": "1"}),
    )


EQUAL = np.array([[1.0, 2.0, -0.5], [0.5, 0.25, 3.0]])
TIED = KINK | REPEATED

SPECS = (
    Spec(
        pairwise_distance,
        reference=distance_by_jax,
        source=library("jax.numpy.linalg.vector_norm"),
        cases=(
            Case("rows", vectors(3, 4)),
            Case("one vector from many, kept", beside((2, 3, 4), (4,)), {"keepdims": True}),
            Case("columns broadcast", beside((3, 1), (2, 1, 4)), {"p": 3}),
            Case("a number from vectors", beside((), (2, 4)), {"p": 1.5}, REPEATED),
            Case("sum of absolute differences", beside((3, 4), (3, 4)), {"p": 1, "eps": 0.0}),
            Case("the largest difference", beside((2, 4), (2, 4)), {"p": np.inf}),
            Case("equal vectors", lambda draw: (EQUAL, np.add(EQUAL, [[0.0], [0.5]])), {"eps": 0.0}, TIED),
            Case("equal entries, p 1", lambda draw: (EQUAL, np.add(EQUAL, [[0.0, 1.5, -2.0]])), {"eps": 0.0, "p": 1}, TIED),
            Case("two are the largest", lambda draw: (EQUAL, np.add(EQUAL, [2.0, -2.0, 1.0])), {"eps": 0.0, "p": np.inf}, TIED),
            Case("far apart", lambda draw: (np.array([[1e4, -1e4]]), np.array([[-1e4, 20.0]])), {"p": 9.5}, SATURATED | ONE),
            Case("one row", vectors(1, 4), {}, ONE),
            Case("no rows", vectors(0, 4), {}, EMPTY),
        ),
        strategy=distant,
        errors=(
            Error(
                "integers",
                lambda draw: (np.arange(3), np.arange(3)),
                TypeError,
                "pairwise_distance: x1 must be a floating-point",
            ),
            Error(
                "rows of other lengths",
                lambda draw: (draw.normal(2, 3), draw.normal(2, 4)),
                ValueError,
                "pairwise_distance: x1 (2, 3) and x2 (2, 4) must broadcast",
            ),
            Error(
                "numbers",
                lambda draw: (np.array(1.0), np.array(2.0)),
                ValueError,
                "pairwise_distance: x1 or x2 must have shape (..., features), got () and ()",
            ),
            *bad_degrees("pairwise_distance", vectors(2, 3)),
            *bad_options(
                "pairwise_distance",
                vectors(2, 3),
                ("negative eps", "eps must be finite and at least 0, got -1.0", ValueError, {"eps": -1.0}),
                ("keepdims is no boolean", "keepdims must be True or False, got 1", TypeError, {"keepdims": 1}),
            ),
        ),
        deviations=(
            no_slope(
                pairwise_distance,
                "equal vectors, without eps",
                lambda a, b: jnp.linalg.vector_norm(a - b),
                *[np.array([3.0, 4.0])] * 2,
                eps=0.0,
            ),
        ),
        tier=2,
    ),
    Spec(
        cdist,
        reference=distances_by_pairs,
        source=composed("jax.vmap over all pairs of jax.numpy.linalg.vector_norm"),
        cases=(
            Case("three rows and two", beside((3, 4), (2, 4))),
            Case("many rows", lambda draw: (draw.uniform(12, 5, low=0.2, high=0.5), draw.uniform(9, 5, low=-0.2, high=0.19))),
            Case("many rows, one in both", lambda draw: _with_a_row_of_both(draw.normal(16, 4), draw.normal(8, 4)), {}, TIED),
            Case("batches broadcast", beside((2, 1, 3, 2), (3, 2, 2))),
            Case("sums of absolute differences", beside((2, 4), (3, 4)), {"p": 1}),
            Case("cubes, one batch", beside((2, 3, 4), (2, 4)), {"p": 3}),
            Case("the largest differences", beside((2, 3), (4, 3)), {"p": np.inf}),
            Case("rows of both are equal", lambda draw: (EQUAL, np.add(EQUAL[::-1], [[0.0], [0.5]])), {}, TIED),
            Case(
                "far apart", lambda draw: (np.array([[1e4, -1e4]]), np.array([[-1e4, 20.0], [3e4, 1e4]])), {"p": 9.5}, SATURATED
            ),
            Case("one row and one", beside((1, 4), (1, 4)), {}, ONE),
            Case("no rows", beside((0, 4), (2, 4)), {}, EMPTY),
        ),
        strategy=rows_of_both,
        errors=(
            Error(
                "integers", lambda draw: (np.ones((2, 3), int), np.ones((2, 3), int)), TypeError, "cdist: x1 must be a floating"
            ),
            Error(
                "rows of other lengths",
                lambda draw: (draw.normal(2, 3), draw.normal(2, 4)),
                ValueError,
                "cdist: x1 and x2 must have shapes (..., rows, features), got (2, 3) and (2, 4)",
            ),
            Error(
                "a vector",
                lambda draw: (draw.normal(2, 3), draw.normal(3)),
                ValueError,
                "cdist: x1 and x2 must have shapes (..., rows, features), got (2, 3) and (3,)",
            ),
            Error(
                "other batches",
                lambda draw: (draw.normal(2, 5, 3), draw.normal(4, 5, 3)),
                ValueError,
                "cdist: the leading axes of x1 (2,) and of x2 (4,) must broadcast",
            ),
            *bad_degrees("cdist", vectors(2, 3)),
        ),
        deviations=(
            no_slope(
                cdist,
                "equal rows",
                lambda a, b: jnp.linalg.vector_norm(a - b),
                *[np.array([[3.0, 4.0]])] * 2,
            ),
        ),
        tier=2,
    ),
    Spec(
        cosine_embedding_loss,
        reference=by_rows(embedding_by_optax),
        source=composed("optax.losses.cosine_distance, and a perceptron of optax.losses.cosine_similarity"),
        cases=(
            Case("mean over 4 rows", vectors(4, 3), {"labels": np.array([1, -1, -1, 1])}),
            Case(
                "a margin, weighted mean",
                vectors(2, 3, 2),
                {"labels": np.array([[1, -1, 1], [-1, 1, -1]]), "margin": -0.5, "weight": np.array([0.5, 2.0, 1.25])},
            ),
            Case(
                "holes, no reduction",
                vectors(2, 3),
                {
                    "labels": np.array([-1, 1]),
                    "margin": -0.75,
                    "where": np.array([[True, True, False], [True, True, True]]),
                    "reduction": "none",
                },
                MASKED,
            ),
            Case(
                "at the margin",
                lambda draw: (np.array([[3.0, 4.0], [1.0, 2.0]]), np.array([[-4.0, 3.0], [0.5, -3.0]])),
                {"labels": np.array([-1, 1]), "reduction": "none"},
                KINK,
            ),
            Case("short vectors", vectors(3, 2), {"labels": np.array([1, -1, 1]), "epsilon": 5.0, "margin": -1.0}),
            Case(
                "a vector of zeros",
                lambda draw: (ZERO, draw.normal(2, 3)),
                {"labels": np.array([1, 1]), "epsilon": 0.25, "reduction": "none"},
            ),
            Case(
                "long vectors",
                lambda draw: (draw.normal(2, 3, scale=1e4), np.array([[1e4, -1e4, 10.0], [0.5, 0.25, 1.0]])),
                {"labels": np.array([1, -1]), "margin": -1.0, "reduction": "none"},
                SATURATED,
            ),
            Case(
                "far enough from each other",
                lambda draw: (np.array([[3.0, 4.0]]), np.array([[-4.0, 1.0]])),
                {"labels": np.array([-1])},
                UNMOVED | ONE,
            ),
            Case("sum of one row", vectors(1, 3), {"labels": np.array([1]), "reduction": "sum"}, ONE),
            Case("one label for all", vectors(3, 4), {"labels": np.array([1])}),
            Case(
                "one vector beside all",
                narrowed(vectors(3, 4), np.s_[:1], np.s_[:]),
                {"labels": np.array([-1, 1, -1]), "margin": -0.5, "reduction": "none"},
                REPEATED,
            ),
            Case(
                "a pair with two labels",
                vectors(1, 3),
                {"labels": np.array([1, -1]), "margin": -1.0, "weight": np.array([0.5, 2.0])},
                REPEATED,
            ),
            Case("no rows", vectors(0, 3), labelled(0), EMPTY),
        ),
        strategy=angles,
        errors=(
            *errors_of(
                "cosine_embedding_loss",
                vectors,
                ("input1", "input2"),
                unequal="input2 must have rows as long as those of input1 (2, 3), got shape (2, 2)",
                labels=np.array([1, -1]),
            ),
            *bad_options(
                "cosine_embedding_loss",
                vectors(2, 3),
                ("a label of 0", "labels must be 1 or -1, got 0", ValueError, {"labels": np.array([0, 1])}),
                ("numbers", "labels must be integers with a sign, got float64", TypeError, {"labels": np.array([1.0, -1.0])}),
                (
                    "a label alone",
                    "labels must have an axis less than input1 (2, 3), got shape ()",
                    ValueError,
                    {"labels": np.array(1)},
                ),
                (
                    "three labels",
                    "the rows of input1 (2,), of input2 (2,) and labels (3,) must broadcast",
                    ValueError,
                    {"labels": np.ones(3, int)},
                ),
                ("no cosine", "margin must be in [-1, 1], got 1.5", ValueError, {"labels": np.array([1, -1]), "margin": 1.5}),
                (
                    "negative epsilon",
                    "epsilon must be finite and at least 0, got -1.0",
                    ValueError,
                    {"labels": np.array([1, -1]), "epsilon": -1.0},
                ),
                ("no labels", "missing the keyword argument 'labels'", TypeError, {}),
            ),
        ),
        deviations=(
            no_slope(
                cosine_embedding_loss,
                "a vector of zeros, without epsilon",
                optax.losses.cosine_distance,
                np.zeros(2),
                np.array([3.0, 4.0]),
                labels=1,
            ),
        ),
        tier=2,
    ),
)
