"""Images resampled on another grid: reference, cases, strategy."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.shaping.layout import NO_ROWS, ONE_ROW, bad, numbers
from oracle.spec import Case, Draw, Error, Spec, library
from purenet.axis_products import DENSE
from purenet.shaping.interpolation import interpolate

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def cubic_pieces() -> Any:
    """The pieces of the cubic kernel on 0..1 and 1..2, from values of 1, 0, 0 and slopes of 0, -3/4, 0 at 0, 1 and 2."""

    def value(d: float) -> list[float]:
        return [d**3, d**2, d, 1.0]

    def slope(d: float) -> list[float]:
        return [3 * d**2, 2 * d, 1.0, 0.0]

    def conditions(at: float, other: float) -> Any:
        return np.array([value(at), value(other), slope(at), slope(other)])

    near = np.linalg.solve(conditions(0.0, 1.0), [1.0, 0.0, 0.0, -0.75])
    far = np.linalg.solve(conditions(1.0, 2.0), [0.0, 0.0, -0.75, 0.0])
    return near, far


NEAR, FAR = cubic_pieces()


def cubic(x: Any, new: Any, steps: Any, align_corners: bool) -> Any:
    """A dense matrix for each axis of the image, whose ends are repeated."""
    for axis, (m, step) in enumerate(zip(new, steps, strict=True), start=2):
        n = x.shape[axis]
        places = np.linspace(0, n - 1, m) if align_corners else (np.arange(m) + 0.5) * step - 0.5
        padded = jnp.pad(x, [(3, 3) if a == axis else (0, 0) for a in range(x.ndim)], mode="edge")
        away = np.abs(places[:, None] - np.arange(-3, n + 3))
        kernel = np.where(away < 1, np.polyval(NEAR, away), np.where(away < 2, np.polyval(FAR, away), 0))
        x = jnp.moveaxis(jnp.tensordot(padded, jnp.asarray(kernel, x.dtype), (axis, 1)), -1, axis)
    return x


def means(x: Any, new: Any) -> Any:
    for axis, m in enumerate(new, start=2):
        n = x.shape[axis]
        ends = [(int(np.floor(i * n / m + 1e-9)), int(np.ceil((i + 1) * n / m - 1e-9))) for i in range(m)]
        x = jnp.stack([jax.lax.slice_in_dim(x, low, high, axis=axis).mean(axis) for low, high in ends], axis)
    return x


def resized(x: Any, *, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False) -> Any:
    sizes = x.shape[2:]
    factors: tuple[Any, ...] = scale_factor if isinstance(scale_factor, tuple) else (scale_factor,) * len(sizes)
    new: Any = size if isinstance(size, tuple) else (size,) * len(sizes)
    if size is None:
        new = tuple(math.floor(n * f) for n, f in zip(sizes, factors, strict=True))
    if mode == "area":
        return means(x, new)
    if mode == "bicubic":
        steps = [n / m if f is None else 1 / f for n, m, f in zip(sizes, new, factors, strict=True)]
        return cubic(x, new, steps, align_corners)
    if size is not None and mode == "nearest-exact":
        return jax.image.resize(x, (*x.shape[:2], *new), "nearest")
    if size is not None and mode != "nearest" and not align_corners:
        return jax.image.resize(x, (*x.shape[:2], *new), "linear", antialias=False)
    if mode in LINEAR.values():
        if align_corners:
            scale = jnp.array([(m - 1) / (n - 1) if m > 1 and n > 1 else m for n, m in zip(sizes, new, strict=True)])
            shift = jnp.array([0.5 - s / 2 if m > 1 and n > 1 else 0.0 for s, n, m in zip(scale, sizes, new, strict=True)])
        else:
            scale, shift = jnp.array(factors), jnp.zeros(len(sizes))
        shape, axes = (*x.shape[:2], *new), range(2, x.ndim)
        return jax.image.scale_and_translate(x, shape, axes, scale, shift, "linear", antialias=False)
    for axis, (n, m, f) in enumerate(zip(sizes, new, factors, strict=True), start=2):
        center = 0.5 if mode == "nearest-exact" else 0.0
        places = jnp.arange(m) * n // m if f is None else jnp.floor((jnp.arange(m) + center) / f).astype(int)
        x = jnp.take(x, places, axis)
    return x


def resamplings(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    sizes = tuple(draw.between(1, 5) for _ in range(draw.choice([2, 1, 3])))
    mode = draw.choice(["nearest", "nearest-exact", LINEAR[len(sizes)], "area", *(["bicubic"] if len(sizes) == 2 else [])])
    factor = draw.choice([2, 1.5, 3.0, 1.25])
    options: dict[str, Any] = draw.choice(
        [
            {"size": tuple(draw.between(1, 6) for _ in sizes)},
            {"size": draw.between(1, 6)},
            {"scale_factor": factor},
            {"scale_factor": tuple(draw.choice([factor, 2, 1]) for _ in sizes)},
        ]
    )
    if mode in LINEAR.values() or mode == "bicubic":
        options["align_corners"] = draw.choice([False, True])
    return (draw.normal(draw.between(1, 2), draw.between(1, 2), *sizes),), {"mode": mode, **options}


SPECS = (
    Spec(
        interpolate,
        reference=resized,
        source=library("jax.image.resize, jax.image.scale_and_translate"),
        cases=(
            Case("nearest", numbers(2, 1, 3, 4), {"size": (5, 3)}),
            Case("nearest, which rounding must not move", numbers(1, 1, 30), {"size": 22}, ONE_ROW),
            Case("each entry as two by three by one", numbers(2, 1, 3, 2, 2), {"size": (6, 6, 2)}),
            Case("every other pixel", numbers(1, 2, 4), {"size": 2}, ONE_ROW),
            Case("one pixel more", numbers(1, 1, 2, 1), {"size": (3, 2)}, ONE_ROW),
            Case("a factor that leaves the size", numbers(2, 1, 3), {"scale_factor": 1.2}),
            Case("bilinear, twice as large", numbers(1, 1, 2, 3), {"size": (4, 6), "mode": "bilinear"}, ONE_ROW),
            Case("nearest by centers", numbers(2, 1, 5), {"size": 3, "mode": "nearest-exact"}),
            Case("bilinear", numbers(2, 1, 3, 2), {"size": (4, 5), "mode": "bilinear"}),
            Case("bilinear, smaller", numbers(1, 1, 5, 4), {"size": (2, 3), "mode": "bilinear"}, ONE_ROW),
            Case("corners", numbers(2, 1, 3, 4), {"size": (5, 2), "mode": "bilinear", "align_corners": True}),
            Case("corners of one", numbers(1, 1, 4, 1), {"size": (1, 3), "mode": "bilinear", "align_corners": True}, ONE_ROW),
            Case("one and a half times", numbers(1, 1, 3, 5), {"scale_factor": 1.5, "mode": "bilinear"}, ONE_ROW),
            Case("other factors, nearest", numbers(1, 1, 4, 6), {"scale_factor": (1.5, 0.55)}, ONE_ROW),
            Case("linear", numbers(2, 1, 4), {"scale_factor": 0.6, "mode": "linear"}),
            Case("trilinear", numbers(1, 1, 2, 3, 2), {"size": (3, 2, 3), "mode": "trilinear"}, ONE_ROW),
            Case("area", numbers(2, 1, 5, 3), {"size": (2, 4), "mode": "area"}),
            Case("area, by factors, of one axis", numbers(2, 2, 7), {"scale_factor": 0.6, "mode": "area"}),
            Case("bicubic", numbers(2, 1, 3, 4), {"size": (5, 7), "mode": "bicubic"}),
            Case("bicubic, smaller, by factors", numbers(1, 1, 6, 5), {"scale_factor": (0.6, 0.7), "mode": "bicubic"}, ONE_ROW),
            Case("bicubic, corners", numbers(2, 1, 4, 1), {"size": (6, 3), "mode": "bicubic", "align_corners": True}),
            Case(
                "bicubic, few corners", numbers(1, 1, 3, 4), {"size": (1, 2), "mode": "bicubic", "align_corners": True}, ONE_ROW
            ),
            Case("many entries in an axis", numbers(1, 1, DENSE + 2), {"size": 5, "mode": "linear"}, ONE_ROW),
            Case("no rows", numbers(0, 2, 3, 4), {"size": 2, "mode": "bilinear"}, NO_ROWS),
        ),
        strategy=resamplings,
        errors=(
            Error(
                "integer x",
                lambda draw: (draw.labels(9, 1, 1, 3),),
                TypeError,
                "interpolate: x must be a floating-point array",
                {"size": 2},
            ),
            bad("interpolate", "no image", ValueError, "x must have shape (N, C, ...), got (2, 3)", size=2),
            bad("interpolate", "neither", ValueError, "either size or scale_factor must be given, got None", 1, 1, 3),
            bad("interpolate", "both", ValueError, "either size or scale_factor", 1, 1, 3, size=2, scale_factor=2.0),
            bad("interpolate", "unknown mode", ValueError, "mode must be one of 'nearest'", 1, 1, 3, size=2, mode="cubic"),
            bad(
                "interpolate",
                "mode for images",
                ValueError,
                "mode 'bilinear' is for images of 2",
                1,
                1,
                3,
                size=2,
                mode="bilinear",
            ),
            bad("interpolate", "corners", ValueError, "align_corners is for linear", 1, 1, 3, size=2, align_corners=True),
            bad("interpolate", "no entries", ValueError, "size must be at least 1, got 0", 1, 1, 3, size=0),
            bad("interpolate", "too small", ValueError, "scale_factor must be a number, or one", 1, 1, 3, scale_factor=0.25),
            bad(
                "interpolate", "too many", ValueError, "scale_factor must be a number, or one", 1, 1, 3, scale_factor=(2.0, 2.0)
            ),
            bad("interpolate", "nothing", ValueError, "x must have entries to interpolate between", 1, 1, 0, size=2),
            bad("interpolate", "half", TypeError, "size must be an integer", 1, 1, 3, size=1.5),
            bad("interpolate", "no number", TypeError, "scale_factor must be a number, got str", 1, 1, 3, scale_factor="2"),
        ),
        tier=2,
    ),
)
