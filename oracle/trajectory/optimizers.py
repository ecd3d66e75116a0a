"""Optimizers, step by step: three runs of K steps on a small loss, which must agree.

    ours        hand-written gradients and our optimizer
    numerical   central differences and our optimizer
    reference   JAX's gradients of an independently written loss, and the optimizer of another library

The parameters and every slot of the state are compared at every step; `tolerance` defines how far they may differ. If our run
departs only from the reference, our optimizer computes something else; if it departs from both others, our gradient is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.judging.size import in_words
from oracle.measures import distance, eps_of, largest, relative
from oracle.report.details import descent_of
from oracle.row import Details, Verdict
from oracle.spec import Draw
from oracle.subject import Subject
from oracle.trajectory import gradient as romberg
from oracle.trajectory.runs import Disturbance, check_slots, descend, follow, leaves, recorded
from oracle.trajectory.spec import Gradient, ScheduleSpec, SlotRow, Trajectory, TrajectorySpec
from oracle.trajectory.tolerance import AUTODIFF, ENSEMBLE, NUMERICAL, Gap, Record, factor, tolerance

__all__ = ["run", "run_schedule"]

Array = NDArray[Any]
Tree = Any

ULPS = 16
"""The tolerance of a scheduled rate in ulps. A schedule is a power and a few products, which two libraries round differently;
smaller, and right schedules fail; larger, and small errors of a formula pass."""


def run(spec: TrajectorySpec, steps: int = 50, seed: int = 0) -> Trajectory:
    """The three runs and their comparison."""
    if steps < 1:
        raise ValueError(f"run: steps must be at least 1, got {steps}")
    start = time.perf_counter()
    runs = _runs(spec, steps, seed)
    gaps = {slot: _gaps(runs, slot) for slot in runs.slots}
    first = _first(gaps)
    diagnosis = _diagnosis(spec, runs, gaps, first) if first else ""
    seconds = (time.perf_counter() - start) / len(gaps)
    rows = tuple(_row(spec, runs, slot, gaps[slot], diagnosis, seconds) for slot in runs.slots)
    return Trajectory(spec.name, rows, first, diagnosis)


def run_schedule(spec: ScheduleSpec, counts: int = 200) -> Trajectory:
    """The schedule at counts 0, 1, ... compared with its reference; `first` of the result is a count."""
    if counts < 1:
        raise ValueError(f"run_schedule: counts must be at least 1, got {counts}")
    start = time.perf_counter()
    ours = np.array([spec.schedule(count) for count in range(counts)], np.float64)
    theirs = np.array([spec.reference(count) for count in range(counts)], np.float64)
    gaps = distance(ours, theirs)
    sizes = np.maximum(np.abs(theirs), spec.size)
    used = np.array([relative(gap, ULPS * eps_of(ours.dtype) * size) for gap, size in zip(gaps, sizes, strict=True)])
    worst, wrong = int(used.argmax()), np.flatnonzero(used > 1)
    first, diagnosis = None, ""
    if wrong.size:
        first = int(wrong[0])
        diagnosis = (
            f"{spec.name} is another schedule than {spec.source.what}: {ours[first]} at count {first}, not {theirs[first]}"
        )
    row = SlotRow(
        family="schedules",
        op=spec.name,
        case=f"counts 0 to {counts - 1}",
        dtype=ours.dtype.name,
        parameter="rate",
        shape=ours.shape,
        reference=str(spec.source),
        evidence=f"values at {counts} counts",
        verdict=Verdict.FAIL if wrong.size else Verdict.PASS,
        diagnosis=diagnosis,
        autodiff_error=relative(gaps, largest(theirs)),
        used=float(used[worst]),
        size=in_words(relative(gaps, largest(theirs)), ours.dtype.name) if wrong.size else "",
        worst_index=(worst,),
        analytic=float(ours[worst]),
        autodiff=float(theirs[worst]),
        seconds=time.perf_counter() - start,
        steps=counts,
        at_step=worst,
        first_autodiff=first,
    )
    return Trajectory(spec.name, (row,), None if first is None else (first, "rate"), diagnosis)


# ------------------------------------------------------------------------------------------------- the runs


class _Runs(NamedTuple):
    """The records of every run, step by step."""

    origin: Record
    """The record before the first step."""
    hand: list[Record]
    numerical: list[Record]
    reference: list[Record]
    ensemble: dict[float, list[list[Record]]]
    """The disturbed runs, by the relative size of their disturbance."""
    details: Details
    """The loss at every step."""

    @property
    def slots(self) -> list[str]:
        """The slots of the state, which determine the update, then the parameters."""
        return sorted(self.origin, key=lambda slot: not slot.startswith("state."))


def _runs(spec: TrajectorySpec, steps: int, seed: int) -> _Runs:
    params, x, options = spec.problem.draw(Draw("trajectory", spec.problem.name, seed))
    loss = Subject.of(spec.problem.loss, options)
    batches = [(x, options)] * steps

    def by_hand(params: Tree, *_: Any) -> Tree:
        value, residuals = loss.fwd(params, x)
        return loss.bwd(residuals, np.ones_like(value))[0]

    def by_differences(params: Tree, *_: Any) -> Tree:
        return romberg.gradient(lambda p: loss.value(p, x), params)

    def ours(gradient: Gradient, disturb: Disturbance | None = None) -> list[Record]:
        return list(descend(spec.optimizer, gradient, params, batches, disturb))

    origin, hand = recorded(params, spec.optimizer.init(params)), ours(by_hand)
    reference = list(follow(spec.reference, spec.slots, spec.problem.gradient, params, batches))
    parameters, structure = [path for path, _ in leaves("params", params)], optree.tree_structure(params)
    details = descent_of(
        lambda record: loss.value(structure.unflatten([record[path] for path in parameters]), x),
        [origin, *hand],
        [origin, *reference],
    )
    runs = _Runs(
        origin,
        hand,
        ours(by_differences),
        reference,
        {
            level: [ours(by_hand, Disturbance(level, params, seed, i, persistent=i % 2 == 0)) for i in range(ENSEMBLE)]
            for level in (NUMERICAL, AUTODIFF)
        },
        details,
    )
    check_slots(spec.name, runs.hand[0], runs.reference[0])
    return runs


# ------------------------------------------------------------------------------------------- the comparison


class _Gaps(NamedTuple):
    """The distances between the three runs in one slot."""

    numerical: Gap
    """Between our run and the one with central differences."""
    reference: Gap
    """Between our run and the reference."""
    others: Gap
    """Between the run with central differences and the reference."""

    @property
    def first(self) -> int | None:
        return min((gap.first for gap in (self.numerical, self.reference) if gap.first), default=None)


def _gaps(runs: _Runs, slot: str) -> _Gaps:
    loose, tight = (tolerance(slot, runs.hand, runs.ensemble[level]) for level in (NUMERICAL, AUTODIFF))
    return _Gaps(
        Gap.between(slot, runs.hand, runs.numerical, loose),
        Gap.between(slot, runs.hand, runs.reference, tight),
        Gap.between(slot, runs.numerical, runs.reference, loose + tight),
    )


def _first(gaps: Mapping[str, _Gaps]) -> tuple[int, str] | None:
    """The earliest step at which a slot exceeds its tolerance, and the first such slot."""
    found = [(gap.first, slot) for slot, gap in gaps.items() if gap.first]
    return min(found, key=lambda pair: pair[0], default=None)


def _diagnosis(spec: TrajectorySpec, runs: _Runs, gaps: Mapping[str, _Gaps], first: tuple[int, str]) -> str:
    off_numerical, off_reference, others_part = (
        any(getattr(gap, which).first for gap in gaps.values()) for which in ("numerical", "reference", "others")
    )
    step, slot = first
    source = spec.reference.source.what
    if not np.isfinite(runs.hand[step - 1][slot]).all():
        cause = f"{spec.name} computes NaN or infinity"
    elif off_numerical and off_reference and others_part:
        cause = f"all three runs differ: repair the gradient of the loss first, then compare {spec.name} with {source}"
    elif off_numerical and off_reference:
        cause = "the hand-written gradient of the loss is wrong: central differences and JAX agree with each other"
    elif off_reference:
        cause = f"{spec.name} is another optimizer than {source}: our gradients agree with central differences"
    else:
        cause = "our gradients and JAX's agree with each other, but not with central differences of the loss"
    by_reference = gaps[slot].reference.first == step
    evidence = _evidence(
        slot,
        step,
        [runs.origin, *runs.hand],
        [runs.origin, *(runs.reference if by_reference else runs.numerical)],
        "the reference's" if by_reference else "that of the run with central differences",
    )
    return f"{cause}; first at step {step} in {slot}{evidence}"


def _evidence(slot: str, step: int, ours: list[Record], theirs: list[Record], whose: str) -> str:
    """The end of the diagnosis: the slot never changes, or it differs by a factor; empty if neither."""
    if np.isfinite(ours[step][slot]).all() and all(np.array_equal(record[slot], ours[0][slot]) for record in ours):
        return ", which is never updated"
    return factor(slot, ours[step - 1 : step + 1], theirs[step - 1 : step + 1], whose)


def _row(spec: TrajectorySpec, runs: _Runs, slot: str, gaps: _Gaps, diagnosis: str, seconds: float) -> SlotRow:
    verdict = Verdict.FAIL if gaps.first else Verdict.PASS
    if not gaps.first:
        still = all(np.array_equal(record[slot], runs.origin[slot]) for record in runs.hand)
        vacuous = still and not any(f"{slot}.".startswith(f"state.{name}.") for name in spec.constant)
        verdict, diagnosis = (Verdict.VACUOUS, "it never changes: nothing was checked") if vacuous else (Verdict.PASS, "")
    worst = max(gaps.numerical, gaps.reference, key=lambda gap: gap.used)

    def value(run: list[Record]) -> float | None:
        return None if worst.entry is None or worst.step > len(run) else float(run[worst.step - 1][slot][worst.entry])

    return SlotRow(
        family="optimizers",
        op=spec.name,
        case=spec.problem.name,
        dtype=runs.origin[slot].dtype.name,
        parameter=slot,
        shape=runs.origin[slot].shape,
        reference=str(spec.reference.source),
        evidence=f"numerical and autodiff at {len(runs.hand)} steps",
        verdict=verdict,
        diagnosis=diagnosis,
        numerical_error=gaps.numerical.error,
        autodiff_error=gaps.reference.error,
        used=worst.used,
        size=in_words(max(gaps.numerical.error, gaps.reference.error), runs.origin[slot].dtype.name) if gaps.first else "",
        worst_index=worst.entry,
        analytic=value(runs.hand),
        numerical=value(runs.numerical),
        autodiff=value(runs.reference),
        seconds=seconds,
        details=runs.details,
        steps=len(runs.hand),
        at_step=worst.step,
        first_numerical=gaps.numerical.first,
        first_autodiff=gaps.reference.first,
    )
