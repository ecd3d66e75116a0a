"""Rectifiers: references, cases, strategies; and what the cases of all piecewise linear activations have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.activations.smooth import errors
from oracle.spec import Array, Case, Draw, Error, Flag, Spec, Strategy, composed, library
from purenet.activations.rectifiers import leaky_relu, prelu, relu, threshold

FAR = (-1e4, -750.0, 750.0, 1e4)


def cases(*kinks: float, **options: Any) -> tuple[Case, ...]:
    """The cases that every function of single entries with these kinks (or jumps) has, beside them."""
    return (
        Case("two dimensions", lambda draw: (draw.away_from(kinks, 3, 5, scale=3.0),), options),
        Case(
            "far out",
            lambda draw: (np.concatenate([draw.away_from(kinks, 6, scale=3.0), FAR]),),
            options,
            frozenset({Flag.SATURATED}),
        ),
        Case("many entries", lambda draw: (draw.away_from(kinks, 21, 20, scale=3.0),), options),
        Case("one row", lambda draw: (draw.away_from(kinks, 1, 6, scale=3.0),), options, frozenset({Flag.BATCH_OF_ONE})),
        Case("no rows", lambda draw: (draw.normal(0, 4),), options, frozenset({Flag.EMPTY_BATCH})),
    )


def on(*kinks: float, **options: Any) -> Case:
    """Some entries on each kink among others beside them."""
    return Case(
        "on the kinks",
        lambda draw: (np.concatenate([draw.away_from(kinks, 5, scale=3.0), kinks, kinks]),),
        options,
        frozenset({Flag.AT_KINK, Flag.REPEATED}),
    )


def beside(
    *kinks: float, live: float, options: Callable[[Draw], dict[str, Any]] = lambda _: {}, scale: float = 30.0
) -> Strategy:
    """Entries beside the kinks, the first of them `live`: where all of them are flat there is no gradient to look at."""

    def strategy(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x = np.asarray(draw.away_from(kinks, *draw.shape(), scale=draw.choice([1.0, scale])))
        x.reshape(-1)[:1] = live
        return (x,), options(draw)

    return strategy


def prelu_by_leaky_relu(params: dict[str, Any], x: Any, *, axis: int = 1) -> Any:
    a = params["a"]
    if a.size > 1:
        a = jnp.expand_dims(a, [i for i in range(x.ndim) if i != axis % x.ndim])
    return jax.nn.leaky_relu(x, a if a.size > 1 else a.reshape(()))


def some_negative(draw: Draw, *shape: int, scale: float = 1.0) -> Array:
    """Numbers beside 0, the first of them negative: where nothing is, no slope has a gradient."""
    x = draw.away_from([0.0], *shape, scale=scale)
    x.reshape(-1)[:1] = -0.5
    return x


def prelus(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = tuple(draw.between(1, 4) for _ in range(draw.between(2, 4)))
    x = some_negative(draw, *shape, scale=draw.choice([1.0, 30.0]))
    kind = draw.choice(["one", "one of an array", "channels", "another axis"])
    if kind == "another axis":
        axis = draw.choice([-1, 0, len(shape) - 1])
        return ({"a": draw.normal(shape[axis])}, x), {"axis": axis}
    return ({"a": {"one": draw.normal(), "one of an array": draw.normal(1)}.get(kind, draw.normal(shape[1]))}, x), {}


def at_threshold(x: Any, *, threshold: float, value: float) -> Any:
    return value + jnp.heaviside(x - threshold, 0) * (x - value)


def slopes(draw: Draw) -> dict[str, Any]:
    return draw.choice([{}, {"negative_slope": 0.3}, {"negative_slope": -2.0}, {"negative_slope": 1}])


def weights(draw: Draw) -> dict[str, Any]:
    return {"w": draw.normal(3)}


SPECS = (
    Spec(
        relu,
        reference=jax.nn.relu,
        source=library("jax.nn.relu"),
        cases=(
            Case("two dimensions", lambda draw: (draw.away_from([0.0], 3, 5),)),
            Case("three dimensions", lambda draw: (draw.away_from([0.0], 2, 3, 4, scale=1e4),)),
            Case("scalar", lambda draw: (np.array(0.75),)),
            Case(
                "zeros of both signs",
                lambda draw: (np.concatenate([draw.away_from([0.0], 5), [0.0, -0.0, 0.0]]),),
                flags=frozenset({Flag.AT_KINK, Flag.REPEATED}),
            ),
            Case(
                "nothing positive",
                lambda draw: (-0.1 - np.abs(draw.normal(2, 3)),),
                flags=frozenset({Flag.ZERO_GRADIENT}),
            ),
            Case("one row", lambda draw: (draw.away_from([0.0], 1, 4),), flags=frozenset({Flag.BATCH_OF_ONE})),
            Case("no rows", lambda draw: (draw.normal(0, 4),), flags=frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=beside(0.0, live=0.5),
        errors=(
            Error("integer x", lambda draw: (draw.labels(9, 3),), TypeError, "relu: x must be a floating-point array"),
            Error("unknown option", lambda draw: (draw.normal(3),), TypeError, "relu: unknown keyword", {"slope": 0.1}),
        ),
    ),
    Spec(
        leaky_relu,
        reference=jax.nn.leaky_relu,
        source=library("jax.nn.leaky_relu"),
        cases=(
            *cases(0.0),
            on(0.0, -0.0),
            Case("another slope", lambda draw: (draw.away_from([0.0], 2, 3, 2),), {"negative_slope": -0.7}),
        ),
        strategy=beside(0.0, live=-0.5, options=slopes),
        errors=(
            *errors("leaky_relu"),
            Error(
                "slope is no number",
                lambda draw: (draw.normal(3),),
                TypeError,
                "leaky_relu: negative_slope must be a number, got ndarray",
                {"negative_slope": np.array([0.1, 0.2, 0.3])},
            ),
            Error(
                "slope is not finite",
                lambda draw: (draw.normal(3),),
                ValueError,
                "leaky_relu: negative_slope must be finite",
                {"negative_slope": float("nan")},
            ),
        ),
        tier=2,
    ),
    Spec(
        prelu,
        reference=prelu_by_leaky_relu,
        source=library("jax.nn.leaky_relu"),
        cases=(
            Case("one slope", lambda draw: ({"a": draw.normal()}, some_negative(draw, 3, 5))),
            Case("one slope in an array", lambda draw: ({"a": draw.normal(1)}, draw.away_from([0.0], 4))),
            Case("a slope for each channel", lambda draw: ({"a": draw.normal(3)}, draw.away_from([0.0], 2, 3, 2, 3))),
            Case("the last axis", lambda draw: ({"a": draw.normal(4)}, draw.away_from([0.0], 2, 3, 4)), {"axis": -1}),
            Case(
                "zeros of both signs",
                lambda draw: ({"a": np.array([0.25, -0.5])}, np.array([[0.0, -0.0], [1.5, 0.0], [-2.0, -0.75]])),
                flags=frozenset({Flag.AT_KINK, Flag.REPEATED}),
            ),
            Case(
                "far out",
                lambda draw: ({"a": draw.normal(2)}, np.array([FAR, FAR[::-1]]).T),
                flags=frozenset({Flag.SATURATED, Flag.REPEATED}),
            ),
            Case(
                "one row",
                lambda draw: ({"a": draw.normal(4)}, draw.away_from([0.0], 1, 4)),
                flags=frozenset({Flag.BATCH_OF_ONE}),
            ),
            Case("no rows", lambda draw: ({"a": draw.normal(4)}, draw.normal(0, 4)), flags=frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=prelus,
        errors=(
            Error(
                "slopes of another number",
                lambda draw: ({"a": draw.normal(4)}, draw.normal(2, 3)),
                ValueError,
                "prelu: params.a must have shape (), (1,) or (3,) to match axis 1 of x (2, 3), got (4,)",
            ),
            Error(
                "slopes of two dimensions",
                lambda draw: ({"a": draw.normal(1, 3)}, draw.normal(2, 3)),
                ValueError,
                "prelu: params.a must have shape (), (1,) or (3,)",
            ),
            Error(
                "no such axis",
                lambda draw: ({"a": draw.normal(3)}, draw.normal(3)),
                ValueError,
                "prelu: axis must be one of the 1 axes of x (3,), got 1",
            ),
            Error(
                "two axes",
                lambda draw: ({"a": draw.normal(3)}, draw.normal(3, 3)),
                TypeError,
                "prelu: axis must be an integer, got (0, 1)",
                {"axis": (0, 1)},
            ),
            Error(
                "slopes by another name",
                lambda draw: (weights(draw), draw.normal(2, 3)),
                ValueError,
                "prelu: params must hold a, got w",
            ),
            Error(
                "integer slopes",
                lambda draw: ({"a": draw.labels(9, 3)}, draw.normal(2, 3)),
                TypeError,
                "prelu: params.a must be a floating-point array",
            ),
        ),
        tier=2,
    ),
    Spec(
        threshold,
        reference=at_threshold,
        source=composed("value + heaviside(x - threshold) (x - value)"),
        cases=(
            *cases(1.0, threshold=1.0, value=-3.0),
            on(-0.5, threshold=-0.5, value=-0.5),
            Case("below 0", lambda draw: (draw.away_from([-1.5], 2, 3, 2, scale=2.0),), {"threshold": -1.5, "value": 20}),
        ),
        strategy=beside(0.7, live=1.5, options=lambda draw: {"threshold": 0.7, "value": draw.choice([0.0, 0.7, -20])}),
        errors=(
            Error("no threshold", lambda draw: (draw.normal(3),), TypeError, "threshold: missing the keyword", {"value": 0.0}),
            Error("no value", lambda draw: (draw.normal(3),), TypeError, "threshold: missing the keyword", {"threshold": 0.0}),
            Error(
                "threshold is no number",
                lambda draw: (draw.normal(3),),
                TypeError,
                "threshold: threshold must be a number, got str",
                {"threshold": "high", "value": 0.0},
            ),
            Error(
                "value is not finite",
                lambda draw: (draw.normal(3),),
                ValueError,
                "threshold: value must be finite",
                {"threshold": 0.0, "value": float("inf")},
            ),
            Error(
                "integer x",
                lambda draw: (draw.labels(9, 3),),
                TypeError,
                "threshold: x must be a floating-point array",
                {"threshold": 1.0, "value": 0.0},
            ),
        ),
        tier=2,
    ),
)
