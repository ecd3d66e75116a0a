"""Batch normalization: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.spec import Array, Case, Draw, Error, Flag, Spec, library
from purenet.normalization import Statistics, batch_norm
from purenet.normalization.core import FEW


def batch_norm_by_standardize(
    params: dict[str, Any], x: Any, *, axes: Any = None, eps: float = 1e-5, statistics: Any = None
) -> Any:
    along = (0, *range(2, x.ndim)) if axes is None else tuple(a % x.ndim for a in np.atleast_1d(axes))
    wide = [1 if a in along else n for a, n in enumerate(x.shape)]
    if statistics is not None:
        mean, var = (jnp.asarray(s, x.dtype).reshape(wide) for s in statistics)
    elif x.size:  # standardize's own variance, the difference of two means, loses digits
        mean, var = x.mean(along, keepdims=True), x.var(along, keepdims=True)
    else:
        mean, var = jnp.zeros(wide, x.dtype), jnp.zeros(wide, x.dtype)
    y = jax.nn.standardize(x, axis=along, mean=mean, variance=var, epsilon=eps)
    y = y * params["gamma"].reshape(wide) if "gamma" in params else y
    return y + params["beta"].reshape(wide) if "beta" in params else y


def scaled(
    own: tuple[int, ...], *shape: int, offset: float = 0.0, scale: float = 1.0
) -> Callable[[Draw], tuple[dict[str, Array], Array]]:
    """Draws gamma and beta of the shape `own`, and x."""
    return lambda draw: ({"gamma": draw.normal(*own), "beta": draw.normal(*own)}, draw.normal(*shape, scale=scale) + offset)


def given(*shape: int) -> Callable[[Draw], dict[str, Any]]:
    """Draws running statistics."""
    return lambda draw: {"statistics": Statistics(draw.normal(*shape), draw.uniform(*shape, low=0.5, high=2.0))}


def batches(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    channels, samples, positions = draw.between(1, 3), draw.between(3, 5), draw.shape(0, 2, 3)
    shape: tuple[int, ...] = (samples, channels, *positions)
    options: dict[str, Any] = {}
    if draw.choice([False, True]):
        shape = (samples, *positions, channels)
        options["axes"] = tuple(range(len(shape) - 1))
    if draw.choice([False, True]):
        options["eps"] = draw.choice([1e-3, 0.5])
    if draw.choice([False, True]):
        options |= given(channels)(draw)
    params = {name: draw.normal(channels) for name in ("gamma", "beta") if draw.choice([True, False])}
    return (params, draw.normal(*shape, scale=draw.choice([1.0, 5.0]))), options


STATISTICS = Statistics(np.array([0.5, -1.0, 2.0]), np.array([2.0, 0.25, 1.5]))


def bad(what: str, match: str, *shape: int, by: type[Exception] = ValueError, **options: Any) -> Error:
    return Error(what, scaled((3,), *shape), by, f"batch_norm: {match}", options)


SPECS = (
    Spec(
        batch_norm,
        reference=batch_norm_by_standardize,
        source=library("jax.nn.standardize"),
        cases=(
            Case("a batch of vectors", scaled((3,), 4, 3)),
            Case("more vectors than a few", scaled((2,), FEW + 1, 2)),
            Case("images far from 0", scaled((2,), 2, 2, 3, 2, offset=30.0), {"eps": 1e-3}),
            Case("channels last, no gamma", lambda draw: ({"beta": draw.normal(2)}, draw.normal(2, 3, 2)), {"axes": (0, 1)}),
            Case("each position by itself", scaled((2, 3), 4, 2, 3), {"axes": 0}),
            Case(
                "two samples, of which one channel is constant",
                lambda draw: (
                    {"gamma": draw.normal(3), "beta": draw.normal(3)},
                    np.array([[1.0, 4.0, 0.3], [-0.5, 4.0, 0.4]]),
                ),
                {"eps": 0.1},
                frozenset({Flag.REPEATED}),
            ),
            Case("of size 1e4", scaled((2,), 3, 2, scale=1e4), flags=frozenset({Flag.SATURATED})),
            Case("one image", scaled((2,), 1, 2, 3, 2), flags=frozenset({Flag.BATCH_OF_ONE})),
            Case("no samples", scaled((2,), 0, 2, 3), flags=frozenset({Flag.EMPTY_BATCH})),
            Case("statistics", scaled((3,), 4, 3), given(3)),
            Case("statistics, one image", scaled((2,), 1, 2, 1, 1), given(2), frozenset({Flag.BATCH_OF_ONE})),
        ),
        strategy=batches,
        errors=(
            bad("one value per channel", "x (1, 3) has one value per channel, which has no variance; give statistics", 1, 3),
            bad("a vector", "x must have shape (batch, channels, ...), got (3,)", 3),
            bad("gamma of another width", "params.gamma must have shape (2,) to match x (4, 2), got (3,)", 4, 2),
            bad("no axes", "axes must name at least one axis of x (4, 3), got ()", 4, 3, axes=()),
            bad("no such axis", "axes must be one of the 2 axes of x (4, 3), got 2", 4, 3, axes=2),
            bad("negative eps", "eps must be finite and at least 0, got -0.1", 4, 3, eps=-0.1),
            bad("eps is not a number", "eps must be a number, got str", 4, 3, by=TypeError, eps="small"),
            bad("one statistic", "statistics must be a pair (mean, var)", 4, 3, by=TypeError, statistics=np.ones(3)),
            bad(
                "statistics of another width",
                "statistics.mean must have shape (3,), one per channel, got (2,)",
                *(4, 3),
                statistics=(np.ones(2), np.ones(3)),
            ),
            bad(
                "integer statistics",
                "statistics.var must be a floating-point array, got int64",
                *(4, 3),
                by=TypeError,
                statistics=(np.zeros(3), np.ones(3, np.int64)),
            ),
            bad(
                "negative variance",
                "statistics.var must be finite and at least 0, got -1.0",
                *(4, 3),
                statistics=(np.zeros(3), -np.ones(3)),
            ),
            Error(
                "another parameter",
                lambda draw: ({"w": draw.normal(3)}, draw.normal(4, 3)),
                ValueError,
                "batch_norm: params must hold gamma (optional), beta (optional), got w",
            ),
        ),
    ),
)
