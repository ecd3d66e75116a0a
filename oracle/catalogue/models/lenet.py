"""LeNet-5 with its loss, at its real size: reference, cases, errors."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from oracle.catalogue.models.parts import convolution, cross_entropy, labels, linear, weights
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.models import lenet

SHAPES = {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5), "affine1": (400, 120), "affine2": (120, 84), "affine3": (84, 10)}


def lenet_by_equinox(params: Any, x: Any, *, loss: dict[str, Any]) -> Any:
    net, tanh, pool = params["net"], eqx.nn.Lambda(jnp.tanh), eqx.nn.AvgPool2d(2, 2)
    layers = [
        convolution(net["conv1"], padding=2), tanh, pool,
        convolution(net["conv2"]), tanh, pool, eqx.nn.Lambda(jnp.ravel),
        linear(net["affine1"]), tanh, linear(net["affine2"]), tanh, linear(net["affine3"]),
    ]  # fmt: skip
    return cross_entropy(jax.vmap(eqx.nn.Sequential(layers))(x), loss["labels"])


def arguments(draw: Draw, count: int, size: int = 28, channels: int = 1) -> tuple[Any, Any]:
    return {"net": weights(draw, SHAPES)}, draw.normal(count, channels, size, size)


SPECS = (
    Spec(
        lenet.goal(),
        reference=lenet_by_equinox,
        source=library("equinox.nn.Conv2d, AvgPool2d, Linear; optax.softmax_cross_entropy_with_integer_labels"),
        on_request=True,
        cases=(
            Case("two images", lambda draw: arguments(draw, 2), labels(3, 7)),
            Case("one image", lambda draw: arguments(draw, 1), labels(0), frozenset({Flag.BATCH_OF_ONE})),
        ),
        errors=(
            Error(
                "images of 32 x 32",
                lambda draw: arguments(draw, 2, size=32),
                ValueError,
                "x must have shape (any, 1, 28, 28), got (2, 1, 32, 32)",
                labels(3, 7),
            ),
            Error(
                "three channels",
                lambda draw: arguments(draw, 2, channels=3),
                ValueError,
                "x must have shape (any, 1, 28, 28), got (2, 3, 28, 28)",
                labels(3, 7),
            ),
            Error(
                "a label for another number of classes",
                lambda draw: arguments(draw, 2),
                ValueError,
                "labels must be in 0..9, got 10",
                labels(3, 10),
            ),
            Error(
                "an affine map missing",
                lambda draw: ({"net": weights(draw, {"conv1": SHAPES["conv1"]})}, draw.normal(1, 1, 28, 28)),
                ValueError,
                "params must hold the stages conv1, conv2, affine1, affine2, affine3, got conv1",
                labels(3),
            ),
            Error("no labels", lambda draw: arguments(draw, 2), TypeError, "missing the keyword argument 'labels'"),
        ),
    ),
)
