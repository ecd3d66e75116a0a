"""Channels and pixels that change places: one index for each entry as reference, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from oracle.catalogue.shaping.layout import NO_ROWS, ONE_ROW, bad, integer_x, numbers
from oracle.spec import Case, Draw, Spec, composed
from purenet.shaping.channels import channel_shuffle, pixel_unshuffle


def channels_by_index(x: Any, *, downscale_factor: int) -> Any:
    r = downscale_factor
    channels, height, width = x.shape[-3:]
    c, h, w = np.ogrid[: channels * r**2, : height // r, : width // r]
    pixels = (c // r**2 * height + h * r + c // r % r) * width + w * r + c % r
    return jnp.take(x.reshape(*x.shape[:-3], channels * height * width), pixels, axis=-1)


def shuffled_by_index(x: Any, *, groups: int) -> Any:
    new = np.arange(x.shape[1])
    return jnp.take(x, new % groups * (x.shape[1] // groups) + new // groups, axis=1)


def unshuffles(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    r = draw.between(1, 3)
    *batch, h, w = (draw.between(1, 3) for _ in range(draw.between(3, 4)))
    return (draw.normal(*batch, h * r, w * r),), {"downscale_factor": r}


def channel_shuffles(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    groups = draw.between(1, 3)
    return (draw.normal(draw.between(1, 3), groups * draw.between(1, 3), *draw.shape(0, 2)),), {"groups": groups}


SPECS = (
    Spec(
        pixel_unshuffle,
        reference=channels_by_index,
        source=composed("one index for each pixel"),
        cases=(
            Case("twice", numbers(2, 3, 2, 6), {"downscale_factor": 2}),
            Case("three times, no batch", numbers(2, 3, 6), {"downscale_factor": 3}),
            Case("once", numbers(2, 3, 2, 1), {"downscale_factor": 1}),
            Case("one row", numbers(1, 2, 4, 2), {"downscale_factor": 2}, ONE_ROW),
            Case("no rows", numbers(0, 4, 2, 2), {"downscale_factor": 2}, NO_ROWS),
        ),
        strategy=unshuffles,
        errors=(
            integer_x("pixel_unshuffle", downscale_factor=1),
            bad(
                "pixel_unshuffle",
                "rows left over",
                ValueError,
                "x must have shape (..., C, H, W) with multiples of 2 as H and W, got (2, 6, 3, 4)",
                *(2, 6, 3, 4),
                downscale_factor=2,
            ),
            bad("pixel_unshuffle", "no channels", ValueError, "x must have shape (..., C, H, W)", downscale_factor=1),
            bad("pixel_unshuffle", "zero times", ValueError, "downscale_factor must be at least 1, got 0", downscale_factor=0),
            bad("pixel_unshuffle", "one and a half", TypeError, "downscale_factor must be an integer", downscale_factor=1.5),
        ),
        tier=2,
    ),
    Spec(
        channel_shuffle,
        reference=shuffled_by_index,
        source=composed("one index for each channel"),
        cases=(
            Case("two groups", numbers(2, 6, 2, 3), {"groups": 2}),
            Case("three groups, no image", numbers(3, 6), {"groups": 3}),
            Case("one group", numbers(2, 3, 4), {"groups": 1}),
            Case("one row", numbers(1, 8, 2), {"groups": 4}, ONE_ROW),
            Case("no rows", numbers(0, 4, 2, 2), {"groups": 2}, NO_ROWS),
        ),
        strategy=channel_shuffles,
        errors=(
            integer_x("channel_shuffle", groups=1),
            bad(
                "channel_shuffle",
                "channels left over",
                ValueError,
                "x must have shape (N, a multiple of 2, ...), got",
                groups=2,
            ),
            bad("channel_shuffle", "no channels", ValueError, "x must have shape (N, a multiple of 1, ...)", 3, groups=1),
            bad("channel_shuffle", "no groups", ValueError, "groups must be at least 1, got 0", groups=0),
            bad("channel_shuffle", "half", TypeError, "groups must be an integer", groups=1.5),
        ),
        tier=2,
    ),
)
