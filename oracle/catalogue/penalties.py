"""Penalties: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import purenet as pn
from oracle.spec import Case, Deviation, Draw, Error, Flag, Spec, library


def l1_by_optax(weights: Any, *, strength: float) -> Any:
    # A constant at 0: JAX's slope of |w| there is 1, ours is 0.
    nonzero = jax.tree.map(lambda w: jnp.where(w == 0, 0, w), weights)
    return strength * optax.tree.norm(nonzero, ord=1)


def l2_by_optax(weights: Any, *, strength: float) -> Any:
    return strength / 2 * optax.tree.norm(weights, squared=True)


def absolute(x: Any) -> Any:
    return jnp.abs(x)


def slopes_at_zero() -> tuple[float, float]:
    """Ours, and JAX's of the absolute value."""
    _, pullback = pn.vjp(pn.l1_penalty, np.zeros(1), strength=1.0)
    return float(pullback(1.0)[0][0]), float(jax.grad(absolute)(0.0))


def layers(draw: Draw) -> tuple[Any]:
    """Weights of two layers, none near 0."""
    return ({"affine1": {"w": draw.away_from([0.0], 3, 2)}, "affine2": {"w": draw.away_from([0.0], 2, 4)}},)


def trees(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def leaf() -> Any:
        return draw.away_from([0.0], *draw.shape(), scale=draw.choice([1.0, 5.0]))

    kind = draw.choice(["array", "list", "dict"])
    weights = leaf() if kind == "array" else [leaf(), leaf()] if kind == "list" else {"a": leaf(), "b": (leaf(), leaf())}
    return (weights,), {"strength": draw.choice([0.5, 1e-3, 2.0])}


CASES = (
    Case("two layers", layers, {"strength": 0.1}),
    Case("one array", lambda draw: (draw.away_from([0.0], 2, 3, 4),), {"strength": 1.5}),
    Case("a list", lambda draw: ([draw.away_from([0.0], 3), draw.away_from([0.0], 2, 2)],), {"strength": 1e-4}),
    Case("a scalar", lambda draw: (np.array(-2.0),), {"strength": 0.5}),
    Case("large and small", lambda draw: (np.array([100.0, -0.25, 3.0]),), {"strength": 0.1}),
    Case("strength zero", layers, {"strength": 0}, frozenset({Flag.ZERO_GRADIENT})),
    Case("no rows", lambda draw: ({"w": draw.normal(0, 3)},), {"strength": 0.1}, frozenset({Flag.EMPTY_BATCH})),
)


def errors(name: str) -> tuple[Error, ...]:
    def bad(what: str, exception: type[Exception], match: str, **options: Any) -> Error:
        return Error(what, layers, exception, f"{name}: {match}", options)

    return (
        bad("no strength", TypeError, "missing the keyword argument 'strength'"),
        bad("negative strength", ValueError, "strength must be finite and at least 0, got -0.1", strength=-0.1),
        bad("strength is not finite", ValueError, "strength must be finite and at least 0, got nan", strength=float("nan")),
        bad("strength is not a number", TypeError, "strength must be a number, got str", strength="0.1"),
        Error(
            "integer weights",
            lambda draw: ({"w": draw.labels(9, 3)},),
            TypeError,
            f"{name}: weights.w must be a floating-point array",
            {"strength": 0.1},
        ),
    )


SPECS = (
    Spec(
        pn.l1_penalty,
        reference=l1_by_optax,
        source=library("optax.tree.norm(ord=1)"),
        cases=(
            *CASES,
            Case(
                "some weights are zero",
                lambda draw: ({"w": np.array([[0.0, 1.5], [-0.5, -0.0]]), "v": draw.away_from([0.0], 3)},),
                {"strength": 0.1},
                frozenset({Flag.AT_KINK}),
            ),
        ),
        strategy=trees,
        errors=errors("l1_penalty"),
        deviations=(
            Deviation(
                point="a weight at 0",
                ours=0.0,
                jax=1.0,
                why="the symmetric subgradient: a penalty must not push a weight that is at its target",
                measure=slopes_at_zero,
            ),
        ),
    ),
    Spec(
        pn.l2_penalty,
        reference=l2_by_optax,
        source=library("optax.tree.norm(squared=True)"),
        cases=(
            *CASES,
            Case("zeros", lambda draw: (np.array([0.0, 2.0, -0.0]),), {"strength": 0.5}, frozenset({Flag.REPEATED})),
        ),
        strategy=trees,
        errors=errors("l2_penalty"),
    ),
)
