"""At kinks: whether the entries are right together, not only each by itself.

Each entry of a gradient at a kink may be anything between the slopes of its two sides, but not independently of the others.
|a - b| at a = b has the gradients (t, -t) for t from -1 to 1, so (1, 1) is none, though each 1 is between the slopes -1 and 1;
and no gradient of a norm at 0 is longer than 1. A convex function rises along any direction at least as fast as each of its
gradients predicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from oracle.arrays import RAISED, flat, narrowed, quiet, size_of, unvector, vector
from oracle.differences.thresholds import SHARP
from oracle.effort import REPEATS, SAMPLES
from oracle.judging.conditioning import STEP
from oracle.judging.error_budget import SAFETY, roundoff
from oracle.judging.evidence import Array
from oracle.streams import Stream
from oracle.subject import Subject

__all__ = ["excess"]


def excess(subject: Subject, primals: tuple[Any, ...], dy: Any, leaf: int, kinks: Array, seed: int = 0) -> float:
    """How far the gradient lies outside the slopes of both sides, along directions around elements of argument `leaf` at kinks.

    As a share of these slopes; 0 if it lies between them along all. Groups of elements are moved, a few of each of three kinds:
    the same place in all arguments of equal shape; elements equal to the kink; random kinks. Only outputs take part that bend
    to the same side along every direction, and their cotangents get the sign that makes all of them convex: an output that
    bends both ways has other gradients, too.
    """
    tree: Any = primals
    origin, structure = optree.tree_flatten(tree)
    generator = np.random.default_rng([seed, Stream.SUBDIFFERENTIAL, leaf])
    worst = 0.0
    with quiet():
        try:
            value, residuals = subject.fwd(*primals)
            there = _Point(subject, structure, origin, value, residuals, np.abs(vector(dy)))
            for elements in _groups(origin, leaf, kinks, generator):
                worst = max(worst, there.beyond(_directions(origin, elements, generator)))
        except RAISED:  # the end of the op's domain: nothing is known
            pass
    return worst


def _groups(origin: list[Array], leaf: int, kinks: Array, generator: np.random.Generator) -> Iterator[list[tuple[int, int]]]:
    """Some elements each, as numbers of an argument and of an element of it: kinks join two elements, or a few, or all."""
    flat_arrays = [x.reshape(-1) for x in origin]
    for place in map(int, generator.choice(kinks, min(2 * SAMPLES, kinks.size), replace=False)):
        yield [(i, place) for i, x in enumerate(origin) if x.shape == origin[leaf].shape]
        equal = [(i, int(j)) for i, x in enumerate(flat_arrays) for j in np.flatnonzero(x == flat_arrays[leaf][place])]
        others = [element for element in equal if element != (leaf, place)]
        some = generator.permutation(len(others))[: SAMPLES - 1]
        yield [(leaf, place), *(others[k] for k in some)]
        yield [(leaf, int(j)) for j in np.union1d(generator.choice(kinks, min(SAMPLES - 1, kinks.size), replace=False), place)]


def _directions(origin: list[Array], elements: list[tuple[int, int]], generator: np.random.Generator) -> list[list[Array]]:
    """Random ones in which these elements move, and those in which one of them does."""
    moves = [*generator.normal(size=(REPEATS, len(elements))), *np.eye(len(elements))]
    directions = []
    for move in moves:
        direction = [np.zeros(x.size) for x in origin]
        for (i, j), by in zip(elements, move, strict=True):
            direction[i][j] = by * size_of(origin[i])
        directions.append([d.reshape(x.shape) for d, x in zip(direction, origin, strict=True)])
    return directions


@dataclass(frozen=True)
class _Point:
    """A function at a point, with its residuals, and the sizes of its cotangent."""

    subject: Subject
    structure: optree.PyTreeSpec
    origin: list[Array]
    value: Any
    residuals: Any
    weights: Array

    def beyond(self, directions: list[list[Array]]) -> float:
        """How far along these directions the gradient is from between the slopes of both sides, as a share of these."""
        here = vector(self.value).copy()
        ahead = np.array([(self._displaced(d, STEP) - here) / STEP for d in directions])
        behind = np.array([(here - self._displaced(d, -STEP)) / STEP for d in directions])
        noise = roundoff(np.abs(here), SAFETY) / STEP
        weights = _one_sided(ahead, behind, noise) * self.weights
        used = weights != 0
        if not used.any() or not (np.isfinite(ahead[:, used]).all() and np.isfinite(behind[:, used]).all()):
            return 0.0
        gradient = flat(self.subject.bwd(self.residuals, narrowed(unvector(weights, self.value), self.value)))
        rises = np.array([[g @ d.reshape(-1) for g, d in zip(gradient, direction, strict=True)] for direction in directions])
        low, high = behind[:, used] @ weights[used], ahead[:, used] @ weights[used]
        slopes = np.abs(rises).sum(axis=1) + np.abs(low) + np.abs(high)
        slack = SHARP * slopes + float(noise[used] @ np.abs(weights[used]))
        beyond = np.maximum(low - rises.sum(axis=1), rises.sum(axis=1) - high) - slack
        return float(np.max(np.nan_to_num(beyond / slopes), initial=0.0))

    def _displaced(self, direction: list[Array], by: float) -> Array:
        moved = [x + by * d for x, d in zip(self.origin, direction, strict=True)]
        return vector(self.subject.value(*self.structure.unflatten(moved)))


def _one_sided(ahead: Array, behind: Array, noise: Array) -> Array:
    """For each output 1 if it bends upwards along all directions, -1 downwards, 0 if not always or to both sides."""
    gap = ahead - behind
    bends = np.abs(gap) > SHARP * np.maximum(np.abs(ahead), np.abs(behind)) + SAFETY * noise
    sign = np.where(bends, np.sign(gap), 0.0)
    always = sign[:REPEATS].mean(axis=0)
    return np.where((np.abs(always) == 1) & (sign * always >= 0).all(axis=0), always, 0.0)
