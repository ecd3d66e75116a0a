"""The same entries in another shape or order: references, cases, strategies."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.blocks import filled, in_small_blocks
from oracle.spec import Case, Draw, Error, Flag, Spec, composed, library
from purenet.shaping import layout
from purenet.shaping.layout import (
    ensure_shape,
    expand_dims,
    flatten,
    flip,
    pixel_shuffle,
    reshape,
    transpose,
)

NO_ROWS = frozenset({Flag.EMPTY_BATCH})
ONE_ROW = frozenset({Flag.BATCH_OF_ONE})


def numbers(*shape: int) -> Any:
    """One array of this shape, drawn."""
    return lambda draw: (draw.normal(*shape),)


def bad(op: str, name: str, exception: type[Exception], match: str, *shape: int, **options: Any) -> Error:
    """What an array of this shape, or one of 2 x 3, with these options must raise."""
    return Error(name, numbers(*(shape or (2, 3))), exception, f"{op}: {match}", options)


def integer_x(op: str, **options: Any) -> Error:
    return Error(
        "integer x", lambda draw: (draw.labels(9, 2, 3),), TypeError, f"{op}: x must be a floating-point array", options
    )


def reshape_by_jax(x: Any, *, shape: Any) -> Any:
    return jnp.reshape(x, shape)


def ensured_by_broadcast(x: Any, *, shape: Any) -> Any:
    return jnp.broadcast_to(x, [m if n is None else n for n, m in zip(shape, x.shape, strict=True)])


def flatten_by_collapse(x: Any, *, start_dim: int = 1, end_dim: int = -1) -> Any:
    return jax.lax.collapse(x, start_dim % x.ndim, end_dim % x.ndim + 1)


def expand_dims_by_jax(x: Any, *, axis: Any) -> Any:
    return jnp.expand_dims(x, axis)


def transpose_by_jax(x: Any, *, axes: Any = None) -> Any:
    return jnp.transpose(x, axes)


def flip_by_jax(x: Any, *, axis: Any = None) -> Any:
    return jnp.flip(x, axis)


def pixels_by_index(x: Any, *, upscale_factor: int) -> Any:
    r = upscale_factor
    channels, height, width = x.shape[-3:]
    c, h, w = np.ogrid[: channels // r**2, : height * r, : width * r]
    pixels = ((c * r**2 + (h % r) * r + w % r) * height + h // r) * width + w // r
    return jnp.take(x.reshape(*x.shape[:-3], channels * height * width), pixels, axis=-1)


def axes_of(draw: Draw, x: Any) -> Any:
    """None, an axis, or several, counted from either end."""
    order = draw.generator.permutation(x.ndim)[: draw.between(1, x.ndim)]
    several = tuple(int(i) - draw.choice([0, x.ndim]) for i in order)
    return draw.choice([None, several[0], several])


def reshapes(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    sizes = draw.shape(0, 4)
    shape: list[int] = [math.prod(sizes[:2]), *sizes[2:][::-1]]
    if draw.choice([True, False]):
        shape[draw.between(0, len(shape) - 1)] = -1
    return (draw.normal(*sizes),), {"shape": draw.choice([tuple(shape), -1])}


def ensured(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    sizes = draw.shape()
    return (draw.normal(*sizes),), {"shape": tuple(draw.choice([n, None]) for n in sizes)}


def flattenings(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x = draw.normal(*draw.shape(2, 4))
    start = draw.between(0, x.ndim - 1)
    end = draw.between(start, x.ndim - 1) - draw.choice([0, x.ndim])
    return (x,), draw.choice([{}, {"start_dim": start}, {"start_dim": start - x.ndim, "end_dim": end}])


def expansions(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x = draw.normal(*draw.shape())
    new = draw.between(1, 3)
    several = tuple(int(i) for i in draw.generator.permutation(x.ndim + new)[:new] - draw.choice([0, x.ndim + new]))
    return (x,), {"axis": draw.choice([draw.between(-x.ndim - 1, x.ndim), several])}


def transpositions(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x = draw.normal(*draw.shape(1, 4))
    order = tuple(int(i) for i in draw.generator.permutation(x.ndim) - draw.choice([0, x.ndim]))
    return (x,), draw.choice([{}, {"axes": order}])


def flips(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x = draw.normal(*draw.shape(1, 3))
    return (x,), {"axis": axes_of(draw, x)}


def shuffles(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    r = draw.between(1, 3)
    *batch, c, h, w = (draw.between(1, 3) for _ in range(draw.between(3, 4)))
    return (draw.normal(*batch, c * r**2, h, w),), {"upscale_factor": r}


SPECS = (
    Spec(
        reshape,
        reference=reshape_by_jax,
        source=library("jax.numpy.reshape"),
        cases=(
            Case("other axes", numbers(2, 3, 4), {"shape": (4, 6)}),
            Case("a size to infer", numbers(3, 4, 2), {"shape": (2, -1, 3)}),
            Case("one axis", numbers(2, 3), {"shape": -1}),
            Case("no axes", numbers(1, 1), {"shape": ()}),
            Case("one row", numbers(1, 2, 3), {"shape": (1, -1)}, ONE_ROW),
            Case("no rows", numbers(0, 2, 3), {"shape": (-1, 6)}, NO_ROWS),
        ),
        strategy=reshapes,
        errors=(
            integer_x("reshape", shape=6),
            bad("reshape", "another size", ValueError, "shape must hold the 6 entries of x (2, 3), got (4, 2)", shape=(4, 2)),
            bad("reshape", "no size to infer", ValueError, "shape must hold the 6 entries of x", shape=(4, -1)),
            bad("reshape", "two sizes to infer", ValueError, "shape must hold the 6 entries of x", shape=(-1, -1)),
            bad("reshape", "any size", ValueError, "shape must hold the 0 entries of x", 0, 3, shape=(0, -1)),
            bad("reshape", "negative", ValueError, "shape must be at least -1, got (-2, 3)", shape=(-2, 3)),
            bad("reshape", "half", TypeError, "shape must be an integer or a tuple of 2, got (1.5, 4)", shape=(1.5, 4)),
            bad("reshape", "no shape", TypeError, "missing the keyword argument 'shape'"),
        ),
        views=True,
    ),
    Spec(
        ensure_shape,
        tier=2,
        reference=ensured_by_broadcast,
        source=library("jax.numpy.broadcast_to, to the same shape"),
        cases=(
            Case("images of any number", numbers(2, 1, 3, 2), {"shape": (None, 1, 3, 2)}),
            Case("every size", numbers(2, 3), {"shape": (2, 3)}),
            Case("a point", numbers(), {"shape": ()}),
            Case("one row", numbers(1, 3), {"shape": (None, 3)}, ONE_ROW),
            Case("no rows", numbers(0, 3), {"shape": (None, 3)}, NO_ROWS),
        ),
        strategy=ensured,
        errors=(
            integer_x("ensure_shape", shape=(2, 3)),
            bad("ensure_shape", "another size", ValueError, "x must have shape (any, 4), got (2, 3)", shape=(None, 4)),
            bad("ensure_shape", "an axis less", ValueError, "x must have shape (3,), got (2, 3)", shape=(3,)),
            bad("ensure_shape", "an axis more", ValueError, "x must have shape (2, 3, any), got (2, 3)", shape=(2, 3, None)),
            bad("ensure_shape", "a number", TypeError, "shape must be a tuple of integers and None, got 3", shape=3),
            bad(
                "ensure_shape",
                "half a row",
                TypeError,
                "shape must be a tuple of integers and None, got (0.5, 3)",
                shape=(0.5, 3),
            ),
            bad("ensure_shape", "a size below 0", ValueError, "shape must hold no size below 0, got (-1, 3)", shape=(-1, 3)),
            bad("ensure_shape", "no shape", TypeError, "missing the keyword argument 'shape'"),
        ),
        views=True,
    ),
    Spec(
        flatten,
        reference=flatten_by_collapse,
        source=library("jax.lax.collapse"),
        cases=(
            Case("images", numbers(2, 3, 2, 3)),
            Case("some axes", numbers(2, 3, 2, 3), {"start_dim": -3, "end_dim": 2}),
            Case("one axis", numbers(2, 3), {"start_dim": 1, "end_dim": 1}),
            Case("one row", numbers(1, 3, 2), flags=ONE_ROW),
            Case("no rows", numbers(0, 3, 2), flags=NO_ROWS),
        ),
        strategy=flattenings,
        errors=(
            integer_x("flatten"),
            bad("flatten", "no such axis", ValueError, "start_dim must be one of the 1 axes of x (3,), got 1", 3),
            bad(
                "flatten",
                "wrong order",
                ValueError,
                "start_dim must not come after end_dim in x (2, 3), got 1 and 0",
                end_dim=0,
            ),
            bad("flatten", "two axes", TypeError, "end_dim must be an integer, got (0, 1)", end_dim=(0, 1)),
        ),
        views=True,
    ),
    Spec(
        expand_dims,
        reference=expand_dims_by_jax,
        source=library("jax.numpy.expand_dims"),
        cases=(
            Case("in front", numbers(3, 2), {"axis": 0}),
            Case("several", numbers(3, 2), {"axis": (-1, 1)}),
            Case("a scalar", lambda draw: (np.array(0.5),), {"axis": 0}),
            Case("one row", numbers(1, 3), {"axis": -1}, ONE_ROW),
            Case("no rows", numbers(0, 3), {"axis": 1}, NO_ROWS),
        ),
        strategy=expansions,
        errors=(
            integer_x("expand_dims", axis=0),
            bad("expand_dims", "no such axis", ValueError, "axis must be one of the 3 axes of the result, got 3", axis=3),
            bad("expand_dims", "an axis twice", ValueError, "axis must name each axis once, got (0, -4)", axis=(0, -4)),
            bad("expand_dims", "half", TypeError, "axis must be an integer or a tuple of integers, got 0.5", axis=0.5),
            bad("expand_dims", "no axis", TypeError, "missing the keyword argument 'axis'"),
        ),
        tier=2,
        views=True,
    ),
    Spec(
        in_small_blocks(transpose, ((layout, {"LONG": 4, "STRIP": 2, "empty": filled}),)),
        reference=transpose_by_jax,
        source=library("jax.numpy.transpose"),
        cases=(Case("strips of two columns", numbers(2, 2, 9), {"axes": (2, 0, 1)}),),
        strategy=transpositions,
        tier=2,
        views=True,
    ),
    Spec(
        transpose,
        reference=transpose_by_jax,
        source=library("jax.numpy.transpose"),
        cases=(
            Case("a matrix", numbers(3, 4)),
            Case("another order", numbers(2, 3, 4, 2), {"axes": (2, 0, -1, 1)}),
            Case("a scalar", lambda draw: (np.array(0.5),)),
            Case("one row", numbers(1, 3, 2), {"axes": (0, 2, 1)}, ONE_ROW),
            Case("no rows", numbers(0, 3), flags=NO_ROWS),
        ),
        strategy=transpositions,
        errors=(
            integer_x("transpose"),
            bad(
                "transpose",
                "an axis left out",
                ValueError,
                "axes must name each of the 2 axes of x (2, 3) once, got (1,)",
                axes=(1,),
            ),
            bad("transpose", "an axis twice", ValueError, "axes must name each axis once, got (1, -1)", axes=(1, -1)),
            bad("transpose", "no such axis", ValueError, "axes must be one of the 2 axes of x (2, 3)", axes=(0, 2)),
            bad("transpose", "half", TypeError, "axes must be an integer, a tuple of integers or None", axes=(0, 0.5)),
        ),
        views=True,
    ),
    Spec(
        flip,
        reference=flip_by_jax,
        source=library("jax.numpy.flip"),
        cases=(
            Case("all axes", numbers(2, 3)),
            Case("one axis", numbers(2, 3, 4), {"axis": -2}),
            Case("two axes", numbers(2, 3, 4), {"axis": (0, -1)}),
            Case("one row", numbers(1, 3), {"axis": 1}, ONE_ROW),
            Case("no rows", numbers(0, 3), flags=NO_ROWS),
        ),
        strategy=flips,
        errors=(
            integer_x("flip"),
            bad("flip", "no such axis", ValueError, "axis must be one of the 2 axes of x (2, 3), got 2", axis=2),
            bad("flip", "an axis twice", ValueError, "axis must name each axis once, got (1, -1)", axis=(1, -1)),
            bad("flip", "half", TypeError, "axis must be an integer, a tuple of integers or None, got 0.5", axis=0.5),
        ),
        tier=2,
        views=True,
    ),
    Spec(
        pixel_shuffle,
        reference=pixels_by_index,
        source=composed("one index for each pixel"),
        cases=(
            Case("twice", numbers(2, 4, 1, 3), {"upscale_factor": 2}),
            Case("three times, no batch", numbers(9, 1, 2), {"upscale_factor": 3}),
            Case("once", numbers(2, 3, 2, 1), {"upscale_factor": 1}),
            Case("one row", numbers(1, 8, 2, 1), {"upscale_factor": 2}, ONE_ROW),
            Case("no rows", numbers(0, 4, 3, 2), {"upscale_factor": 2}, NO_ROWS),
        ),
        strategy=shuffles,
        errors=(
            integer_x("pixel_shuffle", upscale_factor=1),
            bad(
                "pixel_shuffle",
                "channels left over",
                ValueError,
                "x must have shape (..., a multiple of 4, H, W), got (2, 6, 3, 3)",
                *(2, 6, 3, 3),
                upscale_factor=2,
            ),
            bad("pixel_shuffle", "no channels", ValueError, "x must have shape (..., a multiple of 4, H, W)", upscale_factor=2),
            bad("pixel_shuffle", "zero times", ValueError, "upscale_factor must be at least 1, got 0", upscale_factor=0),
            bad("pixel_shuffle", "one and a half", TypeError, "upscale_factor must be an integer", upscale_factor=1.5),
        ),
        tier=2,
    ),
)
