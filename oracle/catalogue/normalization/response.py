"""Local response normalization: reference, cases, strategy."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from oracle.spec import Case, Draw, Error, Flag, Spec, composed
from purenet.normalization import local_response_norm


def response_by_window(x: Any, *, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    window = (1, size, *(1,) * (x.ndim - 2))
    reach = ((0, 0), (size // 2, (size - 1) // 2), *((0, 0),) * (x.ndim - 2))
    squares = lax.reduce_window(x**2, np.zeros((), x.dtype)[()], lax.add, window, (1,) * x.ndim, reach)
    return x * jnp.exp(-beta * jnp.log(k + alpha * squares / size))


def responses(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    options = {"size": draw.between(1, 5), "alpha": draw.choice([1.0, 1e-4]), "beta": draw.choice([0.75, 1.0, 2.0])}
    x = draw.normal(draw.between(1, 3), draw.between(1, 5), *draw.shape(0, 2, 3))
    return (x,), {**options, "k": draw.choice([1.0, 0.5, 2.0])}


def bad(what: str, match: str, *shape: int, by: type[Exception] = ValueError, **options: Any) -> Error:
    return Error(what, lambda draw: (draw.normal(*shape),), by, f"local_response_norm: {match}", {"size": 3, **options})


STRONG = {"alpha": 2.0, "beta": 0.75, "k": 1.5}

SPECS = (
    Spec(
        local_response_norm,
        reference=response_by_window,
        source=composed("lax.reduce_window, exp and log"),
        cases=(
            Case("images, three channels of five", lambda draw: (draw.normal(2, 5, 2, 3),), {"size": 3, **STRONG}),
            Case("an even size", lambda draw: (draw.normal(2, 5, 2),), {"size": 4, **STRONG}),
            Case("wider than the channels", lambda draw: (draw.normal(3, 2),), {"size": 7, **STRONG}),
            Case("AlexNet's", lambda draw: (draw.normal(2, 6, 2, scale=30.0),), {"size": 5, "alpha": 5e-4, "k": 2.0}),
            Case("of size 1e4", lambda draw: (draw.normal(2, 4) * 1e4,), {"size": 3}, frozenset({Flag.SATURATED})),
            Case("one sample", lambda draw: (draw.normal(1, 3, 2, 1),), {"size": 2, **STRONG}, frozenset({Flag.BATCH_OF_ONE})),
            Case("no samples", lambda draw: (draw.normal(0, 3, 2),), {"size": 3}, frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=responses,
        errors=(
            bad("size 0", "size must be at least 1, got 0", 2, 3, size=0),
            bad("size is no integer", "size must be an integer, got 3.0", 2, 3, by=TypeError, size=3.0),
            bad("a vector", "x must have shape (batch, channels, ...), got (3,)", 3),
            bad("k of 0", "k must be finite and greater than 0, got 0", 2, 3, k=0),
            bad("negative alpha", "alpha must be finite and at least 0, got -1", 2, 3, alpha=-1),
            bad("negative beta", "beta must be finite and at least 0, got -0.5", 2, 3, beta=-0.5),
        ),
    ),
)
