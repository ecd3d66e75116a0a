"""Affine maps with an update of low rank: reference, cases, strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from oracle.spec import Case, Draw, Error, Flag, Spec, composed
from purenet.linear import lora_affine


def lora_by_merging(params: dict[str, Any], x: Any, *, w: Any, b: Any = None, scale: float = 1.0) -> Any:
    """The weights and their update as one matrix."""
    merged = jnp.asarray(w, x.dtype) + scale * jnp.einsum("ir,ro->io", params["down"], params["up"])
    y = jnp.dot(x, merged)
    return y if b is None else y + jnp.asarray(b, x.dtype)


def update(*x: int, rank: int = 2, out: int = 3) -> Callable[[Draw], tuple[Any, ...]]:
    """Draws an update and x."""
    return lambda draw: ({"down": draw.normal(x[-1], rank), "up": draw.normal(rank, out)}, draw.normal(*x))


def frozen(inner: int, out: int = 3, *, b: bool = True, **options: Any) -> Callable[[Draw], dict[str, Any]]:
    """Draws what is not learned."""
    return lambda draw: {"w": draw.normal(inner, out), **({"b": draw.normal(out)} if b else {}), **options}


def updates(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    inner, out, rank = draw.between(1, 4), draw.between(1, 4), draw.between(1, 3)
    options = frozen(inner, out, b=draw.choice([True, False]))(draw)
    if draw.choice([False, True]):
        options["scale"] = draw.choice([0.5, 4.0])
    return update(*draw.shape(), inner, rank=rank, out=out)(draw), options


def no_update_yet(draw: Draw) -> tuple[Any, ...]:
    params, x = update(4, 3)(draw)
    return params | {"up": np.zeros((2, 3))}, x


def bad(what: str, match: str, by: type[Exception] = ValueError, **options: Any) -> Error:
    return Error(what, update(4, 2), by, f"lora_affine: {match}", {"w": np.ones((2, 3)), **options})


def wrong(what: str, match: str, down: tuple[int, ...], up: tuple[int, ...]) -> Error:
    def arguments(draw: Draw) -> tuple[Any, ...]:
        return {"down": draw.normal(*down), "up": draw.normal(*up)}, draw.normal(4, 2)

    return Error(what, arguments, ValueError, f"lora_affine: {match}", {"w": np.ones((2, 3))})


SPECS = (
    Spec(
        lora_affine,
        tier=2,
        reference=lora_by_merging,
        source=composed("jax.numpy.einsum of the update, added to the weights before one product"),
        cases=(
            Case("rank 2", update(5, 4), frozen(4, scale=0.5)),
            Case("two leading dimensions, no bias", update(2, 3, 4, rank=1, out=2), frozen(4, 2, b=False, scale=3.0)),
            Case("one vector, rank above the width", update(2, rank=3), frozen(2)),
            Case("before the first step, up is zero", no_update_yet, frozen(3), frozenset({Flag.ZERO_GRADIENT})),
            Case("one row", update(1, 4), frozen(4, scale=2.0), frozenset({Flag.BATCH_OF_ONE})),
            Case("no rows", update(0, 4), frozen(4), frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=updates,
        errors=(
            wrong(
                "x of another width", "x must have shape (..., I) and params.down (I, R), got (4, 2) and (3, 2)", (3, 2), (2, 3)
            ),
            wrong("ranks differ", "params.up must have shape (1, O) to match params.down (2, 1), got (2, 3)", (2, 1), (2, 3)),
            bad("other weights", "w must have shape (2, 3) to match params.down and params.up, got (3, 2)", w=np.ones((3, 2))),
            bad("other biases", "b must have shape (3,) to match", b=np.ones(2)),
            bad("weights of words", "w must be an array of real numbers, got <U1", TypeError, w=["a"]),
            bad("negative scale", "scale must be finite and at least 0, got -1.0", scale=-1.0),
            Error("no weights", update(4, 2), TypeError, "lora_affine: missing the keyword argument 'w'"),
        ),
    ),
)
