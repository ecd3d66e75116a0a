"""The differences along directions: many elements of an argument at a time, where one by one would take too long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import quiet, size_of
from oracle.differences.evaluation import Difference, Evaluator
from oracle.differences.stepsize import FIRST_STEP, StepControl, lengths

__all__ = ["Block", "Directional", "differentiate_along", "slope_along"]

Array = NDArray[Any]
_Blocks: TypeAlias = list[tuple[Array, bool]]

SPLITS = 64  # of blocks of elements
BENT = 2.0**-6  # of the slope: less than a kink, more than what a short step bends


@dataclass(frozen=True)
class Block:
    """Some elements, and the derivative along one direction in which only they move."""

    index: Array
    value: float
    uncertainty: float
    blind: bool
    """Whether there are kinks on the way, so that little is known of single elements."""
    usual: bool
    """Whether the elements are neither 0 nor equal to another, where kinks are mostly."""


@dataclass(frozen=True)
class Directional:
    """The derivative along directions in disjoint blocks of the elements of one argument."""

    direction: Array
    """Of all elements, each in its block."""
    blocks: tuple[Block, ...]
    alone: Array
    """Elements in no block, since they are to be looked at one by one: at a kink, or of another size than the others."""


def differentiate_along(evaluator: Evaluator, leaf: int, blocks: int, seed: int = 0) -> Directional:
    """The derivative along random directions in `blocks` disjoint blocks of the elements of argument `leaf`.

    Every element takes part, with a random sign and in proportion to its size: a wrong element shows whichever it is, at
    the cost of a few evaluations per block instead of some per element. Across a kink there is no slope, and a step that is
    too long for one element is for all: where that happens a block is halved, and halved again. Most kinks are at 0 and at
    ties, so these elements have blocks of their own, which may stay blind.
    """
    x = evaluator.origin[leaf].reshape(-1)
    generator = np.random.default_rng([seed, leaf, x.size])
    scale = np.maximum(np.abs(x), size_of(x)) / np.sqrt(x.size / blocks)
    direction = generator.choice([-1.0, 1.0], size=x.size) * 2.0 ** np.round(np.log2(scale))

    def difference(block: Array, h: float) -> Difference:
        # x + h d is rounded to the grid of x, element by element: so far is the direction really taken from d.
        taken = evaluator.difference(leaf, block, h * direction[block])
        off = 4 * 2.0**-53 * np.sqrt(np.mean((x[block] / direction[block]) ** 2)) / h
        return taken._replace(growth=taken.growth + abs(taken.both) * off)

    order = generator.permutation(x.size)
    special = _special(x)[order]
    todo = [(block, usual) for usual in (True, False) for block in _split(order[special != usual], blocks / x.size)]
    known: list[Block] = []
    alone: list[int] = []
    splits = SPLITS
    while todo:
        steps = FIRST_STEP * lengths(leaf, np.arange(len(todo)))
        control = StepControl(partial(_of_block, difference, todo), steps, np.ones(len(todo)))
        value, uncertainty = control.run()
        with quiet():
            kinks, lost = control.jumps().suspected | control.kinked, ~np.isfinite(uncertainty)
        halves = []
        for i, (block, usual) in enumerate(todo):
            if (kinks[i] or lost[i]) and len(block) == 1:
                alone.append(int(block[0]))
            elif splits and (lost[i] or (kinks[i] and usual)):
                splits -= 1
                halves += [(half, usual) for half in np.array_split(block, 2)]
            else:  # across kinks it is the mean slope of both sides, and a gradient's may be any other between them
                spread = uncertainty[i] + (control.bend[i] if kinks[i] else 0.0)
                known.append(Block(block, float(value[i]), float(spread), bool(kinks[i] or lost[i]), usual))
        todo = halves
    return Directional(direction, tuple(known), np.array(alone, np.intp))


def _of_block(difference: Callable[[Array, float], Difference], blocks: _Blocks, i: int, h: float) -> Difference:
    return difference(blocks[i][0], h)


def _special(x: Array) -> Array:
    """Which elements are 0 or have an equal: there kinks are mostly."""
    _, which, counts = np.unique(x, return_inverse=True, return_counts=True)
    return np.asarray((x == 0) | (counts[which] > 1))


def _split(index: Array, share: float) -> list[Array]:
    """Blocks, as many as this share of the elements."""
    return np.array_split(index, min(int(np.ceil(index.size * share)), index.size)) if index.size else []


def slope_along(
    evaluator: Evaluator, leaf: int, index: Array, direction: Array | None = None, share: float = 1.0
) -> tuple[float, float] | None:
    """The derivative along `direction` of these elements, with its uncertainty; None if there is a kink that way too.

    They are moved alike if no direction is given. At ties each entry is at a kink, but all of them together are not: the
    largest of equal numbers rises with them. The first step is this share of the usual one.
    """
    size = 1.0
    if direction is None:
        size = size_of(evaluator.origin[leaf])
        direction = np.ones(index.size)
    step = np.full(1, share * FIRST_STEP * size)
    control = StepControl(lambda i, h: evaluator.difference(leaf, index, h * direction), step, np.full(1, size))
    value, uncertainty = control.run()
    with quiet():
        # No output may bend there: kinks of several can cancel in the contraction.
        smooth = not control.jumps().suspected[0] and control.bend[0] <= BENT * abs(value[0]) and np.isfinite(uncertainty[0])
    return (float(value[0]), float(uncertainty[0])) if smooth else None
