"""The cross entropy: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from oracle.catalogue.losses.reductions import EMPTY, MASKED, NOTHING, ONE, REPEATED, SATURATED
from oracle.spec import Array, Case, Draw, Error, Flag, Spec, composed, library
from purenet.losses.cross_entropy import nll_loss, softmax_cross_entropy, softmax_cross_entropy_with_probabilities


def cross_entropy_by_optax(
    logits: Any,
    *,
    labels: Any,
    weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Any:
    labels = jnp.asarray(labels)
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return with_probabilities_by_optax(
            logits, labels.astype(logits.dtype), weight=weight, label_smoothing=label_smoothing, reduction=reduction
        )
    classes = logits.shape[-1]
    factor = jnp.ones(classes, logits.dtype) if weight is None else jnp.asarray(weight, logits.dtype)
    kept = jnp.ones(labels.shape, bool) if ignore_index is None else labels != ignore_index
    labels = jnp.where(kept, labels, 0)
    if label_smoothing:
        targets = optax.losses.smooth_labels(jax.nn.one_hot(labels, classes, dtype=logits.dtype), label_smoothing)
        terms = optax.losses.softmax_cross_entropy(logits, factor * targets)
    else:
        terms = factor[labels] * optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    return reduced(jnp.where(kept, terms, 0), jnp.where(kept, factor[labels], 0).sum(), reduction)


def with_probabilities_by_optax(
    logits: Any, labels: Any, *, weight: Any = None, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Any:
    targets = optax.losses.smooth_labels(labels, label_smoothing)
    if weight is not None:
        targets = targets * jnp.asarray(weight, logits.dtype)
    terms = optax.losses.softmax_cross_entropy(logits, targets)
    return reduced(terms, jnp.asarray(terms.size, logits.dtype), reduction)


def reduced(terms: Any, total: Any, reduction: str) -> Any:
    if reduction == "none":
        return terms
    return terms.sum() / jnp.where(total > 0, total, 1) if reduction == "mean" else terms.sum()


def at_labels(
    log_probabilities: Any, *, labels: Any, weight: Any = None, ignore_index: int | None = None, reduction: str = "mean"
) -> Any:
    classes = log_probabilities.shape[-1]
    # Weights of the classes are weights of their indicators; jax.nn gives a label that is out of range none.
    indicators = jax.nn.one_hot(labels, classes, dtype=log_probabilities.dtype)
    if weight is not None:
        indicators = indicators * jnp.asarray(weight, log_probabilities.dtype)
    if ignore_index is not None:
        indicators = indicators * (jnp.asarray(labels) != ignore_index)[..., None]
    return reduced(-jnp.sum(indicators * log_probabilities, axis=-1), indicators.sum(), reduction)


def logits(*shape: int, scale: float = 1.0) -> Any:
    """Draws logits of this shape."""
    return lambda draw: (draw.normal(*shape, scale=scale),)


def with_labels(classes: int, *rows: int, **options: Any) -> Any:
    """Draws integer labels, to go with the other options."""
    return lambda draw: {"labels": draw.labels(classes, *rows), **options}


def distributions(*shape: int) -> Any:
    """Draws logits and probabilities of this shape."""

    def arguments(draw: Draw) -> tuple[Array, Array]:
        return draw.normal(*shape), draw.probabilities(*shape)

    return arguments


def certain(draw: Draw) -> tuple[Array]:
    """Rows that are certain, rightly or wrongly with the labels 0, beside ordinary ones."""
    rows = [[1e4, -1e4, 0.0, 5.0], [-1e4, 1e4, 0.0, 5.0], [0.0, -40.0, -50.0, -700.0], [64.0, 64.0, 1.0, -1e4]]
    return (np.concatenate([draw.normal(2, 4), rows]),)


def certain_of_targets(draw: Draw) -> tuple[Array, Array]:
    (rows,) = certain(draw)
    targets = draw.probabilities(*rows.shape)
    targets[3:] = [[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.5, 0.0]]
    return rows, targets


def labelled(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    classes, rows = draw.between(2, 5), draw.shape(0, 2)
    options = common(draw, classes)
    if draw.choice([False, True]):
        options["labels"] = draw.probabilities(*rows, classes)
    else:
        options["labels"] = draw.labels(classes, *rows)
        ignored = draw.choice([None, 0, -100])
        if ignored is not None:
            options["ignore_index"] = ignored
            options["labels"] = np.where(draw.mask(*rows), options["labels"], ignored)
            options["labels"].reshape(-1)[:1] = 1  # where nothing counts there is no gradient to look at
    return logits(*rows, classes, scale=draw.choice([1.0, 3.0]))(draw), options


def distributed(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    classes, rows = draw.between(2, 5), draw.shape(0, 2)
    return distributions(*rows, classes)(draw), common(draw, classes)


def common(draw: Draw, classes: int) -> dict[str, Any]:
    """The options that both losses have."""
    options: dict[str, Any] = {"reduction": draw.choice(["mean", "sum", "none"])}
    if draw.choice([False, True]):
        options["weight"] = draw.uniform(classes, low=0.5, high=2.0)
    if draw.choice([False, True]):
        options["label_smoothing"] = draw.choice([0.1, 0.5])
    return options


WEIGHT = np.array([0.5, 2.0, 1.0, 1.5])


def bad_options(name: str, arguments: Any, options: dict[str, Any]) -> tuple[Error, ...]:
    """The errors that both losses have, for logits of shape (3, 4)."""

    def bad(what: str, match: str, exception: type[Exception] = ValueError, **bad_option: Any) -> Error:
        return Error(what, arguments, exception, f"{name}: {match}", {**options, **bad_option})

    return (
        bad("unknown reduction", "reduction must be one of 'mean', 'sum', 'none', got 'avg'", reduction="avg"),
        bad("weights of another width", "weight must have a shape that broadcasts to (4,), got (3,)", weight=np.ones(3)),
        bad("negative weight", "weight must be finite and at least 0, got -1.0", weight=-np.ones(4)),
        bad("complex weight", "weight must be an array of real numbers", TypeError, weight=np.ones(4) * 1j),
        bad("too much smoothing", "label_smoothing must be in [0, 1], got 1.5", label_smoothing=1.5),
        bad("smoothing is not a number", "label_smoothing must be a number", TypeError, label_smoothing="0.1"),
    )


def bad_labels(
    what: str,
    labels: Any,
    match: str,
    exception: type[Exception] = ValueError,
    op: str = "softmax_cross_entropy",
    **options: Any,
) -> Error:
    return Error(what, logits(3, 4), exception, f"{op}: {match}", {"labels": labels, **options})


def log_distributions(*shape: int) -> Any:
    """Draws logarithms of probabilities."""
    return lambda draw: (np.log(draw.probabilities(*shape)),)


def labelled_logarithms(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    classes, rows = draw.between(2, 5), draw.shape(0, 2)
    options: dict[str, Any] = {"labels": draw.labels(classes, *rows), "reduction": draw.choice(["mean", "sum", "none"])}
    if draw.choice([False, True]):
        options["weight"] = draw.uniform(classes, low=0.5, high=2.0)
    if draw.choice([False, True]):
        options["ignore_index"] = classes
        options["labels"] = np.where(draw.mask(*rows), options["labels"], classes)
        options["labels"].reshape(-1)[:1] = 0  # where nothing counts there is no gradient to look at
    return log_distributions(*rows, classes)(draw), options


SPECS = (
    Spec(
        softmax_cross_entropy,
        reference=cross_entropy_by_optax,
        source=library("optax.losses.softmax_cross_entropy_with_integer_labels, softmax_cross_entropy, smooth_labels"),
        cases=(
            Case("mean over 5 rows", logits(5, 4, scale=2.0), with_labels(4, 5)),
            Case("many rows", logits(140, 3, scale=2.0), with_labels(3, 140)),
            Case("sum over two leading dimensions", logits(2, 3, 4), with_labels(4, 2, 3, reduction="sum")),
            Case("no reduction", logits(4, 3), with_labels(3, 4, reduction="none")),
            Case("one vector", logits(6), {"labels": np.int32(2)}),
            Case("class weights", logits(5, 4), with_labels(4, 5, weight=WEIGHT)),
            Case("ignored rows", logits(4, 4), {"labels": np.array([3, -100, 0, -100]), "ignore_index": -100}, MASKED),
            Case(
                "ignored class, weights, no reduction",
                logits(4, 4),
                {"labels": np.array([3, 1, 0, 1]), "ignore_index": 1, "weight": WEIGHT, "reduction": "none"},
                MASKED,
            ),
            Case("smoothing", logits(5, 4), with_labels(4, 5, label_smoothing=0.1)),
            Case(
                "smoothing, weights, ignored rows",
                logits(4, 4),
                {"labels": np.array([3, 9, 0, 2]), "ignore_index": 9, "weight": WEIGHT, "label_smoothing": 0.3},
                MASKED,
            ),
            Case("nothing but smoothing", logits(3, 4), with_labels(4, 3, label_smoothing=1.0, reduction="none")),
            Case("probabilities", logits(5, 4), lambda draw: {"labels": draw.probabilities(5, 4)}),
            Case(
                "probabilities with zeros, weights, smoothing",
                logits(2, 4),
                {
                    "labels": np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.25, 0.0, 0.75]]),
                    "weight": WEIGHT,
                    "label_smoothing": 0.2,
                    "reduction": "none",
                },
            ),
            Case(
                "labels without weight",
                logits(3, 4),
                {"labels": np.array([0, 1, 2]), "weight": np.array([1.0, 0.0, 2.0, 1.0])},
                MASKED,
            ),
            Case("one class", logits(3, 1), {"labels": np.zeros(3, np.int64)}, frozenset({Flag.ZERO_GRADIENT})),
            Case("every row ignored", logits(3, 4), {"labels": np.array([7, 7, 7]), "ignore_index": 7}, NOTHING),
            Case("zero total weight", logits(2, 4), {"labels": np.array([0, 1]), "weight": np.array([0, 0, 1, 1])}, NOTHING),
            Case("the same label", logits(4, 3), {"labels": np.array([1, 1, 1, 1])}, REPEATED),
            Case("tied logits", lambda draw: (np.zeros((2, 3)),), {"labels": np.array([2, 0])}, REPEATED),
            Case("certain rows", certain, {"labels": np.zeros(6, np.int64), "reduction": "none"}, SATURATED),
            Case(
                "certain rows, smoothing",
                certain,
                {"labels": np.zeros(6, np.int64), "label_smoothing": 0.1, "reduction": "none"},
                SATURATED,
            ),
            Case("one row", logits(1, 4), {"labels": np.array([3])}, ONE),
            Case("no rows", logits(0, 4), {"labels": np.zeros(0, np.int64)}, EMPTY),
        ),
        strategy=labelled,
        errors=(
            *bad_options("softmax_cross_entropy", logits(3, 4), {"labels": np.array([0, 1, 2])}),
            bad_labels("label too large", np.array([0, 4, 1]), "labels must be in 0..3, got 4"),
            bad_labels("negative label", np.array([0, 1, -1]), "labels must be in 0..3, got -1"),
            bad_labels(
                "labels of float type",
                np.array([0.0, 1.0, 2.0]),
                "labels must be integers of shape (3,) or probabilities of shape (3, 4), got float64 of shape (3,)",
                TypeError,
            ),
            bad_labels("boolean labels", np.array([True, False, True]), "labels must be integers or float", TypeError),
            bad_labels(
                "labels of another shape",
                np.array([0, 1]),
                "integer labels must have shape (3,) to match logits (3, 4), got (2,)",
            ),
            bad_labels("integer one-hot labels", np.eye(4, dtype=np.int64)[:3], "integer labels must have shape (3,)"),
            bad_labels("probabilities of another shape", np.ones((3, 5)), "labels must be integers of shape (3,) or prob"),
            bad_labels("probabilities and ignore_index", np.ones((3, 4)), "ignore_index needs integer labels", ignore_index=0),
            bad_labels(
                "ignore_index is not an integer",
                np.array([0, 1, 2]),
                "ignore_index must be an integer, got",
                TypeError,
                ignore_index=1.0,
            ),
            Error("no labels", logits(3, 4), TypeError, "softmax_cross_entropy: missing the keyword argument 'labels'"),
            Error(
                "a single logit without classes",
                lambda draw: (np.array(1.0),),
                ValueError,
                "softmax_cross_entropy: logits must have shape (..., classes), got ()",
                {"labels": np.int64(0)},
            ),
        ),
    ),
    Spec(
        softmax_cross_entropy_with_probabilities,
        reference=with_probabilities_by_optax,
        source=library("optax.losses.softmax_cross_entropy, smooth_labels"),
        cases=(
            Case("mean over 5 rows", distributions(5, 4)),
            Case("sum over two leading dimensions", distributions(2, 3, 4), {"reduction": "sum"}),
            Case("no reduction", distributions(4, 3), {"reduction": "none"}),
            Case("one vector", distributions(6)),
            Case("class weights", distributions(3, 4), {"weight": WEIGHT}),
            Case("smoothing", distributions(3, 4), {"label_smoothing": 0.3}),
            Case(
                "smoothing, weights, no reduction",
                distributions(3, 4),
                {"weight": WEIGHT, "label_smoothing": 0.1, "reduction": "none"},
            ),
            Case("labels of any sum", lambda draw: (draw.normal(3, 4), draw.normal(3, 4))),
            Case("a class without weight", distributions(3, 4), {"weight": np.array([1.0, 0.0, 2.0, 0.5])}, MASKED),
            Case("certain rows", certain_of_targets, {"reduction": "none"}, SATURATED),
            Case("tied logits", lambda draw: (np.zeros((2, 3)), draw.probabilities(2, 3)), flags=REPEATED),
            Case("one row", distributions(1, 4), flags=ONE),
            Case("no rows", distributions(0, 4), flags=EMPTY),
        ),
        strategy=distributed,
        errors=(
            *bad_options("softmax_cross_entropy_with_probabilities", distributions(3, 4), {}),
            Error(
                "labels of another shape",
                lambda draw: (draw.normal(3, 4), draw.probabilities(4)),
                ValueError,
                "softmax_cross_entropy_with_probabilities: labels must have the shape of logits (3, 4), got (4,)",
            ),
            Error(
                "integer labels",
                lambda draw: (draw.normal(3, 4), draw.labels(4, 3)),
                TypeError,
                "softmax_cross_entropy_with_probabilities: labels must be a floating-point array",
            ),
        ),
    ),
    Spec(
        nll_loss,
        reference=at_labels,
        source=composed("jax.nn.one_hot labels times the logarithms"),
        cases=(
            Case("mean over 5 rows", log_distributions(5, 4), with_labels(4, 5)),
            Case("class weights, two leading dimensions", log_distributions(2, 3, 4), with_labels(4, 2, 3, weight=WEIGHT)),
            Case("no reduction, any scores", logits(4, 3), with_labels(3, 4, reduction="none", weight=WEIGHT[1:])),
            Case(
                "ignored rows",
                log_distributions(4, 4),
                {"labels": np.array([3, -100, 0, -100]), "ignore_index": -100, "weight": WEIGHT},
                MASKED,
            ),
            Case("every row ignored", logits(3, 4), {"labels": np.array([7, 7, 7]), "ignore_index": 7}, NOTHING),
            Case("the same label, sum", logits(4, 3), {"labels": np.array([1, 1, 1, 1]), "reduction": "sum"}, REPEATED),
            Case("one row", log_distributions(1, 4), {"labels": np.array([3])}, ONE),
            Case("no rows", logits(0, 4), {"labels": np.zeros(0, np.int64)}, EMPTY),
        ),
        strategy=labelled_logarithms,
        errors=(
            bad_labels("label too large", np.array([0, 4, 1]), "labels must be in 0..3, got 4", op="nll_loss"),
            bad_labels("probabilities", np.ones((3, 4)), "labels must be integers, got float64", TypeError, op="nll_loss"),
            bad_labels(
                "labels of another shape", np.array([0, 1]), "integer labels must have shape (3,) to match log_", op="nll_loss"
            ),
            bad_labels("negative weight", np.zeros(3, int), "weight must be finite", op="nll_loss", weight=-np.ones(4)),
            bad_labels("unknown reduction", np.zeros(3, int), "reduction must be one of", op="nll_loss", reduction="avg"),
            Error("no labels", logits(3, 4), TypeError, "nll_loss: missing the keyword argument 'labels'"),
        ),
    ),
)
