"""Attention of queries to keys: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.stochastic import dropout_by_equinox
from oracle.spec import Case, Deviation, Draw, Error, Flag, Spec, composed
from purenet.attention import dot_product_attention, dot_product_attention_with_bias

Arguments = tuple[Any, ...]


def attention_by_queries(
    query: Any,
    key: Any,
    value: Any,
    *,
    bias: Any = None,
    scale: float | None = None,
    softcap: float | None = None,
    rate: float = 0.0,
    dropout_key: Any = None,
    **masks: Any,
) -> Any:
    """One query of one head at a time; keys and values are repeated for the heads that share them."""
    if query.ndim == key.ndim == value.ndim == 3:
        options = {"bias": bias, "scale": scale, "softcap": softcap, "rate": rate, "dropout_key": dropout_key, **masks}
        return attention_by_queries(query[None], key[None], value[None], **options)[0]
    of_batch = jnp.broadcast_shapes(*(x.shape[:-3] for x in (query, key, value)))
    query, key, value = (jnp.broadcast_to(x, of_batch + x.shape[-3:]) for x in (query, key, value))
    batch, queries, heads, width = query.shape
    keys, shared = key.shape[1:3]
    shape = (batch, heads, queries, keys)
    added = jnp.broadcast_to(0.0 if bias is None else bias, shape).astype(query.dtype)
    kept = kept_keys(shape, **masks) & (added > -jnp.inf)
    drawn = jnp.ones(shape, query.dtype)  # by what dropout multiplies the weights
    if dropout_key is not None:
        drawn = dropout_by_equinox(drawn, rate=rate, key=dropout_key)

    def one(q: Any, k: Any, v: Any, keep: Any, add: Any, factor: Any) -> Any:
        logits = k @ q * (width**-0.5 if scale is None else scale)
        if softcap is not None:
            logits = softcap * jnp.tanh(logits / softcap)
        return (jax.nn.softmax(logits + add, where=keep) * factor) @ v

    of_head = jax.vmap(one, (0, None, None, 0, 0, 0))
    of_sequence = jax.vmap(of_head, (1, 1, 1, 0, 0, 0), 1)
    key, value = (jnp.repeat(x, heads // shared, axis=2) for x in (key, value))
    return jax.vmap(of_sequence)(query, key, value, kept, jnp.where(kept, added, 0), drawn)


def kept_keys(shape: tuple[int, ...], *, mask: Any = None, is_causal: bool = False, local_window_size: Any = None) -> Any:
    kept = jnp.broadcast_to(True if mask is None else mask, shape)
    query, key = jnp.arange(shape[2])[:, None], jnp.arange(shape[3])
    if is_causal:
        kept &= key <= query
    if local_window_size is not None:
        left, right = np.broadcast_to(local_window_size, 2)
        kept &= (query - key <= left) & (key - query <= right)
    return kept


def with_bias_by_queries(query: Any, key: Any, value: Any, bias: Any, **options: Any) -> Any:
    return attention_by_queries(query, key, value, bias=bias, **options)


def sizes(*query: int, keys: int, heads: int = 1, width: int | None = None, scale: float = 1.0) -> Callable[[Draw], Arguments]:
    """Queries (B, T, N, H) or (T, N, H), keys with `heads` heads, values of `width` entries, by default as many as H."""
    shared = (*query[:-3], keys, heads)

    def make(draw: Draw) -> Arguments:
        last = query[-1] if width is None else width
        return draw.normal(*query, scale=scale), draw.normal(*shared, query[-1], scale=scale), draw.normal(*shared, last)

    return make


def biased(*bias: int, arguments: Callable[[Draw], Arguments]) -> Callable[[Draw], Arguments]:
    """The same with a bias of this shape."""
    return lambda draw: (*arguments(draw), draw.normal(*bias))


def attentions(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    """Any of the options, shapes with, without or with a broadcast batch; every query keeps at least its first key."""
    batch = draw.choice([(2,), (1,), ()])
    queries, keys = draw.between(1, 3), draw.between(2, 4)
    shared = draw.between(1, 2)
    heads = shared * draw.between(1, 2)
    query = (*batch, queries, heads, draw.between(1, 3))
    q, k, v = sizes(*query, keys=keys, heads=shared, width=draw.between(1, 3))(draw)
    if batch == (2,) and draw.choice([False, True]):
        k, v = draw.choice([(k[:1], v[:1]), (k[0], v), (k, v[:1])])
    return (q, k, v), masking(draw, heads, queries, keys)


def masking(draw: Draw, heads: int, queries: int, keys: int) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if draw.choice([False, True]):
        options["mask"] = draw.mask(draw.choice([1, heads]), queries, keys)
        options["mask"][..., 0] = True
    if draw.choice([False, True]):
        options["is_causal"] = True
    elif draw.choice([False, True]):
        options["local_window_size"] = draw.choice([keys, (queries, 1)])
    if draw.choice([False, True]):
        options["scale"] = draw.choice([0.5, -1.25])
    if draw.choice([False, True]):
        options["softcap"] = draw.choice([2.0, 10.0])
    return options


def with_constant_bias(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    arguments, options = attentions(draw)
    if draw.choice([False, True]):
        query, key, _ = arguments
        options["bias"] = draw.normal(query.shape[-2], query.shape[-3], key.shape[-3])
    return arguments, options


def with_learned_bias(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    (query, key, value), options = attentions(draw)
    repeated = tuple(draw.choice([n, 1]) for n in query.shape[-2:-4:-1])
    return (query, key, value, draw.normal(*repeated[draw.between(0, 2) :], key.shape[-3])), options


def saturated(draw: Draw) -> Arguments:
    """Logits near 1e3 and -1e3; two keys stay near each other, so that the softmax between them has a slope."""
    query, key, value = sizes(2, 2, 1, 2, keys=4)(draw)
    query[..., 0] = 1e3
    key[..., 0] = [[[1.0], [1.0], [-1.0], [-1.0]]]
    return query, key, value


def repeated(draw: Draw) -> Arguments:
    query, key, value = sizes(2, 3, 2, 2, keys=3)(draw)
    key[:, 1], value[:, 2] = key[:, 0], value[:, 0]
    return query, key, value


def slopes_without_keys() -> tuple[float, float]:
    """Of the value at one of two keys, both masked."""
    query, value = np.ones((1, 1, 1)), np.array([[[1.0]], [[3.0]]])
    mask = np.zeros((1, 1, 2), np.bool_)
    _, residuals = dot_product_attention.fwd(query, value, value, mask=mask)
    slope = jax.grad(lambda v: jax.nn.dot_product_attention(query, value, v, mask=mask).sum())(jnp.asarray(value))
    return float(dot_product_attention.bwd(residuals, query)[2][0, 0, 0]), float(slope[0, 0, 0])


def one_with_bias(draw: Draw) -> Arguments:
    return *sizes(1, 2, 1, 2, keys=2)(draw), draw.normal(1, 1, 2, 2)


HOLES = np.array([[True, False, True], [True, True, False]])
ONE, NONE, MASKED, SATURATED, REPEATED = (
    frozenset({f}) for f in (Flag.BATCH_OF_ONE, Flag.EMPTY_BATCH, Flag.MASKED, Flag.SATURATED, Flag.REPEATED)
)
SMALL = sizes(2, 2, 2, 2, keys=3, heads=2)
NO_BATCH = sizes(2, 2, 2, keys=3)
MASKING = np.array([[[0.5, -1.0, -np.inf], [2.0, -0.5, 1.0]], [[-np.inf, 7.0, -np.inf], [0.0, -1.5, 0.5]]])


def dropping(name: str, **options: Any) -> Callable[[Draw], dict[str, Any]]:
    """Draws a key, the option `name`, to go with the others."""
    return lambda draw: {name: draw.key(), **options}


def option_errors(op: str, arguments: Callable[[Draw], Arguments], key: str = "dropout_key") -> tuple[Error, ...]:
    """Calls with options that are wrong for any op with these, where B, N, T, S are 2, 2, 2, 3."""

    def wrong(what: str, match: str, by: type[Exception] = ValueError, **options: Any) -> Error:
        return Error(what, arguments, by, f"{op}: {match}", options)

    several = np.zeros((1, 2), np.uint32)
    return (
        wrong("a mask of numbers", "mask must be an array of booleans", TypeError, mask=np.ones((2, 3))),
        wrong("a mask of another shape", "mask must have a shape that broadcasts to (2, 2, 2, 3), got (3, 2)", mask=HOLES.T),
        wrong("causal by name", "is_causal must be True or False, got 'causal'", TypeError, is_causal="causal"),
        wrong("scale by name", "scale must be a number, got str", TypeError, scale="sqrt"),
        wrong("a window of three", "local_window_size must be an integer or a tuple of 2", local_window_size=(1, 2, 3)),
        wrong("a window below 0", "local_window_size must be at least 0, got -1", local_window_size=-1),
        wrong("half a window", "local_window_size must be an integer", TypeError, local_window_size=0.5),
        wrong("softcap 0", "softcap must be finite and greater than 0, got 0", softcap=0),
        wrong("a percentage", "rate must be in [0, 1], got 10", rate=10),
        Error("a seed", arguments, TypeError, f"{op}: {key} must be a NumPy array of dtype uint32", {key: 0, "rate": 0.5}),
        Error("several keys", arguments, ValueError, f"{op}: {key} must have shape (2,), got (1, 2)", {key: several}),
    )


def shape_errors(op: str) -> tuple[Error, ...]:
    def wrong(what: str, match: str, *shapes: tuple[int, ...]) -> Error:
        return Error(what, lambda draw: tuple(draw.normal(*s) for s in shapes), ValueError, f"{op}: {match}")

    q, k = (2, 2, 4, 3), (2, 5, 2, 3)
    return (
        wrong("no heads", "query must have shape (B, T, N, H) or (T, N, H), got (2, 3)", (2, 3), (2, 3), (2, 3)),
        wrong("keys of another width", "key must have shape (2, S, K, 3) to match query (2, 2, 4, 3)", q, (2, 5, 2, 4), k),
        wrong("another batch", "key must have shape (2, S, K, 3) to match query", q, (4, 5, 2, 3), k),
        wrong("keys of one head", "key must have shape (2, S, K, 3) to match query", q, k[2:], k),
        wrong("values of another batch", "value must have shape (2, 5, 2, V) to match key", q, k[1:], (4, 5, 2, 3)),
        wrong("fewer values", "value must have shape (2, 5, 2, V) to match key (2, 5, 2, 3)", q, k, (2, 4, 2, 3)),
        wrong("3 heads for 4", "the heads of key must divide those of query, got 3 of key", q, (2, 5, 3, 3), (2, 5, 3, 3)),
        wrong("no key heads", "the heads of key must divide those of query, got 0", q, (2, 5, 0, 3), (2, 5, 0, 3)),
    )


SPECS = (
    Spec(
        dot_product_attention,
        tier=2,
        reference=attention_by_queries,
        source=composed("jax.nn.softmax of one query and head at a time; jax.nn.dot_product_attention rounds to float32"),
        cases=(
            Case("two heads, wider values", sizes(2, 3, 2, 2, keys=2, heads=2, width=3)),
            Case(
                "grouped heads, causal, more queries than keys",
                sizes(2, 3, 4, 2, keys=2, heads=2),
                {"is_causal": True, "scale": -0.75},
            ),
            Case("no batch, window, softcap", sizes(4, 2, 2, keys=5), {"local_window_size": (2, 1), "softcap": 1.5}),
            Case(
                "holes, a bias that masks, a query without keys",
                SMALL,
                {"mask": HOLES, "bias": MASKING, "softcap": 3.0},
                MASKED,
            ),
            Case("no query has keys", SMALL, {"mask": np.zeros((2, 3), np.bool_)}, MASKED | {Flag.ZERO_GRADIENT}),
            Case(
                "dropout of grouped heads, causal",
                sizes(2, 3, 4, 2, keys=3, heads=2),
                dropping("dropout_key", rate=0.25, is_causal=True),
            ),
            Case(
                "all sequences share keys, and one its values",
                lambda draw: (draw.normal(2, 3, 2, 2), draw.normal(1, 4, 2, 2), draw.normal(4, 2, 3)),
                {"is_causal": True},
                REPEATED,
            ),
            Case(
                "the same queries of two sequences",
                lambda draw: (draw.normal(3, 2, 2), draw.normal(2, 4, 1, 2), draw.normal(2, 4, 1, 2)),
                flags=REPEATED,
            ),
            Case("logits of 1e3", saturated, {"scale": 1.0}, SATURATED),
            Case("a key and a value twice", repeated, flags=REPEATED),
            Case("no heads ask", sizes(2, 3, 0, 2, keys=2, heads=2), flags=frozenset({Flag.ZERO_GRADIENT})),
            Case("one sequence, causal, more keys than queries", sizes(1, 3, 1, 2, keys=4), {"is_causal": True}, ONE),
            Case("no sequences", sizes(0, 3, 2, 2, keys=2), {"is_causal": True}, NONE),
        ),
        strategy=with_constant_bias,
        errors=(
            *shape_errors("dot_product_attention"),
            *option_errors("dot_product_attention", SMALL),
            Error("a bias of booleans", SMALL, TypeError, "bias must be an array of real numbers, got bool", {"bias": HOLES}),
            Error("a bias of another shape", SMALL, ValueError, "bias must have a shape that broadcasts", {"bias": np.ones(2)}),
        ),
        deviations=(
            Deviation(
                point="a query all of whose two keys are masked",
                ours=0.0,
                jax=0.5,
                why="what is masked must not be seen: the value is 0, as in torch, where JAX gives the mean of all values",
                measure=slopes_without_keys,
            ),
        ),
    ),
    Spec(
        dot_product_attention_with_bias,
        tier=2,
        reference=with_bias_by_queries,
        source=composed("jax.nn.softmax of one query and head at a time; jax.nn.dot_product_attention rounds to float32"),
        cases=(
            Case("a bias for each head", biased(2, 2, 3, arguments=SMALL)),
            Case("one for all queries, causal", biased(3, arguments=sizes(2, 3, 2, 2, keys=3)), {"is_causal": True}),
            Case(
                "no batch, holes, softcap",
                biased(2, 1, 3, arguments=sizes(2, 2, 2, keys=3)),
                {"mask": HOLES, "softcap": 1.5},
                MASKED,
            ),
            Case("dropout", biased(2, 2, 3, arguments=SMALL), dropping("dropout_key", rate=0.5)),
            Case("one sequence", one_with_bias, flags=ONE),
            Case("no sequences", biased(2, 3, arguments=sizes(0, 2, 2, 2, keys=3)), flags=NONE),
        ),
        strategy=with_learned_bias,
        errors=(
            *option_errors("dot_product_attention_with_bias", biased(2, 3, arguments=SMALL)),
            Error("a bias of another shape", biased(2, arguments=SMALL), ValueError, "bias must have a shape that broadcasts"),
        ),
    ),
)
