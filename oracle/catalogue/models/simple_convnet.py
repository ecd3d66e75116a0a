"""The simple convolutional net with its loss, at its real size: reference, cases, errors."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from oracle.catalogue.models.parts import convolution, cross_entropy, labels, linear, weights
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.models import simple_convnet

SHAPES = {"conv1": (30, 1, 5, 5), "affine1": (4320, 100), "affine2": (100, 10)}


def simple_by_equinox(params: Any, x: Any, *, loss: dict[str, Any]) -> Any:
    net, relu = params["net"], eqx.nn.Lambda(jax.nn.relu)
    layers = [
        convolution(net["conv1"]), relu, eqx.nn.MaxPool2d(2, 2), eqx.nn.Lambda(jnp.ravel),
        linear(net["affine1"]), relu, linear(net["affine2"]),
    ]  # fmt: skip
    return cross_entropy(jax.vmap(eqx.nn.Sequential(layers))(x), loss["labels"])


def arguments(draw: Draw, count: int, size: int = 28) -> tuple[Any, Any]:
    return {"net": weights(draw, SHAPES)}, draw.normal(count, 1, size, size)


SPECS = (
    Spec(
        simple_convnet.goal(),
        reference=simple_by_equinox,
        source=library("equinox.nn.Conv2d, MaxPool2d, Linear; optax.softmax_cross_entropy_with_integer_labels"),
        on_request=True,
        cases=(
            Case("two images", lambda draw: arguments(draw, 2), labels(3, 7)),
            Case("one image", lambda draw: arguments(draw, 1), labels(0), frozenset({Flag.BATCH_OF_ONE})),
        ),
        errors=(
            Error(
                "images of 29 x 29, which would give as large maps behind the pool",
                lambda draw: arguments(draw, 2, size=29),
                ValueError,
                "x must have shape (any, 1, 28, 28), got (2, 1, 29, 29)",
                labels(3, 7),
            ),
            Error("no labels", lambda draw: arguments(draw, 2), TypeError, "missing the keyword argument 'labels'"),
        ),
    ),
)
