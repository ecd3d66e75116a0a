"""The runs of a user's optimizer and of its reference with the same gradients, and how far right ones may differ.

Both get the same gradients, so they may differ by rounding alone. Copies of the reference's run with a rounding in each
gradient and step tell how far that goes (`tolerance`), and so does the rule that the reference is recognized as, with its
hyperparameters rounded: 1 - b2 is 0.001, and in float32 it may be off by 6e-5 of itself, depending on how it is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.measures import eps_of, largest
from oracle.trajectory.hyperparameters import in_float32, numbers_in
from oracle.trajectory.mistakes import LONGEST_SHIFT
from oracle.trajectory.probe import Probe
from oracle.trajectory.recognition import Recognized, recognized
from oracle.trajectory.rule import Flat, Numbers, follow_rule
from oracle.trajectory.runs import Rounding, follow
from oracle.trajectory.slots import COUNTS, pairs, slots_of
from oracle.trajectory.spec import Batch
from oracle.trajectory.stepping import Stepper
from oracle.trajectory.tolerance import ENSEMBLE, SLACK, Record, tolerance

__all__ = ["Runs", "allowed", "each_entry", "narrow_numbers", "recognize", "runs_of"]

Array = NDArray[Any]
Params = dict[str, Array]

LEVEL = 4.0
"""The errors of the disturbed runs, in roundings of the dtype. An update is about ten operations, each of which rounds once by
half of that; with 1 right optimizers that order them otherwise may fail, with 100 an error of 1e-13 is not seen."""


class Runs(NamedTuple):
    """The records of all runs in one dtype."""

    probe: Probe
    hand: list[Record]
    """Ours. It ends after a step that is not finite."""
    reference: list[Record]
    """The reference's, which goes on for some steps, so that a shifted schedule can be recognized."""
    ensemble: list[list[Record]]
    """The disturbed runs of the reference."""
    names: dict[str, str]
    """The slots that both have, with the reference's name."""

    @property
    def slots(self) -> list[str]:
        """The slots of the state, which determine the update, then the parameters."""
        return sorted(self.reference[0], key=lambda slot: not slot.startswith("state."))

    @property
    def flat(self) -> Flat:
        return Flat.of(self.probe)

    @property
    def steps(self) -> int:
        return len(self.reference) - LONGEST_SHIFT

    def moves(self, run: Sequence[Record], parameter: str) -> bool:
        """Whether a parameter moves at all in a run."""
        start = self.probe.params[parameter]
        return any(not np.array_equal(record[f"params.{parameter}"], start) for record in run[: self.steps])


def runs_of(mine: Stepper, like: Stepper, probe: Probe, seed: int) -> Runs:
    """All runs. The gradients of the probe are those of the steps to compare and of LONGEST_SHIFT more."""
    ours, theirs = _after_one_step(mine, probe, probe.given[0]), _after_one_step(like, probe, probe.gradients[0])
    names = pairs(list(ours), list(theirs))
    by_parameter = {
        name for name, other in names.items() if isinstance(ours[name], Mapping) or isinstance(theirs[other], Mapping)
    }
    total = len(probe.gradients)

    def run(
        stepper: Stepper, gradients: Sequence[Any], steps: int, own: Mapping[str, str], disturb: Rounding | None = None
    ) -> list[Record]:
        slots = {
            name: lambda state, key=key, name=name: _formed(slots_of(state, probe.params).get(key), probe, name in by_parameter)
            for name, key in own.items()
        }
        batches: list[Batch] = [(grads, {}) for grads in gradients[:steps]]
        records: list[Record] = []
        with np.errstate(all="ignore"):
            for record in follow(stepper, slots, lambda params, grads, options: grads, probe.params, batches, disturb):
                records.append({slot: _whole(slot, array) for slot, array in record.items()})
                if not all(np.isfinite(a).all() for slot, a in record.items() if slot.startswith("params.")):
                    break
        return records

    level = LEVEL * eps_of(next(iter(probe.params.values())).dtype)
    signs = [Rounding(level, probe.params, seed, i, persistent=i % 2 == 0) for i in range(ENSEMBLE)]
    return Runs(
        probe,
        run(mine, probe.given, total - LONGEST_SHIFT, {name: name for name in names}),
        run(like, probe.gradients, total, names),
        [run(like, probe.gradients, total, names, disturb) for disturb in signs],
        names,
    )


def _after_one_step(stepper: Stepper, probe: Probe, grads: Any) -> dict[str, Any]:
    """The slots of a state after the first step, because some are made there; without numbers that are no counts."""
    slots = _state_after_one_step(stepper, probe, grads)
    return {name: slot for name, slot in slots.items() if isinstance(slot, Mapping) or name.lower() in COUNTS}


def _state_after_one_step(stepper: Stepper, probe: Probe, grads: Any) -> dict[str, Any]:
    with np.errstate(all="ignore"):
        _, state = stepper.step(grads, stepper.init(probe.params), probe.params)
    return slots_of(state, probe.params)


def narrow_numbers(stepper: Stepper, probe: Probe, grads: Any) -> list[str]:
    """The names of the hyperparameters and of the slots that an optimizer holds in float32, whatever its parameters are."""
    slots = _state_after_one_step(stepper, probe, grads)
    slots = {name: slot for name, slot in slots.items() if name.lower() not in COUNTS}
    arrays = [name for name, slot in slots.items() if isinstance(slot, Mapping) and _is_float32(slot)]
    return list(dict.fromkeys([*in_float32(stepper.origin), *in_float32(slots), *arrays]))


def _is_float32(slot: Mapping[str, Array]) -> bool:
    return all(array.dtype == np.float32 for array in slot.values())


def _formed(slot: Any, probe: Probe, by_parameter: bool) -> Any:
    """A slot with an array or a number for each parameter, or as one number; NaN for one that is not there."""
    if slot is None:
        slot = {name: np.full(p.shape, np.nan) for name, p in probe.params.items()} if by_parameter else np.array(np.nan)
    return dict.fromkeys(probe.params, slot) if by_parameter and not isinstance(slot, Mapping) else slot


def _whole(slot: str, array: Array) -> Array:
    """A count as an integer, also where it is kept as a float."""
    is_count = slot.startswith("state.") and slot.split(".")[1].lower() in COUNTS
    return array.astype(np.int64) if is_count and np.array_equal(array, np.round(array)) else array


# ------------------------------------------------------------------------------------------- how far they may differ


def recognize(like: Stepper, runs: Runs) -> Recognized | None:
    """The rule that reproduces the reference's run in float64."""
    flat = runs.flat
    tolerances = {slot: tolerance(slot, runs.reference, runs.ensemble) for slot in runs.slots}
    return recognized(numbers_in(like.origin), flat, flat.positions(runs.reference), each_entry(tolerances, flat))


def each_entry(tolerances: Mapping[str, Array], flat: Flat) -> Array:
    """The tolerance of each entry of the parameters at each step, one row for each step."""
    return np.hstack([
        np.tile(tolerances[f"params.{name}"][:, None], place.stop - place.start) for name, _, place in flat.places
    ])  # fmt: skip


def allowed(runs: Runs, known: Recognized | None) -> dict[str, Array]:
    """How far our run may be from the reference's, for each slot and step."""
    found = {slot: tolerance(slot, runs.reference, runs.ensemble) for slot in runs.slots}
    if known is None:
        return found
    eps = eps_of(next(iter(runs.probe.params.values())).dtype)
    apart = _apart_if_rounded(known, runs.flat, eps)
    for name, _, place in runs.flat.places:
        found[f"params.{name}"] = found[f"params.{name}"] + SLACK * np.maximum.accumulate(apart[:, place].max(axis=1))
    share = SLACK * eps / (1 - max(known.rule.numbers.b1, known.rule.numbers.b2, 0.0))
    for slot, most in found.items():
        if slot.startswith("state.") and most.any():
            sizes = np.array([largest(record[slot]) for record in runs.reference])
            found[slot] = most + share * np.maximum.accumulate(sizes)
    return found


def _apart_if_rounded(known: Recognized, flat: Flat, eps: float) -> Array:
    """How far each entry moves if each hyperparameter is rounded, all added."""
    rates, rule = known.rates, known.rule
    there = follow_rule(rule, flat, list(rates))[0]
    apart = np.zeros_like(there)
    for name in Numbers._fields:
        numbers = rule.numbers._replace(**{name: getattr(rule.numbers, name) * (1 - eps)})
        if numbers != rule.numbers:
            apart += np.abs(follow_rule(replace(rule, numbers=numbers), flat, list(rates))[0] - there)
    apart += np.abs(follow_rule(rule, flat, list(rates * (1 - eps)))[0] - there)
    return apart
