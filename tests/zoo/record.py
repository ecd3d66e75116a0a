"""What a wrong gradient in the zoo is, as a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from numpy.typing import NDArray

from oracle.row import Verdict
from oracle.spec import Flag
from oracle.trajectory import TrajectorySpec
from purenet.optimizers import GradientTransformation

Array: TypeAlias = NDArray[Any]
Pair: TypeAlias = tuple[Callable[..., Any], Callable[..., Any]]

LEARNERS = "a common mistake of learners"
BOOK = "described in Saitoh, Deep Learning from Scratch"


@dataclass(frozen=True)
class Bug:
    """A wrong gradient that was published, and its corrected twin.

    Re-created from the description, not from the code: the smallest op that shows the mistake.
    """

    name: str
    source: str
    """The thread (`owner/repository#number`), or where it is described."""
    what: str
    """What was wrong, in one sentence."""
    wrong: Pair
    right: Pair
    reference: Callable[..., Any]
    arguments: tuple[Any, ...]
    causes: Mapping[str, str]
    """What the diagnosis must say of which parameter; '' is the op as a whole."""
    options: Mapping[str, Any] = field(default_factory=dict)
    verdict: Verdict = Verdict.FAIL
    flags: frozenset[Flag] = frozenset()
    other_arguments: tuple[Any, ...] | None = None
    """Those of the twin, where it was the arguments that hid the mistake."""


@dataclass(frozen=True)
class OptimizerBug:
    """An optimizer that is not the one that it is said to be; its twin is that of `right`."""

    name: str
    source: str
    what: str
    wrong: GradientTransformation
    right: TrajectorySpec
    first: tuple[int, str]
    """The first step and the first slot that must be accused."""
    cause: str = "is another optimizer than optax"

    def spec_of_wrong(self) -> TrajectorySpec:
        return replace(self.right, optimizer=self.wrong)


def entrywise(function: Callable[[Array], Any], slope: Callable[[Array], Any]) -> Pair:
    """y = f(x), entry by entry, with `slope` as its derivative."""

    def entrywise_fwd(x: Array) -> tuple[Any, Array]:
        return function(x), x.copy()

    def entrywise_bwd(x: Array, dy: Array) -> tuple[Array]:
        return (slope(x) * dy,)

    return entrywise_fwd, entrywise_bwd
