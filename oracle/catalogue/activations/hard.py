"""Activations cut from straight lines: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.activations.rectifiers import beside, cases, on
from oracle.catalogue.activations.smooth import errors
from oracle.spec import Case, Flag, Spec, library
from purenet.activations.hard import hard_sigmoid, hard_swish, hard_tanh, relu6, step


def heaviside(x: Any) -> Any:
    return jnp.heaviside(x, 0)


SPECS = (
    Spec(
        step,
        reference=heaviside,
        source=library("jax.numpy.heaviside"),
        cases=(
            Case(
                "two dimensions",
                lambda draw: (draw.away_from([0.0], 3, 5, scale=3.0),),
                flags=frozenset({Flag.ZERO_GRADIENT}),
            ),
            Case(
                "far out",
                lambda draw: (np.array([-1e4, -750.0, 0.5, 750.0, 1e4]),),
                flags=frozenset({Flag.ZERO_GRADIENT, Flag.SATURATED}),
            ),
            Case(
                "one row",
                lambda draw: (draw.away_from([0.0], 1, 4),),
                flags=frozenset({Flag.ZERO_GRADIENT, Flag.BATCH_OF_ONE}),
            ),
            Case("no rows", lambda draw: (draw.normal(0, 4),), flags=frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=beside(0.0, live=0.5),
        errors=errors("step"),
    ),
    Spec(
        relu6,
        reference=jax.nn.relu6,
        source=library("jax.nn.relu6"),
        cases=(*cases(0.0, 6.0), on(0.0, 6.0)),
        strategy=beside(0.0, 6.0, live=2.5),
        errors=errors("relu6"),
        tier=2,
    ),
    Spec(
        hard_tanh,
        reference=jax.nn.hard_tanh,
        source=library("jax.nn.hard_tanh"),
        cases=(*cases(-1.0, 1.0), on(-1.0, 1.0)),
        strategy=beside(-1.0, 1.0, live=0.5),
        errors=errors("hard_tanh"),
        tier=2,
    ),
    Spec(
        hard_sigmoid,
        reference=jax.nn.hard_sigmoid,
        source=library("jax.nn.hard_sigmoid"),
        cases=(*cases(-3.0, 3.0), on(-3.0, 3.0)),
        strategy=beside(-3.0, 3.0, live=0.5),
        errors=errors("hard_sigmoid"),
        tier=2,
    ),
    Spec(
        hard_swish,
        reference=jax.nn.hard_swish,
        source=library("jax.nn.hard_swish"),
        cases=(
            *cases(-3.0, 3.0),
            on(-3.0, 3.0),
            Case("all along the bend", lambda draw: (np.array([-3.5, -2.5, -1.5, 0.5, 1.5, 2.5, 3.5]),)),
        ),
        strategy=beside(-3.0, 3.0, live=0.5),
        errors=errors("hard_swish"),
        tier=2,
    ),
)
