"""Attention whose weights are products of features: reference, cases, strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from oracle.spec import Case, Draw, Error, Flag, Spec, composed
from purenet.attention import linear_attention

Arguments = tuple[Any, ...]


def by_matrix(query: Any, key: Any, value: Any, *, is_causal: bool = False, eps: float = 1e-6) -> Any:
    """The weights of all pairs as a matrix, of which a causal one keeps the lower triangle."""

    def features(x: Any) -> Any:
        return jnp.exp(jnp.minimum(x, 0)) + jax.nn.relu(x)

    weights = jnp.einsum("btnh,bsnh->bnts", features(query), features(key))
    if is_causal:
        weights = jnp.tril(weights)
    sums = jnp.einsum("bnts,bsnv->btnv", weights, value)
    return sums / (jnp.swapaxes(weights.sum(axis=-1), 1, 2)[..., None] + eps)


def attending(
    batch: int, queries: int, keys: int, *, heads: int = 2, width: int = 3, out: int = 2, scale: float = 1.0
) -> Callable[[Draw], Arguments]:
    """Draws queries, keys and values."""
    return lambda draw: (
        draw.away_from([0.0], batch, queries, heads, width, scale=scale),
        draw.away_from([0.0], batch, keys, heads, width, scale=scale),
        draw.normal(batch, keys, heads, out),
    )


def attentions(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    queries, keys = draw.between(2, 4), draw.between(2, 4)  # with one key nothing but eps has an effect on its weight
    options: dict[str, Any] = {}
    if draw.choice([False, True]):
        options["is_causal"], keys = True, queries
    if draw.choice([False, True]):
        options["eps"] = draw.choice([0.0, 0.5])
    sizes = {name: draw.between(1, 3) for name in ("heads", "width", "out")}
    return attending(draw.between(1, 3), queries, keys, **sizes)(draw), options


def changed(place: int, *shape: int) -> Callable[[Draw], Arguments]:
    """Arguments for 3 positions, of which one has another shape."""

    def arguments(draw: Draw) -> Arguments:
        given = list(attending(2, 3, 3)(draw))
        given[place] = draw.normal(*shape)
        return tuple(given)

    return arguments


def bad(what: str, match: str, place: int, *shape: int, **options: Any) -> Error:
    return Error(what, changed(place, *shape), ValueError, f"linear_attention: {match}", options)


CAUSAL = {"is_causal": True}

SPECS = (
    Spec(
        linear_attention,
        tier=3,
        reference=by_matrix,
        source=composed("the matrix of all weights by jax.numpy.einsum, its lower triangle if causal"),
        cases=(
            Case("as many queries as keys", attending(2, 3, 3, heads=1)),
            Case("more keys than queries", attending(2, 3, 4)),
            Case("causal", attending(2, 4, 4), CAUSAL),
            Case("causal, one head, values wider than keys", attending(1, 3, 3, heads=1, width=2, out=4), CAUSAL),
            Case("a large eps", attending(2, 2, 3), {"eps": 1.5}),
            Case("a large eps, causal", attending(1, 3, 3), {"eps": 1.5, **CAUSAL}),
            Case("far out", attending(2, 3, 3, scale=60.0), CAUSAL, frozenset({Flag.SATURATED})),
            Case("one position", attending(1, 1, 1), {"eps": 0.5, **CAUSAL}, frozenset({Flag.BATCH_OF_ONE})),
            Case("no sequences", attending(0, 2, 3), {}, frozenset({Flag.EMPTY_BATCH})),
            Case("no keys", attending(2, 2, 0), {}, frozenset({Flag.ZERO_GRADIENT})),
        ),
        strategy=attentions,
        errors=(
            bad("no heads", "query must have shape (B, T, N, H), got (2, 3, 3)", 0, 2, 3, 3),
            bad("keys of another width", "key must have shape (2, S, 2, 3) to match query, got (2, 3, 2, 4)", 1, 2, 3, 2, 4),
            bad("fewer values", "value must have shape (2, 3, 2, V) to match key, got (2, 2, 2, 2)", 2, 2, 2, 2, 2),
            bad(
                "more queries than keys",
                "query and key must have as many positions if is_causal, got 4 and 3",
                *(0, 2, 4, 2, 3),
                **CAUSAL,
            ),
            Error(
                "negative eps",
                attending(1, 2, 2),
                ValueError,
                "linear_attention: eps must be finite and at least 0, got -1.0",
                {"eps": -1.0},
            ),
            Error(
                "causal by name",
                attending(1, 2, 2),
                TypeError,
                "linear_attention: is_causal must be True or False, got 'yes'",
                {"is_causal": "yes"},
            ),
        ),
    ),
)
