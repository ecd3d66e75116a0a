"""The hyperparameters that an optimizer holds: in closures of its functions, in attributes, in torch's groups of parameters.

They are only proposals. A rule with them must reproduce the optimizer's run before anything is said about it.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice, product
from typing import Any

from oracle.trajectory.rule import Numbers

__all__ = ["in_float32", "numbers_in", "proposals"]

DEEPEST = 8
"""Functions inside functions; optax has five. With more, the closures of the user's whole program may be searched."""
PARTS = 100
"""Attributes, keys or elements of one thing that are looked at: an optimizer may keep a history of a million losses."""
MOST = 6
"""Values of one hyperparameter that are tried. With more, the combinations take seconds."""
NAMES = {
    "b1": ("b1", "beta1", "beta_1", "momentum", "decay", "mu", "alpha", "beta", "rho", "gamma", "keep"),
    "b2": ("b2", "beta2", "beta_2", "decay", "decay_rate", "alpha", "rho", "gamma", "beta"),
    "eps": ("eps", "epsilon", "e"),
    "eps_root": ("eps_root",),
    "weight_decay": ("weight_decay", "wd", "lambda_", "lam", "l2", "reg", "decay_rate", "value"),
    "start": ("initial_accumulator_value", "initial_scale", "start", "nu", "sum_of_squares"),
    "momentum_decay": ("momentum_decay", "schedule_decay", "psi", "d"),
}
DEFAULTS = {
    "b1": (0.9, 0.0),
    "b2": (0.999, 0.9, 0.99),
    "eps": (1e-8, 1e-7, 1e-10),
    "eps_root": (0.0,),
    "weight_decay": (0.0,),
    "start": (0.0,),
    "momentum_decay": (0.0,),
}
"""Beside what is found: hyperparameters may be constants of the code."""


def numbers_in(thing: Any) -> dict[str, list[float]]:
    """The numbers that can be reached from an optimizer, by their names; the constants of its code have the name ""."""
    found: dict[str, list[float]] = {}
    for name, number in _reached("", thing, 0, set()):
        values = found.setdefault(name.strip("_").lower() if name != "lambda_" else name, [])
        value = number.item() if hasattr(number, "item") else number
        if isinstance(value, int | float) and float(value) not in values:
            values.append(float(value))
    return found


def in_float32(thing: Any) -> list[str]:
    """The names of the numbers that an optimizer holds in float32."""
    return [name for name, number in _reached("", thing, 0, set()) if str(getattr(number, "dtype", "")).endswith("float32")]


def _reached(name: str, thing: Any, depth: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, bool | str | bytes) or thing is None or depth > DEEPEST:
        return
    if isinstance(thing, int | float) or (getattr(thing, "ndim", None) == 0 and hasattr(thing, "item")):
        yield name, thing
        return
    if id(thing) in seen:
        return
    seen.add(id(thing))
    for part_name, part in islice(_parts(name, thing), PARTS):
        yield from _reached(part_name, part, depth + 1, seen)


def _parts(name: str, thing: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(thing, Mapping):
        return [(str(key), part) for key, part in thing.items()]
    if isinstance(thing, tuple | list):
        if name in ("betas", "beta") and len(thing) == 2:
            return [("b1", thing[0]), ("b2", thing[1])]
        return [(name, part) for part in thing]
    if isinstance(thing, partial):
        return [*thing.keywords.items(), (name, thing.func)]
    if isinstance(thing, types.MethodType):
        return [("", thing.__func__), ("", thing.__self__)]
    if isinstance(thing, types.FunctionType):
        return [*_of_function(thing)]
    module = type(thing).__module__ or ""
    if module.partition(".")[0] in ("numpy", "jax", "jaxlib", "torch", "builtins"):
        return []
    methods = [
        ("", f)
        for f in (getattr(type(thing), n, None) for n in ("update", "step", "__call__"))
        if isinstance(f, types.FunctionType)
    ]
    return [*getattr(thing, "__dict__", {}).items(), *methods]


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    if hasattr(function, "__wrapped__"):
        yield "", function.__wrapped__
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # a variable without a value
            continue
    defaults = function.__defaults__ or ()
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    yield from zip(names[len(names) - len(defaults) :], defaults, strict=True)
    yield from (function.__kwdefaults__ or {}).items()
    yield from (("", constant) for constant in function.__code__.co_consts if isinstance(constant, float))


def proposals(found: Mapping[str, list[float]], names: Iterable[str], *, defaults: bool) -> Iterator[Numbers]:
    """All combinations of what was found for these hyperparameters; of the usual values, too, if `defaults`, or if none was."""
    names = list(names)
    columns = []
    for name in names:
        own = values_of(found, name)
        columns.append(list(dict.fromkeys([*own, *DEFAULTS[name]]))[:MOST] if defaults or not own else own)
    for values in product(*columns):
        yield Numbers(**dict(zip(names, values, strict=True)))


def values_of(found: Mapping[str, list[float]], name: str) -> list[float]:
    """What was found for a hyperparameter: by its names, and among the constants of the code."""
    named = [value for key in NAMES[name] for value in found.get(key, ())]
    if name in ("b1", "b2"):
        named = [value for value in named if 0 <= value < 1]
    unnamed = [value for value in found.get("", ()) if _fits(name, value)]
    return list(dict.fromkeys([*named, *unnamed]))[:MOST]


def _fits(name: str, value: float) -> bool:
    """Whether a constant of the code may be this hyperparameter."""
    return {"b1": 0.5 <= value < 1, "b2": 0.5 <= value < 1, "eps": 0 < value <= 1e-3}.get(name, False)
