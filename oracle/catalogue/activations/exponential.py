"""Activations that are exponential below 0: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from oracle.catalogue.activations.rectifiers import beside, on
from oracle.catalogue.activations.smooth import cases, errors
from oracle.spec import Case, Draw, Error, Spec, library
from purenet.activations.exponential import celu, elu, selu


def alphas(draw: Draw) -> dict[str, Any]:
    return draw.choice([{}, {"alpha": 0.25}, {"alpha": 2}])


def bad_alpha(name: str) -> tuple[Error, ...]:
    return (
        Error(
            "alpha is not finite",
            lambda draw: (draw.normal(3),),
            ValueError,
            f"{name}: alpha must be finite",
            {"alpha": float("inf")},
        ),
        Error(
            "alpha is no number",
            lambda draw: (draw.normal(3),),
            TypeError,
            f"{name}: alpha must be a number, got str",
            {"alpha": "1"},
        ),
    )


SPECS = (
    Spec(
        elu,
        reference=jax.nn.elu,
        source=library("jax.nn.elu"),
        cases=(
            *(case for case in cases() if case.name != "three dimensions"),
            on(0.0, -0.0, alpha=0.25),
            Case("a negative alpha", lambda draw: (draw.away_from([0.0], 2, 3, 4),), {"alpha": -1.5}),
        ),
        strategy=beside(0.0, live=-0.5, options=alphas, scale=4.0),
        errors=(*errors("elu"), *bad_alpha("elu")),
        tier=2,
    ),
    Spec(
        celu,
        reference=jax.nn.celu,
        source=library("jax.nn.celu"),
        cases=(
            *(case for case in cases(alpha=0.25) if case.name != "three dimensions"),
            Case("the default", lambda draw: (draw.normal(2, 3, 4),)),
            Case("a sharp bend", lambda draw: (np.array([-2e-3, -1e-3, -4e-4, 0.3, 0.9, 2.0]),), {"alpha": 1e-3}),
        ),
        strategy=beside(0.0, live=-0.5, options=alphas, scale=4.0),
        errors=(
            *errors("celu"),
            *bad_alpha("celu"),
            Error(
                "alpha is 0",
                lambda draw: (draw.normal(3),),
                ValueError,
                "celu: alpha must be finite and greater than 0",
                {"alpha": 0},
            ),
        ),
        tier=2,
    ),
    Spec(
        selu,
        reference=jax.nn.selu,
        source=library("jax.nn.selu"),
        cases=(*(case for case in cases() if case.name not in ("three dimensions", "zeros")), on(0.0, -0.0)),
        strategy=beside(0.0, live=-0.5, scale=4.0),
        errors=errors("selu"),
        tier=2,
    ),
)
