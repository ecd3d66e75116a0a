"""Piecewise linear activations: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import purenet as pn
from oracle.spec import Case, Draw, Error, Flag, Spec, library


def rectified(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x = np.asarray(draw.away_from([0.0], *draw.shape(), scale=draw.choice([1.0, 30.0])))
    x.reshape(-1)[:1] = 0.5  # where nothing is positive there is no gradient to look at
    return (x,), {}


SPECS = (
    Spec(
        pn.relu,
        reference=jax.nn.relu,
        source=library("jax.nn.relu"),
        cases=(
            Case("two dimensions", lambda draw: (draw.away_from([0.0], 3, 5),)),
            Case("three dimensions", lambda draw: (draw.away_from([0.0], 2, 3, 4, scale=1e4),)),
            Case("scalar", lambda draw: (np.array(0.75),)),
            Case(
                "zeros of both signs",
                lambda draw: (np.concatenate([draw.away_from([0.0], 5), [0.0, -0.0, 0.0]]),),
                flags=frozenset({Flag.AT_KINK, Flag.REPEATED}),
            ),
            Case(
                "nothing positive",
                lambda draw: (-0.1 - np.abs(draw.normal(2, 3)),),
                flags=frozenset({Flag.ZERO_GRADIENT}),
            ),
            Case("one row", lambda draw: (draw.away_from([0.0], 1, 4),), flags=frozenset({Flag.BATCH_OF_ONE})),
            Case("no rows", lambda draw: (draw.normal(0, 4),), flags=frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=rectified,
        errors=(
            Error("integer x", lambda draw: (draw.labels(9, 3),), TypeError, "relu: x must be a floating-point array"),
            Error("unknown option", lambda draw: (draw.normal(3),), TypeError, "relu: unknown keyword", {"slope": 0.1}),
        ),
    ),
)
