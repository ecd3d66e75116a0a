"""Attention of several heads: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.attention.positions import rotary_by_complex, rotary_options
from oracle.catalogue.attention.scaled_dot_product import (
    HOLES,
    attention_by_queries,
    dropping,
    kept_keys,
    masking,
    option_errors,
)
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.attention import multi_head_attention

Arguments = tuple[Any, ...]
Params = dict[str, Any]


def multi_head_by_equinox(params: Params, x: Any, **options: Any) -> Any:
    """By equinox, whose heads have keys of their own; with what it lacks, or drops by other bits, one query at a time."""
    xq, xkv = x if isinstance(x, tuple | list) else (x, x)
    if xq.ndim == 2:
        return multi_head_by_equinox(params, (xq[None], xkv[None]), **options)[0]
    lacking = {"bias": "bias", "softcap": "softcap", "rate": "rate", "key": "dropout_key"}
    own: dict[str, Any] = {theirs: options.pop(name) for name, theirs in lacking.items() if name in options}
    rotary = options.pop("rotary", None)

    def turn(heads: Any) -> Any:
        return heads if rotary is None else rotary_by_complex(heads, **rotary)

    if not own:
        return by_equinox(params, xq, xkv, turn, **options)
    heads = {name: jnp.einsum("btd,dnh->btnh", x, params[f"w{name}"]) for name, x in (("q", xq), ("k", xkv), ("v", xkv))}
    heads = {name: head + params.get(f"b{name}", 0) for name, head in heads.items()}
    y = attention_by_queries(turn(heads["q"]), turn(heads["k"]), heads["v"], **own, **options)
    return jnp.einsum("btnv,nvo->bto", y, params["wo"]) + params.get("bo", 0)


def by_equinox(
    params: Params, xq: Any, xkv: Any, turn: Callable[[Any], Any], *, scale: float | None = None, **masks: Any
) -> Any:
    (inner, heads, width), out = params["wq"].shape, params["wo"].shape[-1]
    group = heads // params["wk"].shape[1]
    own = {name: jnp.repeat(p, group, axis=-2) if name in ("wk", "wv", "bk", "bv") else p for name, p in params.items()}
    skeleton = equinox.nn.MultiheadAttention(
        heads, inner, xkv.shape[-1], xkv.shape[-1], out, width, params["wv"].shape[-1],
        "bq" in params, "bk" in params, "bv" in params, "bo" in params, dtype=xq.dtype, key=jax.random.key(0),
    )  # fmt: skip
    names = {"query_proj": "q", "key_proj": "k", "value_proj": "v"}
    new = {f"{proj}.weight": own[f"w{n}"].reshape(len(own[f"w{n}"]), -1).T for proj, n in names.items()}
    new |= {f"{proj}.bias": own[f"b{n}"].reshape(-1) for proj, n in names.items() if f"b{n}" in own}
    new["output_proj.weight"] = own["wo"].reshape(-1, out).T
    if "bo" in own:
        new["output_proj.bias"] = own["bo"]
    mha = equinox.tree_at(
        lambda m: [getattr(getattr(m, proj), leaf) for proj, leaf in (name.split(".") for name in new)],
        skeleton,
        list(new.values()),
    )

    def process(q: Any, k: Any, v: Any) -> Any:
        return turn(q) * (1 if scale is None else scale * width**0.5), turn(k), v

    kept = kept_keys((len(xq), heads, xq.shape[1], xkv.shape[1]), **masks)
    return jax.vmap(lambda q, kv, mask: mha(q, kv, kv, mask=mask, process_heads=process))(xq, xkv, kept)


def parameters(
    draw: Draw,
    *,
    inner: int,
    other: int,
    heads: int,
    shared: int,
    width: int,
    wide: int,
    out: int,
    biases: Any,
) -> Params:
    """Weights that keep the scale of what passes through, and biases that are not zero."""
    shapes = {"q": (inner, heads, width), "k": (other, shared, width), "v": (other, shared, wide), "o": (heads, wide, out)}
    fans = {"q": inner, "k": other, "v": other, "o": heads * wide}
    params = {f"w{name}": draw.normal(*shape, scale=fans[name] ** -0.5) for name, shape in shapes.items()}
    for name in biases:
        params[f"b{name}"] = draw.normal(*(shapes[name][2:] if name == "o" else shapes[name][1:]), scale=0.3)
    return params


def heads_of(*shape: int, keys: tuple[int, ...] | None = None, **sizes: Any) -> Callable[[Draw], Arguments]:
    """Draws parameters and x of this shape, or a pair with what x attends to, of the shape `keys`."""

    def make(draw: Draw) -> Arguments:
        own = {"inner": shape[-1], "heads": 2, "shared": 2, "width": 2, "wide": 2, "out": 2, "biases": "qvo", **sizes}
        params = parameters(draw, other=(keys or shape)[-1], **own)
        return params, (draw.normal(*shape), draw.normal(*keys)) if keys else draw.normal(*shape)

    return make


def multi_heads(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    """Sizes of at least 2, because the only entry of a gradient may be tiny beside what cancels in it.

    A bias of the keys is drawn only where it has a gradient worth the name: the softmax does not see what is added to all
    logits, and a softcap only a little of it.
    """
    batch, queries = draw.choice([(2,), (1,), ()]), draw.between(2, 3)
    pair = draw.choice([False, True])
    keys = draw.between(2, 3) if pair else queries
    shared = draw.between(1, 2)
    heads, turned = shared * draw.between(1, 2), draw.choice([False, True])
    options = masking(draw, heads, queries, keys)
    if turned:
        options["rotary"] = rotary_options(draw, queries)
        if pair:
            options["rotary"].pop("positions", None)
    make = heads_of(
        *batch,
        queries,
        draw.between(2, 3),
        keys=(*batch, keys, 2) if pair else None,
        heads=heads,
        shared=shared,
        width=2 * draw.between(1, 2) if turned else draw.between(2, 3),
        wide=draw.between(2, 3),
        out=draw.between(2, 3),
        biases=[name for name in ("qkvo" if turned else "qvo") if draw.choice([True, False])],
    )
    return make(draw), options


def changed(**new: Any) -> Callable[[Draw], Arguments]:
    """Good arguments but for these parameters, or without those that are None."""

    def make(draw: Draw) -> Arguments:
        params, x = GOOD(draw)
        params |= {name: draw.normal(*shape) for name, shape in new.items() if shape is not None}
        return {name: p for name, p in params.items() if new.get(name, ()) is not None}, x

    return make


def misfit(what: str, match: str, **new: Any) -> Error:
    return Error(what, changed(**new), ValueError, f"multi_head_attention: params{match}")


GOOD = heads_of(2, 3, 3, keys=(2, 3, 2), biases="qkvo")
SMALL = heads_of(2, 2, 2, keys=(2, 3, 2))
ONE, NONE, MASKED, REPEATED = (frozenset({f}) for f in (Flag.BATCH_OF_ONE, Flag.EMPTY_BATCH, Flag.MASKED, Flag.REPEATED))


def equal_tokens(draw: Draw) -> Arguments:
    params, x = heads_of(2, 3, 3, shared=1)(draw)
    x[:, 1] = x[:, 0]
    return params, x


def listed(draw: Draw) -> Arguments:
    params, x = heads_of(2, 3, keys=(3, 2))(draw)
    return params, list(x)


SPECS = (
    Spec(
        multi_head_attention,
        tier=2,
        reference=multi_head_by_equinox,
        source=library("equinox.nn.MultiheadAttention; with a bias, softcap or dropout, jax.nn.softmax of one query at a time"),
        cases=(
            Case("two heads", heads_of(2, 3, 3, wide=3)),
            Case("of another sequence, no biases", heads_of(2, 2, 3, keys=(2, 3, 2), biases="")),
            Case(
                "grouped heads, causal, rotated",
                heads_of(2, 3, 2, heads=4, biases="qk"),
                {"is_causal": True, "rotary": {"interleaved": True, "base": 100.0}},
            ),
            Case("one key head, no batch, a bias", heads_of(2, 3, shared=1), {"bias": np.arange(-4.0, 4.0).reshape(2, 2, 2)}),
            Case("holes", SMALL, {"mask": HOLES, "scale": 1.5}, MASKED),
            Case("dropout, rotated", heads_of(2, 3, 2, heads=2, shared=1), dropping("key", rate=0.25, rotary={"base": 100.0})),
            Case("equal tokens", equal_tokens, flags=REPEATED),
            Case("rotated, of a longer sequence", heads_of(2, 2, 2, keys=(2, 3, 2)), {"rotary": {"base": 100.0}}),
            Case("a list of two sequences", listed),
            Case("one sequence, softcap", heads_of(1, 2, 2, biases="qkvo"), {"softcap": 0.5}, ONE),
            Case("no sequences", heads_of(0, 2, 2), flags=NONE),
        ),
        strategy=multi_heads,
        errors=(
            *option_errors("multi_head_attention", SMALL, "key"),
            misfit("no wo", " must hold wq, wk, wv, wo, bq (optional)", wo=None),
            misfit("queries of another width", ".wq must have shape (3, N, H) to match x (2, 3, 3), (2, 3, 2)", wq=(2, 2, 2)),
            misfit("keys of another width", ".wk must have shape (2, K, 2) to match x (2, 3, 3), (2, 3, 2)", wk=(2, 2, 3)),
            misfit("values of other heads", ".wv must have shape (2, 2, V) to match", wv=(2, 1, 2)),
            misfit("a flat output", ".wo must have shape (2, 2, O) to match", wo=(4, 2)),
            misfit("a flat bias", ".bq must have shape (2, 2) to match", bq=(4,)),
            misfit("a bias of another width", ".bo must have shape (2,) to match", bo=(3,)),
            Error(
                "key heads that do not divide", heads_of(2, 2, 2, heads=3), ValueError, "the heads of key must divide those of"
            ),
            Error(
                "a vector", lambda draw: (GOOD(draw)[0], draw.normal(3)), ValueError, "x must have shape (B, T, D) or (T, D)"
            ),
            Error(
                "another batch",
                lambda draw: (GOOD(draw)[0], (draw.normal(2, 3, 3), draw.normal(1, 3, 2))),
                ValueError,
                "the second of x must have shape (2, S, E) to match the first (2, 3, 3), got (1, 3, 2)",
            ),
            Error(
                "three sequences",
                lambda draw: (GOOD(draw)[0], (draw.normal(3, 3),) * 3),
                TypeError,
                "x must be an array or a pair of arrays (query, key_value), got a tuple of 3",
            ),
            Error(
                "x by name",
                lambda draw: (GOOD(draw)[0], {"query": draw.normal(3, 3)}),
                TypeError,
                "x must be an array or a pair",
            ),
            Error("rotary as a flag", SMALL, TypeError, "rotary must be None or a dict of the keywords", {"rotary": True}),
            Error("rotary of another library", SMALL, TypeError, "rotary must be None or a dict", {"rotary": {"theta": 1e4}}),
        ),
    ),
)
