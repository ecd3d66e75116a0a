"""Optimizers of optax as references, and where optax has none, compositions of its parts by another route than ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import optax

from oracle.autodiff import optimizer_steps
from oracle.catalogue.optimizers.problems import LAYER
from oracle.spec import Source, library
from oracle.trajectory import Problem, TrajectorySpec
from oracle.trajectory.spec import Reference
from purenet import optimizers, schedules

__all__ = ["CONSTANT", "DECAY", "by_optax", "decaying", "falling", "follows", "slot"]

Tree = Any
Select = Callable[[Any], Tree]

FIRST_TIER = {"sgd", "momentum", "adagrad", "rmsprop", "adam", "clip_by_global_norm"}  # what the notes use
DECAY = (5, 0.7)  # the learning rate is multiplied by 0.7 every 5 steps
# optax counts steps only under a schedule, so a constant rate is given to it as a constant schedule.
CONSTANT = optax.constant_schedule


def decaying(rate: float) -> Callable[[Any], Any]:
    """The schedule of optax in float64: asked with its own int32 count it answers in float32, even where float64 is enabled."""
    schedule = optax.exponential_decay(rate, *DECAY)
    return lambda count: schedule(jnp.asarray(count, jnp.int64))


def falling(rate: float) -> Callable[[int], float]:
    """Ours of the same."""
    return schedules.exponential_decay(rate, *DECAY)


def by_optax(source: Source, optimizer: optax.GradientTransformation) -> Reference:
    """An optax optimizer as a function from NumPy to NumPy, in float64."""
    return Reference(source, *optimizer_steps(optimizer.init, optimizer.update))


def slot(place: int, *names: str) -> dict[str, Select]:
    """The slots of these names in the state at this place in a chain of optax."""

    def select(name: str) -> Select:
        return lambda state: getattr(state[place], name)

    return {name: select(name) for name in names}


def follows(
    name: str,
    ours: optimizers.GradientTransformation,
    theirs: Any,
    slots: Mapping[str, Select],
    source: Source | str,
    problem: Problem = LAYER,
    constant: Iterable[str] = (),
) -> TrajectorySpec:
    """The record of our optimizer and of theirs; a source that is a name is that of a function of optax."""
    source = library(f"optax.{source}") if isinstance(source, str) else source
    tier = 1 if name.split(",", maxsplit=1)[0] in FIRST_TIER else 2
    return TrajectorySpec(name, ours, by_optax(source, theirs), slots, problem, tier, frozenset(constant))
