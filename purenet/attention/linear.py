"""Attention whose weights are products of features of query and key, so that sums over the keys take the place of a matrix."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from purenet.checks import boolean, number
from purenet.normalization.core import divisor
from purenet.op import Array, Op

__all__ = ["linear_attention"]


class Linear(NamedTuple):
    """Residuals of linear_attention."""

    features: Array
    """Of the queries."""
    slope: Array
    of_keys: Array
    slope_of_keys: Array
    extended: Array
    """The values, and a 1 behind each, whose sum is the divisor."""
    y: Array
    size: Array
    """The divisor."""
    is_causal: bool


@Op
def linear_attention(
    query: Array, key: Array, value: Array, *, is_causal: bool = False, eps: float = 1e-6
) -> tuple[Array, Linear]:
    """Attention with weights f(query) f(key) in place of a softmax: its time is linear in the number of positions.

    Shapes: query (B, T, N, H), key (B, S, N, H), value (B, S, N, V) -> y (B, T, N, V)
    Math, with f(x) = elu(x) + 1, which is x + 1 where x > 0, else exp(x), and sums over all s, or s up to t if causal:
        y_t = sum_s (f(q_t) f(k_s)) v_s / m_t,  m_t = eps + sum_s f(q_t) f(k_s)
        dn_t = dy_t / m_t,  dm_t = -dy_t y_t / m_t
        df(q_t) = sum_s (dn_t v_s + dm_t) f(k_s)
        df(k_s) = sum over t of (dn_t v_s + dm_t) f(q_t),  dv_s = sum over t of (f(q_t) f(k_s)) dn_t, from s on if causal
        dq = df(q) f'(q), dk = df(k) f'(k)
    Errors: ValueError where the shapes do not match, for T other than S if causal, or an eps that is negative or not finite;
        TypeError unless `is_causal` is True or False.
    Source: Katharopoulos et al., Transformers are RNNs (2020). Conventions: eps is that of the authors. If causal, only a state
        (B, N, H, V + 1) is kept from one position to the next. Where m is 0, with eps 0, y and its gradients are 0.

    >>> import numpy as np, purenet as pn
    >>> zeros, value = np.zeros((1, 3, 1, 1)), np.array([1.0, 3.0, 8.0]).reshape(1, 3, 1, 1)
    >>> pn.linear_attention(zeros, zeros, value, eps=0.0).ravel()
    array([4., 4., 4.])
    >>> pn.linear_attention(zeros, zeros, value, eps=0.0, is_causal=True).ravel()
    array([1., 2., 4.])
    """
    _check("linear_attention", query, key, value, boolean("linear_attention", "is_causal", is_causal))
    eps = number("linear_attention", "eps", eps, low=0)
    (features, slope), (of_keys, slope_of_keys) = _features(query), _features(key)
    extended = np.concatenate([value, np.ones_like(value[..., :1])], axis=-1)
    sums = _sums(features, of_keys, extended, is_causal)
    size = divisor(sums[..., -1:] + eps)
    y = sums[..., :-1] / size
    return y, Linear(features, slope, of_keys, slope_of_keys, extended, y, size, is_causal)


@linear_attention.pullback
def linear_attention_bwd(saved: Linear, dy: Array) -> tuple[Array, Array, Array]:
    features, slope, of_keys, slope_of_keys, extended, y, size, causal = saved
    dsums = np.concatenate([dy, -(dy * y).sum(axis=-1, keepdims=True)], axis=-1) / size
    dfeatures = _sums(dsums, extended, of_keys, causal)
    dof_keys = _sums(extended, dsums, features, causal, reverse=True)
    dextended = _sums(of_keys, features, dsums, causal, reverse=True)
    return dfeatures * slope, dof_keys * slope_of_keys, dextended[..., :-1].copy()


def _features(x: Array) -> tuple[Array, Array]:
    """f(x) = elu(x) + 1, and its slope."""
    slope = np.exp(np.minimum(x, 0))
    return np.maximum(x, 0) + slope, slope


def _sums(a: Array, b: Array, c: Array, causal: bool, *, reverse: bool = False) -> Array:
    """The sum over s of (a_t b_s) c_s: over all s or, if causal, over s up to t, in `reverse` from t on."""
    if not causal:
        return np.asarray(np.einsum("btnh,bnhv->btnv", a, np.einsum("bsnh,bsnv->bnhv", b, c)))
    batch, time, heads, _ = b.shape
    sums = np.empty((batch, time, heads, c.shape[3]), c.dtype)
    state: Any = 0.0
    for t in reversed(range(time)) if reverse else range(time):
        state = state + b[:, t, :, :, None] * c[:, t, :, None, :]
        sums[:, t] = np.einsum("bnh,bnhv->bnv", a[:, t], state)
    return sums


def _check(op: str, query: Array, key: Array, value: Array, causal: bool) -> None:
    if query.ndim != 4:
        raise ValueError(f"{op}: query must have shape (B, T, N, H), got {query.shape}")
    batch, time, heads, width = query.shape
    if key.ndim != 4 or key.shape != (batch, key.shape[1], heads, width):
        raise ValueError(f"{op}: key must have shape ({batch}, S, {heads}, {width}) to match query, got {key.shape}")
    if value.ndim != 4 or value.shape[:3] != key.shape[:3]:
        raise ValueError(f"{op}: value must have shape ({batch}, {key.shape[1]}, {heads}, V) to match key, got {value.shape}")
    if causal and time != key.shape[1]:
        raise ValueError(f"{op}: query and key must have as many positions if is_causal, got {time} and {key.shape[1]}")
