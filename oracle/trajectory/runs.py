"""Runs of an optimizer: the parameters and every slot of its state after each step, ours and those of another library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.measures import largest
from oracle.trajectory.spec import Batch, Gradient, Reference
from oracle.trajectory.tolerance import Record
from purenet.optimizers import GradientTransformation, apply_updates

__all__ = ["Disturbance", "check_slots", "descend", "follow", "leaves", "recorded"]

Array = NDArray[Any]
Tree = Any


class Disturbance:
    """An error of one size and of random signs: the same at every step, or others at each.

    Its measure is the largest entry so far: where a gradient vanishes, at a minimum, the terms that cancel there do not.
    """

    def __init__(self, level: float, params: Tree, *seed: int, persistent: bool) -> None:
        self.generator = np.random.default_rng([*seed, 0x736861])
        self.level = level
        self.persistent = persistent
        self.largest: Tree = optree.tree_map(lambda p: 0.0, params)
        self.of_gradient, self.of_update = self._signs(params), self._signs(params)

    def _signs(self, like: Tree) -> Tree:
        return optree.tree_map(lambda a: self.generator.choice([-1.0, 1.0], size=np.shape(a)), like)

    def gradient(self, grads: Tree) -> Tree:
        if not self.persistent:
            self.of_gradient, self.of_update = self._signs(grads), self._signs(grads)
        self.largest = optree.tree_map(lambda g, before: max(largest(g), before), grads, self.largest)
        return optree.tree_map(lambda g, size, sign: g + self.level * size * sign, grads, self.largest, self.of_gradient)

    def update(self, updates: Tree) -> Tree:
        return optree.tree_map(lambda u, sign: u * (1 + self.level * sign), updates, self.of_update)


def descend(
    optimizer: GradientTransformation,
    gradient: Gradient,
    params: Tree,
    batches: Iterable[Batch],
    disturb: Disturbance | None = None,
) -> Iterator[Record]:
    """The records of our optimizer with these gradients; they end early with numbers that are not finite."""
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
) -> Iterator[Record]:
    """The records of the reference; `slots` finds each slot of our state in its own."""
    state = reference.init(params)
    for x, options in batches:
        params, state = reference.step(gradient(params, x, options), state, params)
        record = dict(leaves("params", params))
        for slot, select in slots.items():
            record.update(leaves(f"state.{slot}", select(state)))
        yield record


def recorded(params: Tree, state: Any) -> Record:
    """The parameters and the state after one step, by path."""
    return {**dict(leaves("params", params)), **dict(leaves("state", state))}


def leaves(name: str, tree: Tree) -> Iterator[tuple[str, Array]]:
    """A copy of every leaf with its path, in which the fields of a NamedTuple have their names."""
    arrays, structure = optree.tree_flatten(tree)
    for path, leaf in zip(_paths(name, structure), arrays, strict=True):
        yield path, np.array(leaf)


@lru_cache(maxsize=64)
def _paths(name: str, structure: optree.PyTreeSpec) -> list[str]:
    """The path of each leaf; they are the same at every step."""

    def part(entry: Any) -> str:
        return str(entry.field if isinstance(entry, optree.NamedTupleEntry) else entry.entry)

    return [".".join((name, *map(part, accessor))) for accessor in structure.accessors()]


def check_slots(name: str, ours: Record, theirs: Record) -> None:
    """A ValueError unless both runs of the optimizer `name` have recorded the same."""
    if ours.keys() != theirs.keys():
        uncovered, unknown = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
        raise ValueError(
            f"run: the slots of {name} must name every slot of its state and no other "
            f"(not named: {', '.join(uncovered) or 'none'}; unknown: {', '.join(unknown) or 'none'})"
        )
    for slot, array in ours.items():
        if array.shape != theirs[slot].shape:
            raise ValueError(f"run: {slot} of {name} has shape {array.shape}, the reference's has {theirs[slot].shape}")
