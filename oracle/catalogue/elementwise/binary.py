"""Arithmetic of two arrays that broadcast: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from oracle.spec import Array, Case, Draw, Error, Flag, Spec, library
from purenet.elementwise.binary import add, divide, maximum, minimum, multiply, power, subtract

Pairs = Callable[[Draw, tuple[int, ...], tuple[int, ...]], tuple[Array, Array]]
REPEATED = frozenset({Flag.REPEATED})
KINK, ONE, EMPTY = frozenset({Flag.AT_KINK, Flag.REPEATED}), frozenset({Flag.BATCH_OF_ONE}), frozenset({Flag.EMPTY_BATCH})


def any_numbers(draw: Draw, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[Array, Array]:
    return draw.normal(*first, scale=2.0), draw.normal(*second)


def divisible(draw: Draw, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[Array, Array]:
    return draw.normal(*first), np.asarray(draw.away_from([0.0], *second, scale=2.0, gap=0.3))


def positive_bases(draw: Draw, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[Array, Array]:
    return draw.uniform(*first, low=0.5, high=2.5), draw.normal(*second, scale=2.0)


def never_equal(draw: Draw, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[Array, Array]:
    """Numbers near the multiples of 1/2, and others near the middles between them; each is the larger one somewhere."""

    def near(shape: tuple[int, ...], shift: float) -> Array:
        return np.asarray(0.5 * draw.generator.integers(-4, 5, shape) + shift + draw.uniform(*shape, low=-0.1, high=0.1))

    x, y = near(first, 0.0), near(second, 0.25)
    ends = (x if x.size > 1 else y).reshape(-1)
    ends[:1], ends[1:][-1:] = 5.0, -5.0
    return x, y


def cases(pairs: Pairs) -> tuple[Case, ...]:
    """The cases of every function of two arrays: each is broadcast along axes that it has, that it lacks, and not at all."""

    def case(name: str, first: tuple[int, ...], second: tuple[int, ...], flags: frozenset[Flag] = frozenset()) -> Case:
        return Case(name, lambda draw: pairs(draw, first, second), flags=flags)

    return (
        case("two dimensions", (3, 4), (3, 4)),
        case("a row for all", (2, 3, 4), (4,), REPEATED),
        case("both are broadcast", (3, 1), (2, 1, 4), REPEATED),
        case("the first is a number", (), (3, 2), REPEATED),
        case("the second is a number", (3, 2), (), REPEATED),
        case("one row", (1, 4), (3, 4), ONE),
        case("no rows", (0, 4), (4,), EMPTY),
    )


def errors(name: str, pairs: Pairs) -> tuple[Error, ...]:
    integers = f"{name}: x must be a floating-point array"
    return (
        Error(
            "shapes that do not broadcast",
            lambda draw: pairs(draw, (2, 3), (2,)),
            ValueError,
            f"{name}: x (2, 3) and y (2,) must broadcast",
        ),
        Error("integer x", lambda draw: (draw.labels(9, 3), draw.normal(3)), TypeError, integers),
        Error("integer y", lambda draw: (draw.normal(3), 2), TypeError, f"{name}: y must be an array, got int"),
        Error(
            "two dtypes",
            lambda draw: (draw.normal(3), draw.normal(3).astype(np.float32)),
            TypeError,
            f"{name}: arguments must share one dtype, but x is float64 and y is float32",
        ),
    )


def strategy(pairs: Pairs) -> Any:
    def strategy(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        shape = tuple(draw.between(2, 4) for _ in range(draw.between(1, 3)))

        def some() -> tuple[int, ...]:
            return draw.choice([shape, shape[draw.between(0, len(shape)) :], tuple(draw.choice([n, 1]) for n in shape)])

        first, second = some(), some()
        return pairs(draw, shape if max((*first, *second), default=1) == 1 else first, second), {}

    return strategy


def spec(op: Any, reference: Any, pairs: Pairs, *more: Case) -> Spec:
    return Spec(
        op,
        reference=reference,
        source=library(f"jax.numpy.{op.name}"),
        cases=(*cases(pairs), *more),
        strategy=strategy(pairs),
        errors=errors(op.name, pairs),
        tier=2,
    )


def ordered(*x: float) -> Callable[[Draw], tuple[Array, Array]]:
    """These numbers, and ones of which some are equal to them."""
    return lambda draw: (np.array(x), np.array([1.0, -2.0, 0.0, 3.0]))


TIES = ordered(1.0, -2.0, 0.5, 2.0)

SPECS = (
    spec(add, jnp.add, any_numbers, Case("very different sizes", lambda draw: (draw.normal(3, scale=1e4), draw.normal(3)))),
    spec(
        subtract,
        jnp.subtract,
        any_numbers,
        Case("equal numbers", lambda draw: (np.array([1.0, 2.0]), np.array([1.0, 2.0])), flags=REPEATED),
    ),
    spec(
        multiply,
        jnp.multiply,
        any_numbers,
        Case("factors of 0", lambda draw: (np.array([0.0, 2.0, -1.0]), np.array([3.0, 0.0, -0.5]))),
    ),
    spec(
        divide,
        jnp.divide,
        divisible,
        Case("0 by numbers", lambda draw: (np.array([0.0, 1.0, 0.0]), np.array([2.0, -4.0, -0.5]))),
        Case("small divisors", lambda draw: (draw.normal(3), np.array([1e-3, -2e-3, 4.0]))),
    ),
    spec(
        power,
        jnp.power,
        positive_bases,
        Case("exponents of 0 and 1", lambda draw: (np.array([0.5, 2.0, 1.5]), np.array([0.0, 1.0, 0.0]))),
        Case("a base of 0", lambda draw: (np.array([0.0, 2.0, 0.0]), np.array([2.0, 2.0, 3.0]))),
    ),
    spec(maximum, jnp.maximum, never_equal, Case("equal numbers", TIES, flags=KINK)),
    spec(minimum, jnp.minimum, never_equal, Case("equal numbers", TIES, flags=KINK)),
)
