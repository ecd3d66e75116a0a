"""Transposed convolutions: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from oracle.catalogue.convolution.blocks import in_small_blocks
from oracle.catalogue.convolution.conv2d import IMAGE, SHAPE, WINDOW, conv_by_lax
from oracle.catalogue.windows import option_errors, pairs, per_axis
from oracle.spec import Case, Draw, Error, Flag, Spec, Strategy, library
from purenet.convolution import conv_transpose1d, conv_transpose2d, conv_transpose3d

LAYOUT = {1: ("NCH", "OIH", "NCH"), 2: ("NCHW", "OIHW", "NCHW"), 3: ("NCDHW", "OIDHW", "NCDHW")}


def conv_transpose_by_lax(
    params: dict[str, Any],
    x: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """By jax.lax.conv_transpose; with groups or output_padding, which it has not, the transpose of a convolution."""
    n, w = x.ndim - 2, params["w"]
    strides, dilations, extra = (per_axis(v, n) for v in (stride, dilation, output_padding))
    if groups == 1 and not any(extra):
        y = jax.lax.conv_transpose(
            x,
            w,
            strides,
            pairs(padding, n),
            rhs_dilation=dilations,
            dimension_numbers=LAYOUT[n],
            transpose_kernel=True,
            use_consistent_padding=True,
        )
    else:
        cut = pairs(padding, n)
        spans = [d * (k - 1) + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
        size = [
            s * (m - 1) - sum(p) + span + e for m, s, p, span, e in zip(x.shape[2:], strides, cut, spans, extra, strict=True)
        ]
        # What output_padding adds may leave room for one more window, which the convolution must not have.
        ends = [(low, high - e) for (low, high), e in zip(cut, extra, strict=True)]

        def convolution(image: Any) -> Any:
            return conv_by_lax({"w": w}, image, stride=strides, padding=ends, dilation=dilations, groups=groups)

        (y,) = jax.linear_transpose(convolution, jnp.zeros((len(x), groups * w.shape[1], *size), x.dtype))(x)
    return y + params["b"].reshape(-1, *[1] * n) if "b" in params else y


def filters(draw: Draw, *shape: int, groups: int = 1, bias: bool = True) -> dict[str, Any]:
    """Weights of this shape and, unless told otherwise, a bias for each output."""
    params = {"w": draw.normal(*shape)}
    return params | {"b": draw.normal(groups * shape[1])} if bias else params


def transposed(n: int) -> Strategy:
    """Transposed convolutions along n axes with any options."""

    def drawn(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        groups, inner, outer = draw.between(1, 2), draw.between(1, 2), draw.between(1, 2)
        window = tuple(draw.between(1, 3 if n < 3 else 2) for _ in range(n))
        stride, dilation = (tuple(draw.between(1, 3) for _ in range(n)) for _ in range(2))
        params = filters(draw, groups * inner, outer, *window, groups=groups, bias=draw.choice([True, False]))
        size = tuple(draw.between(1, 3) for _ in range(n))
        whole = [s * (m - 1) + d * (k - 1) + 1 for m, k, s, d in zip(size, window, stride, dilation, strict=True)]
        low = [draw.between(0, (m - 1) // 2) for m in whole]
        options = {
            "stride": stride,
            "dilation": dilation,
            "groups": groups,
            "padding": tuple((a, draw.between(0, m - 1 - a)) for a, m in zip(low, whole, strict=True)),
            "output_padding": tuple(draw.between(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True)),
        }
        return (params, draw.normal(draw.between(1, 2), groups * inner, *size)), options

    return drawn


def errors(name: str, n: int) -> tuple[Error, ...]:
    image, window = IMAGE[n], WINDOW[n]

    def good(draw: Draw) -> tuple[Any, ...]:
        return filters(draw, 3, 4, *window), draw.normal(2, 3, *image)

    return (
        *option_errors(name, n, good),
        Error(
            "output_padding as large as the stride",
            good,
            ValueError,
            f"{name}: output_padding must be smaller than the stride or the dilation, got 2",
            {"output_padding": 2, "stride": 2},
        ),
        Error("everything cut off", good, ValueError, f"{name}: nothing is left of x", {"padding": 9}),
        Error(
            "padding by name",
            good,
            TypeError,
            f"{name}: padding must be an integer or a tuple of 2, got 'SAME'",
            {"padding": "SAME"},
        ),
        Error(
            "channels differ",
            lambda draw: (filters(draw, 4, 3, *window), draw.normal(2, 3, *image)),
            ValueError,
            f"{name}: x has 3 channels, w expects 4",
        ),
        Error(
            "groups that do not divide the filters",
            good,
            ValueError,
            f"{name}: params.w {(3, 4, *window)} must have a multiple of 2 filters",
            {"groups": 2},
        ),
        Error(
            "bias of the inputs",
            lambda draw: ({"w": draw.normal(3, 4, *window), "b": draw.normal(3)}, draw.normal(2, 3, *image)),
            ValueError,
            f"{name}: params.b must have shape (4,) to match params.w {(3, 4, *window)}, got (3,)",
        ),
        Error(
            "no batch axis",
            lambda draw: (filters(draw, 3, 4, *window), draw.normal(3, *image)),
            ValueError,
            f"{name}: x must have shape {SHAPE[n]}, got {(3, *image)}",
        ),
        Error(
            "filters without channels",
            lambda draw: ({"w": draw.normal(3, *window)}, draw.normal(2, 3, *image)),
            ValueError,
            f"{name}: params.w must have shape (I, O / groups, K",
        ),
    )


SPECS = (
    Spec(
        conv_transpose2d,
        reference=conv_transpose_by_lax,
        source=library("jax.lax.conv_transpose"),
        cases=(
            Case(
                "strides, padding on one side",
                lambda draw: (filters(draw, 3, 2, 3, 2), draw.normal(2, 3, 3, 2)),
                {"stride": (2, 3), "padding": ((1, 0), (0, 1))},
            ),
            Case(
                "dilated, output_padding",
                lambda draw: (filters(draw, 2, 4, 2, 3), draw.normal(2, 2, 2, 3)),
                {"stride": (2, 1), "dilation": (1, 2), "output_padding": 1, "padding": 1},
            ),
            Case(
                "many channels",
                lambda draw: (filters(draw, 2, 8, 2, 4), draw.normal(1, 2, 2, 3)),
                {"stride": (2, 1), "padding": ((1, 0), (0, 1))},
                frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "groups, stride larger than the filter, no bias",
                lambda draw: (filters(draw, 4, 1, 2, 1, bias=False), draw.normal(2, 4, 3, 2)),
                {"groups": 2, "stride": (3, 2), "output_padding": (2, 0)},
            ),
            Case(
                "one entry",
                lambda draw: (filters(draw, 2, 3, 2, 3), draw.normal(1, 2, 1, 1)),
                flags=frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "no images",
                lambda draw: (filters(draw, 2, 3, 2, 2), draw.normal(0, 2, 3, 2)),
                {"stride": 2},
                frozenset({Flag.EMPTY_BATCH}),
            ),
        ),
        strategy=transposed(2),
        errors=errors("conv_transpose2d", 2),
        tier=2,
    ),
    Spec(
        conv_transpose1d,
        reference=conv_transpose_by_lax,
        source=library("jax.lax.conv_transpose"),
        cases=(
            Case(
                "strides, padding on one side",
                lambda draw: (filters(draw, 3, 2, 4), draw.normal(2, 3, 4)),
                {"stride": 3, "padding": ((2, 1),)},
            ),
            Case(
                "dilated, in groups, output_padding, no bias",
                lambda draw: (filters(draw, 4, 2, 3, groups=2, bias=False), draw.normal(2, 4, 3)),
                {"stride": 2, "dilation": 3, "output_padding": 2, "groups": 2},
            ),
            Case(
                "one entry",
                lambda draw: (filters(draw, 2, 3, 3), draw.normal(1, 2, 1)),
                flags=frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "no sequences",
                lambda draw: (filters(draw, 2, 3, 2), draw.normal(0, 2, 3)),
                flags=frozenset({Flag.EMPTY_BATCH}),
            ),
        ),
        strategy=transposed(1),
        errors=errors("conv_transpose1d", 1),
        tier=2,
    ),
    Spec(
        conv_transpose3d,
        reference=conv_transpose_by_lax,
        source=library("jax.lax.conv_transpose"),
        cases=(
            Case(
                "strides, padding on one side",
                lambda draw: (filters(draw, 2, 2, 2, 2, 3), draw.normal(1, 2, 2, 1, 2)),
                {"stride": (1, 2, 3), "padding": ((0, 1), (0, 0), (1, 0))},
                frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "dilated, in groups, output_padding, no bias",
                lambda draw: (filters(draw, 2, 2, 2, 1, 2, groups=2, bias=False), draw.normal(2, 2, 2, 1, 2)),
                {"stride": 2, "dilation": (1, 1, 2), "output_padding": (0, 1, 1), "groups": 2},
            ),
            Case(
                "no volumes",
                lambda draw: (filters(draw, 2, 1, 2, 2, 2), draw.normal(0, 2, 1, 2, 2)),
                flags=frozenset({Flag.EMPTY_BATCH}),
            ),
        ),
        strategy=transposed(3),
        errors=errors("conv_transpose3d", 3),
        tier=2,
    ),
    Spec(
        in_small_blocks(conv_transpose2d),
        reference=conv_transpose_by_lax,
        source=library("jax.lax.conv_transpose"),
        cases=(
            Case(
                "blocks of two groups",
                lambda draw: ({"w": draw.normal(6, 2, 2, 2), "b": draw.normal(6)}, draw.normal(2, 6, 2, 1)),
                {"groups": 3, "stride": (2, 1)},
            ),
            Case(
                "blocks of two groups, no gaps between rows",
                lambda draw: ({"w": draw.normal(6, 2, 2, 1)}, draw.normal(2, 6, 2, 2)),
                {"groups": 3},
            ),
            Case(
                "no padding, gaps between rows",
                lambda draw: ({"w": draw.normal(2, 1, 2, 2)}, draw.normal(3, 2, 2, 2)),
            ),
        ),
        strategy=transposed(2),
        tier=3,
    ),
)
