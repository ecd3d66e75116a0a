"""The deep convolutional net of the book: six convolutions, three pools and two affine maps, for images of 28 x 28.

params = {"net": deep_convnet.init(random.key(0))}
goal = deep_convnet.goal()
keys = {"dropout1": {"key": key1}, "dropout2": {"key": key2}}
value, residuals = goal.fwd(params, x, loss={"labels": labels}, net=keys)
grads, dx = goal.bwd(residuals, 1.0)               # grads["net"]["conv1"]["w"]
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from purenet.activations import relu
from purenet.checks import number
from purenet.combinators import chain, named
from purenet.convolution import conv2d
from purenet.initializers import Scheme, layers
from purenet.linear import affine
from purenet.losses import softmax_cross_entropy
from purenet.op import Array, Op
from purenet.pooling import max_pool2d
from purenet.shaping import ensure_shape, flatten
from purenet.stochastic import dropout

__all__ = ["goal", "init", "net"]


def net(*, dropout_rate: float = 0.5) -> Op:
    """The deep convolutional net, from images of 28 x 28 to logits of ten classes.

    Shapes: params {conv1: {w (16, 1, 3, 3), b (16,)}, conv2: {w (16, 16, 3, 3), ...}, conv3 and conv4 of 32 filters, conv5 and
        conv6 of 64, affine1: {w (1024, 50), b (50,)}, affine2: {w (50, 10), b (10,)}}, 123,552 numbers;
        x (N, 1, 28, 28) -> logits (N, 10)
    Math:
        h1 = pool(relu(conv2(relu(conv1(x)))))         # 16 maps of 28 x 28, and of 14 x 14
        h2 = pool(relu(conv4(relu(conv3(h1)))))        # 32 maps of 14 x 14, of 16 x 16, and of 8 x 8
        h3 = pool(relu(conv6(relu(conv5(h2)))))        # 64 maps of 8 x 8, and of 4 x 4
        y  = dropout2(affine2(dropout1(relu(affine1(h3)))))
        the cotangents pass through the stages in reverse
    Errors: ValueError for a rate outside [0, 1], images of another size or number of channels, and where `params` has other
        keys or shapes.
    Source: Saito, Deep Learning from Scratch (2016), section 8.1, its DeepConvNet. Conventions: the second dropout drops
        logits, as there. Both are inverted; the book scales at inference. In training they need keys,
        `net(params, x, dropout1={"key": key1}, dropout2={"key": key2})`, without which they change nothing.

    >>> import numpy as np, purenet as pn
    >>> params = pn.models.deep_convnet.init(pn.random.key(0))
    >>> logits, residuals = pn.models.deep_convnet.net().fwd(params, np.zeros((2, 1, 28, 28)))
    >>> logits.shape, residuals["conv4"].shapes[0], residuals["pool3"].shapes[0]
    ((2, 10), (2, 32, 16, 16), (2, 64, 4, 4))
    """
    stages = chain(
        image=ensure_shape.bind(shape=(None, 1, 28, 28)),
        conv1=conv2d.bind(padding=1),
        relu1=relu,
        conv2=conv2d.bind(padding=1),
        relu2=relu,
        pool1=max_pool2d.bind(window=2),
        conv3=conv2d.bind(padding=1),
        relu3=relu,
        conv4=conv2d.bind(padding=2),
        relu4=relu,
        pool2=max_pool2d.bind(window=2),
        conv5=conv2d.bind(padding=1),
        relu5=relu,
        conv6=conv2d.bind(padding=1),
        relu6=relu,
        pool3=max_pool2d.bind(window=2),
        flatten=flatten,
        affine1=affine,
        relu7=relu,
        dropout1=dropout.bind(rate=number("deep_convnet", "dropout_rate", dropout_rate, 0, 1)),
        affine2=affine,
        dropout2=dropout.bind(rate=dropout_rate),
    )
    return named(stages, net, "deep_convnet")


def goal(*, dropout_rate: float = 0.5) -> Op:
    """The deep convolutional net with its loss, the function that training minimizes.

    Shapes: params {net: params of the net}, x (N, 1, 28, 28), loss={"labels": integers (N,)} -> ()
    Math:
        y = softmax_cross_entropy(net(params, x), labels); the cotangents pass through the loss and then the net
    Errors: those of the net and of softmax_cross_entropy.
    Source: as net. Conventions: keywords go by stage, as in
        `goal(params, x, loss={"labels": labels}, net={"dropout1": {"key": key}})`.
    """
    whole = chain(net=net(dropout_rate=dropout_rate), loss=softmax_cross_entropy)
    return named(whole, goal, "deep_convnet_goal")


def init(key: Array, *, initializer: Scheme = "he", dtype: Any = np.float64) -> dict[str, dict[str, Array]]:
    """Parameters of the net: weights as `initializer` says, of standard deviation sqrt(2 / fan_in) by default, biases 0.

    >>> import purenet as pn
    >>> pn.models.deep_convnet.init(pn.random.key(0))["conv6"]["w"].shape
    (64, 64, 3, 3)
    """
    filters = (1, 16, 16, 32, 32, 64, 64)
    shapes: dict[str, tuple[int, ...]] = {
        f"conv{i}": (outputs, inputs, 3, 3) for i, (inputs, outputs) in enumerate(pairwise(filters), start=1)
    }
    shapes |= {"affine1": (64 * 4 * 4, 50), "affine2": (50, 10)}
    return layers(key, shapes, initializer=initializer, dtype=dtype)
