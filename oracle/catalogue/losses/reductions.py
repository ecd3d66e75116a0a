"""What the Specs of all losses share: references reduced, cases with weights and masks, strategies, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from oracle.spec import Case, Draw, Error, Flag

__all__ = [
    "EMPTY",
    "KINK",
    "MASKED",
    "NOTHING",
    "ONE",
    "REPEATED",
    "SATURATED",
    "bad_options",
    "broadcast_cases",
    "by_entries",
    "by_rows",
    "cases_of_entries",
    "cases_of_rows",
    "errors_of",
    "fuzzed",
    "fuzzed_rows",
    "narrowed",
    "reduced",
    "weighting",
]

Arguments = Callable[..., Any]
"""From a shape, and the options that matter to it, to a function that draws arguments."""

KINK, MASKED, REPEATED = frozenset({Flag.AT_KINK}), frozenset({Flag.MASKED}), frozenset({Flag.REPEATED})
SATURATED, ONE, EMPTY = frozenset({Flag.SATURATED}), frozenset({Flag.BATCH_OF_ONE}), frozenset({Flag.EMPTY_BATCH})
NOTHING = frozenset({Flag.MASKED, Flag.ZERO_GRADIENT})
HOLES = np.array([[True, False, True], [True, True, False]])


def reduced(terms: Any, reduction: str, weight: Any = None, where: Any = None) -> Any:
    """The terms put together as optax leaves it to its users to do."""
    weights = jnp.ones(terms.shape, terms.dtype) if weight is None else jnp.asarray(weight, terms.dtype)
    weights = jnp.broadcast_to(weights, terms.shape)
    if where is not None:
        weights = jnp.where(where, weights, 0)
    terms = jnp.where(weights == 0, 0, terms * weights)
    if reduction == "none":
        return terms
    total = weights.sum()
    return terms.sum() / jnp.where(total > 0, total, 1) if reduction == "mean" else terms.sum()


def by_entries(loss: Callable[..., Any], *, spread: bool = True) -> Callable[..., Any]:
    """A reference from a function that gives the loss of each entry, of arguments that are `spread` to one shape before."""

    def reference(*arguments: Any, weight: Any = None, where: Any = None, reduction: str = "mean", **options: Any) -> Any:
        arguments = tuple(jnp.broadcast_arrays(*arguments)) if spread else arguments
        terms = loss(*arguments, **options).astype(arguments[0].dtype)
        return reduced(terms, reduction, weight, where)

    return reference


def by_rows(loss: Callable[..., Any]) -> Callable[..., Any]:
    """A reference from a function with `axis` and `where` that gives the loss of each row."""

    def reference(
        *arguments: Any, axis: Any = -1, weight: Any = None, where: Any = None, reduction: str = "mean", **options: Any
    ) -> Any:
        arguments = tuple(jnp.broadcast_arrays(*arguments))
        if where is None:
            return reduced(loss(*arguments, axis=axis, **options), reduction, weight)
        where = jnp.broadcast_to(where, arguments[0].shape)
        rows = where.any(axis=axis, keepdims=True)  # a row without entries could be NaN: it gets all, and counts nothing
        terms = loss(*arguments, axis=axis, where=where | ~rows, **options)
        return reduced(terms, reduction, weight, jnp.squeeze(rows, axis))

    return reference


def cases_of_entries(arguments: Arguments, **options: Any) -> tuple[Case, ...]:
    """The cases of every loss that has a term for each entry."""

    def case(name: str, *shape: int, flags: frozenset[Flag] = frozenset(), **more: Any) -> Case:
        return Case(name, arguments(*shape, **options), {**options, **more}, flags)

    return (
        case("mean", 3, 4),
        case("weighted mean", 2, 3, weight=np.array([[0.5], [3.0]])),
        case("holes, weights", 2, 3, flags=MASKED, where=HOLES, weight=np.array([0.5, 2.0, 1.25]), reduction="none"),
        case("sum of one row", 1, 4, flags=ONE, reduction="sum"),
        case("no rows", 0, 4, flags=EMPTY),
    )


def cases_of_rows(arguments: Arguments, **options: Any) -> tuple[Case, ...]:
    """The cases of every loss that has a term for each row along an axis."""

    def case(name: str, *shape: int, flags: frozenset[Flag] = frozenset(), **more: Any) -> Case:
        return Case(name, arguments(*shape, **options), {**options, **more}, flags)

    return (
        case("mean over 3 rows", 3, 4),
        case("weighted mean, first axis", 4, 3, weight=np.array([0.5, 2.0, 1.25]), axis=0),
        case("two axes, no reduction", 2, 3, 2, axis=(0, -1), reduction="none"),
        case("holes, and a row of holes", 2, 3, flags=MASKED, where=np.array([[True, False, True], [False] * 3])),
        case("sum of one row", 1, 4, flags=ONE, reduction="sum"),
        case("no rows", 0, 4, flags=EMPTY),
    )


def narrowed(arguments: Callable[[Draw], tuple[Any, ...]], *places: Any) -> Callable[[Draw], tuple[Any, ...]]:
    """Draws these arguments, and of each what is at one of these places, so that they broadcast."""
    return lambda draw: tuple(np.array(a[place]) for a, place in zip(arguments(draw), places, strict=True))


def broadcast_cases(arguments: Arguments, count: int = 2, *, rank: bool = False, **options: Any) -> tuple[Case, ...]:
    """The cases of a loss whose arguments, `count` of them, broadcast; with `rank` all must have the same number of axes."""
    column: Any = np.s_[:, :, :1]
    row: Any = np.s_[:1] if rank else np.s_[0]
    one: Any = np.s_[:1, :1] if rank else np.s_[0, 0]
    places: list[Any] = [column, row, np.s_[:, :1], np.s_[:]]
    return (
        Case(
            "columns and rows broadcast, weights",
            narrowed(arguments(2, 3, 4, **options), *places[:count]),
            {**options, "weight": np.array([0.5, 2.0, 1.25, 3.0])},
            REPEATED,
        ),
        Case(
            "the first broadcasts",
            narrowed(arguments(2, 3, 4, **options), one, *[np.s_[:]] * (count - 1)),
            {**options, "reduction": "none"},
            REPEATED,
        ),
    )


def broadcasting(draw: Draw, given: tuple[Any, ...], axes: Sequence[int]) -> tuple[Any, ...]:
    """These arguments of one shape; or one of them, and of the others only a slice along one of these axes."""
    if not axes or not draw.choice([False, True]):
        return given
    whole, place = draw.between(0, len(given) - 1), (*[slice(None)] * draw.choice(axes), slice(0, 1))
    return tuple(a if i == whole else np.array(a[place]) for i, a in enumerate(given))


def fuzzed(
    arguments: Arguments, options: Callable[[Draw], dict[str, Any]] = lambda draw: {}, *, broadcasts: bool = True
) -> Any:
    """A strategy for a loss that has a term for each entry; `options` draws those that only it has."""

    def strategy(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        shape, own = draw.shape(), options(draw)
        common = weighting(draw, shape)
        if draw.choice([False, True]):
            common["where"] = kept = np.asarray(draw.mask(*draw.choice([shape, shape[-1:]])))
            kept.reshape(-1)[:1] = True  # where nothing counts there is no gradient to look at
        given = arguments(*shape, **own)(draw)
        return broadcasting(draw, given, range(len(shape) if broadcasts else 0)), {**own, **common}

    return strategy


def fuzzed_rows(arguments: Arguments, options: Callable[[Draw], dict[str, Any]] = lambda draw: {}) -> Any:
    """A strategy for a loss that has a term for each row along an axis; rows have two entries or more."""

    def strategy(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        shape = tuple(draw.between(2, 4) for _ in range(draw.between(1, 3)))
        own, axis = options(draw), draw.choice([-1, 0, None, (0, -1)] if len(shape) > 1 else [-1, 0, None])
        along = [i % len(shape) for i in (range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else [axis])]
        common = {"axis": axis, **weighting(draw, tuple(n for i, n in enumerate(shape) if i not in along))}
        if draw.choice([False, True]):
            common["where"] = kept = np.asarray(draw.mask(*shape))
            kept[(slice(0, 2),) * len(shape)] = True  # the cosine of rows with one entry does not change
        given = broadcasting(draw, arguments(*shape, **own)(draw), [i for i in range(len(shape)) if i not in along])
        return given, {**own, **common}

    return strategy


def weighting(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    """A reduction, and weights of terms of this shape."""
    chosen: dict[str, Any] = {"reduction": draw.choice(["mean", "sum", "none"])}
    if draw.choice([False, True]):
        chosen["weight"] = draw.uniform(*draw.choice([shape, shape[-1:], ()]), low=0.5, high=3.0)
    return chosen


def errors_of(op: str, arguments: Arguments, names: tuple[str, ...], *, unequal: str = "", **options: Any) -> tuple[Error, ...]:
    """What every loss between arrays (called `names`) refuses, at arguments of shape (2, 3).

    `unequal` is what it says of a second one of shape (2, 2), if it asks for more than that shapes broadcast.
    """
    first, second, *_ = names
    shapes = [f"{name} {'(2, 2)' if name == second else '(2, 3)'}" for name in names]
    refused = unequal or f"{', '.join(shapes[:-1])} and {shapes[-1]} must broadcast"

    def changed(i: int, change: Callable[[Any], Any]) -> Callable[[Draw], tuple[Any, ...]]:
        def drawn(draw: Draw) -> tuple[Any, ...]:
            given = arguments(2, 3, **options)(draw)
            return (*given[:i], change(given[i]), *given[i + 1 :])

        return drawn

    def bad(what: str, match: str, exception: type[Exception] = ValueError, **more: Any) -> Error:
        return Error(what, arguments(2, 3, **options), exception, f"{op}: {match}", {**options, **more})

    return (
        Error(
            "shapes differ",
            changed(1, lambda a: a[:, :2]),
            ValueError,
            f"{op}: {refused}",
            options,
        ),
        Error(
            "integers",
            changed(0, lambda a: a.astype(np.int64)),
            TypeError,
            f"{op}: {first} must be a floating-point array",
            options,
        ),
        bad("negative weight", "weight must be finite and at least 0, got -1.0", weight=-1.0),
        bad("mask of numbers", "where must be an array of booleans", TypeError, where=np.ones((2, 3))),
        bad("unknown reduction", "reduction must be one of 'mean', 'sum', 'none', got 'average'", reduction="average"),
    )


def bad_options(op: str, arguments: Any, *bad: tuple[str, str, type[Exception], dict[str, Any]]) -> tuple[Error, ...]:
    """Errors of options alone: what is wrong, what the message says, the exception, and the options."""
    return tuple(Error(what, arguments, exception, f"{op}: {match}", options) for what, match, exception, options in bad)
