"""Random initial values whose variance is chosen by the fans: how many inputs and outputs each entry connects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from purenet import random
from purenet.checks import choice, number
from purenet.initializers.core import Initializer, scaled
from purenet.random.checks import Shape, checked_dtype, checked_shape

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from purenet.op import Array

__all__ = [
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
]

Axes: TypeAlias = int | Sequence[int]

_TRUNCATED_STD = 0.87962566103423978  # the standard deviation of a standard normal cut at -2 and 2


def variance_scaling(
    scale: float, mode: str, distribution: str, in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = ()
) -> Initializer:
    """Makes an initializer of random numbers with mean 0 and variance scale / fan.

    Shapes: the axes of a shape are inputs (`in_axis`), outputs (`out_axis`), ignored (`batch_axis`) or, the rest, a window
    Math:
        fan_in = inputs * window, fan_out = outputs * window, fan_avg = (fan_in + fan_out) / 2,
        fan_geo_avg = sqrt(fan_in fan_out);  sigma**2 = scale / fan
        normal: sigma z;  truncated_normal: sigma / 0.8796 z with |z| < 2;  uniform: in (-sqrt(3) sigma, sqrt(3) sigma)
    Errors: ValueError unless `scale` is positive, `mode` and `distribution` are among these, the axes exist and differ, and
        no fan is 0.
    Source: jax.nn.initializers.variance_scaling; Glorot and Bengio (2010), He et al. (2015). Conventions: see the package's
        first lines. JAX divides by fans of 0 and counts an axis named twice twice; both are errors here.

    >>> from purenet import initializers, random
    >>> he = initializers.variance_scaling(2.0, "fan_in", "normal")
    >>> abs(float(he(random.key(0), (200, 100)).std()) - 0.1) < 0.002  # sqrt(2 / 200)
    True
    """
    return _variance_scaling("variance_scaling", scale, mode, distribution, in_axis, out_axis, batch_axis)


def glorot_normal(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = ()) -> Initializer:
    """Makes the initializer for sigmoid and tanh: a truncated normal of variance 2 / (fan_in + fan_out).

    Errors: those of `variance_scaling`.
    Source: Glorot and Bengio (2010); jax.nn.initializers.glorot_normal. Conventions: see the package's first lines.

    >>> from purenet import initializers, random
    >>> w = initializers.glorot_normal()(random.key(0), (50, 150))
    >>> abs(float(w.std()) - 0.1) < 0.003  # sqrt(2 / (50 + 150))
    True
    """
    return _variance_scaling("glorot_normal", 1.0, "fan_avg", "truncated_normal", in_axis, out_axis, batch_axis)


def glorot_uniform(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = ()) -> Initializer:
    """Makes the initializer for sigmoid and tanh: uniform of variance 2 / (fan_in + fan_out).

    Errors: those of `variance_scaling`.
    Source: Glorot and Bengio (2010); jax.nn.initializers.glorot_uniform.

    >>> from purenet import initializers, random
    >>> w = initializers.glorot_uniform()(random.key(0), (1, 5))
    >>> bool((abs(w) <= 1).all())  # sqrt(6 / (1 + 5))
    True
    """
    return _variance_scaling("glorot_uniform", 1.0, "fan_avg", "uniform", in_axis, out_axis, batch_axis)


def he_normal(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = ()) -> Initializer:
    """Makes the initializer for relu: a truncated normal of variance 2 / fan_in.

    Errors: those of `variance_scaling`.
    Source: He et al. (2015); jax.nn.initializers.he_normal. Conventions: see the package's first lines.

    >>> from purenet import initializers, random
    >>> w = initializers.he_normal()(random.key(0), (200, 100))
    >>> abs(float(w.std()) - 0.1) < 0.002  # sqrt(2 / 200)
    True
    """
    return _variance_scaling("he_normal", 2.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis)


def he_uniform(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = ()) -> Initializer:
    """Makes the initializer for relu: uniform of variance 2 / fan_in.

    Errors: those of `variance_scaling`.
    Source: He et al. (2015); jax.nn.initializers.he_uniform.

    >>> from purenet import initializers, random
    >>> w = initializers.he_uniform()(random.key(0), (6, 5))
    >>> bool((abs(w) <= 1).all())  # sqrt(6 / 6)
    True
    """
    return _variance_scaling("he_uniform", 2.0, "fan_in", "uniform", in_axis, out_axis, batch_axis)


def lecun_normal(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = ()) -> Initializer:
    """Makes the initializer for selu: a truncated normal of variance 1 / fan_in.

    Errors: those of `variance_scaling`.
    Source: LeCun et al., Efficient backprop (1998), Klambauer et al. (2017); jax.nn.initializers.lecun_normal. Conventions:
        see the package's first lines.

    >>> from purenet import initializers, random
    >>> w = initializers.lecun_normal()(random.key(0), (100, 200))
    >>> abs(float(w.std()) - 0.1) < 0.002  # sqrt(1 / 100)
    True
    """
    return _variance_scaling("lecun_normal", 1.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis)


def lecun_uniform(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = ()) -> Initializer:
    """Makes the initializer for selu: uniform of variance 1 / fan_in.

    Errors: those of `variance_scaling`.
    Source: LeCun et al., Efficient backprop (1998), Klambauer et al. (2017); jax.nn.initializers.lecun_uniform.

    >>> from purenet import initializers, random
    >>> w = initializers.lecun_uniform()(random.key(0), (3, 5))
    >>> bool((abs(w) <= 1).all())  # sqrt(3 / 3)
    True
    """
    return _variance_scaling("lecun_uniform", 1.0, "fan_in", "uniform", in_axis, out_axis, batch_axis)


xavier_normal = glorot_normal
xavier_uniform = glorot_uniform
kaiming_normal = he_normal
kaiming_uniform = he_uniform


def _variance_scaling(
    op: str, scale: float, mode: str, distribution: str, in_axis: Axes, out_axis: Axes, batch_axis: Axes
) -> Initializer:
    scale = number(op, "scale", scale, above=0)
    choice(op, "mode", mode, ("fan_in", "fan_out", "fan_avg", "fan_geo_avg"))
    choice(op, "distribution", distribution, ("normal", "truncated_normal", "uniform"))

    def init(key: Array, shape: Shape, dtype: DTypeLike = np.float64) -> Array:
        random.check_key(op, key)
        shape, dtype = checked_shape(op, shape), checked_dtype(op, dtype)
        fan_in, fan_out = _fans(op, shape, in_axis, out_axis, batch_axis)
        fan = {
            "fan_in": fan_in,
            "fan_out": fan_out,
            "fan_avg": (fan_in + fan_out) / 2,
            "fan_geo_avg": math.sqrt(fan_in * fan_out),
        }[mode]
        sigma = math.sqrt(scale / fan)
        if distribution == "normal":
            return scaled(op, "scale", random.normal(key, shape, dtype), sigma)
        if distribution == "truncated_normal":
            return scaled(op, "scale", random.truncated_normal(key, -2.0, 2.0, shape, dtype), sigma / _TRUNCATED_STD)
        return scaled(op, "scale", random.uniform(key, shape, dtype, minval=-1.0), math.sqrt(3.0) * sigma)

    return init


def _fans(op: str, shape: tuple[int, ...], in_axis: Axes, out_axis: Axes, batch_axis: Axes) -> tuple[int, int]:
    groups = []
    for name, axes in (("in_axis", in_axis), ("out_axis", out_axis), ("batch_axis", batch_axis)):
        group = tuple(axes) if isinstance(axes, list | tuple) else (axes,)
        if not all(isinstance(axis, int | np.integer) and not isinstance(axis, bool) for axis in group):
            raise TypeError(f"{op}: {name} must be an integer or a tuple of integers, got {axes!r}")
        if not all(-len(shape) <= axis < len(shape) for axis in group):
            raise ValueError(f"{op}: {name} must name axes of shape {shape}, got {axes}")
        groups.append([axis % len(shape) for axis in group])
    named = [axis for group in groups for axis in group]
    if len(set(named)) != len(named):
        raise ValueError(f"{op}: in_axis, out_axis and batch_axis must differ, got {in_axis}, {out_axis} and {batch_axis}")
    inputs, outputs = (math.prod(shape[axis] for axis in group) for group in groups[:2])
    window = math.prod(size for axis, size in enumerate(shape) if axis not in named)
    if inputs * outputs * window == 0:
        raise ValueError(f"{op}: shape must have no empty input, output or window axis, got {shape}")
    return inputs * window, outputs * window
