"""The cross entropy of an affine map of x, a few rows at a time: the logits of all rows never exist together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from purenet.checks import integer
from purenet.linear.products import affine_params
from purenet.losses.cross_entropy import checked_options, softmax_cross_entropy, softmax_cross_entropy_bwd
from purenet.losses.labels import class_labels
from purenet.losses.reductions import Reduction
from purenet.op import Array, Op

__all__ = ["linear_cross_entropy"]


class Rows(NamedTuple):
    """Residuals: what the logits of a chunk are computed from, once more in the backward pass."""

    x: Array
    """(N, D), 0 in ignored rows, which may hold anything."""
    w: Array
    b: Array | None
    labels: Array
    factor: Array
    smoothing: float
    chunk: int
    leading: tuple[int, ...]
    by: Reduction

    def chunks(self) -> Iterator[tuple[slice, Any]]:
        """The rows of each chunk, and the loss of each of them with its residuals."""
        for start in range(0, len(self.x), self.chunk):
            rows = slice(start, start + self.chunk)
            logits = self.x[rows] @ self.w
            if self.b is not None:
                logits += self.b
            yield (
                rows,
                softmax_cross_entropy.forward(
                    logits,
                    labels=self.labels[rows],
                    weight=self.factor,
                    label_smoothing=self.smoothing,
                    reduction="none",
                ),
            )


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
    Math, of each chunk of rows, with dl the cotangent of the loss of each row:
        l   = softmax_cross_entropy of the logits z = x w + b
        dz  = its cotangent for dl;  dx = dz w^T,  dw = the sum over the chunks of x^T dz,  db = the sum over all rows of dz
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
    factor, smoothing = checked_options(op, logits, weight, label_smoothing, reduction)
    t, kept = class_labels(op, labels, ignore_index, logits=logits)
    kept = np.ones(t.shape, bool) if kept is None else kept
    count = math.prod(leading)
    flat, counts = t.reshape(count), kept.reshape(count)
    own = (factor[flat] * counts).reshape(leading)
    by = Reduction(reduction, kept, own.sum())
    rows = Rows(np.where(counts[:, None], x.reshape(count, len(w)), 0), w, b, flat, factor, smoothing, chunk, leading, by)
    losses = np.empty(count, x.dtype)
    for some, (values, _) in rows.chunks():
        losses[some] = values
    return by.value(losses.reshape(leading)), rows


@linear_cross_entropy.pullback
def linear_cross_entropy_bwd(rows: Rows, dy: Array) -> tuple[dict[str, Array], Array]:
    dl = rows.by.cotangent(dy).reshape(len(rows.x))
    dx, dw, db = np.zeros_like(rows.x), np.zeros_like(rows.w), np.zeros(rows.w.shape[1], dy.dtype)
    for some, (_, saved) in rows.chunks():
        (dz,) = softmax_cross_entropy_bwd(saved, dl[some])
        dx[some] = dz @ rows.w.T
        dw += rows.x[some].T @ dz
        db += dz.sum(axis=0)
    return {"w": dw} if rows.b is None else {"w": dw, "b": db}, dx.reshape(*rows.leading, len(rows.w))
