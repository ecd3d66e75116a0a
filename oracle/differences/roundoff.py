"""The rounding noise of each output of a function at a point, measured from difference tables.

Differences of order 4 to 8 over equally spaced points are free of the smooth part of the function and amplify its noise by a
known factor (Hamming; More and Wild, "Estimating computational noise", 2011). Where all values of an output are whole multiples
of some number, as those of a float32 computation are, that quantization step is noise as well: half of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from oracle.arrays import RAISED, quiet, size_of, vector
from oracle.differences.inner_rounding import FINEST, LONGEST, Sizes, inner_rounding
from oracle.differences.ladder import ORDER, POINTS, SMOOTH_GROWTH, higher_differences
from oracle.differences.richardson import NOISE_SAFETY, RATIO
from oracle.differences.thresholds import CHANCE, MOST_OUTPUTS, MUCH_NOISE, PER_RMS, SIXTEEN_BITS, UNRESOLVED
from oracle.effort import AGREEING, SAMPLES
from oracle.measures import EPSILON
from oracle.streams import Stream

__all__ = ["Noise", "NoisyFunction", "output_noise"]

Array = NDArray[Any]

# The spacing of the points of a shorter table, in units of each element: as far above the spacing of float64 numbers, where
# values are equal at neighbouring points, as below one in a million. Larger, the bending of a function near a value of 0, such
# as a variance of equal entries, or within 1e-8 of an element at 0, counts as noise.
SHORT_SPACING = float(np.sqrt(EPSILON["float64"] * UNRESOLVED))

# The share of the finest rounding to a narrower dtype that a table shows at least, where its jumps are rare. With 1, those of
# a few outputs are missed; with much less, functions of 10^6 outputs, some of which are near 0, pay for a ladder of spacings.
UNSEEN = 2.0**-4

NARROW = (("float16", np.dtype(np.float16)), ("bfloat16", np.dtype(ml_dtypes.bfloat16)), ("float32", np.dtype(np.float32)))

SMALLEST = float(np.finfo(np.float64).smallest_subnormal)


class NoisyFunction(NamedTuple):
    """A function at the arguments where its noise is measured."""

    function: Any
    origin: list[Array]
    """The arrays among its arguments."""
    structure: Any
    """The tree that they are the leaves of."""
    value: Array
    eps: float
    """The rounding of a value, as a share of it."""
    tables: int = AGREEING
    continuous: bool = True
    """Whether jumps prove that it rounds. A gradient jumps where its function has kinks."""


class Noise(NamedTuple):
    """The noise of the outputs of a function."""

    of_output: Array
    quantized: bool
    """Whether some output is quantized more coarsely than a float32 computation: long steps overlook that."""
    inner: Array
    """The part of it that comes from roundings to a narrower dtype inside the function; 0 if there are none."""
    inner_eps: float
    """The `eps` of these roundings, as a share of the largest value."""
    narrow: Array
    """Which outputs are numbers of a narrower dtype wherever they were looked at."""
    sixteen_bits: bool
    """Whether some of these roundings are to 16 bits."""


class ValueRounding(NamedTuple):
    """How the values of a function are rounded."""

    eps: float
    """As a share of a value, in the narrowest dtype among the outputs or inside the function."""
    inner_eps: float
    """The same for roundings inside the function alone; 0 if there are none."""
    quantized: bool
    """Whether some output is quantized more coarsely than a float32 computation: long steps overlook that."""
    sixteen_bits: bool = False
    """Whether it rounds to 16 bits inside."""
    inside: bool = False
    """Whether a value is noisier than its own rounding: numbers of a narrower dtype are rounded inside, or larger ones."""

    @property
    def of_change(self) -> float:
        """As a share of the change of a value: what a rounding of larger values adds.

        Noise that is a larger share of the value than the eps of its dtype comes from the rounding of larger numbers, which do
        not grow with it.
        """
        most = EPSILON["bfloat16"] if self.sixteen_bits else SIXTEEN_BITS
        return min(self.eps, most) if self.inner_eps > 0 else self.eps


class Quantization(NamedTuple):
    """What the values of each output at a long spacing show."""

    half_step: Array
    """Half of its quantization step; 0 if it has none."""
    staircase: Array
    """Whether that is too coarse for a float32 computation."""
    narrow: Array
    """Whether all its values are numbers of a narrower dtype than float64."""
    suspected: Array
    """Whether it may be rounded inside the function."""
    still: Array
    """Whether it has the same value at all points."""


def output_noise(noisy: NoisyFunction) -> Noise:
    """The noise of each output.

    It is one ULP, as in a good math library, or more where a difference table or the quantization step shows more.
    """
    value = noisy.value
    one_ulp: Array = np.where(value == 0, 0.0, np.fmax(noisy.eps * np.abs(value), SMALLEST))
    with quiet():
        # Neighbouring points are distinct float32 numbers.
        noise, _ = _table_noise(noisy, 2 * EPSILON["float32"])
        largest = float(np.abs(value[np.isfinite(value)]).max(initial=0.0))
        # Beside larger numbers one rounding of float64 is many roundings of an output near 0, and none to a narrower dtype.
        narrowest = UNSEEN * FINEST * largest
        much = bool((noise > np.fmax(MUCH_NOISE * one_ulp, narrowest)).any())
        most = np.fmax(MUCH_NOISE * one_ulp, FINEST * largest)
        # A function that bends within these spacings looks noisy. Over shorter spacings a smooth function bends less; the
        # values of a quantized one repeat there, and then that table shows nothing. From 0 no displacement is too short.
        for at_zero in (1.0, MUCH_NOISE * EPSILON["float64"]) if any((x == 0).any() for x in noisy.origin) else (1.0,):
            if (noise > most).any():
                shorter, repeats = _table_noise(noisy, SHORT_SPACING, at_zero)
                # Less noise than that stays: it may be the rare jumps of a small float32 term, which a short table misses.
                noise = np.where(repeats | ~(noise > most), noise, np.fmin(noise, shorter))
        half_step, staircase, narrow, suspected, still = _at_long_spacing(noisy, np.fmax(one_ulp, narrowest / MUCH_NOISE))
        inner = np.where(narrow, half_step, 0.0)
        sixteen_bits = bool((narrow & (half_step > SIXTEEN_BITS * np.abs(value))).any())
        rounds_values = bool((staircase & (half_step > SIXTEEN_BITS * largest)).any())
        if rounds_values or suspected.any() or much:
            # What jumps by many steps at once has no steps by design: it is a function of rounded numbers. The square of a
            # bfloat16 number has twice as many digits, so that it jumps by hundreds of its own steps.
            least = np.where(staircase, NOISE_SAFETY * half_step, 0.0)
            found, sixteen_bits_inside, moved = inner_rounding(
                lambda spacing, table: _values(noisy, np.random.default_rng([Stream.NOISE, table]), spacing),
                _line(noisy, np.random.default_rng([Stream.NOISE, 0])),
                one_ulp,
                Sizes(largest, _towards_origin(noisy)),
                least,
                continuous=noisy.continuous,
            )
            staircase &= found == 0
            rounds_values = bool((staircase & (half_step > SIXTEEN_BITS * largest)).any())
            inner = np.fmax(np.fmax(inner, found), half_step) if found.any() else inner
            sixteen_bits |= sixteen_bits_inside
            largest = largest or moved
        if rounds_values:
            inner = np.zeros(value.shape)
        known = (inner > 0) & np.isfinite(value) & (value != 0)
        if known.any():
            # Beside a larger number an element near 0 does not move its output to the next number of a narrower dtype.
            usual = float(np.median(inner[known] / np.abs(value[known])))
            inner = np.where(still & np.isfinite(value), np.fmax(inner, usual * np.abs(value)), inner)
        noise = np.fmax(noise, inner)
        inner_eps = PER_RMS * float(inner.max(initial=0.0)) / largest if largest else 0.0
        of_output = np.asarray(np.fmax(np.fmax(one_ulp, noise), half_step))
        return Noise(of_output, bool(staircase.any()), inner, inner_eps, narrow & (inner > 0), sixteen_bits)


def _at_long_spacing(noisy: NoisyFunction, one_ulp: Array) -> Quantization:
    """How coarsely each output is quantized, and which may be rounded inside the function.

    A step is far larger than one rounding of the value. An output that takes only few steps counts as a step function, unless
    all its values have all digits of a narrower dtype. The higher differences of an output that is rounded inside do not
    shrink with the spacing as those of a smooth function do.
    """
    points = POINTS if noisy.tables == AGREEING else ORDER
    try:
        values = _values(noisy, np.random.default_rng(Stream.NOISE), LONGEST, points=points)
    except RAISED:
        return Quantization(np.zeros(noisy.value.shape), *np.zeros((4, *noisy.value.shape), dtype=bool))
    values = np.where(np.isfinite(values), values, 0.0)
    step = _last_bit(values).min(axis=0)
    size = np.abs(values).max(axis=0)
    coarse = (step > NOISE_SAFETY * noisy.eps * size) & (np.ptp(values, axis=0) > NOISE_SAFETY * step)
    # A few numbers may all end in zeros by chance, as those of an output that is clipped at most points.
    coarse &= (np.diff(np.sort(values, axis=0), axis=0) > 0).sum(axis=0) >= AGREEING
    held, lowest = values, step
    if coarse.any() and points > 2 * ORDER:
        # Numbers at equal distances may all have an even last digit by chance. In another direction they have another distance.
        others = _values_or_none(noisy, np.random.default_rng([Stream.NOISE, 1]), LONGEST)
        if others is not None:
            held = np.concatenate([values, np.where(np.isfinite(others), others, 0.0)])
            lowest = _last_bit(held).min(axis=0)
    moves = bool(np.ptp(values, axis=0).any())
    stuck = 0.0 if moves else _eps_if_stuck(noisy)
    narrow = _of_narrow_dtype(held, lowest) if moves else np.full(size.shape, stuck > 0)
    # A number that is left where larger ones have cancelled has the steps of the larger ones: of arguments that move the value
    # by their own size, or of a constant such as 1.
    rounded = np.fmax(np.fmax(NOISE_SAFETY * size, CHANCE * np.ptp(values, axis=0) / ((points - 1) * LONGEST)), 1.0)
    beyond_float32 = (step > EPSILON["float32"] * rounded) & ~narrow
    # So have the outputs beside it that are clipped, whose own values say little.
    beyond_float32 &= step > NOISE_SAFETY * step.max(initial=0.0, where=coarse & ~beyond_float32 & ~narrow)
    long = higher_differences(values).noise if points > 2 * ORDER else np.zeros(size.shape)
    suspected = long > MUCH_NOISE * one_ulp
    if suspected.any():
        shorter = higher_differences(_values(noisy, np.random.default_rng(Stream.NOISE), LONGEST / RATIO)).noise
        suspected &= shorter > long * RATIO / SMOOTH_GROWTH
    step = np.where(np.ptp(values, axis=0) > 0, step, (stuck or EPSILON["float32"]) * size)
    # Where terms cancel in float64, few digits are left as well, of a number that is small beside the others.
    narrow &= (step > NOISE_SAFETY * noisy.eps * size) & (step / 2 > FINEST * size.max(initial=0.0))
    still = np.ptp(values, axis=0) == 0
    return Quantization(np.where(coarse | narrow, step / 2, 0.0), coarse & beyond_float32, narrow, suspected, still)


def _of_narrow_dtype(values: Array, step: Array) -> Array:
    """The outputs that are numbers of a narrower dtype at all points, and no multiples of a longer step.

    If most outputs are, a few whose last digits all happen to be even are as well: at equal distances that is no rare chance.
    """
    found, size = np.zeros(step.shape, dtype=bool), np.abs(values).max(axis=0)
    changed = np.ptp(values, axis=0) > 0
    # A number that is left of one twice as large has no odd last digits. One that takes many steps may be a step function.
    longest = np.where((np.diff(np.sort(values, axis=0), axis=0) > 0).sum(axis=0) < AGREEING, CHANCE, 1.0)
    for name, dtype in NARROW:
        with quiet():
            held = (values.astype(dtype).astype(np.float64) == values).all(axis=0) & changed
        full = held & (step <= longest * EPSILON[name] * size)
        found |= full
        if full.sum() > MOST_OUTPUTS * np.count_nonzero(changed):
            found |= held & (step <= NOISE_SAFETY * EPSILON[name] * size)
    return found


def _eps_if_stuck(noisy: NoisyFunction) -> float:
    """The eps of the narrow dtype whose numbers all outputs are, if they move far away; 0 if there is none.

    A finer dtype would let them move by less. Beside a large number the terms move the value only if they are far away and all
    go the same way, so that most directions do not show it.
    """
    generator = np.random.default_rng(Stream.NOISE)
    try:
        with quiet():
            far = np.concatenate([_values(noisy, generator, 1.0, points=ORDER) for _ in range(2 * SAMPLES)])
    except RAISED:
        return 0.0
    step, size = _last_bit(far).min(axis=0), np.abs(far).max(axis=0)
    fits = {name: step <= CHANCE * EPSILON[name] * size for name, _ in NARROW}  # ones and zeros are numbers of every dtype
    with quiet():
        held = [EPSILON[n] for n, t in NARROW if fits[n].any() and (far.astype(t).astype(np.float64) == far).all()]
    return max(held, default=0.0) if np.ptp(far, axis=0).any() else 0.0


def _table_noise(noisy: NoisyFunction, spacing: float, at_zero: float = 1.0) -> tuple[Array, Array]:
    """The noise of each output by difference tables, and whether it is the same at two neighbouring points."""
    generator = np.random.default_rng(Stream.NOISE)
    shape = noisy.value.shape
    noise, repeats = np.zeros(shape), np.zeros(shape, dtype=bool)
    for _ in range(noisy.tables):
        try:
            table = _values(noisy, generator, spacing, at_zero)
        except RAISED:  # the points leave the function's domain, so nothing can be measured there
            return noise, np.ones_like(repeats)
        repeats |= (np.diff(table, axis=0) == 0).any(axis=0)
        noise = np.fmax(noise, higher_differences(table).noise)
    return noise, repeats


def _values(
    noisy: NoisyFunction, generator: np.random.Generator, spacing: float, at_zero: float = 1.0, points: int = POINTS
) -> Array:
    """The outputs at equally spaced points, the first of which is the point itself, where they are known.

    Each element moves in a random direction, by `spacing` times its own size. Elements at 0 move by the
    share `at_zero` of the argument's size times `spacing`.
    """
    moves, steps = _direction(noisy, generator, spacing, at_zero)
    steps = [(x + step) - x if moving else step for x, step, moving in zip(noisy.origin, steps, moves, strict=True)]
    displaced = (_at(noisy, [j * step for step in steps], moves) for j in range(1, points))
    return np.stack([noisy.value, *displaced])


def _line(noisy: NoisyFunction, generator: np.random.Generator) -> Callable[[float], Array]:
    """The outputs at the points of a line, in the direction that `_values` takes."""
    moves, steps = _direction(noisy, generator, 1.0, 1.0)
    return lambda t: _at(noisy, [t * step for step in steps], moves)


def _values_or_none(noisy: NoisyFunction, generator: np.random.Generator, spacing: float) -> Array | None:
    """As `_values`; None where a point is outside the function's domain."""
    try:
        return _values(noisy, generator, spacing)
    except RAISED:
        return None


def _towards_origin(noisy: NoisyFunction) -> float:
    """The largest value part of the way to the origin; 0 outside the function's domain.

    Most saturated functions are no longer saturated at a quarter of their arguments: 1 + erf(x) at -5 is 0.1 there. Nearer to
    the origin, the values of a function with a pole are no size of what it rounds.
    """
    try:
        value = _at(noisy, [(1 / RATIO - 1) * x for x in noisy.origin], [True] * len(noisy.origin))
    except RAISED:
        return 0.0
    return float(np.abs(value[np.isfinite(value)]).max(initial=0.0))


def _direction(
    noisy: NoisyFunction, generator: np.random.Generator, spacing: float, at_zero: float
) -> tuple[list[bool], list[Array]]:
    """Which arguments move, and by which steps."""
    # Where evaluations are counted the largest arguments stay where they are: the others change every output as well.
    origin = noisy.origin
    largest = max(x.size for x in origin)
    limit = largest if noisy.tables < AGREEING and any(0 < x.size < largest for x in origin) else np.inf
    moves = [x.size < limit for x in origin]
    return moves, [
        _magnitudes(x, at_zero) * generator.choice([-1, 1], x.shape) * generator.uniform(0.5, 1, x.shape) * spacing
        if moving
        else np.zeros(())
        for x, moving in zip(origin, moves, strict=True)
    ]


def _magnitudes(x: Array, at_zero: float) -> Array:
    """The size of each element; of one at 0, the share `at_zero` of the argument's size, whose median takes time to find."""
    zero = x == 0
    return np.where(zero, at_zero * size_of(x), np.abs(x)) if zero.any() else np.abs(x)


def _at(noisy: NoisyFunction, displacements: list[Array], moves: list[bool]) -> Array:
    """The outputs at a displaced point."""
    places = zip(noisy.origin, displacements, moves, strict=True)
    arguments = [np.asarray(x + d, x.dtype) if moving else x for x, d, moving in places]
    return vector(noisy.function(*noisy.structure.unflatten(arguments)))


def _last_bit(a: Array) -> Array:
    """The value of the last bit that is set in each number, infinite for 0."""
    digits = np.finfo(np.float64).nmant + 1
    fraction, exponent = np.frexp(a)
    significand = np.abs(np.ldexp(fraction, digits)).astype(np.int64)
    lowest = (significand & -significand).astype(np.float64)
    return np.where(significand == 0, np.inf, np.ldexp(lowest, exponent - digits))
