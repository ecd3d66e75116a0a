"""Functions of JAX on balls: their jaxpr, primitive by primitive.

What does not depend on the arguments is left to JAX. Moving elements moves their numbers. `PRIMITIVES` computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optree

from oracle.adapters import traced, with_x64
from oracle.exact.array import BallArray, check_dtype, lifted
from oracle.exact.kinks import WORK
from oracle.jaxprs import CONTROL, Unknown, called_by, run
from oracle.jaxprs.computing import PRIMITIVES
from oracle.jaxprs.moving import MOVES
from oracle.jaxprs.running import SAME

__all__ = ["forward_of"]

Values = list[Any]


def forward_of(function: Callable[..., Any], primals: Sequence[Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    """The function of JAX at these options, as a forward function that can be evaluated on balls shaped like the primals."""
    closed, structure = traced(function, primals, options)

    def forward(*balls: Any) -> Any:
        tree: Any = balls
        with with_x64():
            try:
                return structure.unflatten(run(closed, optree.tree_leaves(tree), _step))
            finally:
                WORK.frames = []

    return forward


def _frames(equation: Any) -> list[tuple[str, int]]:
    """The lines of Python that made the equation, from the inside out."""
    traceback = equation.source_info.traceback
    return [(frame.file_name, frame.line_num) for frame in traceback.frames] if traceback is not None else []


def _step(equation: Any, values: Values) -> Values:
    WORK.frames = _frames(equation)
    primitive, params = equation.primitive, equation.params
    name = primitive.name
    called = called_by(equation)
    if called is not None:
        return run(called, values, _step)
    if not any(type(value) is BallArray for value in values):
        found = primitive.bind(*values, **params)
        return list(found) if primitive.multiple_results else [found]
    values = [value if type(value) is BallArray else np.asarray(value) for value in values]
    if name in SAME or name == "real":  # the value of `stop_gradient`, too, has the slope 1, whatever JAX makes of it
        return values
    if name not in CONTROL and name not in MOVES and name not in PRIMITIVES:
        raise WORK.refuse(f"no exact rule for the JAX primitive {name}")
    check_dtype(params.get("preferred_element_type"))
    try:
        if name in CONTROL:
            return CONTROL[name](params, values, _step)
        if name in MOVES:
            return _moved(primitive, params, values)
        found = PRIMITIVES[name](params, *values)
    except Unknown as unknown:
        raise WORK.refuse(f"no exact rule for {unknown}") from None
    return list(found) if primitive.multiple_results else [found]


def _moved(primitive: Any, params: dict[str, Any], values: Values) -> Values:
    """Where the elements go is found with the numbers of all elements; -1 stands for a place outside."""
    pool: list[Any] = []
    numbers = []
    for value in values:
        if value.dtype.kind == "f":
            elements = np.asarray(lifted(value), object)
            numbers.append(np.arange(len(pool), len(pool) + elements.size).reshape(elements.shape))
            pool.extend(elements.reshape(-1))
        else:
            numbers.append(value)
    if "fill_value" in params:
        params = {**params, "fill_value": -1}
    found = MOVES[primitive.name](params, *numbers)
    all_elements = np.empty(len(pool) + 1, object)
    all_elements[:] = [*pool, np.nan]
    places = [np.asarray(f) for f in (found if primitive.multiple_results else [found])]
    return [BallArray(all_elements[place.reshape(-1)].reshape(place.shape)) for place in places]
