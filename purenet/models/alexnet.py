"""AlexNet: five convolutions with local response normalization and overlapping pools, and three affine maps with dropout.

params = {"net": alexnet.init(random.key(0), dtype=np.float32)}
goal = alexnet.goal()
keys = {"dropout1": {"key": key1}, "dropout2": {"key": key2}}
value, residuals = goal.fwd(params, x, loss={"labels": labels}, net=keys)
grads, dx = goal.bwd(residuals, 1.0)               # grads["net"]["conv1"]["w"]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.activations import relu
from purenet.checks import number
from purenet.combinators import chain, named
from purenet.convolution import conv2d
from purenet.initializers import Scheme, layers
from purenet.linear import affine
from purenet.losses import softmax_cross_entropy
from purenet.normalization import local_response_norm
from purenet.op import Array, Op
from purenet.pooling import max_pool2d
from purenet.random.checks import integer
from purenet.shaping import ensure_shape, flatten
from purenet.stochastic import dropout

__all__ = ["goal", "init", "net"]


def net(*, image_size: int = 224, channels: int = 3, stride: int = 4, dropout_rate: float = 0.5) -> Op:
    """AlexNet, from square images to logits.

    `stride` is that of the first convolution: 1 suits images from 21 on, 4 those from 63 on.

    Shapes: params {conv1: {w (96, 3, 11, 11), b (96,)}, conv2: {w (256, 48, 5, 5), ...}, conv3: {w (384, 256, 3, 3), ...},
        conv4: {w (384, 192, 3, 3), ...}, conv5: {w (256, 192, 3, 3), ...}, affine1: {w (9216, 4096), b (4096,)},
        affine2: {w (4096, 4096), ...}, affine3: {w (4096, 1000), ...}}, 60,965,224 numbers, or fewer and narrower ones;
        x (N, 3, 224, 224) -> logits (N, 1000)
    Math:
        h1 = pool(norm(relu(conv1(x))))                # 96 maps of 55 x 55, and of 27 x 27
        h2 = pool(norm(relu(conv2(h1))))               # 256 maps of 27 x 27, and of 13 x 13
        h3 = pool(relu(conv5(relu(conv4(relu(conv3(h2)))))))  # 384, 384 and 256 maps of 13 x 13, and of 6 x 6
        y  = affine3(dropout2(relu(affine2(dropout1(relu(affine1(h3)))))))
        the cotangents pass through the stages in reverse
    Errors: ValueError for images of another size or number of channels than these, an image size at which a pool has no window,
        a rate outside [0, 1], and where `params` has other keys or shapes; TypeError for options that are no integers.
    Source: Krizhevsky, Sutskever, Hinton, ImageNet classification with deep convolutional neural networks (2012), figure 2.
        Conventions: the paper's two halves, which lay on two GPUs, are two groups of the second, fourth and fifth convolution.
        Its images of 224 x 224 are padded by 2 on each side, as in torchvision, to give its 55 x 55 maps. Its alpha is 1e-4 for
        the sum over five channels, ours 5e-4 for their mean. In training dropouts need keys,
        `net(params, x, dropout1={"key": key1}, dropout2={"key": key2})`, without which they change nothing; the paper scales
        at inference.

    >>> import numpy as np, purenet as pn
    >>> model, small = pn.models.alexnet, {"image_size": 28, "channels": 1, "stride": 1}
    >>> params = model.init(pn.random.key(0), **small, classes=10, width=0.125)
    >>> logits, residuals = model.net(**small).fwd(params, np.zeros((2, 1, 28, 28)))
    >>> logits.shape, [residuals[stage].shapes[0][1:] for stage in ("conv1", "pool1", "pool2", "pool3")]
    ((2, 10), [(12, 22, 22), (12, 10, 10), (32, 4, 4), (32, 1, 1)])
    """
    channels = integer("alexnet", "channels", channels, 1)
    _last_map("alexnet", image_size, stride)
    rate = number("alexnet", "dropout_rate", dropout_rate, 0, 1)
    norm = local_response_norm.bind(size=5, alpha=5e-4, beta=0.75, k=2.0)
    pool = max_pool2d.bind(window=3, stride=2)
    stages = chain(
        image=ensure_shape.bind(shape=(None, channels, image_size, image_size)),
        conv1=conv2d.bind(stride=stride, padding=2),
        relu1=relu,
        norm1=norm,
        pool1=pool,
        conv2=conv2d.bind(padding=2, groups=2),
        relu2=relu,
        norm2=norm,
        pool2=pool,
        conv3=conv2d.bind(padding=1),
        relu3=relu,
        conv4=conv2d.bind(padding=1, groups=2),
        relu4=relu,
        conv5=conv2d.bind(padding=1, groups=2),
        relu5=relu,
        pool3=pool,
        flatten=flatten,
        affine1=affine,
        relu6=relu,
        dropout1=dropout.bind(rate=rate),
        affine2=affine,
        relu7=relu,
        dropout2=dropout.bind(rate=rate),
        affine3=affine,
    )
    return named(stages, net, "alexnet")


def goal(*, image_size: int = 224, channels: int = 3, stride: int = 4, dropout_rate: float = 0.5) -> Op:
    """AlexNet with its loss, the function that training minimizes.

    Shapes: params {net: params of the net}, x (N, 3, 224, 224), loss={"labels": integers (N,)} -> ()
    Math:
        y = softmax_cross_entropy(net(params, x), labels); the cotangents pass through the loss and then the net
    Errors: those of the net and of softmax_cross_entropy.
    Source: as net. Conventions: keywords go by stage, as in
        `goal(params, x, loss={"labels": labels}, net={"dropout1": {"key": key}})`.
    """
    inner = net(image_size=image_size, channels=channels, stride=stride, dropout_rate=dropout_rate)
    return named(chain(net=inner, loss=softmax_cross_entropy), goal, "alexnet_goal")


def init(
    key: Array,
    *,
    image_size: int = 224,
    channels: int = 3,
    stride: int = 4,
    classes: int = 1000,
    width: float = 1.0,
    initializer: Scheme = 0.01,
    dtype: Any = np.float64,
) -> dict[str, dict[str, Array]]:
    """Parameters of the net, with `width` times the paper's filters and hidden units.

    Weights are as `initializer` says, 0.01 * normal by default; the biases of conv2, conv4, conv5, affine1 and affine2 are 1,
    the others 0, all as in the paper.

    >>> import purenet as pn
    >>> params = pn.models.alexnet.init(pn.random.key(0), image_size=67, classes=7, width=0.1)
    >>> params["conv2"]["w"].shape, params["affine1"]["w"].shape, params["affine3"]["w"].shape
    ((26, 5, 5, 5), (26, 410), (410, 7))
    """
    shapes = _shapes(image_size, channels, stride, classes, width)
    params = layers(key, shapes, initializer=initializer, dtype=dtype)
    for name in ("conv2", "conv4", "conv5", "affine1", "affine2"):
        params[name]["b"] += 1
    return params


def _shapes(image_size: int, channels: int, stride: int, classes: int, width: float) -> dict[str, tuple[int, ...]]:
    """Of the weights of each stage."""
    if number("alexnet.init", "width", width) <= 0:
        raise ValueError(f"alexnet.init: width must be greater than 0, got {width}")
    # Both groups have as many filters, so their number is even.
    c1, c2, c3, c4, c5, hidden = (max(2, 2 * round(width * n / 2)) for n in (96, 256, 384, 384, 256, 4096))
    classes = integer("alexnet.init", "classes", classes, 1)
    last = _last_map("alexnet.init", image_size, stride)
    return {
        "conv1": (c1, integer("alexnet.init", "channels", channels, 1), 11, 11),
        "conv2": (c2, c1 // 2, 5, 5),
        "conv3": (c3, c2, 3, 3),
        "conv4": (c4, c3 // 2, 3, 3),
        "conv5": (c5, c4 // 2, 3, 3),
        "affine1": (c5 * last * last, hidden),
        "affine2": (hidden, hidden),
        "affine3": (hidden, classes),
    }


def _last_map(op: str, image_size: int, stride: int) -> int:
    """The size of the maps behind the last pool; only the first convolution and the pools change it."""
    stride = integer(op, "stride", stride, 1)
    size = (integer(op, "image_size", image_size, 1) + 2 * 2 - 11) // stride + 1
    for _ in range(3):
        size = (size - 3) // 2 + 1
    if size < 1:
        smallest = 14 * stride + 7  # 15 positions of the first filter leave 7, 3 and 1 behind the pools
        raise ValueError(f"{op}: image_size must be at least {smallest} with a stride of {stride}, got {image_size}")
    return size
