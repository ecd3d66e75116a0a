"""Layers, losses and optimizers as stateless pure functions in NumPy: parameters in, gradients out.

    import purenet as pn

    net = pn.chain(affine1=pn.affine, relu1=pn.relu, affine2=pn.affine)
    goal = pn.chain(net=net, loss=pn.softmax_cross_entropy)
    value, residuals = goal.fwd(params, x, loss={"labels": labels})
    grads, dx = goal.bwd(residuals, 1.0)

The protocol is explained in `purenet.op`; read it first. Every public op of every family is `pn.<name>`; so, as in NumPy,
`pn.abs`, `pn.sum`, `pn.max`, `pn.min` and `pn.slice` are not Python's.
"""

# The `__all__` of each family lists its public names; a second list of 150 names here could differ from them.
# ruff: noqa: F403

from purenet import (
    activations,
    attention,
    checkpoints,
    convolution,
    data,
    draws,
    elementwise,
    initializers,
    linear,
    losses,
    metrics,
    models,
    normalization,
    optimizers,
    penalties,
    pooling,
    random,
    recurrent,
    reductions,
    schedules,
    shaping,
    stochastic,
    training,
)
from purenet.activations import *
from purenet.attention import *
from purenet.combinators import chain, parallel, residual, tied
from purenet.convolution import *
from purenet.draws import *
from purenet.elementwise import *
from purenet.linear import *
from purenet.losses import *
from purenet.metrics import accuracy
from purenet.normalization import *
from purenet.op import Op, Residuals, vjp
from purenet.optimizers import apply_updates
from purenet.penalties import *
from purenet.pooling import *
from purenet.recurrent import *
from purenet.reductions import *
from purenet.shaping import *
from purenet.stochastic import *
from purenet.tuples import first

__version__ = "0.2.0"

__all__ = [
    "Op",
    "Residuals",
    "accuracy",
    "apply_updates",
    "chain",
    "checkpoints",
    "data",
    "first",
    "initializers",
    "metrics",
    "models",
    "optimizers",
    "parallel",
    "random",
    "residual",
    "schedules",
    "tied",
    "training",
    "vjp",
]
__all__ += activations.__all__
__all__ += attention.__all__
__all__ += convolution.__all__
__all__ += draws.__all__
__all__ += elementwise.__all__
__all__ += linear.__all__
__all__ += losses.__all__
__all__ += normalization.__all__
__all__ += penalties.__all__
__all__ += pooling.__all__
__all__ += recurrent.__all__
__all__ += reductions.__all__
__all__ += shaping.__all__
__all__ += stochastic.__all__


def __dir__() -> list[str]:
    """What is meant to be used: the modules behind these names are no part of the interface."""
    return sorted({name for name in globals() if name.startswith("__")} | {*__all__})
