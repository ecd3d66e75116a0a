"""How the gradient of a recurrent net grows or vanishes with the steps back, by the largest singular value of its weights.

At a state of 0 the slope of tanh is 1, so each step back multiplies the gradient only by the transposed matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import purenet as pn
from oracle.seeds.drawing import Panel, curves
from oracle.seeds.experiment import in_one_piece
from oracle.seeds.section import Claim, Section, Table

__all__ = ["EXPERIMENT", "gradient_norms", "section"]

Array = NDArray[Any]

UNITS, STEPS = 50, 40
SHOWN = (1, 10, 20, 40)
LARGEST = (0.5, 0.9, 1.0, 1.1, 2.0)
"""The largest singular values of the matrices."""
KINDS = ("orthogonal", "normal")


def matrix(kind: str, largest: float) -> Array:
    """Weights whose largest singular value is `largest`; if they are orthogonal, all singular values are."""
    key = pn.random.key(0)
    w = pn.random.orthogonal(key, UNITS) if kind == "orthogonal" else pn.random.normal(key, (UNITS, UNITS))
    return np.asarray(w * (largest / np.linalg.norm(w, 2)))


def gradient_norms(wh: Array, steps: int = STEPS) -> Array:
    """The norm of the gradient by the first state, if the gradient by the state after 1, 2, ... steps has the norm 1."""
    params = {"wx": np.zeros((1, len(wh))), "wh": wh}
    dy = np.full((1, len(wh)), len(wh) ** -0.5)
    norms = []
    for count in range(1, steps + 1):
        (ys, last), residuals = pn.rnn.fwd(params, np.zeros((1, count, 1)), np.zeros((1, len(wh))))
        *_, dcarry = pn.rnn.bwd(residuals, (np.zeros_like(ys), dy.reshape(np.shape(last))))
        norms.append(float(np.linalg.norm(dcarry)))
    return np.array(norms)


def section(found: Mapping[tuple[str, float], Array]) -> Section:
    """A table, curves, and the singular values for which the gradient grows."""
    rows = [(f"{kind}, {largest:g}", *(f"{norms[t - 1]:.1e}" for t in SHOWN)) for (kind, largest), norms in found.items()]
    panels = [
        Panel(
            kind,
            {f"{s:g}": (np.arange(1, norms.size + 1), norms) for (own, s), norms in found.items() if own == kind},
            "steps back",
            "norm" if kind == KINDS[0] else "",
            log_y=True,
        )
        for kind in KINDS
    ]
    powers = max(
        float(np.abs(norms / s ** np.arange(1, norms.size + 1) - 1).max())
        for (kind, s), norms in found.items()
        if kind == "orthogonal"
    )
    small = [norms[-1] for (_, s), norms in found.items() if s < 1]
    large = {kind: found[kind, 1.1][-1] for kind in KINDS}
    return Section(
        "The gradient of a recurrent net against the steps back",
        (
            f"""A recurrent net of {UNITS} units at a state of 0, and a gradient of norm 1 after T steps: its norm in the first
            state. All singular values of the orthogonal weights are the one given, of the normal ones it is the largest.""",
            Table(("", *(f"T = {t}" for t in SHOWN)), tuple(rows)),
            curves("singular_values.svg", "norm of the gradient by steps back, by largest singular value", panels),
        ),
        (
            Claim(
                "where all singular values are s, the norm is s^T",
                powers < 1e-9,
                published="grows or vanishes by the largest singular value",
                measured="to 1e-9",
            ),
            Claim(
                "a largest singular value below 1 makes it vanish",
                max(small) < 0.1,
                measured=f"at most {max(small):.1e} at T = {STEPS}",
            ),
            Claim(
                "a largest singular value above 1 makes it grow",
                all(norm > 1 for norm in large.values()),
                published="grows",
                measured=f"with 1.1 at T = {STEPS}: " + ", ".join(f"{kind} {norm:.1e}" for kind, norm in large.items()),
                because="it is necessary and not enough: normal weights turn the gradient away from the direction that grows, "
                "and what counts in the end is the largest eigenvalue",
            ),
        ),
    )


EXPERIMENT = in_one_piece(
    lambda setting: section({(kind, s): gradient_norms(matrix(kind, s)) for kind in KINDS for s in LARGEST})
)
