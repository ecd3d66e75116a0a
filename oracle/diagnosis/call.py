"""The call of the forward pass that a diagnosis is about: its arguments, keywords and cotangent, and the value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import optree

from oracle.arrays import quiet, vector
from oracle.diagnosis.jacobian import leaves_in
from oracle.diagnosis.words import Array

__all__ = ["Call", "keywords_of", "numbers_of", "tensors_of_shape"]


@dataclass(frozen=True)
class Call:
    """`function(*primals, **options)` in float64 with the cotangent `dy`."""

    function: Callable[..., Any]
    primals: tuple[Any, ...]
    paths: Sequence[str]
    """The names of the arrays in the primals."""
    dy: Any
    options: Mapping[str, Any]
    defaults: Mapping[str, Any]
    """The default values of the keywords."""
    value_by_rule: Callable[..., Any] | None = None
    """For a function with a rule of another library: the forward pass that runs while the function is differentiated."""

    @cached_property
    def arguments(self) -> list[Array]:
        """The arrays in the primals."""
        return leaves_in(self.primals)[0]

    @cached_property
    def value(self) -> Any:
        with quiet():
            return self.function(*self.primals, **self.options)

    @cached_property
    def cotangent(self) -> Array:
        """`dy` as one vector."""
        return vector(self.dy)

    @property
    def outputs(self) -> tuple[int, ...]:
        """The shape of the value. Several arrays count as one vector of all their entries."""
        leaves = optree.tree_leaves(self.value)
        return np.shape(leaves[0]) if len(leaves) == 1 else (self.cotangent.size,)


def keywords_of(call: Call) -> dict[str, Any]:
    """The value of every keyword, whether the caller gave it or not."""
    return {**call.defaults, **call.options}


def numbers_of(call: Call) -> dict[str, float]:
    """The keywords that are real numbers."""
    return {k: float(o) for k, o in keywords_of(call).items() if isinstance(o, float | np.floating)}


def tensors_of_shape(call: Call, shape: tuple[int, ...]) -> dict[str, Array]:
    """Those of the arguments, keywords, value and cotangent that have this shape, by name."""
    given = dict(zip(call.paths, call.arguments, strict=True))
    given |= {k: np.asarray(o, np.float64) for k, o in call.options.items() if isinstance(o, np.ndarray)}
    if np.size(call.cotangent) == np.prod(call.outputs):
        given |= {"the value": vector(call.value).reshape(call.outputs), "dy": call.cotangent.reshape(call.outputs)}
    return {name: np.asarray(t, np.float64) for name, t in given.items() if np.shape(t) == shape}
