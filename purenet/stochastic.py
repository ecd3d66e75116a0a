"""Noise for training: entries, channels, weights or whole branches dropped, or numbers added and multiplied.

Randomness comes from a `key` (see `purenet.random`), or is given: `mask` (true = keep) or `noise`. With neither, nothing is
random: the value is what inference needs, the argument itself. The same key drops the same entries in every dtype, those that
`jax.random.bernoulli(key, 1 - rate, shape)` drops with JAX's x64 flag set; in float32, its default, JAX draws other bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from purenet import random
from purenet.checks import choice, number
from purenet.checks import mask as checked_mask
from purenet.entrywise import where
from purenet.linear.products import affine, affine_bwd, affine_params
from purenet.op import Array, Op
from purenet.random.checks import checked_parameter

__all__ = [
    "alpha_dropout",
    "drop_connect",
    "dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "spatial_dropout",
    "stochastic_depth",
]

SELU_FLOOR = -1.0507009873554805 * 1.6732632423543772  # what selu tends to far below 0


@Op
def dropout(
    x: Array, *, rate: float = 0.5, key: Array | None = None, mask: Array | None = None, inverted: bool = True
) -> tuple[Array, Any]:
    """Each entry is 0 with probability `rate`, and what stays is scaled so that the mean stays.

    Shapes: x (...), mask broadcasts to x -> y (...)
    Math, with m = 1 where an entry is kept, else 0:
        y  = m x / (1 - rate),  dx = m dy / (1 - rate); without key and mask y = x
        not inverted: y = m x;  without key and mask y = (1 - rate) x
    Errors: ValueError for a rate outside [0, 1], a mask that does not broadcast, or both a key and a mask; TypeError unless the
        mask is boolean.
    Source: Srivastava et al. (2014). Conventions: rate is the probability to drop, as in flax, keras and torch (p). Scaled in
        training (inverted), as there; inverted=False scales at inference, as in the paper and in Saito, Deep Learning from
        Scratch (2016). Rate 1 gives 0, rate 0 is the identity. What is dropped is 0 whatever it was, also NaN.

    >>> import numpy as np, purenet as pn
    >>> pn.dropout(np.array([1.0, 2.0, 3.0]), rate=0.75, mask=np.array([True, False, True]))
    array([ 4.,  0., 12.])
    """
    rate = number("dropout", "rate", rate, 0, 1)
    kept = _kept("dropout", rate, key, mask, x.shape)
    scale = (1.0 if kept is None else _inverse(rate)) if inverted else (1 - rate if kept is None else 1.0)
    return _scaled(x, scale, kept), (scale, kept)


@dropout.pullback
def dropout_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    scale, kept = residuals
    return (_scaled(dy, scale, kept),)


@Op
def spatial_dropout(x: Array, *, rate: float = 0.5, key: Array | None = None, mask: Array | None = None) -> tuple[Array, Any]:
    """Each channel of a sample is 0 at all positions with probability `rate`, and what stays is scaled.

    Shapes: x (N, C, ...), mask (N, C) -> y (N, C, ...)
    Math, with m = 1 where a channel is kept, else 0:
        y  = m x / (1 - rate),  dx = m dy / (1 - rate); without key and mask y = x
    Errors: ValueError for a rate outside [0, 1], an x without channels, a mask that does not broadcast to (N, C), or both a key
        and a mask; TypeError unless the mask is boolean.
    Source: Tompson et al. (2015). Conventions: torch's Dropout1d, 2d and 3d. Otherwise as dropout.

    >>> import numpy as np, purenet as pn
    >>> pn.spatial_dropout(np.array([[[1.0, 2.0], [3.0, 4.0]]]), rate=0.5, mask=np.array([[False, True]]))
    array([[[0., 0.],
            [6., 8.]]])
    """
    if x.ndim < 2:
        raise ValueError(f"spatial_dropout: x must have shape (batch, channels, ...), got {x.shape}")
    return _leading("spatial_dropout", x, x.shape[:2], rate, key, mask)


@spatial_dropout.pullback
def spatial_dropout_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return dropout_bwd(residuals, dy)


@Op
def stochastic_depth(
    x: Array, *, rate: float = 0.5, mode: str = "row", key: Array | None = None, mask: Array | None = None
) -> tuple[Array, Any]:
    """The branch of a residual block, 0 for each sample (or the whole batch) with probability `rate`, else scaled.

    Shapes: x (N, ...), mask (N,), or (1,) with mode "batch" -> y (N, ...)
    Math, with m = 1 where a sample is kept, else 0:
        y  = m x / (1 - rate),  dx = m dy / (1 - rate); without key and mask y = x
    Errors: ValueError for a rate outside [0, 1], a mode other than "row" and "batch", a mask that does not broadcast, or both a
        key and a mask; TypeError unless the mask is boolean.
    Source: Huang et al. (2016). Conventions: torchvision's, also known as drop path; the paper scales at inference instead.

    >>> import numpy as np, purenet as pn
    >>> pn.stochastic_depth(np.array([[1.0, 2.0], [3.0, 4.0]]), rate=0.5, mask=np.array([False, True]))
    array([[0., 0.],
           [6., 8.]])
    """
    choice("stochastic_depth", "mode", mode, ("row", "batch"))
    if x.ndim < 1:
        raise ValueError("stochastic_depth: x must have shape (batch, ...), got ()")
    return _leading("stochastic_depth", x, x.shape[:1] if mode == "row" else (1,), rate, key, mask)


@stochastic_depth.pullback
def stochastic_depth_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return dropout_bwd(residuals, dy)


@Op
def drop_connect(
    params: dict[str, Array], x: Array, *, rate: float = 0.5, key: Array | None = None, mask: Array | None = None
) -> tuple[Array, Any]:
    """The affine map, each of whose weights is 0 with probability `rate`, and what stays of them is scaled.

    Shapes: w (I, O), b (O,), x (..., I), mask broadcasts to w -> y (..., O)
    Math, with m = 1 where a weight is kept, else 0, and v = m w / (1 - rate), v = w without key and mask:
        y  = x v + b
        dx = dy v^T,  dw = m (sum of x^T dy) / (1 - rate),  db = sum of dy
    Errors: those of affine and of dropout.
    Source: Wan et al. (2013). Conventions: the biases stay, and all samples of a batch lose the same weights; the paper drops
        biases too, for each sample anew, and approximates the mean at inference. What EfficientNet calls drop connect is
        stochastic_depth.

    >>> import numpy as np, purenet as pn
    >>> w = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> pn.drop_connect({"w": w}, np.array([[1.0, 10.0]]), rate=0.5, mask=np.array([[True, True], [False, True]]))
    array([[ 2., 84.]])
    """
    w, b = affine_params("drop_connect", params, x)
    rate = number("drop_connect", "rate", rate, 0, 1)
    kept = _kept("drop_connect", rate, key, mask, w.shape)
    scale = 1.0 if kept is None else _inverse(rate)
    dropped = {"w": _scaled(w, scale, kept)} if b is None else {"w": _scaled(w, scale, kept), "b": b}
    y, saved = affine.forward(dropped, x)
    return y, (saved, scale, kept)


@drop_connect.pullback
def drop_connect_bwd(residuals: Any, dy: Array) -> tuple[dict[str, Array], Array]:
    saved, scale, kept = residuals
    dparams, dx = affine_bwd(saved, dy)
    return {**dparams, "w": _scaled(dparams["w"], scale, kept)}, dx


@Op
def alpha_dropout(x: Array, *, rate: float = 0.5, key: Array | None = None, mask: Array | None = None) -> tuple[Array, Any]:
    """Each entry is selu's lower limit with probability `rate`, then mean 0 and variance 1 are restored.

    Shapes: x (...), mask broadcasts to x -> y (...)
    Math, with f = -1.758..., the limit of selu at -inf, q = 1 - rate, and m = 1 where an entry is kept, else 0:
        y  = a (m x + (1 - m) f) + b,  a = (q + f^2 q (1 - q))^(-1/2),  b = -a (1 - q) f;  without key and mask y = x
        dx = a m dy
    Errors: ValueError for a rate outside [0, 1], a mask that does not broadcast, or both a key and a mask; TypeError unless the
        mask is boolean.
    Source: Klambauer et al., Self-normalizing neural networks (2017). Conventions: for what follows a selu, whose entries have
        mean 0 and variance 1. Rate 1 gives 0, as in torch.

    >>> import numpy as np, purenet as pn
    >>> mask = pn.random.bernoulli(pn.random.key(0), 0.75, (100_000,))
    >>> y = pn.alpha_dropout(pn.random.normal(pn.random.key(1), (100_000,)), rate=0.25, mask=mask)
    >>> abs(float(y.mean())) < 0.01, abs(float(y.std()) - 1) < 0.01
    (True, True)
    """
    rate = number("alpha_dropout", "rate", rate, 0, 1)
    kept = _kept("alpha_dropout", rate, key, mask, x.shape)
    if kept is None:
        return x.copy(), (1.0, None)
    a = 0.0 if rate == 1 else ((1 - rate) * (1 + rate * SELU_FLOOR**2)) ** -0.5
    return _scaled(x, a, kept) + np.where(kept, -a * rate * SELU_FLOOR, a * (1 - rate) * SELU_FLOOR).astype(x.dtype), (a, kept)


@alpha_dropout.pullback
def alpha_dropout_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return dropout_bwd(residuals, dy)


@Op
def gaussian_dropout(x: Array, *, rate: float = 0.5, key: Array | None = None, noise: Array | None = None) -> tuple[Array, Any]:
    """Each entry times a normal number of mean 1 and the variance that dropout of this rate has.

    Shapes: x (...), noise broadcasts to x -> y (...)
    Math, with standard normal numbers z, drawn by the key or given as `noise`:
        y  = x (1 + z sqrt(rate / (1 - rate))),  dx = dy (1 + z sqrt(rate / (1 - rate))); without key and noise y = x
    Errors: ValueError for a rate outside [0, 1), noise that does not broadcast or is not finite, or both a key and noise.
    Source: Srivastava et al. (2014). Conventions: keras's. The numbers are those of jax.random.normal with its x64 flag set.

    >>> import numpy as np, purenet as pn
    >>> pn.gaussian_dropout(np.array([1.0, 10.0]), rate=0.5, noise=np.array([0.5, -2.0]))
    array([  1.5, -10. ])
    """
    rate = number("gaussian_dropout", "rate", rate, 0, 1)
    if rate == 1:
        raise ValueError("gaussian_dropout: rate must be less than 1, where the variance is infinite, got 1")
    z = noise_of("gaussian_dropout", key, noise, x)
    factor = 1 + z * math.sqrt(rate / (1 - rate))
    return x * factor, factor


@gaussian_dropout.pullback
def gaussian_dropout_bwd(factor: Array, dy: Array) -> tuple[Array]:
    return (dy * factor,)


@Op
def gaussian_noise(x: Array, *, stddev: float, key: Array | None = None, noise: Array | None = None) -> tuple[Array, None]:
    """Each entry plus a normal number of mean 0 and standard deviation `stddev`.

    Shapes: x (...), noise broadcasts to x -> y (...)
    Math, with standard normal numbers z, drawn by the key or given as `noise`:
        y  = x + stddev z,  dx = dy; without key and noise y = x
    Errors: ValueError for a negative stddev, noise that does not broadcast or is not finite, or both a key and noise.
    Source: Bishop, Training with noise is equivalent to Tikhonov regularization (1995). Conventions: keras's. The numbers are
        those of jax.random.normal with its x64 flag set.

    >>> import numpy as np, purenet as pn
    >>> pn.gaussian_noise(np.array([1.0, 10.0]), stddev=0.1, noise=np.array([0.5, -2.0]))
    array([1.05, 9.8 ])
    """
    stddev = number("gaussian_noise", "stddev", stddev, low=0)
    return x + stddev * noise_of("gaussian_noise", key, noise, x), None


@gaussian_noise.pullback
def gaussian_noise_bwd(residuals: None, dy: Array) -> tuple[Array]:
    return (dy.copy(),)


def _kept(op: str, rate: float, key: Any, mask: Any, shape: tuple[int, ...]) -> Array | None:
    """The mask of entries that are kept, drawn by the key or copied; None if all are kept."""
    _check_one(op, key, "mask", mask)
    if mask is not None:
        return np.array(checked_mask(op, "mask", mask, shape))
    if key is None:
        return None
    random.check_key(op, key)
    return random.bernoulli(key, 1 - rate, shape)


def noise_of(op: str, key: Any, noise: Any, x: Array, draw: Callable[[Array, tuple[int, ...]], Array] = random.normal) -> Array:
    """Random numbers of the dtype of x, as `draw` gives them: by the key, or those given, or zeros."""
    _check_one(op, key, "noise", noise)
    if key is not None:
        random.check_key(op, key)
        return draw(key, x.shape).astype(x.dtype)
    if noise is None:
        return np.zeros((), x.dtype)
    z = checked_parameter(op, "noise", noise, x.shape, x.dtype)
    if not np.isfinite(z).all():
        raise ValueError(f"{op}: noise must be finite, got {z[~np.isfinite(z)][0]}")
    return z


def _check_one(op: str, key: Any, name: str, value: Any) -> None:
    if key is not None and value is not None:
        raise ValueError(f"{op}: takes a key or {name}, not both")


def _leading(op: str, x: Array, shape: tuple[int, ...], rate: Any, key: Any, mask: Any) -> tuple[Array, Any]:
    """Dropout of everything at an index of the leading dimensions at once, and its residuals."""
    rate = number(op, "rate", rate, 0, 1)
    kept = _kept(op, rate, key, mask, shape)
    if kept is not None:
        kept = kept.reshape(*shape, *(1,) * (x.ndim - len(shape)))
    scale = 1.0 if kept is None else _inverse(rate)
    return _scaled(x, scale, kept), (scale, kept)


def _inverse(rate: float) -> float:
    """1 / (1 - rate), or 0 if the rate is 1."""
    return 0.0 if rate == 1 else 1 / (1 - rate)


def _scaled(x: Array, scale: float, kept: Array | None) -> Array:
    """`x * scale` where `x` is kept, and 0 elsewhere, even if `x` is NaN there."""
    if scale == 0:
        return np.zeros_like(x)
    return (x if kept is None else where(kept, x, 0)) * scale
