"""im2col and col2im: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from oracle.catalogue.windows import option_errors, padding_errors, pairs, per_axis, slides
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.convolution import col2im, im2col


def patches_by_lax(x: Any, *, window: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Any:
    return jax.lax.conv_general_dilated_patches(
        x, per_axis(window, 2), per_axis(stride, 2), pairs(padding, 2), rhs_dilation=per_axis(dilation, 2)
    )


def patches_transposed(x: Any, *, size: Any, window: Any, **options: Any) -> Any:
    kh, kw = per_axis(window, 2)
    image = jnp.zeros((len(x), x.shape[1] // (kh * kw), *per_axis(size, 2)), x.dtype)
    (y,) = jax.linear_transpose(lambda image: patches_by_lax(image, window=window, **options), image)(x)
    return y


def images(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    window = (draw.between(1, 3), draw.between(1, 3))
    options, size = slides(draw, window)
    return (draw.normal(draw.between(1, 2), draw.between(1, 2), *size),), {"window": window, **options}


def columns(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    (x,), options = images(draw)
    return (draw.normal(*im2col(x, **options).shape),), {"size": x.shape[2:], **options}


SPECS = (
    Spec(
        im2col,
        reference=patches_by_lax,
        source=library("jax.lax.conv_general_dilated_patches"),
        cases=(
            Case("windows that overlap", lambda draw: (draw.normal(2, 2, 4, 5),), {"window": (3, 2)}),
            Case(
                "stride larger than the window, padding on one side",
                lambda draw: (draw.normal(2, 1, 5, 8),),
                {"window": 2, "stride": (1, 3), "padding": ((1, 0), (0, 2))},
            ),
            Case(
                "dilated, SAME", lambda draw: (draw.normal(1, 1, 5, 4),), {"window": (2, 3), "dilation": 2, "padding": "SAME"}
            ),
            Case(
                "more windows than entries, and few that reach far",
                lambda draw: (draw.normal(2, 1, 2, 8),),
                {"window": (3, 2), "stride": (1, 4), "padding": ((2, 3), (0, 0)), "dilation": (1, 3)},
            ),
            Case(
                "one window, on padding alone",
                lambda draw: (draw.normal(2, 1, 2, 2),),
                {"window": 2, "stride": 9, "padding": ((3, 0), (3, 0))},
                frozenset({Flag.ZERO_GRADIENT}),
            ),
            Case("one window", lambda draw: (draw.normal(1, 2, 3, 2),), {"window": (3, 2)}, frozenset({Flag.BATCH_OF_ONE})),
            Case("no images", lambda draw: (draw.normal(0, 2, 4, 3),), {"window": 2}, frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=images,
        errors=(
            *option_errors("im2col", 2, lambda draw: (draw.normal(1, 1, 4, 4),), {"window": 2}),
            *padding_errors("im2col", 2, lambda draw: (draw.normal(1, 1, 4, 4),), {"window": 2}),
            Error(
                "three axes",
                lambda draw: (draw.normal(2, 4, 4),),
                ValueError,
                "im2col: x must have shape (N, C, H, W), got (2, 4, 4)",
                {"window": 2},
            ),
            Error(
                "no window", lambda draw: (draw.normal(1, 1, 4, 4),), TypeError, "im2col: missing the keyword argument 'window'"
            ),
        ),
    ),
    Spec(
        col2im,
        reference=patches_transposed,
        source=library("jax.lax.conv_general_dilated_patches, transposed"),
        cases=(
            Case("windows that overlap", lambda draw: (draw.normal(1, 12, 2, 4),), {"size": (4, 5), "window": (3, 2)}),
            Case(
                "stride larger than the window, padding on one side",
                lambda draw: (draw.normal(2, 4, 5, 3),),
                {"size": (5, 8), "window": 2, "stride": (1, 3), "padding": ((1, 0), (0, 2))},
            ),
            Case(
                "dilated, SAME",
                lambda draw: (draw.normal(1, 6, 5, 4),),
                {"size": (5, 4), "window": (2, 3), "dilation": 2, "padding": "SAME"},
            ),
            Case(
                "one window",
                lambda draw: (draw.normal(1, 12, 1, 1),),
                {"size": (3, 2), "window": (3, 2)},
                frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "no images",
                lambda draw: (draw.normal(0, 8, 3, 2),),
                {"size": (4, 3), "window": 2},
                frozenset({Flag.EMPTY_BATCH}),
            ),
        ),
        strategy=columns,
        errors=(
            *option_errors("col2im", 2, lambda draw: (draw.normal(1, 4, 3, 3),), {"window": 2, "size": 4}),
            *padding_errors("col2im", 2, lambda draw: (draw.normal(1, 4, 3, 3),), {"window": 2, "size": 4}),
            Error(
                "columns of another image",
                lambda draw: (draw.normal(1, 4, 3, 4),),
                ValueError,
                "col2im: x must have shape (N, a multiple of 4, 3, 3), got (1, 4, 3, 4)",
                {"window": 2, "size": 4},
            ),
            Error(
                "part of a column",
                lambda draw: (draw.normal(1, 6, 3, 3),),
                ValueError,
                "col2im: x must have shape (N, a multiple of 4, 3, 3), got (1, 6, 3, 3)",
                {"window": 2, "size": 4},
            ),
            Error(
                "size of one axis",
                lambda draw: (draw.normal(1, 4, 3, 3),),
                ValueError,
                "col2im: size must be an integer or a tuple of 2, got (4,)",
                {"window": 2, "size": (4,)},
            ),
        ),
    ),
)
