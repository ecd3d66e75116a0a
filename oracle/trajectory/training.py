"""A whole training, step by step: a net with its loss and an optimizer, with another batch at each step, compared with JAX.

    ours        hand-written gradients and our optimizer
    reference   JAX's gradients of an independently written loss, and the optimizer of another library

Both runs begin at the same parameters and get the same batches. The loss before each step, and every parameter and slot of
the state after it, are compared; `tolerance` defines how far they may differ. At the step where the runs depart, both gradients
are computed at our parameters on the batch of that step: if they agree, the optimizer is the cause. The runs advance together
and keep no old records, because those of a hundred steps of a net with 60,000 parameters would fill gigabytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.judging.size import in_words
from oracle.measures import distance, largest, relative
from oracle.row import Descent, Details, Parting, Verdict
from oracle.spec import Draw
from oracle.subject import Subject
from oracle.trajectory.runs import Disturbance, check_slots, descend, follow, leaves, recorded
from oracle.trajectory.spec import Batch, Both, Gradient, SlotRow, TrainingSpec, Trajectory
from oracle.trajectory.tolerance import AUTODIFF, Distance, Gap, Record, errors, factor, fractions, multiple, tolerance_of

__all__ = ["run"]

Array = NDArray[Any]
Tree = Any

ENSEMBLE = 2
"""The number of disturbed runs: one with a persistent error and one with a new error at each step. Two are enough here, and
four are needed for a small loss, because in a tensor of thousands of entries some always get the worst signs."""
CONTRADICTED = 4 * AUTODIFF
"""The error of a gradient, relative to its largest entry, above which it is the cause if runs depart. Larger, and the diagnosis
blames the optimizer for a wrong gradient; smaller, and rounding looks like a wrong gradient."""


def run(spec: TrainingSpec, steps: int | None = None, seed: int = 0) -> Trajectory:
    """Both runs and their comparison, with a row for the loss and for each slot."""
    steps = spec.steps if steps is None else steps
    if steps < 1:
        raise ValueError(f"run: steps must be at least 1, got {steps}")
    start = time.perf_counter()
    params, batches = spec.draw(Draw("training", spec.name, seed), steps)
    runs = _Runs(spec, params, batches)
    compared = _compared(runs, seed)
    gaps = {slot: Gap.of(c.distances, c.tolerance) for slot, c in compared.items()}
    first = min(((gap.first, slot) for slot, gap in gaps.items() if gap.first), key=lambda pair: pair[0], default=None)
    diagnosis = _diagnosis(runs, *first, still=not compared[first[1]].moved) if first else ""
    details = Details(descent=_descent(compared["loss"]), parting=_parting(compared))
    seconds = (time.perf_counter() - start) / len(gaps)
    rows = [
        replace(_row(spec, slot, c, gaps[slot], diagnosis), seconds=seconds, details=details) for slot, c in compared.items()
    ]
    return Trajectory(spec.name, tuple(rows), first, diagnosis)


# ------------------------------------------------------------------------------------------------- the runs


class _Runs:
    """Starts our run, disturbed copies of it, and the reference's, as often as needed, always from the same beginning."""

    def __init__(self, spec: TrainingSpec, params: Tree, batches: Sequence[Batch]) -> None:
        self.spec = spec
        self.params = params
        self.batches = batches
        self.origin: Record = {"loss": np.array(np.nan), **recorded(params, spec.optimizer.init(params))}
        self.parameters = [path for path, _ in leaves("params", params)]

    def by_hand(self, params: Tree, arguments: Any, options: Mapping[str, Any]) -> tuple[Any, Tree]:
        goal = Subject.of(self.spec.goal, options)
        value, residuals = goal.fwd(params, *arguments)
        return value, goal.bwd(residuals, np.ones_like(value))[0]

    def ours(self, disturb: Disturbance | None = None) -> Iterator[Record]:
        spec = self.spec
        error = disturb.level if disturb else 0.0
        return _with_losses(
            lambda gradient: descend(spec.optimizer, gradient, self.params, self.batches, disturb), self.by_hand, error
        )

    def reference(self) -> Iterator[Record]:
        spec = self.spec
        return _with_losses(
            lambda gradient: follow(spec.reference, spec.slots, gradient, self.params, self.batches), spec.value_and_gradient
        )

    def gradients(self, record: Record, step: int) -> tuple[Record, Record]:
        """Our gradient and the reference's at the parameters of this record, on the batch of this step."""
        params = optree.tree_structure(self.params).unflatten([record[path] for path in self.parameters])
        x, options = self.batches[step - 1]
        ours, theirs = (both(params, x, options)[1] for both in (self.by_hand, self.spec.value_and_gradient))
        return dict(leaves("params", ours)), dict(leaves("params", theirs))


def _with_losses(run: Callable[[Gradient], Iterator[Record]], both: Both, error: float = 0.0) -> Iterator[Record]:
    """The records of a run, each with the loss before its step, changed by the relative error `error`."""
    losses = []

    def gradient(params: Tree, x: Any, options: Mapping[str, Any]) -> Tree:
        loss, grads = both(params, x, options)
        losses.append(float(loss) * (1 + error))
        return grads

    for record in run(gradient):
        yield {"loss": np.array(losses[-1]), **record}


# ------------------------------------------------------------------------------------------- the comparison


@dataclass
class _Compared:
    """The comparison of one slot, step by step."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    distances: list[Distance] = field(default_factory=list)
    strayed: list[float] = field(default_factory=list)
    """The largest deviation of the disturbed runs from ours at each step."""
    values: list[tuple[float, float]] = field(default_factory=list)
    """Our value and the reference's at each step, in the entry where they differ most."""
    moved: bool = False
    """Whether the slot has changed at all."""

    def add(self, before: Array, ours: Array, theirs: Array, ensemble: Sequence[Array]) -> None:
        apart = Distance.between(ours, theirs)
        entry = apart.entry
        self.distances.append(apart)
        self.strayed.append(float(np.fmax.reduce([0.0, *(np.max(distance(ours, s), initial=0.0) for s in ensemble)])))
        self.values.append((np.nan, np.nan) if entry is None else (float(ours[entry]), float(theirs[entry])))
        self.moved = self.moved or not np.array_equal(before, ours)

    @property
    def tolerance(self) -> Array:
        return tolerance_of(self.strayed, [distance.size for distance in self.distances], self.dtype)


def _compared(runs: _Runs, seed: int) -> dict[str, _Compared]:
    """The comparison of each slot over all steps: the loss, the state, which determines the update, then the parameters."""
    origin = runs.origin
    order = {"loss": 0, "state": 1, "params": 2}
    slots = sorted(origin, key=lambda slot: order[slot.split(".")[0]])
    found = {slot: _Compared(origin[slot].dtype, origin[slot].shape) for slot in slots}
    ensemble = [runs.ours(Disturbance(AUTODIFF, runs.params, seed, i, persistent=i % 2 == 0)) for i in range(ENSEMBLE)]
    for step, (ours, theirs) in enumerate(zip(runs.ours(), runs.reference(), strict=False)):
        if step == 0:
            check_slots(runs.spec.name, ours, theirs)
        strayed = [record for member in ensemble if (record := next(member, None)) is not None]
        for slot, compared in found.items():
            compared.add(origin[slot], ours[slot], theirs[slot], [record[slot] for record in strayed])
    return found


def _descent(loss: _Compared) -> Descent:
    ours, theirs = zip(*loss.values, strict=True)
    return Descent(ours, theirs)


def _parting(compared: Mapping[str, _Compared]) -> Parting:
    of_parameters = [errors(c.distances) for slot, c in compared.items() if slot.startswith("params.")]
    used = [fractions(c.distances, c.tolerance) for c in compared.values()]
    return Parting(tuple(map(max, zip(*of_parameters, strict=True))), tuple(map(max, zip(*used, strict=True))))


def _diagnosis(runs: _Runs, step: int, slot: str, *, still: bool) -> str:
    """Names the part of the training that differs from the reference, from both runs up to the step where they depart."""
    spec = runs.spec
    ours, theirs = ([runs.origin, *islice(run, step)][-2:] for run in (runs.ours(), runs.reference()))
    where = f"; first at step {step} in {slot}"
    if not np.isfinite(ours[1][slot]).all():
        return f"{spec.name} computes NaN or infinity{where}"
    wrong = _contradicted(*runs.gradients(ours[0], step))
    if wrong:
        return f"the hand-written gradient is wrong: at the same parameters that of {', '.join(wrong)}{where}"
    if slot == "loss":
        return f"the loss is another function than {spec.source.what}, though the gradients agree at the same parameters{where}"
    detail = ", which is never updated" if still else factor(slot, ours, theirs, "the reference's")
    agree = "the gradients agree at the same parameters"
    return f"the optimizer is another than {spec.reference.source.what}: {agree}{where}{detail}"


def _contradicted(ours: Record, theirs: Record) -> list[str]:
    """A phrase for each gradient that differs from JAX's, with the factor if it differs by one."""
    found = []
    for path, one in ours.items():
        other = theirs[path]
        if relative(distance(one, other), largest(other)) > CONTRADICTED:
            scale = multiple(one, other)
            found.append(f"{path} differs from JAX's" if scale is None else f"{path} is {scale:.13g} times JAX's")
    return found


def _row(spec: TrainingSpec, slot: str, compared: _Compared, gap: Gap, diagnosis: str) -> SlotRow:
    verdict = Verdict.FAIL if gap.first else Verdict.PASS if compared.moved else Verdict.VACUOUS
    diagnoses = {Verdict.FAIL: diagnosis, Verdict.VACUOUS: "it never changes: nothing was checked"}
    values = (None, None) if gap.entry is None else compared.values[gap.step - 1]
    return SlotRow(
        family=spec.family,
        op=spec.name,
        case=spec.case,
        dtype=compared.dtype.name,
        parameter=slot,
        shape=compared.shape,
        reference=str(spec.source),
        evidence=f"autodiff at {len(compared.distances)} steps",
        verdict=verdict,
        diagnosis=diagnoses.get(verdict, ""),
        autodiff_error=gap.error,
        used=gap.used,
        size=in_words(gap.error, compared.dtype.name) if gap.first else "",
        worst_index=gap.entry,
        analytic=values[0],
        autodiff=values[1],
        steps=len(compared.distances),
        at_step=gap.step,
        first_autodiff=gap.first,
    )
