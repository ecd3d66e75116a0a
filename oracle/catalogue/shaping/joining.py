"""Arrays joined, cut and repeated: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from oracle.catalogue.shaping.layout import NO_ROWS, ONE_ROW, bad, integer_x, numbers
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.shaping.joining import concat, split, stack, tile


def several(*shapes: tuple[int, ...]) -> Any:
    """A tuple of arrays of these shapes, drawn, as one argument."""
    return lambda draw: (tuple(draw.normal(*shape) for shape in shapes),)


def concat_by_jax(arrays: Any, *, axis: int = 0) -> Any:
    return jnp.concatenate(arrays, axis)


def stack_by_jax(arrays: Any, *, axis: int = 0) -> Any:
    return jnp.stack(arrays, axis)


def split_by_jax(x: Any, *, indices_or_sections: Any, axis: int = 0) -> Any:
    return jnp.split(x, indices_or_sections, axis)


def tile_by_jax(x: Any, *, reps: Any) -> Any:
    return jnp.tile(x, reps)


def concatenations(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = draw.shape(1, 3)
    axis = draw.between(-len(shape), len(shape) - 1)
    kind = draw.choice([tuple, list])
    rows = [draw.between(1, 4) for _ in range(draw.between(1, 4))]
    shapes = [tuple(n if i == axis % len(shape) else m for i, m in enumerate(shape)) for n in rows]
    return (kind(draw.normal(*s) for s in shapes),), draw.choice([{"axis": axis}, {}] if axis == 0 else [{"axis": axis}])


def stacks(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = draw.shape()
    kind = draw.choice([tuple, list])
    return (kind(draw.normal(*shape) for _ in range(draw.between(1, 4))),), {"axis": draw.between(-len(shape) - 1, len(shape))}


def splits(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = list(draw.shape(1, 3))
    axis = draw.between(-len(shape), len(shape) - 1)
    sections = draw.between(1, 3)
    shape[axis] *= sections
    places = tuple(sorted(draw.between(0, shape[axis]) for _ in range(draw.between(0, 3))))
    return (draw.normal(*shape),), {"indices_or_sections": draw.choice([sections, places]), "axis": axis}


def tilings(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (draw.normal(*draw.shape()),), {"reps": draw.choice([draw.between(1, 3), draw.shape(0, 3, 3)])}


SPECS = (
    Spec(
        concat,
        reference=concat_by_jax,
        source=library("jax.numpy.concatenate"),
        cases=(
            Case("rows", several((2, 3), (1, 3), (4, 3))),
            Case("the last axis", several((2, 3, 1), (2, 3, 4)), {"axis": -1}),
            Case("channels", several((2, 1, 3, 2), (2, 3, 3, 2)), {"axis": 1}),
            Case("a list", lambda draw: ([draw.normal(3), draw.normal(2)],)),
            Case("one array", several((2, 3)), {"axis": 1}),
            Case("one twice", lambda draw: ((draw.normal(3),) * 2,), flags=frozenset({Flag.REPEATED})),
            Case("no rows", several((0, 2), (0, 3)), {"axis": 1}, NO_ROWS),
        ),
        strategy=concatenations,
        errors=(
            Error(
                "another axis differs",
                several((2, 3), (2, 4)),
                ValueError,
                "in axis 0 alone, but arrays.0 is (2, 3) and arrays.1 is (2, 4)",
            ),
            Error("another number of axes", several((2, 3), (2,)), ValueError, "concat: arrays must differ in axis 0 alone"),
            Error("no such axis", several((2,), (3,)), ValueError, "concat: axis must be one of the 1 axes", {"axis": 1}),
            Error("no axis", several((2,), (3,)), TypeError, "concat: axis must be an integer, got None", {"axis": None}),
            Error("nothing", several(), ValueError, "concat: arrays must hold at least one array"),
            Error("one array", numbers(2, 3), TypeError, "concat: arrays must be a tuple or list of arrays, got ndarray"),
            Error(
                "integers", lambda draw: ((draw.labels(9, 3),),), TypeError, "concat: arrays.0 must be a floating-point array"
            ),
            Error("two arguments", lambda draw: (draw.normal(3), draw.normal(3)), TypeError, "concat: takes 1 positional"),
        ),
    ),
    Spec(
        stack,
        reference=stack_by_jax,
        source=library("jax.numpy.stack"),
        cases=(
            Case("in front", several((2, 3), (2, 3), (2, 3))),
            Case("the last axis", several((2, 3), (2, 3)), {"axis": -1}),
            Case("in the middle of a list", lambda draw: ([draw.normal(2, 3), draw.normal(2, 3)],), {"axis": 1}),
            Case("scalars", lambda draw: ((np.array(0.5), np.array(-1.5)),)),
            Case("one array", several((2, 3)), {"axis": 1}),
            Case("no rows", several((0, 2), (0, 2)), {"axis": 1}, NO_ROWS),
        ),
        strategy=stacks,
        errors=(
            Error("two shapes", several((2,), (3,)), ValueError, "stack: arrays must have one shape, but arrays.0 is (2,) and"),
            Error("no such axis", several((2,), (2,)), ValueError, "stack: axis must be one of the 2 axes of the", {"axis": 2}),
            Error("two axes", several((2,), (2,)), TypeError, "stack: axis must be an integer, got (0, 1)", {"axis": (0, 1)}),
            Error("nothing", several(), ValueError, "stack: arrays must hold at least one array"),
            Error("one array", numbers(2, 3), TypeError, "stack: arrays must be a tuple or list of arrays, got ndarray"),
            Error(
                "integers", lambda draw: ((draw.labels(9, 3),),), TypeError, "stack: arrays.0 must be a floating-point array"
            ),
        ),
        tier=2,
    ),
    Spec(
        split,
        reference=split_by_jax,
        source=library("jax.numpy.split"),
        cases=(
            Case("equal parts", numbers(4, 3), {"indices_or_sections": 2}),
            Case("places", numbers(2, 5, 2), {"indices_or_sections": (1, 3), "axis": 1}),
            Case("an empty part", numbers(2, 4), {"indices_or_sections": (0, 2, 2), "axis": -1}),
            Case("one part", numbers(3), {"indices_or_sections": 1}),
            Case("one row", numbers(1, 4), {"indices_or_sections": 2, "axis": 1}, ONE_ROW),
            Case("no rows", numbers(0, 4), {"indices_or_sections": 2, "axis": 1}, NO_ROWS),
        ),
        strategy=splits,
        errors=(
            integer_x("split", indices_or_sections=1),
            bad(
                "split", "a part left over", ValueError, "indices_or_sections must divide the 2 entries", indices_or_sections=3
            ),
            bad("split", "no part", ValueError, "indices_or_sections must be at least 1, got 0", indices_or_sections=0),
            bad(
                "split",
                "out of order",
                ValueError,
                "indices_or_sections must ascend to at most 2, got",
                indices_or_sections=(2, 1),
            ),
            bad(
                "split",
                "behind the end",
                ValueError,
                "indices_or_sections must ascend to at most 2",
                indices_or_sections=(1, 3),
            ),
            bad("split", "negative", ValueError, "indices_or_sections must be at least 0", indices_or_sections=(-1, 1)),
            bad("split", "half", TypeError, "indices_or_sections must be an integer", indices_or_sections=0.5),
            bad("split", "no such axis", ValueError, "axis must be one of the 2 axes of x", indices_or_sections=1, axis=2),
        ),
        views=True,
    ),
    Spec(
        tile,
        reference=tile_by_jax,
        source=library("jax.numpy.tile"),
        cases=(
            Case("each axis", numbers(2, 3), {"reps": (3, 2)}),
            Case("fewer than axes", numbers(2, 3), {"reps": 2}),
            Case("more than axes", numbers(3), {"reps": (2, 1, 2)}),
            Case("a scalar", lambda draw: (np.array(0.5),), {"reps": (2, 3)}),
            Case("never", numbers(2, 3), {"reps": (1, 0)}, frozenset({Flag.ZERO_GRADIENT})),
            Case("one row", numbers(1, 3), {"reps": (3, 1)}, ONE_ROW),
            Case("no rows", numbers(0, 3), {"reps": (2, 2)}, NO_ROWS),
        ),
        strategy=tilings,
        errors=(
            integer_x("tile", reps=2),
            bad("tile", "negative", ValueError, "reps must be at least 0, got (2, -1)", reps=(2, -1)),
            bad("tile", "half", TypeError, "reps must be an integer or a tuple of 1, got 0.5", reps=0.5),
            bad("tile", "no repeats", TypeError, "missing the keyword argument 'reps'"),
        ),
        tier=2,
    ),
)
