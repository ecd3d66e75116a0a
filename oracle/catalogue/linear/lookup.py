"""Embeddings: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.spec import Case, Draw, Error, Flag, Spec, composed, library
from purenet.linear import embedding, embedding_bag, embedding_dot, unembedding


def embedding_by_indexing(
    params: dict[str, Any], *, ids: Any, padding_idx: int | None = None, scale_grad_by_freq: bool = False
) -> Any:
    w = params["w"]
    learns = jnp.ones(len(w), w.dtype)  # the share of its gradient that a row gets
    if scale_grad_by_freq:
        learns = jnp.stack([1 / max(int(np.sum(ids == v)), 1) for v in range(len(w))]).astype(w.dtype)
    if padding_idx is not None:
        learns = learns.at[padding_idx].set(0)
    w = jax.lax.stop_gradient(w) + learns[:, None] * (w - jax.lax.stop_gradient(w))
    return w.at[jnp.asarray(ids)].get(mode="promise_in_bounds")


def dot_by_one_hot(params: dict[str, Any], h: Any, *, ids: Any) -> Any:
    chosen = jax.nn.one_hot(jnp.asarray(ids), params["w"].shape[0], dtype=h.dtype)
    return jnp.einsum("...kv,...v->...k" if np.ndim(ids) == h.ndim else "...v,...v->...", chosen, h @ params["w"].T)


def unembedding_by_rows(params: dict[str, Any], h: Any) -> Any:
    return jnp.stack([jnp.einsum("...d,d->...", h, row) for row in params["w"]], axis=-1)


def bag_by_mask(
    params: dict[str, Any], *, ids: Any, offsets: Any = None, mode: str = "mean", padding_idx: int | None = None
) -> Any:
    """Every bag as a row of all ids, with a mask of those in it."""
    w, ids = params["w"], np.asarray(ids)
    if offsets is None:
        bags, count = np.repeat(np.arange(ids.shape[0]), ids.shape[1]), ids.shape[0]
    else:
        bags, count = np.searchsorted(np.asarray(offsets), np.arange(len(ids)), side="right") - 1, len(offsets)
    inside = np.arange(count)[:, None] == bags
    if padding_idx is not None:
        inside &= ids.reshape(-1) != padding_idx
    empty = ~inside.any(axis=1)[:, None]
    inside = jnp.asarray(inside[:, :, None])
    rows = w[ids.reshape(-1)][None]
    if mode == "max":
        return jnp.where(empty, 0, jnp.max(jnp.where(inside, rows, -jnp.inf), axis=1, initial=-jnp.inf))
    if mode == "sum":
        return jnp.sum(rows, axis=1, where=inside)
    return jnp.where(empty, 0, jnp.sum(rows, axis=1, where=inside) / jnp.maximum(inside.sum(axis=1), 1).astype(w.dtype))


def table(*shape: int) -> Callable[[Draw], tuple[Any, ...]]:
    """Draws a table of this shape."""
    return lambda draw: ({"w": draw.normal(*shape)},)


def table_and_h(rows: int, *shape: int) -> Callable[[Draw], tuple[Any, ...]]:
    """Draws a table of so many rows, and h of this shape."""
    return lambda draw: ({"w": draw.normal(rows, shape[-1])}, draw.normal(*shape))


def embeddings(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    rows, width = draw.between(1, 6), draw.between(1, 4)
    return table(rows, width)(draw), {"ids": draw.labels(rows, *draw.shape(0, 3))}


def dots(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    rows, width, leading = draw.between(1, 5), draw.between(1, 4), draw.shape(0, 2, 3)
    shape = draw.choice([leading, (*leading, draw.between(1, 3))])
    return table_and_h(rows, *leading, width)(draw), {"ids": draw.labels(rows, *shape)}


def bags(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    rows, count = draw.between(2, 5), draw.between(1, 4)
    options: dict[str, Any] = {"mode": draw.choice(["mean", "sum", "max"])}
    if draw.choice([False, True]):
        sizes = [draw.between(0, 3) for _ in range(count)]
        sizes[draw.between(0, count - 1)] += 1  # where all bags are empty there is no gradient to look at
        options |= {"ids": draw.labels(rows, sum(sizes)), "offsets": np.cumsum([0, *sizes[:-1]])}
    else:
        options["ids"] = draw.labels(rows, count, draw.between(1, 3))
    if draw.choice([False, True]):
        options["padding_idx"] = 0
        options["ids"].reshape(-1)[0] = 1
    return table(rows, draw.between(1, 3))(draw), options


ONE, NONE = frozenset({Flag.BATCH_OF_ONE}), frozenset({Flag.EMPTY_BATCH})
REPEATED, MASKED = frozenset({Flag.REPEATED}), frozenset({Flag.MASKED})
CONVENTION = frozenset({Flag.NOT_THE_DERIVATIVE})

IDS = np.array([2, 0, 2, 4, 2])
STRETCHES = {"ids": np.array([1, 3, 1, 1, 0, 3, 2]), "offsets": np.array([0, 0, 3, 6, 6])}


def bad(arguments: Any, op: str, what: str, match: str, options: dict[str, Any], by: type[Exception] = ValueError) -> Error:
    return Error(what, arguments, by, f"{op}: {match}", options)


def bad_ids(what: str, ids: Any, match: str, by: type[Exception] = ValueError, **options: Any) -> Error:
    return bad(table(5, 3), "embedding", what, match, {"ids": ids, **options}, by)


def bad_dot(what: str, match: str, ids: Any, by: type[Exception] = ValueError) -> Error:
    return bad(table_and_h(5, 2, 3), "embedding_dot", what, match, {"ids": ids}, by)


def bad_bag(what: str, match: str, by: type[Exception] = ValueError, **options: Any) -> Error:
    return bad(table(5, 3), "embedding_bag", what, match, options, by)


SPECS = (
    Spec(
        embedding,
        reference=embedding_by_indexing,
        source=library("jax.numpy indexing"),
        cases=(
            Case("repeated ids", table(5, 3), {"ids": IDS}, REPEATED),
            Case("two dimensions of ids, none twice", table(6, 2), {"ids": np.array([[5, 0, 3], [1, 2, 4]])}),
            Case("one id, of one row", table(1, 4), {"ids": np.int64(0)}, ONE),
            Case("all the same", table(3, 2), {"ids": np.full((2, 2), 1, np.uint8)}, REPEATED),
            Case("padding that does not occur", table(5, 3), {"ids": IDS, "padding_idx": 1}, REPEATED),
            Case("padding", table(5, 3), {"ids": IDS, "padding_idx": 2}, REPEATED | CONVENTION),
            Case("by frequency", table(5, 3), {"ids": IDS, "scale_grad_by_freq": True}, REPEATED | CONVENTION),
            Case(
                "by frequency, two dimensions, without the last row",
                table(4, 2),
                {"ids": np.array([[2, 0, 2], [2, 1, 0]]), "scale_grad_by_freq": True},
                REPEATED | CONVENTION,
            ),
            Case("no ids", table(3, 2), {"ids": np.zeros(0, np.int64)}, NONE),
        ),
        strategy=embeddings,
        errors=(
            bad_ids("id too large", np.array([0, 5]), "ids must be in 0..4, got 5"),
            bad_ids("negative id", np.array([0, -1]), "ids must be in 0..4, got -1"),
            bad_ids("ids of float type", np.array([0.0]), "ids must be integers, got float64", TypeError),
            bad_ids("boolean ids", np.array([True]), "ids must be integers, got bool", TypeError),
            bad_ids("padding out of range", IDS, "padding_idx must be in 0..4, got 5", padding_idx=5),
            bad_ids("no ids", None, "ids must be integers", TypeError),
            bad(table(5), "embedding", "a table of scalars", "params.w must have shape (rows, width), got (5,)", {"ids": IDS}),
        ),
    ),
    Spec(
        embedding_dot,
        reference=dot_by_one_hot,
        source=composed("jax.nn.one_hot, from the products with all rows"),
        cases=(
            Case("one row each", table_and_h(5, 4, 3), {"ids": np.array([2, 0, 2, 4])}, REPEATED),
            Case("three rows each", table_and_h(4, 2, 5), {"ids": np.array([[1, 0, 1], [3, 1, 1]])}, REPEATED),
            Case("two leading dimensions", table_and_h(7, 2, 3, 2), {"ids": np.array([[1, 0, 6], [3, 2, 5]])}),
            Case("no leading dimension", table_and_h(4, 3), {"ids": np.array([3, 0])}),
            Case("batch of one", table_and_h(4, 1, 3), {"ids": np.array([2])}, ONE),
            Case("no rows", table_and_h(4, 0, 3), {"ids": np.zeros((0, 2), np.int64)}, NONE),
        ),
        strategy=dots,
        errors=(
            bad_dot("id too large", "ids must be in 0..4, got 5", np.array([0, 5])),
            bad_dot("negative id", "ids must be in 0..4, got -2", np.array([0, -2])),
            bad_dot("ids of float type", "ids must be integers, got float64", np.array([0.0, 1.0]), TypeError),
            bad_dot("ids of another shape", "ids must have shape (2,) or (*(2,), k) to match h (2, 3), got (3,)", np.arange(3)),
            bad(
                lambda draw: ({"w": draw.normal(5, 3)}, draw.normal(2, 4)),
                "embedding_dot",
                "h of another width",
                "h must have shape (..., 3) to match params.w (5, 3), got (2, 4)",
                {"ids": np.array([0, 1])},
            ),
        ),
    ),
    Spec(
        unembedding,
        tier=2,
        reference=unembedding_by_rows,
        source=composed("jnp.einsum, one row of the table at a time"),
        cases=(
            Case("two leading dimensions", table_and_h(5, 2, 3, 2)),
            Case("no leading dimension", table_and_h(4, 3)),
            Case("batch of one", table_and_h(2, 1, 3), flags=ONE),
            Case("no rows", table_and_h(4, 0, 3), flags=NONE),
        ),
        strategy=lambda draw: (table_and_h(draw.between(1, 4), *draw.shape(0, 2), draw.between(1, 3))(draw), {}),
        errors=(
            Error(
                "h of another width",
                lambda draw: ({"w": draw.normal(5, 3)}, draw.normal(2, 4)),
                ValueError,
                "unembedding: h must have shape (..., 3) to match params.w (5, 3), got (2, 4)",
            ),
            Error(
                "a table of scalars",
                lambda draw: ({"w": draw.normal(5)}, draw.normal(2, 4)),
                ValueError,
                "unembedding: params.w must have shape (rows, width), got (5,)",
            ),
            Error("a list", lambda draw: ([], draw.normal(3)), TypeError, "unembedding: params must be a dict with w"),
        ),
    ),
    Spec(
        embedding_bag,
        tier=2,
        reference=bag_by_mask,
        source=composed("a masked sum, mean or maximum of all rows"),
        cases=(
            Case("mean of bags of two", table(5, 3), {"ids": np.array([[1, 3], [3, 3], [0, 4]])}, REPEATED),
            Case("sum, empty bags", table(4, 3), {**STRETCHES, "mode": "sum"}, REPEATED),
            Case("mean, empty bags", table(5, 2), {**STRETCHES, "mode": "mean"}, REPEATED),
            Case("maximum, empty bags, padding", table(4, 3), {**STRETCHES, "mode": "max", "padding_idx": 3}, MASKED),
            Case("mean with padding", table(4, 2), {**STRETCHES, "padding_idx": 1}, MASKED),
            Case(
                "tied maxima",
                lambda draw: ({"w": np.array([[1.0, 2.0], [1.0, 0.5], [-1.0, 2.0]])},),
                {"ids": np.array([[0, 1, 2], [1, 0, 1]]), "mode": "max"},
                frozenset({Flag.REPEATED, Flag.AT_KINK}),
            ),
            Case("one bag", table(3, 2), {"ids": np.array([[2, 0, 2]])}, ONE),
            Case("no bags", table(3, 2), {"ids": np.zeros((0, 2), np.int64), "mode": "max"}, NONE),
        ),
        strategy=bags,
        errors=(
            bad_bag("id too large", "ids must be in 0..4, got 5", ids=np.array([[5]])),
            bad_bag("unknown mode", "mode must be one of 'sum', 'mean', 'max', got 'min'", ids=np.array([[0]]), mode="min"),
            bad_bag(
                "flat ids without offsets",
                "ids must have shape (bags, length), or (ids,) with offsets, got (2,)",
                ids=np.array([0, 1]),
            ),
            bad_bag(
                "descending offsets",
                "offsets must ascend from 0 to at most 2",
                ids=np.array([0, 1]),
                offsets=np.array([0, 2, 1]),
            ),
            bad_bag(
                "offsets beyond the ids",
                "offsets must ascend from 0 to at most 2",
                ids=np.array([0, 1]),
                offsets=np.array([0, 3]),
            ),
            bad_bag("offsets that start late", "offsets must ascend from 0", ids=np.array([0, 1]), offsets=np.array([1])),
            bad_bag("offsets of float type", "offsets must be integers", TypeError, ids=np.array([0, 1]), offsets=np.zeros(1)),
            bad_bag(
                "matrix of ids with offsets",
                "with offsets, ids and offsets must be vectors",
                ids=np.array([[0, 1]]),
                offsets=np.array([0]),
            ),
        ),
    ),
)
