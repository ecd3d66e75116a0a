"""Entries in the order of their size: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.shaping.layout import NO_ROWS, ONE_ROW, bad, integer_x, numbers
from oracle.spec import Case, Draw, Flag, Spec, library
from purenet.shaping.ordering import sort, top_k

TIED = frozenset({Flag.AT_KINK, Flag.REPEATED})
TIES = np.array([[2.0, -1.0, 2.0, 0.5], [1.0, 3.0, 3.0, 3.0]])


def sort_by_jax(x: Any, *, axis: int = -1) -> Any:
    return jnp.sort(x, axis=axis)


def top_k_by_lax(x: Any, *, k: int, axis: int = -1) -> Any:
    return jnp.moveaxis(jax.lax.top_k(jnp.moveaxis(x, axis, -1), k)[0], -1, axis)


def apart(draw: Draw, *shape: int) -> Any:
    """Numbers that are not close to each other, in any order."""
    order = draw.generator.permutation(int(np.prod(shape)))
    return ((order + draw.uniform(order.size, low=-0.3, high=0.3)) / 4 - 1).reshape(shape)


def sortings(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = draw.shape(1, 3)
    return (apart(draw, *shape),), {"axis": draw.between(0, len(shape) - 1) - draw.choice([0, len(shape)])}


def choices(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    (x,), options = sortings(draw)
    return (x,), options | {"k": draw.between(1, x.shape[options["axis"]])}


SPECS = (
    Spec(
        sort,
        tier=2,
        reference=sort_by_jax,
        source=library("jax.numpy.sort"),
        cases=(
            Case("rows", numbers(3, 5)),
            Case("columns", numbers(4, 3), {"axis": 0}),
            Case("the middle axis", numbers(2, 3, 2), {"axis": -2}),
            Case("far out", lambda draw: (np.array([1e4, -1e4, 30.0, -30.0, 0.5]),), flags=frozenset({Flag.SATURATED})),
            Case("ties", lambda draw: (TIES,), flags=TIED),
            Case("one row", numbers(1, 4), flags=ONE_ROW),
            Case("no rows", numbers(0, 4), flags=NO_ROWS),
        ),
        strategy=sortings,
        errors=(
            integer_x("sort"),
            bad("sort", "no such axis", ValueError, "axis must be one of the 2 axes of x (2, 3), got 2", axis=2),
            bad("sort", "all axes", TypeError, "axis must be an integer, got None", axis=None),
        ),
    ),
    Spec(
        top_k,
        tier=2,
        reference=top_k_by_lax,
        source=library("jax.lax.top_k"),
        cases=(
            Case("two of five", numbers(3, 5), {"k": 2}),
            Case("columns", numbers(4, 3), {"k": 3, "axis": 0}),
            Case("the largest of the middle axis", numbers(2, 3, 2), {"k": 1, "axis": -2}),
            Case("all", numbers(2, 4), {"k": 4}),
            Case("none", numbers(2, 4), {"k": 0}, frozenset({Flag.ZERO_GRADIENT})),
            Case("far out", lambda draw: (np.array([1e4, -1e4, 30.0, -30.0, 0.5]),), {"k": 3}, frozenset({Flag.SATURATED})),
            Case("ties", lambda draw: (TIES,), {"k": 2}, TIED),
            Case("many rows", lambda draw: (apart(draw, 30, 29),), {"k": 2}),
            Case("one row", numbers(1, 4), {"k": 2}, ONE_ROW),
            Case("no rows", numbers(0, 4), {"k": 2}, NO_ROWS),
        ),
        strategy=choices,
        errors=(
            integer_x("top_k", k=1),
            bad("top_k", "too many", ValueError, "k must be in 0..3, the size of axis -1 of x (2, 3), got 4", k=4),
            bad("top_k", "fewer than none", ValueError, "k must be at least 0, got -1", k=-1),
            bad("top_k", "half", TypeError, "k must be an integer, got 0.5", k=0.5),
            bad("top_k", "no number", TypeError, "missing the keyword argument 'k'"),
            bad("top_k", "no such axis", ValueError, "axis must be one of the 2 axes of x (2, 3), got -3", k=1, axis=-3),
        ),
    ),
)
