"""The cross entropy of an affine map of x, a few rows at a time: reference, cases, strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from oracle.catalogue.losses.cross_entropy import WEIGHT, bad_options, cross_entropy_by_optax
from oracle.catalogue.losses.reductions import EMPTY, MASKED, NOTHING, ONE, REPEATED
from oracle.spec import Case, Draw, Error, Spec, library
from purenet.losses import linear_cross_entropy


def linear_by_optax(params: dict[str, Any], x: Any, *, chunk: int = 1, **options: Any) -> Any:
    """All logits at once."""
    if options.get("ignore_index") is not None:
        x = jnp.where((np.asarray(options["labels"]) == options["ignore_index"])[..., None], 0, x)
    logits = jnp.dot(x, params["w"])
    return cross_entropy_by_optax(logits + params["b"] if "b" in params else logits, **options)


def rows(*shape: int, classes: int = 4, b: bool = True) -> Callable[[Draw], tuple[Any, ...]]:
    """Draws weights, and biases if `b`, and x of this shape."""

    def arguments(draw: Draw) -> tuple[Any, ...]:
        params = {"w": draw.normal(shape[-1], classes)} | ({"b": draw.normal(classes)} if b else {})
        return params, draw.normal(*shape)

    return arguments


def chunked(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    classes, leading = draw.between(2, 5), draw.shape(0, 2)
    options: dict[str, Any] = {
        "labels": draw.labels(classes, *leading),
        "chunk": draw.choice([2, 1, 3, 1024]),
        "reduction": draw.choice(["mean", "sum", "none"]),
    }
    if draw.choice([False, True]):
        options["weight"] = draw.uniform(classes, low=0.5, high=2.0)
    if draw.choice([False, True]):
        options["label_smoothing"] = draw.choice([0.1, 0.5])
    if draw.choice([False, True]):
        options["ignore_index"] = -100
        options["labels"] = np.where(draw.mask(*leading), options["labels"], -100)
        options["labels"].reshape(-1)[:1] = 1  # where nothing counts there is no gradient to look at
    b = draw.choice([True, False])
    return rows(*leading, draw.between(1, 3), classes=classes, b=b)(draw), options


def bad(what: str, match: str, by: type[Exception] = ValueError, **options: Any) -> Error:
    return Error(what, rows(3, 2), by, f"linear_cross_entropy: {match}", {"labels": np.array([0, 1, 2]), **options})


LABELS = np.array([3, 0, 1, 1, 2])

SPECS = (
    Spec(
        linear_cross_entropy,
        tier=2,
        reference=linear_by_optax,
        source=library("jax.numpy.dot and optax.losses.softmax_cross_entropy_with_integer_labels, of all rows at once"),
        cases=(
            Case("chunks of 2, the last of 1", rows(5, 3), {"labels": LABELS, "chunk": 2}),
            Case("one chunk, no bias", rows(5, 3, b=False), {"labels": LABELS}),
            Case(
                "two leading dimensions, no reduction",
                rows(2, 3, 2, classes=3),
                {"labels": np.array([[0, 2, 1], [1, 1, 0]]), "reduction": "none", "chunk": 4},
            ),
            Case("weights, smoothing", rows(5, 2), {"labels": LABELS, "weight": WEIGHT, "label_smoothing": 0.2, "chunk": 3}),
            Case(
                "ignored rows, weights, sum",
                rows(5, 2),
                {"labels": np.array([3, 9, 1, 9, 2]), "ignore_index": 9, "weight": WEIGHT, "reduction": "sum", "chunk": 2},
                MASKED,
            ),
            Case(
                "ignored rows, weighted mean",
                rows(4, 2),
                {"labels": np.array([3, 9, 1, 0]), "ignore_index": 9, "weight": WEIGHT, "chunk": 3},
                MASKED,
            ),
            Case("every row ignored", rows(3, 2), {"labels": np.array([7, 7, 7]), "ignore_index": 7}, NOTHING),
            Case("the same label", rows(4, 2, classes=3), {"labels": np.array([1, 1, 1, 1]), "chunk": 1}, REPEATED),
            Case("one row", rows(1, 3), {"labels": np.array([3])}, ONE),
            Case("one vector", rows(3), {"labels": np.int64(2)}),
            Case("no rows", rows(0, 3), {"labels": np.zeros(0, int)}, EMPTY),
        ),
        strategy=chunked,
        errors=(
            *bad_options("linear_cross_entropy", lambda draw: (*rows(3, 2)(draw),), {"labels": np.array([0, 1, 2])}),
            bad("no chunk", "chunk must be at least 1, got 0", chunk=0),
            bad("half a chunk", "chunk must be an integer, got 2.5", TypeError, chunk=2.5),
            bad("label too large", "labels must be in 0..3, got 4", labels=np.array([0, 4, 1])),
            bad("probabilities", "labels must be integers, got float64", TypeError, labels=np.ones((3, 4)) / 4),
            bad("labels of another shape", "integer labels must have shape (3,)", labels=np.array([0, 1])),
            Error(
                "another width",
                lambda draw: (rows(3, 2)(draw)[0], draw.normal(3, 4)),
                ValueError,
                "linear_cross_entropy: x must have shape (..., 2) to match params.w (2, 4), got (3, 4)",
                {"labels": np.array([0, 1, 2])},
            ),
        ),
    ),
)
