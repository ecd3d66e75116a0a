"""The largest and the smallest entry: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from oracle.catalogue.reductions.moments import FAR, TIED, cases, errors, over
from oracle.catalogue.shaping.layout import bad
from oracle.spec import Case, Flag, Spec, library
from purenet.reductions import extremes


def extreme(name: str) -> dict[str, Any]:
    """What the specs of both extremes share."""
    return {
        "source": library(f"jax.numpy.{name}"),
        "cases": (
            *cases(),
            Case("far out", lambda draw: (np.array([FAR, FAR[::-1]]).T,), {"axis": 0}, frozenset({Flag.SATURATED})),
            Case("ties", lambda draw: (np.array([[2.0, -1.0, 2.0, -1.0], [0.0, 0.0, -0.0, 0.0]]),), {"axis": 1}, TIED),
            Case("a tie over two axes", lambda draw: (np.array([[[1.5, 0.5], [0.5, 1.5]], [[3.0, 1.0], [2.0, 1.0]]]),),
                 {"axis": (1, 2), "keepdims": True}, TIED),
        ),
        "strategy": over(),
        "errors": (*errors(name), bad(name, "nothing", ValueError, "there is no entry along axis 0 of x (0, 3)", 0, 3, axis=0)),
        "tier": 2,
    }  # fmt: skip


SPECS = (
    Spec(extremes.max, reference=jnp.max, **extreme("max")),
    Spec(extremes.min, reference=jnp.min, **extreme("min")),
)
