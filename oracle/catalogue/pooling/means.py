"""Average pools: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from oracle.catalogue.pooling.errors import adaptive_errors, image_errors, only_padding, whole_errors
from oracle.catalogue.pooling.maxima import (
    BATCH_OF_ONE,
    EMPTY_BATCH,
    adaptive,
    by_parts,
    never_empty,
    padded_by_lax,
    wholes,
    windows,
)
from oracle.spec import Case, Draw, Spec, Strategy, composed, library
from purenet.axis_products import DENSE
from purenet.pooling import adaptive_avg_pool, avg_pool1d, avg_pool2d, avg_pool3d, global_avg_pool


def avg_pool_by_lax(x: Any, *, window: Any, count_include_pad: bool = True, **options: Any) -> Any:
    """The sums over windows of x, divided by those of an image of ones where entries count."""
    given, whole, sizes, strides, dilations = padded_by_lax(x, window, **options)

    def sums(image: Any, pads: Any) -> Any:
        return jax.lax.reduce_window(
            image,
            0.0,
            jax.lax.add,
            (1, 1, *sizes),
            (1, 1, *strides),
            ((0, 0), (0, 0), *pads),
            window_dilation=(1, 1, *dilations),
        )

    ones = jnp.pad(jnp.ones(x.shape, x.dtype), ((0, 0), (0, 0), *given), constant_values=float(count_include_pad))
    behind = [(0, total - high) for (_, high), (_, total) in zip(given, whole, strict=True)]
    return sums(x, whole) / sums(ones, behind)


def avg_pools(n: int) -> Strategy:
    def drawn(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        (x,), options = windows(draw, n)
        if draw.choice([False, True]):
            options = never_empty(draw, options) | {"count_include_pad": False}
        return (draw.normal(*x.shape),), options

    return drawn


SPECS = (
    Spec(
        avg_pool2d,
        reference=avg_pool_by_lax,
        source=library("jax.lax.reduce_window"),
        cases=(
            Case(
                "windows that overlap, padding counted",
                lambda draw: (draw.normal(2, 2, 4, 5),),
                {"window": (3, 2), "stride": (2, 1), "padding": ((1, 0), (0, 1))},
            ),
            Case(
                "ceil_mode, padding not counted",
                lambda draw: (draw.normal(2, 1, 5, 6),),
                {"window": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False},
            ),
            Case(
                "ceil_mode, padding counted",
                lambda draw: (draw.normal(2, 1, 4, 5),),
                {"window": 2, "stride": (1, 3), "padding": 1, "ceil_mode": True},
            ),
            Case(
                "stride larger than the window, dilated",
                lambda draw: (draw.normal(1, 2, 5, 7),),
                {"window": 2, "stride": (3, 4), "dilation": (2, 1)},
                BATCH_OF_ONE,
            ),
            Case("no images", lambda draw: (draw.normal(0, 2, 4, 3),), {"window": 2}, EMPTY_BATCH),
        ),
        strategy=avg_pools(2),
        errors=(*image_errors("avg_pool2d", 2), only_padding("avg_pool2d", 2, count_include_pad=False)),
    ),
    Spec(
        avg_pool1d,
        reference=avg_pool_by_lax,
        source=library("jax.lax.reduce_window"),
        cases=(
            Case(
                "windows that overlap, SAME, padding not counted",
                lambda draw: (draw.normal(2, 2, 6),),
                {"window": 4, "stride": 1, "padding": "SAME", "count_include_pad": False},
            ),
            Case("ceil_mode", lambda draw: (draw.normal(1, 2, 8),), {"window": 3, "ceil_mode": True}, BATCH_OF_ONE),
            Case("no sequences", lambda draw: (draw.normal(0, 2, 4),), {"window": 2}, EMPTY_BATCH),
        ),
        strategy=avg_pools(1),
        errors=(*image_errors("avg_pool1d", 1), only_padding("avg_pool1d", 1, count_include_pad=False)),
        tier=2,
    ),
    Spec(
        avg_pool3d,
        reference=avg_pool_by_lax,
        source=library("jax.lax.reduce_window"),
        cases=(
            Case(
                "windows that overlap, padding not counted",
                lambda draw: (draw.normal(1, 2, 3, 3, 4),),
                {"window": (2, 3, 2), "stride": (1, 1, 2), "padding": (0, 1, 1), "count_include_pad": False},
                BATCH_OF_ONE,
            ),
            Case(
                "ceil_mode, padding counted",
                lambda draw: (draw.normal(2, 1, 2, 3, 4),),
                {"window": 2, "stride": (1, 2, 3), "padding": ((0, 0), (1, 0), (0, 1)), "ceil_mode": True},
            ),
            Case("no volumes", lambda draw: (draw.normal(0, 2, 2, 4, 3),), {"window": 2}, EMPTY_BATCH),
        ),
        strategy=avg_pools(3),
        errors=(*image_errors("avg_pool3d", 3), only_padding("avg_pool3d", 3, count_include_pad=False)),
        tier=2,
    ),
    Spec(
        global_avg_pool,
        reference=lambda x, *, keepdims=False: jnp.mean(x, axis=tuple(range(2, x.ndim)), keepdims=keepdims),
        source=library("jax.numpy.mean"),
        cases=(
            Case("images", lambda draw: (draw.normal(2, 3, 2, 4),)),
            Case("a sequence, axes kept", lambda draw: (draw.normal(1, 3, 5),), {"keepdims": True}, BATCH_OF_ONE),
            Case("large numbers", lambda draw: (draw.normal(2, 2, 3, 3, scale=1e4),)),
            Case("no images", lambda draw: (draw.normal(0, 2, 4, 3),), {}, EMPTY_BATCH),
        ),
        strategy=wholes,
        errors=whole_errors("global_avg_pool"),
        tier=2,
    ),
    Spec(
        adaptive_avg_pool,
        reference=by_parts(lambda entries: entries.mean(axis=-1)),
        source=composed("slices of each part, their means"),
        cases=(
            Case("parts that share entries", lambda draw: (draw.normal(2, 2, 5, 4),), {"size": (3, 2)}),
            Case("more parts than entries", lambda draw: (draw.normal(2, 2, 3),), {"size": 5}),
            Case("a volume", lambda draw: (draw.normal(1, 2, 2, 3, 3),), {"size": (1, 2, 2)}, BATCH_OF_ONE),
            Case("many entries in an axis", lambda draw: (draw.normal(2, 1, DENSE + 2),), {"size": 3}),
            Case("no images", lambda draw: (draw.normal(0, 2, 4, 3),), {"size": 2}, EMPTY_BATCH),
        ),
        strategy=adaptive,
        errors=adaptive_errors("adaptive_avg_pool"),
        tier=2,
    ),
)
