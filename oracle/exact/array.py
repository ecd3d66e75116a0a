"""`BallArray`: what the forward function gets for a float64 array, with balls as elements.

It is no subclass of `np.ndarray`, and its memory is out of reach: code that reads the buffer of an array (C through ctypes,
numba, a library's kernels) gets no numbers instead of wrong ones. To Python code it is an ndarray of dtype float64
(`isinstance` says so), because forward functions check that. NumPy's ufuncs and functions reach it through
`__array_ufunc__` (`ufuncs`) and `__array_function__` (`functions`), methods through `METHODS`.

Of the 176 ops of the catalogue, below their checks of arguments, a subclass of dtype object ran 134 and this class 146; with
the functions of `stand_ins` it runs all, checks included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from oracle.exact.balls import Ball
from oracle.exact.kinks import WORK

__all__ = ["FLOAT", "HANDLERS", "KEPT", "BallArray", "check_dtype", "has_balls", "lifted", "unwrapped", "wrapped"]

Objects = NDArray[Any]
FLOAT = np.dtype(np.float64)
KEPT = (FLOAT, np.dtype(object))
"""Dtypes in which a ball stays what it is."""

VIEWS = (
    "reshape", "ravel", "flatten", "transpose", "swapaxes", "squeeze", "copy", "take", "repeat", "diagonal", "compress",
)  # fmt: skip
"""Methods that move elements and do not look at them; a view of the elements is a view of the array."""

FUNCTIONS = (
    "sum", "prod", "mean", "var", "std", "max", "min", "argmax", "argmin", "argsort", "cumsum", "cumprod", "dot", "clip",
    "round", "any", "all", "nonzero", "trace", "searchsorted", "choose",
)  # fmt: skip
"""Methods that do what NumPy's function of that name does."""

MEMORY = ("ctypes", "data")
"""Attributes by which C code reads and writes the numbers."""

PLAIN = ("shape", "ndim", "size", "strides", "flags", "__len__")
"""Attributes that say nothing about the numbers."""


HANDLERS: dict[str, Callable[..., Any]] = {}
"""What NumPy's protocols call: `ufuncs.applied`, `functions.called`, the namespace of `stand_ins`. They stand on this module,
so `stand_ins` puts them here."""


class BallArray(NDArrayOperatorsMixin):
    """An array of balls. `elements` holds balls, and Python numbers where an element is a constant."""

    __slots__ = ("elements",)
    __array_priority__ = 1000

    def __init__(self, elements: Objects) -> None:
        self.elements = elements

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # what `isinstance` asks
        return np.ndarray

    @property
    def dtype(self) -> np.dtype[Any]:
        return FLOAT

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Objects:
        """The elements as objects, which are still balls; NumPy raises when it makes floats of them.

        Constants leave as float64, in memory that nothing can write to: what a library wrote there would be lost.
        """
        if not has_balls(self.elements):
            return _read_only(self.elements.astype(FLOAT).astype(dtype or FLOAT))
        if dtype is not None and np.dtype(dtype) != object:
            return np.asarray(self.astype(dtype).elements, dtype)
        return self.elements.copy() if copy else self.elements

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        return HANDLERS["ufunc"](ufunc, method, inputs, keywords)

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        return HANDLERS["function"](function, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in PLAIN:
            return getattr(self.elements, name)
        if name in ("T", "mT"):
            return BallArray(getattr(self.elements, name))
        if name in METHODS:
            return METHODS[name].__get__(self)
        if name in VIEWS:
            return lambda *args, **kwargs: wrapped(getattr(self.elements, name)(*_plain(args), **kwargs))
        if name in FUNCTIONS:
            function = getattr(np, name)
            return lambda *args, **kwargs: function(self, *args, **kwargs)
        if name == "__array_namespace__":
            return HANDLERS["namespace"]
        if name.startswith("__") or not hasattr(np.ndarray, name):
            raise AttributeError(f"'numpy.ndarray' object has no attribute {name!r}")
        if name not in MEMORY and not has_balls(self.elements):
            return getattr(np.asarray(self), name)
        raise WORK.refuse(f"ndarray.{name} has no exact rule")

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "shape":
            self.elements = self.elements.reshape(value)
        elif name == "elements":
            object.__setattr__(self, name, value)
        else:
            raise WORK.refuse(f"ndarray.{name} cannot be set exactly")

    # ------------------------------------------------------------------------------------------ items

    def __len__(self) -> int:
        return len(self.elements)

    def __iter__(self) -> Iterator[BallArray]:
        if self.elements.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (wrapped(item) for item in self.elements)

    def __getitem__(self, key: Any) -> Any:
        return wrapped(self.elements[_key(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        elements = lifted(value)
        scalar = isinstance(elements, np.ndarray) and elements.ndim == 0
        self.elements[_key(key)] = elements[()] if scalar else elements  # an array would become one of the elements

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    # ------------------------------------------------------------------------------------------ one number

    def __bool__(self) -> bool:
        return bool(self.elements != 0)

    def __float__(self) -> float:
        return float(self.elements)

    def __int__(self) -> int:
        return int(self.elements)

    def __complex__(self) -> complex:
        return complex(self.elements)

    def __index__(self) -> int:  # as NumPy's float arrays
        raise TypeError("only integer scalar arrays can be converted to a scalar index")

    def __round__(self, digits: int | None = None) -> Any:
        return self.round(digits or 0)

    def __repr__(self) -> str:
        return f"BallArray({self.elements!r})"

    def __format__(self, form: str) -> str:
        return repr(self)

    def __copy__(self) -> BallArray:
        return BallArray(self.elements.copy())

    def __deepcopy__(self, memo: Any) -> BallArray:
        return BallArray(self.elements.copy())

    def __reduce__(self) -> Any:
        raise WORK.refuse("pickling an array that depends on the arguments")

    @property
    def real(self) -> BallArray:
        return self

    @property
    def imag(self) -> Any:
        return np.zeros(self.shape)

    @property
    def flat(self) -> Any:
        return BallArray(self.elements.reshape(-1))

    @property
    def base(self) -> Any:
        return self.elements.base

    @property
    def itemsize(self) -> int:
        return FLOAT.itemsize

    @property
    def nbytes(self) -> int:
        return FLOAT.itemsize * self.elements.size

    @property
    def device(self) -> str:
        return "cpu"

    def astype(self, dtype: Any, **options: Any) -> Any:
        dtype = np.dtype(dtype)
        if dtype in KEPT:
            return self if options.get("copy") is False else BallArray(self.elements.copy())
        if dtype.kind == "b":
            return self != 0
        if not has_balls(self.elements):
            return self.elements.astype(dtype)
        if dtype.kind in "iu":  # a step function of the numbers, such as floor
            return np.frompyfunc(_whole, 1, 1)(self.elements).astype(dtype)
        check_dtype(dtype)
        return self


def _read_only(array: Objects) -> Objects:
    array.flags.writeable = False
    return array


def _whole(element: Any) -> int:
    return element.__trunc__() if type(element) is Ball else int(element)


def _item(self: BallArray, *index: Any) -> Any:
    """One element, still a ball: its class keeps it from becoming a float."""
    if not index and self.elements.size != 1:
        raise ValueError("can only convert an array of size 1 to a Python scalar")
    return self[index] if len(index) > 1 else self.flat[index[0] if index else 0]


def _tolist(self: BallArray) -> Any:
    return [_tolist(part) for part in self] if self.ndim else self


def _sort(self: BallArray, axis: int = -1, **options: Any) -> None:
    self[...] = np.sort(self, axis)


def _fill(self: BallArray, value: Any) -> None:
    self[...] = value


def _put(self: BallArray, indices: Any, values: Any, mode: Any = "raise") -> None:
    self.elements.put(indices, lifted(values), mode)


def _view(self: BallArray, dtype: Any = None, type: Any = None) -> Any:  # noqa: A002 (NumPy's name)
    for asked in (dtype, type):
        if not (asked is None or asked is np.ndarray or np.dtype(asked) == FLOAT):
            if not has_balls(self.elements):
                return np.asarray(self).view(asked)
            raise WORK.refuse(f"a view of float64 numbers as {asked}")
    return BallArray(self.elements.view())


def _conj(self: BallArray) -> BallArray:
    return self


def _setflags(self: BallArray, **options: Any) -> None:
    self.elements.setflags(**options)


METHODS: dict[str, Callable[..., Any]] = {
    "item": _item,
    "tolist": _tolist,
    "sort": _sort,
    "fill": _fill,
    "put": _put,
    "view": _view,
    "conj": _conj,
    "conjugate": _conj,
    "setflags": _setflags,
}


def check_dtype(dtype: Any) -> None:
    """Raise unless numbers that depend on the arguments keep all digits in this dtype."""
    if dtype is not None and np.dtype(dtype) not in KEPT:
        raise WORK.refuse(f"computes in {np.dtype(dtype)}")


def wrapped(result: Any) -> Any:
    """Balls as an array of balls, also inside lists and tuples; anything else as it is."""
    if type(result) is Ball:
        elements = np.empty((), object)
        elements[()] = result
        return BallArray(elements)
    if type(result) is np.ndarray:
        return BallArray(result) if result.dtype == object else result
    if type(result) in (tuple, list):
        return type(result)(map(wrapped, result))
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*map(wrapped, result))
    return result


def unwrapped(argument: Any) -> Any:
    """The elements of an array of balls, also inside lists and tuples; anything else as it is."""
    if type(argument) is BallArray:
        return argument.elements
    if type(argument) in (tuple, list):
        return type(argument)(map(unwrapped, argument))
    return argument


def lifted(value: Any) -> Any:
    """What can be written among balls: balls, and floats as they stand."""
    if type(value) is BallArray:
        return value.elements
    if type(value) is Ball:
        return value
    array = np.asarray(value)
    if array.dtype == object:
        return array if type(value) is np.ndarray else np.array(unwrapped(value), object)
    return array.astype(np.float64).astype(object)


def has_balls(elements: Objects) -> bool:
    """Whether an element depends on the arguments."""
    return any(type(element) is Ball for element in elements.flat)


def _plain(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(unwrapped(a) for a in args)


def _key(key: Any) -> Any:
    """An index; an array of whole numbers may be held as floats, never one of balls."""
    if type(key) is BallArray:
        raise WORK.refuse("an index that depends on the arguments")
    return key
