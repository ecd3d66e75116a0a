"""What the references, the strategies and the errors of convolutions and pools share: the options of their windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oracle.spec import Draw, Error


def per_axis(value: Any, n: int) -> tuple[int, ...]:
    """One integer, or one for each axis, as JAX takes them."""
    return (value,) * n if isinstance(value, int) else tuple(value)


def pairs(padding: Any, n: int) -> Any:
    """Padding as JAX takes it: a name, or pairs."""
    if isinstance(padding, str):
        return padding
    return [(p, p) if isinstance(p, int) else tuple(p) for p in ((padding,) * n if isinstance(padding, int) else padding)]


def slides(draw: Draw, windows: Sequence[int]) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Options for windows of these sizes, and sizes of axes, so that at least one window touches an entry."""
    n = len(windows)
    dilation = tuple(draw.between(1, 2) for _ in windows)
    spans = [d * (k - 1) + 1 for k, d in zip(windows, dilation, strict=True)]
    kind = draw.choice(["numbers", "pairs", "SAME", "SAME_LOWER", "VALID"])
    padding: Any = kind
    if kind == "numbers":
        padding = tuple(draw.between(0, span - 1) for span in spans)
    elif kind == "pairs":
        padding = tuple((draw.between(0, span - 1), draw.between(0, 2)) for span in spans)
    options = {"stride": tuple(draw.between(1, 4) for _ in range(n)), "padding": padding, "dilation": dilation}
    return options, tuple(span + draw.between(0, 3) for span in spans)


def option_errors(name: str, n: int, arguments: Any, options: dict[str, Any] | None = None) -> tuple[Error, ...]:
    """Calls with options that are wrong for any op with windows along n axes, at good arguments and options."""
    good = options or {}

    def wrong(what: str, exception: type[Exception], match: str, **bad: Any) -> Error:
        return Error(what, arguments, exception, f"{name}: {match}", {**good, **bad})

    return (
        wrong("stride 0", ValueError, "stride must be at least 1, got 0", stride=0),
        wrong("half a stride", TypeError, f"stride must be an integer or a tuple of {n}, got 0.5", stride=0.5),
        wrong("true as a stride", TypeError, f"stride must be an integer or a tuple of {n}, got True", stride=True),
        wrong("strides for more axes", ValueError, f"stride must be an integer or a tuple of {n}", stride=(1,) * (n + 1)),
        wrong("dilation 0", ValueError, "dilation must be at least 1", dilation=(0,) * n),
        wrong("padding below 0", ValueError, "padding must be at least 0, got -1", padding=-1),
    )


def padding_errors(name: str, n: int, arguments: Any, options: dict[str, Any] | None = None) -> tuple[Error, ...]:
    """Calls with padding that is wrong for any op that takes names of padding."""
    good = options or {}
    return (
        Error(
            "padding of another name",
            arguments,
            ValueError,
            f"{name}: padding must be numbers or one of 'VALID', 'SAME', 'SAME_LOWER', got 'FULL'",
            {**good, "padding": "FULL"},
        ),
        Error(
            "padding for more axes",
            arguments,
            ValueError,
            f"{name}: padding must be an integer or have an integer or a pair for each of {n} axes",
            {**good, "padding": ((0, 1),) * (n + 1)},
        ),
        Error(
            "windows that do not fit",
            arguments,
            ValueError,
            f"{name}: no window fits: it spans {' x '.join(['100'] * n)} entries",
            {**good, "window": 100} if "window" in good else {"dilation": 99},
        ),
    )
