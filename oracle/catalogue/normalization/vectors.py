"""Vectors brought to length 1: references, cases, strategies."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from oracle.spec import Case, Deviation, Draw, Error, Flag, Spec, library
from purenet import vjp
from purenet.normalization import l1_normalize, l2_normalize


def l1_by_norm(x: Any, *, axis: Any = -1, eps: float = 1e-12) -> Any:
    # A constant at 0: JAX's slope of |x| there is 1, ours is 0.
    norm = jnp.linalg.vector_norm(jnp.where(x == 0, 0, x), ord=1, axis=axis, keepdims=True)
    return x / jnp.maximum(norm, eps)


def l2_by_safe_norm(x: Any, *, axis: Any = -1, eps: float = 1e-12) -> Any:
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis
    last = tuple(range(-len(axes), 0))
    moved = jnp.moveaxis(x, axes, last)
    rest = moved.shape[: x.ndim - len(axes)]
    norm = optax.safe_norm(moved.reshape(*rest, x.size // max(math.prod(rest), 1)), 0.0, axis=-1)
    return x / jnp.maximum(jnp.expand_dims(norm, tuple(a % x.ndim for a in axes)), eps)


def slope(op: Any, x: Any, **options: Any) -> float:
    """Of the first entry of the value by the first entry of x."""
    y, pullback = vjp(op, np.asarray(x), **options)
    return float(pullback(np.eye(1, len(y))[0])[0][0])


def l2_by_jax(x: Any) -> Any:
    return (x / jnp.maximum(jnp.linalg.norm(x), 0.5))[0]


def l1_by_jax(x: Any) -> Any:
    return (x / jnp.sum(jnp.abs(x)))[1]


def l2_slopes_at_zeros() -> tuple[float, float]:
    return slope(l2_normalize, np.zeros(2), eps=0.5), float(jax.grad(l2_by_jax)(jnp.zeros(2))[0])


def l1_slopes_at_zero() -> tuple[float, float]:
    _, pullback = vjp(l1_normalize, np.array([0.0, 2.0]))
    return float(pullback(np.array([0.0, 1.0]))[0][0]), float(jax.grad(l1_by_jax)(jnp.array([0.0, 2.0]))[0])


def vectors(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = tuple(draw.between(2, 4) for _ in range(draw.between(1, 3)))
    axis = draw.choice([-1, 0, len(shape) - 1, None])
    options: dict[str, Any] = {} if axis == -1 else {"axis": axis}
    if draw.choice([False, True]):
        options["eps"] = draw.choice([1e-3, 100.0])
    return (draw.away_from([0.0], *shape, scale=draw.choice([1.0, 5.0])),), options


CASES = (
    Case("rows", lambda draw: (draw.away_from([0.0], 3, 4),)),
    Case("columns", lambda draw: (draw.away_from([0.0], 4, 2, scale=3.0),), {"axis": 0}),
    Case("two axes", lambda draw: (draw.away_from([0.0], 2, 3, 2),), {"axis": (0, 2)}),
    Case("all axes", lambda draw: (draw.away_from([0.0], 2, 3),), {"axis": None}),
    Case(
        "long, short and zero beside eps",
        lambda draw: (np.array([[3.0, -4.0, 2.0], [0.02, -0.01, 0.04], [0.0, 0.0, 0.0]]),),
        {"eps": 0.5},
        frozenset({Flag.REPEATED}),
    ),
    Case("of size 1e4", lambda draw: (draw.away_from([0.0], 2, 3) * 1e4,), flags=frozenset({Flag.SATURATED})),
    Case("one row", lambda draw: (draw.away_from([0.0], 1, 4),), flags=frozenset({Flag.BATCH_OF_ONE})),
    Case("no rows", lambda draw: (draw.normal(0, 4),), flags=frozenset({Flag.EMPTY_BATCH})),
)


def errors(op: str) -> tuple[Error, ...]:
    return (
        Error("no such axis", lambda draw: (draw.normal(2, 3),), ValueError, f"{op}: axis must be one of the 2", {"axis": 2}),
        Error("axis by name", lambda draw: (draw.normal(3),), TypeError, f"{op}: axis must be an integer", {"axis": "last"}),
        Error("negative eps", lambda draw: (draw.normal(3),), ValueError, f"{op}: eps must be finite and at", {"eps": -1e-3}),
        Error("integers", lambda draw: (draw.labels(9, 3),), TypeError, f"{op}: x must be a floating-point array"),
    )


SPECS = (
    Spec(
        l1_normalize,
        tier=2,
        reference=l1_by_norm,
        source=library("jax.numpy.linalg.vector_norm(ord=1)"),
        cases=(
            *CASES,
            Case(
                "zeros among the entries, and a norm of eps",
                lambda draw: (np.array([[0.0, 2.0, -1.0], [-0.25, 0.5, 0.25]]),),
                {"eps": 1.0},
                frozenset({Flag.AT_KINK}),
            ),
        ),
        strategy=vectors,
        errors=errors("l1_normalize"),
        deviations=(
            Deviation(
                point="an entry at 0, beside others",
                ours=0.0,
                jax=-0.5,
                why="the symmetric subgradient of |x|, as in l1_penalty",
                measure=l1_slopes_at_zero,
            ),
        ),
    ),
    Spec(
        l2_normalize,
        tier=2,
        reference=l2_by_safe_norm,
        source=library("optax.safe_norm"),
        cases=(
            *CASES,
            Case(
                "a norm of eps",
                lambda draw: (np.array([[3.0, -4.0], [0.3, 0.4]]),),
                {"eps": 5.0},
                frozenset({Flag.AT_KINK}),
            ),
        ),
        strategy=vectors,
        errors=errors("l2_normalize"),
        deviations=(
            Deviation(
                point="a vector of zeros, eps 0.5",
                ours=2.0,
                jax=float("nan"),
                why="below eps the value is x / eps, whatever the slope of the norm",
                measure=l2_slopes_at_zeros,
            ),
        ),
    ),
)
