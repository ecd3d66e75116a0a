"""How one row's verdict arose: the entry that decided, its error budget, the comparisons, and the further measurements."""

from __future__ import annotations

import numpy as np

from oracle.differences.richardson import RATIO
from oracle.judging.comparison import Comparison
from oracle.judging.error_budget import REFERENCE_TERMS, TERMS, roundoff, truncation_and_noise
from oracle.judging.evidence import Evidence
from oracle.judging.reasons import Reason
from oracle.judging.reported_errors import values_at
from oracle.judging.verdict import Judgement
from oracle.measures import differences
from oracle.row import Explanation, Row

__all__ = ["explained", "explanation_of"]


def explanation_of(e: Evidence, judgement: Judgement, reason: Reason) -> Explanation:
    """The data of an explanation, which crosses between processes."""
    worst, budget = judgement.worst, e.budget
    shape = e.parameter.shape
    place = np.unravel_index(worst, shape) if worst is not None and shape else ()
    at = np.flatnonzero(e.estimate.index == worst)
    terms = {"r (against the differences)": float(roundoff(budget.scale, TERMS))}
    if e.autodiff is not None:
        terms["r (against the reference)"] = float(roundoff(budget.scale, REFERENCE_TERMS))
    terms |= {"c": budget.conditioning, "t": budget.dtype}
    comparisons: dict[str, tuple[float, float]] = {}
    steps: tuple[float, ...] = ()
    if at.size:
        row, c = int(at[0]), Comparison.of(e)
        stated = e.estimate.slope_uncertainty if e.estimate.kink[row] else e.estimate.uncertainty
        taken = np.flatnonzero(np.isfinite(e.estimate.differences[row]))
        steps = tuple(float(e.estimate.step[row] / RATIO**k) for k in taken)
        terms = {"4 u": float(truncation_and_noise(stated[row]))} | terms
        comparisons["gradient and differences"] = (float(c.error[row]), float(budget.against_differences(stated[row])))
        if e.autodiff is not None and not e.estimate.kink[row]:
            apart = differences(np.asarray(e.autodiff[worst]), np.asarray(e.estimate.value[row]))
            comparisons["differences and reference"] = (float(apart), float(budget.between_witnesses(stated[row])))
    if e.autodiff is not None and worst is not None:
        error = differences(e.analytic[[worst]], e.autodiff[[worst]])
        comparisons["gradient and reference"] = (float(error[0]), budget.against_reference)
    return Explanation(
        reason=reason.value,
        entry=""
        if worst is None
        else f"{e.parameter.name}[{', '.join(str(int(i)) for i in place)}]"
        if place
        else e.parameter.name,
        scale=budget.scale,
        **values_at(e, worst),
        steps=steps,
        terms=terms,
        comparisons=comparisons,
        measurements=e.measurements,
    )


TERMS_IN_WORDS = {
    "4 u": "truncation and noise: 4 times the error estimate of the differences",
    "r (against the differences)": "roundoff: 16 roundings of the largest term",
    "r (against the reference)": "roundoff between two routes: 1024 roundings of the largest term",
    "c": "conditioning: how far rounded arguments move the gradient (measured where a gradient is contradicted)",
    "t": "dtype: how much a dtype below float64 may lose",
}


def explained(row: Row) -> str:
    """The road to the verdict of a row, as lines of text."""
    x = row.exhibit.explanation if row.exhibit is not None else None
    head = f"{row.label}: {row.verdict}"
    if x is None:
        return f"{head}\n  decided before any gradient was compared: {row.diagnosis or row.evidence}\n"
    lines = [f"{head}, because: {x.reason}"]
    if x.entry:
        values = [f"{x.analytic:.17g} by your backward pass"]
        values += [] if x.numerical is None else [f"{x.numerical:.17g} by differences"]
        values += [] if x.autodiff is None else [f"{x.autodiff:.17g} by the reference"]
        lines += [f"  the entry that used most of its budget: {x.entry}", *(f"    {value}" for value in values)]
    else:
        lines += ["  no single entry decided"]
    if x.steps:
        lines += [f"  central differences at {len(x.steps)} steps from {x.steps[0]:.3g} to {x.steps[-1]:.3g}, extrapolated"]
    lines += [f"  error budget (largest term: {x.scale:.3g})"]
    lines += [f"    {size:9.2e}  {TERMS_IN_WORDS[name]}" for name, size in x.terms.items()]
    lines += ["  comparisons"]
    for name, (error, allowed) in x.comparisons.items():
        agree = "agree" if error <= allowed else "DIFFER"
        lines += [f"    {name}: {agree}, error {error:.2e}, allowed {allowed:.2e}"]
    lines += ["  further measurements: " + ("; ".join(x.measurements) or "none were needed")]
    meaning = Reason.named(x.reason).__doc__
    return "\n".join([*lines, f"  {meaning}", *([f"  {row.diagnosis}"] if row.diagnosis else [])]) + "\n"
