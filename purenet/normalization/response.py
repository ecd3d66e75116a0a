"""Local response normalization."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from purenet.checks import integer, number
from purenet.op import Array, Op

__all__ = ["local_response_norm"]


@Op
def local_response_norm(x: Array, *, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> tuple[Array, Any]:
    """Each channel over a power of the mean square of its neighbours at the same position.

    Shapes: x (N, C, ...) -> y (N, C, ...)
    Math, with W the sum over the channels c - floor(size / 2), ..., c + floor((size - 1) / 2), and W' over their mirror image:
        s  = k + alpha / size W(x^2)
        y  = x s^-beta
        dx = dy s^-beta - 2 beta alpha / size x W'(dy x s^(-beta - 1))
    Errors: ValueError for a size below 1, alpha or beta below 0, k of 0 or below, or an x without channels; TypeError unless
        `size` is an integer.
    Source: Krizhevsky, Sutskever, Hinton, AlexNet (2012). Conventions: torch's and ONNX's, which divide alpha by size; the
        paper and TensorFlow do not, give alpha * size for theirs. Where size is even the window reaches further down, as in
        torch; in ONNX further up. Channels beyond the ends count as 0.

    >>> import numpy as np, purenet as pn
    >>> pn.local_response_norm(np.array([[1.0, 2.0, 3.0]]), size=3, alpha=3.0, beta=1.0, k=1.0).round(4)
    array([[0.1667, 0.1333, 0.2143]])
    """
    size = integer("local_response_norm", "size", size, 1)
    if x.ndim < 2:
        raise ValueError(f"local_response_norm: x must have shape (batch, channels, ...), got {x.shape}")
    alpha = number("local_response_norm", "alpha", alpha, low=0) / size
    beta = number("local_response_norm", "beta", beta, low=0)
    k = number("local_response_norm", "k", k, above=0)
    below, above = size // 2, (size - 1) // 2
    s = k + alpha * _window_sum(np.square(x), below, above)
    power = s**-beta
    return x * power, (x, s, power, alpha * beta, below, above)


@local_response_norm.pullback
def local_response_norm_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, s, power, rate, below, above = residuals
    through = dy * power
    return (through - 2 * rate * x * _window_sum(through * x / s, above, below),)


def _window_sum(x: Array, below: int, above: int) -> Array:
    """The sum over the channels c - below, ..., c + above, for each channel c."""
    padded = np.pad(x, ((0, 0), (below, above), *((0, 0),) * (x.ndim - 2)))
    return np.asarray(sliding_window_view(padded, below + above + 1, axis=1).sum(axis=-1))
