"""Reasons in words: conventions at kinks, other functions, and everything that leaves a verdict undecided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.arrays import vector
from oracle.diagnosis.context import Context
from oracle.diagnosis.matching import explains
from oracle.diagnosis.view import view_of
from oracle.diagnosis.words import Array, against, at
from oracle.judging.comparison import reported_scale
from oracle.judging.error_budget import SAFETY, SAMPLED_SAFETY
from oracle.judging.evidence import BiasKind, Evidence
from oracle.judging.reasons import Reason
from oracle.judging.resolution import inner_dtype, resolution
from oracle.judging.verdict import Judgement
from oracle.measures import distance, fit_scale, largest
from oracle.pullback import Pullback
from oracle.spec import Flag

__all__ = ["BY_REASON", "another_function", "convention", "other_values", "unexplained"]

ROUGHLY = 1e-6
"""Of a difference of values: how much it may vary and still be called a constant. With much less, rounding of large values
hides the constant; with more, a small slope is called one."""


def _not_finite(e: Evidence, j: Judgement) -> str:
    bad = e.analytic[~np.isfinite(e.analytic)]
    what = "NaN" if np.isnan(bad).any() else "infinity"
    view = view_of(e, Context())
    known = view is not None and np.isfinite(view.truth[np.isin(view.index, j.contradicted)]).all()
    where = ", where the witnesses are finite" if known else ""
    return f"{what} in {bad.size} of {e.analytic.size} entries, first at {at(e, j.worst)}{where}"


def convention(e: Evidence, j: Judgement, context: Context) -> str:
    """Another value between the slopes of the two sides than the reference's."""
    left, right = _sides(e, j.worst)
    assert e.autodiff is not None
    assert j.worst is not None
    tied = _tied(e, j.contradicted, context)
    if tied is not None:
        ours, theirs = (", ".join(f"{g:.6g}" for g in gradient[tied][:4]) for gradient in (e.analytic, e.autodiff))
        return f"ties: {at(e, int(tied[0]))} and {tied.size - 1} more are equal; they get {ours}, by the reference {theirs}"
    return (
        f"kink: at {at(e, j.worst)} the slopes are {left:.6g} and {right:.6g}; "
        f"{e.analytic[j.worst]:.6g} lies between them, but the reference's convention is {e.autodiff[j.worst]:.6g}"
    )


def _tied(e: Evidence, contradicted: Array, context: Context) -> Array | None:
    """Equal elements among which another share of the same slope is dealt out, or all of it to each."""
    if context.forward is None or e.autodiff is None:
        return None
    x = context.forward.call.arguments[context.forward.leaf].ravel()
    for value in np.unique(x[contradicted]):
        tied = np.flatnonzero(x == value)
        tied = tied[np.isin(tied, e.estimate.index[e.estimate.kink])]
        total = float(e.autodiff[tied].sum())
        near = np.isclose(e.analytic[tied], total, rtol=1e-6, atol=0)
        shared = np.isclose(e.analytic[tied].sum(), total, rtol=1e-6, atol=0)
        if tied.size > 1 and total != 0 and (near.all() or shared):
            return tied
    return None


def _values(e: Evidence, j: Judgement) -> str:
    return "another function than the reference: the gradients agree, but the values differ (by a constant?)"


def other_values(y: Any, reference: Pullback | None) -> str:
    """The forward pass beside the reference's: by which factor or constant its value differs, or by how much and where."""
    assert reference is not None
    ours, theirs = vector(y), vector(reference.value)
    apart = distance(ours, theirs)
    worst = int(np.where(np.isnan(apart), np.inf, apart).argmax())
    fit = fit_scale(ours, theirs)
    difference = ours - theirs
    what = f"the values differ, most at number {worst} of {ours.size}: {against(ours[worst], theirs[worst])}"
    if ours.size > 1 and fit is not None and explains(fit.scale * theirs, ours, theirs, np.dtype(np.float64)):
        what += f"; ours is {fit.scale:.6g} times the reference's"
    elif ours.size > 1 and np.isfinite(difference).all() and np.ptp(difference) <= ROUGHLY * largest(difference):
        what += f"; ours is larger by the constant {difference.mean():.6g}"
    return f"another function than the reference: {what}"


def _not_the_forward_pass(e: Evidence, j: Judgement) -> str:
    return (
        "the gradient agrees with the reference, but it is not that of the forward pass: "
        "a straight-through gradient, or a forward pass that differs where the reference's values were not compared"
    )


def _wrong_formula(e: Evidence, j: Judgement) -> str:
    wrong = None if e.exact is None else e.exact.wrong
    if wrong is None:
        return ""
    truth = abs(float(e.estimate.value[e.estimate.index == wrong.entry][0]))
    size = f"{wrong.error / truth:.1e} of itself" if truth > 0 else f"{wrong.error:.1e}"
    return (
        f"not quite the derivative: evaluated without rounding, the backward pass is off by {size} at {at(e, wrong.entry)} "
        f"(a constant with too few digits, a small term?)"
    )


def _reference_contradicts(e: Evidence, j: Judgement) -> str:
    return (
        "the reference contradicts the gradient by less than the differences can resolve: "
        "more rounding than expected, or a small error"
    )


def _differences_contradict(e: Evidence, j: Judgement) -> str:
    return "the differences contradict both the gradient and the reference, by hardly more than their own error estimate"


def _reference_rounds(e: Evidence, j: Judgement) -> str:
    return (
        "the differences agree with the gradient and the reference does not, but the reference's own gradient moves as far "
        "when its arguments are rounded: it loses these digits itself (terms cancel; write the reference another way)"
    )


def _no_reference(e: Evidence, j: Judgement) -> str:
    return (
        "declared with NOT_THE_DERIVATIVE, so the finite differences cannot judge this gradient, and there is no reference: "
        "pass one, reference=, a function for JAX whose gradient is the intended one (jax.lax.stop_gradient, jax.custom_jvp)"
    )


def _step_below_ulp(e: Evidence, j: Judgement) -> str:
    where = int(np.flatnonzero(e.estimate.frozen)[0])
    return (
        f"step below one ULP: {e.estimate.frozen.sum()} of {e.estimate.index.size} elements do not move by a step of "
        f"{e.estimate.step[where]:.3g}, first {at(e, int(e.estimate.index[where]))}"
    )


def _uncertain(e: Evidence, j: Judgement) -> str:
    if e.values.overflow:
        return "the differences cannot decide: the value itself is not finite here (choose other arguments)"
    if e.values.varies:
        return "the differences cannot decide: the shape of the value depends on the data, and nearby it has another"
    where = np.flatnonzero(e.estimate.index == j.worst)
    if np.isnan(e.estimate.differences[where]).all():
        return (
            f"the differences cannot decide: at {at(e, j.worst)} the function has no value on one side (the end of its domain?)"
        )
    if e.exact is not None and j.worst in e.exact.entries:
        share = SAFETY / SAMPLED_SAFETY * float(e.estimate.uncertainty[where].max()) / (e.budget.scale or 1.0)
        moves = f"the exact derivative at {at(e, j.worst)} moves by {share:.0e} of the largest when the arguments are rounded"
        return f"nobody can decide: {moves}, so float64 holds no more of its digits"
    known = float(e.estimate.uncertainty[where].max(initial=np.inf if not where.size else 0.0))
    bar = (
        "it is unbounded" if not np.isfinite(known) else f"it is {known / (e.budget.scale or 1.0):.1e} of the gradient's scale"
    )
    why = "noise, a bend sharper than any step, or a slope that has no limit"
    return f"the differences cannot decide: at {at(e, j.worst)} their error estimate is too large: {bar} ({why})"


def _zero(e: Evidence, j: Judgement) -> str:
    return (
        "vacuous: the gradient is identically zero, so nothing was checked "
        "(choose other arguments, or pass flags={oracle.Flag.ZERO_GRADIENT} if that is right)"
    )


def _empty(e: Evidence, j: Judgement) -> str:
    return "vacuous: the argument has no elements, so nothing was checked"


def _rounding_only(e: Evidence, j: Judgement) -> str:
    return (
        "vacuous: the gradient is what rounding leaves when terms cancel, so nothing was checked "
        "(choose other arguments, or pass flags={oracle.Flag.ZERO_GRADIENT} if that is right)"
    )


def _infinite(e: Evidence, j: Judgement) -> str:
    if e.values.overflow:
        return f"the value is infinite here, and so is the slope at {at(e, j.worst)} (choose other arguments)"
    others = "the reference's is, too" if e.autodiff is not None else "the differences grow without end"
    return f"the slope at {at(e, j.worst)} is infinite ({others}): nothing can be compared (choose other arguments)"


def _below_roundoff(e: Evidence, j: Judgement) -> str:
    return (
        f"{at(e, j.worst)} differs from the differences' value, but by far less than the rounding of larger terms, and at no "
        "point nearer the origin was it large enough to be tested"
    )


def _unresolved(e: Evidence, j: Judgement) -> str:
    dtype, missed = inner_dtype(e) or e.parameter.dtype.name, resolution(e).of_factor or 0.0
    return (
        f"rounding in {dtype} hides this gradient: an error of {missed:.0%} would not have been noticed "
        "(verify it in a wider dtype, or at arguments where it is larger)"
    )


def _too_many_kinks(e: Evidence, j: Judgement) -> str:
    blocks = [
        block for block in (e.directions.along.blocks if e.directions.along is not None else ()) if block.blind and block.usual
    ]
    elements = sum(block.index.size for block in blocks)
    return (
        f"too many kinks: {elements} of {e.analytic.size} elements could not be tested one by one "
        "(give a reference for JAX, a larger limit, or a smaller argument)"
    )


def _of_ties(e: Evidence, j: Judgement) -> str:
    return (
        f"ties: {at(e, j.worst)} lies outside the slopes of the two sides, but is equal to other elements at kinks, with which "
        "it may share a slope, as sorted numbers do (give a reference to decide)"
    )


def _tied_slope(e: Evidence, j: Judgement) -> str:
    kinks = e.estimate.index[e.estimate.kink]
    return (
        f"ties: each of {kinks.size} elements such as {at(e, j.worst)} is at a kink and its entry lies between the slopes of "
        "the two sides, but together they are not: moved alike, they have another slope than the sum of their entries "
        "(each tied element gets the whole of what they should share?)"
    )


def _no_subgradient(e: Evidence, j: Judgement) -> str:
    kinks = e.estimate.index[e.estimate.kink]
    alone = f"the entry at {at(e, j.worst)} lies" if kinks.size == 1 else f"each of {kinks.size} entries at kinks lies"
    return (
        f"kink: {alone} between the slopes of the two sides, but together they are no gradient: where "
        f"several elements move at once, they are outside the slopes of both sides, by up to {e.kinks.excess:.2g} of these"
    )


def _biased(e: Evidence, j: Judgement) -> str:
    bias, dtype, name = e.directions.bias, e.parameter.dtype.name, e.parameter.name
    if bias is None:
        return ""
    half = bias.kind is BiasKind.FACTOR_OF_SMALLER_HALF
    what = f"the smaller half of the entries of {name} is" if half else f"{name} is"
    return (
        f"off in one direction: on average {what} {bias.size:.4g} times the true gradient, at points nearby, too; "
        f"rounding to {dtype} explains a factor of {1 + bias.allowed:.4g}"
    )


def _piled_up(e: Evidence, j: Judgement) -> str:
    bias, dtype = e.directions.bias, e.parameter.dtype.name
    if bias is None:
        return ""
    return (
        f"accumulated in {dtype}: the errors of {e.parameter.name} are {bias.size:.2g} times those of rounding the arguments "
        f"and the gradient once, at points nearby, too; a long sum in {dtype} loses so much (add up in float32, and round once)"
    )


def _wrong_stage(e: Evidence, j: Judgement) -> str:
    stage = e.directions.wrong_stage
    return f"made of a wrong cotangent: the stage {stage} hands one back that is not the derivative of that stage"


BY_REASON: dict[Reason, Callable[[Evidence, Judgement], str]] = {
    Reason.AGREES: lambda e, j: "",
    Reason.AT_KINK: lambda e, j: _at_kinks(e),
    Reason.WRONG_STAGE: _wrong_stage,
    Reason.BIASED: _biased,
    Reason.PILED_UP: _piled_up,
    Reason.NOT_FINITE: _not_finite,
    Reason.OTHER_VALUES: _values,
    Reason.NOT_THE_FORWARD_PASS: _not_the_forward_pass,
    Reason.WRONG_FORMULA: _wrong_formula,
    Reason.REFERENCE_CONTRADICTS: _reference_contradicts,
    Reason.DIFFERENCES_CONTRADICT: _differences_contradict,
    Reason.REFERENCE_ROUNDS: _reference_rounds,
    Reason.NO_REFERENCE: _no_reference,
    Reason.STEP_BELOW_ULP: _step_below_ulp,
    Reason.UNCERTAIN: _uncertain,
    Reason.UNRESOLVED: _unresolved,
    Reason.ZERO: _zero,
    Reason.ROUNDING_ONLY: _rounding_only,
    Reason.INFINITE: _infinite,
    Reason.BELOW_ROUNDOFF: _below_roundoff,
    Reason.TOO_MANY_KINKS: _too_many_kinks,
    Reason.TIED_SLOPE: _tied_slope,
    Reason.TIED: _of_ties,
    Reason.NO_SUBGRADIENT: _no_subgradient,
    Reason.ALMOST_A_SUBGRADIENT: _no_subgradient,
    Reason.EMPTY: _empty,
}
"""The words of every reason that needs no search for a cause."""


def _at_kinks(e: Evidence) -> str:
    if not e.estimate.kink.any():
        return ""
    first = int(e.estimate.index[e.estimate.kink.argmax()])
    left, right = _sides(e, first)
    return (
        f"{e.estimate.kink.sum()} of {e.estimate.index.size} elements at a kink; at {at(e, first)} the slopes are "
        f"{left:.6g} and {right:.6g}, the gradient is {e.analytic[first]:.6g}"
    )


def another_function(e: Evidence, j: Judgement) -> str:
    """The differences agree with the gradient, JAX with neither."""
    assert j.worst is not None
    assert e.autodiff is not None
    known = "values differ too" if e.values.differ else "values agree"
    fit = fit_scale(e.analytic, e.autodiff)
    fits = fit is not None and explains(fit.scale * e.autodiff, e.analytic, e.autodiff, e.parameter.dtype)
    times = f"; ours is {fit.scale:.6g} times the reference's gradient" if fit and fits else ""
    return (
        f"another function than the reference: the differences agree with the gradient, and the reference with neither "
        f"(at {at(e, j.worst)} {against(e.analytic[j.worst], e.autodiff[j.worst])}; {known}{times})"
    )


def unexplained(e: Evidence, j: Judgement) -> str:
    """How much is wrong and where, for want of a cause."""
    if j.worst is None:
        return f"no known cause; wrong along random directions of {e.parameter.name}, by {j.used:.3g} times what is allowed"
    looked_at = f"{e.estimate.index.size} entries"
    count, worst = j.contradicted.size, "the worst"
    if e.estimate.index.size < e.analytic.size:
        view = view_of(e, Context())
        if e.autodiff is not None and view is not None:  # the reference knows the others, too
            looked_at, count = f"{e.analytic.size} entries", int(np.count_nonzero(view.wrong))
            worst = f"the worst of the {e.estimate.index.size} that were differentiated"
        else:
            looked_at += f" looked at (of {e.analytic.size})"
    share = f"{count} of {looked_at} are wrong" if count else "wrong"
    scale = reported_scale(e)
    where = np.flatnonzero(e.estimate.index == j.worst)
    known: Array = e.estimate.value[where]
    if e.autodiff is not None and (Flag.NOT_THE_DERIVATIVE in e.parameter.flags or not where.size):
        known = e.autodiff[[j.worst]]
    error = abs(e.analytic[j.worst] - float(known[0])) / scale if known.size and scale else float("nan")
    return f"no known cause: {share}, {worst} at {at(e, j.worst)} by {error:.2e} of the largest entry"


def _sides(e: Evidence, index: int | None) -> tuple[float, float]:
    where = int(np.flatnonzero(e.estimate.index == index)[0])
    return float(e.estimate.left[where]), float(e.estimate.right[where])
