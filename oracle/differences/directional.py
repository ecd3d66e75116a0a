"""Derivatives along directions: many elements of an argument at once, where one by one would take too long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import quiet, size_of
from oracle.differences.evaluation import Difference, Evaluator
from oracle.differences.one_sided import at_shortest_step
from oracle.differences.richardson import FIRST_STEP, LEVELS, NOISE_SAFETY, RATIO
from oracle.differences.stepsize import lengths, shrink_steps
from oracle.differences.table import DifferenceTable, one_by_one
from oracle.effort import ENTRIES
from oracle.measures import EPSILON

__all__ = ["Block", "Directional", "differentiate_along", "rounding_of_direction", "slope_along"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Block:
    """Some elements, and the derivative along one direction in which only they are displaced."""

    index: Array
    value: float
    uncertainty: float
    blind: bool
    """Whether the steps reach across kinks, so that little is known about single elements."""
    usual: bool
    """Whether the elements are neither 0 nor equal to another, where most kinks are."""


@dataclass(frozen=True)
class Directional:
    """The derivatives along directions in disjoint blocks of the elements of one argument."""

    direction: Array
    """For all elements, each in its block."""
    blocks: tuple[Block, ...]
    alone: Array
    """Elements in no block, which are to be differentiated one by one: at a kink, or of another size than the others."""


def differentiate_along(evaluator: Evaluator, leaf: int, blocks: int, seed: int = 0) -> Directional:
    """The derivatives along random directions in `blocks` disjoint blocks of the elements of argument `leaf`.

    Every element takes part, with a random sign and in proportion to its size: an error shows at whichever element it is, for
    a few evaluations per block instead of some per element. Across a kink there is no derivative, and a step that is too long
    for one element is too long for its block: then a block is halved, and halved again. Most kinks are at 0 and at equal
    elements, so these elements have blocks of their own, which may remain blind.
    """
    x = evaluator.origin[leaf].reshape(-1)
    generator = np.random.default_rng([seed, leaf, x.size])
    scale = np.maximum(np.abs(x), size_of(x)) / np.sqrt(x.size / blocks)
    direction = generator.choice([-1.0, 1.0], size=x.size) * 2.0 ** np.round(np.log2(scale))

    def difference(block: Array, h: float) -> Difference:
        taken = evaluator.difference(leaf, block, h * direction[block])
        off = rounding_of_direction(np.mean((x[block] / direction[block]) ** 2)) / h
        return taken._replace(growth=taken.growth + abs(taken.both) * off)

    order = generator.permutation(x.size)
    special = _zero_or_tied(x)[order]
    todo = [(block, usual) for usual in (True, False) for block in _split(order[special != usual], blocks / x.size)]
    finished: list[Block] = []
    alone: list[int] = []
    splits = ENTRIES  # with fewer, single kinks make whole blocks blind
    while todo:
        steps = FIRST_STEP * lengths(leaf, np.arange(len(todo)))
        sample = one_by_one(partial(_of_block, difference, [block for block, _ in todo]))
        table = DifferenceTable(sample, steps, np.ones(len(todo)))
        found = shrink_steps(table)
        bend = at_shortest_step(table.at_all_steps("bend"))
        kinks, unknown = found.sides.suspected | found.kinked, ~np.isfinite(found.uncertainty)
        halves = []
        for i, (block, usual) in enumerate(todo):
            if (kinks[i] or unknown[i]) and len(block) == 1:
                alone.append(int(block[0]))
            elif splits and (unknown[i] or (kinks[i] and usual)):
                splits -= 1
                halves += [(half, usual) for half in np.array_split(block, 2)]
            else:  # across kinks the value is the mean slope of both sides, and a gradient's may be any other between them
                spread = found.uncertainty[i] + (bend[i] if kinks[i] else 0.0)
                finished.append(Block(block, float(found.value[i]), float(spread), bool(kinks[i] or unknown[i]), usual))
        todo = halves
    return Directional(direction, tuple(finished), np.array(alone, np.intp))


def rounding_of_direction(mean_square: Any) -> Any:
    """The relative error of a slope along h d, times h, because x + h d is rounded element by element.

    `mean_square` is that of x / d: each element of h d has an error of up to one ULP of x, in random directions.
    """
    return 2 * EPSILON["float64"] * np.sqrt(mean_square)


def _of_block(difference: Callable[[Array, float], Difference], blocks: list[Array], i: int, h: float) -> Difference:
    return difference(blocks[i], h)


def _zero_or_tied(x: Array) -> Array:
    """Which elements are 0 or equal to another: most kinks are there."""
    _, which, counts = np.unique(x, return_inverse=True, return_counts=True)
    return np.asarray((x == 0) | (counts[which] > 1))


def _split(index: Array, share: float) -> list[Array]:
    """Blocks, as many as this share of the elements."""
    return np.array_split(index, min(int(np.ceil(index.size * share)), index.size)) if index.size else []


def slope_along(
    evaluator: Evaluator, leaf: int, index: Array, direction: Array | None = None, share: float = 1.0
) -> tuple[float, float] | None:
    """The derivative along `direction` in these elements, with its error estimate; None if that direction has a kink too.

    Without a direction all of them are displaced by the same amount. Each of several tied elements is at a kink, but the tied
    direction is smooth: the largest of equal numbers rises with them. The first step is this share of the usual one.
    """
    size = 1.0
    if direction is None:
        size = size_of(evaluator.origin[leaf])
        direction = np.ones(index.size)
    step = np.full(1, share * FIRST_STEP * size)
    table = DifferenceTable(one_by_one(lambda _, h: evaluator.difference(leaf, index, h * direction)), step, np.full(1, size))
    found = shrink_steps(table)
    value, uncertainty = float(found.value[0]), float(found.uncertainty[0])
    with quiet():
        # The kinks of several outputs can cancel in the contraction, so each output must be smooth: it bends by about the
        # last step, as a share of the slope, or by the noise over that step.
        last = FIRST_STEP / RATIO ** (LEVELS - 1)
        bend, noise = (at_shortest_step(table.at_all_steps(part))[0] for part in ("bend", "noise"))
        smooth = bend <= NOISE_SAFETY * max(last * abs(value), noise)
    return (value, uncertainty) if smooth and np.isfinite(uncertainty) and not found.sides.suspected[0] else None
