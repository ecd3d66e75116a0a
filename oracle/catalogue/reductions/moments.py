"""Sums and what is made of sums: references, cases, strategies; and the cases that all reductions have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn
from oracle.catalogue.shaping.layout import NO_ROWS, ONE_ROW, axes_of, bad, integer_x, numbers
from oracle.spec import Array, Case, Deviation, Draw, Error, Flag, Spec, Strategy, library
from purenet.reductions import moments
from purenet.reductions.moments import cumsum, mean, norm, std, var

TIED = frozenset({Flag.AT_KINK, Flag.REPEATED})
FAR = (-1e4, 1e4, -3e3, 0.5)

Numbers = Callable[..., Callable[[Draw], tuple[Array, ...]]]


def cases(drawn: Numbers = numbers) -> tuple[Case, ...]:
    """The cases that every reduction has, with numbers `drawn` for it."""
    return (
        Case("everything", drawn(2, 3)),
        Case("the last axis", drawn(3, 4), {"axis": -1}),
        Case("several axes, kept", drawn(2, 3, 4), {"axis": (2, 0), "keepdims": True}),
        Case("no axis", drawn(2, 3), {"axis": ()}),
        Case("one row", drawn(1, 4), {"axis": 1}, ONE_ROW),
        Case("no rows", drawn(0, 4), {"axis": -1}, NO_ROWS),
    )


def errors(name: str) -> tuple[Error, ...]:
    """The errors that every reduction has."""
    return (
        integer_x(name),
        bad(name, "no such axis", ValueError, "axis must be one of the 2 axes of x (2, 3), got 2", axis=2),
        bad(name, "an axis twice", ValueError, "axis must name each axis once, got (1, -1)", axis=(1, -1)),
        bad(name, "half", TypeError, "axis must be an integer, a tuple of integers or None, got 0.5", axis=0.5),
    )


def accumulations() -> tuple[Case, ...]:
    """The cases of what keeps its sums or products on the way."""
    return (
        Case("all in a row", numbers(2, 3)),
        Case("the last axis", numbers(2, 5), {"axis": -1}),
        Case("the middle", numbers(2, 4, 3), {"axis": 1}),
        Case("a scalar", lambda draw: (np.array(0.5),)),
        Case("one row", numbers(1, 3), {"axis": 1}, ONE_ROW),
        Case("no rows", numbers(0, 3), {"axis": 1}, NO_ROWS),
        Case("nothing", numbers(2, 0), {"axis": 1}, NO_ROWS),
    )


def accumulation_errors(name: str) -> tuple[Error, ...]:
    return (
        integer_x(name),
        bad(name, "no such axis", ValueError, "axis must be one of the 2 axes of x (2, 3), got 2", axis=2),
        bad(name, "two axes", TypeError, "axis must be an integer, got (0, 1)", axis=(0, 1)),
    )


def over(low: int = 0, size: int = 4, least: int = 1, **choices: Any) -> Strategy:
    """Arrays of low axes or more, with axes of `least` to `size` entries to reduce, and one of the `choices` of each option."""

    def strategy(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x = draw.normal(*(draw.between(least, size) for _ in range(draw.between(low, 3))), scale=draw.choice([1.0, 10.0]))
        options = {"axis": axes_of(draw, x)} if x.ndim else {}
        options |= draw.choice([{}, {"keepdims": True}])
        return (x,), options | {name: draw.choice(values) for name, values in choices.items()}

    return strategy


def accumulated(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x = draw.normal(*draw.shape(1, 3, 6))
    return (x,), draw.choice([{}, {"axis": draw.between(-x.ndim, x.ndim - 1)}])


# -------------------------------------------------------------------------------------------------- references


def mean_by_jax(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    # The mean of nothing is 0; JAX's is NaN.
    return (jnp.mean if x.size else jnp.sum)(x, axis=axis, keepdims=keepdims)


def var_by_jax(x: Any, *, axis: Any = None, ddof: Any = 0, keepdims: bool = False) -> Any:
    return jnp.var(x, axis=axis, ddof=ddof, keepdims=keepdims) if x.size else jnp.sum(x, axis=axis, keepdims=keepdims)


def std_by_jax(x: Any, *, axis: Any = None, ddof: Any = 0, keepdims: bool = False) -> Any:
    if not x.size:
        return jnp.sum(x, axis=axis, keepdims=keepdims)
    # Other entries where all are equal, and the constant 0 in the end: JAX's gradient there is NaN, ours is 0.
    equal = jnp.max(x, axis, keepdims=True) == jnp.min(x, axis, keepdims=True)
    others = jnp.arange(x.size, dtype=x.dtype).reshape(x.shape)
    y = jnp.where(equal, 0, jnp.std(jnp.where(equal, others, x), axis=axis, ddof=ddof, keepdims=True))
    return y if keepdims else jnp.squeeze(y, axis)


def norm_by_jax(x: Any, *, ord: Any = 2, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002 - the op's name
    if not x.size:
        return jnp.sum(x, axis=axis, keepdims=keepdims)
    # Constants where |x| has a kink: JAX's slopes there are 1 or NaN, ours is 0.
    zero = jnp.all(x == 0, axis, keepdims=True)
    x = jnp.where(zero, 1, jnp.where(x == 0, 0, x))
    y = jnp.where(zero, 0, jnp.linalg.vector_norm(x, axis=axis, keepdims=True, ord=ord))
    return y if keepdims else jnp.squeeze(y, axis)


def slopes_of_std() -> tuple[float, float]:
    """Ours, and JAX's, where all entries are equal."""
    _, pullback = pn.vjp(std, np.ones(2))
    return float(pullback(1.0)[0][0]), float(jax.grad(jnp.std)(jnp.ones(2))[0])


def slopes_of_norm(order: Any) -> tuple[float, float]:
    """Ours, and JAX's, at 0."""
    _, pullback = pn.vjp(norm, np.zeros(2), ord=order)
    return float(pullback(1.0)[0][0]), float(jax.grad(lambda x: jnp.linalg.vector_norm(x, ord=order))(jnp.zeros(2))[0])


def nonzero(*shape: int) -> Any:
    return lambda draw: (draw.away_from([0.0], *shape),)


def spread_out(*shape: int) -> Any:
    """Entries of a standard deviation that is not 0, however many axes there are."""
    return lambda draw: (draw.normal(*shape) + np.arange(np.prod(shape, dtype=int)).reshape(shape),)


def norms(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    (x,), options = over()(draw)
    away = np.asarray(draw.away_from([0.0], *x.shape, scale=draw.choice([1.0, 10.0])))
    return (away,), options | draw.choice([{}, {"ord": 1}, {"ord": 3}, {"ord": 2.5}, {"ord": np.inf}])


def deviating(name: str) -> tuple[Error, ...]:
    return (
        *errors(name),
        bad(name, "too few", ValueError, "ddof must be less than the 3 entries along axis 1, got 3", axis=1, ddof=3),
        bad(name, "no number", TypeError, "ddof must be a number, got str", ddof="1"),
    )


SPECS = (
    Spec(
        moments.sum,
        reference=jnp.sum,
        source=library("jax.numpy.sum"),
        cases=(*cases(), Case("nothing", numbers(0, 4), {"axis": 0}, NO_ROWS)),
        strategy=over(),
        errors=errors("sum"),
        tier=2,
    ),
    Spec(
        mean,
        reference=mean_by_jax,
        source=library("jax.numpy.mean"),
        cases=(*cases(), Case("nothing", numbers(0, 4), {"axis": 0}, NO_ROWS)),
        strategy=over(),
        errors=errors("mean"),
        tier=2,
    ),
    Spec(
        var,
        reference=var_by_jax,
        source=library("jax.numpy.var"),
        cases=(
            *(case for case in cases() if case.name != "no axis"),
            Case("unbiased", numbers(3, 4), {"axis": 0, "ddof": 1}),
            Case("far from 0", lambda draw: (100 + draw.normal(2, 4, scale=3.0),), {"axis": 1}),
            Case(
                "equal entries",
                lambda draw: (np.full((2, 4), 0.1),),
                {"axis": 1},
                frozenset({Flag.ZERO_GRADIENT, Flag.REPEATED}),
            ),
            Case("nothing", numbers(0, 4), {"axis": 0, "ddof": 1}, NO_ROWS),
        ),
        strategy=over(low=1, least=2, ddof=[0, 1, 0.5]),
        errors=deviating("var"),
        tier=2,
    ),
    Spec(
        std,
        reference=std_by_jax,
        source=library("jax.numpy.std"),
        cases=(
            *(case for case in cases(spread_out) if case.name != "no axis"),
            Case("unbiased", spread_out(3, 4), {"axis": 0, "ddof": 1}),
            Case("far out", lambda draw: (np.array([FAR, FAR[::-1]]) * draw.uniform(2, 4),), {"axis": 1}),
            Case(
                "equal entries",
                lambda draw: (np.array([[0.1, 0.1, 0.1], [1.0, 2.0, 4.0], [-3.0, -3.0, -3.0]]),),
                {"axis": 1},
                TIED,
            ),
            Case("nothing", numbers(0, 4), {"axis": 0}, NO_ROWS),
        ),
        strategy=over(low=1, least=2, size=5, ddof=[0, 1]),
        errors=deviating("std"),
        deviations=(
            Deviation("std where all entries are equal", 0.0, float("nan"), "the symmetric subgradient", slopes_of_std),
        ),
        tier=2,
    ),
    Spec(
        norm,
        reference=norm_by_jax,
        source=library("jax.numpy.linalg.vector_norm"),
        cases=(
            *(case for case in cases() if case.name != "no axis"),
            Case("each entry by itself", nonzero(2, 3), {"axis": ()}),
            Case("sum of absolute entries", nonzero(2, 4), {"axis": 1, "ord": 1}),
            Case("cubes", nonzero(3, 4), {"axis": 0, "ord": 3}),
            Case("the largest", nonzero(3, 4), {"axis": 1, "ord": np.inf, "keepdims": True}),
            Case("far out", lambda draw: (np.array([FAR, FAR[::-1]]) * draw.uniform(2, 4),), {"axis": 1, "ord": 9.5}),
            Case("at 0", lambda draw: (np.array([[0.0, 0.0, -0.0], [3.0, 0.0, 4.0]]),), {"axis": 1}, TIED),
            Case("zeros, by ord 1", lambda draw: (np.array([0.0, 1.5, -0.0, -2.0]),), {"ord": 1}, TIED),
            Case("two are the largest", lambda draw: (np.array([2.0, 1.5, -2.0, 0.0]),), {"ord": np.inf}, TIED),
            Case("nothing", numbers(0, 4), {"axis": 0, "ord": np.inf}, NO_ROWS),
        ),
        strategy=norms,
        errors=(
            *errors("norm"),
            bad("norm", "less than 1", ValueError, "ord must be at least 1, got 0.5", ord=0.5),
            bad("norm", "NaN", ValueError, "ord must be at least 1, got nan", ord=np.nan),
            bad("norm", "a name", TypeError, "ord must be a number, got 'fro'", ord="fro"),
        ),
        deviations=(
            Deviation("norm at 0", 0.0, float("nan"), "the symmetric subgradient", lambda: slopes_of_norm(2.0)),
            Deviation("norm of ord 1 at 0", 0.0, 1.0, "the symmetric subgradient", lambda: slopes_of_norm(1.0)),
        ),
        tier=2,
    ),
    Spec(
        cumsum,
        reference=jnp.cumsum,
        source=library("jax.numpy.cumsum"),
        cases=accumulations(),
        strategy=accumulated,
        errors=accumulation_errors("cumsum"),
        tier=2,
    ),
)
