"""Causes that change all entries alike: a factor, or one function of each entry of the true gradient."""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose, sqrt

import ml_dtypes
import numpy as np

from oracle.diagnosis.causes.known_constants import EXACTLY, named_constant
from oracle.diagnosis.jacobian import leaves_in
from oracle.diagnosis.matching import AGREE, explained_by, matches
from oracle.diagnosis.sample import Sample, gradient_with
from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array, for_dy, per_unit
from oracle.measures import EPSILON, eps_of, fit_scale, largest
from oracle.streams import Stream

__all__ = [
    "constant_in",
    "explain_factor",
    "factor",
    "limited",
    "narrow",
    "noise_of_a_narrow_float",
    "number",
    "signs_lost",
    "truncated",
    "zero",
]

VAGUE = 1e-5
"""The relative error from which on a fitted number gets no name. Larger, and some constant comes as close by chance; smaller,
and factors in narrow dtypes get no names."""
CHANGED = 8
"""Times the error of the differences that an error must change by at the nearby point. With 2, the noise of a function that
computes in float32 counts as a change; with more, noise just above it gets no cause."""
NEARBY = 2.0**-16
"""The distance of a nearby point, as a fraction of each entry. It is above the rounding of float32, so rounding errors change
there, and small for a smooth function, so the error of a wrong formula does not."""

PLAIN = [(-1.0, "the sign is wrong"), (2.0, "counted twice, or a 1/2 forgotten"), (0.5, "a 2 forgotten, or halved twice")]
"""The factors that mistakes cause most often."""
MOST_OF_IT = 0.2
"""The share of the error that a factor may leave if it leaves less than the tolerance of each entry. Larger, and errors that
are hardly larger than the tolerance look like a factor; smaller, and a factor in 16 bits gets no name."""
SEVERAL = 5
"""The fewest entries that such a factor must move by more than their tolerance."""
ROUGH = 0.05
"""The relative error from which on not even these are named. With 0.2, a factor of 1.7 would be named 2."""
FLOATS = ("float32", "float16", "bfloat16")
"""The narrower floats, the finest first."""


def zero(v: View) -> Iterator[str]:
    """The backward pass returns zeros."""
    if not v.ours.any() and v.wrong.any():
        yield "the gradient is zero everywhere, but the true one is not: nothing flows back"


def truncated(v: View) -> Iterator[str]:
    """The gradient was written into an array of integers."""
    whole = v.ours.any() and np.isfinite(v.ours).all() and np.array_equal(v.ours, np.trunc(v.ours))
    if whole and not np.array_equal(v.truth, np.trunc(v.truth)) and np.array_equal(v.ours, np.trunc(v.truth + 0.0)):
        yield "integer dtype: every entry is the true one truncated to a whole number (was it written into an integer array?)"


def factor(v: View) -> Iterator[str]:
    """The gradient is one number times the true one."""
    if v.e.analytic.size == 1 and v.truth.any():
        yield from list(_factor_of_one_number(v)) or _measured_factor(v)
        return
    fit = fit_scale(v.ours, v.truth)
    fits = fit is not None and np.count_nonzero(v.truth) >= 2
    if fit is None or not fits or not (matches(v, fit.scale * v.truth) or _within_tolerance(v, fit.scale)):
        yield from _measured_factor(v)
        return
    within = max(AGREE, eps_of(v.e.parameter.dtype))
    named = explain_factor(fit.scale, v.context.sizes, within, v.context.numbers)
    named = named or plain_factor(fit.scale, max(within, _uncertainty(v))) or constant_in(v, fit.scale)
    everywhere = "everywhere" if v.whole else f"in all {v.index.size} entries that were tested (of {v.e.analytic.size})"
    yield f"constant factor: {v.name} is {number(fit.scale)} times the true gradient {everywhere}" + (
        f": {named}" if named else ""
    )


def _factor_of_one_number(v: View) -> Iterator[str]:
    """One number is a multiple of any other, so only the factors are named that mistakes cause most often, and exactly."""
    scale = float(v.ours[0] / v.truth[0])
    within = max(AGREE, eps_of(v.e.parameter.dtype), float(v.tolerance[0] / abs(v.truth[0])))
    for value, words in [*PLAIN, *_counts(v.context.sizes)] if within < VAGUE else ():
        if abs(scale - value) <= within * abs(value):
            yield f"constant factor: {v.name} is {number(scale)} times the true gradient: {words}"


def _measured_factor(v: View) -> Iterator[str]:
    """The factor that the mean over points nearby has measured, in 16 bits."""
    measured = v.e.directions.factor
    if measured is not None:
        named = plain_factor(measured.size, measured.allowed)
        yield f"constant factor: {v.name} is {measured.size:.4g} times the true gradient, on average over points nearby" + (
            f": {named}" if named else ""
        )


def _within_tolerance(v: View, scale: float) -> bool:
    """Whether a factor explains every entry to within its tolerance, and most of the error: what rounding to 16 bits leaves."""
    left, seen = v.ours - scale * v.truth, np.abs((scale - 1) * v.truth) > v.tolerance
    small = np.linalg.norm(left) < MOST_OF_IT * np.linalg.norm(v.error)
    return bool(small and np.count_nonzero(seen) >= SEVERAL and (np.abs(left) <= v.tolerance).all())


def _uncertainty(v: View) -> float:
    """How far the fitted factor may be off, as a fraction of it: every true number errs by its tolerance, all to one side."""
    return float(np.abs(v.truth) @ v.tolerance / (v.truth @ v.truth))


def constant_in(v: View, scale: float, where: Array | None = None) -> str:
    """`2.302585 is ln 10` if the factor fitted to the entries, or to those in `where`, is a known constant; else empty.

    The constant must agree with the factor as exactly as the factor fits the entries.
    """
    where = np.ones(v.ours.shape, bool) if where is None else where
    fitted = scale * v.truth[where]
    off = eps_of(v.e.parameter.dtype) + float(np.linalg.norm(v.ours[where] - fitted) / np.linalg.norm(fitted))
    name = named_constant(scale, max(EXACTLY, 2 * off)) if 2 * off < VAGUE else ""
    return f"{scale:.7g} is {name}" if name else ""


def number(scale: float) -> str:
    """A factor with six digits, or `(1 - 3.2e-09)` if it is nearly 1."""
    return f"{scale:.6g}" if abs(scale - 1) > 1e-5 else f"(1 {'-' if scale < 1 else '+'} {abs(scale - 1):.3g})"


def explain_factor(scale: float, sizes: dict[str, int], within: float = AGREE, numbers: dict[str, float] | None = None) -> str:
    """The mistakes that usually cause this factor; empty if none is known.

    A factor may have several meanings: 2 may be a forgotten half, the root of 4 or the inverse of a keyword. The first one of
    each kind is named.
    """
    kinds = _meanings(sizes, numbers or {})
    for size, before in ((scale, ""), (-scale, "the sign is wrong, and ")):
        means = [
            next((words for value, words in kind if abs(size - value) < within * abs(value) and (value > 0 or not before)), "")
            for kind in kinds
        ]
        if any(means):
            return before + "; or ".join(words for words in means if words)
    return ""


def plain_factor(scale: float, within: float) -> str:
    """The mistake that causes a factor of -1, 2 or 1/2, for a factor that is known to this fraction of itself; else empty."""
    for value, words in PLAIN if within < ROUGH else ():
        if abs(scale - value) <= within * abs(value):
            return words
    return ""


def _meanings(sizes: dict[str, int], numbers: dict[str, float]) -> list[list[tuple[float, str]]]:
    """Factors and the mistakes that cause them, kind by kind."""
    counts = _counts(sizes)
    counts += [(1.0 / n**2, f"divided by the {name} ({n}) twice too often") for name, n in sizes.items() if n > 1]
    keywords: list[tuple[float, str]] = []
    for name, x in numbers.items():
        for value, words in ((x, f"{name} ({x:g})"), (1 - x, f"1 - {name} ({1 - x:g})")):
            if value != 0 and not isclose(abs(value), 1.0):
                keywords += [(value, f"multiplied by {words} once too often"), (1 / value, f"not multiplied by {words}")]
        if 0 < x < 1:
            keywords += [((1 - x) / x, f"divided by {name} ({x:g}) instead of 1 - {name}")]
            keywords += [(x / (1 - x), f"multiplied by {name} ({x:g}) instead of 1 - {name}")]
    roots: list[tuple[float, str]] = []
    degrees: list[tuple[float, str]] = []
    for name, n in sizes.items():
        if n > 2:
            roots += [(sqrt(n), f"not divided by the square root of the {name} ({n})")]
            roots += [(1 / sqrt(n), f"divided by the square root of the {name} ({n}) once too often")]
            degrees += [(n / (n - 1), f"divided by {n - 1} instead of the {name} ({n})")]
            degrees += [((n - 1) / n, f"divided by the {name} ({n}) instead of {n - 1}")]
            degrees += [(sqrt((n - 1) / n), f"a standard deviation over {n - 1} instead of the {name} ({n})")]
            degrees += [(sqrt(n / (n - 1)), f"a standard deviation over the {name} ({n}) instead of {n - 1}")]
    return [PLAIN, counts, keywords, roots, degrees]


def _counts(sizes: dict[str, int]) -> list[tuple[float, str]]:
    """The factors of sums that should be means, and the reverse."""
    counts: list[tuple[float, str]] = []
    for name, n in sizes.items():
        if n > 1:
            counts += [(float(n), f"not divided by the {name} ({n})"), (1.0 / n, f"divided by the {name} ({n}) once too often")]
    return counts


def signs_lost(v: View) -> Iterator[str]:
    """The gradient is the absolute value of the true one, or a multiple of its sign."""
    if v.index.size < 3:
        return
    if explained_by(v, np.abs(v.truth)):
        yield f"sign lost: {v.name} is the absolute value of the true gradient"
    fit = fit_scale(v.ours, np.sign(v.truth))
    if fit is not None and explained_by(v, fit.scale * np.sign(v.truth)):
        times = f"{fit.scale / abs(v.context.unit):.6g} times"  # both are divided by dy, whose sign cancels
        yield f"size lost: {v.name} is {times} the sign of the true gradient{per_unit(v.context.unit)}"


def limited(v: View) -> Iterator[str]:
    """The gradient is the true one clipped at one limit or two."""
    if v.index.size < 5 or np.count_nonzero(v.wrong) < 2:
        return
    low, high = (float(edge) for edge in (v.ours.min(), v.ours.max()))
    if low == high:
        return  # a constant may have many causes
    for a, b in ((low, high), (-np.inf, high), (low, np.inf)):
        # A limit that a single entry has reached looks like a single wrong entry.
        reached = [np.count_nonzero(v.ours == limit) for limit in (a, b) if np.isfinite(limit)]
        if min(reached) > 1 and matches(v, np.clip(v.truth, a, b)):
            note = for_dy(v.context.unit)
            if np.isfinite(a + b):
                yield f"clipped: {v.name} is the true gradient clipped to the range from {a:.6g} to {b:.6g}{note}"
            elif a == 0 or b == 0:
                sign, kept = ("negative", "positive") if a == 0 else ("positive", "negative")
                yield f"clipped: {v.name} is zero where the true gradient is {sign}, and right where it is {kept}{note}"
            else:
                side, limit = ("least", a) if np.isfinite(a) else ("most", b)
                yield f"clipped: {v.name} is the true gradient, but at {side} {limit:.6g}{note}"


def narrow(v: View) -> Iterator[str]:
    """Every entry is a number of a narrower float, and its error is the rounding of that float."""
    if v.index.size < 2:
        return
    for name in FLOATS:
        if EPSILON[name] <= eps_of(v.e.parameter.dtype) or not _are_numbers_of(name, v.ours):
            continue
        if name == "float16" and _are_numbers_of("bfloat16", v.ours) and _error_exceeds_rounding_to(name, v):
            continue  # within its range, a bfloat16 number is a float16 number, too
        if (np.abs(v.error) <= 8 * EPSILON[name] * np.abs(v.truth)).all():
            yield f"computed in {name}: every entry of {v.name} is a {name} number within rounding of the true one"


def _are_numbers_of(name: str, numbers: Array) -> bool:
    with np.errstate(over="ignore"):
        return np.array_equal(numbers.astype(getattr(ml_dtypes, name, name)).astype(np.float64), numbers)


def _error_exceeds_rounding_to(name: str, v: View) -> bool:
    """Whether some entry is farther from the true one than a single rounding to this float moves it."""
    return bool((np.abs(v.error) > EPSILON[name] / 2 * np.abs(v.truth) + v.tolerance).any())


def noise_of_a_narrow_float(v: View) -> Iterator[str]:
    """The errors are as large as the rounding of a narrower float, and change from point to point as rounding does."""
    size = largest(v.truth)
    nonzero = np.abs(v.truth) > EPSILON["float16"] * size
    if size == 0 or nonzero.sum() < 4:
        return
    off = np.abs(v.error)[nonzero] / np.abs(v.truth)[nonzero]
    for name, known_as in (("float32", "float32"), ("float16", "16 bits")):  # bfloat16 has errors of that size, too
        eps = EPSILON[name]
        typical = eps / 64 < np.median(off) < 4 * eps and largest(v.error) < 32 * eps * size
        if eps > eps_of(v.e.parameter.dtype) and typical and v.wrong[nonzero].mean() > 0.5 and _jitters(v):
            yield (
                f"computed in {known_as}: {v.name} is right only to that precision "
                f"(errors up to {largest(v.error) / size:.1e} of the largest entry, which change at a nearby point)"
            )


def _jitters(v: View) -> bool:
    """Whether the errors change at a nearby point. Rounding errors do, and the errors of a wrong formula do not.

    The gradient there is known by differences only, whose own error must be smaller than the change. At the given point that
    error shows.
    """
    if v.sample is None:
        return False
    few = v.sample.few
    nearby, error = _error_nearby(v.sample), v.error[v.sample.few_where]
    of_differences = np.linalg.norm(v.sample.here[few] - v.truth[v.sample.few_where])
    return nearby is not None and bool(
        np.linalg.norm(nearby[few] - error) > max(0.3 * np.linalg.norm(error), CHANGED * of_differences)
    )


def _error_nearby(sample: Sample) -> Array | None:
    """The error of our pullback at a point so near that a wrong formula has the same error there."""
    generator = np.random.default_rng(Stream.NEARBY)
    leaves, structure = leaves_in(sample.forward.call.primals)
    point = structure.unflatten([a * (1 + NEARBY * generator.choice([-1.0, 1.0], a.shape)) for a in leaves])
    there = gradient_with(sample, point, sample.forward.call.options)
    ours = None if there is None else sample.forward.pull(point)
    return None if ours is None else ours[sample.picked] - there
