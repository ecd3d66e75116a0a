"""What pools refuse: of windows, of a whole image, of a given size."""

from __future__ import annotations

from typing import Any

from oracle.catalogue.windows import option_errors, padding_errors
from oracle.spec import Draw, Error


def image_errors(name: str, n: int) -> tuple[Error, ...]:
    """What every pool along n axes with windows refuses."""
    shape = {1: "L", 2: "H, W", 3: "D, H, W"}[n]

    def good(draw: Draw) -> tuple[Any, ...]:
        return (draw.normal(2, 2, *[4] * n),)

    return (
        *option_errors(name, n, good, {"window": 2}),
        *padding_errors(name, n, good, {"window": 2}),
        Error("window 0", good, ValueError, f"{name}: window must be at least 1, got 0", {"window": 0}),
        Error("no window", good, TypeError, f"{name}: missing the keyword argument 'window'"),
        Error(
            "no batch axis",
            lambda draw: (draw.normal(2, *[4] * n),),
            ValueError,
            f"{name}: x must have shape (N, C, {shape}), got",
            {"window": 2},
        ),
        Error(
            "integer x",
            lambda draw: (draw.labels(9, 2, 2, *[4] * n),),
            TypeError,
            f"{name}: x must be a floating-point array",
            {"window": 2},
        ),
    )


def only_padding(name: str, n: int, **options: Any) -> Error:
    return Error(
        "a window of padding alone",
        lambda draw: (draw.normal(2, 2, *[4] * n),),
        ValueError,
        f"{name}: a window holds nothing but padding",
        {"window": 2, "padding": 2, **options},
    )


def whole_errors(name: str) -> tuple[Error, ...]:
    return (
        Error(
            "no axis behind the channels",
            lambda draw: (draw.normal(2, 3),),
            ValueError,
            f"{name}: x must have shape (N, C, ...), got (2, 3)",
        ),
        Error(
            "no entries",
            lambda draw: (draw.normal(2, 3, 0, 2),),
            ValueError,
            f"{name}: x must have entries in each channel, got (2, 3, 0, 2)",
        ),
        Error("integer x", lambda draw: (draw.labels(9, 2, 2, 3),), TypeError, f"{name}: x must be a floating-point array"),
    )


def adaptive_errors(name: str) -> tuple[Error, ...]:
    def good(draw: Draw) -> tuple[Any, ...]:
        return (draw.normal(2, 2, 4, 3),)

    return (
        Error("size 0", good, ValueError, f"{name}: size must be at least 1, got (2, 0)", {"size": (2, 0)}),
        Error("size of one axis", good, ValueError, f"{name}: size must be an integer or a tuple of 2", {"size": (2,)}),
        Error("half a size", good, TypeError, f"{name}: size must be an integer or a tuple of 2, got 1.5", {"size": 1.5}),
        Error(
            "no axis behind the channels",
            lambda draw: (draw.normal(2, 3),),
            ValueError,
            f"{name}: x must have shape (N, C, ...), got (2, 3)",
            {"size": 1},
        ),
        Error(
            "no entries",
            lambda draw: (draw.normal(2, 3, 0),),
            ValueError,
            f"{name}: x must have entries in each channel, got (2, 3, 0)",
            {"size": 1},
        ),
    )
