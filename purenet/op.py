"""The one protocol: a pure forward function and, directly below it, its hand-written pullback.

    @Op
    def square(x):
        '''y = x**2'''
        return x * x, x                      # the value, and what the pullback needs of it

    @square.pullback
    def square_bwd(x, dy):
        return (2 * x * dy,)                 # one cotangent per positional argument

`square(x)` is the value; `square.fwd(x)` the value and its residuals; `square.bwd(residuals, dy)` the
cotangents; `vjp(square, x)` the value and a closure over its residuals.

One rule decides what is differentiated: *positional arguments are, keywords are not*. Labels, masks, keys and
options are therefore keyword-only, and a positional argument that a caller gives by keyword is a constant.

The steps that every op needs happen here, once, so that they clutter no formula: arguments must be floating-point
arrays of one dtype (or trees of them), a cotangent must have the structure, shapes and dtypes of its value, and
16-bit floats are computed in float32 and rounded once, at the end.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, Generic

import numpy as np
import optree

from purenet.arrays import Array, Tree, cast, common_dtype, is_floating, is_single, native

if TYPE_CHECKING:  # only type checkers need the defaults, which Python has from 3.13 on: `Op` alone is `Op[..., Any]`
    from typing_extensions import ParamSpec, TypeVar

    P = ParamSpec("P", default=...)
    Y = TypeVar("Y", default=Any)
else:
    from typing import ParamSpec, TypeVar

    P, Y = ParamSpec("P"), TypeVar("Y")

__all__ = ["ALL", "Array", "Op", "Residuals", "Tree", "vjp"]

Backward = TypeVar("Backward", bound=Callable[..., tuple[Any, ...]])
_ONE_ARRAY = (np.ndarray, np.generic)

ALL = range(64)
"""The default of `wanted`, which a pullback may take: the numbers of the arguments whose cotangents the caller needs."""


class Residuals:
    """The residuals of a forward pass: `saved`, which its pullback takes, and the data to check the cotangent.

    It reads like the value that the forward function saved: `residuals.mean`, `residuals["affine1"]` and unpacking reach
    through to it.
    """

    __slots__ = ("differentiated", "dtype", "op", "saved", "shapes", "structure")

    def __init__(
        self,
        op: str,
        saved: Any,
        dtype: np.dtype[Any],
        structure: optree.PyTreeSpec | None,
        shapes: tuple[tuple[int, ...], ...],
        differentiated: tuple[int, ...],
    ) -> None:
        self.op = op
        self.saved = saved
        self.dtype = dtype
        self.structure = structure  # of the value; None for a single array, by far the most common
        self.shapes = shapes
        self.differentiated = differentiated

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in Residuals.__slots__:  # keeps copy and pickle from looking inside
            raise AttributeError(name)
        return getattr(self.saved, name)

    def __getitem__(self, key: Any) -> Any:
        return self.saved[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.saved)

    def __len__(self) -> int:
        return len(self.saved)

    def __repr__(self) -> str:
        return f"Residuals(op={self.op!r}, saved={self.saved!r})"


class Op(Generic[P, Y]):
    """A pure function of arrays with a hand-written pullback (see the module's first lines).

    To a type checker it has the signature of its forward function, so that an editor completes its arguments and options.
    """

    def __init__(self, forward: Callable[P, tuple[Y, Any]], *, name: str | None = None) -> None:
        signature = inspect.signature(forward)
        for p in signature.parameters.values():
            if p.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
                raise TypeError(f"{name or forward.__name__}: an Op takes arguments and options by name, not {p} (take a tree)")
        self.forward = forward
        self.backward: Callable[..., tuple[Any, ...]] | None = None
        self.selective = False
        self.name = name or forward.__name__
        self.bound: dict[str, Any] = {}
        self.arguments = tuple(n for n, p in signature.parameters.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY)
        self.arrays = tuple(is_single(signature.parameters[n].annotation) for n in self.arguments)
        """Which of the arguments are single arrays, as their annotation says: the others may be trees."""
        self.takes_params = self.arguments[:1] == ("params",)
        """Whether the first argument is a tree of parameters."""
        self.every = tuple(range(len(self.arguments)))
        """What is differentiated if no argument is given by keyword."""
        self.named = frozenset(self.arguments)
        self.keywords = tuple(n for n, p in signature.parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY)
        self.switches = frozenset(n for n in self.keywords if signature.parameters[n].annotation in ("bool", bool))
        self.required = tuple(n for n in self.keywords if signature.parameters[n].default is inspect.Parameter.empty)
        self.__name__ = self.name
        self.__qualname__ = self.name
        self.__module__ = forward.__module__
        self.__doc__ = forward.__doc__
        self.__signature__ = signature

    def __repr__(self) -> str:
        options = "".join(f", {k}={v!r}" for k, v in self.bound.items())
        return f"<Op {self.name}({', '.join(self.arguments)}{options})>"

    def pullback(self, backward: Backward) -> Backward:
        """Decorator: `backward(saved, dy)` returns one cotangent per positional argument, in order.

        If one of them is expensive, `backward(saved, dy, *, wanted=ALL)` may return None for an argument whose number is not in
        `wanted`: the caller gave that argument by keyword, as a constant.
        """
        if self.backward is not None:
            raise TypeError(f"{self.name}: the pullback is already {self.backward.__name__}")
        self.backward = backward
        self.selective = _takes_wanted(backward)
        return backward

    def bind(self, **options: Any) -> Op[..., Y]:
        """The same Op with these keywords fixed: `conv2d.bind(stride=2)`."""
        self._check_keywords(options)
        op = object.__new__(type(self))
        op.__dict__.update(self.__dict__)
        op.bound = self._merge(options)
        return op

    def __call__(self, *primals: P.args, **options: P.kwargs) -> Y:
        """The value, without residuals."""
        return self.fwd(*primals, **options)[0]

    def fwd(self, *primals: P.args, **options: P.kwargs) -> tuple[Y, Residuals]:
        """The value, and the residuals that `bwd` takes."""
        if options or self.bound or len(primals) != len(self.every):
            self._check_keywords(options)
            merged = self._merge(options)
            values, differentiated = self._arrange(primals, merged)
        else:  # the most common call has nothing to arrange
            merged, values, differentiated = {}, list(primals), self.every
        for name in self.required:
            if name not in merged:
                raise TypeError(f"{self.name}: missing the keyword argument {name!r}")
        arrays, dtype = values, common_dtype(values, self.arrays)
        if dtype is None:
            arrays, dtype = self._floating(values)
        narrow = dtype.itemsize == 2
        forward: Callable[..., Any] = self.forward
        if narrow:
            arrays = [cast(a, np.dtype(np.float32)) for a in arrays]
        try:
            result: Any = forward(*arrays, **merged)
        except (TypeError, ValueError) as error:
            sign(error, self.name)
            raise
        except OverflowError as error:
            raise ValueError(f"{self.name}: a number is too large: {error}") from error
        if not isinstance(result, tuple) or len(result) != 2:  # an array of two would unpack silently
            raise TypeError(f"{self.name}: the forward function must return the value and what it saves, (y, saved)")
        y, saved = result
        if narrow:
            y = cast(y, dtype)
        if isinstance(y, _ONE_ARRAY):
            structure, shapes = None, (y.shape,)
        else:
            tree: Any = y
            leaves, structure = optree.tree_flatten(tree)
            shapes = tuple(leaf.shape for leaf in leaves)
        return y, Residuals(self.name, saved, dtype, structure, shapes, differentiated)

    def bwd(self, residuals: Residuals, dy: Any) -> tuple[Any, ...]:
        """The cotangents of the positional arguments, given the cotangent `dy` of the value."""
        if self.backward is None:
            raise TypeError(f"{self.name}: no pullback is defined; decorate one with @{self.name}.pullback")
        if type(residuals) is not Residuals or residuals.op != self.name:
            self._check_residuals(residuals)
        dtype = residuals.dtype
        fits = type(dy) is np.ndarray and dy.dtype is dtype and residuals.structure is None and dy.shape == residuals.shapes[0]
        if not fits:
            dy = self._cotangent(residuals, dy)
        if dtype.itemsize == 2:
            dy = cast(dy, np.dtype(np.float32))
        if self.selective:
            cotangents = self.backward(residuals.saved, dy, wanted=residuals.differentiated)
        else:
            cotangents = self.backward(residuals.saved, dy)
        if not isinstance(cotangents, tuple) or len(cotangents) != len(self.arguments):
            raise TypeError(
                f"{self.name}: the pullback must return a tuple with one cotangent for each of {', '.join(self.arguments)}"
            )
        if dtype.itemsize == 2:
            cotangents = tuple(cast(c, dtype) for c in cotangents)
        if residuals.differentiated is self.every and type(cotangents) is tuple:
            return cotangents
        return tuple([cotangents[i] for i in residuals.differentiated])

    # ------------------------------------------------------------------------------------------ checks

    def _merge(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.bound, **options}

    def _check_keywords(self, options: Mapping[str, Any]) -> None:
        for name in options:
            if name not in self.keywords and name not in self.arguments:
                known = ", ".join(self.keywords) or "none"
                raise TypeError(f"{self.name}: unknown keyword argument {name!r} (options: {known})")
            if name in self.switches:
                boolean(self.name, name, options[name])

    def _arrange(self, primals: tuple[Any, ...], options: dict[str, Any]) -> tuple[list[Any], tuple[int, ...]]:
        """Every argument in order, those given by keyword taken out of `options`; and which were positional."""
        if len(primals) == len(self.every) and self.named.isdisjoint(options):
            return list(primals), self.every
        values, free, given = [], [], iter(primals)
        for i, name in enumerate(self.arguments):
            if name in options:
                values.append(options.pop(name))
            else:
                free.append(i)
                values.append(next(given, None))
        if len(free) != len(primals):
            names = ", ".join(self.arguments[i] for i in free) or "no"
            count = f"{len(free)} positional argument" + ("s" if len(free) != 1 else "")
            more = f"; give {', '.join(self.keywords)} by keyword" if len(primals) > len(free) and self.keywords else ""
            raise TypeError(f"{self.name}: takes {count} ({names}), got {len(primals)}{more}")
        return values, self.every if len(free) == len(values) else tuple(free)

    def _floating(self, values: list[Any]) -> tuple[list[Any], np.dtype[Any]]:
        """The arguments with every leaf an array, and the one dtype they share."""
        first: tuple[str, np.dtype[Any]] | None = None
        arrays: list[Any] = []
        for name, value, single in zip(self.arguments, values, self.arrays, strict=True):
            if single and not (isinstance(value, float) or hasattr(value, "__array__")):
                raise TypeError(f"{self.name}: {name} must be an array, got {type(value).__name__}")
            paths, leaves, structure = optree.tree_flatten_with_path(value)
            for i, path in enumerate(paths):
                place = ".".join((name, *map(str, path)))
                leaves[i] = leaf = self._array(place, leaves[i])
                first = first or (place, leaf.dtype)
                if leaf.dtype != first[1]:
                    raise TypeError(
                        f"{self.name}: arguments must share one dtype, but {first[0]} is {first[1]} and {place} is {leaf.dtype}"
                    )
            arrays.append(optree.tree_unflatten(structure, leaves))
        return arrays, np.dtype(np.float64) if first is None else first[1]

    def _array(self, path: str, leaf: Any) -> Array:
        if isinstance(leaf, np.ma.MaskedArray) or not (isinstance(leaf, float) or hasattr(leaf, "__array__")):
            raise TypeError(f"{self.name}: {path} must be a floating-point array, got {type(leaf).__name__}")
        array = np.asarray(leaf)
        if not is_floating(array.dtype):
            raise TypeError(
                f"{self.name}: {path} must be a floating-point array (float64, float32, float16 or bfloat16), got {array.dtype}"
            )
        return native(array)

    def _check_residuals(self, residuals: Any) -> None:
        if not isinstance(residuals, Residuals) or residuals.op != self.name:
            what = f"those of {residuals.op}" if isinstance(residuals, Residuals) else type(residuals).__name__
            raise TypeError(f"{self.name}: residuals must be those of {self.name}.fwd, got {what}")

    def _cotangent(self, residuals: Residuals, dy: Any) -> Any:
        """`dy` as arrays, of the value's structure, shapes and dtype; a Python number stands for a scalar."""
        leaves: list[Any]
        if residuals.structure is None:
            leaves = [dy]
        else:
            leaves, structure = optree.tree_flatten(dy)
            if structure != residuals.structure:
                raise ValueError(
                    f"{self.name}: the cotangent dy has the structure {structure}, the value has {residuals.structure}"
                )
        for i, (leaf, shape) in enumerate(zip(leaves, residuals.shapes, strict=True)):
            array: Any
            if type(leaf) in (float, int) and shape == ():
                array = np.asarray(leaf, residuals.dtype)
            elif isinstance(leaf, np.ma.MaskedArray) or not hasattr(leaf, "__array__"):
                raise TypeError(f"{self.name}: the cotangent dy must be an array, got {type(leaf).__name__}")
            else:
                array = native(np.asarray(leaf))
            if array.shape != shape:
                raise ValueError(f"{self.name}: the cotangent dy has shape {array.shape}, the value it belongs to has {shape}")
            if array.dtype != residuals.dtype:
                raise TypeError(f"{self.name}: the cotangent dy is {array.dtype}, the value it belongs to is {residuals.dtype}")
            leaves[i] = array
        return leaves[0] if residuals.structure is None else optree.tree_unflatten(residuals.structure, leaves)


def _takes_wanted(backward: Callable[..., Any]) -> bool:
    """Whether a pullback has the parameter `wanted`. `inspect.signature` took a twentieth of the time of `import purenet`."""
    if type(backward) is not FunctionType or hasattr(backward, "__wrapped__"):
        return "wanted" in inspect.signature(backward).parameters
    code = backward.__code__
    return "wanted" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def boolean(op: str, name: str, value: Any) -> bool:
    """`value` as a Python boolean; raise unless it is one, or NumPy's: what an `if` takes for true may be meant otherwise."""
    if value is not True and value is not False and not isinstance(value, np.bool_):
        raise TypeError(f"{op}: {name} must be True or False, got {value!r}")
    return bool(value)


def sign(error: TypeError | ValueError, name: str, inner: str = "") -> None:
    """Let the message begin with the name of the op that was called, even if a shared core or a part has raised the error.

    The name of the part, if it is `inner`, is left out: users do not know the name of a chain inside a block.
    """
    message = str(error).removeprefix(f"{inner}: ") if inner else str(error)
    if len(error.args) == 1 and not message.startswith(f"{name}: "):
        error.args = (f"{name}: {message}",)


def vjp(op: Op, *primals: Any, **options: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """The value of `op`, and the function that takes its cotangent to the cotangents of the primals.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.tanh, np.array([0.0, 1.0]))
    >>> pullback(np.ones(2))[0].round(4)
    array([1.  , 0.42])
    """
    if not isinstance(op, Op):
        raise TypeError(f"vjp: op must be an Op, such as purenet.tanh, got {getattr(op, '__name__', type(op).__name__)}")
    y, residuals = op.fwd(*primals, **options)
    return y, lambda dy: op.bwd(residuals, dy)
