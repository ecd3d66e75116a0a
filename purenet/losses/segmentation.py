"""Losses of overlap, for masks and segments."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from purenet.activations.normalized import softmax, softmax_bwd
from purenet.activations.smooth import sigmoid, sigmoid_bwd
from purenet.checks import axes, choice, factors, mask, number, same_shape
from purenet.losses.reductions import REDUCTIONS, Axis, Mask, Reduction
from purenet.op import Array, Op

__all__ = ["dice_loss"]


class Overlap(NamedTuple):
    """Residuals of dice_loss. Sums keep their axes with size 1."""

    probabilities: Array
    targets: Array
    activation: Any
    """Residuals of the softmax or the sigmoid, None where there is none."""
    losses: Array
    right: Array
    """What a class does not lack, 1 less its loss: as a difference it would lose digits where the loss is near 1."""
    slope: Array
    """The derivative of a class's loss by its overlap: the weight of the class over the volume."""
    prices: tuple[float, float]
    kept: Array | None
    first: int
    """The class that the losses begin with."""
    along: tuple[int, ...]
    by: Reduction


@Op
def dice_loss(
    predictions: Array,
    targets: Array,
    *,
    class_weights: Array | None = None,
    smooth: float = 1.0,
    alpha: float = 0.5,
    beta: float = 0.5,
    apply_softmax: bool = True,
    reduction: str = "mean",
    ignore_background: bool = False,
    axis: Axis = None,
    where: Mask = None,
) -> tuple[Array, Any]:
    """What the predicted and the true segments lack to full overlap, class by class, with classes on the last axis.

    Predictions are logits, of which the softmax is taken, or the sigmoid if there is one class; without `apply_softmax` they
    are probabilities. Other `alpha` (the price of false positives) and `beta` (of false negatives) than 1/2 make Tversky's
    loss.

    Shapes: predictions (N, ..., K), targets (N, ..., K), class_weights (K,), where broadcasts to (N, ...) -> y (), or (N, K)
        without reduction, without the first class if `ignore_background`
    Math, with the probabilities p, sums over `axis` (all but the first and the last), and M rows times classes:
        l  = F / V,  F = alpha sum p (1 - t) + beta sum t (1 - p),  V = I + F + smooth,  I = sum p t
        dp = dl (alpha (1 - l) - t (l + (alpha + beta)(1 - l))) / V,  dlogits = p (dp - sum over classes of p dp)
        dt = dl (beta (1 - l) - p (l + (alpha + beta)(1 - l))) / V
        dl = dy w / M for the class weight w;  reduction "sum" has no 1/M, "none" no sum either
    Errors: ValueError where the shapes differ (nothing is broadcast), for a negative number or weight, alpha and beta both 0,
        an `axis` that there is not or that is the last, or another reduction; TypeError unless `where` is boolean.
    Source: Milletari et al., V-Net (2016); Salehi et al., Tversky loss (2017). Conventions: optax's, whose reduction is over
        the classes alone; class_weights do not divide the mean, as there. Classes are last (torch's layout has them second).
        optax wants probabilities that sum to 1. An entry outside `where` is in no sum. 0/0 is 0.

    >>> import numpy as np, purenet as pn
    >>> p, t = np.array([[[0.75], [0.25]]]), np.array([[[1.0], [0.0]]])
    >>> pn.dice_loss(p, t, smooth=0, apply_softmax=False, reduction="none")
    array([[0.25]])
    """
    name = "dice_loss"
    choice(name, "reduction", reduction, REDUCTIONS)
    smooth, alpha, beta = (number(name, n, x, low=0) for n, x in (("smooth", smooth), ("alpha", alpha), ("beta", beta)))
    if alpha + beta == 0:
        raise ValueError(f"{name}: alpha and beta must not both be 0, where no mistake counts")
    same_shape(name, predictions=predictions, targets=targets)
    if predictions.ndim < 1:
        raise ValueError(f"{name}: predictions must have shape (..., classes), got ()")
    classes = predictions.shape[-1]
    last = predictions.ndim - 1
    along = tuple(range(1, last)) if axis is None else axes(name, axis, predictions)
    if last in along:
        raise ValueError(f"{name}: axis must leave the classes, the last axis of predictions {predictions.shape}, got {axis}")
    kept = None if where is None else mask(name, "where", where, predictions.shape[:-1])[..., None]
    factor = np.ones(classes, predictions.dtype)
    if class_weights is not None:
        factor = factors(name, "class_weights", class_weights, (classes,), predictions.dtype)

    t = targets if kept is None else np.where(kept, targets, 0)
    p, saved = predictions, None
    if apply_softmax:
        activation = sigmoid if classes == 1 else softmax
        p, saved = activation.forward(p if kept is None else np.where(kept, p, 0))
    if kept is not None:
        p = np.where(kept, p, 0)
    both = (p * t).sum(axis=along, keepdims=True)
    false = alpha * (p * (1 - t)).sum(axis=along, keepdims=True) + beta * (t * (1 - p)).sum(axis=along, keepdims=True)
    volume = both + false + smooth
    inverse = np.where(volume == 0, 0, 1 / np.where(volume == 0, 1, volume))
    losses = false * inverse
    first = int(ignore_background and classes > 1)
    terms = np.squeeze(factor * losses, axis=along)[..., first:]
    by = Reduction(reduction, None, terms.size)
    right = (both + smooth) * inverse
    return by.value(terms.copy()), Overlap(p, t, saved, losses, right, factor * inverse, (alpha, beta), kept, first, along, by)


@dice_loss.pullback
def dice_loss_bwd(residuals: Overlap, dy: Array) -> tuple[Array, Array]:
    p, t, saved, losses, right, slope, (alpha, beta), kept, first, along, by = residuals
    dl = np.zeros_like(np.squeeze(losses, axis=along))
    dl[..., first:] = by.cotangent(dy)
    dvolume = np.expand_dims(dl, along) * slope
    both = losses + (alpha + beta) * right
    dp, dt = dvolume * (alpha * right - t * both), dvolume * (beta * right - p * both)
    if kept is not None:
        dp, dt = np.where(kept, dp, 0), np.where(kept, dt, 0)
    if saved is None:
        return dp, dt
    activated = sigmoid_bwd if p.shape[-1] == 1 else softmax_bwd
    return activated(saved, dp)[0], dt
