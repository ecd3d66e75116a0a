"""AlexNet with its loss, at its real size and small: reference, cases, errors."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax

from oracle.catalogue.models.parts import clear, convolved, cross_entropy, dropped, labels, linear, max_pooled, weights
from oracle.catalogue.normalization.response import response_by_window
from oracle.spec import Case, Draw, Error, Flag, Spec, composed
from purenet.combinators import named
from purenet.models import alexnet

SHAPES = {
    "conv1": (96, 3, 11, 11),
    "conv2": (256, 48, 5, 5),
    "conv3": (384, 256, 3, 3),
    "conv4": (384, 192, 3, 3),
    "conv5": (256, 192, 3, 3),
    "affine1": (9216, 4096),
    "affine2": (4096, 4096),
    "affine3": (4096, 1000),
}
SMALL_SHAPES = {
    "conv1": (2, 1, 11, 11),
    "conv2": (4, 1, 5, 5),
    "conv3": (4, 4, 3, 3),
    "conv4": (2, 2, 3, 3),
    "conv5": (4, 1, 3, 3),
    "affine1": (4, 6),
    "affine2": (6, 5),
    "affine3": (5, 3),
}
SMALL = named(alexnet.goal(image_size=21, channels=1, stride=1), alexnet.goal, "alexnet_small_goal")
GAP = 1e-3


def alexnet_by_patches(params: Any, x: Any, *, loss: dict[str, Any], net: Any = None, stride: int = 4) -> Any:
    own, options = params["net"], net or {}
    for i, step, padding, groups in ((1, stride, 2, 1), (2, 1, 2, 2), (3, 1, 1, 1), (4, 1, 1, 2), (5, 1, 1, 2)):
        x = jax.nn.relu(convolved(own[f"conv{i}"], x, stride=step, padding=padding, groups=groups))
        if i <= 2:
            x = response_by_window(x, size=5, alpha=5e-4, beta=0.75, k=2.0)
        if i in (1, 2, 5):
            x = max_pooled(x, 3, 2)
    x = x.reshape(len(x), len(own["affine1"]["w"]))
    for i in (1, 2):
        x = dropped(jax.nn.relu(jax.vmap(linear(own[f"affine{i}"]))(x)), f"dropout{i}", options, 0.5)
    return cross_entropy(jax.vmap(linear(own["affine3"]))(x), loss["labels"])


def small_by_patches(params: Any, x: Any, *, loss: dict[str, Any], net: Any = None) -> Any:
    return alexnet_by_patches(params, x, loss=loss, net=net, stride=1)


def arguments(draw: Draw, size: int = 224) -> tuple[Any, Any]:
    return {"net": weights(draw, SHAPES)}, draw.normal(1, 3, size, size)


def small(draw: Draw, count: int = 1, size: int = 21) -> tuple[Any, Any]:
    def make() -> tuple[Any, Any]:
        net = weights(draw, SMALL_SHAPES)
        for layer in list(net.values())[1:-1]:
            layer["b"] += 1  # so that most of the few units are on
        return net, draw.normal(count, 1, size, size)

    return clear(SMALL, GAP, make)


def keys(draw: Draw) -> dict[str, Any]:
    return {f"dropout{i}": {"key": draw.key()} for i in (1, 2)}


SOURCE = composed("matrix products of patches by jax.numpy, lax.reduce_window; equinox.nn.MaxPool2d, Linear and Dropout; optax")

SPECS = (
    Spec(
        alexnet.goal(),
        reference=alexnet_by_patches,
        source=SOURCE,
        on_request=True,
        cases=(Case("one image in training", arguments, lambda draw: {**labels(281), "net": keys(draw)}),),
    ),
    Spec(
        SMALL,
        reference=small_by_patches,
        source=SOURCE,
        on_request=True,
        cases=(Case("one image", small, labels(2), frozenset({Flag.BATCH_OF_ONE})),),
        errors=(
            Error(
                "images of 22 x 22",
                partial(small, size=22),
                ValueError,
                "x must have shape (any, 1, 21, 21), got (1, 1, 22, 22)",
                labels(0),
            ),
            Error(
                "a label for another number of classes",
                small,
                ValueError,
                "labels must be in 0..2, got 281",
                labels(281),
            ),
            Error("no labels", small, TypeError, "missing the keyword argument 'labels'"),
        ),
    ),
)
