"""LeNet-5: two convolutions with average pools, and three affine maps, for images of 28 x 28.

params = {"net": lenet.init(random.key(0))}
goal = lenet.goal()
value, residuals = goal.fwd(params, x, loss={"labels": labels})
grads, dx = goal.bwd(residuals, 1.0)               # grads["net"]["conv1"]["w"]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.activations import tanh
from purenet.combinators import chain, named
from purenet.convolution import conv2d
from purenet.initializers import Scheme, layers
from purenet.linear import affine
from purenet.losses import softmax_cross_entropy
from purenet.op import Array, Op
from purenet.pooling import avg_pool2d
from purenet.shaping import ensure_shape, flatten

__all__ = ["goal", "init", "net"]


def net() -> Op:
    """LeNet-5, from images of 28 x 28 to logits of ten classes.

    Shapes: params {conv1: {w (6, 1, 5, 5), b (6,)}, conv2: {w (16, 6, 5, 5), b (16,)}, affine1: {w (400, 120), b (120,)},
        affine2: {w (120, 84), b (84,)}, affine3: {w (84, 10), b (10,)}}, 61,706 numbers; x (N, 1, 28, 28) -> logits (N, 10)
    Math:
        h1 = pool(tanh(conv1(x)))                      # C1, 6 maps of 28 x 28, and S2, of 14 x 14
        h2 = pool(tanh(conv2(h1)))                     # C3, 16 maps of 10 x 10, and S4, of 5 x 5
        y  = affine3(tanh(affine2(tanh(affine1(h2)))))  # C5, 120 units, F6, 84 units, and the classes
        the cotangents pass through the stages in reverse
    Errors: ValueError for images of another size or number of channels, and where `params` has other keys or shapes.
    Source: LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition (1998), figure 2.
        Conventions: what is usual today. The paper's images are 32 x 32, here padded by 2 in the first convolution; its C3 sees
        only some maps of S2, here all of them; its pools have a factor and a bias for each map and a squashing function behind
        them, these have not; its tanh is 1.7159 tanh(2/3 x), and its last layer one of radial basis functions. C5, a
        convolution with filters as large as its maps, is an affine map.

    >>> import numpy as np, purenet as pn
    >>> params = pn.models.lenet.init(pn.random.key(0))
    >>> logits, residuals = pn.models.lenet.net().fwd(params, np.zeros((2, 1, 28, 28)))
    >>> logits.shape, {stage: residuals[stage].shapes[0] for stage in ("conv1", "pool1", "conv2", "pool2")}
    ((2, 10), {'conv1': (2, 6, 28, 28), 'pool1': (2, 6, 14, 14), 'conv2': (2, 16, 10, 10), 'pool2': (2, 16, 5, 5)})
    """
    stages = chain(
        image=ensure_shape.bind(shape=(None, 1, 28, 28)),
        conv1=conv2d.bind(padding=2),
        tanh1=tanh,
        pool1=avg_pool2d.bind(window=2),
        conv2=conv2d,
        tanh2=tanh,
        pool2=avg_pool2d.bind(window=2),
        flatten=flatten,
        affine1=affine,
        tanh3=tanh,
        affine2=affine,
        tanh4=tanh,
        affine3=affine,
    )
    return named(stages, net, "lenet")


def goal() -> Op:
    """LeNet-5 with its loss, the function that training minimizes.

    Shapes: params {net: params of the net}, x (N, 1, 28, 28), loss={"labels": integers (N,)} -> ()
    Math:
        y = softmax_cross_entropy(net(params, x), labels); the cotangents pass through the loss and then the net
    Errors: those of the net and of softmax_cross_entropy.
    Source: as net. Conventions: the paper's loss is the squared distance to a code of each class.
    """
    return named(chain(net=net(), loss=softmax_cross_entropy), goal, "lenet_goal")


def init(key: Array, *, initializer: Scheme = "xavier", dtype: Any = np.float64) -> dict[str, dict[str, Array]]:
    """Parameters of the net: weights as `initializer` says, of standard deviation sqrt(1 / fan_in) by default, biases 0.

    >>> import purenet as pn
    >>> pn.models.lenet.init(pn.random.key(0))["conv2"]["w"].shape
    (16, 6, 5, 5)
    """
    shapes = {
        "conv1": (6, 1, 5, 5),
        "conv2": (16, 6, 5, 5),
        "affine1": (16 * 5 * 5, 120),
        "affine2": (120, 84),
        "affine3": (84, 10),
    }
    return layers(key, shapes, initializer=initializer, dtype=dtype)
