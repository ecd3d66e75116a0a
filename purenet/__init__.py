"""Layers, losses and optimizers as stateless pure functions in NumPy: parameters in, gradients out.

    import purenet as pn

    net = pn.chain(affine1=pn.affine, relu1=pn.relu, affine2=pn.affine)
    goal = pn.chain(net=net, loss=pn.softmax_cross_entropy)
    value, residuals = goal.fwd(params, x, loss={"labels": labels})
    grads, dx = goal.bwd(residuals, 1.0)

The protocol is explained in `purenet.op`; read it first. Every public op of every family is `pn.<name>`; so, as in NumPy,
`pn.abs`, `pn.sum`, `pn.max`, `pn.min` and `pn.slice` are not Python's.

What trains a net, such as `pn.optimizers`, is a quarter of the modules. It is imported when it is first used.
"""

# The `__all__` of each family lists its public names; a second list of 150 names here could differ from them.
# ruff: noqa: F403

from importlib import import_module
from typing import TYPE_CHECKING, Any

from purenet import (
    activations,
    attention,
    convolution,
    draws,
    elementwise,
    linear,
    losses,
    normalization,
    penalties,
    pooling,
    random,
    recurrent,
    reductions,
    shaping,
    stochastic,
)
from purenet.activations import *
from purenet.attention import *
from purenet.combinators import chain, parallel, residual, tied
from purenet.convolution import *
from purenet.draws import *
from purenet.elementwise import *
from purenet.linear import *
from purenet.losses import *
from purenet.normalization import *
from purenet.op import Op, Residuals, vjp
from purenet.penalties import *
from purenet.pooling import *
from purenet.recurrent import *
from purenet.reductions import *
from purenet.shaping import *
from purenet.stochastic import *
from purenet.tuples import first

if TYPE_CHECKING:
    from purenet import checkpoints, data, initializers, metrics, models, optimizers, schedules, training
    from purenet.metrics import accuracy
    from purenet.optimizers import apply_updates

__version__ = "0.2.0"

_MODULES = ("checkpoints", "data", "initializers", "metrics", "models", "optimizers", "schedules", "training")
_HOME = {"accuracy": "purenet.metrics", "apply_updates": "purenet.optimizers"}

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


if not TYPE_CHECKING:  # a type checker that sees this function would accept any name

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return import_module(f"purenet.{name}")
        if name not in _HOME:
            raise AttributeError(f"module 'purenet' has no attribute {name!r}")
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """What is meant to be used: the modules behind these names are no part of the interface."""
    return sorted({name for name in globals() if name.startswith("__")} | {*__all__})
