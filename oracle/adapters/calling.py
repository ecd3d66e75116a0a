"""Calls of a user's methods: which parameter gets what, what comes back, and the names of both for reports."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import optree

__all__ = [
    "RATES",
    "accepted",
    "as_gradient",
    "as_value",
    "called",
    "inputs_of",
    "keywords_of",
    "labelled",
    "one_for_each",
    "parameters_of",
    "seeded",
]

EXTRA = 8  # names for what `*xs` takes; an input beyond these has only a number
RATES = ("learning_rate", "lr", "learningRate", "eta")
"""How the factor of an update is called, as a parameter of a backward pass that updates weights, or as an attribute."""
# The learning rate of a backward pass that must get one, without a unit; a right layer has the same gradients with any other.
ANY_RATE = 1.0


Parameters = Mapping[str, inspect.Parameter]
_KNOWN: WeakKeyDictionary[FunctionType, dict[type, Parameters]] = WeakKeyDictionary()
"""The parameters of functions, and of the methods that they are. Every evaluation calls methods of another copy of the same
object, and to read a signature takes longer than most of these calls."""


def parameters_of(function: Callable[..., Any]) -> Parameters | None:
    """The parameters of a function or method by their names; None if Python does not know them."""
    written = function.__func__ if isinstance(function, MethodType) else function
    if not isinstance(written, FunctionType):
        return _signature(function)
    known = _KNOWN.setdefault(written, {})
    if type(function) not in known:
        found = _signature(function)
        if found is None:
            return None
        known[type(function)] = found
    return known[type(function)]


def _signature(function: Callable[..., Any]) -> Parameters | None:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None


def inputs_of(function: Callable[..., Any]) -> list[str]:
    """The names of the parameters that can be passed by position; `*xs` gives several."""
    names: list[str] = []
    for p in (parameters_of(function) or {}).values():
        if p.kind is p.VAR_POSITIONAL:
            names += [f"{p.name}{i}" for i in range(EXTRA)]
        elif p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            names.append(p.name)
    return names


def called(function: Callable[..., Any], primals: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """The result, with the primals for the parameters that no option names, in their order."""
    free = [name for name in inputs_of(function) if name not in options]
    given = dict(zip(free, primals, strict=False))
    parameters = parameters_of(function) or {}
    if len(free) < len(primals) or any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in parameters.values()):
        return function(*primals, **options)
    return function(**given, **options)


def accepted(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the function has parameters for."""
    parameters = parameters_of(function)
    if parameters is None:
        return dict(options)
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return {name: value for name, value in options.items() if anything or name in parameters}


def keywords_of(method: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a backward pass takes, and a learning rate if it must get one."""
    found = accepted(method, options)
    for p in list((parameters_of(method) or {}).values())[1:]:
        if p.name in RATES and p.default is inspect.Parameter.empty:
            found.setdefault(p.name, ANY_RATE)
    return found


def as_value(value: Any, like: Sequence[Any]) -> Any:
    """A copy of what a forward pass returned, as arrays that are not narrower than the arguments."""
    tree: Any = value
    given: Any = tuple(like)
    wide = [np.asarray(leaf).dtype for leaf in optree.tree_leaves(given)]

    def array(leaf: Any) -> Any:
        made = np.array(leaf)
        if made.dtype.kind == "f" and wide and all(made.dtype.itemsize < dtype.itemsize for dtype in wide):
            return made.astype(np.result_type(*wide))
        return made

    return optree.tree_map(array, tree)


def as_gradient(gradient: Any, like: Any) -> Any:
    """A copy of a gradient as an array in the dtype of its argument, if it holds real numbers; None stays None."""
    if gradient is None:
        return None
    made = np.array(gradient)
    dtype = np.asarray(like).dtype
    return made.astype(dtype) if made.dtype.kind == "f" or made.dtype.name == "bfloat16" else made


def one_for_each(returned: Any, taken: Sequence[int], inputs: int, who: str, *, more: bool = False) -> list[Any]:
    """The gradients of the inputs at the positions `taken` among all `inputs`, from what a backward pass returned.

    It returned one for each of them, or one for each of all inputs, or a single one without a tuple. With `more`, those of
    parameters may follow.
    """
    if not isinstance(returned, tuple | list):
        if len(taken) > 1 and returned is not None:
            raise TypeError(
                f"{who} returned a single {type(returned).__name__}, expected one gradient for each of {len(taken)} inputs"
            )
        return [returned] * len(taken)
    if len(returned) == len(taken):
        return list(returned)
    if len(returned) == inputs or (more and len(returned) > inputs):
        return [returned[i] for i in taken]
    if more and len(returned) > len(taken):
        return list(returned[: len(taken)])
    raise TypeError(f"{who} returned {len(returned)} gradients, expected one for each of {len(taken)} inputs")


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """In this context the global generators of NumPy and Python start from `seed`. Afterwards they are where they were."""
    if seed is None:
        yield
        return
    before = np.random.get_state(), random.getstate()  # noqa: NPY002 - the user's code draws from the global generators
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before[0])  # noqa: NPY002
        random.setstate(before[1])


def labelled(pass_: Any, name: str, of: Any, leading: Sequence[str], inputs: Any = None) -> None:
    """Gives one function of a pair the name and the place of the user's code, and the names of its arguments.

    These are the `leading` ones, then the parameters of the function `inputs`.
    """
    pass_.__name__, pass_.__module__ = name, getattr(of, "__module__", None) or "__main__"
    if inspect.isfunction(of) or inspect.ismethod(of):
        pass_.__wrapped__ = getattr(of, "__func__", of)  # tells reports where the code is written
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(n, kind) for n in leading]
    try:
        own = [] if inputs is None else list(inspect.signature(inputs).parameters.values())
    except (TypeError, ValueError):
        own = []
    for p in own:
        if p.kind is p.VAR_POSITIONAL:
            parameters += [inspect.Parameter(f"{p.name}{i}", kind) for i in range(EXTRA)]
        elif p.kind is not p.VAR_KEYWORD and p.name not in leading:
            parameters.append(p.replace(annotation=p.empty))
    pass_.__signature__ = inspect.Signature([*parameters, inspect.Parameter("more_options", inspect.Parameter.VAR_KEYWORD)])
