"""Copies of a user's object, with other arrays in the place of some of its own: nothing is shared with the original."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Original", "children", "text_of"]

Array = NDArray[Any]
Path = tuple[Any, ...]
"""The names, keys and indices that lead from an object to one of its parts."""


def children(value: Any) -> Iterator[tuple[Any, Any]]:
    """The parts of a container or of an object of a class written in Python, each with its key or its name."""
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
    elif not isinstance(value, type) and not callable(getattr(type(value), "__array__", None)):
        yield from getattr(value, "__dict__", {}).items()
        for kind in type(value).__mro__:
            slots = vars(kind).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                    yield name, getattr(value, name)


def parts_of(value: Any) -> Iterator[tuple[Path, Any]]:
    """The object itself and all of its parts, each once, with the path that leads there."""
    seen: set[int] = set()
    waiting: list[tuple[Path, Any]] = [((), value)]
    while waiting:
        path, part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield path, part
        if not isinstance(part, FunctionType):
            waiting += [((*path, key), inner) for key, inner in children(part)]


def text_of(value: Any, path: Path) -> str:
    """A path as it is written in Python, after the name of the object's class: `Net.layers[0].W`."""
    text = type(value).__name__
    for key in path:
        text += f"[{key!r}]" if isinstance(value, Mapping | list | tuple) else f".{key}"
        value = next((part for name, part in children(value) if name == key), None)
    return text


class Original:
    """An object as it was when it was given. Every evaluation starts from a copy of it."""

    def __init__(self, given: Any, who: str) -> None:
        self._who = who
        self.object = self._copied(given, {})
        self._shared = _groups(self.object)
        self._packed: dict[frozenset[int], bytes | None] = {}

    def with_arrays(self, arrays: Mapping[int, Array]) -> Any:
        """A copy in which other arrays stand for those with these ids, wherever the object holds them, or a view of them."""
        memo: dict[int, Any] = dict(arrays)
        for root, members in self._shared:
            if any(id(member) not in arrays for member in members):
                memo.update(_views(root, members, arrays, self._who))
        names = frozenset(memo)
        if names not in self._packed:
            self._packed[names] = _packed(self.object, names)
        packed = self._packed[names]
        return copy.deepcopy(self.object, memo) if packed is None else _Unpacked(io.BytesIO(packed), memo).load()

    def in_float64(self) -> Original:
        """The same object with every array of narrower floats in float64, views of one memory as such."""
        memo: dict[int, Any] = {}
        for root, members in self._shared:
            if _is_narrow(root):
                memo.update(_views(root, members, {id(members[0]): members[0].astype(np.float64)}, self._who))
        for _, part in parts_of(self.object):
            if isinstance(part, np.ndarray) and _is_narrow(part):
                memo.setdefault(id(part), part.astype(np.float64))
        return Original(copy.deepcopy(self.object, memo), self._who) if memo else self

    def _copied(self, given: Any, arrays: Mapping[int, Array]) -> Any:
        memo: dict[int, Any] = {}
        for root, members in _groups(given):
            memo.update(_views(root, members, arrays, self._who))
        try:
            made = copy.deepcopy(given, memo)
        except Exception as error:
            path, culprit, why = _uncopiable(given, error)
            raise TypeError(
                f"{self._who}: {text_of(given, path)} ({type(culprit).__name__}) cannot be copied: {why}; each evaluation "
                "needs a copy of the object"
            ) from None
        if made is given:
            raise TypeError(f"{self._who}: copy.deepcopy returns {type(given).__name__} itself; each evaluation needs a copy")
        self._check_functions(given)
        return made

    def _check_functions(self, given: Any) -> None:
        """A function is not copied, so one that holds a part of the object would go on using that of the original."""
        parts = {id(part): path for path, part in parts_of(given) if hasattr(part, "__dict__") or isinstance(part, np.ndarray)}
        for path, part in parts_of(given):
            for cell in (getattr(part, "__closure__", None) or ()) if isinstance(part, FunctionType) else ():
                held = _contents(cell)
                if id(held) in parts and not isinstance(held, FunctionType):
                    raise TypeError(
                        f"{self._who}: {text_of(given, path)} is a function that holds {text_of(given, parts[id(held)])}; a "
                        "copy of the object would use the original's: make it a method"
                    )


def _is_narrow(array: Array) -> bool:
    return array.dtype.itemsize < np.dtype(np.float64).itemsize and (array.dtype.kind == "f" or array.dtype.name == "bfloat16")


def _packed(given: Any, names: frozenset[int]) -> bytes | None:
    """The object in the form of pickle, without the arrays with these ids; None if pickle cannot write it.

    Reading this takes a tenth of the time of `copy.deepcopy`, and calls the same methods of the user's classes. The process
    that reads it has written it.
    """
    file = io.BytesIO()
    try:
        _Packing(file, names).dump(given)
        return file.getvalue()
    except Exception:  # such as a class inside a function
        return None


class _Packing(pickle.Pickler):
    def __init__(self, file: io.BytesIO, names: frozenset[int]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._names = names

    def persistent_id(self, part: Any) -> int | None:
        return id(part) if isinstance(part, np.ndarray) and id(part) in self._names else None


class _Unpacked(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, arrays: Mapping[int, Array]) -> None:
        super().__init__(file)
        self._arrays = arrays

    def persistent_load(self, name: int) -> Any:
        return self._arrays[name]


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is bound later
        return None


def _uncopiable(given: Any, error: Exception) -> tuple[Path, Any, str]:
    """The innermost part that cannot be copied by itself, and why."""
    path: Path = ()
    while True:
        for key, part in children(given):
            try:
                copy.deepcopy(part)
            except Exception as inner:
                path, given, error = (*path, key), part, inner
                break
        else:
            return path, given, f"{type(error).__name__}: {error}"


# --------------------------------------------------------------------------------- arrays that share memory


def _root(array: Array) -> Array:
    """The array whose memory this one uses."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _groups(given: Any) -> list[tuple[Array, list[Array]]]:
    """The arrays among the parts of an object that use the memory of one array, with that array."""
    groups: dict[int, tuple[Array, list[Array]]] = {}
    for _, part in parts_of(given):
        if isinstance(part, np.ndarray) and part.dtype.kind != "O":
            root = _root(part)
            groups.setdefault(id(root), (root, []))[1].append(part)
    return [(root, members) for root, members in groups.values() if len(members) > 1 and root.dtype == members[0].dtype]


def _views(root: Array, members: list[Array], arrays: Mapping[int, Array], who: str) -> dict[int, Array]:
    """The same views of a copy of the memory, by the ids of the members; those among `arrays` have their values."""
    given = [arrays[id(member)] for member in members if id(member) in arrays]
    dtype = np.result_type(root, *given)
    memory = np.array(root.ravel(order="K"), dtype)
    wider = dtype.itemsize // root.dtype.itemsize
    made = {
        id(a): np.ndarray(
            a.shape, dtype, memory, (_address(a) - _address(root)) * wider, tuple(step * wider for step in a.strides)
        )
        for a in members
    }
    for member in members:
        if id(member) in arrays:
            made[id(member)][...] = arrays[id(member)]
    for member in members:
        if id(member) in arrays and not np.array_equal(made[id(member)], arrays[id(member)], equal_nan=True):
            raise TypeError(f"{who}: two parameters share memory, so that one cannot change without the other")
    return made


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
