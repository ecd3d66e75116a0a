"""The two-layer net: affine, relu, affine, and softmax with cross entropy as its loss.

params = {"net": init(random.key(0))}
goal = two_layer_net.goal()
value, residuals = goal.fwd(params, x, loss={"labels": labels})
grads, dx = goal.bwd(residuals, 1.0)               # grads["net"]["affine1"]["w"]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.activations import relu
from purenet.checks import boolean
from purenet.combinators import chain, named
from purenet.initializers import layers
from purenet.linear import affine
from purenet.losses import softmax_cross_entropy
from purenet.op import Array, Op

__all__ = ["goal", "init", "net"]

_NAMES = {False: "two_layer_net", True: "two_layer_net_last_relu"}


def net(*, last_relu: bool = False) -> Op:
    """The two-layer net, from pixels to logits. With `last_relu`, a relu follows the second affine map too.

    Shapes: params {affine1: {w (I, H), b (H,)}, affine2: {w (H, C), b (C,)}}, x (..., I) -> logits (..., C)
    Math:
        y = relu(x w1 + b1) w2 + b2, or the relu of that; the cotangents pass through affine2, relu1 and affine1
    Errors: those of affine; ValueError where `params` has other keys than affine1 and affine2.
    Source: Saito, Deep Learning from Scratch (2016), chapter 5. Conventions: the book has no last relu. Notes on it that
        add one clip the logits: a class at 0 gets no gradient, and a logit exactly at 0 sits on a kink.

    >>> import numpy as np, purenet as pn
    >>> model = pn.models.two_layer_net
    >>> eye = {"w": np.eye(2), "b": np.array([0.0, -1.0])}
    >>> params = {"affine1": eye, "affine2": eye}
    >>> model.net()(params, np.array([[3.0, 0.5]]))
    array([[ 3., -1.]])
    >>> model.net(last_relu=True)(params, np.array([[3.0, 0.5]]))
    array([[3., 0.]])
    """
    stages: dict[str, Op] = {"affine1": affine, "relu1": relu, "affine2": affine}
    if boolean("two_layer_net", "last_relu", last_relu):
        stages["relu2"] = relu
    return named(chain(**stages), net, _NAMES[last_relu])


def goal(*, last_relu: bool = False) -> Op:
    """The two-layer net with its loss, the function that training minimizes.

    Shapes: params {net: params of the net}, x (N, I), loss={"labels": integers (N,)} -> ()
    Math:
        y = softmax_cross_entropy(net(params, x), labels); the cotangents pass through the loss and then the net
    Errors: those of the net and of softmax_cross_entropy.
    Source: Saito, Deep Learning from Scratch (2016), chapter 5. Conventions: keywords of the loss go to its stage, as in
        `goal(params, x, loss={"labels": labels, "label_smoothing": 0.1})`.

    >>> import numpy as np, purenet as pn
    >>> zeros = {"affine1": {"w": np.zeros((4, 3)), "b": np.zeros(3)}, "affine2": {"w": np.zeros((3, 10)), "b": np.zeros(10)}}
    >>> value = pn.models.two_layer_net.goal()({"net": zeros}, np.ones((2, 4)), loss={"labels": np.array([5, 0])})
    >>> bool(np.isclose(value, np.log(10)))
    True
    """
    whole = chain(net=net(last_relu=last_relu), loss=softmax_cross_entropy)
    return named(whole, goal, f"{_NAMES[last_relu]}_goal")


def init(
    key: Array, sizes: tuple[int, int, int] = (784, 50, 10), *, std: float = 0.01, dtype: Any = np.float64
) -> dict[str, dict[str, Array]]:
    """Parameters of the net with `sizes` inputs, hidden units and classes: weights std * normal, biases 0.

    >>> import purenet as pn
    >>> params = pn.models.two_layer_net.init(pn.random.key(0))
    >>> params["affine1"]["w"].shape, params["affine2"]["b"].shape
    ((784, 50), (10,))
    """
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"two_layer_net.init: sizes must be three positive integers (inputs, hidden, classes), got {sizes}")
    inputs, hidden, classes = sizes
    return layers(key, {"affine1": (inputs, hidden), "affine2": (hidden, classes)}, initializer=std, dtype=dtype)
