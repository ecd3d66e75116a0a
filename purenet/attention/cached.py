"""Attention with a cache of keys and values: the steps of decoding, each of which sees all positions before its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from purenet.attention.scaled_dot_product import Attended, attend, attend_bwd
from purenet.checks import array_of
from purenet.op import Array, Op

__all__ = ["cached_attention"]


class Cached(NamedTuple):
    """Residuals of cached_attention."""

    attended: Attended
    rows: Array
    """The number of each sequence, (B, 1)."""
    places: Array
    """The positions of the new keys, (B, T)."""


@Op
def cached_attention(
    cache: Any,
    query: Array,
    key: Array,
    value: Array,
    *,
    length: Any,
    scale: float | None = None,
    softcap: float | None = None,
) -> tuple[tuple[Array, dict[str, Array]], Cached]:
    """A step of decoding: T new keys and values enter the cache, and T new queries attend to all up to their own position.

    The cache is a dict with `key` and `value`, at first np.zeros; `length` says how many positions of it are filled. The result
    is the pair of y and the new cache; the cache that was given is unchanged.

    Shapes: cache.key (B, S, K, H), cache.value (B, S, K, V), query (B, T, N, H), key (B, T, K, H), value (B, T, K, V), length
        () or (B,) -> y (B, T, N, V), and the cache; K divides N
    Math, with the new cache (k', v') and its cotangents dk', dv':
        k'  = cache.key with key at the positions length..length + T - 1, v' alike
        y_t = sum_s p_ts v'_s,  p = softmax(scale q_t k'_s) over s up to length + t
        dq and what dk', dv' gain are those of dot_product_attention, causal with the offset length;
        dkey   = dk' at the new positions,  dcache.key = dk' elsewhere, 0 at the new positions;  of value alike
    Errors: ValueError where the shapes do not match, K does not divide N, `length` + T is not within 0..S, or for a bad option;
        TypeError unless `length` is an integer or integers.
    Source: Shazeer, Fast transformer decoding (2019). Conventions: scale, softcap and shared heads are as in
        dot_product_attention. With several new positions it fills the cache from a prompt. What stands in the cache beyond the
        filled positions, even NaN, has no effect. Rotate queries and keys before, with positions=length + np.arange(T).

    >>> import numpy as np, purenet as pn
    >>> cache = {"key": np.zeros((1, 3, 1, 1)), "value": np.zeros((1, 3, 1, 1))}
    >>> nothing = np.zeros((1, 1, 1, 1))
    >>> y1, cache = pn.cached_attention(cache, nothing, nothing, nothing + 10.0, length=0)
    >>> y2, cache = pn.cached_attention(cache, nothing, nothing, nothing + 20.0, length=1)
    >>> y1.ravel(), y2.ravel(), cache["value"].ravel()
    (array([10.]), array([15.]), array([10., 20.,  0.]))
    """
    op = "cached_attention"
    if not isinstance(cache, Mapping):
        raise TypeError(f"{op}: cache must be a dict with key and value, got {type(cache).__name__}")
    if set(cache) != {"key", "value"}:
        raise ValueError(f"{op}: cache must hold key and value, got {', '.join(map(str, cache)) or 'nothing'}")
    for name, old in cache.items():
        if not hasattr(old, "ndim"):
            raise TypeError(f"{op}: cache.{name} must be an array, got {type(old).__name__}")
    keys, values = cache["key"], cache["value"]
    if query.ndim != 4:
        raise ValueError(f"{op}: query must have shape (B, T, N, H), got {query.shape}")
    for name, old, new in (("key", keys, key), ("value", values, value)):
        if old.ndim != 4 or new.shape != (len(query), query.shape[1], *old.shape[2:]) or len(old) != len(query):
            raise ValueError(
                f"{op}: {name} must have shape (B, T, heads, size) to match query {query.shape} and cache.{name} {old.shape}, "
                f"got {new.shape}"
            )
    if keys.shape[1] != values.shape[1]:
        raise ValueError(f"{op}: cache.value must have as many positions as cache.key {keys.shape}, got {values.shape}")
    places = _places(op, length, query, keys.shape[1])
    rows = np.arange(len(query))[:, None]
    keys, values = keys.copy(), values.copy()
    keys[rows, places], values[rows, places] = key, value
    kept = np.arange(keys.shape[1]) <= places[:, None, :, None]
    y, attended = attend(op, query, keys, values, mask=kept, scale=scale, softcap=softcap)
    return (y, {"key": keys, "value": values}), Cached(attended, rows, places)


@cached_attention.pullback
def cached_attention_bwd(saved: Cached, dy: Any) -> tuple[dict[str, Array], Array, Array, Array]:
    attended, rows, places = saved
    dresult, dcache = dy
    dquery, dkeys, dvalues, _ = attend_bwd(attended, dresult)
    dkeys, dvalues = dkeys + dcache["key"], dvalues + dcache["value"]
    dkey, dvalue = dkeys[rows, places], dvalues[rows, places]
    dkeys[rows, places] = dvalues[rows, places] = 0  # the new keys have replaced the old ones
    return {"key": dkeys, "value": dvalues}, dquery, dkey, dvalue


def _places(op: str, length: Any, query: Array, size: int) -> Array:
    """The positions (B, T) of the new keys."""
    batch, steps = query.shape[:2]
    given = array_of(op, "length", length)
    if given.dtype.kind not in "iu":
        raise TypeError(f"{op}: length must be an integer or integers, got {given.dtype}")
    if given.shape not in ((), (batch,)):
        raise ValueError(f"{op}: length must have shape () or ({batch},), got {given.shape}")
    wrong = (given < 0) | (given > size - steps)
    if math.prod(given.shape) and wrong.any():
        raise ValueError(
            f"{op}: length must be in 0..{size - steps}, so that {steps} more positions fit into the cache of {size}, "
            f"got {given[wrong][0]}"
        )
    return np.asarray(np.broadcast_to(given.astype(np.intp), (batch,))[:, None] + np.arange(steps))
