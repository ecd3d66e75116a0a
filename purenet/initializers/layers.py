"""Initial weights and biases of many layers at once, each from a key of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from purenet import random
from purenet.checks import number
from purenet.initializers.core import Initializer
from purenet.initializers.entries import normal
from purenet.initializers.fans import lecun_normal, variance_scaling

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from purenet.op import Array

__all__ = ["Scheme", "layers"]

Scheme: TypeAlias = str | float | Initializer
"""A name of `SCHEMES`, a standard deviation, or an initializer."""

SCHEMES: dict[str, Callable[..., Initializer]] = {
    "he": partial(variance_scaling, 2.0, "fan_in", "normal"),
    "xavier": partial(variance_scaling, 1.0, "fan_in", "normal"),
    "glorot": partial(variance_scaling, 1.0, "fan_avg", "normal"),
    "lecun": lecun_normal,
}


def layers(
    key: Array, shapes: Mapping[str, Sequence[int]], *, initializer: Scheme = "he", dtype: DTypeLike = np.float64
) -> dict[str, dict[str, Array]]:
    """The parameters of affine maps and convolutions: weights of the given shapes, as `initializer` says, and biases of 0.

    Shapes: of weights (I, O), or (O, I, window ...) -> {layer: {w, b (O,)}}
    Math, the standard deviation of the weights, with I and O times the entries of the window:
        "he": sqrt(2 / I), for relu;  "xavier": sqrt(1 / I), for sigmoid and tanh;  "glorot": sqrt(2 / (I + O));
        "lecun": sqrt(1 / I), cut at two standard deviations;  a number: that number
    Errors: ValueError for another name, a standard deviation that is negative or not finite, or a shape with fewer than two
        axes.
    Source: He et al. (2015); Saito, Deep Learning from Scratch (2016), section 6.2. Conventions: "he" and "xavier" are the
        plain normals of the book, whose Xavier counts the inputs alone; Glorot and Bengio's own is "glorot". An initializer of
        this package is taken as it is: give it in_axis=1, out_axis=0 for convolutions.

    >>> from purenet import initializers, random
    >>> params = initializers.layers(random.key(0), {"conv1": (6, 1, 5, 5), "affine1": (784, 10)})
    >>> params["conv1"]["b"].shape, abs(float(params["affine1"]["w"].std()) - (2 / 784) ** 0.5) < 0.001
    ((6,), True)
    """
    params = {}
    for (name, shape), own in zip(shapes.items(), random.split(key, max(len(shapes), 1)), strict=False):
        if len(shape) < 2:
            raise ValueError(f"layers: the weights of {name} must have at least two axes, got the shape {tuple(shape)}")
        affine = len(shape) == 2
        outputs = shape[1] if affine else shape[0]
        axes = {} if affine else {"in_axis": 1, "out_axis": 0}
        params[name] = {"w": _initializer(initializer, axes)(own, tuple(shape), dtype), "b": np.zeros(outputs, dtype)}
    return params


def _initializer(given: Scheme, axes: dict[str, int]) -> Initializer:
    if isinstance(given, str):
        if given not in SCHEMES:
            known = ", ".join(map(repr, SCHEMES))
            raise ValueError(f"layers: initializer must be one of {known}, a standard deviation or a function, got {given!r}")
        return SCHEMES[given](**axes)
    if callable(given):
        return given
    return normal(number("layers", "initializer", given, low=0))
