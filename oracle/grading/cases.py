"""A hidden case: arguments that only the grader has drawn, and what the model solution makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.grading.assignment import TOLERANCE, BrokenAssignment, Draw, Part
from oracle.grading.judging import Expected, named_gradients
from oracle.measures import EPSILON

__all__ = ["Hidden"]

Array = NDArray[Any]

ROUNDINGS = 8
"""Times that arguments are moved. A kink very near shows itself with a chance of 1/2 in each; with 2, right results in float32
would fail at kinks."""


class Hidden:
    """One case of a part; `seed` decides its arguments and its upstream gradients."""

    def __init__(self, part: Part, draw: Draw, seed: Sequence[int]) -> None:
        self.part = part
        self.random = np.random.default_rng(seed)
        with _blamed(part, "the function that draws a case"):
            self.arguments = dict(draw(self.random))
        missing = [name for name in part.points if name not in self.arguments and isinstance(part.truth, tuple)]
        if missing:
            raise BrokenAssignment(
                f"Part {part.name!r}: a case has no argument {missing[0]!r}, for whose gradient there are points"
            )

    @cached_property
    def _run(self) -> tuple[tuple[Array, ...], Any]:
        """The true values, and the cache of the model solution; its gradients for a part that is one function."""
        return _forward(self.part, self.arguments.values())

    @cached_property
    def values(self) -> tuple[Array, ...]:
        """The true values."""
        return self._run[0]

    def upstream(self) -> tuple[Array, ...]:
        """New upstream gradients, one for each value."""
        return tuple(np.asarray(self.random.normal(size=value.shape)) for value in self.values)

    def expected_value(self, index: int) -> Expected:
        """What must be returned as value number `index`."""
        return Expected(
            self.values[index],
            self.part.value_tolerance,
            lambda: (_forward(self.part, arguments)[0][index] for arguments in self._rounded()),
            self._sizes,
            self._numbers,
            dict,
        )

    def expected_gradients(self, upstream: tuple[Array, ...]) -> dict[str, Expected]:
        """What must be returned as gradients for these upstream gradients."""
        true = self._gradients(upstream)
        return {
            name: Expected(
                true[name],
                TOLERANCE,
                lambda name=name: self._rounded_gradients(name, upstream),  # type: ignore[misc]
                self._sizes,
                self._numbers,
                lambda name=name: self._of_mistakes(name, upstream),  # type: ignore[misc]
            )
            for name in true
        }

    def _gradients(self, upstream: tuple[Array, ...]) -> dict[str, Array]:
        return self._gradients_of(self._run[1], upstream)

    def _gradients_of(self, cache: Any, upstream: tuple[Array, ...]) -> dict[str, Array]:
        with _blamed(self.part, "the model solution"):
            returned = self.part.truth[1](*upstream, cache) if isinstance(self.part.truth, tuple) else cache
        named = named_gradients(returned, tuple(self.part.points))
        if isinstance(named, str):
            raise BrokenAssignment(f"Part {self.part.name!r}: of the model solution: {named}")
        return {name: np.asarray(gradient) for name, gradient in named.items()}

    def _of_mistakes(self, name: str, upstream: tuple[Array, ...]) -> Mapping[str, Array]:
        """The gradients that certain mistakes give, by what to say about them."""
        if not isinstance(self.part.truth, tuple) or len(upstream) != 1:
            return {}
        (dout,) = upstream
        found = {"it is dout itself, as if the value were the argument": dout}

        def pulled(words: str, other: Array) -> None:
            found[words] = self._gradients((other,))[name]

        pulled("dout ignored: it is the gradient for a dout of ones", np.ones_like(dout))
        if dout.ndim and len(dout) > 1:
            for words, index in (("first", 0), ("last", len(dout) - 1)):
                one = np.zeros_like(dout)
                one[index] = dout[index]
                pulled(f"the sum over the batch is missing: only the {words} sample contributes", one)
        return found

    def _rounded_gradients(self, name: str, upstream: tuple[Array, ...]) -> Iterator[Array]:
        return (self._gradients_of(_forward(self.part, moved)[1], upstream)[name] for moved in self._rounded())

    def _rounded(self) -> Iterator[list[Any]]:
        """The arguments, moved by a rounding in float32, several times."""
        random = np.random.default_rng(ROUNDINGS)
        return ([_moved(argument, random) for argument in self.arguments.values()] for _ in range(ROUNDINGS))

    @property
    def _sizes(self) -> dict[str, int]:
        value = self.values[0]
        array = next((a for a in self.arguments.values() if isinstance(a, np.ndarray) and a.ndim), value)
        return {"batch": len(array) if array.ndim else 1, "number of outputs": value.size}

    @property
    def _numbers(self) -> dict[str, float]:
        return {name: value for name, value in self.arguments.items() if isinstance(value, float)}


@contextmanager
def _blamed(part: Part, what: str) -> Iterator[None]:
    """What is raised here is a mistake of the course."""
    try:
        yield
    except Exception as error:
        raise BrokenAssignment(f"Part {part.name!r}: {what} raised {type(error).__name__}: {error}") from error


def _forward(part: Part, arguments: Any) -> tuple[tuple[Array, ...], Any]:
    truth = part.truth[0] if isinstance(part.truth, tuple) else part.truth
    with _blamed(part, "the model solution"):
        *values, cache = truth(*arguments)
    return tuple(np.asarray(value) for value in values), cache


def _moved(argument: Any, random: np.random.Generator) -> Any:
    if isinstance(argument, dict):
        return {name: _moved(value, random) for name, value in argument.items()}
    if isinstance(argument, np.ndarray) and argument.dtype == np.float64:
        return argument * (1 + EPSILON["float32"] * random.uniform(-1, 1, argument.shape))
    return argument
