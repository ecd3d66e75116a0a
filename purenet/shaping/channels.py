"""Channels and pixels that change places."""

from __future__ import annotations

from purenet.checks import integers
from purenet.op import Array, Op

__all__ = ["channel_shuffle", "pixel_unshuffle"]


@Op
def pixel_unshuffle(x: Array, *, downscale_factor: int) -> tuple[Array, int]:
    """Every r x r pixels as r^2 channels of one pixel, with r = `downscale_factor`: the inverse of `pixel_shuffle`.

    Shapes: x (..., C, H r, W r) -> y (..., C r^2, H, W)
    Math:
        y[..., (c r + i) r + j, h, w] = x[..., c, h r + i, w r + j]
        dx[..., c, h r + i, w r + j] = dy[..., (c r + i) r + j, h, w]
    Errors: ValueError unless x has a height and a width that r divides, or r is less than 1; TypeError unless r is an integer.
    Source: torch.nn.functional.pixel_unshuffle. Conventions: ONNX's SpaceToDepth has the channels of a pixel in another order,
        (i r + j) C + c.

    >>> import numpy as np, purenet as pn
    >>> pn.pixel_unshuffle(np.array([[[1.0, 2.0], [3.0, 4.0]]]), downscale_factor=2).ravel()
    array([1., 2., 3., 4.])
    """
    (r,) = integers("pixel_unshuffle", "downscale_factor", downscale_factor, 1)
    if x.ndim < 3 or x.shape[-2] % r or x.shape[-1] % r:
        raise ValueError(f"pixel_unshuffle: x must have shape (..., C, H, W) with multiples of {r} as H and W, got {x.shape}")
    *batch, c, h, w = x.shape
    blocks = x.reshape(*batch, c, h // r, r, w // r, r)
    i = blocks.ndim - 4
    return blocks.transpose(*range(i), i + 1, i + 3, i, i + 2).reshape(*batch, c * r**2, h // r, w // r, copy=True), r


@pixel_unshuffle.pullback
def pixel_unshuffle_bwd(r: int, dy: Array) -> tuple[Array]:
    *batch, c, h, w = dy.shape
    blocks = dy.reshape(*batch, c // r**2, r, r, h, w)
    i = blocks.ndim - 4
    return (blocks.transpose(*range(i), i + 2, i, i + 3, i + 1).reshape(*batch, c // r**2, h * r, w * r, copy=True),)


@Op
def channel_shuffle(x: Array, *, groups: int) -> tuple[Array, int]:
    """The channels of `groups` groups taken in turn, so that the next grouped convolution mixes them.

    Shapes: x (N, groups K, ...) -> y of the same shape
    Math:
        y[n, k groups + g] = x[n, g K + k]
        dx[n, g K + k] = dy[n, k groups + g]
    Errors: ValueError unless x has a number of channels that `groups` divides, or `groups` is less than 1; TypeError unless
        it is an integer.
    Source: Zhang et al., ShuffleNet (2018); torch.nn.functional.channel_shuffle. Conventions: the inverse is the shuffle with
        K groups.

    >>> import numpy as np, purenet as pn
    >>> pn.channel_shuffle(np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]), groups=2)
    array([[1., 4., 2., 5., 3., 6.]])
    """
    (g,) = integers("channel_shuffle", "groups", groups, 1)
    if x.ndim < 2 or x.shape[1] % g:
        raise ValueError(f"channel_shuffle: x must have shape (N, a multiple of {g}, ...), got {x.shape}")
    n, c, *rest = x.shape
    return x.reshape(n, g, c // g, *rest).swapaxes(1, 2).reshape(x.shape, copy=True), g


@channel_shuffle.pullback
def channel_shuffle_bwd(g: int, dy: Array) -> tuple[Array]:
    n, c, *rest = dy.shape
    return (dy.reshape(n, c // g, g, *rest).swapaxes(1, 2).reshape(dy.shape, copy=True),)
