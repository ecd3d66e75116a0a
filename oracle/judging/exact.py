"""The exact witness, where the differences leave a verdict open: exact derivatives of the entries in doubt.

The forward function is evaluated on numbers with proven error bounds (`oracle.exact`). The entries in doubt are asked one by
one, the worst first, until one is wrong for certain; random directions bound the chance that another entry is wrong. An exact
derivative replaces the differences' estimate of its entry. It is used only if it is the derivative of the same function:

- the exact values are those of the function in float64, within its rounding, which is measured or bounded;
- where the differences know an entry and contradict, that holds at the points where they were taken, too. Then the steps have
  deceived them: whole periods of the function, or values that all round to the same number.

An entry may be off by its condition (`conditioning.conditions`), and by as much as its own error moves when the arguments are
rounded: that is rounding, while a wrong formula has nearly the same error at neighbouring points.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import fsum

import numpy as np

from oracle import exact
from oracle.differences.richardson import RATIO
from oracle.effort import BATCH, ENTRIES, SAMPLES
from oracle.exact import Kink
from oracle.judging.comparison import Comparison, doubted, ratio
from oracle.judging.error_budget import SAFETY, SHORT_SUM, computes_narrower, roundoff, truncation_and_noise
from oracle.judging.evidence import Array, Evidence, Exact, Swept
from oracle.judging.exact_point import CONFIRMED, Answer, ExactPoint, Refused
from oracle.judging.measurements import Measurements
from oracle.judging.reasons import Reason
from oracle.judging.settling import conditioned, reference_conditioned
from oracle.judging.verdict import judge
from oracle.measures import largest
from oracle.spec import Flag
from oracle.streams import Stream
from oracle.text import count

__all__ = ["asked", "can_be_asked", "contradict", "one_entry", "with_exact"]

OPEN = frozenset(
    {Reason.UNCERTAIN, Reason.DIFFERENCES_CONTRADICT, Reason.REFERENCE_CONTRADICTS, Reason.REFERENCE_ROUNDS}
    | {Reason.BELOW_ROUNDOFF, Reason.STEP_BELOW_ULP, Reason.TOO_MANY_KINKS, Reason.ROUNDING_ONLY}
    | {Reason.NOT_THE_FORWARD_PASS, Reason.TIED, Reason.ALMOST_A_SUBGRADIENT}
)
"""Reasons that the differences cause, whatever the reference says."""
OPEN_ALONE = frozenset(
    {Reason.WRONG_BACKWARD, Reason.TIED_SLOPE, Reason.DIRECTIONAL_MISMATCH, Reason.NO_SUBGRADIENT}
    | {Reason.WRONG_AT_RESCALED_POINT, Reason.WRONG_AT_GENERIC_POINT}
)
"""Those that the differences cause if there is no reference.

The others stay as they are. Two witnesses agree about them, or the gradient itself shows them (it is not finite, empty, or
zero in every entry). An exact derivative is finite, so it says nothing about an infinite slope. Errors in 16 bits, in other
dtypes inside and in a stage of a chain come from measurements of their own."""
AT_TIES = frozenset({Reason.TIED, Reason.TIED_SLOPE, Reason.ALMOST_A_SUBGRADIENT, Reason.NO_SUBGRADIENT})
"""Reasons about entries at kinks that are not independent."""

BY_OWN_SIZE = frozenset({Reason.ROUNDING_ONLY, Reason.BELOW_ROUNDOFF})
"""Reasons about entries that are smaller than the rounding of larger terms."""

HIDDEN = 32.0
"""By how many times what a direction allows an entry may be off and not show. The chance is 1 in 40 along one normal direction
(0.8 / 32), and 1 in a million along four."""


def asked(m: Measurements, i: int, e: Evidence, there: Measurements) -> Evidence:
    """The evidence about argument `i`, with exact derivatives if they may decide; `there` is where it was measured last."""
    if not _is_open(m, e):
        return e
    other = e.other_point
    if other is not None and other.evidence is not None:
        evidence = asked(there, i, other.evidence, there)
        if not judge(evidence).verdict.passes:
            return replace(e, other_point=replace(other, evidence=evidence))
        nowhere = replace(other, index=other.index[:0], right=True, evidence=None, generic=False)
        return e.after("exact derivatives there, with which the gradient agrees", other_point=nowhere)
    if e.exact is not None:
        return e
    point = ExactPoint(m.point, i, m.plan.seed)
    try:
        return _Asking(m, i, point).about(e)
    except Refused as refused:
        kinks = _in_words(dict.fromkeys((*point.kinks, *refused.kinks)))
        return e.after(f"no exact derivative: {refused}", exact=Exact(kinks=kinks))


def _is_open(m: Measurements, e: Evidence) -> bool:
    """Whether an exact derivative may change the verdict, and may be asked for."""
    reason = judge(e).reason
    return (reason in OPEN or (reason in OPEN_ALONE and e.autodiff is None)) and can_be_asked(m, e)


def can_be_asked(m: Measurements, e: Evidence) -> bool:
    """Whether an exact derivative may be asked for, and would say something about this gradient.

    It would not say anything about a gradient that is another than the derivative by declaration, nor where errors are accepted
    or count by the digits of a narrower dtype: the differences know more digits than that. That is so for arguments in such a
    dtype, also when they are judged as float64 numbers, and for functions that compute in one inside, which balls do not do.
    Large arguments take more evaluations than the witness may spend.
    """
    if m.plan.large or m.lenient or m.point.narrow is not None or Flag.NOT_THE_DERIVATIVE in m.plan.flags:
        return False
    if any(np.asarray(leaf.array).dtype != np.float64 for leaf in m.point.leaves) or computes_narrower(e.budget):
        return False
    return exact.available()


@dataclass
class _Asking:
    """The questions about the gradient of argument `i`."""

    m: Measurements
    i: int
    point: ExactPoint
    confirmed: int = 0
    """Entries at which the differences were shown to be deceived."""

    def about(self, e: Evidence) -> Evidence:
        reason = judge(e).reason
        if reason in AT_TIES and (settled := self.at_ties(e)) is not None:
            return settled
        e, entries, right = self.one_by_one(e, _in_doubt(e, reason))
        known = Exact(entries)
        if right:
            known = replace(known, slopes=self.slopes(e))
            if known.slopes is not None and _agree(e, known.slopes):
                e = _bounded(e, known.slopes)
        if right and reason in BY_OWN_SIZE and self.are_right_by_own_size(e, entries):
            known, e = replace(known, by_own_size=True), replace(e, other_point=None)
        what = f"exact derivatives of {count(entries.size, 'entry', 'entries')}"
        what += f" and along {known.slopes.ours.size} random directions" if known.slopes is not None else ""
        e = e.after(what, exact=replace(known, kinks=_in_words(self.point.kinks)))
        return self.reference_settled(e)

    def one_by_one(self, e: Evidence, doubt: Array) -> tuple[Evidence, Array, bool]:
        """With the exact derivatives of these entries, the worst first; which were asked, and whether none of them is wrong.

        Half of the work is left for the directions, which alone cover all entries. The worst entry alone is enough to confirm
        that a gradient is wrong; then come batches, each several times as large.
        """
        done, few = 0, 1
        while done < min(doubt.size, ENTRIES) and not (done and self.point.is_late(half=True)):
            e = self.with_answer(e, int(doubt[done]))
            done += 1
            if done < min(few, doubt.size) and not self.point.is_late(half=True):
                continue
            few *= SAMPLES
            if _is_wrong(e, doubt[:done]):
                e = e if e.budget.conditioning else conditioned(self.m, self.i, e)
                if _is_wrong(e, doubt[:done]):
                    return e, doubt[:done], False
        return e, doubt[:done], True

    def with_answer(self, e: Evidence, j: int) -> Evidence:
        """With the exact derivative of entry `j` in place of the differences' estimate."""
        answer, row = self.point.partial(j), int(np.flatnonzero(e.estimate.index == j)[0])
        flat = answer.value == 0 and np.isfinite(e.estimate.value[row]) and e.estimate.value[row] != 0
        if self.confirmed < CONFIRMED and (flat or contradict(e, row, answer)):
            steps = _steps(e, row)
            if not self.point.is_the_function_at(j, steps):
                raise Refused("the differences contradict it, and where they were taken its values are not those in float64")
            if flat and self.point.is_flat_at(j, steps):
                raise Refused("a step function, whose slope is 0 wherever it has one")
            self.confirmed += 1
        known = with_exact(e, row, answer)
        if answer.sides is None and Comparison.of(known).differences_used[row] > 1:
            spread = self.point.spread(one_entry(j, e.analytic.size), float(e.analytic[j]))
            known = with_exact(e, row, answer._replace(uncertainty=max(answer.uncertainty, spread)))
        return known

    def at_ties(self, e: Evidence) -> Evidence | None:
        """The evidence if the gradient is one of the limits at its kinks: then it predicts the slope along some directions.

        Random directions know one piece of the function each; a gradient that is none of its pieces has another slope. Each
        order of three equal numbers has a chance of 1 in 6, and a batch of directions misses it once in 300 times.
        """
        gradients = self.m.point.gradients
        ours = np.concatenate(gradients)
        for direction in self._directions(ours.size, BATCH):
            if self.point.is_late():
                return None
            answer = self.point.along_all(np.split(direction, np.cumsum([g.size for g in gradients])[:-1]))
            ahead = answer.value if answer.sides is None else answer.sides[1]
            allowed = (float(roundoff(largest(ours))) + e.budget.without_u) * float(np.linalg.norm(direction))
            if abs(_product(ours, direction) - ahead) <= allowed:
                here, estimate, kink = e.analytic[e.estimate.index], e.estimate, e.estimate.kink
                low, high = np.minimum(estimate.left, estimate.right), np.maximum(estimate.left, estimate.right)
                left, right = (np.where(kink, f(here, side), side) for f, side in ((np.minimum, low), (np.maximum, high)))
                kinks = replace(e.kinks, tied_slope=0.0, excess=0.0)
                return e.after(
                    "the exact derivative along a direction that parts all ties, which the gradient predicts",
                    estimate=replace(estimate, left=left, right=right),
                    kinks=kinks,
                    exact=Exact(kinks=_in_words(self.point.kinks)),
                )
        return None

    def slopes(self, e: Evidence) -> Swept | None:
        """Exact slopes along random directions of all entries but those at kinks; None if there are kinks on the way."""
        smooth = np.ones(e.analytic.size, dtype=bool)
        smooth[e.estimate.index[e.estimate.kink]] = False
        found: list[tuple[float, ...]] = []
        least = np.inf
        for direction in self._directions(e.analytic.size, SAMPLES) if smooth.any() else ():
            direction = np.where(smooth, direction, 0.0)
            if self.point.is_late():
                return None
            try:
                answer = self.point.along(direction)
            except Refused:  # a kink of another entry, which is not in doubt
                return None
            if answer.sides is not None:
                return None
            norm, ours, uncertainty = float(np.linalg.norm(direction)), _product(e.analytic, direction), answer.uncertainty
            if abs(ours - answer.value) > e.budget.without_u * norm:
                uncertainty = max(uncertainty, self.point.spread(direction, ours))
            found.append((ours, answer.value, uncertainty, norm))
            least = min(least, float(np.abs(direction[smooth]).min()))
        if not found:
            return None
        ours, value, uncertainty, norm = np.array(found).T
        return Swept(ours, value, uncertainty, norm, least, np.zeros(ours.size, dtype=bool), usual=True)

    def are_right_by_own_size(self, e: Evidence, entries: Array) -> bool:
        """Whether the gradient is right to the last digits of its own entries, all of which are known."""
        known = np.isin(e.estimate.index, entries)
        wanted = e.estimate.index if e.other_point is None else e.other_point.index
        if not np.isin(wanted, entries).all() or not e.estimate.value[known].any():
            return False
        for j, value in zip(e.estimate.index[known], e.estimate.value[known], strict=True):
            error = abs(e.analytic[j] - value) - roundoff(abs(value), SHORT_SUM)
            if error > 0 and error > SAFETY * self.point.condition(one_entry(int(j), e.analytic.size)):
                return False
        return True

    def reference_settled(self, e: Evidence) -> Evidence:
        """Where the reference loses digits by itself, the exact derivatives stand for its values."""
        e = reference_conditioned(self.m, self.i, e)
        if e.autodiff is None or judge(e).reason is not Reason.REFERENCE_ROUNDS:
            return e
        lost = e.estimate.index[Comparison.of(e).reference_used > 1]
        theirs = e.autodiff.copy()
        at = np.isin(e.estimate.index, lost)
        theirs[e.estimate.index[at]] = e.estimate.value[at]
        values = replace(e.values, error=None)  # a value that is another function's is a row of its own, before this
        return e.after("exact derivatives in place of the reference, which loses these digits", autodiff=theirs, values=values)

    def _directions(self, size: int, number: int) -> Iterator[Array]:
        generator = np.random.default_rng([self.m.plan.seed, Stream.EXACT, self.i])
        return (generator.normal(size=size) for _ in range(number))


def _in_doubt(e: Evidence, reason: Reason) -> Array:
    """Flat indices of the entries to ask, the worst first."""
    measured = e.estimate.index
    if reason is Reason.BELOW_ROUNDOFF and e.other_point is not None:
        return e.other_point.index[np.isin(e.other_point.index, measured)]
    if reason is Reason.ROUNDING_ONLY:
        return measured[np.argsort(-np.abs(e.analytic[measured]), kind="stable")]
    doubt, frozen = doubted(e), measured[e.estimate.frozen]
    return np.concatenate([doubt, frozen[~np.isin(frozen, doubt)]])


def _is_wrong(e: Evidence, entries: Array) -> bool:
    """Whether the gradient is wrong at one of these entries."""
    return bool(np.isin(entries, e.estimate.index[Comparison.of(e).differences_used > 1]).any())


def _steps(e: Evidence, row: int) -> list[float]:
    """The longest and the shortest step at which the differences of an entry were taken."""
    taken = np.flatnonzero(np.isfinite(e.estimate.differences[row]))
    return [float(e.estimate.step[row] / RATIO**k) for k in dict.fromkeys((*taken[:1], *taken[-1:]))]


def contradict(e: Evidence, row: int, answer: Answer) -> bool:
    """Whether the differences know an entry, and it is another number than the exact derivative."""
    estimate, sides = e.estimate, answer.sides or (answer.value, answer.value)
    if estimate.kink[row]:
        low, high = sorted((estimate.left[row], estimate.right[row]))
        uncertainty = estimate.slope_uncertainty[row]
    else:
        low = high = estimate.value[row]
        uncertainty = estimate.uncertainty[row]
        if estimate.frozen[row] or not np.isfinite(uncertainty):
            return False
    allowed = truncation_and_noise(uncertainty) + e.budget.without_u
    return bool(max(low, min(sides)) - min(high, max(sides)) > allowed)


def with_exact(e: Evidence, row: int, answer: Answer) -> Evidence:
    """The evidence with an exact derivative in this row of the estimate."""
    left, right = answer.sides or (answer.value, answer.value)
    changes = {"value": answer.value, "uncertainty": answer.uncertainty, "slope_uncertainty": answer.uncertainty}
    changes |= {"left": left, "right": right, "kink": answer.sides is not None, "frozen": False}
    fields = {name: getattr(e.estimate, name).copy() for name in changes}
    for name, change in changes.items():
        fields[name][row] = change
    return replace(e, estimate=replace(e.estimate, **fields))


def _agree(e: Evidence, slopes: Swept) -> bool:
    allowed = truncation_and_noise(slopes.uncertainty) + e.budget.without_u * slopes.norm
    return bool((ratio(np.abs(slopes.ours - slopes.value), allowed) <= 1).all())


def _bounded(e: Evidence, slopes: Swept) -> Evidence:
    """What is still in doubt is as the gradient has it: along the directions a larger error than `HIDDEN` allows would show."""
    at = np.isin(e.estimate.index, _in_doubt(e, Reason.UNCERTAIN)) & ~e.estimate.kink
    bound = HIDDEN * float((e.budget.without_u * slopes.norm + truncation_and_noise(slopes.uncertainty)).max()) / SAFETY
    value, uncertainty, frozen = e.estimate.value.copy(), e.estimate.uncertainty.copy(), e.estimate.frozen & ~at
    value[at], uncertainty[at] = e.analytic[e.estimate.index[at]], bound
    e = replace(e, estimate=replace(e.estimate, value=value, uncertainty=uncertainty, frozen=frozen))
    along = e.directions.along
    if along is None:
        return e
    blocks = []
    for block in along.blocks:
        direction = along.direction[block.index]
        ours, norm = _product(e.analytic[block.index], direction), float(np.linalg.norm(direction))
        wrong = abs(ours - block.value) > truncation_and_noise(block.uncertainty) + e.budget.without_u * norm
        known = replace(block, value=ours, uncertainty=bound * norm, blind=False)
        blocks.append(known if block.blind or wrong else block)
    return replace(e, directions=replace(e.directions, along=replace(along, blocks=tuple(blocks))))


def one_entry(index: int, size: int) -> Array:
    """The direction along this entry alone."""
    direction = np.zeros(size)
    direction[index] = 1.0
    return direction


def _product(gradient: Array, direction: Array) -> float:
    return fsum(map(float, gradient * direction))


def _in_words(kinks: Iterable[Kink]) -> tuple[str, ...]:
    return tuple(f"kink at {kink.where}: {kink.operation}{kink.source}" for kink in kinks)
