"""Optimizers by optax's protocol: `init` makes a state, `update` turns gradients into updates, `apply_updates` adds them.

    opt = pn.optimizers.adam(1e-3)
    state = opt.init(params)
    updates, state = opt.update(grads, state, params)
    params = pn.apply_updates(params, updates)

`transformation` holds the protocol and what composes it, `descent` and `adaptive` the optimizers.
"""

from purenet.optimizers.adaptive import AdamState, adam
from purenet.optimizers.descent import MomentumState, SgdState, momentum, sgd
from purenet.optimizers.transformation import GradientTransformation, apply_updates, chain

__all__ = [
    "AdamState",
    "GradientTransformation",
    "MomentumState",
    "SgdState",
    "adam",
    "apply_updates",
    "chain",
    "momentum",
    "sgd",
]
