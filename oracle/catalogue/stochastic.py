"""Dropout and noise: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from oracle.spec import Array, Case, Draw, Error, Flag, Spec, composed, library
from purenet.stochastic import (
    alpha_dropout,
    drop_connect,
    dropout,
    gaussian_dropout,
    gaussian_noise,
    spatial_dropout,
    stochastic_depth,
)


def drawn(rate: float, key: Any, mask: Any, shape: tuple[int, ...]) -> Any:
    """The mask, or JAX's of this key, or None."""
    if key is None:
        return None if mask is None else jnp.broadcast_to(jnp.asarray(mask), shape)
    return jax.random.bernoulli(jax.random.wrap_key_data(jnp.asarray(key)), 1 - rate, shape)


def dropout_by_equinox(x: Any, *, rate: float = 0.5, key: Any = None, mask: Any = None, inverted: bool = True) -> Any:
    if key is not None and inverted and rate < 1:  # at rate 1 its slope is 0 / 0
        return eqx.nn.Dropout(rate)(x, key=jax.random.wrap_key_data(jnp.asarray(key)))
    kept = drawn(rate, key, mask, x.shape)
    if kept is None:
        return x if inverted else x * (1 - rate)
    return jax.lax.select(kept, x / (1 - rate) if inverted and rate < 1 else x, jnp.zeros_like(x))


def over_leading(x: Any, shape: tuple[int, ...], rate: float, key: Any, mask: Any) -> Any:
    kept = drawn(rate, key, mask, shape)
    if kept is None:
        return x
    return dropout_by_equinox(
        x, rate=rate, mask=jax.lax.broadcast_in_dim(kept, (*shape, *x.shape[len(shape) :]), range(len(shape)))
    )


def spatial_by_mask(x: Any, *, rate: float = 0.5, key: Any = None, mask: Any = None) -> Any:
    return over_leading(x, x.shape[:2], rate, key, mask)


def depth_by_mask(x: Any, *, rate: float = 0.5, mode: str = "row", key: Any = None, mask: Any = None) -> Any:
    return over_leading(x, x.shape[:1] if mode == "row" else (1,), rate, key, mask)


def connect_by_dot(params: dict[str, Any], x: Any, *, rate: float = 0.5, key: Any = None, mask: Any = None) -> Any:
    y = jnp.dot(x, dropout_by_equinox(params["w"], rate=rate, key=key, mask=mask))
    return y + params["b"] if "b" in params else y


def alpha_by_moments(x: Any, *, rate: float = 0.5, key: Any = None, mask: Any = None) -> Any:
    """What is dropped is selu(-inf); the result is standardized by the moments of that mixture for a standard normal x."""
    kept = drawn(rate, key, mask, x.shape)
    if kept is None:
        return x
    floor = jax.nn.selu(jnp.asarray(-1e4, x.dtype))
    mean = rate * floor
    variance = (1 - rate) + rate * floor**2 - mean**2
    return 0 * x if rate == 1 else jax.nn.standardize(jnp.where(kept, x, floor), mean=mean, variance=variance, epsilon=0.0)


def standard_normal(key: Any, noise: Any, x: Any) -> Any:
    if key is None:
        return jnp.zeros_like(x) if noise is None else jnp.asarray(noise, x.dtype)
    return jax.random.normal(jax.random.wrap_key_data(jnp.asarray(key)), x.shape, jnp.float64).astype(x.dtype)


def gaussian_by_variance(x: Any, *, rate: float = 0.5, key: Any = None, noise: Any = None) -> Any:
    return x + x * standard_normal(key, noise, x) * jnp.sqrt(jnp.asarray(1 / (1 - rate) - 1, x.dtype))


def noise_by_normal(x: Any, *, stddev: float, key: Any = None, noise: Any = None) -> Any:
    return x + standard_normal(key, noise, x) * stddev


def normals(*shape: int) -> Callable[[Draw], tuple[Array]]:
    """Draws x of this shape."""
    return lambda draw: (draw.normal(*shape),)


def keyed(**options: Any) -> Callable[[Draw], dict[str, Any]]:
    """Draws a key, to go with the other options."""
    return lambda draw: {"key": draw.key(), **options}


def masked(*shape: int, **options: Any) -> Callable[[Draw], dict[str, Any]]:
    """Draws a mask of this shape that keeps and drops something, to go with the other options."""

    def draw_mask(draw: Draw) -> dict[str, Any]:
        mask = np.array(draw.mask(*shape))
        mask.reshape(-1)[:2] = [True, False][: mask.size]
        return {"mask": mask, **options}

    return draw_mask


def randomness(draw: Draw, *shape: int) -> dict[str, Any]:
    """A rate, and a mask of this shape or neither mask nor key: with a key all might be dropped."""
    options: dict[str, Any] = {"rate": draw.choice([0.5, 0.1, 0.8])}
    return masked(*shape, **options)(draw) if draw.choice([True, False]) else options


def dropouts(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = draw.shape()
    options = randomness(draw, *shape) | ({"inverted": False} if draw.choice([False, True]) else {})
    return normals(*shape)(draw), options


def spatial(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = draw.between(1, 3), draw.between(1, 3)
    return normals(*shape, *draw.shape(0, 2, 3))(draw), randomness(draw, *shape)


def depths(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    samples, mode = draw.between(1, 4), draw.choice(["row", "batch"])
    options = {"mode": mode, **randomness(draw, samples if mode == "row" else 1)}
    return normals(samples, *draw.shape(0, 2, 3))(draw), options


def connections(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    inner, outer = draw.between(1, 4), draw.between(1, 4)
    params = {"w": draw.normal(inner, outer)}
    if draw.choice([True, False]):
        params["b"] = draw.normal(outer)
    return (params, draw.normal(*draw.shape(0, 2), inner)), randomness(draw, inner, outer)


def alphas(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = draw.shape()
    return normals(*shape)(draw), randomness(draw, *shape)


def noisy(option: str) -> Callable[[Draw], tuple[tuple[Any, ...], dict[str, Any]]]:
    def strategy(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        options: dict[str, Any] = {option: draw.choice([0.5, 0.1, 0.8])}
        if draw.choice([True, False]):
            options["key"] = draw.key()
        return normals(*draw.shape())(draw), options

    return strategy


ONE, NONE = frozenset({Flag.BATCH_OF_ONE}), frozenset({Flag.EMPTY_BATCH})
MASKED, NOTHING = frozenset({Flag.MASKED}), frozenset({Flag.MASKED, Flag.ZERO_GRADIENT})
KEY = np.array([3, 7], np.uint32)


def errors(op: str, arguments: Any, shape: tuple[int, ...], other: str = "mask") -> tuple[Error, ...]:
    """The errors of all that drop, whose mask has this shape."""

    def bad(what: str, match: str, by: type[Exception] = ValueError, **options: Any) -> Error:
        return Error(what, arguments, by, f"{op}: {match}", options)

    both: dict[str, Any] = {"key": KEY, other: np.ones(shape, np.bool_) if other == "mask" else np.ones(shape)}
    common = (
        bad("rate above 1", "rate must be in [0, 1], got 1.5", rate=1.5),
        bad("rate is not a number", "rate must be a number, got str", TypeError, rate="half"),
        bad("a key and more", f"takes a key or {other}, not both", **both),
        bad("a seed for a key", "key must be a NumPy array of dtype uint32", TypeError, key=0),
    )
    if other == "noise":
        return common
    return (
        *common,
        bad("mask of numbers", "mask must be an array of booleans", TypeError, mask=np.ones(shape)),
        bad("mask of another shape", f"mask must have a shape that broadcasts to {shape}", mask=np.ones((*shape, 7), np.bool_)),
    )


SPECS = (
    Spec(
        dropout,
        reference=dropout_by_equinox,
        source=library("equinox.nn.Dropout"),
        cases=(
            Case("by a key", normals(3, 5), keyed(rate=0.3)),
            Case("by a mask of rows", normals(4, 2, 3), masked(4, 1, 1, rate=0.25), MASKED),
            Case("not inverted, by a key", normals(4, 3), keyed(inverted=False)),
            Case("no key", normals(2, 3)),
            Case("not inverted, no key", normals(2, 3), {"inverted": False, "rate": 0.2}),
            Case("rate 0", normals(2, 3), keyed(rate=0.0)),
            Case("rate 1", normals(2, 3), keyed(rate=1.0), NOTHING),
            Case("one row", normals(1, 4), masked(1, 4), ONE),
            Case("no rows", normals(0, 4), keyed(), NONE),
        ),
        strategy=dropouts,
        errors=errors("dropout", normals(2, 3), (2, 3)),
    ),
    Spec(
        spatial_dropout,
        tier=2,
        reference=spatial_by_mask,
        source=composed("jax.random's mask and lax.broadcast_in_dim"),
        cases=(
            Case("images, by a key", normals(2, 5, 3, 2), keyed(rate=0.3)),
            Case("sequences, by a mask", normals(2, 3, 4), masked(2, 3, rate=0.2), MASKED),
            Case("no key", normals(2, 3, 2)),
            Case("rate 1", normals(2, 3, 2), keyed(rate=1.0), NOTHING),
            Case("one sample", normals(1, 4, 2), masked(1, 4), ONE),
            Case("no samples", normals(0, 4, 2), keyed(), NONE),
        ),
        strategy=spatial,
        errors=(
            *errors("spatial_dropout", normals(2, 3, 4), (2, 3)),
            Error("a vector", normals(3), ValueError, "spatial_dropout: x must have shape (batch, channels, ...), got (3,)"),
        ),
    ),
    Spec(
        stochastic_depth,
        tier=2,
        reference=depth_by_mask,
        source=composed("jax.random's mask and lax.broadcast_in_dim"),
        cases=(
            Case("rows, by a key", normals(6, 2, 3), keyed(rate=0.3)),
            Case("rows, by a mask", normals(4, 3), masked(4, rate=0.2), MASKED),
            Case("the whole batch kept", normals(3, 2), {"mode": "batch", "mask": np.array([True]), "rate": 0.2}),
            Case("the whole batch dropped", normals(3, 2), {"mode": "batch", "mask": np.array([False])}, NOTHING),
            Case("no key", normals(3, 2)),
            Case("one row", normals(1, 4), {"mask": np.array([True]), "rate": 0.4}, ONE),
            Case("no rows", normals(0, 4), keyed(), NONE),
        ),
        strategy=depths,
        errors=(
            *errors("stochastic_depth", normals(4, 3), (4,)),
            Error("no such mode", normals(4, 3), ValueError, "stochastic_depth: mode must be one of 'row'", {"mode": "all"}),
            Error("a scalar", normals(), ValueError, "stochastic_depth: x must have shape (batch, ...), got ()"),
        ),
    ),
    Spec(
        drop_connect,
        tier=2,
        reference=connect_by_dot,
        source=composed("equinox.nn.Dropout of the weights, jax.numpy.dot"),
        cases=(
            Case("by a key", lambda draw: ({"w": draw.normal(4, 3), "b": draw.normal(3)}, draw.normal(2, 4)), keyed(rate=0.3)),
            Case("no bias, by a mask", lambda draw: ({"w": draw.normal(3, 2)}, draw.normal(2, 2, 3)), masked(3, 2), MASKED),
            Case("no key", lambda draw: ({"w": draw.normal(3, 2), "b": draw.normal(2)}, draw.normal(4, 3))),
            Case("one row", lambda draw: ({"w": draw.normal(3, 2)}, draw.normal(1, 3)), masked(3, 1, rate=0.2), ONE),
            Case("no rows", lambda draw: ({"w": draw.normal(3, 2)}, draw.normal(0, 3)), masked(3, 2), NONE),
        ),
        strategy=connections,
        errors=(
            *errors("drop_connect", lambda draw: ({"w": draw.normal(3, 2)}, draw.normal(4, 3)), (3, 2)),
            Error(
                "inner dimension",
                lambda draw: ({"w": draw.normal(4, 2)}, draw.normal(3, 5)),
                ValueError,
                "drop_connect: x must have shape (..., 4) to match params.w (4, 2), got (3, 5)",
            ),
        ),
    ),
    Spec(
        alpha_dropout,
        tier=2,
        reference=alpha_by_moments,
        source=composed("jax.nn.selu at its limit, jax.nn.standardize"),
        cases=(
            Case("by a key", normals(3, 5), keyed(rate=0.3)),
            Case("by a mask", normals(2, 3, 2), masked(2, 3, 2, rate=0.1), MASKED),
            Case("no key", normals(2, 3)),
            Case("rate 1", normals(2, 3), keyed(rate=1.0), NOTHING),
            Case("one row", normals(1, 4), masked(1, 4), ONE),
            Case("no rows", normals(0, 4), keyed(), NONE),
        ),
        strategy=alphas,
        errors=errors("alpha_dropout", normals(2, 3), (2, 3)),
    ),
    Spec(
        gaussian_dropout,
        tier=2,
        reference=gaussian_by_variance,
        source=composed("jax.random.normal"),
        cases=(
            Case("by a key", normals(3, 4), keyed(rate=0.3)),
            Case("by noise of columns", normals(2, 3), lambda draw: {"noise": draw.normal(3), "rate": 0.8}),
            Case("no key", normals(2, 3)),
            Case("one row", normals(1, 4), keyed(), ONE),
            Case("no rows", normals(0, 4), keyed(), NONE),
        ),
        strategy=noisy("rate"),
        errors=(
            *errors("gaussian_dropout", normals(2, 3), (2, 3), "noise"),
            Error("rate 1", normals(3), ValueError, "gaussian_dropout: rate must be less than 1", {"rate": 1.0}),
            Error("other noise", normals(3), ValueError, "gaussian_dropout: noise must broadcast", {"noise": np.ones(2)}),
            Error("NaN", normals(3), ValueError, "gaussian_dropout: noise must be finite, got nan", {"noise": np.nan}),
        ),
    ),
    Spec(
        gaussian_noise,
        tier=2,
        reference=noise_by_normal,
        source=composed("jax.random.normal"),
        cases=(
            Case("by a key", normals(3, 4), keyed(stddev=0.3)),
            Case("by noise of columns", normals(2, 3), lambda draw: {"noise": draw.normal(3), "stddev": 2.0}),
            Case("no key", normals(2, 3), {"stddev": 0.5}),
            Case("one row", normals(1, 4), keyed(stddev=0.0), ONE),
            Case("no rows", normals(0, 4), keyed(stddev=0.3), NONE),
        ),
        strategy=noisy("stddev"),
        errors=(
            Error("stddev missing", normals(3), TypeError, "gaussian_noise: missing the keyword argument 'stddev'"),
            Error("negative", normals(3), ValueError, "gaussian_noise: stddev must be finite and at least", {"stddev": -1.0}),
            Error(
                "both",
                normals(3),
                ValueError,
                "gaussian_noise: takes a key or noise, not both",
                {"stddev": 1, "key": KEY, "noise": 0.0},
            ),
        ),
    ),
)
