"""Optimizers whose settings are part of their state."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from purenet.op import Array, Tree
from purenet.optimizers.combining import update_of
from purenet.optimizers.transformation import GradientTransformation, state_of, step_count
from purenet.schedules import as_schedule

__all__ = ["InjectHyperparamsState", "inject_hyperparams"]


class InjectHyperparamsState(NamedTuple):
    """The number of updates made, the settings of the last of them by name, and the state of the transformation inside."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    hyperparams: dict[str, Array]
    inner_state: Any


def inject_hyperparams(
    inner_factory: Callable[..., GradientTransformation], static_args: str | Iterable[str] = ()
) -> Callable[..., GradientTransformation]:
    """The same factory, of optimizers that read their numbers from the state, where you may see and change them.

    Math: the transformation at the t-th update, t = 0, 1, ..., is inner_factory(**settings_t), where a number is that in
        the state, and a function of the count its value at t
    State: count, hyperparams, by name; inner_state
    Errors: TypeError unless inner_factory is a function; ValueError where static_args names what it does not take; and those
        of the factory, at once.
    Source: optax.inject_hyperparams. Conventions: every function among the arguments is a schedule, unless static_args names
        it, such as a mask; booleans and what is no number stay as they are.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.inject_hyperparams(pn.optimizers.sgd)(learning_rate=0.5)
    >>> state = opt.init(np.zeros(1))
    >>> state.hyperparams["learning_rate"] = np.array(0.25)
    >>> opt.update(np.array([4.0]), state)[0]
    array([-1.])
    """
    who = "inject_hyperparams"
    if not callable(inner_factory):
        raise TypeError(
            f"{who}: inner_factory must be a function that makes a transformation, got {type(inner_factory).__name__}"
        )
    signature = inspect.signature(inner_factory)
    static = {static_args} if isinstance(static_args, str) else set(static_args)
    if unknown := sorted(static - set(signature.parameters)):
        raise ValueError(f"{who}: static_args must be arguments of {inner_factory.__name__}, got {unknown[0]!r}")

    @functools.wraps(inner_factory)
    def factory(*args: Any, **options: Any) -> GradientTransformation:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        given = {name: value for name, value in bound.arguments.items() if name not in static}
        schedules = {name: as_schedule(who, value, name, -np.inf) for name, value in given.items() if callable(value)}
        numbers = {name: np.array(value) for name, value in given.items() if _is_number(value)}

        def made(settings: dict[str, Array]) -> GradientTransformation:
            for name, value in settings.items():
                bound.arguments[name] = value.item()
            return inner_factory(*bound.args, **bound.kwargs)

        def at(count: int, current: dict[str, Any]) -> dict[str, Array]:
            kept = {name: np.array(current[name]) for name in numbers}
            return kept | {name: np.array(schedule(count)) for name, schedule in schedules.items()}

        made(at(0, numbers))  # so that wrong settings are errors here, not at the first update

        def init(params: Tree) -> InjectHyperparamsState:
            settings = at(0, numbers)
            return InjectHyperparamsState(step_count(), settings, made(settings).init(params))

        def update(grads: Tree, state: InjectHyperparamsState, params: Tree = None, **extra: Any) -> tuple[Tree, Any]:
            count = int(state_of(who, InjectHyperparamsState, state).count)
            if missing := [name for name in numbers if name not in state.hyperparams]:
                raise ValueError(f"{who}: state.hyperparams must hold {', '.join(numbers)}, and lacks {missing[0]}")
            settings = at(count, state.hyperparams)
            inner = update_of(who, "inner_factory(...)", made(settings))
            updates, inner_state = inner(grads, state.inner_state, params, **extra)
            return updates, InjectHyperparamsState(step_count(count + 1), settings, inner_state)

        return GradientTransformation(init, update)

    return factory


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.ndarray) and not isinstance(value, bool) and np.ndim(value) == 0
