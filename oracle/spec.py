"""Specs: records of an op with all that is needed to verify it. The command line, the tests and the fuzzer read them.

    Spec(
        pn.affine,
        cases=(
            Case("batch of 3", lambda draw: ({"w": draw.normal(4, 2), "b": draw.normal(2)}, draw.normal(3, 4))),
        ),
        reference=affine_by_dot,                      # the same function for JAX: same arguments and options
        source=library("jax.numpy.dot"),              # or composed("how")
        strategy=affines,                             # from a Draw: random arguments and options
        errors=(Error("inner", lambda draw: ..., ValueError, "affine: x must have shape"),),
    )

This module does not import JAX. References are called elsewhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from oracle.adapters import Bound, adapted, name_of, refusal
from oracle.settings import check_accept, check_convention, check_order
from purenet import Op

__all__ = [
    "Allows",
    "Case",
    "Deviation",
    "Draw",
    "Error",
    "Flag",
    "Source",
    "Spec",
    "Strategy",
    "composed",
    "library",
]

T = TypeVar("T")
Array = NDArray[Any]
Arguments = tuple[Any, ...]


class Flag(Enum):
    """Declares what is special about a case: (meaning, the kind of bug that it catches, its effect on the verdict)."""

    AT_KINK = (
        "some entries are exactly at a corner, where the slopes from the two sides differ",
        "a convention that differs from the documented one, or a value outside the subgradient",
        "KINK is expected: the gradient must lie between the two slopes and equal the reference's",
    )
    ZERO_GRADIENT = (
        "the true gradient of some parameter is identically zero",
        "a gradient where none should flow",
        "a gradient of zeros is PASS instead of VACUOUS, if the finite differences and the reference are zero, too",
    )
    SATURATED = (
        "arguments where the function changes less than its rounding, or where a naive formula overflows",
        "overflow, NaN, and derivatives that lose their digits",
        "none: the same tolerances hold",
    )
    BATCH_OF_ONE = (
        "the batch has one row",
        "an axis squeezed away, a mean and a sum confused, a division by N - 1",
        "none: the same tolerances hold",
    )
    EMPTY_BATCH = (
        "the batch has no rows",
        "a division by N = 0, a reshape that cannot infer its -1",
        "a parameter gradient of zeros is PASS, and so is an empty one",
    )
    REPEATED = (
        "the same index or value appears several times, or an argument is broadcast",
        "gradients overwritten where they must accumulate; ties",
        "none: the same tolerances hold",
    )
    MASKED = (
        "some entries are masked or have weight zero",
        "a mask that is not applied in the backward pass, a mean over the wrong count",
        "none: the same tolerances hold",
    )
    NOT_THE_DERIVATIVE = (
        "by definition the gradient is not the derivative: a padding row that never learns, a straight-through estimator",
        "a convention that is not followed",
        "only the reference decides (without one: INCONCLUSIVE), and the row has no error against the finite differences",
    )

    @property
    def meaning(self) -> str:
        return self.value[0]

    @property
    def catches(self) -> str:
        return self.value[1]

    @property
    def effect(self) -> str:
        return self.value[2]


class Allows(Enum):
    """Declares what an op does by prescription, though a pure function would not: it is then no breach of the contract."""

    WRITES_TO_OPTIONS = "it updates arrays among its options in place, such as running statistics in training mode"
    CHANGES_GLOBAL_STATE = "it sets something for the whole process, such as the seed of np.random"
    STATE_BETWEEN_PASSES = "fwd keeps what bwd needs in an object, so that bwd belongs to the latest fwd and is called once"
    REUSES_BUFFERS = "its results are in memory that the next call overwrites"

    @property
    def meaning(self) -> str:
        return self.value


class Draw:
    """Random numbers for a case. The generator is seeded by the names of op and case, so these reproduce the numbers.

    Arrays come from the generator. Choices of structure (`between`, `choice`) come from `pick`, which a fuzzer replaces so
    that it can shrink them.
    """

    def __init__(self, *name: object, pick: Callable[[int, int], int] | None = None) -> None:
        seed = [zlib.crc32(str(part).encode()) for part in name]
        self.generator = np.random.Generator(np.random.PCG64(seed))
        self._pick = pick or (lambda low, high: int(self.generator.integers(low, high + 1)))

    def normal(self, *shape: int, scale: float = 1.0) -> Array:
        """Normal numbers with mean 0 and standard deviation `scale`."""
        return np.asarray(self.generator.normal(size=shape) * scale)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Array:
        """Uniform numbers in [low, high)."""
        return self.generator.uniform(low, high, size=shape)

    def away_from(self, points: Sequence[float], *shape: int, scale: float = 1.0, gap: float = 1e-2) -> Array:
        """Normal numbers at least `gap` away from each of `points`: for functions that have corners there."""
        x = self.normal(*shape, scale=scale)
        for _ in range(100):
            near = np.any([np.abs(x - p) < gap for p in points], axis=0)
            if not near.any():
                return x
            x = np.where(near, self.normal(*shape, scale=scale), x)
        raise ValueError(f"away_from: no numbers of scale {scale} found {gap} away from {points}")

    def probabilities(self, *shape: int) -> Array:
        """Positive numbers that sum to 1 over the last axis."""
        p = self.uniform(*shape, low=0.1, high=1.0)
        return np.asarray(p / p.sum(axis=-1, keepdims=True))

    def labels(self, classes: int, *shape: int) -> Array:
        """Integer labels 0..classes-1."""
        return self.generator.integers(0, classes, size=shape)

    def mask(self, *shape: int) -> Array:
        """Booleans, about two thirds of them true."""
        return self.generator.random(size=shape) < 2 / 3

    def key(self) -> Array:
        """A key for `purenet.random`."""
        return self.generator.integers(0, 2**32, size=2, dtype=np.uint32)

    def between(self, low: int, high: int) -> int:
        """A structural choice: an integer from low to high, both included."""
        return self._pick(low, high)

    def choice(self, options: Sequence[T]) -> T:
        """A structural choice: one of `options`; a fuzzer shrinks towards the first."""
        return options[self._pick(0, len(options) - 1)]

    def shape(self, low: int = 0, high: int = 3, size: int = 4) -> tuple[int, ...]:
        """A structural choice: a shape with low to high dimensions of 1 to `size` each."""
        return tuple(self.between(1, size) for _ in range(self.between(low, high)))


@dataclass(frozen=True)
class Case:
    """Arguments and options at which an op is verified.

    `arguments` is a tuple of the positional arguments, or a function that draws one. In the catalogue they are float64; the
    checker casts them to narrower dtypes. `options` is a dict of keywords, or a function that draws one.
    """

    name: str
    arguments: Arguments | Callable[[Draw], Arguments]
    options: Mapping[str, Any] | Callable[[Draw], Mapping[str, Any]] = field(default_factory=dict)
    flags: frozenset[Flag] = frozenset()

    def after(self, held: Arguments) -> Case:
        """The case with these arguments before its own."""
        own = self.arguments
        return replace(self, arguments=(lambda draw: (*held, *own(draw))) if callable(own) else (*held, *own))

    def draw(self, op: str, seed: int = 0) -> tuple[Arguments, dict[str, Any]]:
        """The arguments and the options, always the same for the same names and seed."""
        draw = Draw(op, self.name, seed)
        arguments = self.arguments(draw) if callable(self.arguments) else self.arguments
        if not isinstance(arguments, tuple):
            raise TypeError(f"{op} / {self.name}: the arguments must be a tuple, such as (x,), got {type(arguments).__name__}")
        return arguments, dict(self.options(draw) if callable(self.options) else self.options)


@dataclass(frozen=True)
class Error:
    """A call that must raise `exception` with a message that contains `match`."""

    name: str
    arguments: Callable[[Draw], Arguments]
    exception: type[Exception]
    match: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """The origin of a reference: a library function, or a composition that uses another formula than the op."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


def library(name: str) -> Source:
    """The reference is this library function, or a thin wrapper around it."""
    return Source("library", name)


def composed(how: str) -> Source:
    """The reference is composed of functions of jax.numpy and uses another formula than the op."""
    return Source("composed", how)


@dataclass(frozen=True)
class Deviation:
    """A declared difference from JAX: the point, the op's slope, JAX's slope, and the reason.

    `measure` returns (the op's slope, JAX's slope) at that point, and the tests compare both with the declared ones. The
    reference of the Spec follows the op's convention there.
    """

    point: str
    ours: float
    jax: float
    why: str
    measure: Callable[[], tuple[float, float]]


Strategy = Callable[[Draw], tuple[Arguments, dict[str, Any]]]


@dataclass(frozen=True)
class Spec:
    """One op and all that is needed to verify it.

    For your own function, `Spec((fwd, bwd), cases=(Case("typical", (x,)),), reference=jax_function)` is enough.
    """

    op: Op | tuple[Callable[..., Any], Callable[..., Any]]
    """The op. A function with a rule in JAX, torch or autograd is accepted, too, and becomes such a pair."""
    cases: tuple[Case, ...]
    reference: Callable[..., Any] | None = None
    source: Source | None = None
    strategy: Strategy | None = None
    errors: tuple[Error, ...] = ()
    deviations: tuple[Deviation, ...] = ()
    tier: int = 1
    views: bool = False
    """Whether the value may be a view of an argument, as in NumPy's reshape and slices."""
    allows: frozenset[Allows] = frozenset()
    """What the op does by prescription, though a pure function would not."""
    accept: float = 0.0
    """An error below this share of the gradient's largest entry is ACCEPTED, which passes: a known deviation."""
    order: int = 1
    """With 2 the backward pass of the backward pass is verified, too; the op then has one, see `oracle.double_backward`."""
    convention: str | None = None
    """Of gradients by complex numbers: `"jax"` or `"torch"`. By default it is torch's for functions of torch, else JAX's."""
    on_request: bool = False
    """Whether it is verified only when it is named, because it takes minutes, such as a net of a hundred million parameters."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "op", adapted(self.op) or self.op)
        if isinstance(self.op, Bound):
            self._give(self.op)
        pair = isinstance(self.op, tuple) and len(self.op) == 2 and all(map(callable, self.op))
        if not (pair or isinstance(self.op, Op)):
            raise TypeError(f"Spec: {refusal(self.op)}")
        if isinstance(self.allows, Allows) or not all(isinstance(one, Allows) for one in self.allows):
            raise TypeError(f"Spec of {self.name}: allows must be a set of oracle.Allows, got {self.allows!r}")
        if not isinstance(self.cases, tuple | list) or not all(isinstance(case, Case) for case in self.cases):
            raise TypeError(f"Spec of {self.name}: cases must be a tuple of Case, such as (Case(...),)")
        check_accept(self.accept, f"Spec of {self.name}")
        check_convention(self.convention, f"Spec of {self.name}")
        check_order(self.order, self.op, self.name, f"Spec of {self.name}")
        names = [case.name for case in self.cases]
        if not names:
            raise ValueError(f"Spec of {self.name}: at least one case is needed")
        if len(set(names)) != len(names):
            raise ValueError(f"Spec of {self.name}: two cases share a name: {', '.join(names)}")
        if self.source is None and self.reference is not None:
            object.__setattr__(self, "source", composed(name_of(self.reference)))

    def _give(self, op: Bound) -> None:
        """The arguments that the op holds go to the cases and the strategy, before theirs."""
        strategy, held = self.strategy, op.primals
        object.__setattr__(self, "op", op.pair)
        if all(isinstance(case, Case) for case in self.cases):
            object.__setattr__(self, "cases", tuple(case.after(held) for case in self.cases))
        if strategy is not None:

            def longer(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
                arguments, options = strategy(draw)
                return (*held, *arguments), options

            object.__setattr__(self, "strategy", longer)

    @property
    def forward(self) -> Callable[..., Any]:
        """The forward function as written."""
        return self.op.forward if isinstance(self.op, Op) else self.op[0]

    @property
    def backward(self) -> Callable[..., Any] | None:
        """The backward function as written."""
        return self.op.backward if isinstance(self.op, Op) else self.op[1]

    @property
    def name(self) -> str:
        return self.op.name if isinstance(self.op, Op) else self.op[0].__name__.removesuffix("_fwd")

    @property
    def family(self) -> str:
        """The module of the op: below `purenet` the part of its name that the catalogue shares, otherwise its full name."""
        module = self.op.__module__ if isinstance(self.op, Op) else self.op[0].__module__
        parts = module.split(".")
        return parts[1] if parts[0] == "purenet" and len(parts) > 1 else module

    def case(self, name: str) -> Case:
        for case in self.cases:
            if case.name == name:
                return case
        raise KeyError(f"{self.name} has no case {name!r}; it has {', '.join(c.name for c in self.cases)}")
