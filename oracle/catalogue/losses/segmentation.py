"""Losses of overlap: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from oracle.catalogue.losses.reductions import EMPTY, MASKED, ONE, SATURATED, bad_options
from oracle.spec import Array, Case, Draw, Error, Spec, library
from purenet.losses.segmentation import dice_loss


def dice_by_optax(
    predictions: Any,
    targets: Any,
    *,
    apply_softmax: bool = True,
    reduction: str = "mean",
    where: Any = None,
    axis: Any = None,
    class_weights: Any = None,
    **options: Any,
) -> Any:
    if class_weights is not None:
        options["class_weights"] = jnp.asarray(class_weights, predictions.dtype)
    if where is None and apply_softmax:
        losses = optax.losses.dice_loss(predictions, targets, axis=axis, reduction="none", **options)
    else:
        losses = dice_by_errors(predictions, targets, apply_softmax, where, axis, **options)
    return losses if reduction == "none" else losses.mean() if reduction == "mean" and losses.size else losses.sum()


def dice_by_errors(
    predictions: Any,
    targets: Any,
    apply_softmax: bool,
    where: Any,
    axis: Any,
    class_weights: Any = None,
    smooth: float = 1.0,
    alpha: float = 0.5,
    beta: float = 0.5,
    ignore_background: bool = False,
) -> Any:
    """What optax does not take: probabilities of any sum, and masks. By true positives, false positives, false negatives."""
    p = predictions
    if apply_softmax:
        p = jnp.exp(p) / jnp.exp(p).sum(axis=-1, keepdims=True) if p.shape[-1] > 1 else 1 / (1 + jnp.exp(-p))
    counted = jnp.ones(p.shape[:-1], bool) if where is None else jnp.broadcast_to(where, p.shape[:-1])
    along = tuple(range(1, p.ndim - 1)) if axis is None else axis
    right, false_yes, false_no = (
        jnp.where(counted[..., None], product, 0).sum(axis=along)
        for product in (p * targets, p * (1 - targets), (1 - p) * targets)
    )
    losses = 1 - (right + smooth) / (right + alpha * false_yes + beta * false_no + smooth)
    if class_weights is not None:
        losses = losses * class_weights
    return losses[..., 1:] if ignore_background and p.shape[-1] > 1 else losses


def segments(*shape: int, **_: Any) -> Any:
    """Draws logits, and targets between 0 and 1."""

    def arguments(draw: Draw) -> tuple[Array, Array]:
        return draw.normal(*shape), draw.uniform(*shape)

    return arguments


def chances(*shape: int) -> Any:
    def arguments(draw: Draw) -> tuple[Array, Array]:
        return draw.uniform(*shape, low=0.1, high=0.9), draw.mask(*shape).astype(np.float64)

    return arguments


def segmentations(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape, classes = draw.shape(1, 3), draw.between(1, 3)
    options: dict[str, Any] = {"reduction": draw.choice(["mean", "sum", "none"])}
    if draw.choice([False, True]):
        options |= {"alpha": 0.25, "beta": 0.75, "smooth": 0.5}
    if draw.choice([False, True]):
        options["class_weights"] = draw.uniform(classes, low=0.5, high=2.0)
    if draw.choice([False, True]):
        options["where"] = kept = np.asarray(draw.mask(*shape))
        kept.reshape(-1)[:1] = True
    options["ignore_background"] = draw.choice([False, True])
    if draw.choice([False, True]):
        options["axis"] = draw.choice([0, tuple(range(len(shape)))])
    return segments(*shape, classes)(draw), options


SPECS = (
    Spec(
        dice_loss,
        reference=dice_by_optax,
        source=library("optax.losses.dice_loss"),
        cases=(
            Case("images of 3 classes", segments(2, 3, 2, 3)),
            Case(
                "Tversky, class weights, sum",
                segments(2, 5, 3),
                {"alpha": 0.25, "beta": 0.75, "smooth": 0.5, "class_weights": np.array([0.5, 2.0, 1.25]), "reduction": "sum"},
            ),
            Case("both errors count more", segments(2, 4, 3), {"alpha": 0.7, "beta": 0.6}),
            Case("one class, no reduction", segments(3, 4, 1), {"reduction": "none"}),
            Case("no background, over the batch", segments(3, 2, 3), {"ignore_background": True, "axis": (0, 1)}),
            Case("probabilities", chances(2, 3, 2), {"apply_softmax": False, "smooth": 0.25, "reduction": "none"}),
            Case(
                "holes",
                segments(2, 3, 2),
                {"where": np.array([[True, False, True], [True, True, False]]), "reduction": "none"},
                MASKED,
            ),
            Case(
                "probabilities with holes",
                chances(2, 3, 2),
                {"apply_softmax": False, "where": np.array([[True, False, True], [True, True, False]])},
                MASKED,
            ),
            Case(
                "certain predictions",
                lambda draw: (
                    np.array([[[1e4, -1e4], [30.0, 0.0], [0.5, 0.0]], [[-1e4, 1e4], [0.0, 1.0], [2.0, 0.0]]]),
                    draw.mask(2, 3, 2).astype(np.float64),
                ),
                {"reduction": "none"},
                SATURATED,
            ),
            Case("one image", segments(1, 3, 4, 2), flags=ONE),
            Case("no images", segments(0, 3, 2), flags=EMPTY),
        ),
        strategy=segmentations,
        errors=(
            Error(
                "targets of another shape",
                lambda draw: (draw.normal(2, 3, 4), draw.uniform(2, 3)),
                ValueError,
                "dice_loss: targets must have the shape of predictions (2, 3, 4), got (2, 3)",
            ),
            Error(
                "integer targets",
                lambda draw: (draw.normal(2, 3, 4), draw.labels(2, 2, 3, 4)),
                TypeError,
                "dice_loss: targets must be a floating-point array",
            ),
            Error(
                "no classes",
                lambda draw: (np.array(0.5), np.array(0.5)),
                ValueError,
                "dice_loss: predictions must have shape (..., classes), got ()",
            ),
            *bad_options(
                "dice_loss",
                segments(2, 3, 4),
                ("over the classes", "axis must leave the classes, the last axis", ValueError, {"axis": -1}),
                ("no such axis", "axis must be one of the 3 axes", ValueError, {"axis": 3}),
                ("negative smooth", "smooth must be finite and at least 0, got -1.0", ValueError, {"smooth": -1.0}),
                (
                    "mask of classes",
                    "where must have a shape that broadcasts to (2, 3)",
                    ValueError,
                    {"where": np.ones((2, 3, 4), bool)},
                ),
                ("unknown reduction", "reduction must be one of", ValueError, {"reduction": "avg"}),
                ("weights of another width", "class_weights must have a shape", ValueError, {"class_weights": np.ones(3)}),
            ),
        ),
        tier=2,
    ),
)
