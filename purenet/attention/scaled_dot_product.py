"""Attention of queries to keys: the mean of the values, weighted by the softmax of query times key.

A key of weight 0 has no effect: even a NaN or infinity in a masked key or value reaches neither the value nor a gradient.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from purenet import checks
from purenet.activations.normalized import probabilities, softmax_bwd
from purenet.activations.smooth import tanh_bwd
from purenet.attention.masks import causal_mask, within
from purenet.checks import integers
from purenet.linear.products import unbroadcast
from purenet.op import Array, Op
from purenet.random import check_key
from purenet.stochastic import dropout, dropout_bwd

__all__ = ["attend", "attend_bwd", "checked_dropout", "dot_product_attention", "dot_product_attention_with_bias"]

Dropping: TypeAlias = tuple[float, Array] | None
"""The rate and key of the dropout of weights, None where none is dropped."""


@Op
def dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Any = None,
    bias: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
    local_window_size: int | tuple[int, int] | None = None,
    softcap: float | None = None,
    rate: float = 0.0,
    dropout_key: Array | None = None,
) -> tuple[Array, Any]:
    """Attention: for each query and head the mean of the values, weighted by how well their keys match.

    Shapes: query (B, T, N, H), key (B, S, K, H), value (B, S, K, V) -> y (B, T, N, V); B broadcasts and all may be without it;
        K divides N, and query head n attends to key head n // (N / K); mask (true = keep) and bias (numbers) broadcast to
        (B, N, T, S)
    Math, for each head, with the kept keys s of query t, and c tanh(./c) around the product where softcap is c:
        y_t  = sum_s p_ts v_s,  p = softmax(l) over s,  l_ts = scale q_t k_s + bias_ts
        dv_s = sum_t p_ts dy_t;  dl = p (dp - sum_s p dp),  dp_ts = dy_t v_s
        dq_t = scale sum_s dl_ts k_s,  dk_s = scale sum_t dl_ts q_t;  dk and dv are sums over the heads that share them,
        all three over the batch if they were broadcast along it
        With a `dropout_key`, y and dv have dropout(p) in place of p, and dp passes through dropout.
    Errors: ValueError where the shapes do not match, K does not divide N, or for a bad option; TypeError unless `mask` is
        boolean, `bias` and `scale` are numbers and `local_window_size` integers; those of dropout for rate and key.
    Source: Vaswani et al. (2017); grouped heads: Ainslie et al. (2023). Conventions: as jax.nn, scale is 1 / sqrt(H), and with
        T != S causal is aligned at the first query and key, and so are windows (left, right). A query without keys gives 0 and
        has no gradient, as in torch; JAX gives the mean of all values. A bias of -inf masks; a bias is a constant here, see
        dot_product_attention_with_bias. softcap comes before bias and mask, as in Gemma 2. jax.nn rounds to float32 inside.
        `rate` and `dropout_key` are dropout's rate and key, of the weights (B, N, T, S); flax calls them dropout_rate and
        dropout_rng.

    >>> import numpy as np, purenet as pn
    >>> query, key = np.array([[[0.0]], [[np.log(3.0)]]]), np.array([[[0.0]], [[1.0]]])
    >>> value = np.array([[[10.0]], [[20.0]]])
    >>> pn.dot_product_attention(query, key, value).ravel().round(12)
    array([15. , 17.5])
    >>> pn.dot_product_attention(query, key, value, is_causal=True).ravel().round(12)
    array([10. , 17.5])
    """
    dropping = checked_dropout("dot_product_attention", rate, "dropout_key", dropout_key)
    return attend(
        "dot_product_attention", query, key, value, mask=mask, bias=bias, is_causal=is_causal, scale=scale,
        local_window_size=local_window_size, softcap=softcap, dropping=dropping,
    )  # fmt: skip


@dot_product_attention.pullback
def dot_product_attention_bwd(saved: Any, dy: Array) -> tuple[Array, Array, Array]:
    return attend_bwd(saved, dy)[:3]


@Op
def dot_product_attention_with_bias(
    query: Array,
    key: Array,
    value: Array,
    bias: Array,
    *,
    mask: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
    local_window_size: int | tuple[int, int] | None = None,
    softcap: float | None = None,
    rate: float = 0.0,
    dropout_key: Array | None = None,
) -> tuple[Array, Any]:
    """Attention whose bias is differentiated too: a learned one, for instance of relative positions.

    Shapes: query (B, T, N, H), key (B, S, K, H), value (B, S, K, V), bias that broadcasts to (B, N, T, S) -> y (B, T, N, V)
    Math: as dot_product_attention, and
        y_t   = sum_s p_ts v_s,  p = softmax(scale q k + bias)
        dbias = p (dp - sum_s p dp),  summed over the dimensions along which it was broadcast
    Errors: as dot_product_attention, and ValueError where bias does not broadcast.
    Source: Raffel et al., Exploring the limits of transfer learning (2020). Conventions: as dot_product_attention.

    >>> import numpy as np, purenet as pn
    >>> nothing, value = np.zeros((2, 1, 1)), np.array([[[10.0]], [[20.0]]])
    >>> y, pullback = pn.vjp(pn.dot_product_attention_with_bias, nothing, nothing, value, np.log([[1.0, 3.0]]))
    >>> y.ravel().round(12), pullback(np.ones((2, 1, 1)))[3].round(12)
    (array([17.5, 17.5]), array([[-3.75,  3.75]]))
    """
    dropping = checked_dropout("dot_product_attention_with_bias", rate, "dropout_key", dropout_key)
    return attend(
        "dot_product_attention_with_bias", query, key, value, mask=mask, bias=bias, is_causal=is_causal, scale=scale,
        local_window_size=local_window_size, softcap=softcap, dropping=dropping,
    )  # fmt: skip


@dot_product_attention_with_bias.pullback
def dot_product_attention_with_bias_bwd(saved: Any, dy: Array) -> tuple[Array, ...]:
    *cotangents, dbias = attend_bwd(saved, dy)
    return (*cotangents, unbroadcast(dbias, saved.bias_shape))


# ------------------------------------------------------------------------------------------------- the mathematics


class Attended(NamedTuple):
    """Residuals of `attend`. The keys and values of a shared head are repeated for all query heads that share it."""

    query: Array
    """Scaled, (B, N, T, H)."""
    key: Array
    """(B, N, S, H)"""
    value: Array
    """(B, N, S, V)"""
    weights: Array
    """(B, N, T, S), before dropout."""
    dropped: Any
    """The residuals of dropout; None if nothing is dropped."""
    capped: Array | None
    """The arguments of the tanh of softcap."""
    scale: float
    shared: int
    """The number K of key heads."""
    shapes: tuple[tuple[int, ...], ...]
    """Of query, key and value."""
    bias_shape: tuple[int, ...] | None


def attend(
    op: str,
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Any = None,
    bias: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
    local_window_size: Any = None,
    softcap: float | None = None,
    dropping: Dropping = None,
) -> tuple[Array, Attended]:
    """The attention of queries to keys, for any op that has these options."""
    shapes = query.shape, key.shape, value.shape
    leading = _leading(op, query, key, value)
    query, key, value = (np.broadcast_to(x, (*leading, *x.shape[-3:])) for x in (query, key, value))
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else checks.number(op, "scale", scale)
    cap = None if softcap is None else checks.number(op, "softcap", softcap, above=0)
    shape = (len(query) if query.ndim == 4 else 1, query.shape[-2], query.shape[-3], key.shape[-3])  # (B, N, T, S)
    added = None if bias is None else _bias(op, bias, shape, query.dtype)
    kept = _kept(op, shape, mask, is_causal, local_window_size, added)

    shared = key.shape[-2]
    q, k, v = scale * _by_head(query), _repeated(_by_head(key), shape[1]), _repeated(_by_head(value), shape[1])
    with np.errstate(over="ignore", invalid="ignore"):  # what is masked may hold anything
        logits = q @ k.swapaxes(-1, -2)
    capped = None
    if cap is not None:
        capped = (logits if kept is None else np.where(kept, logits, 0)) / cap
        logits = cap * np.tanh(capped)
    p, _ = probabilities(op, logits if added is None else logits + added, -1, kept)
    applied, dropped = (p, None) if dropping is None else dropout.forward(p, rate=dropping[0], key=dropping[1])
    y = _weighted(applied, v).swapaxes(1, 2).reshape(*query.shape[:-1], value.shape[-1])
    return y, Attended(q, k, v, p, dropped, capped, scale, shared, shapes, None if added is None else np.shape(bias))


def attend_bwd(saved: Attended, dy: Array) -> tuple[Array, Array, Array, Array]:
    """The cotangents of query, key, value and, in full size, the bias."""
    q, k, v, p, dropped, capped, scale, shared, shapes, _ = saved
    leading = dy.shape[:-3]
    dy = _by_head(dy)
    applied = p if dropped is None else dropout_bwd(dropped, p)[0]
    dv = _weighted(applied.swapaxes(-1, -2), dy)
    with np.errstate(over="ignore", invalid="ignore"):
        dp = np.where(p == 0, 0, dy @ v.swapaxes(-1, -2))
    if dropped is not None:
        (dp,) = dropout_bwd(dropped, dp)
    (dlogits,) = softmax_bwd((p, (-1,)), dp)
    (dproduct,) = (dlogits,) if capped is None else tanh_bwd(capped, dlogits)
    dq = scale * _weighted(dproduct, k)
    dk = _weighted(dproduct.swapaxes(-1, -2), q)
    dq = dq.swapaxes(1, 2).reshape(*leading, *shapes[0][-3:])
    spread = dq, _summed(dk, shared, leading), _summed(dv, shared, leading)
    dquery, dkey, dvalue = (unbroadcast(d, shape) for d, shape in zip(spread, shapes, strict=True))
    return dquery, dkey, dvalue, dlogits


def _by_head(x: Array) -> Array:
    """(B, T, N, H), or (T, N, H), as (B, N, T, H)."""
    batched = x if x.ndim == 4 else x[None]
    return batched.swapaxes(1, 2)


def _repeated(x: Array, heads: int) -> Array:
    """(B, K, S, H) as (B, N, S, H): each head N / K times, for the query heads that share it."""
    return x if x.shape[1] == heads else np.repeat(x, heads // x.shape[1], axis=1)


def _summed(d: Array, shared: int, leading: tuple[int, ...]) -> Array:
    """The sum over the query heads that share a key head, in the shape of the keys: (B, S, K, H), or without B."""
    batch, heads, keys, width = d.shape
    total = d.reshape(batch, shared, heads // shared, keys, width).sum(axis=2)
    return np.asarray(total.swapaxes(1, 2).reshape(*leading, keys, shared, width))


def _weighted(weights: Array, x: Array) -> Array:
    """The product weights @ x. A NaN or infinity in x has no effect if its weight is 0, and gives NaN otherwise."""
    finite = np.isfinite(x)
    if finite.all():
        return np.asarray(weights @ x)
    y = weights @ np.where(finite, x, 0)
    y[(weights != 0).astype(x.dtype) @ (~finite).astype(x.dtype) > 0] = np.nan
    return np.asarray(y)


# ------------------------------------------------------------------------------------------------- arguments and options


def _leading(op: str, query: Array, key: Array, value: Array) -> tuple[int, ...]:
    """The shape that the batches broadcast to, (B,) or (), after checks of all axes."""
    if query.ndim not in (3, 4):
        raise ValueError(f"{op}: query must have shape (B, T, N, H) or (T, N, H), got {query.shape}")
    leading = query.shape[:-3]
    if key.ndim not in (3, 4) or not _fit(key.shape[:-3], leading) or key.shape[-1] != query.shape[-1]:
        wanted = (*leading, "S", "K", query.shape[-1])
        raise ValueError(f"{op}: key must have shape {_named(wanted)} to match query {query.shape}, got {key.shape}")
    leading = np.broadcast_shapes(leading, key.shape[:-3])
    if value.ndim not in (3, 4) or not _fit(value.shape[:-3], leading) or value.shape[-3:-1] != key.shape[-3:-1]:
        wanted = (*leading, *key.shape[-3:-1], "V")
        raise ValueError(f"{op}: value must have shape {_named(wanted)} to match key {key.shape}, got {value.shape}")
    if key.shape[-2] < 1 or query.shape[-2] % key.shape[-2]:
        raise ValueError(
            f"{op}: the heads of key must divide those of query, got {key.shape[-2]} of key {key.shape} and "
            f"{query.shape[-2]} of query {query.shape}"
        )
    return np.broadcast_shapes(leading, value.shape[:-3])


def _fit(batch: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two batches, each (B,) or (), broadcast."""
    return not batch or not other or batch == other or 1 in (*batch, *other)


def _named(shape: tuple[Any, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _bias(op: str, bias: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    array = checks.array_of(op, "bias", bias)
    if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{op}: bias must be an array of real numbers, got {array.dtype}")
    try:
        np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"{op}: bias must have a shape that broadcasts to {shape}, got {array.shape}") from None
    with np.errstate(over="ignore"):  # below what the dtype holds is -inf, which masks
        return array.astype(dtype)


def checked_dropout(op: str, rate: Any, name: str, key: Any) -> Dropping:
    """The rate and the key of a dropout of weights, whose key is the argument `name` of `op`; None where nothing is dropped."""
    rate = checks.number(op, "rate", rate, 0, 1)
    if key is not None:
        check_key(op, key, name)
    return None if key is None or rate == 0 else (rate, key)


def _kept(
    op: str, shape: tuple[int, ...], mask: Any, is_causal: bool, local_window_size: Any, bias: Array | None
) -> Array | None:
    """The keys that each query may attend to, None for all."""
    masks = []
    if mask is not None:
        masks.append(checks.mask(op, "mask", mask, shape))
    if is_causal:
        masks.append(causal_mask(*shape[2:]))
    if local_window_size is not None:
        masks.append(within(shape[2], shape[3], integers(op, "local_window_size", local_window_size, 2, 0)))
    if bias is not None and np.isneginf(bias).any():
        masks.append(~np.isneginf(bias))
    return reduce(np.logical_and, masks) if masks else None
