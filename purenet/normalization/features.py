"""Norms of each sample by itself: over its features (layer_norm, rms_norm) or over its channels and positions."""

from __future__ import annotations

import math
from typing import Any

from purenet.checks import integer, number
from purenet.normalization.core import affine, affine_bwd, named_axes, scale_and_offset, standardize, standardize_bwd
from purenet.normalization.rows import Rows, normalize_rows, normalize_rows_bwd
from purenet.op import Array, Op

__all__ = ["group_norm", "instance_norm", "layer_norm", "rms_norm"]

Axes = int | tuple[int, ...] | None

PLAIN = 400
"""Up to this many entries the norms are computed as their formulas stand, on whole arrays. The measured time, in units of that
of `rows`: 0.6 up to 400 entries, 0.9 to 1.1 for 65,000 and 260,000, 1.3 to 2.1 from 2 million on. The bound is low so that the
catalogue checks both ways."""


@Op
def layer_norm(params: dict[str, Array], x: Array, *, axes: Axes = -1, eps: float = 1e-5) -> tuple[Array, Any]:
    """Mean 0 and variance 1 over the last axis or other `axes`, then scaled and shifted; `gamma` and `beta` may be absent.

    Shapes: x (..., D), gamma (D,), beta (D,) -> y (..., D); with several axes, gamma and beta have their shape
    Math, means over the axes, x^ = (x - mean) / sigma, sigma = sqrt(var + eps), dx^ = gamma dy:
        y      = gamma x^ + beta
        dx     = (dx^ - mean dx^ - x^ mean(dx^ x^)) / sigma
        dgamma = sum dy x^,  dbeta = sum dy, over the other axes
    Errors: ValueError for a wrong shape or axis, or an eps that is negative or not finite.
    Source: Ba, Kiros, Hinton (2016). Conventions: axes=(-2, -1) is torch's normalized_shape of two. eps is torch's and
        equinox's, flax has 1e-6, keras 1e-3. One feature alone, or equal ones, give beta, also with eps 0.

    >>> import numpy as np, purenet as pn
    >>> params = {"gamma": np.array([1.0, 2.0]), "beta": np.array([0.0, 1.0])}
    >>> pn.layer_norm(params, np.array([[1.0, 3.0], [8.0, 4.0]]), eps=0.0)
    array([[-1.,  3.],
           [ 1., -1.]])
    """
    return _over_features("layer_norm", params, x, axes, eps, centered=True)


@layer_norm.pullback
def layer_norm_bwd(residuals: Any, dy: Array) -> tuple[dict[str, Array], Array]:
    if isinstance(residuals, Rows):
        return normalize_rows_bwd(residuals, dy)
    standardized, saved = residuals
    dparams, dnormalized = affine_bwd(saved, standardized.normalized, dy)
    return dparams, standardize_bwd(standardized, dnormalized)


@Op
def rms_norm(params: dict[str, Array], x: Array, *, axes: Axes = -1, eps: float = 1e-5) -> tuple[Array, Any]:
    """Mean square 1 over the last axis or other `axes`, then scaled and shifted; `gamma` and `beta` may be absent.

    Shapes: x (..., D), gamma (D,), beta (D,) -> y (..., D); with several axes, gamma and beta have their shape
    Math, means over the axes, x^ = x / r, r = sqrt(mean(x^2) + eps), dx^ = gamma dy:
        y      = gamma x^ + beta
        dx     = (dx^ - x^ mean(dx^ x^)) / r
        dgamma = sum dy x^,  dbeta = sum dy, over the other axes
    Errors: ValueError for a wrong shape or axis, or an eps that is negative or not finite.
    Source: Zhang and Sennrich (2019). Conventions: eps is inside the root and 1e-5, as in equinox; torch's default is the
        machine epsilon of the dtype, flax's 1e-6. Zeros give beta, also with eps 0.

    >>> import numpy as np, purenet as pn
    >>> pn.rms_norm({"gamma": np.array([1.0, 10.0])}, np.array([[1.0, 7.0]]), eps=0.0)
    array([[ 0.2, 14. ]])
    """
    return _over_features("rms_norm", params, x, axes, eps, centered=False)


@rms_norm.pullback
def rms_norm_bwd(residuals: Any, dy: Array) -> tuple[dict[str, Array], Array]:
    return layer_norm_bwd(residuals, dy)


def _over_features(op: str, params: Any, x: Array, axes: Axes, eps: float, *, centered: bool) -> tuple[Array, Any]:
    eps = number(op, "eps", eps, low=0)
    own = named_axes(op, axes, x)
    if x.size > PLAIN and own == tuple(range(own[0], x.ndim)):
        shape = x.shape[own[0] :]
        features = math.prod(shape)
        parameters = scale_and_offset(op, params, x, shape, (features, 1))
        y, saved = normalize_rows(x.reshape(-1, features, 1), 1, parameters, shape, eps, centered)
        return y.reshape(x.shape), saved
    standardized, _, _ = standardize(x, own, eps, centered=centered)
    y, affinity = affine(op, params, standardized.normalized, own)
    return y, (standardized, affinity)


@Op
def group_norm(params: dict[str, Array], x: Array, *, groups: int, eps: float = 1e-5) -> tuple[Array, Any]:
    """Mean 0 and variance 1 over each group of neighbouring channels of a sample; then each channel is scaled and shifted.

    Shapes: x (N, C, ...), gamma (C,), beta (C,), either may be absent -> y (N, C, ...)
    Math: as layer_norm over the C / groups channels of a group and their positions, except that gamma and beta belong to
        channels.
    Errors: ValueError where `groups` does not divide the channels, for a wrong shape, or an eps that is negative or not finite;
        TypeError unless `groups` is an integer.
    Source: Wu and He (2018). Conventions: groups=1 is a layer_norm over all of a sample with parameters for each channel. A
        group of one value gives beta.

    >>> import numpy as np, purenet as pn
    >>> x = np.array([[1.0, 3.0, 20.0, 40.0]])
    >>> pn.group_norm({"beta": np.array([0.0, 0.0, 0.0, 5.0])}, x, groups=2, eps=0.0)
    array([[-1.,  1., -1.,  6.]])
    """
    groups = integer("group_norm", "groups", groups)
    if x.ndim < 2:
        raise ValueError(f"group_norm: x must have shape (batch, channels, ...), got {x.shape}")
    if groups < 1 or x.shape[1] % groups:
        raise ValueError(f"group_norm: groups must divide the {x.shape[1]} channels of x {x.shape}, got {groups}")
    return _over_channels("group_norm", params, x, groups, eps)


@group_norm.pullback
def group_norm_bwd(residuals: Any, dy: Array) -> tuple[dict[str, Array], Array]:
    if isinstance(residuals, Rows):
        return normalize_rows_bwd(residuals, dy)
    standardized, saved, normalized = residuals
    dparams, dnormalized = affine_bwd(saved, normalized, dy)
    dx = standardize_bwd(standardized, dnormalized.reshape(standardized.normalized.shape))
    return dparams, dx.reshape(dy.shape)


@Op
def instance_norm(params: dict[str, Array], x: Array, *, eps: float = 1e-5) -> tuple[Array, Any]:
    """Mean 0 and variance 1 over the positions of each channel of a sample; then each channel is scaled and shifted.

    Shapes: x (N, C, ...), gamma (C,), beta (C,), either may be absent -> y (N, C, ...)
    Math: as group_norm with as many groups as channels.
    Errors: ValueError for a wrong shape, or an eps that is negative or not finite.
    Source: Ulyanov, Vedaldi, Lempitsky (2016). Conventions: one position gives beta; torch raises.

    >>> import numpy as np, purenet as pn
    >>> x = np.array([[[1.0, 3.0], [20.0, 40.0]]])
    >>> pn.instance_norm({"gamma": np.array([1.0, 5.0])}, x, eps=0.0)
    array([[[-1.,  1.],
            [-5.,  5.]]])
    """
    if x.ndim < 3:
        raise ValueError(f"instance_norm: x must have shape (batch, channels, positions, ...), got {x.shape}")
    return _over_channels("instance_norm", params, x, x.shape[1], eps)


@instance_norm.pullback
def instance_norm_bwd(residuals: Any, dy: Array) -> tuple[dict[str, Array], Array]:
    return group_norm_bwd(residuals, dy)


def _over_channels(op: str, params: Any, x: Array, groups: int, eps: float) -> tuple[Array, Any]:
    eps = number(op, "eps", eps, low=0)
    if x.size > PLAIN:
        channels = x.shape[1]
        parameters = scale_and_offset(op, params, x, (channels,), (channels, 1))
        y, rows = normalize_rows(x.reshape(len(x), channels, -1), groups, parameters, (channels,), eps, centered=True)
        return y.reshape(x.shape), rows
    grouped = x.reshape(x.shape[0], groups, x.shape[1] // max(groups, 1), *x.shape[2:])
    standardized, _, _ = standardize(grouped, tuple(range(2, grouped.ndim)), eps)
    normalized = standardized.normalized.reshape(x.shape)
    y, saved = affine(op, params, normalized, (1,))
    return y, (standardized, saved, normalized)
