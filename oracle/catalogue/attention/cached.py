"""Attention with a cache of keys and values: reference, cases, strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.attention.scaled_dot_product import attention_by_queries
from oracle.spec import Case, Draw, Error, Flag, Spec, composed
from purenet.attention import cached_attention


def cached_by_slices(cache: Any, query: Any, key: Any, value: Any, *, length: Any, **options: Any) -> Any:
    """Each sequence's cache is updated by jax.lax, and cut off behind the last new position."""
    if not len(query):
        return jnp.zeros((*query.shape[:3], value.shape[3]), query.dtype), cache
    lengths = np.broadcast_to(length, len(query))
    rows, keys, values = [], [], []
    for b, start in enumerate(map(int, lengths)):
        keys.append(jax.lax.dynamic_update_slice(cache["key"][b], key[b], (start, 0, 0)))
        values.append(jax.lax.dynamic_update_slice(cache["value"][b], value[b], (start, 0, 0)))
        end = start + query.shape[1]
        mask = np.tri(query.shape[1], end, start, dtype=bool)
        rows.append(attention_by_queries(query[b], keys[b][:end], values[b][:end], mask=mask, **options))
    return jnp.stack(rows), {"key": jnp.stack(keys), "value": jnp.stack(values)}


def step(
    batch: int, steps: int, size: int, *, heads: int = 2, shared: int = 1, width: int = 2, out: int = 3
) -> Callable[[Draw], tuple[Any, ...]]:
    """Draws a cache of `size` positions, and `steps` queries, keys and values."""

    def arguments(draw: Draw) -> tuple[Any, ...]:
        cache = {"key": draw.normal(batch, size, shared, width), "value": draw.normal(batch, size, shared, out)}
        query = draw.normal(batch, steps, heads, width)
        return cache, query, draw.normal(batch, steps, shared, width), draw.normal(batch, steps, shared, out)

    return arguments


def decoding(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    batch, steps, filled, free = draw.between(1, 2), draw.between(1, 2), draw.between(0, 2), draw.between(0, 2)
    shared = draw.between(1, 2)
    options: dict[str, Any] = {"length": filled}
    if draw.choice([False, True]):
        options["length"] = draw.generator.integers(0, filled + 1, size=batch)
    if draw.choice([False, True]):
        options["scale"] = draw.choice([0.5, -1.25])
    if draw.choice([False, True]):
        options["softcap"] = draw.choice([2.0, 10.0])
    heads = shared * draw.between(1, 2)
    sizes = {"heads": heads, "shared": shared, "width": draw.between(1, 3), "out": draw.between(1, 3)}
    return step(batch, steps, steps + filled + free, **sizes)(draw), options


def bad(what: str, match: str, by: type[Exception] = ValueError, **options: Any) -> Error:
    return Error(what, step(2, 1, 3), by, f"cached_attention: {match}", {"length": 1, **options})


def changed(place: int, *shape: int) -> Callable[[Draw], tuple[Any, ...]]:
    """The arguments of `step(2, 1, 3)`, one of them of another shape."""

    def arguments(draw: Draw) -> tuple[Any, ...]:
        given = list(step(2, 1, 3)(draw))
        given[place] = draw.normal(*shape)
        return tuple(given)

    return arguments


LENGTH = {"length": 1}

SPECS = (
    Spec(
        cached_attention,
        tier=2,
        reference=cached_by_slices,
        source=composed("jax.lax.dynamic_update_slice, then jax.nn.softmax of one query and head at a time"),
        cases=(
            Case("one new position", step(2, 1, 4), {"length": 2}),
            Case(
                "a prompt into an empty cache", step(1, 3, 4, heads=4, shared=2), {"length": 0}, frozenset({Flag.BATCH_OF_ONE})
            ),
            Case("sequences of other lengths", step(3, 2, 4), {"length": np.array([0, 2, 1]), "softcap": 2.0, "scale": 0.8}),
            Case("the last position", step(2, 1, 2, heads=1), {"length": 1}),
            Case("no sequences", step(0, 1, 3), LENGTH, frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=decoding,
        errors=(
            Error(
                "a query without a batch", changed(1, 1, 2, 2), ValueError, "cached_attention: query must have shape", LENGTH
            ),
            Error(
                "keys of another width", changed(2, 2, 1, 1, 3), ValueError, "key must have shape (B, T, heads, size)", LENGTH
            ),
            Error("values of another time", changed(3, 2, 2, 1, 3), ValueError, "value must have shape (B, T, heads,", LENGTH),
            Error("an array", changed(0, 2, 3, 1, 2), TypeError, "cached_attention: cache must be a dict", LENGTH),
            bad("a full cache", "length must be in 0..2, so that 1 more positions fit into the cache of 3, got 3", length=3),
            bad("negative", "length must be in 0..2", length=np.array([0, -1])),
            bad("a float", "length must be an integer or integers, got float64", TypeError, length=1.0),
            bad("other sequences", "length must have shape () or (2,), got (3,)", length=np.zeros(3, int)),
            bad("softcap 0", "softcap must be finite and greater than 0", softcap=0.0),
            bad("scale by name", "scale must be a number", TypeError, scale="auto"),
        ),
    ),
)
