"""The deep convolutional net with its loss, at its real size: reference, cases, errors."""

from __future__ import annotations

from typing import Any

import jax

from oracle.catalogue.models.parts import convolved, cross_entropy, dropped, labels, linear, max_pooled, weights
from oracle.spec import Case, Draw, Error, Flag, Spec, composed
from purenet.models import deep_convnet

SHAPES = {
    "conv1": (16, 1, 3, 3),
    "conv2": (16, 16, 3, 3),
    "conv3": (32, 16, 3, 3),
    "conv4": (32, 32, 3, 3),
    "conv5": (64, 32, 3, 3),
    "conv6": (64, 64, 3, 3),
    "affine1": (1024, 50),
    "affine2": (50, 10),
}


def deep_by_patches(params: Any, x: Any, *, loss: dict[str, Any], net: Any = None) -> Any:
    own, options = params["net"], net or {}
    for i in range(1, 7):
        x = jax.nn.relu(convolved(own[f"conv{i}"], x, padding=2 if i == 4 else 1))
        if i % 2 == 0:
            x = max_pooled(x, 2, 2)
    x = jax.nn.relu(jax.vmap(linear(own["affine1"]))(x.reshape(len(x), 1024)))
    logits = jax.vmap(linear(own["affine2"]))(dropped(x, "dropout1", options, 0.5))
    return cross_entropy(dropped(logits, "dropout2", options, 0.5), loss["labels"])


def arguments(draw: Draw, count: int, size: int = 28) -> tuple[Any, Any]:
    return {"net": weights(draw, SHAPES)}, draw.normal(count, 1, size, size)


def keys(draw: Draw) -> dict[str, Any]:
    return {f"dropout{i}": {"key": draw.key()} for i in (1, 2)}


SPECS = (
    Spec(
        deep_convnet.goal(),
        reference=deep_by_patches,
        source=composed("matrix products of patches by jax.numpy; equinox.nn.MaxPool2d, Linear and Dropout; optax"),
        on_request=True,
        cases=(
            Case("two images in training", lambda draw: arguments(draw, 2), lambda draw: {**labels(3, 7), "net": keys(draw)}),
            Case("one image", lambda draw: arguments(draw, 1), labels(0), frozenset({Flag.BATCH_OF_ONE})),
        ),
        errors=(
            Error(
                "images of 27 x 27",
                lambda draw: arguments(draw, 2, size=27),
                ValueError,
                "x must have shape (any, 1, 28, 28), got (2, 1, 27, 27)",
                labels(3, 7),
            ),
            Error("no labels", lambda draw: arguments(draw, 2), TypeError, "missing the keyword argument 'labels'"),
        ),
    ),
)
