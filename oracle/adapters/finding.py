"""Where an object keeps its parameters and their gradients, by the names that people use."""

from __future__ import annotations

import dis
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from oracle.adapters.copying import children
from oracle.text import listed

__all__ = ["MISSING", "Parameter", "Path", "at", "is_numbers", "parameters_of", "put"]

Path = tuple[Any, ...]

CONTAINERS = ("params", "parameters", "_params", "weights")
GRADIENTS = ("grads", "gradients", "grad", "dparams", "_grads")
PATTERNS = ("d{}", "d_{}", "{}_grad", "grad_{}", "{}_gradient", "grad{}", "delta_{}", "D{}")
"""How the gradient of `W` is called, as an attribute or as a key."""
MISSING = object()
NO_STATE = re.compile(r"init|build|set|load|reset|update", re.IGNORECASE)
"""Methods by whose names what they assign may be a parameter."""
SHOWN = 12  # attributes that a message names; with more, it fills the screen


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, where the object holds it, and where its gradient may be."""

    name: str
    places: tuple[Path, ...]
    """Several if the object lists one array several times; its gradient is then the sum of theirs."""
    gradients: tuple[tuple[Path | int, ...], ...]
    """For each place the paths where its gradient is looked for; a number is a position in what the backward pass returns."""
    rate: Path | None = None
    """Where the learning rate is with which the backward pass itself updates it; None if its gradient is held."""

    def gradient(self, of: Any, returned: Any = None) -> Any:
        """A copy of its gradient, in an object after the backward pass; None if there is none."""
        found: dict[int, Any] = {}
        for candidates in self.gradients:
            for path in candidates:
                value = at(returned, (path,)) if isinstance(path, int) else at(of, path)
                if value is not MISSING and value is not None:
                    found[id(value)] = value
                    break
        values = [np.array(value) for value in found.values()]
        return sum(values[1:], start=values[0]) if values else None


def is_numbers(value: Any) -> bool:
    """Whether this can be a parameter: an array of floating-point numbers, or one such number."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind == "f" or value.dtype.name == "bfloat16"
    return isinstance(value, float)


def at(value: Any, path: Path) -> Any:
    """The part of an object at a path; MISSING if there is none. What a method without arguments returns counts as a part."""
    for key in path:
        value = _part(value, key)
        if value is MISSING:
            return MISSING
    return value


def _part(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        return value[key] if key in value else value.get(int(key), MISSING) if str(key).isdecimal() else MISSING
    if isinstance(value, list | tuple):
        return value[int(key)] if str(key).isdecimal() and int(key) < len(value) else MISSING
    found = getattr(value, str(key), MISSING)
    if inspect.ismethod(found) and _needs_nothing(found):
        found = found()
    return MISSING if inspect.ismethod(found) else found


def _needs_nothing(method: Any) -> bool:
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
               for p in inspect.signature(method).parameters.values())  # fmt: skip


def put(value: Any, path: Path, new: Any) -> None:
    """Sets the part of an object at a path."""
    owner, key = at(value, path[:-1]), path[-1]
    if isinstance(owner, Mapping | list):
        owner[key] = new  # type: ignore[index]
    else:
        setattr(owner, key, new)


# ------------------------------------------------------------------------------------------------ the search


def parameters_of(
    given: Any, who: str, params: Any, grads: Any,
    *, returned: bool = False, by_layer: bool = False, constants: list[str] | None = None,
) -> list[Parameter]:  # fmt: skip
    """The parameters of an object. `params` and `grads` name them, and their gradients, if they are not None.

    An array that may be a parameter, but has no gradient, is an error; with a list of `constants`, its name is added there.
    `returned` says that the backward pass itself returns the gradients, so that the object need not hold them. With `by_layer`
    the parameters in a list are named after the layers that hold them, too.
    """
    if params is not None:
        places = _named(given, who, params)
    else:
        places = _in_container(given, ()) or [
            place for path, part in _objects(given) for place in _own(part, path, who, grads, constants)
        ]
    several: dict[Any, list[tuple[str, Path]]] = {}
    for name, path in places:
        value = at(given, path)
        several.setdefault(id(value) if isinstance(value, np.ndarray) else path, []).append((name, path))
    if by_layer and params is None:
        several = _named_by_layer(given, several)
    explicit = _explicit(grads, [same[0][0] for same in several.values()], who)
    made = []
    for same in several.values():
        name, paths = same[0][0], tuple(path for _, path in same)
        candidates = (explicit[name],) if name in explicit else tuple(tuple(_candidates(path)) for path in paths)
        made.append(Parameter(name, paths, candidates))
    without = [] if returned else _without_gradient(given, made, explicit)
    if without and constants is None:
        names = [parameter.name for parameter in without]
        raise TypeError(
            f"{who}: no gradient of {listed(names)} found in {type(given).__name__} (looked for d{names[0]}, "
            f"grads['{names[0]}'], ...){_attributes(given)}; name it: grads={{'{names[0]}': ...}}"
        )
    if constants is not None:
        constants += [parameter.name for parameter in without]
    return [parameter for parameter in made if parameter not in without]


def _named(given: Any, who: str, params: Any) -> list[tuple[str, Path]]:
    """The places that the user names: `("W", "layers.0.b")`, or `{"W": "weights"}`."""
    if isinstance(params, str) or not isinstance(params, Mapping | Sequence):
        raise TypeError(f"{who}: params must be names of attributes, such as ('W', 'b'), got {params!r}")
    wanted = params if isinstance(params, Mapping) else {name: name for name in params}
    found = []
    for name, place in wanted.items():
        path = tuple(str(place).split("."))
        path = next((p for p in (path, *((c, *path) for c in CONTAINERS)) if is_numbers(at(given, p))), path)
        if not is_numbers(at(given, path)):
            got = "nothing" if at(given, path) is MISSING else f"a {type(at(given, path)).__name__}"
            raise TypeError(f"{who}: params names {place}, where {type(given).__name__} has {got}{_attributes(given)}")
        found.append((str(name), path))
    return found


def _named_by_layer(given: Any, several: dict[Any, list[tuple[str, Path]]]) -> dict[Any, list[tuple[str, Path]]]:
    """The same places, with the names of layers where they are mere numbers: `layers.1.0` for the first one of layer 1."""
    if not all(name.isdecimal() for same in several.values() for name, _ in same):
        return several
    names: dict[int, str] = {}
    for path, part in _objects(given):
        for name, inner in _in_container(part, ()) if path else ():
            names.setdefault(id(at(part, inner)), ".".join(map(str, (*path, name))))
    if not all(key in names for key in several):
        return several
    return {key: [(names[key], path) for _, path in same] for key, same in several.items()}


def _explicit(grads: Any, names: list[str], who: str) -> dict[str, tuple[Path | int, ...]]:
    """The places of gradients that the user names: `{"W": "dW"}`, or in the order of the parameters, `("dW", "db")`."""
    if grads is None:
        return {}
    if isinstance(grads, str) or not isinstance(grads, Mapping | Sequence):
        raise TypeError(f"{who}: grads must name attributes by the parameters, such as {{'W': 'dW'}}, got {grads!r}")
    if not isinstance(grads, Mapping):
        if len(grads) != len(names):
            raise TypeError(f"{who}: grads has {len(grads)} names for {len(names)} parameters ({', '.join(names) or 'none'})")
        grads = dict(zip(names, grads, strict=True))
    unknown = [str(name) for name in grads if name not in names]
    if unknown:
        raise TypeError(f"{who}: grads names {listed(unknown)}, but the parameters are {listed(names) or 'none'}")
    return {name: (place if isinstance(place, int) else tuple(str(place).split(".")),) for name, place in grads.items()}


def _in_container(given: Any, path: Path) -> list[tuple[str, Path]]:
    """The places of all numbers in an attribute such as `params`, by their keys."""
    for name in CONTAINERS:
        held = at(given, (*path, name))
        if isinstance(held, Mapping | list | tuple):
            found = [(".".join(map(str, inner)), (*path, name, *inner)) for inner in _numbers_in(held)]
            if found:
                return found
    return []


def _numbers_in(held: Any) -> Iterator[Path]:
    for key, value in children(held):
        if is_numbers(value):
            yield (key,)
        elif isinstance(value, Mapping | list | tuple):
            yield from ((key, *inner) for inner in _numbers_in(value))


def _objects(given: Any) -> Iterator[tuple[Path, Any]]:
    """The object and the objects that it consists of, such as its layers, each once, in their order."""
    seen: set[int] = set()
    waiting: list[tuple[Path, Any]] = [((), given)]
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen or isinstance(value, np.ndarray | type | FunctionType):
            continue
        seen.add(id(value))
        if hasattr(value, "__dict__"):
            yield path, value
        waiting += reversed([((*path, key), part) for key, part in children(value)])


def _own(part: Any, path: Path, who: str, grads: Any, constants: list[str] | None) -> list[tuple[str, Path]]:
    """The parameters of one object: those in its container, or the attributes for which there is a gradient."""
    prefix = "".join(f"{key}." for key in path)
    if held := _in_container(part, ()):
        return [(prefix + name, (*path, *inner)) for name, inner in held]
    numbers = {name: value for name, value in children(part) if isinstance(name, str) and is_numbers(value)}
    called, kept = _names_in_code(type(part))
    gradients = {pattern for name in numbers for pattern in _patterns(name)}
    named = set(grads) if isinstance(grads, Mapping) else set()
    found, without = [], []
    for name, value in numbers.items():
        if name in gradients and not any(p in called or hasattr(part, p) for p in _patterns(name)):
            continue  # itself a gradient
        containers = [c for c in GRADIENTS if hasattr(part, c) or c in called]
        by_key = any(key in called for key in (name, f"d{name}")) and bool(containers)
        if prefix + name in named or by_key or any(p in called or hasattr(part, p) for p in _patterns(name)):
            found.append((prefix + name, (*path, name)))
        elif isinstance(value, np.ndarray) and name not in kept and not re.match(r"_?(running|moving)", name):
            without.append(name)
    of_found = [numbers[inner[-1]] for _, inner in found]
    without = [n for n in without if not any(np.may_share_memory(numbers[n], array) for array in of_found)]
    if without and constants is not None:
        constants += [prefix + name for name in without]
    elif without and hasattr(part, "backward"):
        looked = ", ".join(_patterns(without[0])[:4])
        raise TypeError(
            f"{who}: no gradient of {listed(without)} found in {type(part).__name__} (looked for {looked}, "
            f"grads['{without[0]}'], ...){_attributes(part)}; name it, grads={{'{without[0]}': ...}}, or name the parameters, "
            "params=[...]: other arrays are constants"
        )
    return found


def _patterns(name: str) -> list[str]:
    plain = name.lstrip("_")
    return [pattern.format(name) for pattern in PATTERNS] + ([f"_{p.format(plain)}" for p in PATTERNS] if plain != name else [])


def _candidates(path: Path) -> Iterator[Path]:
    """Where the gradient of the parameter at a path may be: beside it, or in an attribute such as `grads`."""
    *_, last = path
    place = max((i for i, key in enumerate(path) if key in CONTAINERS), default=None)
    if place is not None and place < len(path) - 1:
        before, inner = path[:place], path[place + 1 :]
        for name in GRADIENTS:
            yield (*before, name, *inner)
            if isinstance(last, str):
                yield from ((*before, name, *inner[:-1], pattern) for pattern in _patterns(last))
        if isinstance(last, str) and len(inner) == 1:
            yield from ((*before, pattern) for pattern in _patterns(last))
        return
    yield from ((*path[:-1], pattern) for pattern in _patterns(str(last)))
    for name in GRADIENTS:
        yield (*path[:-1], name, last)
        yield from ((*path[:-1], name, pattern) for pattern in _patterns(str(last)))


def _without_gradient(given: Any, found: Sequence[Parameter], explicit: Mapping[str, Any]) -> list[Parameter]:
    """Those parameters for which neither the object nor its code knows any place where the gradient may be."""
    return [
        parameter
        for parameter in found
        if parameter.name not in explicit
        and not any(_is_known(given, p) for places in parameter.gradients for p in places if not isinstance(p, int))
    ]


def _is_known(given: Any, path: Path) -> bool:
    """Whether the innermost object on the path has the next attribute, or its class mentions it, which may set it later."""
    for end in range(len(path) - 1, -1, -1):
        owner = at(given, path[:end])
        if owner is not MISSING and not isinstance(owner, Mapping | list | tuple):
            return hasattr(owner, str(path[end])) or path[end] in _names_in_code(type(owner))[0]
    return at(given, path) is not MISSING


def _attributes(given: Any) -> str:
    names = [str(name) for name, _ in children(given)] if not isinstance(given, Mapping | list | tuple) else []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"; its attributes are {', '.join(names[:SHOWN])}{more}" if names else "; it has no attributes"


def _names_in_code(kind: type) -> tuple[set[str], set[str]]:
    """The names and the texts in the methods of a class; and the attributes that its passes assign, as they do with state."""
    called: set[str] = set()
    kept: set[str] = set()
    for cls in kind.__mro__[:-1]:
        for name, method in vars(cls).items():
            code = getattr(getattr(method, "__func__", method), "__code__", None)
            if isinstance(code, CodeType):
                stored = {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_ATTR"}
                called |= set(code.co_names) | {text for text in code.co_consts if isinstance(text, str)}
                kept |= set() if NO_STATE.search(name) else stored
    return called, kept
