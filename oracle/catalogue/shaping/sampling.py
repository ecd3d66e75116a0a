"""Images sampled at places of a grid: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.ndimage
import numpy as np

from oracle.catalogue.shaping.layout import NO_ROWS, ONE_ROW
from oracle.spec import Case, Draw, Error, Flag, Spec, composed, library
from purenet.shaping.sampling import affine_grid, grid_sample

PADDINGS = ("zeros", "border", "reflection")


def sampled(x: Any, grid: Any, *, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool = False) -> Any:
    """Each channel of each image by map_coordinates, whose names for what is outside are others."""
    sizes = np.array(x.shape[:1:-1])
    places = (grid + 1) * ((sizes - 1) / 2 if align_corners else sizes / 2) - (0 if align_corners else 0.5)
    reflection = "mirror" if align_corners else "reflect"
    outside = {"zeros": "constant", "border": "nearest", "reflection": reflection}[padding_mode]

    def one(image: Any, at: Any) -> Any:
        return jax.scipy.ndimage.map_coordinates(image, [at[..., 1], at[..., 0]], int(mode == "bilinear"), outside)

    return jax.vmap(jax.vmap(one, (0, None)))(x, places)


def grid_by_vertices(theta: Any, *, size: Any, align_corners: bool = False) -> Any:
    """The affine map at the places of the pixels, from three corners of the image, between which it is linear."""
    _, _, h, w = size
    corner, right, below = (
        theta @ jnp.array(place, theta.dtype) for place in ([-1.0, -1.0, 1.0], [1.0, -1.0, 1.0], [-1.0, 1.0, 1.0])
    )

    def shares(n: int) -> Any:
        if align_corners:
            return jnp.linspace(0, 1, n, dtype=theta.dtype) if n > 1 else jnp.array([0.5], theta.dtype)
        return jnp.linspace(0, 1, 2 * n + 1, dtype=theta.dtype)[1::2]

    a, b = shares(w)[None, None, :, None], shares(h)[None, :, None, None]
    corner, right, below = (vertex[:, None, None, :] for vertex in (corner, right, below))
    return corner + a * (right - corner) + b * (below - corner)


def between_pixels(draw: Draw, n: int, shape: tuple[int, ...], align_corners: bool, reach: float = 1.6) -> Any:
    """Coordinates along an axis of n pixels, in it and beyond, away from the centers and the edges of pixels."""
    scale = max(n - 1, 1) / 2 if align_corners else n / 2
    halves = np.round(2 * draw.uniform(*shape, low=-reach, high=reach) * scale)
    u = halves / 2 + draw.uniform(*shape, low=0.1, high=0.4)
    return (u + (0 if align_corners else 0.5)) / scale - 1


def images(*shape: int, places: tuple[int, int], align_corners: bool = False) -> Any:
    """Images of this shape and a grid of so many places."""

    def draw_them(draw: Draw) -> tuple[Any, ...]:
        n, _, h, w = shape
        x = draw.normal(*shape)
        grid = np.stack([between_pixels(draw, m, (n, *places), align_corners) for m in (w, h)], axis=-1)
        return x, grid

    return draw_them


def at_centers(draw: Draw) -> tuple[Any, ...]:
    """Places at pixels' centers, where the slopes from both sides differ."""
    return draw.normal(1, 2, 3, 5), np.array([[[[-0.5, 0.0], [0.0, 0.3], [0.5, 0.0]]]])


def samplings(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    corners = draw.choice([False, True])
    shape = tuple(draw.between(1, 4) for _ in range(4))
    options = {"mode": draw.choice(["bilinear", "nearest"]), "padding_mode": draw.choice(PADDINGS), "align_corners": corners}
    return images(*shape, places=(draw.between(1, 3), draw.between(1, 3)), align_corners=corners)(draw), options


def maps(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    n = draw.between(1, 6)
    return (draw.normal(n, 2, 3),), {
        "size": (n, *(draw.between(1, 4) for _ in range(3))),
        "align_corners": draw.choice([False, True]),
    }


def wrong(name: str, match: str, x: tuple[int, ...], grid: tuple[int, ...], **options: Any) -> Error:
    return Error(name, lambda draw: (draw.normal(*x), draw.normal(*grid)), ValueError, f"grid_sample: {match}", options)


def theta(*shape: int) -> Any:
    return lambda draw: (draw.normal(*shape),)


SPECS = (
    Spec(
        grid_sample,
        reference=sampled,
        source=library("jax.scipy.ndimage.map_coordinates"),
        cases=(
            Case("zeros outside", images(2, 3, 4, 5, places=(3, 2))),
            Case("border", images(2, 2, 3, 4, places=(4, 3)), {"padding_mode": "border"}),
            Case("reflection", images(2, 2, 4, 3, places=(4, 3)), {"padding_mode": "reflection"}),
            Case(
                "corners, zeros",
                images(2, 2, 3, 5, places=(3, 3), align_corners=True),
                {"align_corners": True},
            ),
            Case(
                "corners, reflection",
                images(2, 2, 4, 3, places=(3, 4), align_corners=True),
                {"padding_mode": "reflection", "align_corners": True},
            ),
            Case(
                "corners, border",
                images(2, 1, 4, 3, places=(3, 4), align_corners=True),
                {"padding_mode": "border", "align_corners": True},
            ),
            Case("nearest", images(2, 2, 3, 4, places=(3, 3)), {"mode": "nearest"}, frozenset({Flag.ZERO_GRADIENT})),
            Case(
                "nearest, reflection",
                images(2, 2, 3, 4, places=(3, 3)),
                {"mode": "nearest", "padding_mode": "reflection"},
                frozenset({Flag.ZERO_GRADIENT}),
            ),
            Case("at centers", at_centers, {}, frozenset({Flag.AT_KINK, Flag.BATCH_OF_ONE})),
            Case("one image of one pixel", images(1, 2, 1, 1, places=(2, 5)), {}, ONE_ROW),
            Case("no images", images(0, 2, 3, 3, places=(2, 2)), {}, NO_ROWS),
        ),
        strategy=samplings,
        errors=(
            wrong("no image", "x must have shape (N, C, H, W) with pixels, got (2, 3, 4)", (2, 3, 4), (2, 1, 1, 2)),
            wrong("no pixels", "x must have shape (N, C, H, W) with pixels, got (2, 3, 0, 4)", (2, 3, 0, 4), (2, 1, 1, 2)),
            wrong("other batch", "grid must have shape (2, K, L, 2)", (2, 1, 3, 4), (1, 1, 1, 2)),
            wrong("no places", "grid must have shape (2, K, L, 2)", (2, 1, 3, 4), (2, 1, 2)),
            wrong("three coordinates", "grid must have shape (2, K, L, 2)", (2, 1, 3, 4), (2, 1, 1, 3)),
            wrong("unknown mode", "mode must be one of 'bilinear', 'nearest'", (1, 1, 2, 2), (1, 1, 1, 2), mode="bicubic"),
            wrong("unknown padding", "padding_mode must be one of 'zeros'", (1, 1, 2, 2), (1, 1, 1, 2), padding_mode="wrap"),
            Error(
                "not a place",
                lambda draw: (draw.normal(1, 1, 2, 2), np.full((1, 1, 1, 2), np.nan)),
                ValueError,
                "grid_sample: grid must be finite, got nan",
            ),
            Error(
                "whole numbers",
                lambda draw: (draw.labels(9, 1, 1, 2, 2), draw.normal(1, 1, 1, 2)),
                TypeError,
                "grid_sample: x must be a floating-point array",
            ),
        ),
        tier=2,
    ),
    Spec(
        affine_grid,
        reference=grid_by_vertices,
        source=composed("linear between three corners of the image"),
        cases=(
            Case("areas", theta(2, 2, 3), {"size": (2, 3, 4, 5)}),
            Case("corners", theta(2, 2, 3), {"size": (2, 1, 3, 4), "align_corners": True}),
            Case("corners of one pixel", theta(2, 2, 3), {"size": (2, 1, 1, 3), "align_corners": True}),
            Case("one row", theta(1, 2, 3), {"size": (1, 2, 2, 3)}, ONE_ROW),
            Case("no rows", theta(0, 2, 3), {"size": (0, 1, 2, 2)}, NO_ROWS),
        ),
        strategy=maps,
        errors=(
            Error(
                "another batch",
                theta(2, 2, 3),
                ValueError,
                "affine_grid: theta must have shape (3, 2, 3) for size (3, 1, 2, 2), got (2, 2, 3)",
                {"size": (3, 1, 2, 2)},
            ),
            Error("no maps", theta(2, 3), ValueError, "affine_grid: theta must have shape (2, 2, 3)", {"size": (2, 1, 2, 2)}),
            Error("no pixels", theta(2, 2, 3), ValueError, "affine_grid: size must have pixels", {"size": (2, 1, 0, 2)}),
            Error(
                "two sizes",
                theta(2, 2, 3),
                ValueError,
                "affine_grid: size must be an integer or a tuple of 4",
                {"size": (2, 2)},
            ),
            Error("half", theta(2, 2, 3), TypeError, "affine_grid: size must be an integer", {"size": (2, 1, 1.5, 2)}),
        ),
        tier=2,
    ),
)
