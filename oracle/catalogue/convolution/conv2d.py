"""conv2d: its reference, its cases, and what the other convolutions share with it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from oracle.catalogue.convolution.blocks import in_small_blocks
from oracle.catalogue.windows import option_errors, padding_errors, pairs, per_axis, slides
from oracle.spec import Case, Draw, Error, Flag, Spec, Strategy, library
from purenet.convolution import conv2d

IMAGE = {1: (6,), 2: (6, 5), 3: (3, 4, 3)}  # good arguments for the errors
WINDOW = {1: (2,), 2: (2, 2), 3: (2, 2, 2)}
SHAPE = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}


def conv_by_lax(
    params: dict[str, Any], x: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    n = x.ndim - 2

    def convolution(image: Any, w: Any) -> Any:
        strides, dilations = per_axis(stride, n), per_axis(dilation, n)
        return jax.lax.conv_general_dilated(image, w, strides, pairs(padding, n), rhs_dilation=dilations)

    # Group by group: with feature_group_count, XLA aborts where it compiles the pullback of some convolutions for a CPU.
    images, filters = jnp.split(x, groups, axis=1), jnp.split(params["w"], groups)
    y = jnp.concatenate([convolution(*part) for part in zip(images, filters, strict=True)], axis=1)
    return y + params["b"].reshape(-1, *[1] * n) if "b" in params else y


def filters(draw: Draw, *shape: int, bias: bool = True) -> dict[str, Any]:
    """Weights of this shape and, unless told otherwise, a bias for the first axis."""
    return {"w": draw.normal(*shape), "b": draw.normal(shape[0])} if bias else {"w": draw.normal(*shape)}


def convolutions(n: int) -> Strategy:
    """Convolutions along n axes with any options."""

    def drawn(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        groups, inner = draw.choice([(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (1, 12)])
        window = tuple(draw.between(1, 3 if n < 3 else 2) for _ in range(n))
        options, size = slides(draw, window)
        params = filters(draw, groups * draw.between(1, 2), inner, *window, bias=draw.choice([True, False]))
        return (params, draw.normal(draw.between(1, 2), groups * inner, *size)), {**options, "groups": groups}

    return drawn


def errors(name: str, n: int) -> tuple[Error, ...]:
    """What every convolution along n axes with groups refuses."""
    image, window = IMAGE[n], WINDOW[n]

    def good(draw: Draw) -> tuple[Any, ...]:
        return filters(draw, 4, 3, *window), draw.normal(2, 3, *image)

    return (
        *option_errors(name, n, good),
        *padding_errors(name, n, good),
        Error(
            "channels differ",
            lambda draw: (filters(draw, 4, 4, *window), draw.normal(2, 3, *image)),
            ValueError,
            f"{name}: x has 3 channels, w expects 4",
        ),
        Error(
            "channels of another number of groups",
            lambda draw: (filters(draw, 4, 3, *window), draw.normal(2, 3, *image)),
            ValueError,
            f"{name}: x has 3 channels, w expects 6 (params.w {(4, 3, *window)}, groups 2)",
            {"groups": 2},
        ),
        Error(
            "groups that do not divide the filters",
            lambda draw: (filters(draw, 4, 1, *window), draw.normal(2, 3, *image)),
            ValueError,
            f"{name}: params.w {(4, 1, *window)} must have a multiple of 3 filters",
            {"groups": 3},
        ),
        Error("no groups", good, ValueError, f"{name}: groups must be at least 1, got 0", {"groups": 0}),
        Error(
            "no batch axis",
            lambda draw: (filters(draw, 4, 3, *window), draw.normal(3, *image)),
            ValueError,
            f"{name}: x must have shape {SHAPE[n]}, got {(3, *image)}",
        ),
        Error(
            "filters without channels",
            lambda draw: ({"w": draw.normal(4, *window)}, draw.normal(2, 3, *image)),
            ValueError,
            f"{name}: params.w must have shape (O, C / groups, K",
        ),
        Error(
            "bias of another width",
            lambda draw: ({"w": draw.normal(4, 3, *window), "b": draw.normal(3)}, draw.normal(2, 3, *image)),
            ValueError,
            f"{name}: params.b must have shape (4,) to match params.w {(4, 3, *window)}, got (3,)",
        ),
        Error(
            "integer x",
            lambda draw: (filters(draw, 4, 3, *window), draw.labels(9, 2, 3, *image)),
            TypeError,
            f"{name}: x must be a floating-point array",
        ),
    )


SPECS = (
    Spec(
        in_small_blocks(conv2d),
        reference=conv_by_lax,
        source=library("jax.lax.conv_general_dilated"),
        cases=(
            Case(
                "blocks of one image, lines in groups",
                lambda draw: (filters(draw, 4, 2, 2, 2), draw.normal(2, 4, 2, 3)),
                {"groups": 2, "padding": ((2, 0), (1, 0))},
            ),
            Case(
                "blocks of two images, lines of x alone",
                lambda draw: (filters(draw, 5, 2, 1, 3), draw.normal(3, 2, 1, 5)),
                {"dilation": (1, 2), "padding": ((0, 0), (2, 2))},
            ),
            Case(
                "blocks of two images, lines of x and then of dy",
                lambda draw: (filters(draw, 4, 2, 2, 2), draw.normal(3, 2, 2, 3)),
                {"padding": ((1, 0), (0, 0))},
            ),
            Case(
                "blocks of two images",
                lambda draw: (filters(draw, 2, 1, 2, 2), draw.normal(3, 1, 3, 4)),
                {"stride": (1, 2)},
            ),
            Case(
                "blocks of two groups",
                lambda draw: (filters(draw, 6, 2, 2, 1), draw.normal(1, 6, 4, 2)),
                {"groups": 3, "stride": (2, 1)},
                frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "an image larger than a block, padding that makes up for what the stride leaves out",
                lambda draw: (filters(draw, 1, 2, 2, 2), draw.normal(1, 2, 6, 6)),
                {"stride": 2, "padding": ((1, 0), (1, 0))},
                frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "lines of taps that are padding alone in all windows, before the entries",
                lambda draw: (filters(draw, 2, 2, 1, 3), draw.normal(3, 2, 2, 3)),
                {"dilation": (1, 2), "padding": ((0, 0), (3, 0))},
            ),
            Case(
                "lines of taps that are padding alone in all windows, behind the entries",
                lambda draw: (filters(draw, 2, 2, 1, 3), draw.normal(3, 2, 2, 3)),
                {"dilation": (1, 2), "padding": ((1, 0), (0, 3))},
            ),
            Case(
                "no images",
                lambda draw: (filters(draw, 2, 2, 2, 2), draw.normal(0, 2, 3, 3)),
                {"padding": 1},
                frozenset({Flag.EMPTY_BATCH}),
            ),
        ),
        strategy=convolutions(2),
        tier=3,
    ),
    Spec(
        conv2d,
        reference=conv_by_lax,
        source=library("jax.lax.conv_general_dilated"),
        cases=(
            Case(
                "odd stride, SAME",
                lambda draw: (filters(draw, 3, 2, 3, 2), draw.normal(2, 2, 5, 4)),
                {"stride": 3, "padding": "SAME"},
            ),
            Case(
                "padding on one side, dilated",
                lambda draw: (filters(draw, 3, 2, 2, 3), draw.normal(2, 2, 4, 5)),
                {"stride": (2, 1), "padding": ((1, 2), (0, 3)), "dilation": (1, 2)},
            ),
            Case(
                "groups, no bias",
                lambda draw: (filters(draw, 4, 2, 2, 3, bias=False), draw.normal(2, 4, 4, 5)),
                {"groups": 2, "padding": 1},
            ),
            Case(
                "stride larger than the filter, in groups",
                lambda draw: (filters(draw, 6, 1, 2, 1), draw.normal(2, 2, 6, 5)),
                {"stride": (4, 3), "groups": 2},
            ),
            Case(
                "filter larger than the image",
                lambda draw: (filters(draw, 2, 2, 4, 3), draw.normal(2, 2, 2, 3)),
                {"padding": (1, 2), "stride": 2},
            ),
            Case(
                "many channels",
                lambda draw: (filters(draw, 2, 8, 2, 4), draw.normal(1, 8, 3, 4)),
                {"stride": (2, 1), "padding": ((1, 1), (0, 1))},
                frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "many channels and filters, a stride of 1",
                lambda draw: (filters(draw, 6, 6, 2, 3), draw.normal(1, 6, 3, 4)),
                {"padding": ((1, 0), (0, 2)), "dilation": (1, 2)},
                frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "many channels in groups",
                lambda draw: (filters(draw, 2, 8, 3, 4), draw.normal(2, 16, 5, 2)),
                {"groups": 2, "stride": (2, 3), "padding": (0, 1)},
            ),
            Case(
                "stride and dilation larger than the image",
                lambda draw: (filters(draw, 2, 1, 2, 2), draw.normal(2, 1, 2, 2)),
                {"stride": 3, "dilation": 3, "padding": 3},
            ),
            Case(
                "padding before alone, which makes up for what the stride leaves out",
                lambda draw: (filters(draw, 2, 1, 2, 2), draw.normal(2, 1, 4, 4)),
                {"stride": 2, "padding": ((1, 0), (1, 0))},
            ),
            Case(
                "one window, on padding alone",
                lambda draw: (filters(draw, 2, 1, 2, 2), draw.normal(2, 1, 2, 3)),
                {"stride": 9, "padding": ((3, 0), (4, 0))},
                frozenset({Flag.ZERO_GRADIENT}),
            ),
            Case(
                "no images",
                lambda draw: (filters(draw, 3, 2, 2, 2), draw.normal(0, 2, 4, 3)),
                {"padding": 1},
                frozenset({Flag.EMPTY_BATCH}),
            ),
        ),
        strategy=convolutions(2),
        errors=errors("conv2d", 2),
    ),
)
