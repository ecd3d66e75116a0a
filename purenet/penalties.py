"""Penalties on the size of weights, to be added to a loss.

They take only the weights; the caller chooses which (biases and norms are usually left out). `penalized`
adds one to an Op whose value is a loss.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import optree

from purenet.arrays import is_floating
from purenet.checks import axes, number
from purenet.masks import Mask, mask_of
from purenet.op import Array, Op, Residuals, Tree
from purenet.stages import Wrapped

__all__ = [
    "elastic_net_penalty",
    "group_lasso_penalty",
    "l1_penalty",
    "l2_penalty",
    "max_norm_projection",
    "orthogonal_penalty",
    "penalized",
]

Axis: TypeAlias = int | tuple[int, ...] | None


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


@Op
def elastic_net_penalty(weights: Tree, *, strength: float, l1_ratio: float = 0.5) -> tuple[Array, Any]:
    """The l1 and the l2 penalty, mixed.

    Shapes: weights: a tree of arrays (...) -> y ()
    Math, with lambda = strength, r = l1_ratio:
        y  = lambda (r sum |w| + (1 - r)/2 sum w^2)
        dw = lambda (r sign(w) + (1 - r) w) dy
    Errors: TypeError unless the weights are floating-point arrays; ValueError for a strength below 0 or not finite, or l1_ratio
        outside [0, 1].
    Source: Zou and Hastie (2005). Conventions: scikit-learn's parameters. The slope of |w| at 0 is 0.

    >>> import numpy as np, purenet as pn
    >>> value, pullback = pn.vjp(pn.elastic_net_penalty, np.array([2.0, 0.0, -4.0]), strength=2.0, l1_ratio=0.5)
    >>> float(value), pullback(1.0)[0]
    (16.0, array([ 3.,  0., -5.]))
    """
    strength = number("elastic_net_penalty", "strength", strength, low=0)
    l1_ratio = number("elastic_net_penalty", "l1_ratio", l1_ratio, 0, 1)
    y1, by_l1 = l1_penalty.forward(weights, strength=strength * l1_ratio)
    y2, by_l2 = l2_penalty.forward(weights, strength=strength * (1 - l1_ratio))
    return np.asarray(y1 + y2), (by_l1, by_l2)


@elastic_net_penalty.pullback
def elastic_net_penalty_bwd(residuals: Any, dy: Array) -> tuple[Tree]:
    by_l1, by_l2 = residuals
    return (optree.tree_map(np.add, *l1_penalty_bwd(by_l1, dy), *l2_penalty_bwd(by_l2, dy)),)


@Op
def group_lasso_penalty(weights: Tree, *, strength: float, axis: Axis = 0) -> tuple[Array, Any]:
    """The sum of the Euclidean norms of groups of weights, each times the root of its size: whole groups become 0.

    A group is what shares its position on all axes but `axis` (an integer, several, or None for the whole array).

    Shapes: weights: a tree of arrays (...) -> y ()
    Math, with lambda = strength, over the groups g of p weights:
        y  = lambda sum_g sqrt(p) ||w_g||
        dw = lambda sqrt(p) w / ||w_g|| dy, 0 where ||w_g|| = 0
    Errors: TypeError unless the weights are floating-point arrays; ValueError for a strength below 0 or not finite, or an
        axis that an array does not have.
    Source: Yuan and Lin (2006). Conventions: axis 0 groups what leads into one unit of weights [in, out], axis 1 what
        leaves one input, axis=(1, 2, 3) one filter of a convolution. A group at 0 stays there, where JAX gives NaN.

    >>> import numpy as np, purenet as pn
    >>> w = np.array([[3.0, 0.0], [4.0, 0.0]])
    >>> value, pullback = pn.vjp(pn.group_lasso_penalty, {"w": w}, strength=2**0.5)
    >>> float(value.round(12)), pullback(1.0)[0]["w"].round(12)
    (10.0, array([[1.2, 0. ],
           [1.6, 0. ]]))
    """
    name = "group_lasso_penalty"
    strength = number(name, "strength", strength, low=0)
    norms = optree.tree_map(lambda w: _norm(name, w, axis), weights)
    leaves = zip(optree.tree_leaves(weights), optree.tree_leaves(norms), strict=True)
    total = sum(_root_of_size(w, norm) * np.sum(norm) for w, norm in leaves)
    return np.asarray(strength * total), (weights, norms, strength)


@group_lasso_penalty.pullback
def group_lasso_penalty_bwd(residuals: Any, dy: Array) -> tuple[Tree]:
    weights, norms, strength = residuals

    def slope(w: Array, norm: Array) -> Array:
        return np.asarray(strength * _root_of_size(w, norm) * dy * w / np.where(norm == 0, 1, norm))

    return (optree.tree_map(slope, weights, norms),)


@Op
def orthogonal_penalty(weights: Tree, *, strength: float) -> tuple[Array, Any]:
    """How far the columns of each matrix, or its rows if they are fewer, are from orthonormal, times `strength`.

    Shapes: weights: a tree of matrices (I, O); arrays (O, ...) are taken for (O, the rest) -> y ()
    Math, with lambda = strength:
        y  = lambda ||W^T W - 1||^2 where O <= I, lambda ||W W^T - 1||^2 where O > I
        dW = 4 lambda W (W^T W - 1) dy in both cases
    Errors: TypeError unless the weights are floating-point arrays; ValueError for a strength below 0 or not finite, or an array
        with fewer than two dimensions.
    Source: Bansal, Chen, Wang (2018), soft orthogonality. Conventions: both products have the same gradient, and their
        values differ by lambda |I - O|; the smaller one can become 0. keras penalizes the angles alone.

    >>> import numpy as np, purenet as pn
    >>> value, pullback = pn.vjp(pn.orthogonal_penalty, np.array([[2.0, 0.0], [0.0, 1.0]]), strength=0.5)
    >>> float(value), pullback(1.0)[0]
    (4.5, array([[12.,  0.],
           [ 0.,  0.]]))
    """
    strength = number("orthogonal_penalty", "strength", strength, low=0)
    excess = optree.tree_map(_excess, weights)
    total = sum(np.sum(np.square(e)) for e in optree.tree_leaves(excess))
    return np.asarray(strength * total), (weights, excess, strength)


@orthogonal_penalty.pullback
def orthogonal_penalty_bwd(residuals: Any, dy: Array) -> tuple[Tree]:
    weights, excess, strength = residuals

    def slope(w: Array, e: Array) -> Array:
        matrix = _matrix(w)
        product = matrix @ e if e.shape[0] == matrix.shape[1] else e @ matrix
        return np.asarray(4 * strength * dy * product).reshape(w.shape)

    return (optree.tree_map(slope, weights, excess),)


class PenalizedResiduals(Residuals):
    """The residuals of the loss, which these read like, and those of its penalty."""

    __slots__ = ("chosen", "penalty")

    def __init__(self, op: str, loss: Residuals, penalty: Residuals, chosen: tuple[tuple[Any, ...], ...]) -> None:
        super().__init__(op, loss, loss.dtype, loss.structure, loss.shapes, loss.differentiated)
        self.penalty = penalty
        self.chosen = chosen
        """The paths of the parameters that are penalized, in the order in which the penalty took them."""


class Penalized(Wrapped):
    """An Op to whose value a penalty of its parameters is added; made by `penalized`."""

    def __init__(self, op: Op, penalty: Op, mask: Mask) -> None:
        super().__init__(op, f"penalized({op.name}, {penalty.name})", f"{op.name} plus the {penalty.name} of its parameters.")
        self.penalty = penalty
        self.mask = mask

    @property
    def stages(self) -> dict[str, Op]:
        """Those of the Op whose value is penalized, which parameters, keywords and residuals go by."""
        return dict(getattr(self.op, "stages", {}))

    def fwd(self, *primals: Any, **options: Any) -> tuple[Any, Residuals]:
        value, inner = self._run(primals, options)
        if inner.structure is not None or inner.shapes[0] != ():
            got = "a tree" if inner.structure is not None else f"the shape {inner.shapes[0]}"
            raise ValueError(f"{self.name}: the value of {self.op.name} must be a scalar, to add a penalty to, got {got}")
        params: Tree = options.get("params", self.bound.get("params", primals[0] if primals else None))
        paths, leaves, _ = optree.tree_flatten_with_path(params)
        chosen = mask_of(self.name, self.mask, params)
        weights = {path: leaf for path, leaf, taken in zip(paths, leaves, chosen, strict=True) if taken}
        if not weights:
            raise ValueError(f"{self.name}: mask must choose at least one of the parameters")
        addition, penalty = self.penalty.fwd(list(weights.values()))
        with np.errstate(over="ignore"):  # what a dtype cannot hold is inf
            return np.asarray(value + addition), PenalizedResiduals(self.name, inner, penalty, tuple(weights))

    def bwd(self, residuals: Residuals, dy: Any) -> tuple[Any, ...]:
        if not isinstance(residuals, PenalizedResiduals) or residuals.op != self.name:
            raise TypeError(f"{self.name}: residuals must be those of {self.name}.fwd, got {type(residuals).__name__}")
        cotangents = self.op.bwd(residuals.saved, dy)
        if 0 not in residuals.differentiated:
            return cotangents
        additions = dict(zip(residuals.chosen, self.penalty.bwd(residuals.penalty, dy)[0], strict=True))
        with np.errstate(over="ignore"):
            dparams = optree.tree_map_with_path(lambda path, d: d + additions[path] if path in additions else d, cotangents[0])
        return (dparams, *cotangents[1:])


def penalized(op: Op, penalty: Op, *, mask: Mask = None) -> Penalized:
    """An Op whose value is a loss, plus a penalty of its parameters, all of them or those that a mask chooses.

    Shapes: params and x as `op` takes them -> y ()
    Math, with w the parameters that the mask chooses:
        y       = f(params, x) + penalty(w)
        dparams = those of f, and penalty'(w) dy is added to dw;  dx is that of f
    Errors: TypeError unless `op` and `penalty` are Ops, `op` of parameters and `penalty` of weights; ValueError where the
        value of `op` is no scalar, or the mask chooses nothing; those of `op`, of `penalty`, and of a mask in optimizers.
    Source: Saito, Deep Learning from Scratch (2016), section 6.4. Conventions: the strength is bound to the penalty. The mask
        is a tree of booleans like the parameters, a prefix of one, or a function of the parameters that gives it, as in
        optimizers; biases and norms are usually left out. Parameters, keywords and residuals are those of `op`.

    >>> import numpy as np, purenet as pn
    >>> loss = pn.chain(affine=pn.affine, sum=pn.sum)
    >>> op = pn.penalized(loss, pn.l2_penalty.bind(strength=0.5), mask={"affine": {"w": True, "b": False}})
    >>> params = {"affine": {"w": np.array([[2.0], [4.0]]), "b": np.array([100.0])}}
    >>> value, pullback = pn.vjp(op, params, np.array([[1.0, 0.0]]))
    >>> grads, dx = pullback(1.0)
    >>> float(value), grads["affine"]["w"], grads["affine"]["b"]  # 102 + 0.25 (4 + 16); [1, 0] + 0.5 w
    (107.0, array([[2.],
           [2.]]), array([1.]))
    """
    for name, given in (("op", op), ("penalty", penalty)):
        if not isinstance(given, Op):
            raise TypeError(f"penalized: {name} must be an Op, got {type(given).__name__}")
    if not op.takes_params:
        raise TypeError(f"penalized: op must be an Op of parameters, such as a chain, got {op.name}({', '.join(op.arguments)})")
    if penalty.arguments != ("weights",):
        raise TypeError(f"penalized: penalty must be an Op of weights, such as l2_penalty, got {penalty.name}")
    return Penalized(op, penalty, mask)


def max_norm_projection(weights: Tree, *, max_norm: float, axis: Axis = 0) -> Tree:
    """The weights with each group that is longer than `max_norm` scaled down to it: for after an update, it is not a penalty.

    A group is what shares its position on all axes but `axis` (an integer, several, or None for the whole array).

    Shapes: weights: a tree of arrays (...) -> the same
    Math: w min(1, c / ||w_g||), with c = max_norm and the Euclidean norm of the group.
    Errors: TypeError unless the weights are floating-point arrays; ValueError for a max_norm below 0 or not finite, or an
        axis that an array does not have.
    Source: Srebro and Shraibman (2005); Srivastava et al. (2014). Conventions: the nearest weights within the ball, as optax's
        projection_l2_ball of each group; keras and torch divide by the norm + 1e-7. Axis 0 is what leads into one unit of
        weights [in, out].

    >>> import numpy as np, purenet as pn
    >>> pn.max_norm_projection(np.array([[6.0, 0.3], [8.0, 0.4]]), max_norm=1.0)
    array([[0.6, 0.3],
           [0.8, 0.4]])
    """
    name = "max_norm_projection"
    max_norm = number(name, "max_norm", max_norm, above=0)

    def projected(path: Any, w: Any) -> Array:
        place = ".".join(("weights", *map(str, path)))
        if not isinstance(w, np.ndarray) or not is_floating(w.dtype):
            got = w.dtype if isinstance(w, np.ndarray) else type(w).__name__
            raise TypeError(f"{name}: {place} must be a floating-point array, got {got}")
        wide = w.astype(np.float32) if w.dtype.itemsize == 2 else w
        norm = _norm(name, wide, axis)
        long = norm > max_norm
        return np.asarray(wide * np.where(long, max_norm / np.where(long, norm, 1), 1)).astype(w.dtype)

    return optree.tree_map_with_path(projected, weights)


def _norm(op: str, w: Array, axis: Axis) -> Array:
    """The Euclidean norm of each group, with the axes kept."""
    return np.asarray(np.sqrt(np.square(w).sum(axis=axes(op, axis, w), keepdims=True)))


def _root_of_size(w: Array, norm: Array) -> float:
    """The root of the number of weights of a group."""
    return math.sqrt(w.size / max(norm.size, 1))


def _matrix(w: Array) -> Array:
    if w.ndim < 2:
        raise ValueError(f"orthogonal_penalty: weights must have at least two dimensions, got shape {w.shape}")
    return w.reshape(w.shape[0], math.prod(w.shape[1:]))


def _excess(w: Array) -> Array:
    """The smaller of W^T W and W W^T, less the identity."""
    matrix = _matrix(w)
    gram = matrix.T @ matrix if matrix.shape[1] <= matrix.shape[0] else matrix @ matrix.T
    return np.asarray(gram - np.eye(len(gram), dtype=w.dtype))
