"""Shrinkage: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from oracle.catalogue.activations.rectifiers import beside, cases, on
from oracle.catalogue.activations.smooth import cases as smooth_cases
from oracle.catalogue.activations.smooth import errors
from oracle.spec import Case, Draw, Error, Spec, composed
from purenet.activations.shrinkage import hardshrink, softshrink, tanhshrink


def soft_by_relu(x: Any, *, lambd: float = 0.5) -> Any:
    return jnp.sign(x) * jax.nn.relu(jnp.abs(x) - lambd)


def hard_by_heaviside(x: Any, *, lambd: float = 0.5) -> Any:
    return x * jnp.heaviside(jnp.abs(x) - lambd, 0)


def tanhshrink_by_sigmoid(x: Any) -> Any:
    return x + 1 - 2 * jax.nn.sigmoid(2 * x)


def lambdas(draw: Draw) -> dict[str, Any]:
    return draw.choice([{}, {"lambd": 0.5}, {"lambd": 2}, {"lambd": 0.0}])


def bad_lambda(name: str) -> tuple[Error, ...]:
    return (
        Error(
            "negative lambd",
            lambda draw: (draw.normal(3),),
            ValueError,
            f"{name}: lambd must be finite and at least 0, got -0.5",
            {"lambd": -0.5},
        ),
        Error(
            "lambd is no number",
            lambda draw: (draw.normal(3),),
            TypeError,
            f"{name}: lambd must be a number, got bool",
            {"lambd": True},
        ),
    )


SPECS = (
    Spec(
        softshrink,
        reference=soft_by_relu,
        source=composed("sign(x) jax.nn.relu(|x| - lambd)"),
        cases=(
            *cases(-0.5, 0.5),
            on(-0.5, 0.5),
            Case("another lambd", lambda draw: (draw.away_from([-1.5, 1.5], 2, 3, 4, scale=3.0),), {"lambd": 1.5}),
            Case("lambd 0", lambda draw: (draw.away_from([0.0], 2, 3),), {"lambd": 0}),
        ),
        strategy=beside(-2.0, -0.5, 0.0, 0.5, 2.0, live=2.5, options=lambdas),
        errors=(*errors("softshrink"), *bad_lambda("softshrink")),
        tier=2,
    ),
    Spec(
        hardshrink,
        reference=hard_by_heaviside,
        source=composed("x heaviside(|x| - lambd)"),
        cases=(
            *cases(-0.5, 0.5),
            Case("another lambd", lambda draw: (draw.away_from([-1.5, 1.5], 2, 3, 4, scale=3.0),), {"lambd": 1.5}),
            Case("lambd 0", lambda draw: (draw.away_from([0.0], 2, 3),), {"lambd": 0}),
        ),
        strategy=beside(-2.0, -0.5, 0.0, 0.5, 2.0, live=2.5, options=lambdas),
        errors=(*errors("hardshrink"), *bad_lambda("hardshrink")),
        tier=2,
    ),
    Spec(
        tanhshrink,
        reference=tanhshrink_by_sigmoid,
        source=composed("x + 1 - 2 jax.nn.sigmoid(2 x)"),
        cases=smooth_cases(),
        # Near 0, where x^3 / 3 is left of numbers near 1, the reference has fewer digits than can be forgiven.
        strategy=lambda draw: ((draw.away_from([0.0], *draw.shape(), scale=draw.choice([1.0, 30.0]), gap=0.1),), {}),
        errors=errors("tanhshrink"),
        tier=2,
    ),
)
