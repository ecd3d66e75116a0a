"""Initial values whose entries are alike and independent of each other and of the shape: constants and simple samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from purenet import random
from purenet.checks import number
from purenet.initializers.core import Initializer, scaled
from purenet.random.checks import Shape, checked_dtype, checked_parameter, checked_shape

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from purenet.op import Array

__all__ = ["constant", "normal", "ones", "truncated_normal", "uniform", "zeros"]


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


def uniform(scale: float = 1e-2) -> Initializer:
    """Makes an initializer of uniform numbers in [0, `scale`).

    Errors: TypeError unless `scale` is a real number, ValueError unless it is finite and not negative.
    Source: jax.nn.initializers.uniform. Conventions: from 0, as there; keras's and torch's are between -0.05 and 0.05, and 0
        and 1. With mean 0: `variance_scaling`.

    >>> from purenet import initializers, random
    >>> w = initializers.uniform(2.0)(random.key(0), (100, 100))
    >>> bool(w.min() >= 0), bool(w.max() < 2), abs(float(w.mean()) - 1) < 0.02
    (True, True, True)
    """
    scale = number("uniform", "scale", scale, low=0)

    def init(key: Array, shape: Shape, dtype: DTypeLike = np.float64) -> Array:
        return scaled("uniform", "scale", random.uniform(key, shape, dtype), scale)

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
    stddev = number("normal", "stddev", stddev, low=0)

    def init(key: Array, shape: Shape, dtype: DTypeLike = np.float64) -> Array:
        return scaled("normal", "stddev", random.normal(key, shape, dtype), stddev)

    return init


def truncated_normal(stddev: float = 1e-2, *, lower: float = -2.0, upper: float = 2.0) -> Initializer:
    """Makes an initializer of normal numbers of mean 0 between `lower` and `upper`, times `stddev`.

    Errors: TypeError unless these are real numbers; ValueError unless `stddev` is finite and not negative, and lower < upper.
    Source: jax.nn.initializers.truncated_normal. Conventions: as there the bounds are in units of `stddev`, and that is the
        standard deviation before truncation: what is cut at 2 has 0.88 of it. `he_normal` and the like make up for that.

    >>> from purenet import initializers, random
    >>> w = initializers.truncated_normal(0.1)(random.key(0), (100, 100))
    >>> bool((abs(w) < 0.2).all()), abs(float(w.std()) - 0.088) < 0.002
    (True, True)
    """
    stddev = number("truncated_normal", "stddev", stddev, low=0)
    for name, bound in (("lower", lower), ("upper", upper)):
        checked_parameter("truncated_normal", name, bound, (), np.dtype(np.float64))
    if not lower < upper:
        raise ValueError(f"truncated_normal: lower must be less than upper, got {lower} and {upper}")

    def init(key: Array, shape: Shape, dtype: DTypeLike = np.float64) -> Array:
        shape = checked_shape("truncated_normal", shape)
        return scaled("truncated_normal", "stddev", random.truncated_normal(key, lower, upper, shape, dtype), stddev)

    return init
