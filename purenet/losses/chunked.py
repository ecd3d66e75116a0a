"""The cross entropy of an affine map of x, a few rows at a time: the logits of all rows never exist together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from purenet.activations.normalized import log_softmax
from purenet.checks import integer
from purenet.linear.products import affine_params
from purenet.losses.cross_entropy import checked_options, of_classes
from purenet.losses.labels import class_labels
from purenet.losses.reductions import Reduction, product
from purenet.op import Array, Op

__all__ = ["linear_cross_entropy"]


class Rows(NamedTuple):
    """Residuals: what the probabilities of a chunk are computed from, once more in the backward pass."""

    x: Array
    """(N, D), 0 in ignored rows, which may hold anything."""
    w: Array
    b: Array | None
    labels: Array
    log_total: Array
    """Of each row: the logarithm of the sum of the exponentials of its logits."""
    log_probability: Array
    """Of the label."""
    own: Array
    """The target of the label of each row, beside what smoothing gives to every class."""
    every: Array
    """The target that smoothing gives to each class."""
    chunk: int
    shape: tuple[int, ...]
    """Of x as it was given."""
    by: Reduction

    def chunks(self) -> Iterator[slice]:
        """The rows of each chunk."""
        return (slice(start, start + self.chunk) for start in range(0, len(self.x), self.chunk))

    def logits(self, some: slice) -> Array:
        """Those of some rows."""
        z = self.x[some] @ self.w
        return z if self.b is None else z + self.b


@Op
def linear_cross_entropy(
    params: dict[str, Array],
    x: Array,
    *,
    labels: Array,
    weight: Array | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    chunk: int = 1024,
) -> tuple[Array, Rows]:
    """The cross entropy between labels and the softmax of x @ w + b, which is computed `chunk` rows at a time.

    The value and the gradients are those of softmax_cross_entropy after affine. At most chunk x K logits exist at a time, and
    the backward pass computes them again.

    Shapes: w (D, K), b (K,), which may be absent, x (..., D), labels (...) integers, weight (K,) -> y (), or (...) without
        reduction
    Math, of each row of a chunk, with the logits z = x w + b, L = log(sum exp(z)), log p = z - L, and the targets r of
    softmax_cross_entropy for the label t, (1 - e) w_t [k = t] + w_k e/K:
        l   = -sum_k r_k log p_k
        dz  = dl (p sum_k r_k - r), where p = exp(z - L) and, at the label, p_t - 1 = expm1(log p_t)
        dx  = dz w^T,  dw = the sum over the chunks of x^T dz,  db = the sum over all rows of dz
    Errors: those of affine and softmax_cross_entropy; TypeError unless labels are integers; ValueError unless `chunk` is at
        least 1.
    Source: Wijmans et al., Cut your losses in large-vocabulary language models (2024). Conventions: as softmax_cross_entropy,
        with weights [in, out] as in affine, where torch has [out, in]; classes are not divided into chunks, rows are, as in
        Liger Kernel.

    >>> import numpy as np, purenet as pn
    >>> params = {"w": np.log([[1.0, 1.0, 2.0]])}
    >>> losses = pn.linear_cross_entropy(params, np.ones((2, 1)), labels=np.array([2, 0]), reduction="none", chunk=1)
    >>> np.exp(-losses).round(12)
    array([0.5 , 0.25])
    """
    op = "linear_cross_entropy"
    w, b = affine_params(op, params, x)
    chunk = integer(op, "chunk", chunk, 1)
    leading = x.shape[:-1]
    logits = np.broadcast_to(np.zeros((), x.dtype), (*leading, w.shape[1]))  # of all rows: a shape only
    weights, smoothing = checked_options(op, logits, weight, label_smoothing, reduction)
    factor = of_classes(weights, logits)
    t, kept = class_labels(op, labels, ignore_index, logits=logits)
    kept = np.ones(t.shape, bool) if kept is None else kept
    count = math.prod(leading)
    flat, counts = t.reshape(count), kept.reshape(count)
    total = (factor[flat] * counts).reshape(leading).sum()
    rows = Rows(
        x=np.where(counts[:, None], x.reshape(count, len(w)), 0),
        w=w,
        b=b,
        labels=flat,
        log_total=np.empty(count, x.dtype),
        log_probability=np.empty(count, x.dtype),
        own=(1 - smoothing) * factor[flat],
        every=smoothing / max(w.shape[1], 1) * factor,
        chunk=chunk,
        shape=x.shape,
        by=Reduction(reduction, kept, total),
    )
    losses = np.empty(count, x.dtype)
    for some in rows.chunks():
        z = rows.logits(some)
        log_p, _ = log_softmax.forward(z)
        rows.log_total[some] = z.max(axis=1) - log_p.max(axis=1)
        rows.log_probability[some] = log_p[np.arange(len(log_p)), flat[some]]
        losses[some] = -product(rows.every, log_p).sum(axis=1) - product(rows.own[some], rows.log_probability[some])
    return rows.by.value(losses.reshape(leading)), rows


@linear_cross_entropy.pullback
def linear_cross_entropy_bwd(rows: Rows, dy: Array) -> tuple[dict[str, Array], Array]:
    dl = rows.by.cotangent(dy).reshape(len(rows.x))
    others = rows.every.sum() - rows.every[rows.labels]  # the targets of the other classes
    targets = rows.own + rows.every.sum()
    at_label = targets * np.expm1(rows.log_probability) + others  # p_t sum r - r_t, with all the digits of p_t - 1
    dx, dw, db = np.empty_like(rows.x), np.zeros_like(rows.w), np.zeros(rows.w.shape[1], dy.dtype)
    for some in rows.chunks():
        p = np.exp(rows.logits(some) - rows.log_total[some, None])
        dz = targets[some, None] * p - rows.every
        t = rows.labels[some]
        dz[np.arange(t.size), t] = at_label[some]
        dz *= dl[some, None]
        dx[some] = dz @ rows.w.T
        dw += rows.x[some].T @ dz
        db += dz.sum(axis=0)
    return {"w": dw} if rows.b is None else {"w": dw, "b": db}, dx.reshape(rows.shape)
