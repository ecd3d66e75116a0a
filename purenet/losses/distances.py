"""Distances of vectors, and a loss of the angle between pairs that belong together or do not."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet import entrywise
from purenet.checks import common_shape, degree, number, same_rank
from purenet.linear.products import unbroadcast
from purenet.losses.labels import signs
from purenet.losses.pairs import Pairs, distances, distances_bwd
from purenet.losses.reductions import Mask, Weight, rows_of
from purenet.losses.similarity import Directions, cosine_similarity_bwd
from purenet.op import Array, Op
from purenet.reductions.moments import norm, norm_bwd

__all__ = ["cdist", "cosine_embedding_loss", "pairwise_distance"]

PLAIN = 400
"""Differences up to which the formula of `cdist` is computed as it stands. The measured time, in units of that of `distances`:
0.8 for 128, 0.9 for 500, 1.6 for 8,000, 9 for four million. The bound is low so that cases of the catalogue take both ways."""


@Op
def pairwise_distance(x1: Array, x2: Array, *, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> tuple[Array, Any]:
    """The distance of each vector of x1 from that of x2, along the last axis, by the norm of degree p.

    Shapes: x1 (..., K), x2 (..., K), which broadcast, K and all -> y (...), or (..., 1) with keepdims
    Math, with the differences e = x1 - x2 + eps:
        y   = (sum_k |e_k|^p)^(1/p),  max_k |e_k| for p = infinity
        dx1 = dy sign(e) (|e| / y)^(p - 1), shared by the largest for p = infinity;  dx2 = -dx1, each summed where broadcast
    Errors: ValueError where the shapes do not broadcast or neither has an axis, for a p below 1, or a negative eps.
    Source: torch.nn.functional.pairwise_distance. Conventions: torch's, whose option is keepdim, and which takes a p below 1.
        With eps = 0 the slope is 0 at equal vectors (JAX: NaN), and for p = 1 at equal entries (JAX: 1).

    >>> import numpy as np, purenet as pn
    >>> pn.pairwise_distance(np.array([[3.0, 4.0], [0.0, 1.0]]), np.zeros(2), eps=0.0)
    array([5., 1.])
    """
    name = "pairwise_distance"
    p, eps = degree(name, "p", p), number(name, "eps", eps, low=0)
    if common_shape(name, x1=x1.shape, x2=x2.shape) == ():
        raise ValueError(f"{name}: x1 or x2 must have shape (..., features), got () and ()")
    y, saved = norm.forward(x1 - x2 + eps, ord=p, axis=-1, keepdims=keepdims)
    return y, (saved, x1.shape, x2.shape)


@pairwise_distance.pullback
def pairwise_distance_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    saved, shape1, shape2 = residuals
    (d,) = norm_bwd(saved, dy)
    return unbroadcast(d, shape1), unbroadcast(-d, shape2)


@Op
def cdist(x1: Array, x2: Array, *, p: float = 2.0) -> tuple[Array, Any]:
    """The distance of every row of x1 from every row of x2, by the norm of degree p.

    Shapes: x1 (..., M, K), x2 (..., N, K), whose leading axes broadcast -> y (..., M, N)
    Math, with the differences e_mn = x1_m - x2_n:
        y_mn  = (sum_k |e_mnk|^p)^(1/p),  max_k |e_mnk| for p = infinity
        dx1_m = sum_n d_mn,  dx2_n = -sum_m d_mn,  d = dy sign(e) (|e| / y)^(p - 1), shared by the largest for p = infinity
    Errors: ValueError unless both have rows of one length and leading axes that broadcast, or for a p below 1.
    Source: torch.cdist. Conventions: torch's, which takes a p below 1, and beyond 25 rows computes squares of distances by a
        matrix product, with fewer digits. The slope is 0 at equal rows (JAX: NaN), and for p = 1 at equal entries (JAX: 1).

    >>> import numpy as np, purenet as pn
    >>> pn.cdist(np.array([[0.0, 0.0], [3.0, 0.0]]), np.array([[0.0, 4.0], [3.0, 0.0], [6.0, 8.0]]))
    array([[ 4.        ,  3.        , 10.        ],
           [ 5.        ,  0.        ,  8.54400375]])
    """
    name = "cdist"
    p = degree(name, "p", p)
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ValueError(f"{name}: x1 and x2 must have shapes (..., rows, features), got {x1.shape} and {x2.shape}")
    first, second = x1[..., :, None, :], x2[..., None, :, :]
    common_shape(name, **{"the leading axes of x1": x1.shape[:-2], "of x2": x2.shape[:-2]})
    if p == 2 and x1.ndim == x2.ndim == 2 and len(x1) * x2.size > PLAIN and (found := distances(x1, x2)) is not None:
        return found
    y, saved = norm.forward(first - second, ord=p, axis=-1)
    return y, (saved, x1.shape, x2.shape)


@cdist.pullback
def cdist_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    if isinstance(residuals, Pairs):
        return distances_bwd(residuals, dy)
    saved, shape1, shape2 = residuals
    (d,) = norm_bwd(saved, dy)
    return unbroadcast(d.sum(axis=-2), shape1), unbroadcast(-d.sum(axis=-3), shape2)


@Op
def cosine_embedding_loss(
    input1: Array,
    input2: Array,
    *,
    labels: Array,
    margin: float = 0.0,
    epsilon: float = 0.0,
    where: Mask = None,
    weight: Weight = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """One minus the cosine for pairs that belong together, and how far it exceeds a margin for the others.

    Shapes: input1 (..., K), input2 (..., K), labels (...) integers, whose rows broadcast, where to the inputs, weight to the
        rows -> y (), or (...) without reduction
    Math, of each of N rows a, b, with the cosine c and its slopes as in cosine_similarity:
        l  = 1 - c where the label is 1, max(0, c - margin) where it is -1
        dc = -dl where the label is 1, else dl where c > margin, half of it at the margin, else 0,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: TypeError unless labels are integers; ValueError unless they are 1 or -1, unless both inputs have the same number of
        axes and K and labels an axis less, where the rows do not broadcast, for a margin outside [-1, 1], a negative epsilon or
        weight, or for another reduction.
    Source: torch.nn.functional.cosine_embedding_loss. Conventions: as cosine_similarity, epsilon bounds the squares of the
        lengths; torch adds 1e-12 to them. It has all of the slope at the margin.

    >>> import numpy as np, purenet as pn
    >>> a, b = np.array([[3.0, 4.0]] * 3), np.array([[4.0, 3.0], [4.0, 3.0], [-4.0, 3.0]])
    >>> pn.cosine_embedding_loss(a, b, labels=np.array([1, -1, -1]), margin=0.5, reduction="none").round(12)
    array([0.04, 0.46, 0.  ])
    """
    name = "cosine_embedding_loss"
    margin, epsilon = number(name, "margin", margin, -1, 1), number(name, "epsilon", epsilon, low=0)
    labels = signs(name, labels)
    same_rank(name, input1=input1, input2=input2)
    if labels.ndim != input1.ndim - 1:
        raise ValueError(f"{name}: labels must have an axis less than input1 {input1.shape}, got shape {labels.shape}")
    if input1.shape[-1:] != input2.shape[-1:]:
        raise ValueError(f"{name}: input2 must have rows as long as those of input1 {input1.shape}, got shape {input2.shape}")
    rows = {"the rows of input1": input1.shape[:-1], "of input2": input2.shape[:-1], "labels": labels.shape}
    common_shape(name, **rows)
    arrays = {"input1": input1, "input2": input2, "labels": labels[..., None]}
    by, along, (*inputs, _) = rows_of(name, reduction, weight, where, -1, **arrays)
    a, b = (Directions.of(x, along, epsilon) for x in inputs)
    cosine = (a.unit * b.unit).sum(axis=-1)
    together, excess = labels == 1, cosine - margin
    slope = np.where(together, -1, entrywise.step(excess))
    return by.value(np.where(together, 1 - cosine, entrywise.at_least(excess, 0))), (a, b, along, slope[..., None], by)


@cosine_embedding_loss.pullback
def cosine_embedding_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    return cosine_similarity_bwd(residuals, dy)
