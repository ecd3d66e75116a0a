"""Initial values of parameters, named as in `jax.nn.initializers`.

    init = initializers.he_normal()
    w = init(random.key(0), (784, 50))                 # init(key, shape, dtype=float64)

`zeros` and `ones` are such functions themselves; all others make one. The same key gives JAX's numbers, to rounding.

Conventions: `glorot_normal` (Xavier) and `he_normal` (Kaiming) are *truncated* normals, cut at two standard deviations and
rescaled to the stated variance, and Xavier's variance is 2 / (fan_in + fan_out), as in JAX and keras. Plain normals are

    variance_scaling(2.0, "fan_in", "normal")          # He et al.: std sqrt(2 / fan_in), for relu; torch's kaiming_normal_
    variance_scaling(1.0, "fan_in", "normal")          # Xavier in Deep Learning from Scratch: std sqrt(1 / fan_in)
    variance_scaling(1.0, "fan_avg", "normal")         # torch's xavier_normal_

The fans of a shape are those of weights [in, out], as in `affine`; convolution weights OIHW need in_axis=1, out_axis=0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from purenet import random
from purenet.checks import choice
from purenet.random import Shape, checked_dtype, checked_parameter, checked_shape

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from purenet.op import Array

__all__ = [
    "Initializer",
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "normal",
    "ones",
    "variance_scaling",
    "xavier_normal",
    "zeros",
]

Axes: TypeAlias = int | Sequence[int]

_TRUNCATED_STD = 0.87962566103423978  # the standard deviation of a standard normal cut at -2 and 2


class Initializer(Protocol):
    """What the functions of this module return: a function of a key, a shape and a dtype."""

    def __call__(self, key: Array, shape: Shape, dtype: DTypeLike = np.float64) -> Array:
        """The initial value of a parameter."""


def zeros(key: Any, shape: Shape, dtype: DTypeLike = np.float64) -> Array:
    """All zeros, for biases. The key is ignored.

    Errors: TypeError unless `dtype` is floating.
    Source: jax.nn.initializers.zeros.

    >>> from purenet import initializers, random
    >>> initializers.zeros(random.key(0), (2,))
    array([0., 0.])
    """
    return np.zeros(checked_shape("zeros", shape), checked_dtype("zeros", dtype))


def ones(key: Any, shape: Shape, dtype: DTypeLike = np.float64) -> Array:
    """All ones, for scales. The key is ignored.

    Errors: TypeError unless `dtype` is floating.
    Source: jax.nn.initializers.ones.

    >>> from purenet import initializers, random
    >>> initializers.ones(random.key(0), (2,))
    array([1., 1.])
    """
    return np.ones(checked_shape("ones", shape), checked_dtype("ones", dtype))


def constant(value: Any) -> Initializer:
    """Makes an initializer that fills with `value`, a number or an array that broadcasts to the shape. The key is ignored.

    Errors: TypeError unless `value` is real; ValueError where it does not broadcast to the shape.
    Source: jax.nn.initializers.constant.

    >>> from purenet import initializers, random
    >>> initializers.constant(0.5)(random.key(0), (2,))
    array([0.5, 0.5])
    """
    filling = np.array(value)

    def init(key: Any, shape: Shape, dtype: DTypeLike = np.float64) -> Array:
        shape, dtype = checked_shape("constant", shape), checked_dtype("constant", dtype)
        return np.full(shape, checked_parameter("constant", "value", filling, shape, dtype))

    return init


def normal(stddev: float = 1e-2) -> Initializer:
    """Makes an initializer of normal numbers with mean 0 and standard deviation `stddev`.

    Errors: TypeError unless `stddev` is a real number, ValueError unless it is finite and not negative.
    Source: jax.nn.initializers.normal.

    >>> from purenet import initializers, random
    >>> w = initializers.normal(0.1)(random.key(0), (100, 100))
    >>> abs(float(w.std()) - 0.1) < 0.005
    True
    """
    stddev = _number("normal", "stddev", stddev)

    def init(key: Array, shape: Shape, dtype: DTypeLike = np.float64) -> Array:
        return _scaled(random.normal(key, shape, dtype), stddev)

    return init


def variance_scaling(
    scale: float, mode: str, distribution: str, in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = ()
) -> Initializer:
    """Makes an initializer of random numbers with mean 0 and variance scale / fan.

    Shapes: the axes of a shape are inputs (`in_axis`), outputs (`out_axis`), ignored (`batch_axis`) or, the rest, a window
    Math:
        fan_in = inputs * window, fan_out = outputs * window, fan_avg = (fan_in + fan_out) / 2;  sigma**2 = scale / fan
        normal: sigma z;  truncated_normal: sigma / 0.8796 z with |z| < 2;  uniform: in (-sqrt(3) sigma, sqrt(3) sigma)
    Errors: ValueError unless `scale` is positive, `mode` and `distribution` are among these, the axes exist and differ, and
        no fan is 0.
    Source: jax.nn.initializers.variance_scaling; Glorot and Bengio (2010), He et al. (2015). Conventions: see the module's
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
    Source: Glorot and Bengio (2010); jax.nn.initializers.glorot_normal. Conventions: see the module's first lines.

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
    Source: He et al. (2015); jax.nn.initializers.he_normal. Conventions: see the module's first lines.

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


xavier_normal = glorot_normal
kaiming_normal = he_normal


def _variance_scaling(
    op: str, scale: float, mode: str, distribution: str, in_axis: Axes, out_axis: Axes, batch_axis: Axes
) -> Initializer:
    scale = _number(op, "scale", scale)
    if scale == 0:
        raise ValueError(f"{op}: scale must be positive, got {scale}")
    choice(op, "mode", mode, ("fan_in", "fan_out", "fan_avg"))
    choice(op, "distribution", distribution, ("normal", "truncated_normal", "uniform"))

    def init(key: Array, shape: Shape, dtype: DTypeLike = np.float64) -> Array:
        shape, dtype = checked_shape(op, shape), checked_dtype(op, dtype)
        fan_in, fan_out = _fans(op, shape, in_axis, out_axis, batch_axis)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
        sigma = math.sqrt(scale / fan)
        if distribution == "normal":
            return _scaled(random.normal(key, shape, dtype), sigma)
        if distribution == "truncated_normal":
            return _scaled(random.truncated_normal(key, -2.0, 2.0, shape, dtype), sigma / _TRUNCATED_STD)
        return _scaled(random.uniform(key, shape, dtype, minval=-1.0), math.sqrt(3.0) * sigma)

    return init


def _fans(op: str, shape: tuple[int, ...], in_axis: Axes, out_axis: Axes, batch_axis: Axes) -> tuple[int, int]:
    groups = []
    for name, axes in (("in_axis", in_axis), ("out_axis", out_axis), ("batch_axis", batch_axis)):
        group = tuple(axes) if isinstance(axes, list | tuple) else (axes,)
        if not all(isinstance(axis, int | np.integer) for axis in group):
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


def _scaled(x: Array, factor: float) -> Array:
    """`x` times `factor`, in place: `x` is a sample nobody else has seen."""
    x *= x.dtype.type(factor)
    return x


def _number(op: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{op}: {name} must be a real number, got {value!r}")
    if not 0 <= value < math.inf:
        raise ValueError(f"{op}: {name} must be finite and not negative, got {value}")
    return float(value)
