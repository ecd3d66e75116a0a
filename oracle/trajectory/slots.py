"""The state of an optimizer by slots, and which slots of two optimizers are the same quantity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.trajectory.stepping import ObjectState
from oracle.trajectory.torch_steps import TorchState

__all__ = ["COUNTS", "pairs", "slots_of"]

Array = NDArray[Any]
Params = dict[str, Array]
Slots = dict[str, Any]
"""By name: a dict with an array for each parameter, or a number."""

COUNTS = ("count", "step", "steps", "iter", "iteration", "iterations", "t", "n_steps", "num_steps", "time")
GROUPS = (
    ("m", "mu", "exp_avg", "m1", "moment1", "first_moment", "ms"),
    ("nu", "exp_avg_sq", "square_avg", "sum_of_squares", "sum", "h", "s", "v", "m2", "moment2", "second_moment", "cache", "vs"),
    ("trace", "velocity", "momentum_buffer", "v", "vel", "velocities", "buf", "mu"),
    ("nu_max", "max_exp_avg_sq"),
    ("mu", "grad_avg"),
    COUNTS,
)
"""The names of one quantity in optax, purenet, torch, the book and courses. An earlier group takes a name of several first."""


def slots_of(state: Any, params: Params) -> Slots:
    """All that a state holds for each parameter, and its numbers, by the names of fields, keys and attributes."""
    found: Slots = {}
    if isinstance(state, ObjectState):
        state = state.made
    for name, value in _within("slot", state.slots if isinstance(state, TorchState) else state, params, top=True):
        found.setdefault(name.lstrip("_"), value)
    return found


def _within(name: str, value: Any, params: Params, *, top: bool = False) -> Iterator[tuple[str, Any]]:
    if value is None or isinstance(value, str | bytes | bool):
        return
    if isinstance(value, np.ndarray | np.generic | int | float) or hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.ndim == 0 and array.dtype.kind in "iuf":
            yield name, array
        return
    slot = _by_parameter(value, params)
    if slot is not None:
        yield name, slot
    elif isinstance(value, Mapping) and value and value.keys() <= params.keys():
        yield from _transposed(value, params)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _within(str(key), part, params)
    elif hasattr(value, "_fields"):
        for field in value._fields:
            yield from _within(field, getattr(value, field), params)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _within(name, part, params)
    elif top and hasattr(value, "__dict__"):
        for key, part in vars(value).items():
            yield from _within(key, part, params)


def _by_parameter(value: Any, params: Params) -> Params | None:
    """The arrays of a slot by the names of the parameters; None if it has not one for each, of its shape."""
    if isinstance(value, list | tuple) and not hasattr(value, "_fields") and len(value) == len(params):
        value = dict(zip(params, value, strict=True))
    if not isinstance(value, Mapping) or value.keys() != params.keys():
        return None
    try:
        arrays = {name: np.asarray(value[name]) for name in params}
    except ValueError:
        return None
    fits = all(a.dtype.kind in "iuf" and a.shape == params[name].shape for name, a in arrays.items())
    return arrays if fits else None


def _transposed(value: Mapping[str, Any], params: Params) -> Iterator[tuple[str, Any]]:
    """The slots of a state that is kept for each parameter apart. A number that is the same for all is one number."""
    kept = {name: own for name, own in value.items() if isinstance(own, Mapping)}
    for key in dict.fromkeys(key for own in kept.values() for key in own):
        slot = {
            name: np.asarray(own[key])
            for name, own in kept.items()
            if isinstance(own.get(key), np.ndarray | np.generic | float | int)
        }
        numbers = {float(a) for a in slot.values() if a.ndim == 0}
        if slot.keys() == params.keys() and len(numbers) == 1:
            yield str(key), next(iter(slot.values()))
        elif slot.keys() == params.keys() and (numbers or all(a.shape == params[name].shape for name, a in slot.items())):
            yield str(key), slot


def pairs(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, str]:
    """For each of our slots that the other has, too, its name there: the same name, or another name of the same quantity."""
    left, right = list(ours), list(theirs)
    found = {}
    for name in [name for name in ours if name in theirs]:
        found[name] = name
        left.remove(name)
        right.remove(name)
    for group in GROUPS:
        mine = next((name for name in left if name.lower() in group), None)
        other = next((name for name in right if name.lower() in group), None)
        if mine is not None and other is not None:
            found[mine] = other
            left.remove(mine)
            right.remove(other)
    return found
