"""Rows of a table by their number: embeddings, and ops that use only some rows of a table.

Numbers of rows are keyword-only, because they are not differentiated. In a pullback rows that are named several times
accumulate: the product of a sparse matrix of ones, one per name, with the cotangents.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from purenet.checks import array_of, choice, fields, indices
from purenet.op import Array, Op
from purenet.scipy_parts import csr_array

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["embedding", "embedding_bag", "embedding_dot", "one_hot", "unembedding"]

MODES = ("sum", "mean", "max")


@Op
def embedding(
    params: dict[str, Array], *, ids: Array, padding_idx: int | None = None, scale_grad_by_freq: bool = False
) -> tuple[Array, Any]:
    """The rows of a table that `ids` name.

    Shapes: w (V, D), ids (...) -> y (..., D)
    Math:
        y     = w[ids]
        dw[v] = the sum of the dy where ids = v; 0 for v = padding_idx; over their number with scale_grad_by_freq
    Errors: TypeError unless `ids` are integers; ValueError for an id or padding_idx outside 0..V-1.
    Source: Bengio et al., A neural probabilistic language model (2003). Conventions: negative ids do not wrap (NumPy) and ids
        out of range do not give NaN (jnp.take), they raise. padding_idx and scale_grad_by_freq are torch's: they change the
        gradient and not the value, so that it is no longer the derivative. A negative padding_idx raises (torch counts from
        the end).

    >>> import numpy as np, purenet as pn
    >>> w = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> y, pullback = pn.vjp(pn.embedding, {"w": w}, ids=np.array([2, 0, 2]))
    >>> y[0], pullback(np.ones((3, 2)))[0]["w"][2]
    (array([5., 6.]), array([2., 2.]))
    """
    w, ids = table_and_ids("embedding", params, "ids", ids)
    padding = None if padding_idx is None else _one_id("embedding", "padding_idx", padding_idx, len(w))
    return w[ids], (w.shape, ids, padding, scale_grad_by_freq)


@embedding.pullback
def embedding_bwd(residuals: Any, dy: Array) -> tuple[dict[str, Array]]:
    shape, ids, padding, by_frequency = residuals
    dw = _gathered(dy, ids, shape)
    if by_frequency:
        dw /= np.maximum(np.bincount(ids.reshape(-1), minlength=len(dw)), 1).astype(dw.dtype)[:, None]
    if padding is not None:
        dw[padding] = 0
    return ({"w": dw},)


@Op
def embedding_dot(params: dict[str, Array], h: Array, *, ids: Array) -> tuple[Array, Any]:
    """The inner products of h with the rows of a table that `ids` name: the logits of a few classes out of many.

    Shapes: w (V, D), h (..., D), ids (...) -> y (...); or ids (..., K) -> y (..., K), K rows for each h
    Math:
        y_k   = w[ids_k] . h
        dh    = sum_k dy_k w[ids_k],  dw[v] = the sum of dy h where ids = v
    Errors: TypeError unless `ids` are integers; ValueError for an id outside 0..V-1 or where the shapes do not match.
    Source: Saito, Deep Learning from Scratch 2 (2018), EmbeddingDot. Conventions: as embedding; several rows at once.

    >>> import numpy as np, purenet as pn
    >>> w = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> pn.embedding_dot({"w": w}, np.array([[1.0, 10.0]]), ids=np.array([[2, 0]]))
    array([[65., 21.]])
    """
    w, ids = table_and_ids("embedding_dot", params, "ids", ids)
    check_hidden("embedding_dot", w, h)
    leading = h.shape[:-1]
    if ids.shape[: len(leading)] != leading or ids.ndim > len(leading) + 1:
        raise ValueError(
            f"embedding_dot: ids must have shape {leading} or (*{leading}, k) to match h {h.shape}, got {ids.shape}"
        )
    single = ids.ndim == len(leading)
    columns = w[ids[..., None] if single else ids]
    y = (columns @ h[..., None])[..., 0]
    return y[..., 0] if single else y, (w, h, ids, single)


@embedding_dot.pullback
def embedding_dot_bwd(residuals: Any, dy: Array) -> tuple[dict[str, Array], Array]:
    w, h, ids, single = residuals
    if single:
        ids, dy = ids[..., None], dy[..., None]
    dh = (dy[..., None, :] @ w[ids])[..., 0, :]
    return {"w": _gathered(dy[..., None] * h[..., None, :], ids, w.shape)}, dh


@Op
def unembedding(params: dict[str, Array], h: Array) -> tuple[Array, Any]:
    """The inner products of h with all rows of a table: the logits of every word, with the table that embeds them.

    Shapes: w (V, D), h (..., D) -> y (..., V)
    Math, sums over the leading dimensions:
        y  = h w^T
        dh = dy w,  dw = sum of dy^T h
    Errors: ValueError where h or w has another shape.
    Source: Press and Wolf, Using the output embedding to improve language models (2017). Conventions: the parameters are those
        of embedding, so that both can be tied, `pn.tied(net, head="embedding")`. flax calls it Embed.attend.

    >>> import numpy as np, purenet as pn
    >>> pn.unembedding({"w": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])}, np.array([[1.0, 10.0]]))
    array([[21., 43., 65.]])
    """
    (w,) = fields("unembedding", params, "w")
    _check_table("unembedding", w)
    check_hidden("unembedding", w, h)
    return h @ w.T, (w, h)


@unembedding.pullback
def unembedding_bwd(residuals: Any, dy: Array) -> tuple[dict[str, Array], Array]:
    w, h = residuals
    rows = math.prod(h.shape[:-1])
    return {"w": dy.reshape(rows, len(w)).T @ h.reshape(rows, w.shape[1])}, dy @ w


@Op
def embedding_bag(
    params: dict[str, Array], *, ids: Array, offsets: Array | None = None, mode: str = "mean", padding_idx: int | None = None
) -> tuple[Array, Any]:
    """The sum, mean or maximum of the rows of a table that each bag of ids names; 0 for an empty bag.

    The bags are the rows of `ids`, or the stretches of a flat `ids` that start at `offsets`. The id `padding_idx` does not
    count.

    Shapes: w (V, D), ids (B, L) or (T,) with offsets (B,) -> y (B, D)
    Math, over the ids of a bag, n of them:
        y     = sum w[ids], or over n, or the maximum of each column
        dw[v] = the sum of dy, or dy / n, where ids = v; of the maximum, dy shared evenly by the ids that attain it
    Errors: TypeError unless `ids` and `offsets` are integers; ValueError for an id outside 0..V-1, offsets that do not ascend
        from 0 to at most T, or another mode.
    Source: Joulin et al., Bag of tricks for efficient text classification (2017). Conventions: torch's, except that ties of a
        maximum share (torch: the first).

    >>> import numpy as np, purenet as pn
    >>> w = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]])
    >>> pn.embedding_bag({"w": w}, ids=np.array([0, 2, 1]), offsets=np.array([0, 2, 2]))
    array([[3., 1.],
           [0., 0.],
           [3., 4.]])
    """
    choice("embedding_bag", "mode", mode, MODES)
    w, ids = table_and_ids("embedding_bag", params, "ids", ids)
    ids, bags, count = _bagged(ids, offsets)
    if padding_idx is not None:
        kept = ids != _one_id("embedding_bag", "padding_idx", padding_idx, len(w))
        ids, bags = ids[kept], bags[kept]
    if mode == "max":
        rows = w[ids]
        y = np.zeros((count, w.shape[1]), w.dtype)
        starts = np.flatnonzero(np.diff(bags, prepend=-1))
        if starts.size:
            y[bags[starts]] = np.maximum.reduceat(rows, starts, axis=0)
        largest = (rows == y[bags]).astype(w.dtype)
        return y, (w.shape, ids, bags, largest / np.maximum(_gathered(largest, bags, y.shape)[bags], 1))
    factor = np.ones(len(ids), w.dtype)
    if mode == "mean":
        factor /= np.bincount(bags, minlength=count)[bags]
    y = csr_array((factor, (bags, ids)), shape=(count, len(w))) @ w
    return np.asarray(y), (w.shape, ids, bags, factor[:, None])


@embedding_bag.pullback
def embedding_bag_bwd(residuals: Any, dy: Array) -> tuple[dict[str, Array]]:
    shape, ids, bags, share = residuals
    return ({"w": _gathered(share * dy[bags], ids, shape)},)


def one_hot(x: Array, num_classes: int, *, dtype: DTypeLike = np.float64, axis: int = -1) -> Array:
    """Vectors that are 1 at the class `x` and 0 elsewhere; all 0 for a class outside 0..num_classes-1.

    Shapes: x (...) integers -> (..., num_classes), or with the classes at `axis`
    Math: y_k = 1 where k = x, else 0.
    Errors: TypeError unless `x` and `num_classes` are integers; ValueError for a negative num_classes or an axis out of range.
    Source: jax.nn.one_hot. Conventions: a function and not an Op, there is nothing to differentiate; torch raises for a class
        out of range, and JAX's default dtype is float32 unless its x64 flag is set.

    >>> import numpy as np, purenet as pn
    >>> pn.one_hot(np.array([2, 0, -1]), 3)
    array([[0., 0., 1.],
           [1., 0., 0.],
           [0., 0., 0.]])
    """
    classes = _integers("one_hot", "x", x)
    if isinstance(num_classes, bool) or not isinstance(num_classes, int | np.integer):
        raise TypeError(f"one_hot: num_classes must be an integer, got {type(num_classes).__name__}")
    if num_classes < 0:
        raise ValueError(f"one_hot: num_classes must be at least 0, got {num_classes}")
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        raise TypeError(f"one_hot: axis must be an integer, got {type(axis).__name__}")
    if not -classes.ndim - 1 <= axis <= classes.ndim:
        raise ValueError(f"one_hot: axis must be one of the {classes.ndim + 1} axes of the result, got {axis}")
    axis = axis % (classes.ndim + 1)
    along = np.arange(num_classes).reshape(num_classes, *(1,) * (classes.ndim - axis))
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"one_hot: dtype must be a NumPy dtype, got {dtype!r}") from None
    return np.asarray((np.expand_dims(classes, axis) == along).astype(kind))


def _gathered(rows: Array, ids: Array, shape: tuple[int, ...]) -> Array:
    """The adjoint of indexing an array of this shape: the sum of the rows with each id, 0 where there is none."""
    count = ids.size
    ones = np.ones(count, rows.dtype)
    matrix = csr_array((ones, ids.reshape(-1), np.arange(count + 1)), shape=(count, shape[0]))
    return np.asarray(matrix.T @ rows.reshape(count, math.prod(shape[1:])))


def _bagged(ids: Array, offsets: Any) -> tuple[Array, Array, int]:
    """All ids in one row, the bag of each, and the number of bags."""
    if offsets is None:
        if ids.ndim != 2:
            raise ValueError(f"embedding_bag: ids must have shape (bags, length), or (ids,) with offsets, got {ids.shape}")
        return ids.reshape(-1), np.repeat(np.arange(len(ids)), ids.shape[1]), len(ids)
    starts = _integers("embedding_bag", "offsets", offsets)
    if ids.ndim != 1 or starts.ndim != 1:
        raise ValueError(f"embedding_bag: with offsets, ids and offsets must be vectors, got {ids.shape} and {starts.shape}")
    ends = np.append(starts, len(ids))
    if ends[0] != 0 or np.any(ends[1:] < ends[:-1]):
        raise ValueError(f"embedding_bag: offsets must ascend from 0 to at most {len(ids)}, the number of ids, got {starts}")
    return ids, np.repeat(np.arange(len(starts)), np.diff(ends)), len(starts)


# ------------------------------------------------------------------------------------------------- checks


def table_and_ids(op: str, params: Any, name: str, ids: Any) -> tuple[Array, Array]:
    """The table and the ids."""
    (w,) = fields(op, params, "w")
    _check_table(op, w)
    return w, indices(op, name, ids, len(w))


def _check_table(op: str, w: Array) -> None:
    if w.ndim != 2:
        raise ValueError(f"{op}: params.w must have shape (rows, width), got {w.shape}")


def _one_id(op: str, name: str, value: Any, count: int) -> int:
    """`value` as the number of a row."""
    if np.ndim(_integers(op, name, value)) != 0:
        raise TypeError(f"{op}: {name} must be an integer or None, got {type(value).__name__}")
    return int(indices(op, name, value, count))


def _integers(op: str, name: str, value: Any) -> Array:
    integers = array_of(op, name, value)
    if integers.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name} must be integers, got {integers.dtype}")
    return integers


def check_hidden(op: str, w: Array, h: Array) -> None:
    if h.ndim < 1 or h.shape[-1] != w.shape[1]:
        raise ValueError(f"{op}: h must have shape (..., {w.shape[1]}) to match params.w {w.shape}, got {h.shape}")
