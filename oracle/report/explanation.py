"""How one row's verdict arose: the entry that decided, its error budget, the comparisons, and the further measurements."""

from __future__ import annotations

import shutil
import textwrap

import numpy as np

from oracle.diagnosis.words import at as at_entry
from oracle.differences.richardson import RATIO
from oracle.judging.comparison import Comparison
from oracle.judging.error_budget import REFERENCE_TERMS, TERMS, between_witnesses, roundoff, truncation_and_noise
from oracle.judging.evidence import BiasKind, Evidence, Values
from oracle.judging.reasons import Reason
from oracle.judging.reported_errors import values_at
from oracle.judging.verdict import DirectionalComparison, Judgement
from oracle.measures import distance
from oracle.row import VALUES, Explanation, Row
from oracle.spec import Flag

__all__ = ["explained", "explanation_of", "explanation_of_values"]

VALUES_COMPARED = "values, per allowed error"
"""The name of the comparison of two forward passes."""


WORDS = {
    "u": "truncation and noise: 4 error bars of the differences",
    "r": "roundoff, against the differences",
    "R": "roundoff, against the reference",
    "c": "conditioning",
    "t": "dtype",
}
"""The terms of the error budget, as `oracle.judging.error_budget` and docs/verdicts.md define them."""


def explanation_of(e: Evidence, judgement: Judgement, reason: Reason, before: tuple[str, ...] = ()) -> Explanation:
    """The data of an explanation, which crosses between processes. `before` are measurements at the first point."""
    worst, budget = judgement.worst, e.budget
    terms = {"r": float(roundoff(budget.scale, TERMS))}
    if e.autodiff is not None:
        terms["R"] = float(roundoff(budget.scale, REFERENCE_TERMS))
    terms |= {"c": budget.conditioning, "t": budget.dtype + budget.inside}
    comparisons: dict[str, tuple[float, float]] = {}
    steps: tuple[float, ...] = ()
    along = DirectionalComparison.of(e)
    by_definition = Flag.NOT_THE_DERIVATIVE in e.parameter.flags
    at = np.flatnonzero(e.estimate.index == worst)
    if worst is None and along.worst is not None and reason is not Reason.OTHER_VALUES:
        slopes = float(along.error[along.worst]), float(along.allowed[along.worst])
        comparisons["slopes along a direction"] = slopes
    if reason is Reason.OTHER_VALUES and e.values.error is not None:
        comparisons[VALUES_COMPARED] = (e.values.error, 1.0)
    if at.size and not by_definition and reason is not Reason.WRONG_STAGE:
        row, c = int(at[0]), Comparison.of(e)
        stated = e.estimate.slope_uncertainty if e.estimate.kink[row] else e.estimate.uncertainty
        taken = np.flatnonzero(np.isfinite(e.estimate.differences[row]))
        steps = tuple(float(e.estimate.step[row] / RATIO**k) for k in taken)
        terms = {"u": float(truncation_and_noise(stated[row]))} | terms
        comparisons["gradient and differences"] = (float(c.error[row]), float(budget.against_differences(stated[row])))
        if e.autodiff is not None and not e.estimate.kink[row]:
            apart = distance(np.asarray(e.autodiff[worst]), np.asarray(e.estimate.value[row]))
            comparisons["differences and reference"] = (float(apart), float(between_witnesses(budget, stated[row])))
    if e.exact is not None and e.exact.wrong is not None:
        comparisons["gradient without rounding"] = (e.exact.wrong.error, e.exact.wrong.allowed)
    if (bias := e.directions.bias) is not None:
        comparisons["mean over points nearby"] = (
            bias.size if bias.kind is BiasKind.PILED_UP else abs(bias.size - 1),
            bias.allowed,
        )
    if e.autodiff is not None and worst is not None:
        error = distance(e.analytic[[worst]], e.autodiff[[worst]])
        comparisons["gradient and reference"] = (float(error[0]), budget.against_reference)
    return Explanation(
        reason=reason.value,
        entry="" if worst is None else at_entry(e, worst),
        scale=budget.scale,
        **values_at(e, worst),
        steps=steps,
        terms=terms,
        comparisons=comparisons,
        measurements=(*before, *e.measurements),
        exact=e.exact is not None and worst in e.exact.entries,
    )


def explanation_of_values(values: Values) -> Explanation:
    """The data of an explanation where the values of the forward pass decided, and no gradient."""
    return Explanation(
        reason=Reason.OTHER_VALUES.value,
        entry="",
        scale=0.0,
        analytic=None,
        numerical=None,
        autodiff=None,
        steps=(),
        terms={},
        comparisons={VALUES_COMPARED: (values.error or 0.0, 1.0)},
        measurements=(),
    )


def explained(row: Row, width: int | None = None) -> str:
    """The road to the verdict of a row, as lines of text."""
    columns = min(width or shutil.get_terminal_size().columns, 120)
    x = row.details.explanation if row.details is not None else None
    head = f"{row.label}: {row.verdict}"
    if x is None and row.evidence and not row.evidence.startswith(("contract", VALUES)):
        return "\n".join(
            [head, *_wrapped(f"compared step by step: {row.evidence}", columns), *_wrapped(row.diagnosis, columns), ""]
        )
    if x is None:
        return "\n".join([head, *_wrapped(f"decided before any gradient was compared: {row.diagnosis}", columns), ""])
    lines = [f"{head}, because: {x.reason}"]
    if x.entry:
        witness = "the exact derivative" if x.exact else "the differences"
        values = [("your backward pass", x.analytic), (witness, x.numerical), ("the reference", x.autodiff)]
        lines += [f"  the entry that decided: {x.entry}"]
        lines += [f"    {value:>24.17g}  by {by}" for by, value in values if value is not None]
    elif not row.shape or 0 not in row.shape:
        lines += ["  no single entry decided"]
    if x.steps and not x.exact:
        lines += [f"  central differences at {len(x.steps)} steps, {x.steps[0]:.3g} to {x.steps[-1]:.3g}, extrapolated"]
    lines += [f"  error budget (absolute; the roundoff scale is {x.scale:.3g})"]
    words = WORDS | ({"u": "of the exact derivative"} if x.exact else {})
    lines += [f"    {size:9.2e}  {words[name]}" for name, size in x.terms.items() if size]
    lines += ["  comparisons"] if x.comparisons else []
    for name, (error, allowed) in x.comparisons.items():
        name = name.replace("differences", "exact derivative") if x.exact else name
        lines += [f"    {name:25}  {'agree' if error <= allowed else 'DIFFER':6}  error {error:.2e}, allowed {allowed:.2e}"]
    lines += _wrapped(f"further measurements: {'; '.join(x.measurements) or 'none were needed'}", columns)
    nothing = "The argument has no elements, as declared." if 0 in row.shape and row.passed else Reason.named(x.reason).__doc__
    return "\n".join([*lines, *_wrapped(nothing or "", columns), *_wrapped(row.diagnosis, columns), ""])


def _wrapped(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, columns, initial_indent="  ", subsequent_indent="  ")
