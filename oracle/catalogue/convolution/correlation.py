"""The other convolutions: references, cases, strategies."""

from __future__ import annotations

from typing import Any

from oracle.catalogue.convolution.blocks import in_small_blocks
from oracle.catalogue.convolution.conv2d import conv_by_lax, convolutions, errors, filters
from oracle.catalogue.windows import option_errors, padding_errors, slides
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.convolution import causal_conv1d, conv1d, conv3d, depthwise_conv2d, separable_conv2d


def causal_by_lax(params: dict[str, Any], x: Any, *, stride: Any = 1, dilation: Any = 1, groups: int = 1) -> Any:
    past = dilation * (params["w"].shape[-1] - 1)
    return conv_by_lax(params, x, stride=stride, dilation=dilation, groups=groups, padding=((past, 0),))


def depthwise_by_lax(params: dict[str, Any], x: Any, **options: Any) -> Any:
    return conv_by_lax(params, x, groups=x.shape[1], **options)


def separable_by_lax(params: dict[str, Any], x: Any, **options: Any) -> Any:
    h = conv_by_lax({"w": params["wd"]}, x, groups=x.shape[1], **options)
    return conv_by_lax({"w": params["wp"]} | ({"b": params["b"]} if "b" in params else {}), h)


def causal(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    (params, x), options = convolutions(1)(draw)
    dilation = options["dilation"][0]
    return (params, x), {"stride": options["stride"][0], "dilation": dilation, "groups": options["groups"]}


def depthwise(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    window = (draw.between(1, 3), draw.between(1, 3))
    options, size = slides(draw, window)
    channels, multiplier = draw.between(1, 3), draw.between(1, 2)
    params = filters(draw, channels * multiplier, 1, *window, bias=draw.choice([True, False]))
    return (params, draw.normal(draw.between(1, 2), channels, *size)), options


def separable(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    (first, x), options = depthwise(draw)
    out = draw.between(1, 3)
    params = {"wd": first["w"], "wp": draw.normal(out, len(first["w"]), 1, 1)}
    return (params | ({"b": draw.normal(out)} if "b" in first else {}), x), options


def depthwises(draw: Draw) -> tuple[Any, ...]:
    """Good arguments for the errors."""
    return filters(draw, 3, 1, 2, 2), draw.normal(2, 3, 4, 4)


def separables(draw: Draw) -> tuple[Any, ...]:
    return {"wd": draw.normal(2, 1, 2, 2), "wp": draw.normal(3, 2, 1, 1)}, draw.normal(1, 2, 4, 4)


SPECS = (
    Spec(
        conv1d,
        reference=conv_by_lax,
        source=library("jax.lax.conv_general_dilated"),
        cases=(
            Case("padded", lambda draw: (filters(draw, 3, 2, 3), draw.normal(2, 2, 7)), {"padding": 1, "stride": 2}),
            Case(
                "dilated, in groups",
                lambda draw: (filters(draw, 2, 3, 3), draw.normal(2, 6, 8)),
                {"padding": ((2, 1),), "stride": 3, "dilation": 2, "groups": 2},
            ),
            Case(
                "padded at the end alone",
                lambda draw: (filters(draw, 2, 2, 3), draw.normal(2, 2, 5)),
                {"padding": ((0, 2),)},
            ),
            Case(
                "the last window ends as late as x",
                lambda draw: (filters(draw, 2, 2, 1), draw.normal(2, 2, 5)),
                {"padding": ((1, 0),), "stride": 4},
            ),
            Case(
                "a single window within the padding",
                lambda draw: (filters(draw, 2, 2, 1), draw.normal(2, 2, 3)),
                {"padding": 2, "stride": 9},
                frozenset({Flag.ZERO_GRADIENT}),
            ),
            Case(
                "dilated wider than there are windows",
                lambda draw: (filters(draw, 2, 2, 3), draw.normal(2, 2, 9)),
                {"dilation": 4},
            ),
            Case(
                "many channels",
                lambda draw: (filters(draw, 1, 32, 2), draw.normal(1, 32, 4)),
                {"padding": 1, "dilation": 2},
                frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "one window, no bias",
                lambda draw: (filters(draw, 3, 2, 4, bias=False), draw.normal(1, 2, 4)),
                flags=frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "no sequences",
                lambda draw: (filters(draw, 3, 2, 2), draw.normal(0, 2, 4)),
                {"padding": "SAME_LOWER"},
                frozenset({Flag.EMPTY_BATCH}),
            ),
        ),
        strategy=convolutions(1),
        errors=errors("conv1d", 1),
        tier=2,
    ),
    Spec(
        conv3d,
        reference=conv_by_lax,
        source=library("jax.lax.conv_general_dilated"),
        cases=(
            Case(
                "padded on one side, strides",
                lambda draw: (filters(draw, 2, 2, 2, 2, 3), draw.normal(1, 2, 3, 4, 4)),
                {"padding": ((0, 1), (1, 0), (1, 1)), "stride": (1, 2, 3)},
                frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "dilated, in groups, no bias",
                lambda draw: (filters(draw, 4, 1, 2, 2, 1, bias=False), draw.normal(2, 2, 3, 4, 2)),
                {"dilation": (1, 2, 1), "groups": 2},
            ),
            Case(
                "no volumes",
                lambda draw: (filters(draw, 2, 2, 2, 2, 2), draw.normal(0, 2, 3, 2, 3)),
                {"padding": "SAME"},
                frozenset({Flag.EMPTY_BATCH}),
            ),
        ),
        strategy=convolutions(3),
        errors=errors("conv3d", 3),
        tier=2,
    ),
    Spec(
        causal_conv1d,
        reference=causal_by_lax,
        source=library("jax.lax.conv_general_dilated"),
        cases=(
            Case("three taps", lambda draw: (filters(draw, 3, 2, 3), draw.normal(2, 2, 6))),
            Case(
                "dilated, strides, in groups, no bias",
                lambda draw: (filters(draw, 4, 2, 3, bias=False), draw.normal(2, 4, 7)),
                {"dilation": 2, "stride": 3, "groups": 2},
            ),
            Case(
                "shorter than the filter",
                lambda draw: (filters(draw, 2, 3, 4), draw.normal(1, 3, 2)),
                flags=frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "no sequences",
                lambda draw: (filters(draw, 3, 2, 2), draw.normal(0, 2, 4)),
                flags=frozenset({Flag.EMPTY_BATCH}),
            ),
        ),
        strategy=causal,
        errors=tuple(
            e
            for e in errors("causal_conv1d", 1)
            if not e.options.get("padding") and e.name not in ("dilation 0", "windows that do not fit")
        ),
        tier=2,
    ),
    Spec(
        depthwise_conv2d,
        reference=depthwise_by_lax,
        source=library("jax.lax.conv_general_dilated"),
        cases=(
            Case(
                "two filters for each channel",
                lambda draw: (filters(draw, 4, 1, 3, 2), draw.normal(2, 2, 4, 5)),
                {"padding": ((1, 0), (1, 2)), "stride": (1, 2)},
            ),
            Case(
                "one filter for each channel, dilated, no bias",
                lambda draw: (filters(draw, 2, 1, 2, 2, bias=False), draw.normal(2, 2, 5, 4)),
                {"dilation": (3, 2), "padding": "SAME"},
            ),
            Case(
                "one image of one channel",
                lambda draw: (filters(draw, 3, 1, 2, 3), draw.normal(1, 1, 3, 4)),
                flags=frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "no images",
                lambda draw: (filters(draw, 2, 1, 2, 2), draw.normal(0, 2, 3, 4)),
                flags=frozenset({Flag.EMPTY_BATCH}),
            ),
        ),
        strategy=depthwise,
        errors=(
            Error(
                "filters for another number of channels",
                lambda draw: (filters(draw, 4, 1, 2, 2), draw.normal(2, 3, 4, 4)),
                ValueError,
                "depthwise_conv2d: params.w (4, 1, 2, 2) must have a multiple of 3 filters",
            ),
            Error(
                "filters of two channels",
                lambda draw: (filters(draw, 3, 2, 2, 2), draw.normal(2, 3, 4, 4)),
                ValueError,
                "depthwise_conv2d: x has 3 channels, w expects 6",
            ),
            *option_errors("depthwise_conv2d", 2, depthwises),
            *padding_errors("depthwise_conv2d", 2, depthwises),
        ),
        tier=2,
    ),
    Spec(
        separable_conv2d,
        reference=separable_by_lax,
        source=library("jax.lax.conv_general_dilated"),
        cases=(
            Case(
                "two filters for each channel",
                lambda draw: (
                    {"wd": draw.normal(4, 1, 2, 3), "wp": draw.normal(3, 4, 1, 1), "b": draw.normal(3)},
                    draw.normal(2, 2, 4, 5),
                ),
                {"padding": ((1, 0), (1, 2)), "stride": (1, 2)},
            ),
            Case(
                "dilated, no bias",
                lambda draw: ({"wd": draw.normal(2, 1, 3, 2), "wp": draw.normal(3, 2, 1, 1)}, draw.normal(2, 2, 5, 4)),
                {"dilation": 2, "padding": "SAME"},
            ),
            Case(
                "one image of one channel",
                lambda draw: ({"wd": draw.normal(2, 1, 2, 2), "wp": draw.normal(3, 2, 1, 1)}, draw.normal(1, 1, 3, 4)),
                flags=frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case(
                "no images",
                lambda draw: (
                    {"wd": draw.normal(2, 1, 2, 2), "wp": draw.normal(3, 2, 1, 1), "b": draw.normal(3)},
                    draw.normal(0, 2, 3, 4),
                ),
                flags=frozenset({Flag.EMPTY_BATCH}),
            ),
        ),
        strategy=separable,
        errors=(
            Error(
                "pointwise filters of two entries",
                lambda draw: ({"wd": draw.normal(2, 1, 2, 2), "wp": draw.normal(3, 2, 1, 2)}, draw.normal(1, 2, 3, 4)),
                ValueError,
                "separable_conv2d: params.wp must have shape (O, C M, 1, 1), got (3, 2, 1, 2)",
            ),
            Error(
                "pointwise filters for other channels",
                lambda draw: ({"wd": draw.normal(4, 1, 2, 2), "wp": draw.normal(3, 2, 1, 1)}, draw.normal(1, 2, 3, 4)),
                ValueError,
                "separable_conv2d: x has 4 channels, wp expects 2",
            ),
            Error(
                "depthwise filters for another number of channels",
                lambda draw: ({"wd": draw.normal(3, 1, 2, 2), "wp": draw.normal(3, 3, 1, 1)}, draw.normal(1, 2, 3, 4)),
                ValueError,
                "separable_conv2d: params.wd (3, 1, 2, 2) must have a multiple of 2 filters",
            ),
            Error(
                "pointwise filters missing",
                lambda draw: ({"wd": draw.normal(3, 1, 2, 2)}, draw.normal(1, 3, 3, 4)),
                ValueError,
                "separable_conv2d: params must hold wd, wp, b (optional), got wd",
            ),
            *option_errors("separable_conv2d", 2, separables),
            *padding_errors("separable_conv2d", 2, separables),
        ),
        tier=2,
    ),
    Spec(
        in_small_blocks(conv3d),
        reference=conv_by_lax,
        source=library("jax.lax.conv_general_dilated"),
        cases=(
            Case(
                "lines in two more axes",
                lambda draw: (filters(draw, 2, 2, 2, 2, 2), draw.normal(2, 2, 2, 2, 3)),
                {"padding": ((0, 0), (0, 1), (1, 0))},
            ),
        ),
        strategy=convolutions(3),
        tier=3,
    ),
)
