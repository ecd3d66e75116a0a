"""Gated linear units: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.spec import Array, Case, Draw, Error, Flag, Spec, Strategy, composed, library
from purenet.activations.gated import geglu, glu, reglu, swiglu
from purenet.op import Op

ENDS = (-1e4, -750.0, -40.0, 40.0, 750.0, 1e4)


def gated_by(activation: Callable[..., Any]) -> Callable[..., Any]:
    def reference(x: Any, *, axis: int = -1, **options: Any) -> Any:
        x = jnp.moveaxis(x, axis, 0)
        half = len(x) // 2
        return jnp.moveaxis(activation(x[half:], **options) * x[:half], 0, axis)

    return reference


def values(draw: Draw, *shape: int) -> Array:
    """Numbers beside 0, where the gate of reglu bends."""
    return draw.away_from([0.0], *shape, scale=2.0)


def gates(*options: dict[str, Any]) -> Strategy:
    def strategy(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        shape = [draw.between(1, 3) for _ in range(draw.between(1, 3))]
        axis = draw.choice([-1, 0, len(shape) - 1, -len(shape)])
        shape[axis] *= 2
        x = np.abs(values(draw, *shape)) * draw.choice([1.0, 5.0])  # an open gate first: shut ones have no gradient
        x.reshape(-1)[x.size // 2 + 1 :] *= draw.generator.choice([-1, 1], x.size - x.size // 2 - 1)
        return (x,), draw.choice(options) | ({} if axis == -1 else {"axis": axis})

    return strategy


def cases(**options: Any) -> tuple[Case, ...]:
    return (
        Case("the last axis", lambda draw: (values(draw, 3, 6),), options),
        Case("the first axis", lambda draw: (values(draw, 4, 3),), {"axis": 0} | options),
        Case("a middle axis", lambda draw: (values(draw, 2, 4, 3),), {"axis": -2} | options),
        Case(
            "gates wide open and shut",
            lambda draw: (np.concatenate([values(draw, 2, 6), [ENDS, ENDS[::-1]]], axis=1),),
            options,
            frozenset({Flag.SATURATED, Flag.REPEATED}),
        ),
        Case("one row", lambda draw: (values(draw, 1, 8),), options, frozenset({Flag.BATCH_OF_ONE})),
        Case("no rows", lambda draw: (draw.normal(0, 4),), options, frozenset({Flag.EMPTY_BATCH})),
    )


def errors(name: str) -> tuple[Error, ...]:
    return (
        Error(
            "an odd axis",
            lambda draw: (draw.normal(2, 3),),
            ValueError,
            f"{name}: x must have an even number of entries along axis -1, got the shape (2, 3)",
        ),
        Error("no such axis", lambda draw: (draw.normal(2, 4),), ValueError, f"{name}: axis must be one of", {"axis": 2}),
        Error(
            "no axis", lambda draw: (draw.normal(4),), TypeError, f"{name}: axis must be an integer, got None", {"axis": None}
        ),
        Error("integer x", lambda draw: (draw.labels(9, 4),), TypeError, f"{name}: x must be a floating-point array"),
    )


def spec(op: Op, activation: Callable[..., Any], extra: tuple[Case, ...], options: tuple[dict[str, Any], ...] = ({},)) -> Spec:
    """The gated unit with this activation, of jax.nn."""
    return Spec(
        op,
        reference=gated_by(activation),
        source=composed(f"halves and jax.nn.{activation.__name__}"),
        cases=(*cases(), *extra),
        strategy=gates(*options),
        errors=errors(op.name),
        tier=2,
    )


SPECS = (
    Spec(
        glu,
        reference=jax.nn.glu,
        source=library("jax.nn.glu"),
        cases=cases(),
        strategy=gates({}),
        errors=errors("glu"),
        tier=2,
    ),
    spec(
        reglu,
        jax.nn.relu,
        (
            Case(
                "gates at the kink",
                lambda draw: (np.array([[1.5, -2.0, 0.5, 0.0, -0.0, 3.0], [-0.5, 2.5, 1.0, -1.0, 0.0, 0.25]]),),
                flags=frozenset({Flag.AT_KINK, Flag.REPEATED}),
            ),
        ),
    ),
    spec(
        geglu,
        jax.nn.gelu,
        (
            Case("exact", lambda draw: (draw.normal(2, 6),), {"approximate": False}),
            Case(
                "exact, gates wide open and shut",
                lambda draw: (np.array([[1.5, -2.0, 0.5, 3.0], [1e4, -1e4, 0.7, -30.0]]).reshape(1, 8),),
                {"approximate": False},
                frozenset({Flag.SATURATED, Flag.BATCH_OF_ONE}),
            ),
        ),
        ({}, {"approximate": True}, {"approximate": False}),
    ),
    spec(swiglu, jax.nn.silu, ()),
)
