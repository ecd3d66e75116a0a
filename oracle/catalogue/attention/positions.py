"""Where a token stands: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.spec import Case, Draw, Error, Flag, Spec, composed
from purenet.attention import learned_positions, rotary_embedding


def rotary_by_complex(x: Any, *, positions: Any = None, base: float = 1e4, interleaved: bool = False) -> Any:
    """A pair as a complex number, times exp(i angle)."""
    half = x.shape[-1] // 2
    pairs = x.reshape(*x.shape[:-1], half, 2) if interleaved else jnp.stack([x[..., :half], x[..., half:]], axis=-1)
    wide = pairs.astype(jnp.promote_types(x.dtype, jnp.float32))
    z = jax.lax.complex(wide[..., 0], wide[..., 1])
    places = jnp.arange(x.shape[-3]) if positions is None else jnp.asarray(positions)
    angles = places[..., None, None] * jnp.exp(-jnp.log(base) * jnp.arange(half) / max(half, 1))
    z *= jnp.exp(1j * angles).astype(z.dtype)
    parts = jnp.stack([z.real, z.imag], axis=-1)
    y = parts if interleaved else jnp.moveaxis(parts, -1, -2)
    return y.reshape(x.shape).astype(x.dtype)


def positions_by_one_hot(params: dict[str, Any], x: Any) -> Any:
    places = jax.nn.one_hot(jnp.arange(x.shape[-2]), len(params["w"]), dtype=x.dtype)
    return x + jnp.einsum("tp,pd->td", places, params["w"])


def placed(count: int, *x: int) -> Callable[[Draw], tuple[Any, ...]]:
    """A table of `count` positions, and x."""
    return lambda draw: ({"w": draw.normal(count, x[-1])}, draw.normal(*x))


def random_places(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    time = draw.between(1, 3)
    x = (*draw.shape(0, 2, 3), time, draw.between(1, 3))
    return placed(time + draw.between(0, 2), *x)(draw), {}


def normal(*shape: int) -> Callable[[Draw], tuple[Any, ...]]:
    return lambda draw: (draw.normal(*shape),)


def rotations(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    leading, time = draw.shape(0, 2, 3), draw.between(1, 4)
    x = draw.normal(*leading, time, draw.between(1, 2), 2 * draw.between(1, 3))
    return (x,), rotary_options(draw, *draw.choice([(), leading]), time)


def rotary_options(draw: Draw, *positions: int) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if draw.choice([False, True]):
        options["positions"] = draw.uniform(*positions, low=-20, high=20)
    if draw.choice([False, True]):
        options["base"] = draw.choice([100.0, 5e5])
    if draw.choice([False, True]):
        options["interleaved"] = True
    return options


def bad(what: str, match: str, by: type[Exception] = ValueError, **options: Any) -> Error:
    return Error(what, normal(2, 3, 1, 4), by, f"rotary_embedding: {match}", options)


SPECS = (
    Spec(
        rotary_embedding,
        tier=2,
        reference=rotary_by_complex,
        source=composed("pairs as complex numbers, times exp(i angle)"),
        cases=(
            Case("two sequences", normal(2, 3, 2, 4)),
            Case("interleaved, another base", normal(3, 2, 6), {"interleaved": True, "base": 100.0}),
            Case("positions of each sequence", normal(2, 3, 1, 4), {"positions": np.array([[0, 1, 2], [7, 8, 300]])}),
            Case("real positions", normal(4, 1, 2), {"positions": np.array([0.5, -1.25, 3.0, 1e4])}),
            Case("one sequence", normal(1, 3, 1, 2), flags=frozenset({Flag.BATCH_OF_ONE})),
            Case("no sequences", normal(0, 3, 1, 2), flags=frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=rotations,
        errors=(
            Error("no heads", normal(3, 4), ValueError, "rotary_embedding: x must have shape (..., T, N, H) with an even H"),
            Error("width 3", normal(2, 1, 3), ValueError, "rotary_embedding: x must have shape (..., T, N, H) with an even H"),
            bad("positions of words", "positions must be real numbers, got <U1", TypeError, positions=["a", "b", "c"]),
            bad("too many positions", "positions must have a shape that broadcasts to (2, 3)", positions=np.arange(4)),
            bad("base 0", "base must be finite and greater than 0, got 0", base=0),
            bad("interleaved by name", "interleaved must be True or False, got 'yes'", TypeError, interleaved="yes"),
        ),
    ),
    Spec(
        learned_positions,
        tier=2,
        reference=positions_by_one_hot,
        source=composed("products of one-hot vectors with the table"),
        cases=(
            Case("two sequences", placed(4, 2, 3, 2)),
            Case("as long as the table", placed(3, 3, 2)),
            Case("one sequence", placed(3, 1, 2, 3), flags=frozenset({Flag.BATCH_OF_ONE})),
            Case("no sequences", placed(3, 0, 2, 3), flags=frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=random_places,
        errors=(
            Error(
                "a longer sequence",
                placed(2, 4, 3, 2),
                ValueError,
                "learned_positions: x must have shape (..., T, 2) with T at most 2 to match params.w (2, 2), got (4, 3, 2)",
            ),
            Error(
                "a vector", lambda draw: ({"w": draw.normal(3, 2)}, draw.normal(2)), ValueError, "x must have shape (..., T, 2)"
            ),
            Error(
                "a vector for all", lambda draw: ({"w": draw.normal(2)}, draw.normal(3, 2)), ValueError, "params.w must have sh"
            ),
            Error("a list", lambda draw: ([], draw.normal(3, 2)), TypeError, "learned_positions: params must be a dict with w"),
        ),
    ),
)
