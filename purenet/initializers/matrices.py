"""Initial values that are a matrix with a property: the identity, orthonormal columns, and those at the centre of a window."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from purenet import random
from purenet.checks import number
from purenet.initializers.core import Initializer, scaled
from purenet.random.checks import Shape, checked_dtype, checked_shape, integer

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from purenet.op import Array

__all__ = ["delta_orthogonal", "identity", "orthogonal"]


def identity(scale: float = 1.0) -> Initializer:
    """Makes an initializer of the identity matrix times `scale`, for the recurrent weights of a relu. The key is ignored.

    Shapes: (I, O) only: `scale` where the row is the column, else 0
    Errors: TypeError unless `scale` is a real number; ValueError unless it is finite and not negative, and the shape has two
        dimensions.
    Source: Le et al., A simple way to initialize recurrent networks of rectified linear units (2015); keras's Identity and
        torch's eye_. JAX has none.

    >>> from purenet import initializers, random
    >>> initializers.identity(0.5)(random.key(0), (2, 3))
    array([[0.5, 0. , 0. ],
           [0. , 0.5, 0. ]])
    """
    scale = number("identity", "scale", scale, low=0)

    def init(key: Any, shape: Shape, dtype: DTypeLike = np.float64) -> Array:
        shape, dtype = checked_shape("identity", shape), checked_dtype("identity", dtype)
        if len(shape) != 2:
            raise ValueError(f"identity: shape must have two dimensions, got {shape}")
        return scaled("identity", "scale", np.eye(*shape, dtype=dtype), scale)

    return init


def orthogonal(scale: float = 1.0, column_axis: int = -1) -> Initializer:
    """Makes an initializer of matrices with orthonormal columns, or rows if those are fewer, times `scale`.

    Shapes: (..., C, ...) with C at `column_axis`; what the other dimensions number are the rows
    Math: scale q with q uniform among such matrices (see `random.orthogonal`)
    Errors: TypeError unless `scale` is a real number and `column_axis` an integer; ValueError unless `scale` is finite and not
        negative, the shape has two dimensions at least, and `column_axis` is one of them.
    Source: Saxe et al., Exact solutions to the nonlinear dynamics of learning in deep linear networks (2014);
        jax.nn.initializers.orthogonal. Conventions: torch's orthogonal_ flattens all but the first dimension: column_axis=0.

    >>> import numpy as np
    >>> from purenet import initializers, random
    >>> w = initializers.orthogonal(2.0)(random.key(0), (5, 3))
    >>> bool(np.allclose(w.T @ w, 4 * np.eye(3)))
    True
    """
    return _orthogonal("orthogonal", scale, column_axis)


def delta_orthogonal(scale: float = 1.0, column_axis: int = -1) -> Initializer:
    """Makes an initializer of convolutions that are an orthogonal map of the channels at every position.

    Shapes: (..., I, O) with one to three dimensions of a window, and I <= O
    Math: `orthogonal` of shape (I, O) at the centre of the window, (k - 1) // 2 along each of its dimensions k; else 0
    Errors: those of `orthogonal`; ValueError unless the shape has three to five dimensions and I <= O.
    Source: Xiao et al., Dynamical isometry and a mean field theory of CNNs (2018); jax.nn.initializers.delta_orthogonal.
        Conventions: its shape is that of flax and keras; for weights OIHW transpose what it gives by (3, 2, 0, 1).

    >>> from purenet import initializers, random
    >>> w = initializers.delta_orthogonal()(random.key(0), (3, 2, 2))
    >>> (w**2).sum(axis=(1, 2)).round(12)
    array([0., 2., 0.])
    """
    matrix = _orthogonal("delta_orthogonal", scale, column_axis)

    def init(key: Array, shape: Shape, dtype: DTypeLike = np.float64) -> Array:
        shape, dtype = checked_shape("delta_orthogonal", shape), checked_dtype("delta_orthogonal", dtype)
        if len(shape) not in (3, 4, 5):
            raise ValueError(f"delta_orthogonal: shape must be (window..., inputs, outputs) of 3 to 5 dimensions, got {shape}")
        if shape[-2] > shape[-1]:
            raise ValueError(f"delta_orthogonal: shape must have at least as many outputs as inputs, got {shape}")
        kernel = np.zeros(shape, dtype)
        centre = matrix(key, shape[-2:], dtype)
        if kernel.size:
            kernel[tuple((k - 1) // 2 for k in shape[:-2])] = centre
        return kernel

    return init


def _orthogonal(op: str, scale: float, column_axis: int) -> Initializer:
    scale = number(op, "scale", scale, low=0)

    def init(key: Array, shape: Shape, dtype: DTypeLike = np.float64) -> Array:
        random.check_key(op, key)
        shape, dtype = checked_shape(op, shape), checked_dtype(op, dtype)
        if len(shape) < 2:
            raise ValueError(f"{op}: shape must have two dimensions at least, got {shape}")
        axis = integer(op, "column_axis", column_axis, -len(shape), len(shape) - 1) % len(shape)
        others = shape[:axis] + shape[axis + 1 :]
        q = random.orthogonal(key, math.prod(others), (), dtype, shape[axis]).reshape(*others, shape[axis])
        return scaled(op, "scale", np.moveaxis(q, -1, axis).copy(), scale)

    return init
