"""The multi-layer net: affine maps of any number and width with activations, and batch norm, dropout and penalties if wanted.

sizes = (784, 100, 100, 10)
params = {"net": multi_layer_net.init(random.key(0), sizes, batch_norm=True)}
goal = multi_layer_net.goal(sizes, batch_norm=True, dropout_rate=0.2, l2=1e-4)
value, residuals = goal.fwd(params, x, loss={"labels": labels}, net={"dropout1": {"key": key}})
grads, dx = goal.bwd(residuals, 1.0)               # grads["net"]["affine1"]["w"]
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import optree

from purenet import activations, normalization
from purenet.checks import boolean, choice, number
from purenet.combinators import chain, named
from purenet.initializers import Scheme, layers
from purenet.linear import affine
from purenet.losses import softmax_cross_entropy
from purenet.op import Array, Op, Tree
from purenet.penalties import l1_penalty, l2_penalty, penalized
from purenet.random.checks import integer
from purenet.stochastic import dropout

__all__ = ["goal", "init", "net"]

SIZES = (784, 100, 100, 10)
ACTIVATIONS = ("relu", "sigmoid", "tanh", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus")


def net(sizes: Sequence[int] = SIZES, *, activation: str = "relu", batch_norm: bool = False, dropout_rate: float = 0.0) -> Op:
    """The multi-layer net, from pixels to logits, with `sizes` inputs, hidden units of each layer, and classes.

    Shapes: params {affine1: {w (I, H), b (H,)}, batch_norm1: {gamma (H,), beta (H,)}, affine2: ...}, x (N, I) -> logits (N, C)
    Math, of each hidden layer:
        h  = dropout(activation(batch_norm(x w + b))), without the parts that are not wanted; after the last of them
        y  = h w + b; the cotangents pass through the layers in reverse
    Errors: ValueError for fewer than two sizes, or one that is not a positive integer, another activation, or a rate outside
        [0, 1]; those of affine, batch_norm and dropout; ValueError where `params` has other keys than these stages.
    Source: Saito, Deep Learning from Scratch (2016), chapter 6, its MultiLayerNetExtend. Conventions: the order of a layer is
        the book's; dropout is inverted, the book scales at inference. Stages are affine1, batch_norm1, relu1, dropout1, affine2
        and so on. In training each dropout needs a key, `net(params, x, dropout1={"key": key})`, without which it changes
        nothing; for inference batch norm needs running statistics, `batch_norm1={"statistics": (mean, var)}`.

    >>> import numpy as np, purenet as pn
    >>> net = pn.models.multi_layer_net.net((2, 2, 1), activation="tanh", dropout_rate=0.5)
    >>> ", ".join(net.stages)
    'affine1, tanh1, dropout1, affine2'
    >>> params = {"affine1": {"w": np.eye(2)}, "affine2": {"w": np.array([[10.0], [1.0]])}}
    >>> net(params, np.array([[0.0, 0.0], [50.0, -50.0]]))
    array([[0.],
           [9.]])
    """
    sizes = _checked("net", sizes)
    choice("multi_layer_net", "activation", activation, ACTIVATIONS)
    number("multi_layer_net", "dropout_rate", dropout_rate, 0, 1)
    boolean("multi_layer_net", "batch_norm", batch_norm)
    stages: dict[str, Op] = {}
    for i in range(1, len(sizes) - 1):
        stages[f"affine{i}"] = affine
        if batch_norm:
            stages[f"batch_norm{i}"] = normalization.batch_norm
        stages[f"{activation}{i}"] = getattr(activations, activation)
        if dropout_rate:
            stages[f"dropout{i}"] = dropout.bind(rate=dropout_rate)
    stages[f"affine{len(sizes) - 1}"] = affine
    return named(chain(**stages), net, "multi_layer_net")


def goal(
    sizes: Sequence[int] = SIZES, *, activation: str = "relu", batch_norm: bool = False, dropout_rate: float = 0.0,
    l1: float = 0.0, l2: float = 0.0,
) -> Op:  # fmt: skip
    """The multi-layer net with its loss, the function that training minimizes, and penalties of its weights.

    Shapes: params {net: params of the net}, x (N, I), loss={"labels": integers (N,)} -> ()
    Math, with the sums over the weights of all affine maps:
        y  = softmax_cross_entropy(net(params, x), labels) + l1 sum |w| + l2/2 sum w^2
        dw = that of the net + l1 sign(w) + l2 w;  all other cotangents are those of the net
    Errors: those of the net and of softmax_cross_entropy; ValueError for an l1 or l2 that is negative or not finite.
    Source: Saito, Deep Learning from Scratch (2016), section 6.4. Conventions: biases, gamma and beta are not penalized.
        Keywords go by stage, `goal(params, x, loss={"labels": labels}, net={"dropout1": {"key": key}})`.

    >>> import numpy as np, purenet as pn
    >>> params = {"net": {"affine1": {"w": np.full((3, 10), 2.0), "b": np.zeros(10)}}}
    >>> goal = pn.models.multi_layer_net.goal((3, 10), l2=0.1)
    >>> value = goal(params, np.ones((4, 3)), loss={"labels": np.array([5, 0, 1, 1])})
    >>> bool(np.isclose(value, np.log(10) + 0.1 / 2 * 30 * 2**2))
    True
    """
    inner = net(sizes, activation=activation, batch_norm=batch_norm, dropout_rate=dropout_rate)
    whole: Op = chain(net=inner, loss=softmax_cross_entropy)
    for penalty, strength in ((l1_penalty, l1), (l2_penalty, l2)):
        if number("multi_layer_net", penalty.name[:2], strength, low=0):
            whole = penalized(whole, penalty.bind(strength=strength), mask=_weights)
    return named(whole, goal, "multi_layer_net_goal")


def init(
    key: Array,
    sizes: Sequence[int] = SIZES,
    *,
    batch_norm: bool = False,
    initializer: Scheme = "he",
    dtype: Any = np.float64,
) -> dict[str, dict[str, Array]]:
    """Parameters of the net: weights as `initializer` says, biases 0, gamma 1, beta 0.

    The initializer is "he", "xavier", "glorot", "lecun", a standard deviation, or a function of `purenet.initializers`.

    >>> import purenet as pn
    >>> params = pn.models.multi_layer_net.init(pn.random.key(0), (784, 50, 20, 10), batch_norm=True)
    >>> {name: [leaf.shape for leaf in leaves.values()] for name, leaves in params.items() if name[-1] == "2"}
    {'affine2': [(50, 20), (20,)], 'batch_norm2': [(20,), (20,)]}
    """
    sizes = _checked("init", sizes)
    boolean("multi_layer_net.init", "batch_norm", batch_norm)
    shapes = {f"affine{i}": pair for i, pair in enumerate(pairwise(sizes), start=1)}
    params = {}
    for i, (name, own) in enumerate(layers(key, shapes, initializer=initializer, dtype=dtype).items(), start=1):
        params[name] = own
        if batch_norm and i < len(sizes) - 1:
            params[f"batch_norm{i}"] = {"gamma": np.ones(sizes[i], dtype), "beta": np.zeros(sizes[i], dtype)}
    return params


def _checked(function: str, sizes: Any) -> tuple[int, ...]:
    name, what = f"multi_layer_net.{function}", "two or more positive integers (inputs, hidden units of each layer, classes)"
    if not isinstance(sizes, tuple | list) or len(sizes) < 2:
        raise ValueError(f"{name}: sizes must be {what}, got {sizes!r}")
    return tuple(integer(name, "each of sizes", n, 1) for n in sizes)


def _weights(params: Tree) -> Tree:
    """Which parameters are penalized."""
    return optree.tree_map_with_path(lambda path, _: path[-1] == "w", params)
