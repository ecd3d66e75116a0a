"""Losses over a few classes drawn from many, instead of all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import choice, indices
from purenet.linear.lookup import check_hidden, embedding_dot, embedding_dot_bwd, table_and_ids
from purenet.losses.binary import sigmoid_binary_cross_entropy, sigmoid_binary_cross_entropy_bwd
from purenet.losses.reductions import REDUCTIONS, reduce, spread
from purenet.op import Array, Op

__all__ = ["negative_sampling_loss"]


@Op
def negative_sampling_loss(
    params: dict[str, Array], h: Array, *, targets: Array, negatives: Array, reduction: str = "mean"
) -> tuple[Array, Any]:
    """The loss of telling the target row of a table from K sampled ones by their inner products with h.

    Shapes: w (V, D), h (..., D), targets (...), negatives (..., K) -> y (), or (...) without reduction
    Math, of each of the N rows of h, with the sigmoid s and the inner products z of embedding_dot:
        l  = -log s(z_target) - sum_k log s(-z_k)
        dz_target = -dl s(-z_target),  dz_k = dl s(z_k),  dl = dy / N, and on as in embedding_dot
        reduction "sum" has no 1/N, "none" no sum either
    Errors: TypeError unless targets and negatives are integers; ValueError for one outside 0..V-1, where the shapes do not
        match, or for another reduction.
    Source: Mikolov et al., Distributed representations of words and phrases (2013). Conventions: the sampled rows are inputs,
        and one that happens to be the target counts; the original program leaves it out.

    >>> import numpy as np, purenet as pn
    >>> w, h = np.log([[3.0], [7.0], [1.0]]), np.array([[1.0]])
    >>> loss = pn.negative_sampling_loss({"w": w}, h, targets=np.array([0]), negatives=np.array([[1, 2]]))
    >>> float(np.exp(-loss).round(12)), 3 / 4 * 1 / 8 * 1 / 2
    (0.046875, 0.046875)
    """
    name = "negative_sampling_loss"
    choice(name, "reduction", reduction, REDUCTIONS)
    w, targets = table_and_ids(name, params, "targets", targets)
    negatives = indices(name, "negatives", negatives, len(w))
    check_hidden(name, w, h)
    leading = h.shape[:-1]
    if targets.shape != leading:
        raise ValueError(f"{name}: targets must have shape {leading} to match h {h.shape}, got {targets.shape}")
    if negatives.shape[:-1] != leading or negatives.ndim != h.ndim:
        raise ValueError(f"{name}: negatives must have shape (*{leading}, k) to match h {h.shape}, got {negatives.shape}")
    ids = np.concatenate([targets[..., None], negatives], axis=-1)
    scores, for_scores = embedding_dot.forward(params, h, ids=ids)
    labels = np.zeros_like(scores)
    labels[..., 0] = 1
    terms, for_terms = sigmoid_binary_cross_entropy.forward(scores, labels, reduction="none")
    losses = terms.sum(axis=-1)
    return reduce(losses, reduction, losses.size), (for_scores, for_terms, losses.size, reduction)


@negative_sampling_loss.pullback
def negative_sampling_loss_bwd(residuals: Any, dy: Array) -> tuple[dict[str, Array], Array]:
    for_scores, for_terms, total, reduction = residuals
    dl = spread(dy, reduction, total)
    dscores, _ = sigmoid_binary_cross_entropy_bwd(for_terms, dl[..., None])
    return embedding_dot_bwd(for_scores, dscores)
