"""Convolution and max pooling of images (N, C, H, W), and a small net of them."""

from __future__ import annotations

from typing import Any

import numpy as np

import purenet as pn
from oracle.grading import Assignment, Functions, Part, Whole

HUGE = 1e12  # an offset beside which differences see nothing
NEAR = 1e-9  # from a kink: nearer than any step


def conv(x: Any, w: Any, b: Any, stride: int, pad: int) -> Any:
    return pn.conv2d.fwd({"w": w, "b": b}, x, stride=stride, padding=pad)


def conv_backward(dout: Any, cache: Any) -> Any:
    params, dx = pn.conv2d.bwd(cache, dout)
    return dx, params["w"], params["b"]


def max_pool(x: Any, size: int, stride: int) -> Any:
    return pn.max_pool2d.fwd(x, window=size, stride=stride)


def max_pool_backward(dout: Any, cache: Any) -> Any:
    return pn.max_pool2d.bwd(cache, dout)


def net(params: Any, x: Any, t: Any) -> Any:
    goal = pn.chain(
        conv=pn.conv2d, relu=pn.relu, pool=pn.max_pool2d, flatten=pn.flatten, affine=pn.affine, loss=pn.softmax_cross_entropy
    )
    tree = {"conv": {"w": params["W1"], "b": params["b1"]}, "affine": {"w": params["W2"], "b": params["b2"]}}
    loss, saved = goal.fwd(tree, x, pool={"window": 2}, loss={"labels": t})
    grads = goal.bwd(saved, np.float64(1))[0]
    return loss, {
        "W1": grads["conv"]["w"],
        "b1": grads["conv"]["b"],
        "W2": grads["affine"]["w"],
        "b2": grads["affine"]["b"],
    }


def some_images(rng: Any, stride: int, pad: int, size: tuple[int, int] = (7, 9), offset: float = 0.0) -> dict[str, Any]:
    """Heights, widths, channels and filters are all different, so that no exchange of axes goes unnoticed."""
    x, w = rng.normal(size=(2, 3, *size)), rng.normal(size=(4, 3, 3, 3))
    return {"x": x, "w": w, "b": rng.normal(size=4) + offset, "stride": stride, "pad": pad}


def some_windows(rng: Any, size: int, stride: int, shape: tuple[int, ...] = (2, 3, 7, 9), scale: float = 1.0) -> dict[str, Any]:
    return {"x": scale * rng.normal(size=shape), "size": size, "stride": stride}


def some_net(rng: Any, n: int = 3, size: tuple[int, int] = (6, 8), *, at_kinks: bool = False) -> dict[str, Any]:
    height, width = size
    features = 4 * ((height - 2) // 2) * ((width - 2) // 2)
    params = {
        "W1": rng.normal(size=(4, 2, 3, 3)) / 4,
        "b1": rng.normal(size=4),
        "W2": rng.normal(size=(features, 5)) / features**0.5,
        "b2": rng.normal(size=5),
    }
    x = rng.normal(size=(n, 2, height, width))
    if at_kinks:  # of each filter at the place of its largest answer, so that the pool lets it through
        out = pn.conv2d({"w": params["W1"]}, x)
        params["b1"] = NEAR * rng.permutation(np.resize([-1.0, 1.0], 4)) - out[0, :, :2, :2].max(axis=(1, 2))
    return {"params": params, "x": x, "t": rng.integers(5, size=n)}


assignment = Assignment(
    "convolution",
    [
        Part(
            "convolution",
            [Functions("conv_forward", "conv_backward")],
            (conv, conv_backward),
            {"x": 4, "w": 4, "b": 1},
            [
                lambda rng: some_images(rng, 1, 1),
                lambda rng: some_images(rng, 2, 0),
                lambda rng: some_images(rng, 2, 2, (6, 8)),
            ],
            blind=[lambda rng: some_images(rng, 1, 0, offset=HUGE)],
            large=[lambda rng: some_images(rng, 1, 1, (40, 44))],
            about="out[n, f, i, j] = b[f] + sum over c, k, l of w[f, c, k, l] x[n, c, stride i + k - pad, stride j + l - pad]",
        ),
        Part(
            "max pooling",
            [Functions("max_pool_forward", "max_pool_backward")],
            (max_pool, max_pool_backward),
            {"x": 3},
            [lambda rng: some_windows(rng, 2, 2), lambda rng: some_windows(rng, 3, 2), lambda rng: some_windows(rng, 2, 1)],
            blind=[lambda rng: some_windows(rng, 2, 2, scale=NEAR)],
            large=[lambda rng: some_windows(rng, 2, 2, (2, 8, 64, 60))],
            about="the largest entry of each window (size, size) at steps of stride; what does not fit is left out",
        ),
        Part(
            "net",
            [Whole("loss_and_grads")],
            net,
            {"W1": 3, "b1": 1, "W2": 1, "b2": 1},
            [some_net],
            blind=[lambda rng: some_net(rng, at_kinks=True)],
            large=[lambda rng: some_net(rng, 4, (46, 50))],
            value_tolerance=1e-4,  # some add 1e-7 inside the logarithm, which shows where a class is improbable
            about="convolution W1, b1 (stride 1, no padding), relu, max pooling (2, 2), affine W2, b2 of the flattened images, "
            "softmax loss with labels t; and a dict of the gradients of params",
        ),
    ],
)
