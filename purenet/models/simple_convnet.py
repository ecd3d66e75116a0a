"""The simple convolutional net of the book: one convolution with its pool, and two affine maps, for images of 28 x 28.

params = {"net": simple_convnet.init(random.key(0))}
goal = simple_convnet.goal()
value, residuals = goal.fwd(params, x, loss={"labels": labels})
grads, dx = goal.bwd(residuals, 1.0)               # grads["net"]["conv1"]["w"]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.activations import relu
from purenet.combinators import chain, named
from purenet.convolution import conv2d
from purenet.initializers import Scheme, layers
from purenet.linear import affine
from purenet.losses import softmax_cross_entropy
from purenet.op import Array, Op
from purenet.pooling import max_pool2d
from purenet.shaping import ensure_shape, flatten

__all__ = ["goal", "init", "net"]


def net() -> Op:
    """The simple convolutional net, from images of 28 x 28 to logits of ten classes.

    Shapes: params {conv1: {w (30, 1, 5, 5), b (30,)}, affine1: {w (4320, 100), b (100,)}, affine2: {w (100, 10), b (10,)}},
        433,890 numbers; x (N, 1, 28, 28) -> logits (N, 10)
    Math:
        h  = pool(relu(conv1(x)))                      # 30 maps of 24 x 24, and of 12 x 12
        y  = affine2(relu(affine1(h)))
        the cotangents pass through the stages in reverse
    Errors: ValueError for images of another size or number of channels, and where `params` has other keys or shapes.
    Source: Saito, Deep Learning from Scratch (2016), section 7.5, its SimpleConvNet. Conventions: the book's.

    >>> import numpy as np, purenet as pn
    >>> params = pn.models.simple_convnet.init(pn.random.key(0))
    >>> logits, residuals = pn.models.simple_convnet.net().fwd(params, np.zeros((2, 1, 28, 28)))
    >>> logits.shape, residuals["conv1"].shapes[0], residuals["pool1"].shapes[0]
    ((2, 10), (2, 30, 24, 24), (2, 30, 12, 12))
    """
    stages = chain(
        image=ensure_shape.bind(shape=(None, 1, 28, 28)),
        conv1=conv2d,
        relu1=relu,
        pool1=max_pool2d.bind(window=2),
        flatten=flatten,
        affine1=affine,
        relu2=relu,
        affine2=affine,
    )
    return named(stages, net, "simple_convnet")


def goal() -> Op:
    """The simple convolutional net with its loss, the function that training minimizes.

    Shapes: params {net: params of the net}, x (N, 1, 28, 28), loss={"labels": integers (N,)} -> ()
    Math:
        y = softmax_cross_entropy(net(params, x), labels); the cotangents pass through the loss and then the net
    Errors: those of the net and of softmax_cross_entropy.
    Source: as net. Conventions: the book's.
    """
    return named(chain(net=net(), loss=softmax_cross_entropy), goal, "simple_convnet_goal")


def init(key: Array, *, initializer: Scheme = 0.01, dtype: Any = np.float64) -> dict[str, dict[str, Array]]:
    """Parameters of the net: weights as `initializer` says, 0.01 * normal by default as in the book, biases 0.

    >>> import purenet as pn
    >>> pn.models.simple_convnet.init(pn.random.key(0))["affine1"]["w"].shape
    (4320, 100)
    """
    shapes = {"conv1": (30, 1, 5, 5), "affine1": (30 * 12 * 12, 100), "affine2": (100, 10)}
    return layers(key, shapes, initializer=initializer, dtype=dtype)
