"""A jaxpr, equation by equation, with its control flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from oracle.jaxprs.computing import PRIMITIVES
from oracle.jaxprs.moving import MOVES, scattered
from oracle.jaxprs.unknown import Unknown

__all__ = ["CONTROL", "SAME", "Step", "called_by", "evaluate", "run"]

Values = list[Any]
Step = Callable[[Any, Values], Values]
"""A function of one equation and the values of its operands that gives the values it has."""

MOST = 10_000
"""Equations of one evaluation, those of all turns of a loop counted. One takes about 5 microseconds, so that this many take as
long as XLA takes to compile a program."""

ENTRIES = 1_000_000
"""Entries of all values of one evaluation. They are kept until its end, 8 MB of float64; XLA keeps only what it still reads."""

SAME = frozenset({"stop_gradient", "copy", "copy_p", "device_put", "sharding_constraint", "optimization_barrier"})
"""Primitives whose value is their argument."""

CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""The parameters by which a primitive calls another jaxpr: jit, remat, custom rules."""


def called_by(equation: Any) -> Any:
    """The jaxpr that the equation does no more than call; None if it does something else."""
    if equation.primitive.name in CONTROL:
        return None
    return next((equation.params[key] for key in CALLS if key in equation.params), None)


def run(called: Any, arguments: Sequence[Any], step: Step) -> Values:
    """The values of a jaxpr, with its constants or without any. `step` evaluates one equation."""
    jaxpr, constants = (called.jaxpr, called.consts) if hasattr(called, "consts") else (called, ())
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *arguments), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else known[atom]

    for equation in _needed(jaxpr):
        known.update(zip(equation.outvars, step(equation, [read(atom) for atom in equation.invars]), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


@lru_cache(maxsize=256)
def _needed(jaxpr: Any) -> tuple[Any, ...]:
    """The equations that a result depends on. A module of equinox, for example, draws weights before it gets those to use."""
    read = set(map(id, jaxpr.outvars))
    kept = []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not read.isdisjoint(map(id, equation.outvars)):
            kept.append(equation)
            read.update(map(id, equation.invars))
    return tuple(reversed(kept))


def evaluate(closed: Any, arguments: Sequence[Any]) -> Values:
    """The values of a jaxpr at arrays of NumPy, in arrays of their own.

    It raises `Unknown` if a primitive has no function here, or if what it gives has another shape or dtype than JAX announced.
    """
    left, room = MOST, ENTRIES

    def step(equation: Any, values: Values) -> Values:
        nonlocal left, room
        called = called_by(equation)
        if called is not None:
            return run(called, values, step)
        left, room = left - 1, room - sum(variable.aval.size for variable in equation.outvars)
        if left < 0 or room < 0:
            raise Unknown(f"more than {MOST} equations, or {ENTRIES} entries")
        found = _found(equation, [np.asarray(value) for value in values], step)
        for value, variable in zip(found, equation.outvars, strict=True):
            if np.shape(value) != variable.aval.shape or getattr(value, "dtype", None) != variable.aval.dtype:
                raise Unknown(f"{equation.primitive.name} of {variable.aval}")
        return found

    with np.errstate(all="ignore"):
        return [np.array(value) for value in run(closed, arguments, step)]


def _found(equation: Any, values: Values, step: Step) -> Values:
    name, params = equation.primitive.name, equation.params
    if name in SAME:
        return values
    if name in CONTROL:
        return CONTROL[name](params, values, step)
    function = COMPUTED.get(name)
    if function is None:
        raise Unknown(name)
    try:
        found = function(params, *values)
    except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:  # an option that the function does not know
        raise Unknown(name) from error
    return list(found) if equation.primitive.multiple_results else [found]


def _scan(params: dict[str, Any], values: Values, step: Step) -> Values:
    constants, carried = params["num_consts"], params["num_consts"] + params["num_carry"]
    state, rows = values[constants:carried], values[carried:]
    order = range(params["length"])
    written = []
    for i in reversed(order) if params["reverse"] else order:
        found = run(params["jaxpr"], [*values[:constants], *state, *(row[i] for row in rows)], step)
        state = found[: params["num_carry"]]
        written.append(found[params["num_carry"] :])
    if not written:
        raise Unknown("a scan of no steps")
    if params["reverse"]:
        written.reverse()
    return [*state, *(_stacked(column) for column in zip(*written, strict=True))]


def _stacked(column: Sequence[Any]) -> Any:
    return np.stack([value if hasattr(type(value), "__array_function__") else np.asarray(value) for value in column])


def _while(params: dict[str, Any], values: Values, step: Step) -> Values:
    of_condition = values[: params["cond_nconsts"]]
    of_body, state = np.split(np.arange(len(values))[params["cond_nconsts"] :], [params["body_nconsts"]])
    constants, carried = [values[i] for i in of_body], [values[i] for i in state]
    while bool(run(params["cond_jaxpr"], [*of_condition, *carried], step)[0]):
        carried = run(params["body_jaxpr"], [*constants, *carried], step)
    return carried


def _cond(params: dict[str, Any], values: Values, step: Step) -> Values:
    which = int(np.clip(int(values[0]), 0, len(params["branches"]) - 1))
    return run(params["branches"][which], values[1:], step)


CONTROL: dict[str, Callable[[dict[str, Any], Values, Step], Values]] = {"scan": _scan, "while": _while, "cond": _cond}


def _iota(params: dict[str, Any]) -> Any:
    shape = [1] * len(params["shape"])
    shape[params["dimension"]] = -1
    numbers = np.arange(params["shape"][params["dimension"]]).astype(params["dtype"])
    return np.broadcast_to(numbers.reshape(shape), params["shape"])


COMPUTED: dict[str, Callable[..., Any]] = {**MOVES, **PRIMITIVES, "scatter-add": scattered(np.add.at), "iota": _iota}
