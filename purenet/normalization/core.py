"""The mathematics that all standardizing norms share: zero mean and unit variance over some axes, and a scale and offset.

With x^ = (x - mean) / sigma and sigma = sqrt(var + eps), the mean and the variance over the same axes, the cotangent is

    dx = (dx^ - mean dx^ - x^ mean(dx^ x^)) / sigma.

Where the statistics are constants both means are absent; where only the scale is removed (rms_norm) the first is.

With few entries dy is often nearly a multiple of x^ and a constant, and what is left of dx after both means is small. Then the
rounding of the terms counts, see `rounding_left`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from purenet.checks import axes, fields
from purenet.op import Array

__all__ = [
    "FEW",
    "Affine",
    "Standardized",
    "affine",
    "affine_bwd",
    "average",
    "divisor",
    "named_axes",
    "rounding_left",
    "scale_and_offset",
    "size_over",
    "standardize",
    "standardize_bwd",
]

Axes = tuple[int, ...]

FEW = 32
"""Entries of a mean from which on the rounding of the means stays in dx. Of random dx with 8 entries 1 in 400 has lost digits
to it, with 16 entries 1 in 3,000, with 32 none of 12,000: an entry that cancels there has lost them to the rounding of dy."""


class Standardized(NamedTuple):
    """Residuals of `standardize`."""

    normalized: Array
    inverse: Array
    """1 / sigma."""
    eps: float
    along: Axes
    centered: bool


def standardize(x: Array, along: Axes, eps: float, *, centered: bool = True) -> tuple[Standardized, Array, Array]:
    """`x` less its mean (unless not `centered`) over its standard deviation along the axes; and both statistics."""
    mean, deviation = np.zeros((1,) * x.ndim, x.dtype), x
    if centered:
        mean = average(x, along)
        deviation = x - mean
        rounding = average(deviation, along)  # of the mean, which would stay in every entry of the value
        deviation -= rounding
        mean = mean + rounding
    var = average(np.square(deviation), along)
    inverse = 1 / divisor(np.sqrt(var + eps))
    return Standardized(deviation * inverse, inverse, eps, along, centered), mean, var


def standardize_bwd(saved: Standardized, dy: Array) -> Array:
    """The cotangent of x, given that of the standardized x."""
    normalized, inverse, eps, along, centered = saved
    dx = normalized * -average(dy * normalized, along)
    dx += dy
    if centered:
        dx -= average(dy, along)
    if size_over(dx, along) < FEW:
        dx -= rounding_left(dx, dy, normalized, eps * inverse * inverse, along, centered=centered)
    dx *= inverse
    return dx


def rounding_left(dx: Array, dy: Array, normalized: Array, share: Array, along: Axes, *, centered: bool = True) -> Array:
    """What rounding has left of a constant and of x^ in dx = dy - mean dy - x^ mean(dy x^), whose own mean is 0.

    Its mean with x^ is `share` mean(dy x^), where the share of eps in the variance is eps / sigma^2.
    """
    along_x = normalized * (average(dx * normalized, along) - share * average(dy * normalized, along))
    return np.asarray(along_x + average(dx, along) if centered else along_x)


def average(x: Array, along: Axes) -> Array:
    """The mean over axes, which stay with size 1; 0 over nothing."""
    return np.asarray(x.sum(axis=along, keepdims=True) / max(size_over(x, along), 1))


def size_over(x: Array, along: Axes) -> int:
    """The number of entries of `x` at each position of the other axes."""
    return math.prod(x.shape[a] for a in along)


def divisor(size: Array) -> Array:
    """`size` as a divisor, with infinity in place of 0, so that the quotient and its slope are 0 there."""
    return np.where(size == 0, np.inf, size)


class Affine(NamedTuple):
    """Residuals of `affine`."""

    gamma: Array | None
    """In a shape that broadcasts to x."""
    has_beta: bool
    shape: tuple[int, ...]
    others: Axes
    """The axes that the parameters do not have."""


def affine(op: str, params: Any, normalized: Array, own: Axes) -> tuple[Array, Affine]:
    """The value gamma * normalized + beta, with parameters of the shape that `normalized` has on its `own` axes."""
    shape = tuple(normalized.shape[a] for a in own)
    wide = tuple(n if a in own else 1 for a, n in enumerate(normalized.shape))
    gamma, beta = scale_and_offset(op, params, normalized, shape, wide)
    others = tuple(a for a in range(normalized.ndim) if a not in own)
    y = normalized.copy() if gamma is None else normalized * gamma
    if beta is not None:
        y += beta
    return y, Affine(gamma, beta is not None, shape, others)


def scale_and_offset(
    op: str, params: Any, x: Array, shape: tuple[int, ...], wide: tuple[int, ...]
) -> tuple[Array | None, Array | None]:
    """Gamma and beta, which must have this shape, in the shape `wide` in which they broadcast to x; None for an absent one."""
    found: list[Array | None] = []
    for name, value in zip(("gamma", "beta"), fields(op, params, optional=("gamma", "beta")), strict=True):
        if value is not None and value.shape != shape:
            raise ValueError(f"{op}: params.{name} must have shape {shape} to match x {x.shape}, got {value.shape}")
        found.append(None if value is None else value.reshape(wide))
    gamma, beta = found
    return gamma, beta


def affine_bwd(saved: Affine, normalized: Array, dy: Array) -> tuple[dict[str, Array], Array]:
    """The cotangents of the parameters and of the normalized x."""
    gamma, has_beta, shape, others = saved
    dparams = {}
    if gamma is not None:
        dparams["gamma"] = (dy * normalized).sum(axis=others).reshape(shape)
    if has_beta:
        dparams["beta"] = dy.sum(axis=others).reshape(shape)
    return dparams, dy if gamma is None else dy * gamma


def named_axes(op: str, given: Any, x: Array) -> Axes:
    """`given` as axes of x in ascending order, at least one."""
    along = tuple(sorted(axes(op, given, x, "axes")))
    if not along:
        raise ValueError(f"{op}: axes must name at least one axis of x {x.shape}, got {given}")
    return along
