"""Axes of size 1, and arrays repeated to a shape: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from oracle.catalogue.shaping.layout import NO_ROWS, ONE_ROW, bad, integer_x, numbers
from oracle.spec import Case, Draw, Flag, Spec, library
from purenet.shaping.broadcasting import broadcast_to, squeeze


def squeeze_by_jax(x: Any, *, axis: Any = None) -> Any:
    return jnp.squeeze(x, axis)


def broadcast_by_jax(x: Any, *, shape: Any) -> Any:
    return jnp.broadcast_to(x, (shape,) if isinstance(shape, int) else shape)


def squeezes(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x = draw.normal(1, *draw.shape(0, 2), 1)
    return (x,), {"axis": draw.choice([None, 0, -1, (0, -1), (x.ndim - 1, 0)])}


def broadcasts(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = draw.shape(1, 4)
    kept = tuple(draw.choice([n, 1]) for n in shape[draw.between(0, len(shape)) :])
    return (draw.normal(*kept),), {"shape": draw.choice([shape, list(shape)])}


SPECS = (
    Spec(
        squeeze,
        tier=2,
        reference=squeeze_by_jax,
        source=library("jax.numpy.squeeze"),
        cases=(
            Case("all axes of size 1", numbers(1, 3, 1, 2)),
            Case("none has size 1", numbers(2, 3)),
            Case("some axes", numbers(1, 3, 1, 2, 1), {"axis": (-1, 0)}),
            Case("to a point", numbers(1, 1), {"axis": (0, 1)}),
            Case("one row", numbers(1, 3), {"axis": 0}, ONE_ROW),
            Case("no rows", numbers(0, 1, 3), {"axis": 1}, NO_ROWS),
        ),
        strategy=squeezes,
        errors=(
            integer_x("squeeze"),
            bad("squeeze", "an axis of another size", ValueError, "axis must name axes of size 1 of x (2, 3), got 1", axis=1),
            bad("squeeze", "no such axis", ValueError, "axis must be one of the 2 axes of x (2, 3), got 2", axis=2),
            bad("squeeze", "the same axis twice", ValueError, "axis must name each axis once", 1, 3, axis=(0, -2)),
            bad("squeeze", "half an axis", TypeError, "axis must be an integer, a tuple of integers or None", axis=0.5),
        ),
        views=True,
    ),
    Spec(
        broadcast_to,
        tier=2,
        reference=broadcast_by_jax,
        source=library("jax.numpy.broadcast_to"),
        cases=(
            Case("new axes", numbers(3), {"shape": (2, 4, 3)}),
            Case("axes of size 1", numbers(2, 1, 1), {"shape": (2, 3, 4)}),
            Case("both", numbers(3, 1), {"shape": (2, 3, 4)}),
            Case("the same shape", numbers(2, 3), {"shape": (2, 3)}),
            Case("a point", numbers(), {"shape": 3}),
            Case("one row", numbers(1, 3), {"shape": (1, 3)}, ONE_ROW),
            Case("no rows", numbers(0, 3), {"shape": (2, 0, 3)}, NO_ROWS),
            Case("repeated zero times", numbers(3), {"shape": (0, 3)}, frozenset({Flag.ZERO_GRADIENT})),
        ),
        strategy=broadcasts,
        errors=(
            integer_x("broadcast_to", shape=(2, 3)),
            bad("broadcast_to", "another size", ValueError, "x (2, 3) must broadcast to shape, got (3, 2)", shape=(3, 2)),
            bad("broadcast_to", "an axis less", ValueError, "x (2, 3) must broadcast to shape, got 3", shape=3),
            bad("broadcast_to", "to be inferred", ValueError, "shape must be at least 0, got (-1, 3)", shape=(-1, 3)),
            bad("broadcast_to", "half", TypeError, "shape must be an integer or a tuple of 2, got (1.5, 3)", shape=(1.5, 3)),
            bad("broadcast_to", "no shape", TypeError, "missing the keyword argument 'shape'"),
        ),
    ),
)
