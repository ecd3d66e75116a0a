"""Max pools and max_unpool: references, cases, strategies."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.pooling.errors import adaptive_errors, image_errors, only_padding, whole_errors
from oracle.catalogue.windows import pairs, per_axis, slides
from oracle.spec import Case, Draw, Error, Flag, Spec, Strategy, composed, library
from purenet.pooling import adaptive_max_pool, global_max_pool, max_pool1d, max_pool2d, max_pool3d, max_unpool


def padded_by_lax(x: Any, window: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False) -> Any:
    """Pairs of padding that also hold what the last windows of ceil_mode have behind it, windows, strides and dilations."""
    n = x.ndim - 2
    windows, dilations = per_axis(window, n), per_axis(dilation, n)
    strides = windows if stride is None else per_axis(stride, n)
    spans = [d * (k - 1) + 1 for k, d in zip(windows, dilations, strict=True)]
    given = pairs(padding, n)
    if isinstance(given, str):
        given = jax.lax.padtype_to_pads(x.shape[2:], spans, strides, given)
    whole = []
    for size, span, s, (low, high) in zip(x.shape[2:], spans, strides, given, strict=True):
        ends = range(span, size + low + high + 1, s)
        end = ends[-1] + s if ends else span  # of one more window
        more = ceil_mode and (not ends or ends[-1] < size + low + high) and end - span < size + low
        whole.append((low, end - size - low if more else high))
    return given, whole, windows, strides, dilations


def max_pool_by_lax(x: Any, *, window: Any, **options: Any) -> Any:
    _, whole, windows, strides, dilations = padded_by_lax(x, window, **options)
    if max(dilations) == 1:
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, *windows), (1, 1, *strides), ((0, 0), (0, 0), *whole))
    # JAX has no pullback of a dilated one: all windows by their indices, and the first largest of each.
    x = jnp.pad(x, ((0, 0), (0, 0), *whole), constant_values=-jnp.inf)
    for axis, (k, s, d) in enumerate(zip(windows, strides, dilations, strict=True)):
        size = x.shape[2 + axis]
        first = np.arange(0, size - d * (k - 1), s)
        x = jnp.moveaxis(jnp.take(x, first[:, None] + d * np.arange(k), axis=2 + axis), 3 + axis, -1)
    return first_of(x.reshape(*x.shape[: 2 + len(windows)], -1))


def first_of(entries: Any) -> Any:
    """The first of the largest entries of the last axis."""
    return jnp.take_along_axis(entries, jnp.argmax(entries, axis=-1, keepdims=True), axis=-1)[..., 0]


def global_max_by_lax(x: Any, *, keepdims: bool = False) -> Any:
    y = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, *x.shape[2:]), (1,) * x.ndim, "VALID")
    return y if keepdims else y.reshape(x.shape[:2])


def by_parts(reduction: Any) -> Any:
    """A reference that cuts the parts of an adaptive pool out one by one."""

    def reference(x: Any, *, size: Any) -> Any:
        sizes = per_axis(size, x.ndim - 2)
        cut = [[slice(i * m // n, -(-(i + 1) * m // n)) for i in range(n)] for m, n in zip(x.shape[2:], sizes, strict=True)]
        boxes = [x[(..., *part)] for part in itertools.product(*cut)]
        values = [reduction(box.reshape(*box.shape[:2], math.prod(box.shape[2:]))) for box in boxes]
        return jnp.stack(values, axis=-1).reshape(*x.shape[:2], *sizes)

    return reference


def unpool_by_set(x: Any, *, indices: Any, size: Any) -> Any:
    sizes = per_axis(size, x.ndim - 2)
    channels = x.shape[0] * x.shape[1]
    rows = np.arange(channels)[:, None]
    flat = (channels, math.prod(x.shape[2:]))
    y = jnp.zeros((channels, math.prod(sizes)), x.dtype)
    return y.at[rows, np.asarray(indices).reshape(flat)].set(x.reshape(flat)).reshape(*x.shape[:2], *sizes)


def distinct(draw: Draw, *shape: int) -> Any:
    """Numbers far enough apart that no step and no rounding changes their order."""
    size = math.prod(shape)
    return (draw.generator.permutation(size) - size // 3 + draw.uniform(size, high=0.3)).reshape(shape) / 8


def windows(draw: Draw, n: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Images, and any options of a pool along n axes."""
    window = tuple(draw.between(1, 3 if n < 3 else 2) for _ in range(n))
    options, size = slides(draw, window)
    options["ceil_mode"] = draw.choice([False, True])
    if draw.choice([False, True]):
        del options["stride"]
    return (distinct(draw, draw.between(1, 2), draw.between(1, 2), *size),), {"window": window, **options}


def never_empty(draw: Draw, options: dict[str, Any]) -> dict[str, Any]:
    """The options with padding that leaves an entry in each window."""
    least = min(options["window"]) - 1
    return options | {
        "padding": 0
        if max(options["dilation"]) > 1
        else draw.choice([0, "SAME", least, ((least, 0),) * len(options["window"])])
    }


def max_pools(n: int) -> Strategy:
    """Max pools along n axes with any options."""

    def drawn(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x, options = windows(draw, n)
        return x, never_empty(draw, options)

    return drawn


def images(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    n = draw.between(1, 3)
    shape = tuple(draw.between(1, (5, 4, 2)[n - 1]) for _ in range(n))
    return (distinct(draw, draw.between(1, 2), draw.between(1, 2), *shape),), {}


def wholes(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return images(draw)[0], {"keepdims": draw.choice([False, True])}


def adaptive(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    (x,), _ = images(draw)
    return (x,), {"size": tuple(draw.between(1, 6 - len(x.shape[2:])) for _ in x.shape[2:])}


def unpoolings(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    (x,), _ = images(draw)
    size = tuple(draw.between(1, 4) for _ in x.shape[2:])
    return (x,), {"indices": draw.labels(math.prod(size), *x.shape), "size": size}


# Of windows that share an entry, each with a tie, one may give it the gradient and the other not: between the slopes of the two
# sides that is only where the cotangents agree in sign. So these windows share none.
TIES = np.array([[[[2.0, 2.0, 1.0, 2.0], [0.0, 2.0, 2.0, 1.0], [1.0, 0.0, 2.0, 2.0]]]])
BATCH_OF_ONE, EMPTY_BATCH = frozenset({Flag.BATCH_OF_ONE}), frozenset({Flag.EMPTY_BATCH})
TIED = frozenset({Flag.AT_KINK, Flag.REPEATED, Flag.BATCH_OF_ONE})

SPECS = (
    Spec(
        max_pool2d,
        reference=max_pool_by_lax,
        source=library("jax.lax.reduce_window"),
        cases=(
            Case(
                "windows that overlap, padding",
                lambda draw: (distinct(draw, 2, 2, 4, 5),),
                {"window": (3, 2), "stride": (2, 1), "padding": (1, 0)},
            ),
            Case(
                "stride larger than the window, ceil_mode",
                lambda draw: (distinct(draw, 2, 1, 5, 9),),
                {"window": 2, "stride": (4, 3), "ceil_mode": True},
            ),
            Case("SAME, padding on one side", lambda draw: (-distinct(draw, 2, 1, 5, 4),), {"window": 3, "padding": "SAME"}),
            Case("dilated", lambda draw: (distinct(draw, 1, 2, 5, 6),), {"window": 2, "stride": 1, "dilation": (2, 3)}),
            Case("ties", (TIES,), {"window": (3, 2)}, TIED),
            Case("large windows", lambda draw: (distinct(draw, 2, 1, 7, 7),), {"window": 4, "stride": 1}),
            Case("no images", lambda draw: (draw.normal(0, 2, 4, 3),), {"window": 2}, EMPTY_BATCH),
        ),
        strategy=max_pools(2),
        errors=(*image_errors("max_pool2d", 2), only_padding("max_pool2d", 2)),
    ),
    Spec(
        max_pool1d,
        reference=max_pool_by_lax,
        source=library("jax.lax.reduce_window"),
        cases=(
            Case(
                "windows that overlap, padding on one side",
                lambda draw: (distinct(draw, 2, 3, 7),),
                {"window": 3, "stride": 2, "padding": ((0, 2),)},
            ),
            Case("ceil_mode", lambda draw: (distinct(draw, 1, 2, 8),), {"window": 3, "ceil_mode": True}, BATCH_OF_ONE),
            Case("ties", (TIES[0],), {"window": 3, "padding": 1}, TIED),
            Case("no sequences", lambda draw: (draw.normal(0, 2, 4),), {"window": 2}, EMPTY_BATCH),
        ),
        strategy=max_pools(1),
        errors=(*image_errors("max_pool1d", 1), only_padding("max_pool1d", 1)),
        tier=2,
    ),
    Spec(
        max_pool3d,
        reference=max_pool_by_lax,
        source=library("jax.lax.reduce_window"),
        cases=(
            Case(
                "windows that overlap",
                lambda draw: (distinct(draw, 1, 2, 3, 4, 4),),
                {"window": (2, 3, 2), "stride": (1, 1, 2), "padding": (0, 1, 0)},
                BATCH_OF_ONE,
            ),
            Case("ceil_mode", lambda draw: (distinct(draw, 2, 1, 2, 3, 5),), {"window": (1, 2, 2), "ceil_mode": True}),
            Case("no volumes", lambda draw: (draw.normal(0, 2, 2, 4, 3),), {"window": 2}, EMPTY_BATCH),
        ),
        strategy=max_pools(3),
        errors=(*image_errors("max_pool3d", 3), only_padding("max_pool3d", 3)),
        tier=2,
    ),
    Spec(
        global_max_pool,
        reference=global_max_by_lax,
        source=library("jax.lax.reduce_window"),
        cases=(
            Case("images", lambda draw: (distinct(draw, 2, 3, 2, 4),)),
            Case("a sequence, axes kept", lambda draw: (distinct(draw, 1, 3, 5),), {"keepdims": True}, BATCH_OF_ONE),
            Case("ties", (TIES.reshape(1, 3, 4),), {}, TIED),
            Case("no images", lambda draw: (draw.normal(0, 2, 4, 3),), {}, EMPTY_BATCH),
        ),
        strategy=wholes,
        errors=whole_errors("global_max_pool"),
        tier=2,
    ),
    Spec(
        adaptive_max_pool,
        reference=by_parts(first_of),
        source=composed("slices of each part, their first largest entry"),
        cases=(
            Case("parts that share entries", lambda draw: (distinct(draw, 2, 2, 5, 4),), {"size": (3, 2)}),
            Case("more parts than entries", lambda draw: (distinct(draw, 2, 2, 3),), {"size": 5}),
            Case("a volume", lambda draw: (distinct(draw, 1, 2, 2, 3, 3),), {"size": (1, 2, 2)}, BATCH_OF_ONE),
            Case("ties", (TIES,), {"size": (1, 2)}, TIED),
            Case("no images", lambda draw: (draw.normal(0, 2, 4, 3),), {"size": 2}, EMPTY_BATCH),
        ),
        strategy=adaptive,
        errors=adaptive_errors("adaptive_max_pool"),
        tier=2,
    ),
    Spec(
        max_unpool,
        reference=unpool_by_set,
        source=library("jax.numpy.ndarray.at[...].set"),
        cases=(
            Case(
                "images",
                lambda draw: (draw.normal(2, 2, 2, 2),),
                {
                    "indices": np.array([[[[0, 2], [7, 9]], [[5, 3], [6, 8]]], [[[4, 1], [10, 11]], [[0, 3], [8, 9]]]]),
                    "size": (3, 4),
                },
            ),
            Case(
                "a sequence",
                lambda draw: (draw.normal(1, 2, 3),),
                {"indices": np.array([[[0, 3, 4], [1, 2, 6]]], np.uint8), "size": 7},
                BATCH_OF_ONE,
            ),
            Case(
                "repeated indices",
                lambda draw: (draw.normal(2, 1, 4),),
                {"indices": np.array([[[2, 0, 2, 2]], [[1, 1, 0, 3]]]), "size": 4},
                frozenset({Flag.REPEATED}),
            ),
            Case(
                "no images",
                lambda draw: (draw.normal(0, 2, 2, 1),),
                {"indices": np.zeros((0, 2, 2, 1), np.int64), "size": (3, 2)},
                EMPTY_BATCH,
            ),
        ),
        strategy=unpoolings,
        errors=(
            Error(
                "indices of numbers",
                lambda draw: (draw.normal(1, 1, 2),),
                TypeError,
                "max_unpool: indices must be integers, got float64",
                {"indices": np.zeros((1, 1, 2)), "size": 4},
            ),
            Error(
                "indices of another shape",
                lambda draw: (draw.normal(1, 1, 2),),
                ValueError,
                "max_unpool: indices must have the shape of x (1, 1, 2), got (2,)",
                {"indices": np.array([0, 1]), "size": 4},
            ),
            Error(
                "an index behind the image",
                lambda draw: (draw.normal(1, 1, 2),),
                ValueError,
                "max_unpool: indices must be in 0..3, got 4",
                {"indices": np.array([[[0, 4]]]), "size": 4},
            ),
            Error(
                "an index below 0",
                lambda draw: (draw.normal(1, 1, 2),),
                ValueError,
                "max_unpool: indices must be in 0..3, got -1",
                {"indices": np.array([[[-1, 0]]]), "size": 4},
            ),
            Error(
                "sizes for more axes",
                lambda draw: (draw.normal(1, 1, 2),),
                ValueError,
                "max_unpool: size must be an integer or a tuple of 1, got (2, 2)",
                {"indices": np.array([[[0, 1]]]), "size": (2, 2)},
            ),
        ),
        tier=2,
    ),
)
