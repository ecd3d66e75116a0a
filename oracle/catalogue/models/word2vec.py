"""word2vec with its loss: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from oracle.catalogue.losses.sampling import sampling_by_optax
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.models import word2vec

Arguments = tuple[Any, ...]


def goal_by_optax(params: dict[str, Any], *, net: dict[str, Any]) -> Any:
    own = params["net"]
    h = jnp.mean(jnp.take(own["embedding"]["w"], net["embedding"]["ids"], axis=0), axis=1)
    return sampling_by_optax(own["output"], h, **net["output"])


def tables(vocabulary: int, width: int, other: int | None = None) -> Callable[[Draw], Arguments]:
    """Two tables, the second of another vocabulary if one is given."""

    def make(draw: Draw) -> Arguments:
        first, second = draw.normal(vocabulary, width), draw.normal(other or vocabulary, width)
        return ({"net": {"embedding": {"w": first}, "output": {"w": second}}},)

    return make


def one_table(draw: Draw) -> Arguments:
    return ({"net": {"embedding": {"w": draw.normal(4, 2)}}},)


def gaps(contexts: Any, targets: Any, negatives: Any) -> dict[str, Any]:
    output = {"targets": np.array(targets), "negatives": np.array(negatives)}
    return {"net": {"embedding": {"ids": np.array(contexts)}, "output": output}}


def random_gaps(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    vocabulary, batch = draw.between(2, 5), draw.between(1, 3)
    contexts, negatives = (draw.labels(vocabulary, batch, draw.between(1, 3)) for _ in range(2))
    return tables(vocabulary, draw.between(1, 3))(draw), gaps(contexts, draw.labels(vocabulary, batch), negatives)


FOUR = tables(4, 2)


def wrong(what: str, match: str, options: Any, by: type[Exception] = ValueError, arguments: Any = FOUR) -> Error:
    return Error(what, arguments, by, match, options)


GOOD = gaps([[0, 2]], [1], [[3]])
NONE = np.zeros((0, 2), np.int64)

SPECS = (
    Spec(
        word2vec.goal(),
        reference=goal_by_optax,
        source=library("jax.numpy.mean, optax.losses.sigmoid_binary_cross_entropy"),
        cases=(
            Case("three gaps", tables(5, 2), gaps([[0, 2], [1, 4], [3, 0]], [1, 3, 4], [[3, 2, 0], [0, 2, 1], [1, 2, 0]])),
            Case(
                "a word as its own neighbour and as negative",
                tables(3, 3),
                gaps([[1, 1], [1, 2]], [1, 0], [[1, 1], [0, 2]]),
                frozenset({Flag.REPEATED}),
            ),
            Case("one gap", tables(3, 2), gaps([[0, 2]], [1], [[2]]), frozenset({Flag.BATCH_OF_ONE})),
            Case("no gaps", tables(3, 2), gaps(NONE, NONE[:, 0], NONE), frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=random_gaps,
        errors=(
            wrong("an unknown neighbour", "embedding_bag: ids must be in 0..3, got 4", gaps([[0, 4]], [1], [[3]])),
            wrong("an unknown target", "negative_sampling_loss: targets must be in 0..3, got 4", gaps([[0, 2]], [4], [[3]])),
            wrong("an unknown negative", "negatives must be in 0..3, got -1", gaps([[0, 2]], [1], [[-1]])),
            wrong("fewer targets", "targets must have shape (2,) to match h (2, 2)", gaps([[0], [2]], [1], [[3]])),
            wrong(
                "the output of another vocabulary",
                "negative_sampling_loss: targets must be in 0..2, got 3",
                gaps([[0, 2]], [3], [[1]]),
                arguments=tables(4, 2, 3),
            ),
            wrong("one table", "word2vec: params must hold the stages embedding, output, got", GOOD, arguments=one_table),
            wrong("words by name", "embedding_bag: ids must be integers", gaps([["a", "b"]], [1], [[3]]), TypeError),
        ),
    ),
)
