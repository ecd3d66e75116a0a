"""Smooth activations, entry by entry: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn
from oracle.spec import Array, Case, Draw, Error, Flag, Spec, library
from purenet.activations.smooth import log_sigmoid, mish, silu, softplus, softsign

FLAT = (-1e4, -750.0, -100.0, -37.0, -17.0, 17.0, 37.0, 100.0, 750.0, 1e4)


def elementwise(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (draw.normal(*draw.shape(), scale=draw.choice([1.0, 4.0])),), {}


def gelus(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    arguments, _ = elementwise(draw)
    return arguments, draw.choice([{}, {"approximate": True}, {"approximate": False}])


def saturated(draw: Draw) -> tuple[Array]:
    """Some ordinary numbers among many at which sigmoids are flat to rounding."""
    return (np.concatenate([draw.normal(5), FLAT]),)


def many_entries(options: dict[str, Any]) -> Case:
    """More entries than the plain bodies take (`purenet.entrywise.PLAIN`)."""
    return Case("many entries", lambda draw: (draw.normal(21, 20, scale=2.0),), options)


def cases(**options: Any) -> tuple[Case, ...]:
    """The cases that every function of single entries has."""
    return (
        Case("two dimensions", lambda draw: (draw.normal(3, 5, scale=2.0),), options),
        Case("three dimensions", lambda draw: (draw.normal(2, 3, 4),), options),
        many_entries(options),
        Case("scalar", lambda draw: (np.array(-0.75),), options),
        Case("zeros", lambda draw: (np.array([[0.0, -0.0], [0.0, 0.5]]),), options, frozenset({Flag.REPEATED})),
        Case("flat ends", saturated, options, frozenset({Flag.SATURATED})),
        Case("one row", lambda draw: (draw.normal(1, 4),), options, frozenset({Flag.BATCH_OF_ONE})),
        Case("no rows", lambda draw: (draw.normal(0, 4),), options, frozenset({Flag.EMPTY_BATCH})),
    )


def errors(name: str) -> tuple[Error, ...]:
    """The errors that every function of single entries has."""
    return (
        Error("integer x", lambda draw: (draw.labels(9, 3),), TypeError, f"{name}: x must be a floating-point array"),
        Error("complex x", lambda draw: (draw.normal(3) * 1j,), TypeError, f"{name}: x must be a floating-point array"),
        Error("two arguments", lambda draw: (draw.normal(3), draw.normal(3)), TypeError, f"{name}: takes 1 positional"),
    )


SPECS = (
    Spec(
        pn.identity,
        reference=jax.nn.identity,
        source=library("jax.nn.identity"),
        cases=cases(),
        strategy=elementwise,
        errors=errors("identity"),
    ),
    Spec(
        pn.sigmoid,
        reference=jax.nn.sigmoid,
        source=library("jax.nn.sigmoid"),
        cases=cases(),
        strategy=elementwise,
        errors=errors("sigmoid"),
    ),
    Spec(
        pn.tanh,
        reference=jnp.tanh,
        source=library("jax.numpy.tanh"),
        cases=cases(),
        strategy=elementwise,
        errors=errors("tanh"),
    ),
    Spec(
        pn.gelu,
        reference=jax.nn.gelu,
        source=library("jax.nn.gelu"),
        cases=(
            *cases(),
            Case("exact", lambda draw: (draw.normal(3, 5, scale=2.0),), {"approximate": False}),
            Case("exact, flat ends", saturated, {"approximate": False}, frozenset({Flag.SATURATED})),
            Case("exact, one row", lambda draw: (draw.normal(1, 4),), {"approximate": False}, frozenset({Flag.BATCH_OF_ONE})),
        ),
        strategy=gelus,
        errors=(
            *errors("gelu"),
            Error(
                "torch's name of the approximation",
                lambda draw: (draw.normal(3),),
                TypeError,
                "gelu: approximate must be True or False, got 'none'",
                {"approximate": "none"},
            ),
        ),
    ),
    *(
        Spec(
            op,
            reference=reference,
            source=library(f"jax.nn.{reference.__name__}"),
            cases=cases(),
            strategy=elementwise,
            errors=errors(op.name),
            tier=2,
        )
        for op, reference in (
            (log_sigmoid, jax.nn.log_sigmoid),
            (mish, jax.nn.mish),
            (silu, jax.nn.silu),
            (softplus, jax.nn.softplus),
            (softsign, jax.nn.soft_sign),
        )
    ),
)
