"""Gated linear units: one half of an axis, multiplied entry by entry by a function of the other half, its gate.

One implementation serves all; they differ in that function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from purenet.activations.rectifiers import relu, relu_bwd
from purenet.activations.smooth import gelu, gelu_bwd, sigmoid, sigmoid_bwd, silu, silu_bwd
from purenet.checks import one_axis
from purenet.op import Array, Op

__all__ = ["geglu", "glu", "reglu", "swiglu"]


@Op
def glu(x: Array, *, axis: int = -1) -> tuple[Array, Any]:
    """The gated linear unit: the first half of `axis` times the sigmoid of the second.

    Shapes: x (..., 2 K, ...) = (u, v) -> y (..., K, ...)
    Math, with the sigmoid s:
        y  = u s(v)
        du = dy s(v),  dv = dy u s'(v)
    Errors: ValueError where x has no such axis or an odd number of entries along it; TypeError unless `axis` is an integer.
    Source: Dauphin, Fan, Auli, Grangier (2017). Conventions: as jax.nn and torch, the second half is the gate.

    >>> import numpy as np, purenet as pn
    >>> pn.glu(np.array([2.0, 4.0, 0.0, np.log(3.0)]))
    array([1., 3.])
    """
    return gate("glu", x, axis, sigmoid.forward)


@glu.pullback
def glu_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return gate_bwd(residuals, dy, sigmoid_bwd)


@Op
def reglu(x: Array, *, axis: int = -1) -> tuple[Array, Any]:
    """The gated linear unit with a rectifier: the first half of `axis` times the relu of the second.

    Shapes: x (..., 2 K, ...) = (u, v) -> y (..., K, ...)
    Math:
        y  = u max(v, 0)
        du = dy max(v, 0),  dv = dy u where v > 0, else 0
    Errors: ValueError where x has no such axis or an odd number of entries along it; TypeError unless `axis` is an integer.
    Source: Shazeer (2020). Conventions: as in glu, the second half is the gate; the paper writes the gate first.

    >>> import numpy as np, purenet as pn
    >>> pn.reglu(np.array([2.0, 4.0, -1.0, 3.0]))
    array([ 0., 12.])
    """
    return gate("reglu", x, axis, relu.forward)


@reglu.pullback
def reglu_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return gate_bwd(residuals, dy, relu_bwd)


@Op
def geglu(x: Array, *, axis: int = -1, approximate: bool = True) -> tuple[Array, Any]:
    """The gated linear unit with a Gaussian gate: the first half of `axis` times the gelu of the second.

    Shapes: x (..., 2 K, ...) = (u, v) -> y (..., K, ...)
    Math, with g = gelu, exact or approximate:
        y  = u g(v)
        du = dy g(v),  dv = dy u g'(v)
    Errors: ValueError where x has no such axis or an odd number of entries along it, or unless `approximate` is True or False;
        TypeError unless `axis` is an integer.
    Source: Shazeer (2020). Conventions: as in glu, the second half is the gate; the paper writes the gate first. As in gelu,
        approximate=True is the default of jax.nn; torch's is the exact one.

    >>> import numpy as np, purenet as pn
    >>> pn.geglu(np.array([2.0, 4.0, 1.0, 0.0]), approximate=False).round(4)
    array([1.6827, 0.    ])
    """
    return gate("geglu", x, axis, gelu.forward, approximate=approximate)


@geglu.pullback
def geglu_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return gate_bwd(residuals, dy, gelu_bwd)


@Op
def swiglu(x: Array, *, axis: int = -1) -> tuple[Array, Any]:
    """The gated linear unit with a swish: the first half of `axis` times the silu of the second.

    Shapes: x (..., 2 K, ...) = (u, v) -> y (..., K, ...)
    Math, with g = silu:
        y  = u g(v)
        du = dy g(v),  dv = dy u g'(v)
    Errors: ValueError where x has no such axis or an odd number of entries along it; TypeError unless `axis` is an integer.
    Source: Shazeer (2020). Conventions: as in glu, the second half is the gate; the paper writes the gate first.

    >>> import numpy as np, purenet as pn
    >>> (pn.swiglu(np.array([2.0, 4.0, 0.0, np.log(3.0)])) / np.log(3.0)).round(12)
    array([0., 3.])
    """
    return gate("swiglu", x, axis, silu.forward)


@swiglu.pullback
def swiglu_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return gate_bwd(residuals, dy, silu_bwd)


def gate(op: str, x: Array, axis: Any, activation: Callable[..., tuple[Any, Any]], **options: Any) -> tuple[Array, Any]:
    """The first half of x along `axis` times `activation` of the second half."""
    along = one_axis(op, axis, x)
    if x.shape[along] % 2:
        raise ValueError(f"{op}: x must have an even number of entries along axis {axis}, got the shape {x.shape}")
    u, v = np.split(x, 2, axis=along)
    g, saved = activation(v, **options)
    return u * g, (u, g, saved, along)


def gate_bwd(residuals: Any, dy: Array, activation_bwd: Callable[[Any, Array], tuple[Array]]) -> tuple[Array]:
    u, g, saved, along = residuals
    (dv,) = activation_bwd(saved, dy * u)
    return (np.concatenate([dy * g, dv], axis=along),)
