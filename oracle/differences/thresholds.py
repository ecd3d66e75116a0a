"""What counts as contradicted, as chance, as resolved: the thresholds that several measurements share."""

from __future__ import annotations

import numpy as np

from oracle.measures import EPSILON

__all__ = ["CHANCE", "COARSE", "CONTRADICTION", "MOST_OUTPUTS", "MUCH_NOISE", "PER_RMS", "SHARP", "SIXTEEN_BITS", "UNRESOLVED"]

# ---------------------------------------------------------------------------- multiples of a noise or of an error estimate

CHANCE = 2.0
"""Multiples of a measured noise, a root mean square, that chance reaches now and then. With 1, right derivatives are
contradicted by the noise over the very short step; with 4, most error estimates double."""

CONTRADICTION = 4.0
"""Multiples of the sum of two error estimates, or of a standard deviation, beyond which two numbers contradict each other. An
error estimate is no strict bound: with 2, entries of long steps are rejected that are right, and one sum in twenty exceeds its
noise; with 8, wrong slopes over long steps and kinks as large as the gradient stay accepted."""

MUCH_NOISE = 2.0**12
"""Multiples of one rounding of float64 from which measured noise is more than that: the bending of the function, so that a
shorter table is worth its evaluations, or a rounding to a narrower dtype. With less, functions with rounding errors of their
own pay for it; with 2^19, a term in float32 is not found beside numbers of 1000."""

# --------------------------------------------------------------------------------- shares of a derivative, or of an element

UNRESOLVED = 2.0**-20
"""The share of a derivative that its error estimate exceeds where the steps do not resolve it. No rounding in float64 is as
large. Larger, and a tiny element keeps an estimate over steps that are too long for it; smaller, and elements that are known
well enough cost further evaluations."""

SHARP = 2.0**-10
"""The share of a slope, or of the largest entry, from which on a difference is plainly seen: the slopes of the two sides of a
kink differ by that much at least. Smaller, and bends of smooth functions cost a further evaluation; larger, and more kinks are
left to the usual steps, which may reach across them, and entries of a usual softmax are too small to count as tested."""

COARSE = 2.0**-6
"""The share up to which a number is known where few digits can be known, and below which an element is tiny for its argument.
With 2^-9, one right gradient in a hundred of a float32 kernel is undecided; with 1/4, nothing is known but the sign."""

# -------------------------------------------------------------------------------------------------------- narrower dtypes

SIXTEEN_BITS = float(np.sqrt(EPSILON["float32"] * EPSILON["float16"]))
"""The eps, or the noise as a share of the largest number, from which on a computation counts as one in 16 bits: between those
of float32 and float16, as far from one as from the other."""

PER_RMS = float(np.sqrt(12))
"""The eps of a rounding, in units of its root mean square: an error is uniform within half an eps on either side."""

MOST_OUTPUTS = 0.75
"""The share of the outputs, of those that change, that a rounding to a narrower dtype reaches. Of a function with a fixed step,
only the largest outputs look like such numbers."""
