"""A user's run and its reference's, slot by slot: which differ, where first, and which are kept in another convention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.measures import eps_of, fit_scale
from oracle.trajectory.slots import COUNTS
from oracle.trajectory.tolerance import Distance, Gap, Record, factor
from oracle.trajectory.users_runs import Runs

__all__ = ["Compared"]

Array = NDArray[Any]

SAME = 1e-9
"""Up to this relative difference a slot is a fixed multiple of the reference's at every step."""
NEAR = 0.01
"""Of the largest entry. A slot that is nearer to the reference's is the same quantity, and wrong, even if no parameter shows
it. With 1, a second moment that is kept without its correction would be called wrong; with 1e-6, one with another decay would
be called another quantity."""
LOST = 64
"""Roundings of the dtype by which such a slot may differ beside that: in float32 they are more than SAME. 20 steps add 20."""


class Compared(NamedTuple):
    """Both runs in one dtype, slot by slot."""

    runs: Runs
    gaps: dict[str, Gap]
    """Of each slot that is judged. Those that the two keep in different conventions are not."""
    tolerances: Mapping[str, Array]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, runs: Runs, tolerances: Mapping[str, Array], rate: float | None = None) -> Compared:
        """`rate` is that of the reference's first step, if it is known."""
        hand, reference = runs.hand, runs.reference
        gaps = {slot: Gap.between(slot, hand, reference, tolerances[slot]) for slot in runs.slots}
        right = not any(gap.first for slot, gap in gaps.items() if slot.startswith("params."))
        notes = []
        for name in runs.names:
            own = [slot for slot in gaps if slot.split(".")[:2] == ["state", name]]
            if any(gaps[slot].first for slot in own):
                note = _convention(runs, name, own, rate, right=right)
                if note:
                    notes.append(note)
                    gaps = {slot: gap for slot, gap in gaps.items() if slot not in own}
        name = next(iter(runs.probe.params))
        ours, theirs = (run[0][f"params.{name}"].dtype for run in (hand, reference))
        if ours != theirs:
            notes.append(f"its parameters become {ours}, the reference's stay {theirs}")
        return cls(runs, gaps, tolerances, tuple(notes))

    @property
    def first(self) -> tuple[int, str] | None:
        """The earliest step at which a slot differs, and the first such slot."""
        found = [(gap.first, slot) for slot, gap in self.gaps.items() if gap.first]
        return min(found, key=lambda pair: pair[0], default=None)

    @property
    def place(self) -> str:
        """Where they differ first, and how."""
        step, slot = self.first or (1, self.runs.slots[0])
        name = slot.partition(".")[2]
        if slot.startswith("params.") and not self.runs.moves(self.runs.hand, name):
            return f"first at step {step} in {slot}, which never moves"
        start = {f"params.{name}": p for name, p in self.runs.probe.params.items()}
        ours, theirs = (
            [{slot: np.zeros_like(run[0][slot]), **start} if step == 1 else run[step - 2], run[step - 1]]
            for run in (self.runs.hand, self.runs.reference)
        )
        finite = np.isfinite(ours[1][slot]).all()
        how = factor(slot, ours, theirs, "the reference's") if finite else ", which is not finite"
        return f"first at step {step} in {slot}{how}"

    def values(self, slot: str) -> tuple[tuple[int, ...] | None, float | None, float | None]:
        """Where the two differ most at the first step at which they do, and both values there."""
        gap = self.gaps[slot]
        step = (gap.first or gap.step) - 1
        if step >= len(self.runs.hand):
            return None, None, None
        ours, theirs = self.runs.hand[step][slot], self.runs.reference[step][slot]
        entry = Distance.between(ours, theirs).entry
        return (None, None, None) if entry is None else (entry, float(ours[entry]), float(theirs[entry]))


def _convention(runs: Runs, name: str, slots: Sequence[str], rate: float | None, *, right: bool) -> str:
    """Why a slot is not the same as the reference's although it is not wrong itself; empty if there is no such reason."""
    steps = len(runs.hand)
    ours, theirs = (_joined(run[:steps], slots) for run in (runs.hand, runs.reference))
    other = f"the reference's {runs.names[name]}"
    decide = "so the parameters alone decide"
    is_count = name.lower() in COUNTS
    if is_count and np.ptp(ours - theirs) == 0:
        return f"{name} is always {ours[0] - theirs[0]:+g} from {other}, {decide}"
    if is_count:
        return _another(name, other, ours, theirs) if right else ""
    known_to = SAME + LOST * eps_of(runs.probe.gradients[0][next(iter(runs.probe.params))].dtype)
    times = _multiple(ours, theirs, known_to)
    if times is not None:
        return f"{name} is always {times:.6g} times {other}{_meaning(times, rate, known_to)}, {decide}"
    first = _multiple(_joined(runs.hand[:1], slots), _joined(runs.reference[:1], slots), known_to)
    meaning = "" if first is None else _meaning(first, rate, known_to)
    if meaning:
        return f"{name} begins as {first:.6g} times {other}{meaning}, {decide}"
    return _another(name, other, ours, theirs) if right else ""


def _another(name: str, other: str, ours: Array, theirs: Array) -> str:
    """Says so if a slot is another quantity than the reference's; empty if it is near that, and so wrong itself."""
    near = np.abs(ours - theirs).max() <= NEAR * np.abs(theirs).max()
    return "" if near else f"{name} is another quantity than {other}, so the parameters alone decide"


def _joined(run: Sequence[Record], slots: Sequence[str]) -> Array:
    return np.concatenate([np.ravel(record[slot]).astype(np.float64) for record in run for slot in slots])


def _multiple(ours: Array, theirs: Array, known_to: float) -> float | None:
    """The factor if ours is a multiple of theirs; None if it is not."""
    fit = fit_scale(ours, theirs)
    if fit is None or not np.abs(ours - fit.scale * theirs).max() <= known_to * np.abs(ours).max():
        return None
    return fit.scale


def _meaning(times: float, rate: float | None, known_to: float) -> str:
    """What a multiple of a velocity means: v = mu v + g in one, and v = mu v - rate g in the other, or another sign."""

    def is_about(other: float) -> bool:
        return abs(abs(times) - other) <= known_to * other

    if times < 0 and is_about(1.0):
        return " (it has the other sign)"
    if rate is None or not rate or is_about(1.0):
        return ""
    if is_about(abs(rate)):
        return " (it holds the learning rate)"
    return " (that holds the learning rate)" if is_about(1 / abs(rate)) else ""
