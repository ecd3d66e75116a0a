"""The rounding noise of each output of a function at a point, measured from difference tables.

Differences of order 4 to 8 over equally spaced points are free of the smooth part and amplify noise by a known factor
(Hamming; More and Wild, "Estimating computational noise", 2011). Where an output has only whole multiples of some number, such
as a count or a float32 number, half of that quantization step is its noise.
"""

from __future__ import annotations

from math import comb
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import RAISED, quiet, size_of, vector

__all__ = ["TABLES", "Point", "output_noise", "significand_bits"]

Array = NDArray[Any]

# Of the displacements that measure noise, in units of each element: some float32 numbers; less; and what moves all values.
SPACINGS = (2.0**-22, 2.0**-36, 2.0**-6)
AT_ZERO = 2.0**-40  # of them, at last, for elements at 0: 1 / (x + 1e-12) bends within any others
STEPS = 4  # quantization steps of one output that make them noise rather than a function with steps
POINTS = 12  # of one table
FEW_POINTS = 4  # that are enough to see a quantization step, where evaluations are counted
ORDERS = (4, 8)  # of the differences between them: of lower ones the smooth part is left, of higher ones too few are
FLOAT32 = 2.0**-20  # of a value: coarser than what is computed in float32
TABLES = 3  # quantization steps, as of a function that computes in float32, can look equal in one table
SMALLEST = float(np.finfo(np.float64).smallest_subnormal)


class Point(NamedTuple):
    """A function where its noise is measured."""

    function: Any
    origin: list[Array]
    """The arrays among its arguments."""
    structure: Any
    """The tree that they are the leaves of."""
    value: Array
    eps: float
    """The rounding of a value, as a share of it."""
    tables: int = TABLES


def output_noise(point: Point) -> tuple[Array, bool]:
    """The noise of each output: an ULP, as of a good math library, or more where it jitters; and whether one is quantized.

    That is said only of what is too coarse to be computed in float32.
    """
    value = point.value
    least: Array = np.where(value == 0, 0.0, np.fmax(point.eps * np.abs(value), SMALLEST))
    with quiet():
        jitter, _ = _jitter(point, SPACINGS[0])
        # Either noise, or a function that bends within these spacings. Over shorter ones a smooth function bends less; a
        # quantized one, which repeats its values there, may be only between two of its steps. From 0 none is too short.
        for share in (1.0, AT_ZERO) if any((x == 0).any() for x in point.origin) else (1.0,):
            if (jitter > 2.0**12 * least).any():
                shorter, repeats = _jitter(point, SPACINGS[1], share)
                jitter = np.where(repeats, jitter, np.fmin(jitter, shorter))
        half_step, quantized = _quantization(point)
        return np.asarray(np.fmax(np.fmax(least, jitter), half_step)), quantized


def _quantization(point: Point) -> tuple[Array, bool]:
    """Half of the number of which an output's values are whole multiples: what is left when larger numbers cancel."""
    try:
        points = POINTS if point.tables == TABLES else FEW_POINTS
        values = _values(point, np.random.default_rng(0x6E6F), SPACINGS[2], points=points)
    except RAISED:
        return np.zeros(point.value.shape), False
    values = np.where(np.isfinite(values), values, 0.0)
    step = _last_bit(values).min(axis=0)
    size = np.abs(values).max(axis=0)
    coarse = (step > STEPS * point.eps * size) & (np.ptp(values, axis=0) > STEPS * step)  # than such numbers are
    return np.where(coarse, step / 2, 0.0), bool((coarse & (step > FLOAT32 * size)).any())


def _jitter(point: Point, spacing: float, at_zero: float = 1.0) -> tuple[Array, Array]:
    """How much each output jitters, and whether it is the same at two neighbouring points."""
    generator = np.random.default_rng(0x6E6F)
    shape = point.value.shape
    noise, repeats = np.zeros(shape), np.zeros(shape, dtype=bool)
    for _ in range(point.tables):
        try:
            table = _values(point, generator, spacing, at_zero)
        except RAISED:  # the end of the function's domain: nothing can be measured there
            return noise, np.ones_like(repeats)
        repeats |= (np.diff(table, axis=0) == 0).any(axis=0)
        jitter = np.full(shape, np.inf)
        for order in range(1, ORDERS[1] + 1):
            table = np.diff(table, axis=0)
            if order >= ORDERS[0]:  # noise shows alike in all of them, what is left of the smooth part in the lowest
                jitter = np.fmin(jitter, np.sqrt((table**2).mean(axis=0) / comb(2 * order, order)))
        noise = np.fmax(noise, np.where(np.isfinite(jitter), jitter, 0.0))
    return noise, repeats


def _values(point: Point, generator: np.random.Generator, spacing: float, at_zero: float = 1.0, points: int = POINTS) -> Array:
    """The outputs at equally spaced points, each element with a displacement of its own size: some units in its last place.

    Elements at 0 move by a share of that.
    """
    # Where evaluations are counted the largest arguments stay where they are: the others move every output as well.
    origin = point.origin
    most = max(x.size for x in origin)
    still = most if point.tables < TABLES and any(0 < x.size < most for x in origin) else np.inf
    moves = [x.size < still for x in origin]
    steps = [
        np.where(x == 0, at_zero * size_of(x), np.abs(x))
        * generator.choice([-1, 1], x.shape)
        * generator.uniform(0.5, 1, x.shape)
        * spacing
        if moving
        else np.zeros(())
        for x, moving in zip(origin, moves, strict=True)
    ]
    steps = [(x + step) - x if moving else step for x, step, moving in zip(origin, steps, moves, strict=True)]
    places = (
        [np.asarray(x + j * step, x.dtype) if moving else x for x, step, moving in zip(origin, steps, moves, strict=True)]
        for j in range(points)
    )
    return np.stack([vector(point.function(*point.structure.unflatten(place))) for place in places])


def _last_bit(a: Array) -> Array:
    """The value of the last bit that is set, infinite for 0."""
    fraction, exponent = np.frexp(a)
    digits = np.abs(np.ldexp(fraction, 53)).astype(np.int64)
    return np.where(digits == 0, np.inf, np.ldexp((digits & -digits).astype(np.float64), exponent - 53))


def significand_bits(dtype: np.dtype[Any]) -> int:
    """Bits of the significand after the leading one."""
    return {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}.get(dtype.name, 52)
