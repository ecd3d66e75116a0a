"""Runs of our optimizer and of that of another library: the parameters and every slot of the state after each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.measures import largest
from oracle.streams import Stream
from oracle.trajectory.spec import Batch, Gradient, Reference
from oracle.trajectory.tolerance import Record
from purenet.optimizers import GradientTransformation, apply_updates

__all__ = ["Disturbance", "Rounding", "check_slots", "descend", "follow", "leaves", "recorded"]

Array = NDArray[Any]
Tree = Any

SIGNS = np.array([-1.0, 1.0])


class Disturbance:
    """Adds errors of one relative size and random signs to gradients and updates.

    The signs stay the same at every step (`persistent`) or are drawn again at each. The errors of a gradient are relative to
    its largest entry so far: at a minimum the gradient vanishes, but the terms that cancel there keep their rounding.
    """

    def __init__(self, level: float, params: Tree, *seed: int, persistent: bool) -> None:
        self.generator = np.random.default_rng([*seed, Stream.SHADOW])
        self.level = level
        self.persistent = persistent
        self.largest: Tree = optree.tree_map(lambda p: 0.0, params)
        self.of_gradient, self.of_update = self._signs(params), self._signs(params)

    def _signs(self, like: Tree) -> Tree:
        return optree.tree_map(lambda a: SIGNS[self.generator.integers(0, 2, size=np.shape(a))], like)

    def gradient(self, grads: Tree) -> Tree:
        if not self.persistent:
            self.of_gradient, self.of_update = self._signs(grads), self._signs(grads)
        self.largest = optree.tree_map(lambda g, before: max(largest(g), before), grads, self.largest)
        return optree.tree_map(lambda g, size, sign: g + self.level * size * sign, grads, self.largest, self.of_gradient)

    def update(self, updates: Tree) -> Tree:
        return optree.tree_map(lambda u, sign: u * (1 + self.level * sign), updates, self.of_update)

    def moved(self, before: Tree, after: Tree) -> Tree:
        """The parameters after a step whose update is disturbed."""
        updates = self.update(optree.tree_map(np.subtract, after, before))
        return optree.tree_map(lambda p, u: (p + u).astype(p.dtype), before, updates)


class Rounding(Disturbance):
    """Errors of a rounding in each entry: relative to the entry itself, because these gradients are given, not computed."""

    def gradient(self, grads: Tree) -> Tree:
        if not self.persistent:
            self.of_gradient, self.of_update = self._signs(grads), self._signs(grads)
        return optree.tree_map(lambda g, sign: (g * (1 + self.level * sign)).astype(g.dtype), grads, self.of_gradient)


def descend(
    optimizer: GradientTransformation,
    gradient: Gradient,
    params: Tree,
    batches: Iterable[Batch],
    disturb: Disturbance | None = None,
) -> Iterator[Record]:
    """The record of each step of our optimizer with these gradients. The run ends after a step that is not finite."""
    state = optimizer.init(params)
    for x, options in batches:
        grads = gradient(params, x, options)
        updates, state = optimizer.update(disturb.gradient(grads) if disturb else grads, state, params)
        params = apply_updates(params, disturb.update(updates) if disturb else updates)
        yield recorded(params, state)
        if not all(np.isfinite(leaf).all() for leaf in optree.tree_leaves(params)):
            return


def follow(
    reference: Reference,
    slots: Mapping[str, Callable[[Any], Tree]],
    gradient: Gradient,
    params: Tree,
    batches: Iterable[Batch],
    disturb: Disturbance | None = None,
) -> Iterator[Record]:
    """The record of each step of the reference; `slots` maps each slot of our state to a function of the reference's state."""
    state = reference.init(params)
    for x, options in batches:
        grads = gradient(params, x, options)
        moved, state = reference.step(disturb.gradient(grads) if disturb else grads, state, params)
        params = disturb.moved(params, moved) if disturb else moved
        record = dict(leaves("params", params))
        for slot, select in slots.items():
            record.update(leaves(f"state.{slot}", select(state)))
        yield record


def recorded(params: Tree, state: Any) -> Record:
    """The parameters and the state, by path."""
    return {**dict(leaves("params", params)), **dict(leaves("state", state))}


def leaves(name: str, tree: Tree) -> Iterator[tuple[str, Array]]:
    """The path and a copy of every leaf. The path of a field of a NamedTuple contains its name."""
    arrays, structure = optree.tree_flatten(tree)
    for path, leaf in zip(_paths(name, structure), arrays, strict=True):
        yield path, np.array(leaf)


@lru_cache(maxsize=64)
def _paths(name: str, structure: optree.PyTreeSpec) -> list[str]:
    """The path of each leaf. It is cached, because it is the same at every step."""

    def part(entry: Any) -> str:
        return str(entry.field if isinstance(entry, optree.NamedTupleEntry) else entry.entry)

    return [".".join((name, *map(part, accessor))) for accessor in structure.accessors()]


def check_slots(name: str, ours: Record, theirs: Record) -> None:
    """Raises a ValueError unless the records of both runs of the optimizer `name` have the same slots and shapes."""
    if ours.keys() != theirs.keys():
        uncovered, unknown = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
        raise ValueError(
            f"run: the slots of {name} must name every slot of its state and no other "
            f"(not named: {', '.join(uncovered) or 'none'}; unknown: {', '.join(unknown) or 'none'})"
        )
    for slot, array in ours.items():
        if array.shape != theirs[slot].shape:
            raise ValueError(f"run: {slot} of {name} has shape {array.shape}, the reference's has {theirs[slot].shape}")
