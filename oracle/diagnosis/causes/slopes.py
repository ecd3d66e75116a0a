"""Causes in which the slope of one function of the forward pass is wrong: 1 - y for 1 - y**2 of a tanh, 1 / y for 1 / (2 y).

The value of the function then moves by another amount: by the difference of both slopes times what enters it (see `held`).
Whole paths may also be scaled, or transposed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations, product
from typing import Any

import numpy as np

from oracle.arrays import quiet
from oracle.diagnosis.causes.paths import COUNTED
from oracle.diagnosis.matching import AGREE, matches_few
from oracle.diagnosis.sample import Sample
from oracle.diagnosis.screening import Screening, different_paths, gradient_holding, screened, silent_maxima, uses_in
from oracle.diagnosis.uses import Along, Ordered, Sloped, Use
from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array

__all__ = ["explains_slopes", "path_scaled_or_transposed", "slopes_of", "wrong_slope", "wrong_slope_in_words"]

HEADS = 3
"""The axes of an array that holds a head, a place and a feature, or more."""
ERF = "2 / sqrt(pi) * exp(-x**2)"
GELU = "(1 - tanh(2 / sqrt(pi) * (x + 0.08943 * x**3))**2) * 2 / sqrt(pi) * (1 + 0.26829 * x**2)"
"""The slope of the approximation of erf that the GELU by tanh uses: erf(x) for tanh(sqrt(2 / pi) (z + 0.044715 z^3)) at
z = sqrt(2) x."""

SLOPES: dict[tuple[str, int | None], tuple[str, ...]] = {
    ("tanh", None): ("1 - y**2", "1 - y", "1 + y**2", "y * (1 - y)", "1 - x**2", "1 - tanh(y)**2", "1 + 0 * x"),
    ("exp", None): ("y", "x", "1 + 0 * x", "x * y", "exp(y)", "exp(x - 1)"),
    ("expm1", None): ("y + 1", "y", "1 + 0 * x"),
    ("log", None): ("1 / x", "1 + 0 * x", "x", "y", "1 / y"),
    ("log1p", None): ("1 / (1 + x)", "1 / x", "1 + 0 * x"),
    ("sqrt", None): ("1 / (2 * y)", "1 / (2 * x)", "1 / x", "y / 2", "1 / (2 * sqrt(y))", "1 + 0 * x"),
    ("square", None): ("2 * x", "2 + 0 * x", "2 * y", "y"),
    ("sin", None): ("cos(x)", "y", "-y", "cos(y)", "1 + 0 * x"),
    ("cos", None): ("-sin(x)", "y", "-y", "-sin(y)", "1 + 0 * x"),
    ("arctan", None): (
        "1 / (1 + x**2)",
        "1 / (1 + x)",
        "1 / (1 - x**2)",
        "1 / sqrt(1 + x**2)",
        "1 / (1 + y**2)",
        "1 + 0 * x",
    ),
    ("erf", None): (ERF, "exp(-x**2)", "2 / sqrt(pi) * exp(-x**2 / 2)", "2 / sqrt(pi) * exp(-2 * x**2)", GELU, "1 + 0 * x"),
    ("multiply", 0): ("b", "a", "1 / b", "y"),
    ("multiply", 1): ("a", "b", "1 / a", "y"),
    ("divide", 0): ("1 / b", "b", "1 / b**2", "1 / a"),
    ("divide", 1): ("-a / b**2", "-a / b", "-1 / b**2", "1 / b", "1 / b**2", "-1 / b", "1 / a"),
    ("power", 0): ("b * a**(b - 1)", "a**(b - 1)", "b * a**b", "b * a**(b - 2)", "(b - 1) * a**(b - 1)", "b * a"),
}
"""The slope of each function of NumPy by one of its operands, and what is written for it by mistake.

x is the operand of a function of one, a and b are those of a function of two; y is the value. A constant slope has the shape
of x. Factors, signs and slopes of 0 are lost, scaled and reversed paths, which have causes of their own.
"""

NAMES = {"exp": np.exp, "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "sqrt": np.sqrt, "pi": np.pi}


def wrong_slope(v: View) -> Iterator[str]:
    """One function has another slope."""
    yield from screened(v, _wrong_slope)


def _wrong_slope(v: View, s: Sample, screening: Screening) -> Iterator[str]:
    for use in uses_in(v):
        for right, wrong, change in slopes_of(use):
            if explains_slopes(v, s, screening, {use.number: Sloped(use.value, change)}):
                yield wrong_slope_in_words(v, use, wrong, right, str(use))


def explains_slopes(v: View, s: Sample, screening: Screening, held: dict[int, Any]) -> bool:
    """Whether our gradient is that of the forward pass with these uses held: along one direction first, then entry by entry."""
    slope = screening.slope(held)
    if slope is None or not screening.resembles(slope):
        return False
    gradient = gradient_holding(s, held)
    return gradient is not None and matches_few(v, _corrected(v, s, gradient))


def _corrected(v: View, s: Sample, gradient: Array) -> Array:
    """The gradient without what the differences are off by, which is alike in that of the forward pass as it is."""
    corrected = gradient.copy()
    corrected[s.few] += v.truth[s.few_where] - s.here[s.few]
    return corrected


def slopes_of(use: Use) -> Iterator[tuple[str, str, Array]]:
    """The right slope, a wrong one that is no multiple of it, and by how much it is off at every entry."""
    formulas = SLOPES.get((use.function, use.position))
    if use.constant or formulas is None or (use.position is not None and use.other is None):
        return
    with quiet():
        operands = (use.value,) if use.position is None else (use.value, use.other)[:: -1 if use.position else 1]
        names = {**NAMES, "x": use.value, "a": operands[0], "b": operands[-1]}
        if use.function != "erf":
            names["y"] = getattr(np, use.function)(*operands)
        right, *slopes = (np.asarray(_evaluated(formula, names)) for formula in formulas)
        for wrong, slope in zip(formulas[1:], slopes, strict=True):
            fits = np.broadcast_shapes(slope.shape, right.shape, use.value.shape) == use.value.shape
            if fits and np.isfinite(slope).all() and np.isfinite(right).all() and _differs(slope, right):
                yield formulas[0], wrong, slope - right


def _differs(slope: Array, right: Array) -> bool:
    """Whether a slope is no multiple of the right one: those are paths that are scaled."""
    slope, right = np.broadcast_arrays(slope, right)
    ratio = slope[right != 0] / right[right != 0]
    return bool(slope[right == 0].any()) or (ratio.size > 0 and bool(np.ptp(ratio) > AGREE))


def _evaluated(formula: str, names: dict[str, Any]) -> Any:
    return eval(formula, {"__builtins__": {}}, names)  # noqa: S307 - the formulas are those of the table above


def wrong_slope_in_words(v: View, use: Use, wrong: str, right: str, where: str) -> str:
    """The sentence for a wrong formula of a slope in place of the right one."""
    letters = "x is what enters it" if use.position is None else "a and b are its operands"
    return (
        f"wrong slope: {v.name} is the gradient with {_shown(wrong)} for {_shown(right)}, the slope by {where} "
        f"({letters}, y is its value)"
    )


def _shown(formula: str) -> str:
    return "that of the tanh in an approximate GELU" if formula == GELU else formula.replace(" + 0 * x", "")


def path_scaled_or_transposed(v: View) -> Iterator[str]:
    """One path through the forward pass is counted a number of times, or with two axes exchanged."""
    yield from screened(v, _scaled_or_transposed)


def _scaled_or_transposed(v: View, s: Sample, screening: Screening) -> Iterator[str]:
    uses = uses_in(v)
    shapes = sorted({use.value.shape for use in uses if use.value.ndim >= HEADS})
    for use in uses:
        for words, changed in _rearranged(v, use, shapes):
            if explains_slopes(v, s, screening, {use.number: changed}):
                yield words
    maxima = silent_maxima(uses, screening)
    for use in uses:
        for axis in range(use.value.ndim) if use.function == "sum" and use.value.ndim > 1 else ():
            if explains_slopes(v, s, screening, {use.number: Along(use.value, axis, keeps=True, shares=True), **maxima}):
                yield f"another axis: {v.name} is the gradient with a sum along axis {axis} in the path through {use}"
    for path in different_paths(v, screening):
        times = 1 + (screening.ours - screening.truth) / path.slope
        without = gradient_holding(s, path.held)
        if without is None:
            continue
        # One slope along a direction is less exact than the entries in a narrow dtype: a whole number that they allow is meant.
        for number in (float(np.round(times)), times):
            if number != 1 and matches_few(v, without + number * (s.here - without)):
                scaled = f"one path scaled: {{}} counts the path through {{}} {number:.6g} times"
                words = COUNTED.get(int(number), scaled) if number.is_integer() else scaled
                yield words.format(v.name, path.use)
                break


def _rearranged(v: View, use: Use, shapes: Sequence[tuple[int, ...]]) -> Iterator[tuple[str, Ordered | Along]]:
    """A use with its entries in another order, or summed along another axis, and what is said of that."""
    if use.constant:
        return
    for words, order in _orders(use.value.shape):
        said = f"one path {words}: {v.name} takes the path through {use} with its entries in that order"
        yield said, Ordered(use.value, order)
    for words, order in _reshaped(use.value.shape, shapes):
        yield f"one path in another order: {v.name} takes the path through {use} {words}", Ordered(use.value, order)
    if use.function in {"sum", "mean"}:
        for axis, keeps in product(range(use.value.ndim), (False, True)):
            yield f"another axis: {v.name} is the gradient with axis {axis} for that of {use}", Along(use.value, axis, keeps)


def _reshaped(shape: tuple[int, ...], shapes: Sequence[tuple[int, ...]]) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    """Reshapes without the exchange of two axes that belongs to them, or with one too many, as where heads are merged."""
    for heads in shapes:
        for a, b in combinations(range(len(heads)) if np.prod(heads) == np.prod(shape) else (), 2):
            axes = list(range(len(heads)))
            axes[a], axes[b] = b, a
            turned = tuple(heads[axis] for axis in axes)
            words = f"as if a reshape from {turned} to {heads} exchanged axes {a} and {b} (are heads merged or split so?)"
            if 1 in (heads[a], heads[b]):
                continue
            if len(shape) < len(heads):
                yield words, partial(_through, first=turned, axes=axes, last=shape)
            elif shape == heads:
                yield words, partial(_through, first=shape, axes=axes, last=shape)
            elif shape == (*heads[:-2], heads[-1], heads[-2]):  # the keys of an attention are transposed
                yield words, partial(_through, first=heads, axes=axes, last=heads, turned=True)


def _through(t: Array, *, first: Sequence[int], axes: Sequence[int], last: Sequence[int], turned: bool = False) -> Array:
    """An array in its first shape, with other axes, in its last shape; with its last two axes exchanged if `turned`."""
    there = np.swapaxes(t, -1, -2) if turned else t
    back = there.reshape(first).transpose(axes).reshape(last)
    return np.swapaxes(back, -1, -2) if turned else back


def _orders(shape: tuple[int, ...]) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    """Exchanges of two equally long axes, and each axis reversed."""
    for a, b in combinations(range(len(shape)), 2):
        if shape[a] == shape[b] > 1:
            axes = "" if len(shape) == len((a, b)) else f" (axes {a} and {b})"
            yield f"transposed{axes}", partial(np.swapaxes, axis1=a, axis2=b)
    for axis, n in enumerate(shape):
        if n > 1:
            yield f"reversed along axis {axis}", partial(np.flip, axis=axis)
