"""Entries chosen by their place: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.shaping.layout import NO_ROWS, ONE_ROW, bad, integer_x, numbers
from oracle.spec import Case, Draw, Flag, Spec, library
from purenet.shaping.indexing import gather, take_along_axis
from purenet.shaping.indexing import slice as slice_op

REPEATED = frozenset({Flag.REPEATED})
UNUSED = frozenset({Flag.ZERO_GRADIENT})


def slice_by_lax(x: Any, *, start_indices: Any, limit_indices: Any, strides: Any = None) -> Any:
    return jax.lax.slice(x, start_indices, limit_indices, strides)


def gather_by_take(x: Any, *, indices: Any, axis: int = 0) -> Any:
    return jnp.take(x, indices, axis)


def take_by_jax(x: Any, *, indices: Any, axis: int = -1) -> Any:
    return jnp.take_along_axis(x, indices, axis)


def slices(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = draw.shape(0, 3, 5)
    starts = tuple(draw.between(0, n - 1) for n in shape)
    limits = tuple(draw.between(a + 1, n) for a, n in zip(starts, shape, strict=True))
    options: dict[str, Any] = {"start_indices": starts, "limit_indices": limits}
    strides = {"strides": tuple(draw.between(1, 3) for _ in shape)}
    return (draw.normal(*shape),), options | draw.choice([{}, strides])


def gatherings(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x = draw.normal(*draw.shape(1, 3))
    axis = draw.between(-x.ndim, x.ndim - 1)
    return (x,), {"indices": draw.labels(x.shape[axis], *draw.shape(0, 2)), "axis": axis}


def takings(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = draw.shape(1, 3)
    axis = draw.between(-len(shape), len(shape) - 1)
    along = axis % len(shape)
    rows = tuple(draw.choice([n, 1]) for n in shape)
    chosen = tuple(draw.between(1, 5) if i == along else n for i, n in enumerate(draw.choice([shape, rows])))
    x = draw.normal(*(n if i == along else m for i, (n, m) in enumerate(zip(shape, draw.choice([shape, rows]), strict=True))))
    return (x,), {"indices": draw.labels(shape[along], *chosen), "axis": axis}


SPECS = (
    Spec(
        slice_op,
        reference=slice_by_lax,
        source=library("jax.lax.slice"),
        cases=(
            Case("a block", numbers(3, 5), {"start_indices": (1, 0), "limit_indices": (3, 4)}),
            Case("steps", numbers(4, 7, 2), {"start_indices": (0, 1, 0), "limit_indices": (4, 7, 2), "strides": (3, 2, 1)}),
            Case("all of it", numbers(2, 3), {"start_indices": (0, 0), "limit_indices": (2, 3)}),
            Case("nothing", numbers(2, 3), {"start_indices": (0, 2), "limit_indices": (2, 2)}, UNUSED),
            Case("a scalar", lambda draw: (np.array(0.5),), {"start_indices": (), "limit_indices": ()}),
            Case("one row", numbers(1, 4), {"start_indices": (0, 1), "limit_indices": (1, 3)}, ONE_ROW),
            Case("no rows", numbers(0, 4), {"start_indices": (0, 1), "limit_indices": (0, 3)}, NO_ROWS),
        ),
        strategy=slices,
        errors=(
            integer_x("slice", start_indices=0, limit_indices=1),
            bad(
                "slice",
                "behind the end",
                ValueError,
                "0 <= start_indices <= limit_indices <= (2, 3), the",
                start_indices=(0, 0),
                limit_indices=(2, 4),
            ),
            bad(
                "slice",
                "backwards",
                ValueError,
                "0 <= start_indices <= limit_indices",
                start_indices=(1, 0),
                limit_indices=(0, 3),
            ),
            bad(
                "slice", "negative", ValueError, "start_indices must be at least 0", start_indices=(-1, 0), limit_indices=(2, 3)
            ),
            bad(
                "slice", "too few", ValueError, "limit_indices must be an integer or", start_indices=(0, 0), limit_indices=(2,)
            ),
            bad("slice", "no step", ValueError, "strides must be at least 1", start_indices=0, limit_indices=1, strides=0),
            bad(
                "slice", "half", TypeError, "start_indices must be an integer or", start_indices=(0.5, 0), limit_indices=(2, 3)
            ),
            bad("slice", "no limits", TypeError, "missing the keyword argument 'limit_indices'", start_indices=(0, 0)),
        ),
        tier=2,
        views=True,
    ),
    Spec(
        gather,
        reference=gather_by_take,
        source=library("jax.numpy.take"),
        cases=(
            Case("rows, some twice", numbers(4, 3), {"indices": np.array([2, 0, 2, 2, 1])}, REPEATED),
            Case("a table of columns", numbers(2, 4, 3), {"indices": np.array([[3, 0], [1, 3]]), "axis": 1}, REPEATED),
            Case("the last axis", numbers(2, 3), {"indices": np.array([2, 0], np.uint8), "axis": -1}),
            Case("one index", numbers(3, 2), {"indices": 1}),
            Case("nothing", numbers(3, 2), {"indices": np.zeros((0, 2), int)}, UNUSED),
            Case("one row", numbers(1, 3), {"indices": np.array([1, 1]), "axis": 1}, ONE_ROW | REPEATED),
            Case("no rows", numbers(0, 3), {"indices": np.array([2, 2, 0]), "axis": 1}, NO_ROWS | REPEATED),
        ),
        strategy=gatherings,
        errors=(
            integer_x("gather", indices=np.array([0])),
            bad("gather", "behind the end", ValueError, "indices must be in 0..1, got 2", indices=np.array([0, 2])),
            bad("gather", "negative", ValueError, "indices must be in 0..2, got -1", indices=np.array([-1]), axis=1),
            bad("gather", "nothing to choose from", ValueError, "indices must be in 0..-1, got 0", 0, 3, indices=np.array([0])),
            bad("gather", "halves", TypeError, "indices must be integers, got float64", indices=np.array([0.5])),
            bad("gather", "booleans", TypeError, "indices must be integers, got bool", indices=np.array([True, False])),
            bad("gather", "no such axis", ValueError, "axis must be one of the 2 axes of x", indices=np.array([0]), axis=2),
            bad("gather", "no axis", TypeError, "axis must be an integer, got None", indices=np.array([0]), axis=None),
            bad("gather", "no indices", TypeError, "missing the keyword argument 'indices'"),
        ),
        tier=2,
    ),
    Spec(
        take_along_axis,
        reference=take_by_jax,
        source=library("jax.numpy.take_along_axis"),
        cases=(
            Case("columns, some twice", numbers(2, 3), {"indices": np.array([[2, 2, 0, 2], [1, 0, 1, 1]])}, REPEATED),
            Case("rows", numbers(3, 2, 2), {"indices": np.array([[[2, 0], [1, 1]]]), "axis": 0}),
            Case("one choice for all", numbers(2, 3, 2), {"indices": np.array([[[1], [1]]]), "axis": -2}, REPEATED),
            Case("one vector for all", numbers(1, 3), {"indices": np.array([[2, 0], [2, 1], [1, 1]]), "axis": 1}, REPEATED),
            Case("nothing", numbers(2, 3), {"indices": np.zeros((2, 0), int)}, UNUSED),
            Case("one row", numbers(1, 3), {"indices": np.array([[0, 2]])}, ONE_ROW),
            Case("no rows", numbers(0, 3), {"indices": np.zeros((0, 2), int)}, NO_ROWS),
        ),
        strategy=takings,
        errors=(
            integer_x("take_along_axis", indices=np.array([[0]])),
            bad(
                "take_along_axis", "behind the end", ValueError, "indices must be in 0..2, got 3", indices=np.array([[3], [0]])
            ),
            bad("take_along_axis", "negative", ValueError, "indices must be in 0..2, got -1", indices=np.array([[0], [-1]])),
            bad("take_along_axis", "halves", TypeError, "indices must be integers", indices=np.array([[0.5]])),
            bad(
                "take_along_axis",
                "a vector",
                ValueError,
                "indices must broadcast with x (2, 3) along all",
                indices=np.array([0]),
            ),
            bad("take_along_axis", "other rows", ValueError, "indices must broadcast with x", indices=np.zeros((3, 1), int)),
            bad("take_along_axis", "no such axis", ValueError, "axis must be one of", indices=np.array([[0]]), axis=2),
            bad("take_along_axis", "no axis", TypeError, "axis must be an integer", indices=np.array([0]), axis=None),
            bad("take_along_axis", "no indices", TypeError, "missing the keyword argument 'indices'"),
        ),
        tier=2,
    ),
)
