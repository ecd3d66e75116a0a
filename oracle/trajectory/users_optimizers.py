"""Optimizers of users, as they are, beside another: the same gradients at each step, every parameter and slot compared.

`users_runs` makes the runs and tells how far they may differ. Where they differ by more, the reference is recognized as a rule
with its hyperparameters (`recognition`); the mistake is the changed rule that makes the wrong run (`mistakes`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from oracle.judging.size import in_words
from oracle.measures import eps_of
from oracle.row import Verdict
from oracle.spec import Source
from oracle.trajectory.accumulation import accumulated_otherwise
from oracle.trajectory.hyperparameters import numbers_in
from oracle.trajectory.mistakes import LONGEST_SHIFT, cause_of, is_rounded, multiplied
from oracle.trajectory.probe import probe_of
from oracle.trajectory.rule import Flat
from oracle.trajectory.spec import SlotRow, Trajectory
from oracle.trajectory.stepping import stepper_of
from oracle.trajectory.tolerance import Record
from oracle.trajectory.users_comparison import Compared
from oracle.trajectory.users_runs import Runs, allowed, each_entry, narrow_numbers, recognize, runs_of

__all__ = ["OptimizerCheck", "verify_optimizer"]

Array = NDArray[Any]
Params = dict[str, Array]

WHO = "verify_optimizer"
DTYPES = ("float64", "float32")
STILL = "it never changes: nothing was checked"
FEW = 4
"""Roundings of float32 that a step may have if a number in it is kept in float32. torch's Adam has 2 if its rate is a tensor;
with 1 it would fail, and with 100 an error of 1e-5 in an optimizer with such a number would pass."""


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
    micro_batches: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if type(self.steps) is not int or self.steps < 2:
            raise ValueError(f"{WHO}: steps must be an integer of at least 2, got {self.steps!r}")
        unknown = [dtype for dtype in self.dtypes if dtype not in DTYPES]
        if unknown or not self.dtypes:
            raise ValueError(f"{WHO}: dtypes must be some of {', '.join(DTYPES)}, got {self.dtypes!r}")
        if any(type(size) is not int or size < 1 for size in self.micro_batches):
            raise ValueError(f"{WHO}: micro_batches must be the numbers of their examples, got {self.micro_batches!r}")
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
    micro_batches: tuple[int, ...] = (),
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
        micro_batches: for an optimizer that accumulates gradients: the number of examples in each micro-batch of a step. Yours
            is called once for each, with the mean gradient of its examples, and with their number if it takes an argument more;
            `like` is called once, with the mean over all examples.

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
    return OptimizerCheck(mine, like, steps, params, state, dtypes, name, micro_batches).verified(seed)


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


class _Judge:
    """The optimizers of a check, dtype by dtype: float64 first, because rules and mistakes are recognized there."""

    def __init__(self, check: OptimizerCheck, seed: int) -> None:
        self.check, self.seed = check, seed
        sizes = check.micro_batches
        self.probe = probe_of((check.steps + LONGEST_SHIFT) * max(len(sizes), 1), seed, _named(check.params))
        mine, like = (
            stepper_of(WHO, role, given, self.probe.params, check.state)
            for role, given in (("mine", check.mine), ("like", check.like))
        )
        if sizes:
            self.probe, mine = self.probe.in_parts(sizes), mine.in_parts(sizes)
        self.steppers = mine, like
        self.wide = self._runs("float64")
        self.found = numbers_in(mine.origin)
        self.known = recognize(like, self.wide)
        self.source = Source("given", f"{like.source.what} ({self.known})" if self.known else like.source.what)
        self.in_float64 = Compared.of(self.wide, allowed(self.wide, self.known), self._rate)

    @property
    def _rate(self) -> float | None:
        """The learning rate of the reference's first step, if it is known."""
        return None if self.known is None else float(self.known.rates[0])

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
            compared = Compared.of(runs, allowed(runs, self.known), self._rate)
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
        probe = self.wide.probe
        for stepper, grads in zip(self.steppers, (probe.given[0], probe.gradients[0]), strict=True):
            names = narrow_numbers(stepper, probe, grads)
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
        if not any(gap.first for slot, gap in self.in_float64.gaps.items() if slot.startswith("params.")):
            return f"no known cause: the parameters are those of {self.source.what}, the state is not"
        own, run, tolerance = self._evidence
        if self.check.micro_batches:
            mine, like = self.steppers
            narrow = narrow_numbers(mine, self.wide.probe, self.wide.probe.given[0])  # optax's MultiSteps adds in float32
            known_to = tolerance[: len(run)] + (FEW * eps_of(np.dtype(np.float32)) * np.abs(run) if narrow else 0)
            words = accumulated_otherwise(like, self.wide.probe, run, known_to)
            if words:
                return f"{words}; the reference makes the same {len(run)} steps of it"
        if self.known is None:
            theirs = self.wide.flat.positions(self.wide.reference)
            words = multiplied(own, run, theirs, tolerance)
            if words:
                return f"{words}; the reference with this change makes the same {len(run)} steps"
            return f"no known cause: another optimizer than {self.source.what}, which is none of the rules that are tried"
        words = cause_of(self.known, self.found, own, run, tolerance)
        if not words:
            return f"no known cause: another optimizer than {self.source.what}"
        return f"{words}; the reference's rule with this change makes the same {len(self.wide.hand)} steps"

    def _row(self, compared: Compared, slot: str, dtype: str, diagnosis: str, *, forgiven: bool) -> SlotRow:
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

    def _remark(self, compared: Compared, slot: str) -> str:
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
