"""One stage is judged at its own input: by slopes along random directions, and by `verify` where these leave a doubt.

The upstream gradient is the one that the net delivered plus a random one of the same size. Backward passes are linear in it,
so that an error for either shows, and a wrong stage later in the net does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, flat, quiet, random_cotangent
from oracle.contract.form import well_formed
from oracle.findings import Label
from oracle.judging.conditioning import spreads
from oracle.judging.error_budget import REFERENCE_TERMS, conditioning, roundoff
from oracle.locating.calls import Call, signed
from oracle.locating.directions import Lines, Slope
from oracle.locating.located import StageRow
from oracle.measures import distance, largest
from oracle.report.causes import grouped
from oracle.row import Verdict, worst_first
from oracle.spec import Allows, Flag
from oracle.verification import LIMIT, Verification, verify

__all__ = ["judged", "judged_composition"]

Array = NDArray[Any]

MANY = 2**14
"""Elements of a stage from which on `verify` tests fewer of them one by one. With more a wrong stage costs minutes; with fewer
a cause is guessed from a sample where all entries could be looked at."""
FEW = 64
"""The elements of one argument that are tested one by one then; all others are tested along directions."""
FEW_CAUSES = 3
"""Gradients of a composition that are named; with more, the text is longer than the table."""
VANISHED = 1e-200
"""The size of an upstream gradient below which products with it underflow. Any smaller limit would do, down to 1e-290."""
GROSS = 2.0**-10
"""Of a slope of the whole net: the largest allowance that still decides about its composition, whose mistakes are terms that
are lost or counted twice. With 2^-20, nets of many rectifiers stay undecided; with 1/2 a lost path of a small share passes."""


def judged(call: Call, seed: int, accept: float = 0.0) -> StageRow:
    """The row of one stage."""
    row = StageRow(call.path, call.name, call.shape, Verdict.PASS, note=_unseen(call))
    if not _has_entries(call) and not call.backward.trouble:
        return replace(row, note="its arguments have no entries")
    if call.backward.trouble:
        return _verified(call, replace(row, verdict=Verdict.FAIL, cause=call.backward.trouble), None, seed, accept)
    try:
        with quiet():
            dy, gradients, note = _upstream(call, seed)
    except _NoGradient as error:
        return _verified(call, replace(row, verdict=Verdict.FAIL, cause=str(error)), None, seed, accept)
    row = replace(row, note="; ".join(part for part in (note, row.note) if part))
    try:
        with quiet():
            lines = Lines(call.subject.value, call.primals, dy, gradients, seed)
            *before, slope = _slopes(lines)
    except RAISED as error:
        failed = f"the forward pass raised {type(error).__name__}: {error}"
        return _verified(call, replace(row, verdict=Verdict.ERROR, cause=failed), None, seed, accept)
    row = _with_numbers(row, slope)
    if slope.wrong or not slope.decided:
        return _verified(call, row, slope, seed, accept, sampled=bool(before) and not slope.wrong)
    return row


def judged_composition(call: Call, seed: int, accept: float = 0.0) -> StageRow:
    """The row of what composes stages that are right: only its own mistakes are left."""
    row = StageRow(call.path, call.name, call.shape, Verdict.PASS)
    if call.backward.dy is None or not _has_entries(call):
        return row
    try:
        with quiet():
            _, residuals = call.subject.fwd(*call.primals)
            cotangents = call.subject.bwd(residuals, call.backward.dy)
    except RAISED as error:
        return replace(row, verdict=Verdict.ERROR, cause=f"the backward pass raised {type(error).__name__}: {error}")
    breaches = well_formed(cotangents, call.names, call.primals, None)
    if breaches:
        return replace(row, verdict=Verdict.FAIL, cause=f"{breaches[0].parameter}: {breaches[0].what}")
    try:
        with quiet():
            lines = Lines(call.subject.value, call.primals, call.backward.dy, flat(cotangents), seed)
            slope = lines.along(lines.everything)
            if not _tells(slope) and any(lines.at_zero):
                slope = lines.along([i for i in lines.everything if not lines.at_zero[i]])
    except RAISED as error:
        return replace(row, verdict=Verdict.ERROR, cause=f"the forward pass raised {type(error).__name__}: {error}")
    row = _with_numbers(row, slope)
    if slope.wrong and _tells(slope) and slope.error > slope.allowed + _conditioning(call, lines, slope, seed):
        return _with_parameters(call, replace(row, verdict=Verdict.FAIL, cause=BETWEEN), seed, accept)
    if not _tells(slope):
        return replace(row, verdict=Verdict.INCONCLUSIVE, cause="the slope of the whole is not known well enough")
    return row


def _conditioning(call: Call, lines: Lines, slope: Slope, seed: int) -> float:
    """How far rounding the arguments may move the contraction of the gradient of a whole net."""

    def contracted(given: Any) -> list[Array]:
        _, residuals = call.subject.fwd(*given)
        return [np.asarray(lines.contraction(flat(call.subject.bwd(residuals, call.backward.dy))))]

    return float(conditioning(spreads(contracted, call.primals, seed)[0], slope.scale))


def _with_parameters(call: Call, row: StageRow, seed: int, accept: float) -> StageRow:
    """The row of a composition that is wrong, with the gradients that are; where it is large, as it is unless accepted."""
    if sum(leaf.size for leaf in flat(call.primals)) > MANY:
        return replace(row, verdict=Verdict.ACCEPTED, cause="") if (row.error or 0.0) <= accept else row
    found = _by_verify(call, _at_own(call), seed, accept)
    if isinstance(found, str):
        return row
    failing = [one for one in worst_first(found.rows) if not one.passed and one.parameter]
    if not failing:
        accepted = any(one.verdict is Verdict.ACCEPTED for one in found.rows)
        return replace(row, verdict=Verdict.ACCEPTED, cause="") if accepted else row
    groups = [(group.first.parameter, group.cause) for group in grouped(failing)]
    wrong = [cause if parameter in cause else f"{parameter}: {cause}" for parameter, cause in groups]
    shown = "; ".join(wrong[:FEW_CAUSES]) + (f"; and {len(wrong) - FEW_CAUSES} more" if len(wrong) > FEW_CAUSES else "")
    return replace(row, cause=f"{row.cause} {shown}", verification=found)


BETWEEN = (
    "every stage is right, and the whole is wrong: either what it computes itself beside its stages, or what combines their "
    "gradients. Is a path missing (a residual, a value that is used twice), counted twice, or overwritten where it must be "
    "added?"
)


def _has_entries(call: Call) -> bool:
    return any(leaf.size for leaf in flat(call.primals))


def _with_numbers(row: StageRow, slope: Slope) -> StageRow:
    """The row with the error along a direction; none if that is no number."""
    error, uncertainty = slope.error / slope.scale, slope.uncertainty / slope.scale
    return replace(row, error=error, uncertainty=uncertainty) if np.isfinite([error, uncertainty]).all() else row


def _tells(slope: Slope) -> bool:
    """Whether the slope of a whole net shows a path that is missing."""
    return slope.allowed <= GROSS * max(slope.size, abs(slope.value)) or slope.decided


def _slopes(lines: Lines) -> Iterator[Slope]:
    """Slopes until one is wrong or remains undecided: of everything together, then of the parts that it cannot see."""
    everything, at_zero = lines.everything, lines.at_zero
    slope = lines.along(everything)
    alone: list[int] = []
    if any(at_zero) and (slope.wrong or not slope.decided):  # most kinks are at 0
        alone = [i for i in everything if at_zero[i]]
        slope = lines.along([i for i in everything if not at_zero[i]])
    if not slope.decided:
        slope = lines.along([i for i in everything if i not in alone], sweep=True)
    yield slope
    if slope.wrong or not slope.decided:
        return
    for i in [*(i for i in lines.hidden(slope) if i not in alone), *alone]:
        slope_of_part = lines.along([i])
        if not slope_of_part.decided and not slope_of_part.wrong:
            slope_of_part = lines.along([i], sweep=True)
        if slope_of_part.wrong and slope_of_part.vanishes and lines.without_effect(i):
            continue
        if slope_of_part.wrong or not slope_of_part.decided:
            yield slope_of_part
            return
    yield slope


# ----------------------------------------------------------------------------------------------- the upstream gradient


class _NoGradient(Exception):
    """The stage, called by itself, returned no gradients."""


def _upstream(call: Call, seed: int) -> tuple[Any, list[Array], str]:
    """The upstream gradient to judge at, the gradients for it, and a remark where it is not the net's own."""
    random = random_cotangent(call.y, seed)
    note = _unusable(call.backward.dy)
    if not note and call.fixed:
        return call.backward.dy, flat(call.backward.cotangents), ""
    if not note:
        random = optree.tree_map(_as_large_as, random, call.backward.dy)
    _, residuals = call.subject.fwd(*_copies(call.primals))
    try:
        found = call.subject.bwd(residuals, optree.tree_map(np.array, random))
    except RAISED as error:
        raise _NoGradient(f"the backward pass raised {type(error).__name__}: {error}") from error
    breaches = well_formed(found, call.names, call.primals, None)
    if breaches:
        raise _NoGradient(f"{breaches[0].parameter}: {breaches[0].what}")
    if note:
        return random, flat(found), note
    dy = optree.tree_map(lambda a, b: np.asarray(a + b), call.backward.dy, random)
    return dy, [a + b for a, b in zip(flat(call.backward.cotangents), flat(found), strict=True)], ""


def _copies(primals: Any) -> Any:
    """A forward pass may write into its arguments."""
    return optree.tree_map(np.array, primals)


def _unusable(dy: Any) -> str:
    """Why an upstream gradient tells nothing about the stage; empty if it does."""
    if dy is None:
        return "no upstream gradient reached it: judged at a random one"
    leaves = flat(dy)
    if not all(np.isfinite(leaf).all() for leaf in leaves):
        return "the upstream gradient is not finite: judged at a random one"
    size = largest(*leaves)
    if size <= VANISHED:
        return f"the upstream gradient {'is 0' if size == 0 else 'vanishes'}: judged at a random one"
    return ""


def _as_large_as(random: Array, own: Array) -> Array:
    """Random numbers of the mean size of the upstream gradient: a power of 2 times what they were."""
    size = float(np.sqrt(np.mean(np.square(own / largest(own))))) * largest(own) if np.any(own) else 0.0
    return np.asarray(random * 2.0 ** np.round(np.log2(size))) if size > VANISHED else random


def _unseen(call: Call) -> str:
    return f"no gradient found for {', '.join(call.unseen)}: taken for constants" if call.unseen else ""


# ----------------------------------------------------------------------------------------------- by verify


def _verified(call: Call, row: StageRow, slope: Slope | None, seed: int, accept: float, *, sampled: bool = False) -> StageRow:
    """The row by all that `verify` has, at the same arguments; `slope` is what left a doubt.

    If only some arguments, or their entries at 0, are in doubt and nothing contradicts them, a sample of the entries is enough.
    """
    found = _by_verify(call, call.op if not call.fixed else _at_own(call), seed, accept, sampled=sampled)
    if isinstance(found, str):
        return replace(row, verdict=Verdict.ERROR, cause="; ".join(part for part in (row.cause, found) if part))
    worst = worst_first(found.rows)[0]
    row = replace(row, verification=found)
    if not found.passed:
        cause = worst.diagnosis or str(worst.verdict)
        return replace(
            row, verdict=worst.verdict, cause=cause, parameter=worst.parameter, error=_first(worst.numerical_error, row.error)
        )
    if slope is None:
        return row
    row = replace(row, verdict=next((one.verdict for one in found.rows if one.verdict is not Verdict.PASS), Verdict.PASS))
    if not slope.wrong or call.fixed:
        return replace(row, error=_first(worst.numerical_error, row.error), uncertainty=worst.numerical_uncertainty)
    own = _by_verify(call, _at_own(call), seed, accept) if not _unusable(call.backward.dy) else found
    if isinstance(own, Verification) and not own.passed:
        worst = worst_first(own.rows)[0]
        cause = f"right for a random upstream gradient, wrong for the one that arrives here: {worst.diagnosis}"
        return replace(row, verdict=worst.verdict, cause=cause, verification=own)
    if not _unusable(call.backward.dy) and (apart := _differs(call)):
        return replace(row, verdict=Verdict.FAIL, cause=apart)
    note = "; ".join(part for part in (row.note, "a direction was off, and every entry is right") if part)
    return replace(row, note=note)


def _first(one: float | None, other: float | None) -> float | None:
    return other if one is None else one


def _by_verify(call: Call, op: Any, seed: int, accept: float, *, sampled: bool = False) -> Verification | str:
    """What `verify` finds; or why it cannot judge here."""
    total = sum(leaf.size for leaf in flat(call.primals))
    try:
        return verify(
            op,
            *call.primals,
            options={} if op is not call.op else call.options,
            seed=seed,
            accept=accept,
            flags=frozenset({Flag.ZERO_GRADIENT}),
            views=True,
            aliases=True,
            allows=frozenset(Allows),
            limit=FEW if sampled or total > MANY else LIMIT,
            label=Label("", call.name, call.path, ""),
        )
    except (TypeError, ValueError) as error:
        return str(error).removeprefix("verify: ")


def _at_own(call: Call) -> Any:
    """The stage contracted with the upstream gradient that it got, as a pair."""
    subject, dy = call.subject, call.backward.dy

    def fwd(*primals: Any) -> Any:
        y, residuals = subject.fwd(*primals)
        pairs = zip(optree.tree_leaves(y), optree.tree_leaves(dy), strict=True)
        return np.asarray(sum(np.vdot(b, a) for a, b in pairs)), residuals

    def bwd(residuals: Any, by: Any) -> Any:
        found: Any = subject.bwd(residuals, optree.tree_map(np.array, dy))
        return optree.tree_map(lambda g: np.asarray(g * by), found)

    signed(fwd, call.name, [name.replace(" ", "_") for name in call.names])
    return fwd, bwd


def _differs(call: Call) -> str:
    """How the gradients in the net differ from those of the same call by itself; empty if they do not."""
    with quiet():
        _, residuals = call.subject.fwd(*_copies(call.primals))
        alone = flat(call.subject.bwd(residuals, optree.tree_map(np.array, call.backward.dy)))
    for a, b in zip(flat(call.backward.cotangents), alone, strict=True):
        if largest(distance(a, b)) > roundoff(largest(a, b), REFERENCE_TERMS):
            return "in the net it returns another gradient than in the same call by itself: does it keep state?"
    return ""
