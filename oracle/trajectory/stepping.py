"""Optimizers of every kind as one: `init(params)` and `step(grads, state, params)`, with dicts of arrays in and out.

A pair (init, update) of purenet, optax or the user; a class or factory of torch; an object with `update(params, grads)`, which
writes into the arrays or returns new ones; a function `step(params, grads, state)`. Each run gets a state of its own: objects
are copied, and torch's optimizers are made anew. What the user has given is not changed.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.adapters import name_of
from oracle.spec import Source
from oracle.trajectory.spec import Reference
from oracle.trajectory.torch_steps import by_torch, is_torch_class, is_torch_optimizer
from purenet.optimizers import GradientTransformation, apply_updates

__all__ = ["KINDS", "ObjectState", "Stepper", "stepper_of"]

Array = NDArray[Any]
Params = dict[str, Array]

KINDS = (
    "a pair (init, update) of optax or purenet, a torch.optim class or a factory "
    "`lambda params: torch.optim.Adam(params, lr=0.1)`, an object with update(params, grads), "
    "or a function step(params, grads, state) -> (params, state)"
)


@dataclass(frozen=True)
class Stepper(Reference):
    """An optimizer from NumPy to NumPy, and what it was made of."""

    origin: Any
    """What hyperparameters can be read from: the user's object, or the groups of torch's parameters."""
    sized: bool = False
    """Whether `step` takes the number of examples of a micro-batch as one argument more."""

    def in_parts(self, sizes: Sequence[int]) -> Stepper:
        """The same optimizer, which gets at each step a list of gradients of micro-batches, one call for each.

        An `update` or a `step` that takes one argument more gets the number of examples.
        """

        def step(parts: Sequence[Params], state: Any, params: Params) -> tuple[Params, Any]:
            for grads, size in zip(parts, sizes, strict=True):
                more = (size,) if self.sized else ()
                params, state = self.step(grads, state, params, *more)
            return params, state

        return replace(self, step=step)


def stepper_of(who: str, role: str, given: Any, params: Params, state: Any = None) -> Stepper:
    """The optimizer `given`, which is the argument `role` of `who`. `params` are like those that it will get.

    Raises:
        TypeError: if it is none of the kinds, or cannot be copied.

    """
    what = f"{who}: {role}"
    if is_torch_optimizer(given):
        kind = type(given).__name__
        raise TypeError(
            f"{what} must be a class or a factory, because an optimizer of torch is bound to its parameters: "
            f"give `lambda params: torch.optim.{kind}(params, ...)`, got an object of {kind}"
        )
    if is_torch_class(given):
        return _of_torch(what, given, params)
    source = Source("given", _named(given))
    if isinstance(given, type):
        given = _made(what, given)
    pair = _pair_of(given)
    if pair is not None:
        return Stepper(source, *_by_pair(given, *pair, params), given)
    if callable(getattr(given, "update", None)):
        _copied(what, given)
        return Stepper(source, *_by_object(what, lambda: _copied(what, given), params), given, sized=True)
    if hasattr(given, "update") or not callable(given):
        raise TypeError(f"{what} must be {KINDS}; got {type(given).__name__}, which has no method update")
    if [p.name for p in _places(given)[:1]] == ["learning_rate"]:
        raise TypeError(f"{what} must be {KINDS}; got the function {_named(given)} itself: call it, {_named(given)}(0.001)")
    wanted = _arguments(given)
    if wanted == 0:
        made = given()
        if _pair_of(made) is None and callable(getattr(made, "update", None)) and given() is not made:
            return Stepper(Source("given", _named(made)), *_by_object(what, given, params), made, sized=True)
        return stepper_of(who, role, made, params, state)
    if wanted == 1:
        return _of_torch(what, given, params)
    return Stepper(source, *_by_function(what, given, wanted, params, state), given, sized=True)


def _of_torch(what: str, factory: Any, params: Params) -> Stepper:
    init, step, groups, name = by_torch(what, factory, params)
    return Stepper(Source("given", f"torch.optim.{name}"), init, step, groups)


def _named(given: Any) -> str:
    """A name for reports. The functions of a pair lie inside others: it is called by their library."""
    if hasattr(given, "update") and hasattr(given, "init"):
        return (getattr(given.update, "__module__", None) or "").partition(".")[0] or "a pair"
    name = name_of(given)
    return "a function" if name == "<lambda>" else name


def _made(what: str, kind: type) -> Any:
    try:
        return kind()
    except TypeError as error:
        raise TypeError(f"{what} must be an object, such as {kind.__name__}(...), got the class, and {error}") from None


def _pair_of(given: Any) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    if callable(getattr(given, "init", None)) and callable(getattr(given, "update", None)):
        return given.init, given.update
    if isinstance(given, tuple) and len(given) == 2 and all(map(callable, given)):
        return given[0], given[1]
    return None


def _places(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function that are given by position; none if they are unknown."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _arguments(function: Callable[..., Any]) -> int:
    """How many arguments a function takes by position; of one that needs fewer than two, those that it needs."""
    places = _places(function)
    needed = sum(p.default is p.empty for p in places)
    return min(len(places), 3) if needed > 1 else needed


def _takes_size(function: Callable[..., Any], place: int) -> bool:
    """Whether the argument at this place is the number of examples of a micro-batch."""
    places = _places(function)
    return len(places) > place and (places[place].default is inspect.Parameter.empty or "size" in places[place].name)


# ------------------------------------------------------------------------------------------------- pairs


def _by_pair(given: Any, init: Callable[..., Any], update: Callable[..., Any], params: Params) -> tuple[Any, Any]:
    """Of NumPy as it is; of JAX compiled, with counts in 64 bits, because to its int32 counts a schedule answers in float32."""
    if not isinstance(given, GradientTransformation) and _computes_with_jax(given, init, update, params):
        from oracle.autodiff import optimizer_steps

        begin, step = optimizer_steps(init, update)
        return lambda start: optree.tree_map(_wide_count, begin(start)), step

    def step_of_numpy(grads: Params, state: Any, params: Params) -> tuple[Params, Any]:
        updates, state = update(grads, state, params)
        return apply_updates(params, updates), state

    return init, step_of_numpy


def _computes_with_jax(given: Any, init: Callable[..., Any], update: Callable[..., Any], params: Params) -> bool:
    if (type(given).__module__ or "").startswith(("optax.", "jax.")):
        return True
    if "jax" not in sys.modules:
        return False
    zeros = {name: np.zeros_like(p) for name, p in params.items()}
    with np.errstate(all="ignore"):
        updates, _ = update(zeros, init(params), params)
    return any(type(leaf).__module__.startswith("jax") for leaf in optree.tree_leaves(updates))


def _wide_count(leaf: Any) -> Any:
    narrow = isinstance(leaf, np.ndarray) and leaf.dtype == np.int32 and leaf.ndim == 0
    return leaf.astype(np.int64) if narrow else leaf


# ------------------------------------------------------------------------------------------------- objects, functions


class ObjectState:
    """An optimizer, and the parameters that it has got: it gets the same arrays at each step, because some remember them."""

    def __init__(self, made: Any) -> None:
        self.made = made
        self.held: Any = None


def _copied(what: str, thing: Any) -> Any:
    try:
        return copy.deepcopy(thing)
    except Exception as error:  # deepcopy runs code of the user
        raise TypeError(
            f"{what} must be an object that copy.deepcopy can copy, because every run needs a state of its own; "
            f"got {type(thing).__name__}: {type(error).__name__}: {error}. A function without arguments that makes it will do"
        ) from None


def _by_object(what: str, make: Callable[[], Any], params: Params) -> tuple[Any, Any]:
    """An object with `update(params, grads)`; `make` makes a new one for each run."""
    swapped = _takes_gradients_first(make().update)

    wants_size = _takes_size(make().update, 2)

    def call(state: Any, params: Any, grads: Any, size: int) -> Any:
        both = (grads, params) if swapped else (params, grads)
        return state.update(*both, size) if wants_size else state.update(*both)

    def trial(form: str) -> None:
        call(make(), _packed(form, params), _packed(form, params), 1)

    form = _form(f"{what}.update", ("dict", "list"), trial)

    def step(grads: Params, state: Any, params: Params, size: int = 1) -> tuple[Params, Any]:
        if state.held is None or not _holds(what, state.held, params):
            state.held = _packed(form, params)
        returned = call(state.made, state.held, _packed(form, grads), size)
        new = _unpacked(what, state.held if returned is None else returned, params)
        if returned is not None:
            state.held = returned if isinstance(returned, dict) == (form == "dict") else None
        return new, state

    return lambda params: ObjectState(make()), step


def _holds(what: str, held: Any, params: Params) -> bool:
    return all(np.array_equal(array, params[name]) for name, array in _unpacked(what, held, params).items())


def _by_function(what: str, given: Any, wanted: int, params: Params, start: Any) -> tuple[Any, Any]:
    """A function of all parameters, or of one array at a time. With two arguments it has no state."""

    def call(params: Any, grads: Any, state: Any, size: int) -> tuple[Any, Any]:
        returned = given(*(params, grads, state)[:wanted], *[size] * _takes_size(given, 3))
        if wanted > 2 and isinstance(returned, tuple) and len(returned) == 2:
            return returned
        if wanted > 2 and returned is not None:
            raise TypeError(f"{what} must return (params, state), got {type(returned).__name__}")
        return params if returned is None else returned, state

    def each(params: Params, grads: Params, state: Any, size: int) -> tuple[Params, Any]:
        states = dict.fromkeys(params) if state is None else state
        found = {name: call(p.copy(), grads[name].copy(), states[name], size) for name, p in params.items()}
        return {name: new for name, (new, _) in found.items()}, {name: own for name, (_, own) in found.items()}

    def step_in(form: str, grads: Params, state: Any, params: Params, size: int = 1) -> tuple[Params, Any]:
        if form == "each":
            new, state = each(params, grads, state, size)
        else:
            new, state = call(_packed(form, params), _packed(form, grads), state, size)
        return _unpacked(what, new, params), state

    def init(params: Params) -> Any:
        return _copied(what, start(params) if callable(start) else start)

    form = _form(what, ("dict", "list", "each"), lambda form: step_in(form, params, init(params), params))
    return init, partial(step_in, form)


def _takes_gradients_first(update: Callable[..., Any]) -> bool:
    names = [p.name for p in _places(update)]
    return len(names) > 1 and names[0].startswith("g") and not names[1].startswith("g")


def _form(what: str, forms: Sequence[str], trial: Callable[[str], object]) -> str:
    """The first form of the parameters with which a call succeeds."""
    errors = []
    for form in forms:
        try:
            with np.errstate(all="ignore"):
                trial(form)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            errors.append(error)
        else:
            return form
    first = errors[0]
    raise TypeError(
        f"{what} must take a dict of arrays, or a list of them, as params and grads; with a dict it raised "
        f"{type(first).__name__}: {first}"
    ) from first


def _packed(form: str, arrays: Params) -> Any:
    """Copies of the arrays, in a dict or in a list."""
    copies = {name: array.copy() for name, array in arrays.items()}
    return copies if form == "dict" else list(copies.values())


def _unpacked(what: str, returned: Any, like: Params) -> Params:
    """The parameters that a step has returned or written, by name."""
    if isinstance(returned, list | tuple) and len(returned) == len(like):
        returned = dict(zip(like, returned, strict=True))
    if not isinstance(returned, Mapping) or returned.keys() != like.keys():
        raise ValueError(f"{what} must return parameters like those that it gets ({', '.join(like)}), got {_shown(returned)}")
    arrays = {name: np.array(returned[name]) for name in like}
    for name, array in arrays.items():
        if array.shape != like[name].shape:
            raise ValueError(f"{what} must not change shapes: {name} was {like[name].shape}, and is {array.shape} after a step")
    return arrays


def _shown(returned: Any) -> str:
    return f"a dict of {', '.join(map(str, returned))}" if isinstance(returned, Mapping) else type(returned).__name__
