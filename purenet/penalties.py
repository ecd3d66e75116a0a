"""Penalties on the size of weights, to be added to a loss.

They take the weights alone: which they are (biases and norms are usually left out) is the caller's choice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import optree

from purenet.checks import number
from purenet.op import Array, Op, Tree

__all__ = ["l1_penalty", "l2_penalty"]


@Op
def l1_penalty(weights: Tree, *, strength: float) -> tuple[Array, Any]:
    """The sum of the absolute weights times `strength`.

    Shapes: weights: a tree of arrays (...) -> y ()
    Math, with lambda = strength:
        y  = lambda sum |w|
        dw = lambda sign(w) dy, 0 at w = 0
    Errors: TypeError unless the weights are floating-point arrays; ValueError for a strength below 0 or not finite.
    Source: Tibshirani, the lasso (1996). Conventions: the slope at 0 is 0, the middle of [-1, 1], as in torch: a weight at 0
        stays there. JAX has 1. An empty tree gives 0.

    >>> import numpy as np, purenet as pn
    >>> value, pullback = pn.vjp(pn.l1_penalty, {"w": np.array([2.0, 0.0, -3.0])}, strength=0.5)
    >>> float(value), pullback(1.0)
    (2.5, ({'w': array([ 0.5,  0. , -0.5])},))
    """
    strength = number("l1_penalty", "strength", strength, low=0)
    total = sum(np.sum(np.abs(w)) for w in optree.tree_leaves(weights))
    return np.asarray(strength * total), (weights, strength)


@l1_penalty.pullback
def l1_penalty_bwd(residuals: Any, dy: Array) -> tuple[Tree]:
    weights, strength = residuals
    return (optree.tree_map(lambda w: strength * dy * np.sign(w), weights),)


@Op
def l2_penalty(weights: Tree, *, strength: float) -> tuple[Array, Any]:
    """Half the sum of the squared weights times `strength`.

    Shapes: weights: a tree of arrays (...) -> y ()
    Math, with lambda = strength:
        y  = lambda/2 sum w^2
        dw = lambda w dy
    Errors: TypeError unless the weights are floating-point arrays; ValueError for a strength below 0 or not finite.
    Source: Hoerl and Kennard, ridge regression (1970). Conventions: with the half, as in Saito, Deep Learning from Scratch
        (2016), and as torch's weight_decay acts; keras has no half. An empty tree gives 0.

    >>> import numpy as np, purenet as pn
    >>> value, pullback = pn.vjp(pn.l2_penalty, {"w": np.array([2.0, 0.0, -4.0])}, strength=0.5)
    >>> float(value), pullback(1.0)
    (5.0, ({'w': array([ 1.,  0., -2.])},))
    """
    strength = number("l2_penalty", "strength", strength, low=0)
    total = sum(np.sum(np.square(w)) for w in optree.tree_leaves(weights))
    return np.asarray(0.5 * strength * total), (weights, strength)


@l2_penalty.pullback
def l2_penalty_bwd(residuals: Any, dy: Array) -> tuple[Tree]:
    weights, strength = residuals
    return (optree.tree_map(lambda w: strength * dy * w, weights),)
