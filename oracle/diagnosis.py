"""What is probably wrong, with the evidence: the first cause, in this order, that explains what was seen.

The order goes from what is certain to what is fitted. A gradient that is not finite, integer, or rounded to integers is so
whatever else it is. A convention at a kink and another function are verdicts already. A cotangent that is ignored explains
any factor, so it comes before factors; a transposition comes before a factor too, since a symmetric tensor would pass as
both. Then a constant factor, then what only parts of the tensor show: one sample of the batch, one element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.measures import eps_of, fit_scale, largest
from oracle.verdict import Evidence, Judgement

__all__ = ["Situation", "diagnose", "explain_factor", "shape_cause"]

Array = NDArray[Any]

LEFT = 1e-3  # a cause explains an error if it leaves less than this share of it
AGREE = 1e-6  # how exactly a fitted factor must be a known number


@dataclass(frozen=True)
class Situation:
    """What causes may look at beside the evidence. The gradients under other cotangents are computed only when asked for."""

    sizes: dict[str, int] = field(default_factory=dict)
    """Named numbers that a gradient may be multiplied or divided by: `batch`, `outputs`..."""
    ignores_cotangent: bool = False
    gradient_of_sum: Callable[[], Array | None] = lambda: None
    """The true gradient if the cotangent were all ones."""
    gradient_of_sample: Callable[[int], Array | None] = lambda i: None
    """The true gradient if only sample i of the batch counted."""
    samples: int = 0


def diagnose(e: Evidence, judgement: Judgement, situation: Situation) -> str:
    """The cause in words. Empty for a pass without anything to say."""
    said = _BY_REASON.get(judgement.reason)
    if said is not None:
        return said(e, judgement)
    witness = _witness(e)
    if judgement.reason in ("pullback", "along", "kink") and witness is not None:
        for cause in _CAUSES:
            found = cause(e, witness, situation)
            if found:
                return found
    if judgement.reason == "another-function":
        return _another_function(e, judgement, witness)
    return _unexplained(e, judgement)


def _witness(e: Evidence) -> Array | None:
    """The gradient to compare with, whole: JAX's, or the differences' where every element was taken."""
    if e.autodiff is not None:
        return e.autodiff
    if e.estimate.index.size == e.analytic.size:
        return e.estimate.value
    return None


# ----------------------------------------------------------------------------------- said by the verdict itself


def _not_finite(e: Evidence, j: Judgement) -> str:
    bad = e.analytic[~np.isfinite(e.analytic)]
    what = "NaN" if np.isnan(bad).any() else "infinity"
    witness = _witness(e)
    known = witness is not None and np.isfinite(witness[j.contradicted]).all()
    where = ", where the witnesses are finite" if known else ""
    return f"{what} in {bad.size} of {e.analytic.size} entries, first at {_at(e, j.worst)}{where}"


def _convention(e: Evidence, j: Judgement) -> str:
    left, right = _sides(e, j.worst)
    assert e.autodiff is not None
    assert j.worst is not None
    return (
        f"kink: at {_at(e, j.worst)} the slopes are {left:.6g} and {right:.6g}; "
        f"{e.analytic[j.worst]:.6g} lies between them, but the reference's convention is {e.autodiff[j.worst]:.6g}"
    )


def _values(e: Evidence, j: Judgement) -> str:
    return "another function than the reference: the gradients agree, but the values differ (by a constant?)"


def _not_the_forward_pass(e: Evidence, j: Judgement) -> str:
    return (
        "the gradient agrees with the reference, but it is not that of the forward pass: "
        "a straight-through gradient, or a forward pass that differs where the reference's values were not compared"
    )


def _jax_contradicts(e: Evidence, j: Judgement) -> str:
    return "JAX contradicts the gradient by less than the differences can see: more rounding than expected, or a small error"


def _differences_contradict(e: Evidence, j: Judgement) -> str:
    return "the differences contradict both the gradient and JAX, but hardly more than they are uncertain"


def _frozen(e: Evidence, j: Judgement) -> str:
    where = int(np.flatnonzero(e.estimate.frozen)[0])
    return (
        f"step below one ULP: {e.estimate.frozen.sum()} of {e.estimate.index.size} elements do not move by a step of "
        f"{e.estimate.step[where]:.3g}, first {_at(e, int(e.estimate.index[where]))}"
    )


def _uncertain(e: Evidence, j: Judgement) -> str:
    known = e.estimate.uncertainty[np.flatnonzero(e.estimate.index == j.worst)]
    digits = "nothing" if not np.isfinite(known).all() else f"it only to {float(known[0]) / (e.scale or 1.0):.1e} of its scale"
    return f"the differences cannot tell: at {_at(e, j.worst)} they know {digits} (noise, or a bend sharper than any step)"


def _zero(e: Evidence, j: Judgement) -> str:
    return "vacuous: the gradient is identically zero, so nothing was checked (declare it, or choose other arguments)"


def _empty(e: Evidence, j: Judgement) -> str:
    return "vacuous: the argument has no elements, so nothing was checked"


_BY_REASON: dict[str, Callable[[Evidence, Judgement], str]] = {
    "": lambda e, j: _at_kinks(e),
    "not-finite": _not_finite,
    "convention": _convention,
    "values": _values,
    "not-the-forward-pass": _not_the_forward_pass,
    "jax-contradicts": _jax_contradicts,
    "differences-contradict": _differences_contradict,
    "frozen": _frozen,
    "uncertain": _uncertain,
    "zero": _zero,
    "empty": _empty,
}


def _at_kinks(e: Evidence) -> str:
    if not e.estimate.kink.any():
        return ""
    first = int(e.estimate.index[e.estimate.kink.argmax()])
    left, right = _sides(e, first)
    return (
        f"{e.estimate.kink.sum()} of {e.estimate.index.size} elements at a kink; at {_at(e, first)} the slopes are "
        f"{left:.6g} and {right:.6g}, the gradient is {e.analytic[first]:.6g}"
    )


# ------------------------------------------------------------------------------------------ causes of a wrong pullback


def _truncated(e: Evidence, witness: Array, s: Situation) -> Iterator[str]:
    whole = e.analytic.any() and np.isfinite(e.analytic).all() and np.array_equal(e.analytic, np.trunc(e.analytic))
    if whole and not np.array_equal(witness, np.trunc(witness)) and np.array_equal(e.analytic, np.trunc(witness + 0.0)):
        yield "integer dtype: every entry is the true one truncated to a whole number; an integer array on the way?"


def _ignored_cotangent(e: Evidence, witness: Array, s: Situation) -> Iterator[str]:
    if s.ignores_cotangent:
        ones = s.gradient_of_sum()
        as_sum = ones is not None and _explains(ones, e.analytic, witness, e.dtype)
        yield "cotangent ignored: bwd(2 dy) is bwd(dy)" + ("; this is the gradient of the sum of the outputs" if as_sum else "")


def _transposed(e: Evidence, witness: Array, s: Situation) -> Iterator[str]:
    if len(e.shape) < 2 or len(e.shape) > 4:
        return
    ours, theirs = e.analytic.reshape(e.shape), witness.reshape(e.shape)
    for axes in permutations(range(len(e.shape))):
        if axes == tuple(range(len(e.shape))):
            continue
        turned = theirs.transpose(axes)
        if _explains(turned.ravel(), ours.ravel(), witness, e.dtype):
            how = "transposed" if len(e.shape) == 2 else f"its axes are permuted as {axes}"
            yield f"{how}: the entries are the true ones in another order" + (
                "" if turned.shape == e.shape else f", those of shape {turned.shape} read as {e.shape}"
            )
            return


def _factor(e: Evidence, witness: Array, s: Situation) -> Iterator[str]:
    fit = fit_scale(e.analytic, witness)
    if fit is None or np.count_nonzero(witness) < 2 or not _explains(fit.scale * witness, e.analytic, witness, e.dtype):
        return
    # Everywhere, not only where the tensor is large: each entry that a factor would change by more than is uncertain.
    blurred = e.allowance.autodiff + (4 * largest(e.estimate.uncertainty) if e.autodiff is None else 0.0)
    changed = np.abs((fit.scale - 1) * witness) > blurred
    if (np.abs(e.analytic - fit.scale * witness) > np.abs(e.analytic - witness))[changed].any():
        return
    named = explain_factor(fit.scale, s.sizes, max(AGREE, eps_of(e.dtype)))
    shown = f"{fit.scale:.6g}" if abs(fit.scale - 1) > 1e-5 else f"1 {fit.scale - 1:+.3g}"
    yield f"constant factor: {e.parameter} is {shown} times the true gradient everywhere (R2 = {fit.r2:.6f})" + (
        f": {named}" if named else ""
    )


def explain_factor(scale: float, sizes: dict[str, int], within: float = AGREE) -> str:
    """What a constant factor usually means; empty if it means nothing known."""
    known = [(-1.0, "the sign is wrong"), (2.0, "counted twice, or a 1/2 forgotten"), (0.5, "a 2 forgotten, or halved twice")]
    for name, n in sizes.items():
        if n > 1:
            known += [(float(n), f"not divided by the {name} ({n})"), (1.0 / n, f"divided by the {name} ({n}) once too often")]
            known += [(1.0 / n**2, f"divided by the {name} ({n}) twice too often")]
    for value, words in known:
        if abs(scale - value) < within * abs(value):
            return words
        if value > 0 and abs(scale + value) < within * value:
            return f"the sign is wrong, and {words}"
    return ""


def _one_sample(e: Evidence, witness: Array, s: Situation) -> Iterator[str]:
    if s.samples < 2:
        return
    for i, name in ((0, "first"), (s.samples - 1, "last")):
        alone = s.gradient_of_sample(i)
        if (
            alone is not None
            and alone.shape == e.analytic.shape
            and alone.any()
            and _explains(alone, e.analytic, witness, e.dtype)
        ):
            yield f"batch sum missing: this is the gradient of the {name} of {s.samples} samples alone"
            return


def _one_element(e: Evidence, witness: Array, s: Situation) -> Iterator[str]:
    wrong = np.flatnonzero(np.abs(e.analytic - witness) > e.allowance.autodiff)
    if wrong.size == 1 and e.analytic.size > 1:
        i = int(wrong[0])
        factor = f", {e.analytic[i] / witness[i]:.12g} times the true one" if witness[i] != 0 else ""
        yield f"a single entry is wrong: {_at(e, i)} is {e.analytic[i]:.17g} instead of {witness[i]:.17g}{factor}"


def _as_if(function: Callable[[Evidence, Array, Situation], Iterator[str]]) -> Callable[[Evidence, Array, Situation], str]:
    return lambda e, witness, s: next(function(e, witness, s), "")


def _all_zero(e: Evidence, witness: Array, s: Situation) -> Iterator[str]:
    if not e.analytic.any() and witness.any():
        yield "the gradient is zero everywhere, the true one is not: nothing flows back"


_CAUSES = [_as_if(f) for f in (_all_zero, _truncated, _ignored_cotangent, _transposed, _factor, _one_sample, _one_element)]


def shape_cause(found: tuple[int, ...], expected: tuple[int, ...], batch: int) -> str:
    """What a cotangent of the wrong shape suggests."""
    if len(found) == len(expected) and sorted(found) == sorted(expected):
        why = ": transposed?"
    elif len(found) == len(expected) + 1 and found[1:] == expected and found[0] == batch:
        why = f": batch sum missing (one gradient for each of {batch} samples)"
    elif len(found) > len(expected) and found[len(found) - len(expected) :] == expected:
        kept = found[: len(found) - len(expected)] == (1,) * (len(found) - len(expected))
        why = ": a dimension of size 1 too many (keepdims?)" if kept else ": not summed back over the broadcast dimensions"
    else:
        why = ""
    return f"the cotangent has shape {found}, the argument {expected}{why}"


def _another_function(e: Evidence, j: Judgement, witness: Array | None) -> str:
    assert j.worst is not None
    assert e.autodiff is not None
    known = "values differ too" if e.value_error is not None and not e.value_error <= 1 else "values agree"
    fit = fit_scale(e.analytic, e.autodiff)
    fits = fit is not None and _explains(fit.scale * e.autodiff, e.analytic, e.autodiff, e.dtype)
    times = f"; ours is {fit.scale:.6g} times the reference's gradient" if fit and fits else ""
    return (
        f"another function than the reference: the differences agree with the gradient, JAX with neither "
        f"(at {_at(e, j.worst)} {e.analytic[j.worst]:.6g} against {e.autodiff[j.worst]:.6g}; {known}{times})"
    )


def _unexplained(e: Evidence, j: Judgement) -> str:
    if j.worst is None:
        return f"no known cause; wrong along random directions of {e.parameter}, by {j.used:.3g} times what is allowed"
    share = f"{j.contradicted.size} of {e.estimate.index.size} entries are wrong" if j.contradicted.size else "wrong"
    scale = largest(e.analytic, e.autodiff) or e.scale
    where = np.flatnonzero(e.estimate.index == j.worst)
    error = abs(e.analytic[j.worst] - float(e.estimate.value[where[0]])) / scale if where.size and scale else float("nan")
    return f"no known cause: {share}, the worst at {_at(e, j.worst)} by {error:.2e} of the largest entry"


def _explains(supposed: Array, ours: Array, witness: Array, dtype: np.dtype[Any]) -> bool:
    """Whether a supposed gradient lies so much nearer to ours than the true one that it leaves next to nothing to explain."""
    size = largest(ours, witness, supposed)
    if size == 0 or not (np.isfinite(ours).all() and np.isfinite(supposed).all()):
        return False
    left, error = np.linalg.norm((ours - supposed) / size), np.linalg.norm((ours - witness) / size)
    return bool(left < max(LEFT, eps_of(dtype)) * error)


def _sides(e: Evidence, index: int | None) -> tuple[float, float]:
    where = int(np.flatnonzero(e.estimate.index == index)[0])
    return float(e.estimate.left[where]), float(e.estimate.right[where])


def _at(e: Evidence, index: int | None) -> str:
    place: Sequence[Any] = np.unravel_index(index, e.shape) if index is not None and e.shape else ()
    return f"{e.parameter}[{', '.join(str(int(i)) for i in place)}]" if place else e.parameter
