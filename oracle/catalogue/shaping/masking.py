"""Entries kept where they are, or replaced: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn
from oracle.catalogue.shaping.layout import NO_ROWS, ONE_ROW, bad, integer_x, numbers
from oracle.spec import Case, Deviation, Draw, Error, Flag, Spec, library
from purenet.shaping.masking import clip, tril, triu, where

AT_BOUNDS = frozenset({Flag.AT_KINK, Flag.REPEATED})
UNUSED = frozenset({Flag.ZERO_GRADIENT})
MASKED = frozenset({Flag.MASKED})


def where_by_jax(x: Any, y: Any, *, condition: Any) -> Any:
    return jnp.where(condition, x, y)


def clip_by_jax(x: Any, *, min: Any = None, max: Any = None) -> Any:  # noqa: A002 - the op's names
    low, high = (None if bound is None else jnp.asarray(bound, x.dtype) for bound in (min, max))
    y = jnp.clip(x, low, high)
    # A constant between bounds that meet: JAX's slope there is 0.25, ours is 0.
    return y if low is None or high is None else jnp.where(low < high, y, jax.lax.stop_gradient(y))


def slopes_where_bounds_meet() -> tuple[float, float]:
    """Ours, and JAX's."""
    _, pullback = pn.vjp(clip, np.array(1.0), min=1.0, max=1.0)
    return float(pullback(1.0)[0]), float(jax.grad(lambda x: jnp.clip(x, 1.0, 1.0))(1.0))


def choices(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = tuple(draw.between(2, 4) for _ in range(draw.between(1, 3)))

    def some() -> tuple[int, ...]:
        return draw.choice([shape, shape[draw.between(0, len(shape)) :], tuple(draw.choice([n, 1]) for n in shape)])

    kept = draw.mask(*shape)
    kept[0], kept[-1] = True, False  # neither side goes without any gradient
    return (draw.normal(*some()), draw.normal(*some())), {"condition": kept}


def clippings(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = draw.shape()
    low, high = draw.choice([(-1.0, 0.5), (-0.3, 2), (-30.0, 20.0)])
    x = np.asarray(draw.away_from((low, high), *shape, scale=draw.choice([1.0, 10.0])))
    x.reshape(-1)[:1] = 0.25  # where all is cut off there is no gradient to look at
    lows = np.full(draw.choice([shape, shape[1:], (2, *shape)]), low)
    return (x,), draw.choice([{"min": low, "max": high}, {"min": lows, "max": high}, {"min": low}, {"max": high}, {}])


def triangles(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    *batch, rows, columns = (draw.between(1, 4) for _ in range(draw.between(2, 4)))
    least = min(rows, columns) - 1
    return (draw.normal(*batch, rows, columns),), draw.choice([{}, {"k": draw.between(-least, least)}])


def triangular(name: str) -> dict[str, Any]:
    """What the specs of both triangles share."""
    return {
        "source": library(f"jax.numpy.{name}"),
        "cases": (
            Case("square", numbers(3, 3), flags=MASKED),
            Case("wide, above", numbers(2, 3, 4), {"k": 1}, MASKED),
            Case("high, below", numbers(4, 3), {"k": -1}, MASKED),
            Case("one row", numbers(1, 3), flags=ONE_ROW),
            Case("no rows", numbers(0, 3, 3), flags=NO_ROWS),
        ),
        "strategy": triangles,
        "errors": (
            integer_x(name),
            bad(name, "a vector", ValueError, "x must have shape (..., rows, columns), got (3,)", 3),
            bad(name, "half", TypeError, "k must be an integer", k=0.5),
        ),
        "tier": 2,
    }


SPECS = (
    Spec(
        where,
        reference=where_by_jax,
        source=library("jax.numpy.where"),
        cases=(
            Case(
                "one shape",
                lambda draw: (draw.normal(2, 3), draw.normal(2, 3)),
                {"condition": np.array([[True, False, True], [False, False, True]])},
                MASKED,
            ),
            Case(
                "all broadcast",
                lambda draw: (draw.normal(2, 1, 3), draw.normal(4, 1)),
                {"condition": np.array([True, False, True])},
                MASKED,
            ),
            Case("a scalar", lambda draw: (draw.normal(4), np.array(0.5)), {"condition": np.array([True, False] * 2)}, MASKED),
            Case("always", lambda draw: (draw.normal(3), draw.normal(3)), {"condition": True}, MASKED | UNUSED),
            Case(
                "one row",
                lambda draw: (draw.normal(1, 3), draw.normal(1, 3)),
                {"condition": np.array([[True, False, True]])},
                MASKED | ONE_ROW,
            ),
            Case(
                "no rows",
                lambda draw: (draw.normal(0, 2), draw.normal(2)),
                {"condition": np.array([True, False])},
                MASKED | NO_ROWS,
            ),
        ),
        strategy=choices,
        errors=(
            Error(
                "shapes that do not broadcast",
                lambda draw: (draw.normal(2), draw.normal(3)),
                ValueError,
                "where: x (2,), y (3,) and condition () must broadcast",
                {"condition": np.array(True)},
            ),
            Error(
                "a condition of numbers",
                lambda draw: (draw.normal(2), draw.normal(2)),
                TypeError,
                "where: condition must be an array of booleans (true = keep), got int64",
                {"condition": np.array([0, 1])},
            ),
            Error(
                "integer y",
                lambda draw: (draw.normal(2), draw.labels(9, 2)),
                TypeError,
                "where: y must be a floating-point array",
                {"condition": np.array([False, True])},
            ),
            Error("no condition", lambda draw: (draw.normal(2),) * 2, TypeError, "where: missing the keyword argument"),
        ),
        tier=2,
    ),
    Spec(
        clip,
        reference=clip_by_jax,
        source=library("jax.numpy.clip"),
        cases=(
            Case("both bounds", lambda draw: (draw.away_from((-1.0, 0.5), 3, 5, scale=2.0),), {"min": -1.0, "max": 0.5}),
            Case("from below", lambda draw: (draw.away_from((-0.25,), 3, 4),), {"min": -0.25}),
            Case("no bounds", numbers(2, 3)),
            Case(
                "a bound for each column",
                lambda draw: (draw.away_from((-2.0, 0.0, 1.0, 1.5), 5, 2, scale=2.0),),
                {"min": np.array([-2.0, 0.0]), "max": np.array([1.0, 1.5])},
            ),
            Case(
                "more bounds than numbers",
                lambda draw: (draw.away_from((-2.0, 0.0, 1.0, 1.5), 4, 1, scale=2.0),),
                {"min": np.array([-2.0, 0.0]), "max": np.array([[[1.0]], [[1.5]]])},
                frozenset({Flag.REPEATED}),
            ),
            Case("at the bounds", lambda draw: (np.array([-1.0, 0.5, 2.0, 3.0, -1.0]),), {"min": -1.0, "max": 2}, AT_BOUNDS),
            Case("between bounds that meet", lambda draw: (np.array([0.0, 1.0, 2.0]),), {"min": 1.0, "max": 1.0}, UNUSED),
            Case("min above max", lambda draw: (np.array([-1.5, 0.25, 2.0]),), {"min": 1.0, "max": -1.0}, UNUSED),
            Case(
                "far out",
                lambda draw: (np.array([-1e4, 1e4, 0.5, -2.0]),),
                {"min": -3.0, "max": 3.0},
                frozenset({Flag.SATURATED}),
            ),
            Case("one row", lambda draw: (np.array([[-2.0, 0.5, 1.5]]),), {"max": 1.0}, ONE_ROW),
            Case("no rows", numbers(0, 3), {"max": 1.0}, NO_ROWS),
        ),
        strategy=clippings,
        errors=(
            integer_x("clip", min=0),
            bad("clip", "NaN", ValueError, "min must be a number, got nan", min=np.nan),
            bad("clip", "no number", TypeError, "max must be a real number or an array of them", max="high"),
            bad("clip", "other bounds", ValueError, "x (2, 3) and max (2,) must broadcast", max=np.zeros(2)),
            bad(
                "clip",
                "bounds of two sizes",
                ValueError,
                "x (2, 3), min (3,) and max (4,) must",
                min=np.zeros(3),
                max=np.ones(4),
            ),
        ),
        deviations=(
            Deviation(
                "clip at bounds that meet, min = max = x",
                0.0,
                0.25,
                "y is constant there, JAX halves the slope once for each bound",
                slopes_where_bounds_meet,
            ),
        ),
        tier=2,
    ),
    Spec(triu, reference=jnp.triu, **triangular("triu")),
    Spec(tril, reference=jnp.tril, **triangular("tril")),
)
