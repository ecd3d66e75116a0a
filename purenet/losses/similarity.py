"""Losses between vectors: by the angle between them, and by their distance."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet import entrywise
from purenet.activations.normalized import logsumexp, logsumexp_bwd
from purenet.checks import array_of, number, same_rank
from purenet.losses.reductions import Axis, Mask, Weight, of_arguments, reduction_of, rows_of
from purenet.op import Array, Op
from purenet.scipy_parts import expit

__all__ = ["contrastive_loss", "cosine_distance", "cosine_similarity", "ntxent", "triplet_margin_loss"]


@Op
def cosine_similarity(
    predictions: Array,
    targets: Array,
    *,
    epsilon: float = 0.0,
    axis: Axis = -1,
    where: Mask = None,
    weight: Weight = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """The cosine of the angle between predictions and targets along `axis`, averaged over the rows.

    Shapes: predictions (..., K, ...), targets the same, which broadcast, where to them, weight to the rows -> y (),
        or (..., ...) without reduction
    Math, of each of N rows a, b with their lengths |a|, |b| (at least sqrt(epsilon)):
        l  = a b / (|a| |b|)
        da = dl (b/|b| - l a/|a|) / |a|, without the second term where |a| is cut off;  db alike,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a negative epsilon or weight, an `axis` that there is
        not, or another reduction; TypeError unless `where` is boolean.
    Source: Salton (1971). Conventions: optax's, which does not reduce: epsilon bounds the squares of the lengths. torch bounds
        the lengths, by 1e-8. A vector of zeros gives 0, with no gradient where epsilon is 0 (JAX: NaN). keras has the
        negative. A row without entries `where` does not count.

    >>> import numpy as np, purenet as pn
    >>> a, b = np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[6.0, 8.0], [0.0, 2.0]])
    >>> pn.cosine_similarity(a, b, reduction="none")
    array([1., 0.])
    """
    return _cosine("cosine_similarity", predictions, targets, epsilon, axis, where, weight, reduction, sign=1)


@cosine_similarity.pullback
def cosine_similarity_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    a, b, along, sign, by = residuals
    dcosine = sign * by.cotangent(dy, along)
    return of_arguments(by, a.pull(dcosine * b.unit), b.pull(dcosine * a.unit))


@Op
def cosine_distance(
    predictions: Array,
    targets: Array,
    *,
    epsilon: float = 0.0,
    axis: Axis = -1,
    where: Mask = None,
    weight: Weight = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """One minus the cosine of the angle between predictions and targets along `axis`, averaged over the rows.

    Shapes: predictions (..., K, ...), targets the same, which broadcast, where to them, weight to the rows -> y (),
        or (..., ...) without reduction
    Math, of each of N rows a, b, with the cosine c as in cosine_similarity:
        l  = 1 - c
        da = dl (c a/|a| - b/|b|) / |a|,  db alike,  dl = dy / N;  reduction "sum" has no 1/N, "none" no sum either
    Errors: as cosine_similarity: ValueError where the shapes do not broadcast, TypeError unless `where` is boolean.
    Source: Salton (1971). Conventions: as cosine_similarity; the distance to a vector of zeros is 1. torch's
        cosine_embedding_loss for pairs that belong together is this, with 1e-12 added to the squares of the lengths.

    >>> import numpy as np, purenet as pn
    >>> a, b = np.array([[0.0, 4.0], [1.0, 0.0]]), np.array([[0.0, 8.0], [0.0, 2.0]])
    >>> pn.cosine_distance(a, b, reduction="none")
    array([0., 1.])
    """
    return _cosine("cosine_distance", predictions, targets, epsilon, axis, where, weight, reduction, sign=-1)


@cosine_distance.pullback
def cosine_distance_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    return cosine_similarity_bwd(residuals, dy)


@Op
def triplet_margin_loss(
    anchors: Array,
    positives: Array,
    negatives: Array,
    *,
    axis: Axis = -1,
    norm_degree: float = 2,
    margin: float = 1.0,
    eps: float = 1e-6,
    where: Mask = None,
    weight: Weight = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """What the anchors lack to being nearer to the positives than to the negatives, by a margin.

    Shapes: anchors (..., K, ...), positives and negatives the same, which broadcast, where to them, weight to the rows -> y (),
        or (..., ...) without reduction
    Math, of each of N rows a, p, n, with the distance D(a, b) = (sum |a - b|^d + eps)^(1/d) of degree d:
        l  = max(0, D(a, p) - D(a, n) + margin)
        dp = dl h D(a, p)',  dn = -dl h D(a, n)',  da = -dp - dn,  h = [l > 0], 1/2 where the maximum is a tie
        with D(a, b)' = sign(b - a) (|a - b| / D)^(d-1),  dl = dy / N;  reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast or have not as many axes, for a degree below 1, a negative margin, eps
        or weight, an `axis` that there is not, or another reduction; TypeError unless `where` is boolean.
    Source: Balntas et al. (2016). Conventions: optax's, which does not reduce and takes no absolute value (an odd degree is no
        distance there). torch adds eps to the differences. The slope of the distance of equal vectors is 0 (JAX without
        eps: NaN).

    >>> import numpy as np, purenet as pn
    >>> anchors, positives, negatives = np.zeros((2, 2)), np.array([[3.0, 4.0], [0.0, 1.0]]), np.array([[0.0, 2.0]] * 2)
    >>> pn.triplet_margin_loss(anchors, positives, negatives, eps=0, reduction="none")
    array([4., 0.])
    """
    name = "triplet_margin_loss"
    degree, margin = number(name, "norm_degree", norm_degree, low=1), number(name, "margin", margin, low=0)
    eps = number(name, "eps", eps, low=0)
    arrays = {"anchors": anchors, "positives": positives, "negatives": negatives}
    same_rank(name, **arrays)
    by, along, (a, p, n) = rows_of(name, reduction, weight, where, axis, **arrays)
    near, dnear = _distance(p - a, along, degree, eps)
    far, dfar = _distance(n - a, along, degree, eps)
    missing = near - far + margin
    return by.value(entrywise.at_least(missing, 0)), (entrywise.step(missing), dnear, dfar, along, by)


@triplet_margin_loss.pullback
def triplet_margin_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    slope, dnear, dfar, along, by = residuals
    dl = by.cotangent(dy, along) * np.expand_dims(slope, along)
    return of_arguments(by, dl * (dfar - dnear), dl * dnear, -dl * dfar)


@Op
def contrastive_loss(
    embeddings1: Array,
    embeddings2: Array,
    *,
    labels: Array,
    margin: float = 1.0,
    weight: Weight = None,
    where: Mask = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """Draws pairs with label 1 together, and pushes pairs with label 0 apart up to a margin.

    Shapes: embeddings1 (..., K), embeddings2 (..., K), which broadcast, labels (...) integers or booleans, where broadcasts to
        the embeddings, weight to the rows -> y (), or (...) without reduction
    Math, of each of N rows a, b with the distance D = |a - b|:
        l  = D^2 / 2 where the label is 1, else max(0, margin - D)^2 / 2
        da = dl (a - b), else -dl max(0, margin - D) (a - b) / D, 0 at D = 0;  db = -da,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: TypeError unless labels are integers or booleans; ValueError unless they are 0 or 1 and have the shape of the rows,
        where the shapes of the embeddings do not broadcast, for a negative margin or weight, or for another reduction.
    Source: Hadsell, Chopra, LeCun (2006), where the label of a pair that belongs together is 0. Conventions: other libraries
        have no half. The slope at D = 0 is 0 (JAX: NaN).

    >>> import numpy as np, purenet as pn
    >>> a, b = np.zeros((3, 2)), np.array([[3.0, 4.0], [3.0, 4.0], [0.0, 2.0]])
    >>> pn.contrastive_loss(a, b, labels=np.array([1, 0, 0]), margin=4.0, reduction="none")
    array([12.5,  0. ,  2. ])
    """
    name = "contrastive_loss"
    margin, labels = number(name, "margin", margin, low=0), array_of(name, "labels", labels)
    if labels.dtype.kind not in "iub":
        raise TypeError(f"{name}: labels must be integers or booleans, got {labels.dtype}")
    arrays = {"embeddings1": embeddings1, "embeddings2": embeddings2}
    by, along, (a, b) = rows_of(name, reduction, weight, where, -1, **arrays)
    if labels.shape != a.shape[:-1]:
        raise ValueError(f"{name}: labels must have shape {a.shape[:-1]} to match embeddings1 {a.shape}, got {labels.shape}")
    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError(f"{name}: labels must be 0 or 1, got {labels[(labels != 0) & (labels != 1)][0]}")
    distance, direction = _distance(a - b, along, 2.0, 0.0)
    pull = np.where(labels == 1, distance, np.minimum(distance - margin, 0))
    return by.value(0.5 * np.square(pull)), (pull[..., None] * direction, by)


@contrastive_loss.pullback
def contrastive_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    slope, by = residuals
    da = by.cotangent(dy, (-1,)) * slope
    return of_arguments(by, da, -da)


@Op
def ntxent(embeddings: Array, *, labels: Array, temperature: float = 0.07, reduction: str = "mean") -> tuple[Array, Any]:
    """The temperature-scaled cross entropy of SimCLR: each pair of one label against the other labels, by cosine.

    Shapes: embeddings (N, K), labels (N,) integers -> y (), or (N, N) without reduction, 0 where there is no pair
    Math, of each of P pairs i != j with the same label, with the cosines c_ij and x = c / temperature:
        l_ij = -log(exp x_ij / (exp x_ij + sum over other labels k of exp x_ik))
        dx_ij = -s_ij,  dx_ik = p_ik sum_j s_ij,  s_ij = dl (1 - exp(-l_ij)),  p the softmax over other labels,  dl = dy / P
        dembeddings through the cosines, on both sides;  reduction "sum" has no 1/P, "none" no sum either
    Errors: TypeError unless labels are integers; ValueError unless embeddings have shape (N, K) and labels (N,), for a
        temperature that is not above 0, or another reduction.
    Source: Chen et al., A Simple Framework for Contrastive Learning (2020). Conventions: optax's: the other pairs of one label
        are not in the sum, and squares of lengths are at least the epsilon of the dtype. The mean over no pairs is 0
        (optax: NaN).

    >>> import numpy as np, purenet as pn
    >>> embeddings = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    >>> loss = pn.ntxent(embeddings, labels=np.array([0, 0, 1]), temperature=1 / np.log(3.0), reduction="none")
    >>> np.exp(-loss).round(12)
    array([[1.  , 0.75, 1.  ],
           [0.75, 1.  , 1.  ],
           [1.  , 1.  , 1.  ]])
    """
    name = "ntxent"
    labels, temperature = array_of(name, "labels", labels), number(name, "temperature", temperature, above=0)
    if embeddings.ndim != 2:
        raise ValueError(f"{name}: embeddings must have shape (batch, features), got {embeddings.shape}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels must be integers, got {labels.dtype}")
    n = len(embeddings)
    if labels.shape != (n,):
        raise ValueError(f"{name}: labels must have shape ({n},) to match embeddings {embeddings.shape}, got {labels.shape}")
    same = labels[:, None] == labels
    by = reduction_of(name, (n, n), embeddings.dtype, reduction, where=same & ~np.eye(n, dtype=np.bool_))
    rows = Directions.of(embeddings, (-1,), float(np.finfo(embeddings.dtype).eps))
    x = rows.unit @ rows.unit.T / temperature
    total, saved = logsumexp.forward(x, axis=-1, keepdims=True, where=~same)
    excess = total - x
    return by.value(np.logaddexp(0, excess)), (rows, expit(excess), saved, temperature, by)


@ntxent.pullback
def ntxent_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    rows, steepness, saved, temperature, by = residuals
    s = by.cotangent(dy) * steepness
    dx = logsumexp_bwd(saved, s.sum(axis=-1, keepdims=True))[0] - s
    dunit = (dx + dx.T) @ rows.unit / temperature
    return (rows.pull(dunit),)


class Directions:
    """Vectors along some axes as unit vectors, and the numbers for their derivative."""

    __slots__ = ("along", "inverse", "share", "unit")

    def __init__(self, unit: Array, along: tuple[int, ...], inverse: Array, share: Array) -> None:
        self.unit = unit
        self.along = along
        self.inverse = inverse
        """Of the lengths; 0 where they are."""
        self.share = share
        """1 where the length is its own, 0 where it is the bound, 1/2 where it is both."""

    @classmethod
    def of(cls, x: Array, along: tuple[int, ...], epsilon: float) -> Directions:
        square = np.square(x).sum(axis=along, keepdims=True)
        length = np.sqrt(np.maximum(square, epsilon))
        inverse = np.where(length == 0, 0, 1 / np.where(length == 0, 1, length))
        return cls(x * inverse, along, inverse, entrywise.step(square - epsilon))

    def pull(self, dunit: Array) -> Array:
        """The cotangent of the vectors, given that of the unit vectors: what is across them, where the length is their own."""
        across = dunit
        for _ in range(2):  # the first time leaves the rounding of what it takes away, which may be nearly all
            across = across - (across * self.unit).sum(axis=self.along, keepdims=True) * self.unit
        return np.asarray((self.share * across + (1 - self.share) * dunit) * self.inverse)


def _cosine(
    op: str, predictions: Array, targets: Array, epsilon: Any, axis: Any, where: Any, weight: Any, reduction: str, *, sign: int
) -> tuple[Array, Any]:
    """The similarity for sign 1, the distance for -1."""
    epsilon = number(op, "epsilon", epsilon, low=0)
    by, along, arrays = rows_of(op, reduction, weight, where, axis, predictions=predictions, targets=targets)
    a, b = (Directions.of(array, along, epsilon) for array in arrays)
    cosine = (a.unit * b.unit).sum(axis=along)
    return by.value(cosine if sign == 1 else 1 - cosine), (a, b, along, sign, by)


def _distance(difference: Array, along: tuple[int, ...], degree: float, eps: float) -> tuple[Array, Array]:
    """The norm (sum |difference|^degree + eps)^(1/degree), and its slope, 0 where the norm is."""
    size = np.abs(difference)
    unit = np.max(size, axis=along, keepdims=True, initial=1)  # no power of a large number can overflow
    total = ((size / unit) ** degree).sum(axis=along, keepdims=True) + eps / unit**degree
    root = total ** (1 / degree)
    relative = np.divide(size, unit * root, where=root > 0, out=np.zeros_like(size))
    return np.squeeze(unit * root, axis=along), np.sign(difference) * relative ** (degree - 1)
