"""The captions of the pictures of the HTML page: what is drawn, in words."""

from __future__ import annotations

import math
import re

from oracle.row import Descent, ErrorMap, Parting, StepCurve
from oracle.text import count, digits

__all__ = ["MULTIPLES", "apart", "curve_in_words", "evidence_in_words", "map_in_words", "parting_in_words"]

WITNESSES = {
    "numerical": "with finite differences",
    "autodiff": "with JAX",
    "exact": "with exact derivatives",
    "unrounded": "without rounding",
}
COMPARED = re.compile(rf"\b({'|'.join(WITNESSES)}) (\d+)/(\d+)")
MULTIPLES = (
    "White entries are right: 1. One colour everywhere is a constant factor. At 0 nothing flows back; below 0 the sign is "
    "wrong. Grey entries were not tested, or the true gradient is nearly zero there."
)


def evidence_in_words(evidence: str) -> str:
    """`numerical 3/15, autodiff 15/15` as `3 of 15 with finite differences, 15 of 15 with JAX`; other evidence as it is."""
    return COMPARED.sub(lambda found: f"{found[2]} of {found[3]} {WITNESSES[found[1]]}", evidence)


def map_in_words(m: ErrorMap) -> str:
    """The caption of an error map: its axes, its colours, and what it leaves out."""
    words = [_layout_in_words(m)]
    laid = (*m.down, *m.across)
    if len(laid) < len(m.shape):
        slices = ", ".join(":" if d in laid else str(place) for d, place in enumerate(m.index))
        words.append(f"Only the slice [{slices}] is shown; it holds the worst entry.")
    if m.cell != (1, 1):
        words.append(f"Each cell shows the worst of {m.cell[0]}\N{MULTIPLICATION SIGN}{m.cell[1]} entries.")
    words.append(
        "Red entries are too large, blue ones too small; the scale counts multiples of the tolerance. "
        "White entries are right. The frame marks the worst entry."
    )
    ratios = [ratio for row in m.ratios for ratio in row]
    if any(map(math.isnan, ratios)):
        words.append("Grey entries were not tested.")
    if any(map(math.isinf, ratios)):
        words.append("Entries that are NaN or infinite have the darkest red.")
    return " ".join(words)


def _layout_in_words(m: ErrorMap) -> str:
    if not m.down:
        return f"Axis {m.across[0]} runs from left to right."
    if len(m.down) == 1:
        return f"Axis {m.down[0]} runs down, axis {m.across[0]} across."
    tiles = f"axis {m.down[0]} down, axis {m.across[0]} across" if len(m.across) == 2 else f"axis {m.down[0]} down"
    return f"There is a tile for each index: {tiles}. In each tile axis {m.down[1]} runs down, axis {m.across[-1]} across."


def curve_in_words(c: StepCurve) -> str:
    """The caption of the errors at each step: of what they are errors, and against what."""
    against = "the extrapolated value" if c.autodiff is None else "JAX's value"
    return (
        f"Errors at the worst entry, against {against}: of plain finite differences with each step, of the value that is "
        "extrapolated from them, and of the hand-written value. They are relative to the gradient's largest entry. "
        "An error of 0 is drawn at the bottom."
    )


def apart(d: Descent) -> str:
    """How far the losses of two runs are apart at most."""
    furthest = max((abs(a - b) for a, b in zip(d.ours, d.theirs, strict=False)), default=0.0)
    return f"they differ by at most {digits(furthest)}"


def parting_in_words(p: Parting) -> str:
    """The caption of the distance of a training from its reference: its two lines and their largest values."""
    return (
        f"After each of {count(len(p.parameters), 'step')}. Difference: the largest one of a parameter from the "
        f"reference's, relative to the parameter's largest entry (at most {digits(max(p.parameters, default=0.0))}). Used: "
        "the largest difference of the loss, the parameters and the optimizer's state, divided by the tolerance "
        f"(at most {max(p.used, default=0.0):.2g})."
    )
