"""LARS: a momentum whose steps are, in each array of parameters, a share of the length of the parameters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from purenet.checks import boolean, number
from purenet.masks import Mask, mask_of
from purenet.op import Array, Tree
from purenet.optimizers.adding import decayed_weights
from purenet.optimizers.norms import norm_of
from purenet.optimizers.transformation import GradientTransformation, Rule, by_rule, decay_rate, leaves_of
from purenet.schedules import ScalarOrSchedule

__all__ = ["LarsState", "lars"]


class LarsState(NamedTuple):
    """The number of updates made, and the velocity."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    trace: Tree


def lars(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask = None,
    trust_coefficient: float = 0.001,
    eps: float = 0.0,
    trust_ratio_mask: Mask = None,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> GradientTransformation:
    """LARS: momentum, whose steps are in each array as long as a share of the length of the parameters.

    Math, with the rate a_t of the t-th update, t = 0, 1, ..., the weights p and v_{-1} = 0, for each array:
        d   = g_t + weight_decay * p                                 where `weight_decay_mask` is false: g_t
        r   = trust_coefficient |p| / (|d| + eps)                    where |p| or |d| is 0, or `trust_ratio_mask` is false: 1
        v_t = momentum v_{t-1} - a_t r d
        u_t = v_t                                                    with nesterov: momentum v_t - a_t r d
    State: count; trace, which is v
    Errors: ValueError for a negative or infinite rate, weight_decay, eps or trust_coefficient, momentum outside [0, 1), without
        `params`, or where a mask is not a tree like the parameters or a prefix of them; TypeError where a mask holds other
        things than booleans.
    Source: You et al. (2017); optax.lars. Conventions: the paper's ratio divides by |g| + weight_decay |p|; optax's and ours by
        the length of their sum. Biases and the parameters of normalization are mostly left out by both masks.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.lars(0.5, trust_coefficient=0.1)
    >>> params = np.array([3.0, 4.0])
    >>> opt.update(np.array([0.0, 10.0]), opt.init(params), params)[0] + 0.0
    array([ 0.  , -0.25])
    """
    who = "lars"
    share, eps = number(who, "trust_coefficient", trust_coefficient, 0), number(who, "eps", eps, 0)
    keep = decay_rate(who, "momentum", momentum)
    boolean(who, "nesterov", nesterov)
    decayed = decayed_weights(who, weight_decay, weight_decay_mask)

    def read(params: Tree, count: int) -> tuple[Tree, ...]:
        if params is None:
            raise ValueError(f"{who}: params are needed: update(grads, state, params)")
        arrays, structure = leaves_of(who, "params", params)
        trusted = mask_of(who, trust_ratio_mask, params)
        # Parameters of length 0 have a ratio of 1, which those outside the mask shall have.
        lengths = [p if one else np.zeros_like(p) for p, one in zip(arrays, trusted, strict=True)]
        return structure.unflatten(lengths), *decayed(params, count)

    def rule_at(t: int, rate: float) -> Rule:
        def rule(g: Array, p: Array, *others: Array) -> tuple[Array, Array]:
            *decay, v = others
            d = sum(decay, g)
            length, own = norm_of(p), norm_of(d)
            step = -rate * (share * length / (own + eps) if length and own else 1.0) * d
            v = keep * v + step
            return (keep * v + step if nesterov else v.copy()), v

        return rule

    return by_rule(who, LarsState, learning_rate, rule_at, ("trace",), read=read, entrywise=False)
