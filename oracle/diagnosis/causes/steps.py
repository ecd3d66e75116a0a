"""The cause in which the function has steps only, so that its derivative is 0, and the gradient is a straight-through one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from oracle.arrays import quiet, size_of, vector
from oracle.diagnosis.forward_pass import ForwardPass
from oracle.diagnosis.jacobian import leaves_in
from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array
from oracle.streams import Stream

__all__ = ["step_function"]

DISTANCES = (0.5, 2.0, 8.0)
"""How far the other points are, in units of the typical entry. Nearer ones alone may all lie where a ReLU gives 0; farther ones
alone may all lie where a quantizer is clipped."""
NEARBY = 2.0**-20
"""The distance of a nearby point in the same units, above the rounding of float32. Larger, and a step is met by chance."""


def step_function(v: View) -> Iterator[str]:
    """The gradient of a function that rounds, or takes signs, which is flat wherever it does not jump."""
    forward = v.context.forward
    differences = v.e.estimate.value
    if forward is None or v.truth.any() or not v.wrong.any() or differences.any() or not differences.size:
        return
    if _is_flat(forward):
        yield (
            f"a step function: the value changes with {v.name} by jumps only, so its derivative is 0; is a straight-through "
            f"gradient meant? Then declare it, with flags={{Flag.NOT_THE_DERIVATIVE}} and a reference that has this gradient"
        )


def _is_flat(forward: ForwardPass) -> bool:
    """Whether the value differs between points that are far away, and not at all between nearby ones."""
    call = forward.call
    leaves, structure = leaves_in(call.primals)
    x = leaves[forward.leaf]
    generator = np.random.default_rng(Stream.NEARBY)
    if not forward.share.pay(2 * len(DISTANCES) * forward.cost):
        return False

    def value(moved: Array) -> Array:
        arrays = [moved if i == forward.leaf else leaf for i, leaf in enumerate(leaves)]
        return vector(call.function(*structure.unflatten(arrays), **call.options)).copy()

    differ = False
    with quiet():
        try:
            here = vector(call.value)
            for distance in DISTANCES:
                there = x + distance * size_of(x) * generator.standard_normal(x.shape)
                far = value(there)
                if not np.array_equal(far, value(there + NEARBY * size_of(x) * generator.standard_normal(x.shape))):
                    return False
                differ = differ or not np.array_equal(far, here)
        except Exception:  # outside the domain
            return False
    return differ
