"""The check that the backward pass is linear in its cotangent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import Leaf
from oracle.contract.setting import IGNORED, Breach, Setting, copied
from oracle.effort import SAMPLES
from oracle.judging.error_budget import SAFETY, SHORT_SUM, roundoff
from oracle.measures import largest

__all__ = ["is_linear_in_dy"]

Array = NDArray[Any]

ROOM = 2.0**-80
"""The smallest size of a gradient that is compared for cotangents scaled by powers of 2; the largest is its inverse. Outside
this range the scaled gradient may over- or underflow."""
FAR = {"float64": 60, "float32": 20}
"""The exponents of the powers of 2 by which dy is multiplied and divided. Clipping and comparisons with a fixed number show
there. Smaller, and some thresholds are not reached; larger, and gradients may over- or underflow."""


def is_linear_in_dy(s: Setting) -> Iterator[Breach]:
    """bwd(a dy) = a bwd(dy), bwd(0) = 0, and bwd(dy1 + dy2) = bwd(dy1) + bwd(dy2), also if parts of a cotangent are 0."""
    _, residuals = s.point.subject.fwd(*s.point.primals)
    generator = np.random.default_rng(0)
    base = s.leaves(s.point.cotangents)

    def pulled(dy: Any) -> list[Leaf]:
        return s.leaves(copied(s.point.subject.bwd(residuals, dy)))

    other = copied(s.point.dy, lambda a: np.asarray(generator.choice([-0.5, 1.0, 2.0], size=a.shape), a.dtype) * a)
    alone, both = pulled(other), pulled(optree.tree_map(lambda a, b: a + b, s.point.dy, other))
    doubled, none = (pulled(copied(s.point.dy, _times(factor))) for factor in (2, 0))
    parts = [[[leaf.array for leaf in pulled(part)] for part in some] for some in _sums(s.point.dy, generator)]

    @cache
    def multiple(factor: float) -> list[Leaf]:
        return pulled(copied(s.point.dy, _times(factor)))

    for factor in _far(s.point.dy):
        multiple(factor)  # before another forward pass, which may change residuals that are in a buffer
    for i, (g, g2, g0, size) in enumerate(zip(base, doubled, none, s.rounding.scales, strict=True)):
        if g.array.dtype.kind != "f" and g.array.dtype.name != "bfloat16":
            continue  # `well_formed` reports the dtype
        a, a2, b, ab = (np.asarray(leaf.array, np.float64) for leaf in (g, g2, alone[i], both[i]))
        sums = [np.sum([np.asarray(arrays[i], np.float64) for arrays in some], axis=0) for some in parts]
        allowed = roundoff(max(size, largest(a, b, ab)), SHORT_SUM, g.array.dtype.name)
        apart = max(_apart(a2, 2 * a), *(_apart(*pair) / SAFETY for pair in ((ab, a + b), *((total, a) for total in sums))))
        if np.array_equal(a, a2) and largest(a) > 0:
            yield Breach(g.path, f"{IGNORED}: bwd(2 dy) is bwd(dy), bit for bit")
        elif largest(np.asarray(g0.array, np.float64)) > 0:
            yield Breach(g.path, "not linear in dy: bwd(0) is not 0")
        elif largest(a, b, ab, *sums) <= s.rounding.zero[i]:
            continue
        elif not s.rounding.explains(i, apart, allowed):
            yield Breach(g.path, "not linear in dy: bwd(dy1 + dy2) differs from bwd(dy1) + bwd(dy2)")
        elif g.array.dtype.name in ("float64", "float32") and ROOM < largest(a) < 1 / ROOM:
            breaks = _unlike(s, i, multiple, _far(s.point.dy), allowed)
            if breaks and s.rounding.is_inside(i):  # float32 over- and underflows earlier
                breaks = _unlike(s, i, multiple, _powers(FAR["float32"]), allowed)
            if breaks:
                what = f"bwd({breaks:g} dy) is not {breaks:g} bwd(dy) (is dy clipped, or compared with a fixed number?)"
                yield Breach(g.path, f"not linear in dy: {what}")


def _unlike(
    s: Setting, i: int, multiple: Callable[[float], list[Leaf]], factors: tuple[float, ...], allowed: float
) -> float | None:
    """The first of these factors with which bwd(factor dy) is not factor bwd(dy), in gradient `i`."""
    a = np.asarray(s.leaves(s.point.cotangents)[i].array, np.float64)
    for factor in factors:
        apart = _apart(np.asarray(multiple(factor)[i].array, np.float64) / factor, a)
        if not s.rounding.explains(i, apart, allowed) and not s.rounding.of_sixteen_bits(i):
            return factor
    return None


def _far(dy: Any) -> tuple[float, ...]:
    """A large and a small factor of dy, according to its dtype."""
    dtypes = [np.asarray(leaf).dtype.name for leaf in optree.tree_leaves(dy)]
    return _powers(min((FAR.get(dtype, 0) for dtype in dtypes), default=0))


def _powers(power: int) -> tuple[float, ...]:
    return (2.0**power, -(2.0**-power)) if power else ()


def _sums(dy: Any, generator: np.random.Generator) -> list[list[Any]]:
    """Lists of cotangents that each add up to `dy`, among them cotangents that callers often pass.

    They split `dy` at random places, into a single element and the others, into ones and the rest, and into its arrays if
    these are few: each costs a backward pass.
    """
    mask = copied(dy, lambda a: np.asarray(generator.choice([0, 1], size=a.shape), a.dtype))
    single = copied(dy, lambda a: np.asarray(np.arange(a.size).reshape(a.shape) == generator.integers(a.size or 1), a.dtype))
    ones = copied(dy, np.ones_like)
    sums = [[optree.tree_map(lambda a, m: a * m, dy, some), optree.tree_map(lambda a, m: a * (1 - m), dy, some)]
            for some in (mask, single)]  # fmt: skip
    sums.append([ones, optree.tree_map(lambda a, one: np.asarray(a - one), dy, ones)])
    leaves, structure = optree.tree_flatten(dy)
    if 1 < len(leaves) <= 2 * SAMPLES:
        sums.append([structure.unflatten([a if k == j else 0 * a for j, a in enumerate(leaves)]) for k in range(len(leaves))])
    return sums


def _apart(a: Array, b: Array) -> float:
    """The largest finite difference, or infinity if the first has NaN where the second is finite.

    Other differences that are not finite come from overflows of a narrow dtype and are ignored.
    """
    return float("inf") if (np.isfinite(b) & np.isnan(a)).any() else largest(a - b)


def _times(factor: float) -> Callable[[Array], Array]:
    return lambda a: np.asarray(a * a.dtype.type(factor))
