"""Optimizers of users, as they are, beside another: the same gradients at each step, every parameter and slot compared.

`users_runs` makes the runs and tells how far they may differ. Where they differ by more, the reference is recognized as a rule
with its hyperparameters (`recognition`); the mistake is the changed rule that makes the wrong run (`mistakes`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.judging.size import in_words
from oracle.measures import eps_of, fit_scale
from oracle.row import Verdict
from oracle.spec import Source
from oracle.trajectory.hyperparameters import numbers_in
from oracle.trajectory.mistakes import LONGEST_SHIFT, cause_of, is_rounded
from oracle.trajectory.probe import probe_of
from oracle.trajectory.rule import Flat
from oracle.trajectory.slots import COUNTS
from oracle.trajectory.spec import SlotRow, Trajectory
from oracle.trajectory.stepping import stepper_of
from oracle.trajectory.tolerance import Distance, Gap, Record, factor
from oracle.trajectory.users_runs import Runs, allowed, each_entry, narrow_numbers, recognize, runs_of

__all__ = ["OptimizerCheck", "verify_optimizer"]

Array = NDArray[Any]
Params = dict[str, Array]

WHO = "verify_optimizer"
DTYPES = ("float64", "float32")
LOST = 64
"""Roundings of the dtype by which such a slot may differ beside that: in float32 they are more than SAME. 20 steps add 20."""
STILL = "it never changes: nothing was checked"
FEW = 4
"""Roundings of float32 that a step may have if a number in it is kept in float32. torch's Adam has 2 if its rate is a tensor;
with 1 it would fail, and with 100 an error of 1e-5 in an optimizer with such a number would pass."""
SAME = 1e-9
"""Up to this relative difference a slot is a fixed multiple of the reference's at every step."""


@dataclass(frozen=True)
class OptimizerCheck:
    """An optimizer and another that it must agree with; `verify_optimizer` explains the arguments.

    In a module of yours, `check = oracle.OptimizerCheck(MyAdam(), like=optax.adam(1e-3))` is verified by
    `oracle verify module:check`.
    """

    family: ClassVar[str] = "optimizers"
    tier: ClassVar[int] = 1
    mine: Any
    like: Any
    steps: int = 20
    params: Mapping[str, Any] | Sequence[Any] | None = None
    state: Any = None
    dtypes: tuple[str, ...] = DTYPES
    name: str = ""

    def __post_init__(self) -> None:
        if type(self.steps) is not int or self.steps < 2:
            raise ValueError(f"{WHO}: steps must be an integer of at least 2, got {self.steps!r}")
        unknown = [dtype for dtype in self.dtypes if dtype not in DTYPES]
        if unknown or not self.dtypes:
            raise ValueError(f"{WHO}: dtypes must be some of {', '.join(DTYPES)}, got {self.dtypes!r}")
        if not self.name:
            start = probe_of(1, 0, _named(self.params)).params
            made = stepper_of(WHO, "mine", self.mine, start, self.state)
            object.__setattr__(self, "name", made.source.what)

    def verified(self, seed: int = 0, dtypes: Sequence[str] | None = None) -> Trajectory:
        """The rows of these dtypes; of all unless they are given."""
        judge = _Judge(self, seed)
        found = [judge.trajectory(dtype) for dtype in dtypes or self.dtypes]
        failed = next((one for one in found if one.first), found[0])
        return replace(failed, rows=tuple(row for one in found for row in one.rows))


def verify_optimizer(
    mine: Any,
    *,
    like: Any,
    steps: int = 20,
    seed: int = 0,
    params: Mapping[str, Any] | Sequence[Any] | None = None,
    state: Any = None,
    dtypes: tuple[str, ...] = DTYPES,
    name: str = "",
) -> Trajectory:
    """Whether an optimizer makes the same steps as another one.

    Args:
        mine: your optimizer: a pair (init, update) as in optax; a torch.optim class, or a factory
            `lambda params: torch.optim.Adam(params, lr=0.1)`; an object with `update(params, grads)`, which writes into the
            arrays or returns new ones; a function `step(params, grads, state) -> (params, state)`. Params and grads are dicts
            of arrays, or lists if yours takes no dict; a function may also take one array at a time.
        like: the optimizer that it must agree with, of any of these kinds, such as `optax.adam(1e-3)`.
        steps: how many are compared.
        seed: of the parameters and the gradients.
        params: the parameters to begin with, a dict or a list of arrays. Those made up are called w1, b1, w2, b2, gain, frozen.
        state: of a function, the state to begin with, or a function of the parameters that makes it.
        dtypes: of the parameters and gradients.
        name: for the rows; by default that of the optimizer.

    Raises:
        TypeError, ValueError: if `mine` or `like` is none of these, cannot be copied, does nothing, or changes shapes.

    >>> import numpy as np, purenet as pn
    >>> class SGD:
    ...     def __init__(self, lr): self.lr = lr
    ...     def update(self, params, grads):
    ...         for key in params: params[key] += self.lr * grads[key]
    >>> print(verify_optimizer(SGD(0.1), like=pn.optimizers.sgd(0.1)).diagnosis.partition(";")[0])
    the step has the wrong sign: it goes up the gradient

    """
    return OptimizerCheck(mine, like, steps, params, state, dtypes, name).verified(seed)


def _named(params: Mapping[str, Any] | Sequence[Any] | None) -> Params | None:
    if params is None:
        return None
    named = params if isinstance(params, Mapping) else {str(i): p for i, p in enumerate(params)}
    arrays = {str(name): np.asarray(p) for name, p in named.items()}
    wrong = next((name for name, a in arrays.items() if a.dtype.kind != "f"), None)
    if wrong is not None or not arrays:
        got = "no arrays" if not arrays else f"{arrays[str(wrong)].dtype} for {wrong}"
        raise TypeError(f"{WHO}: params must be a dict or a list of arrays of floats, got {got}")
    return arrays


# ------------------------------------------------------------------------------------------------- the comparison


class _Compared(NamedTuple):
    """Both runs in one dtype, slot by slot."""

    runs: Runs
    gaps: dict[str, Gap]
    """Of each slot that is judged. Those that the two keep in different conventions are not."""
    tolerances: Mapping[str, Array]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, runs: Runs, tolerances: Mapping[str, Array]) -> _Compared:
        hand, reference = runs.hand, runs.reference
        gaps = {slot: Gap.between(slot, hand, reference, tolerances[slot]) for slot in runs.slots}
        right = not any(gap.first for slot, gap in gaps.items() if slot.startswith("params."))
        notes = []
        for name in runs.names:
            own = [slot for slot in gaps if slot.split(".")[:2] == ["state", name]]
            if any(gaps[slot].first for slot in own):
                note = _convention(runs, name, own, right=right)
                if note:
                    notes.append(note)
                    gaps = {slot: gap for slot, gap in gaps.items() if slot not in own}
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


def _convention(runs: Runs, name: str, slots: Sequence[str], *, right: bool) -> str:
    """Why a slot is not the same as the reference's although nothing is wrong; empty if there is no such reason."""
    ours, theirs = (
        np.concatenate([np.ravel(record[slot]).astype(np.float64) for record in run[: len(runs.hand)] for slot in slots])
        for run in (runs.hand, runs.reference)
    )
    other = f"the reference's {runs.names[name]}"
    decide = "so the parameters alone decide"
    fit = fit_scale(ours, theirs)
    is_count = name.lower() in COUNTS
    if is_count and np.ptp(ours - theirs) == 0:
        return f"{name} is always {ours[0] - theirs[0]:+g} from {other}, {decide}"
    eps = eps_of(runs.probe.gradients[0][next(iter(runs.probe.params))].dtype)
    if fit is not None and not is_count and np.abs(ours - fit.scale * theirs).max() <= (SAME + LOST * eps) * np.abs(ours).max():
        return f"{name} is always {fit.scale:.6g} times {other}, {decide}"
    return f"{name} is another quantity than {other}, {decide}" if right else ""


class _Judge:
    """The optimizers of a check, dtype by dtype: float64 first, because rules and mistakes are recognized there."""

    def __init__(self, check: OptimizerCheck, seed: int) -> None:
        self.check, self.seed = check, seed
        self.probe = probe_of(check.steps + LONGEST_SHIFT, seed, _named(check.params))
        mine, like = (
            stepper_of(WHO, role, given, self.probe.params, check.state)
            for role, given in (("mine", check.mine), ("like", check.like))
        )
        self.steppers = mine, like
        self.wide = self._runs("float64")
        self.found = numbers_in(mine.origin)
        self.known = recognize(like, self.wide)
        self.source = Source("given", f"{like.source.what} ({self.known})" if self.known else like.source.what)
        self.in_float64 = _Compared.of(self.wide, allowed(self.wide, self.known))

    def _runs(self, dtype: str) -> Runs:
        check, probe = self.check, self.probe.cast(dtype)
        runs = runs_of(*self.steppers, probe, self.seed)
        if len(runs.reference) < check.steps + LONGEST_SHIFT or not _is_finite(runs.reference[-1]):
            raise ValueError(f"{WHO}: like must stay finite, got NaN or infinity at step {len(runs.reference)}")
        if any(runs.moves(runs.reference, p) for p in probe.params) and not any(runs.moves(runs.hand, p) for p in probe.params):
            raise ValueError(
                f"{WHO}: mine must write into the parameters or return new ones; {check.name} does neither "
                f"in {check.steps} steps"
            )
        return runs

    def trajectory(self, dtype: str) -> Trajectory:
        """The rows of one dtype."""
        start = time.perf_counter()
        compared = self.in_float64
        if dtype != "float64":
            runs = self._runs(dtype)
            compared = _Compared.of(runs, allowed(runs, self.known))
        accepted = self.accepted if compared.first else ""
        diagnosis = f"{self.cause}; {compared.place}" if compared.first and not accepted else ""
        note = "; ".join(filter(None, (accepted, *compared.notes)))
        rows = [self._row(compared, slot, dtype, diagnosis, forgiven=bool(accepted)) for slot in compared.gaps]
        seconds = (time.perf_counter() - start) / len(rows)
        made = tuple(replace(row, seconds=seconds, note=note) for row in rows)
        return Trajectory(self.check.name, made, compared.first if diagnosis else None, diagnosis)

    @cached_property
    def _evidence(self) -> tuple[Flat, Array, Array]:
        """What a rule must reproduce: the gradients of our run in float64, its parameters, and their tolerance."""
        runs, flat = self.wide, self.wide.flat
        own = Flat(flat.start, flat.gradients[: len(runs.hand)], flat.places)
        return own, flat.positions(runs.hand), each_entry(self.in_float64.tolerances, flat)

    @cached_property
    def accepted(self) -> str:
        """Why our run is right although it differs: numbers in float32; empty if that is not why."""
        if not self.in_float64.first:
            return ""
        words = is_rounded(self.known, *self._evidence) if self.known else ""
        if words:
            return f"{words}, and the steps are right up to that"
        for stepper in self.steppers:
            names = narrow_numbers(stepper, self.wide.probe)
            if names and self._right_up_to_float32():
                who = f"{stepper.source.what} computes with numbers in float32 ({', '.join(names)})"
                return f"{who}, and the steps agree up to that"
        return ""

    def _right_up_to_float32(self) -> bool:
        """Whether each step is the reference's up to some roundings of float32 of the largest entry of its parameter so far."""
        flat, ours, tolerance = self._evidence
        theirs = flat.positions(self.wide.reference[: len(ours)])
        own, other = (np.diff(run, axis=0, prepend=flat.start[None]) for run in (ours, theirs))
        sizes = np.maximum.accumulate(np.abs(other), axis=0)
        for _, _, place in flat.places:
            sizes[:, place] = sizes[:, place].max(axis=1, keepdims=True)
        rounding = FEW * eps_of(np.dtype(np.float32)) * sizes
        return bool((np.abs(own - other) <= rounding + 2 * tolerance[: len(ours)]).all())

    @cached_property
    def cause(self) -> str:
        """The mistake, or what is known of it."""
        if not self.in_float64.first:
            return "no known cause: in float64 the steps are the reference's, so the formula loses digits in float32"
        if self.known is None:
            return f"no known cause: another optimizer than {self.source.what}, which is none of the rules that are tried"
        words = cause_of(self.known, self.found, *self._evidence)
        if not words:
            return f"no known cause: another optimizer than {self.source.what}"
        return f"{words}; the reference's rule with this change makes the same {len(self.wide.hand)} steps"

    def _row(self, compared: _Compared, slot: str, dtype: str, diagnosis: str, *, forgiven: bool) -> SlotRow:
        gap, like = compared.gaps[slot], compared.runs.reference[0][slot]
        failed = gap.first is not None and not forgiven
        verdict, remark = (Verdict.FAIL, diagnosis) if failed else (Verdict.PASS, self._remark(compared, slot))
        if remark == STILL:
            verdict = Verdict.VACUOUS
        entry, ours, theirs = compared.values(slot)
        return SlotRow(
            family=self.check.family,
            op=self.check.name,
            case=f"{self.check.steps} steps",
            dtype=dtype,
            parameter=slot,
            shape=like.shape,
            reference=str(self.source),
            evidence=f"autodiff at {min(len(compared.runs.hand), self.check.steps)} steps",
            verdict=verdict,
            diagnosis=remark,
            autodiff_error=gap.error,
            used=None if forgiven else gap.used,
            size=in_words(gap.error, dtype) if failed else "",
            worst_index=entry,
            analytic=ours,
            autodiff=theirs,
            steps=self.check.steps,
            at_step=gap.first or gap.step,
            first_autodiff=gap.first if failed else None,
        )

    def _remark(self, compared: _Compared, slot: str) -> str:
        """What is to be said of a slot that passes."""
        kind, _, name = slot.partition(".")
        if kind != "params" or compared.runs.moves(compared.runs.reference, name):
            return ""
        if name in compared.runs.probe.unmoved:
            return "its gradient is zero: it must not move, and does not"
        if self.wide.moves(self.wide.reference, name):
            return "its steps are smaller than a rounding of this dtype"
        return STILL


def _is_finite(record: Record) -> bool:
    return all(np.isfinite(a).all() for slot, a in record.items() if slot.startswith("params."))
