"""Attention of several heads between learned projections."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from purenet.attention.positions import rotary_embedding, rotate, rotate_back
from purenet.attention.scaled_dot_product import Attended, attend, attend_bwd, checked_dropout
from purenet.checks import fields
from purenet.linear.products import affine, affine_bwd
from purenet.op import Array, Op

__all__ = ["multi_head_attention", "optional_affine"]


class MultiHead(NamedTuple):
    """Residuals of multi_head_attention."""

    projections: dict[str, Any]
    """The residuals of the four affine maps: q, k, v, o."""
    rotations: tuple[Any, Any] | None
    attended: Attended
    pair: type | None
    """The type of (query, key_value), None where both are one array."""
    shapes: dict[str, tuple[int, ...]]
    """Of the parameters."""


@Op
def multi_head_attention(
    params: dict[str, Array],
    x: Any,
    *,
    mask: Any = None,
    bias: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
    local_window_size: int | tuple[int, int] | None = None,
    softcap: float | None = None,
    rotary: Mapping[str, Any] | None = None,
    rate: float = 0.0,
    key: Array | None = None,
) -> tuple[Array, Any]:
    """Attention of N heads, between affine maps to queries, keys and values, and from the heads to the output.

    Shapes: x (B, T, D) -> y (B, T, O), or x a pair of queries (B, T, D) and what they attend to (B, S, E), without B too;
        wq (D, N, H), wk (E, K, H), wv (E, K, V), wo (N, V, O), and biases bq (N, H), bk (K, H), bv (K, V), bo (O,), each of
        which may be absent. K < N is grouped, K = 1 multi-query attention. bk has no effect without rotary or softcap.
    Math, with q = x wq + bq of each head, k and v alike, and a = dot_product_attention(q, k, v), rotated before if `rotary`:
        y   = sum over the heads of a wo + bo
        da  = dy wo^T,  dwo = a^T dy,  dbo = sum dy;  dwq = x^T dq,  dbq = sum dq,  dwk, dwv, dbk, dbv alike
        dx  = dq wq^T + dk wk^T + dv wv^T, or dq wq^T for the queries and the rest for what they attend to
    Errors: those of dot_product_attention, whose options these are; ValueError where the shapes of params do not match x and
        each other; TypeError unless x is an array or a pair, and `rotary` None or a dict of keywords of rotary_embedding.
    Source: Vaswani et al. (2017); Shazeer (2019) for multi-query, Ainslie et al. (2023) for grouped attention. Conventions:
        weights are [in, heads, size], as in flax; torch stacks those of q, k, v as [3 D, D], equinox has [heads * size, in].
        With `rotary={}` queries and keys, not values, are rotated by rotary_embedding with these keywords. `key` is the
        dropout_key of dot_product_attention: with it the weights of the attention are dropped with probability `rate`.

    >>> import numpy as np, purenet as pn
    >>> eye = np.eye(2)
    >>> params = {"wq": 0 * eye[:, None], "wk": eye[:, None], "wv": eye[:, None], "wo": 10 * eye[None]}
    >>> pn.multi_head_attention(params, np.array([[1.0, 0.0], [0.0, 1.0]]), is_causal=True)  # all keys match a query of 0
    array([[10.,  0.],
           [ 5.,  5.]])
    """
    op = "multi_head_attention"
    dropping = checked_dropout(op, rate, "key", key)
    xq, xkv = _query_and_rest(op, x)
    own = dict(zip(SHAPES, fields(op, params, "wq", "wk", "wv", "wo", optional=("bq", "bk", "bv", "bo")), strict=True))
    _check_shapes(op, own, xq, xkv)
    heads, saved = {}, {}
    for name, given in (("q", xq), ("k", xkv), ("v", xkv)):
        heads[name], saved[name] = _project(given, own[f"w{name}"], own[f"b{name}"])
    rotations = None
    if rotary is not None:
        if not isinstance(rotary, Mapping) or not set(rotary) <= set(rotary_embedding.keywords):
            known = f"the keywords of rotary_embedding ({', '.join(rotary_embedding.keywords)})"
            raise TypeError(f"{op}: rotary must be None or a dict of {known}, got {rotary!r}")
        heads["q"], turned = rotate(op, heads["q"], **rotary)
        heads["k"], turned_key = rotate(op, heads["k"], **rotary)
        rotations = turned, turned_key
    y, attended = attend(
        op, heads["q"], heads["k"], heads["v"], mask=mask, bias=bias, is_causal=is_causal, scale=scale,
        local_window_size=local_window_size, softcap=softcap, dropping=dropping,
    )  # fmt: skip
    wo = own["wo"]
    width = math.prod(wo.shape[:2])
    y, saved["o"] = optional_affine(y.reshape(*y.shape[:-2], width), wo.reshape(width, wo.shape[2]), own["bo"])
    shapes = {name: value.shape for name, value in own.items() if value is not None}
    return y, MultiHead(saved, rotations, attended, type(x) if isinstance(x, tuple | list) else None, shapes)


@multi_head_attention.pullback
def multi_head_attention_bwd(residuals: MultiHead, dy: Array) -> tuple[dict[str, Array], Any]:
    saved, rotations, attended, pair, shapes = residuals
    dparams, da = affine_bwd(saved["o"], dy)
    grads = {"wo": dparams["w"], "bo": dparams.get("b")}
    dheads = dict(zip("qkv", attend_bwd(attended, da.reshape(*da.shape[:-1], *shapes["wo"][:2])), strict=False))
    if rotations is not None:
        dheads["q"], dheads["k"] = rotate_back(rotations[0], dheads["q"]), rotate_back(rotations[1], dheads["k"])
    dx = {}
    for name, d in dheads.items():
        dparams, dx[name] = affine_bwd(saved[name], d.reshape(*d.shape[:-2], math.prod(d.shape[-2:])))
        grads[f"w{name}"], grads[f"b{name}"] = dparams["w"], dparams.get("b")
    rest = dx["k"] + dx["v"]
    return (
        {name: grads[name].reshape(shape) for name, shape in shapes.items()},
        dx["q"] + rest if pair is None else pair((dx["q"], rest)),
    )


SHAPES = {"wq": "DNH", "wk": "EKH", "wv": "EKV", "wo": "NVO", "bq": "NH", "bk": "KH", "bv": "KV", "bo": "O"}
EXPECTED = "an array or a pair of arrays (query, key_value)"


def optional_affine(x: Array, w: Array, b: Array | None) -> tuple[Array, Any]:
    """The affine map of x, and its residuals."""
    return affine.forward({"w": w} if b is None else {"w": w, "b": b}, x)


def _project(x: Array, w: Array, b: Array | None) -> tuple[Array, Any]:
    """Each head's affine map of x (..., D), as (..., N, H)."""
    width = math.prod(w.shape[1:])
    y, saved = optional_affine(x, w.reshape(len(w), width), None if b is None else b.reshape(width))
    return y.reshape(*x.shape[:-1], *w.shape[1:]), saved


def _query_and_rest(op: str, x: Any) -> tuple[Array, Array]:
    if type(x) in (tuple, list):
        if len(x) != 2 or not all(hasattr(part, "ndim") for part in x):
            raise TypeError(f"{op}: x must be {EXPECTED}, got a {type(x).__name__} of {len(x)}")
        xq, xkv = x
    elif hasattr(x, "ndim"):
        xq = xkv = x
    else:
        raise TypeError(f"{op}: x must be {EXPECTED}, got {type(x).__name__}")
    if xq.ndim not in (2, 3):
        raise ValueError(f"{op}: x must have shape (B, T, D) or (T, D), got {xq.shape}")
    if xkv.ndim != xq.ndim or xkv.shape[:-2] != xq.shape[:-2]:
        wanted = f"({xq.shape[0]}, S, E)" if xq.ndim == 3 else "(S, E)"
        raise ValueError(f"{op}: the second of x must have shape {wanted} to match the first {xq.shape}, got {xkv.shape}")
    return xq, xkv


def _check_shapes(op: str, params: Mapping[str, Any], xq: Array, xkv: Array) -> None:
    """Raise unless the shape of every parameter matches x and the parameters before it."""
    sizes: dict[str, int] = {"D": xq.shape[-1], "E": xkv.shape[-1]}
    for name, letters in SHAPES.items():
        value = params[name]
        if value is None:
            continue
        wanted = tuple(sizes.get(letter, letter) for letter in letters)
        if value.ndim != len(wanted) or any(isinstance(w, int) and w != n for w, n in zip(wanted, value.shape, strict=True)):
            what = f"x {xq.shape}" if xq is xkv else f"x {xq.shape}, {xkv.shape}"
            text = ", ".join(map(str, wanted)) + ("," if len(wanted) == 1 else "")
            raise ValueError(f"{op}: params.{name} must have shape ({text}) to match {what} and the others, got {value.shape}")
        sizes |= zip(letters, value.shape, strict=True)
