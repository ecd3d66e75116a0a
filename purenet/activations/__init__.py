"""Activation functions, by their shape.

`rectifiers` have one bend, `hard` ones are cut off with straight lines, `shrinkage` pulls towards 0: these have kinks.
`exponential` and `smooth` ones have none (except `elu` and `selu` at 0). `gated` units multiply one half of an axis by a
function of the other, `normalized` ones couple all the entries of an axis.
"""

from purenet.activations.exponential import celu, elu, selu
from purenet.activations.gated import geglu, glu, reglu, swiglu
from purenet.activations.hard import hard_sigmoid, hard_silu, hard_swish, hard_tanh, relu6, step
from purenet.activations.normalized import log_softmax, logsumexp, softmax, softmin
from purenet.activations.rectifiers import leaky_relu, prelu, relu, threshold
from purenet.activations.shrinkage import hardshrink, softshrink, tanhshrink
from purenet.activations.smooth import (
    gelu,
    identity,
    log_sigmoid,
    mish,
    sigmoid,
    silu,
    soft_sign,
    softplus,
    softsign,
    swish,
    tanh,
)

__all__ = [
    "celu",
    "elu",
    "geglu",
    "gelu",
    "glu",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "hardshrink",
    "identity",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "mish",
    "prelu",
    "reglu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_sign",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "step",
    "swiglu",
    "swish",
    "tanh",
    "tanhshrink",
    "threshold",
]
