"""Batch normalization, and the running statistics that replace those of the batch at inference."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from purenet.arrays import is_floating
from purenet.checks import array_of, boolean, number
from purenet.normalization.core import FEW, Axes, average, divisor, named_axes, rounding_left, scale_and_offset, size_over
from purenet.op import Array, Op, Residuals

__all__ = ["Statistics", "batch_norm", "update_running_statistics"]


class Statistics(NamedTuple):
    """The mean and the variance of each channel for inference. Begin with zeros and ones."""

    mean: Array
    var: Array


class BatchNormalized(NamedTuple):
    """Residuals of batch_norm."""

    mean: Array
    """Of each channel."""
    var: Array
    """The variance of each channel about its own mean, divided by the number of values, not by one less."""
    per_channel: int | None
    """The number of values that a channel has in the batch; None where statistics were given."""
    x_hat: Array
    inverse: Array
    """1 / sigma."""
    eps: float
    gamma: Array | None
    """In a shape that broadcasts to x."""
    has_beta: bool
    along: Axes
    """The axes of the batch."""


@Op
def batch_norm(
    params: dict[str, Array],
    x: Array,
    *,
    axes: int | tuple[int, ...] | None = None,
    eps: float = 1e-5,
    statistics: Statistics | tuple[Array, Array] | None = None,
) -> tuple[Array, BatchNormalized]:
    """Each channel with mean 0 and variance 1 over the batch, then scaled and shifted; `gamma` and `beta` may be absent.

    The axes that are averaged over are all but axis 1 unless given; the others together are the channels. With `statistics`
    (inference) their mean and variance are used and nothing of the batch is.

    Shapes: x (N, C, ...), gamma (C,), beta (C,), statistics (C,) each -> y (N, C, ...)
    Math, means over the batch, x^ = (x - mean) / sigma, sigma = sqrt(var + eps):
        y      = gamma x^ + beta
        dx     = gamma (dy - mean dy - x^ mean(dy x^)) / sigma;  with statistics gamma dy / sigma
        dgamma = sum dy x^,  dbeta = sum dy
    Errors: ValueError for one value per channel without statistics (it has no variance), a wrong shape or axis, an eps or
        variance that is negative or not finite.
    Source: Ioffe and Szegedy (2015). Conventions: the variance divides by the number of values, as everywhere (for running
        statistics see update_running_statistics). eps is torch's and flax's, keras has 1e-3. A constant channel gives beta,
        also with eps 0. An empty batch has mean 0 and variance 0.

    >>> import numpy as np, purenet as pn
    >>> params = {"gamma": np.array([2.0, 10.0]), "beta": np.array([1.0, 0.0])}
    >>> pn.batch_norm(params, np.array([[1.0, 5.0], [3.0, 5.0]]), eps=0.0)
    array([[-1.,  0.],
           [ 3.,  0.]])
    """
    eps = number("batch_norm", "eps", eps, low=0)
    along = _batch_axes(axes, x)
    channels, wide = _channels(x, along)
    gamma, beta = scale_and_offset("batch_norm", params, x, channels, wide)
    if statistics is None:
        count = _per_channel(x, along)
        mean = average(x, along)
        centered = x - mean
        rest = average(centered, along)  # the rounding of the mean, which would stay in every entry of the value
        centered -= rest
        mean, var = mean + rest, average(np.square(centered), along)
    else:
        count = None
        mean, var = (s.astype(x.dtype).reshape(wide) for s in _checked("batch_norm", statistics, channels))
        centered = x - mean
    inverse = 1 / divisor(np.sqrt(var + eps))
    x_hat = np.multiply(centered, inverse, out=centered)  # in its memory: it is not needed any more
    y = x_hat.copy() if gamma is None else gamma * x_hat
    if beta is not None:
        y += beta
    saved = BatchNormalized(
        mean.reshape(channels), var.reshape(channels), count, x_hat, inverse, eps, gamma, beta is not None, along
    )
    return y, saved


@batch_norm.pullback
def batch_norm_bwd(residuals: BatchNormalized, dy: Array) -> tuple[dict[str, Array], Array]:
    x_hat, inverse, gamma, along = residuals.x_hat, residuals.inverse, residuals.gamma, residuals.along
    dparams = {}
    if gamma is not None:
        dparams["gamma"] = (dy * x_hat).sum(axis=along).reshape(residuals.mean.shape)
    if residuals.has_beta:
        dparams["beta"] = dy.sum(axis=along).reshape(residuals.mean.shape)
    dx_hat = dy if gamma is None else gamma * dy
    if residuals.per_channel is None:
        return dparams, dx_hat * inverse
    dx = x_hat * -average(dx_hat * x_hat, along)
    dx += dx_hat
    dx -= average(dx_hat, along)
    if residuals.per_channel < FEW:
        dx -= rounding_left(dx, dx_hat, x_hat, residuals.eps * inverse * inverse, along)
    dx *= inverse
    return dparams, dx


def _batch_axes(axes: Any, x: Array) -> Axes:
    """The axes that are averaged over, all but axis 1 unless given."""
    if axes is None:
        if x.ndim < 2:
            raise ValueError(f"batch_norm: x must have shape (batch, channels, ...), got {x.shape}")
        axes = (0, *range(2, x.ndim))
    return named_axes("batch_norm", axes, x)


def _channels(x: Array, along: Axes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of arrays with one number per channel, and the shape in which they broadcast to x."""
    own = tuple(n for a, n in enumerate(x.shape) if a not in along)
    return own, tuple(1 if a in along else n for a, n in enumerate(x.shape))


def _per_channel(x: Array, along: Axes) -> int:
    """The number of values of a channel in the batch."""
    count = size_over(x, along)
    if count == 1:
        raise ValueError(f"batch_norm: x {x.shape} has one value per channel, which has no variance; give statistics")
    return count


def update_running_statistics(
    statistics: Statistics | tuple[Array, Array], residuals: Residuals, *, momentum: float = 0.9, unbiased: bool = False
) -> Statistics:
    """Running statistics after one more batch: those so far, and those that batch_norm left in its residuals.

    Shapes: mean (C,), var (C,) -> the same
    Math, with m = momentum and n the values per channel:
        mean' = m mean + (1 - m) batch mean
        var'  = m var + (1 - m) batch variance, which is multiplied by n / (n - 1) where `unbiased`
    Errors: TypeError unless the residuals are those of batch_norm; ValueError if it had statistics given, for momentum outside
        [0, 1], or a wrong shape.
    Source: Ioffe and Szegedy (2015). Conventions: momentum is the weight of the old, as in flax and keras (default 0.99) and in
        ONNX (0.9); torch's is the weight of the new: its default is momentum=0.9, unbiased=True here. An empty batch changes
        nothing. The result has the dtype of the statistics.

    >>> import numpy as np, purenet as pn
    >>> _, residuals = pn.batch_norm.fwd({}, np.array([[1.0], [3.0]]))
    >>> start = (np.zeros(1), np.ones(1))
    >>> mean, var = pn.update_running_statistics(start, residuals, momentum=0.5, unbiased=True)
    >>> mean, var
    (array([1.]), array([1.5]))
    """
    name = "update_running_statistics"
    if not isinstance(residuals, Residuals) or residuals.op != "batch_norm":
        what = f"those of {residuals.op}" if isinstance(residuals, Residuals) else type(residuals).__name__
        raise TypeError(f"{name}: residuals must be those of batch_norm.fwd, got {what}")
    if residuals.per_channel is None:
        raise ValueError(f"{name}: residuals must be those of batch_norm without statistics, which a batch changes")
    old = Statistics(*_checked(name, statistics, residuals.mean.shape))
    momentum = number(name, "momentum", momentum, 0, 1)
    boolean(name, "unbiased", unbiased)
    count = residuals.per_channel
    if count == 0:
        return Statistics(old.mean.copy(), old.var.copy())
    batch = Statistics(residuals.mean, residuals.var * (count / (count - 1) if unbiased else 1.0))
    new = (momentum * a + (1 - momentum) * b for a, b in zip(old, batch, strict=True))
    return Statistics(*(b.astype(a.dtype) for a, b in zip(old, new, strict=True)))


def _checked(op: str, statistics: Any, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The mean and the variance of `statistics`."""
    if not isinstance(statistics, tuple | list) or len(statistics) != 2:
        raise TypeError(f"{op}: statistics must be a pair (mean, var) of arrays, got {type(statistics).__name__}")
    mean, var = (array_of(op, f"statistics.{name}", s) for name, s in zip(Statistics._fields, statistics, strict=True))
    for name, value in (("mean", mean), ("var", var)):
        if not is_floating(value.dtype):
            raise TypeError(f"{op}: statistics.{name} must be a floating-point array, got {value.dtype}")
        if value.shape != shape:
            raise ValueError(f"{op}: statistics.{name} must have shape {shape}, one per channel, got {value.shape}")
    if not ((var >= 0) & (var < np.inf)).all():
        raise ValueError(f"{op}: statistics.var must be finite and at least 0, got {var[~((var >= 0) & (var < np.inf))][0]}")
    return mean, var
