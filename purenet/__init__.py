"""Layers, losses and optimizers as stateless pure functions in NumPy: parameters in, gradients out.

    import purenet as pn

    net = pn.chain(affine1=pn.affine, relu1=pn.relu, affine2=pn.affine)
    goal = pn.chain(net=net, loss=pn.softmax_cross_entropy)
    value, residuals = goal.fwd(params, x, loss={"labels": labels})
    grads, dx = goal.bwd(residuals, 1.0)

The protocol is explained in `purenet.op`; read it first.
"""

from purenet import data, initializers, metrics, models, optimizers, random, schedules
from purenet.activations import gelu, identity, log_softmax, relu, sigmoid, softmax, tanh
from purenet.combinators import chain
from purenet.linear import affine
from purenet.losses import (
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_with_probabilities,
    squared_error,
    sum_squared_error,
)
from purenet.metrics import accuracy
from purenet.op import Op, Residuals, vjp
from purenet.optimizers import apply_updates
from purenet.penalties import l1_penalty, l2_penalty

__version__ = "0.1.0"

__all__ = [
    "Op",
    "Residuals",
    "accuracy",
    "affine",
    "apply_updates",
    "chain",
    "data",
    "gelu",
    "identity",
    "initializers",
    "l1_penalty",
    "l2_penalty",
    "log_softmax",
    "metrics",
    "models",
    "optimizers",
    "random",
    "relu",
    "schedules",
    "sigmoid",
    "sigmoid_binary_cross_entropy",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_probabilities",
    "squared_error",
    "sum_squared_error",
    "tanh",
    "vjp",
]
