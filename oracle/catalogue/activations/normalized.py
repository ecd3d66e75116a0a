"""Softmax and its logarithm: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import purenet as pn
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.activations.normalized import logsumexp, softmin


def softmax_of_minus(x: Any, **options: Any) -> Any:
    return jax.nn.softmax(-x, **options)


def normalized(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = tuple(draw.between(2, 4) for _ in range(draw.between(1, 3)))
    axis = draw.choice([-1, 0, len(shape) - 1, tuple(range(len(shape))), None])
    options: dict[str, Any] = {} if axis == -1 else {"axis": axis}
    return (draw.normal(*shape, scale=draw.choice([1.0, 3.0])),), options


def softmaxes(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    (x,), options = normalized(draw)
    if draw.choice([False, True]):
        kept = draw.mask(*draw.choice([x.shape, x.shape[-1:], (*x.shape[:-1], 1)]))
        kept[(slice(2),) * kept.ndim] = True  # one row at least has two entries: a row of one has no gradient
        options["where"] = kept
    return (x,), options


def sums(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    arguments, options = softmaxes(draw)
    return arguments, {"axis": -1} | options | draw.choice([{}, {"keepdims": True}, {"keepdims": False}])


def ends(draw: Draw) -> tuple[Any]:
    """Rows that are nearly certain, or flat, beside an ordinary one."""
    rows = [[1e4, -1e4, 0.0, 5.0], [0.0, -40.0, -50.0, -700.0], [-64.0, -64.0, -64.0, -64.0], [64.0, 64.0, 1.0, -1e4]]
    return (np.concatenate([draw.normal(2, 4), rows]),)


HOLES = np.array([[True, True, False, True], [False, False, True, True], [True, True, True, True]])

CASES = (
    Case("many rows, most of one class", lambda draw: (draw.normal(4, 5, 21, scale=2.0) + 7.0 * (np.arange(21) == 3),)),
    Case("many columns", lambda draw: (draw.normal(21, 20),), {"axis": 0}),
    Case(
        "many rows with holes", lambda draw: (draw.normal(20, 21),), {"where": np.arange(21) % 3 > 0}, frozenset({Flag.MASKED})
    ),
    Case("two dimensions", lambda draw: (draw.normal(3, 5, scale=2.0),)),
    Case("the first axis", lambda draw: (draw.normal(4, 2, 3),), {"axis": 0}),
    Case("a middle axis", lambda draw: (draw.normal(2, 5, 3),), {"axis": -2}),
    Case("two axes", lambda draw: (draw.normal(2, 3, 4),), {"axis": (0, 2)}),
    Case("all axes", lambda draw: (draw.normal(3, 4),), {"axis": None}),
    Case("one vector", lambda draw: (draw.normal(6),)),
    Case(
        "ties",
        lambda draw: (np.array([[1.0, 1.0, -2.0], [0.0, 0.0, 0.0], [-3.0, 2.0, 2.0]]),),
        flags=frozenset({Flag.REPEATED}),
    ),
    Case("nearly certain rows", ends, flags=frozenset({Flag.SATURATED})),
    Case("an axis of one", lambda draw: (draw.normal(3, 1),), flags=frozenset({Flag.ZERO_GRADIENT})),
    Case("one row", lambda draw: (draw.normal(1, 4),), flags=frozenset({Flag.BATCH_OF_ONE})),
    Case("no rows", lambda draw: (draw.normal(0, 4),), flags=frozenset({Flag.EMPTY_BATCH})),
    Case("holes", lambda draw: (draw.normal(3, 4),), {"where": HOLES}, frozenset({Flag.MASKED})),
    Case(
        "holes in the first axis",
        lambda draw: (draw.normal(3, 4),),
        {"where": np.array([[True], [False], [True]]), "axis": 0},
        frozenset({Flag.MASKED}),
    ),
    Case(
        "a row without entries",
        lambda draw: (draw.normal(3, 4),),
        {"where": HOLES & np.array([[True], [False], [True]])},
        frozenset({Flag.MASKED}),
    ),
    Case(
        "no entries at all",
        lambda draw: (draw.normal(2, 3),),
        {"where": np.zeros((2, 3), np.bool_)},
        frozenset({Flag.MASKED, Flag.ZERO_GRADIENT}),
    ),
)

FEW = ("two dimensions", "a middle axis", "ties", "nearly certain rows", "one row", "no rows", "a row without entries")

SUMS = (
    Case("all axes", lambda draw: (draw.normal(3, 4, scale=2.0),)),
    Case("the last axis", lambda draw: (draw.normal(3, 5, scale=2.0),), {"axis": -1}),
    Case("a middle axis, kept", lambda draw: (draw.normal(2, 4, 3),), {"axis": -2, "keepdims": True}),
    Case("two axes", lambda draw: (draw.normal(2, 3, 4),), {"axis": (0, 2)}),
    Case(
        "ties",
        lambda draw: (np.array([[1.0, 1.0, -2.0], [0.0, 0.0, 0.0], [-3.0, 2.0, 2.0]]),),
        {"axis": 1},
        frozenset({Flag.REPEATED}),
    ),
    Case("nearly certain rows", ends, {"axis": 1}, frozenset({Flag.SATURATED})),
    Case("one row", lambda draw: (draw.normal(1, 4),), {"axis": 1}, frozenset({Flag.BATCH_OF_ONE})),
    Case("no rows", lambda draw: (draw.normal(0, 4),), {"axis": 1}, frozenset({Flag.EMPTY_BATCH})),
    Case("holes", lambda draw: (draw.normal(3, 4),), {"where": HOLES}, frozenset({Flag.MASKED})),
    Case(
        "a row without entries",
        lambda draw: (draw.normal(3, 4),),
        {"where": HOLES & np.array([[True], [False], [True]]), "axis": 1, "keepdims": True},
        frozenset({Flag.MASKED}),
    ),
)


def errors(name: str) -> tuple[Error, ...]:
    return (
        Error("integer x", lambda draw: (draw.labels(9, 3),), TypeError, f"{name}: x must be a floating-point array"),
        Error("no such axis", lambda draw: (draw.normal(3, 4),), ValueError, f"{name}: axis must be one of the 2", {"axis": 2}),
        Error("an axis twice", lambda draw: (draw.normal(3, 4),), ValueError, f"{name}: axis must name", {"axis": (1, -1)}),
        Error("axis by name", lambda draw: (draw.normal(3, 4),), TypeError, f"{name}: axis must be an int", {"axis": "last"}),
        Error(
            "mask of numbers",
            lambda draw: (draw.normal(2, 2),),
            TypeError,
            f"{name}: where must be an array of booleans",
            {"where": np.ones((2, 2))},
        ),
        Error(
            "mask of another shape",
            lambda draw: (draw.normal(3, 4),),
            ValueError,
            f"{name}: where must have a shape that broadcasts to (3, 4), got (3,)",
            {"where": np.array([True, False, True])},
        ),
    )


SPECS = (
    Spec(
        pn.softmax,
        reference=jax.nn.softmax,
        source=library("jax.nn.softmax"),
        cases=(*CASES, Case("no classes", lambda draw: (draw.normal(3, 0),), flags=frozenset({Flag.EMPTY_BATCH}))),
        strategy=softmaxes,
        errors=errors("softmax"),
    ),
    Spec(
        pn.log_softmax,
        reference=jax.nn.log_softmax,
        source=library("jax.nn.log_softmax"),
        cases=CASES,
        strategy=softmaxes,
        errors=errors("log_softmax"),
    ),
    Spec(
        softmin,
        reference=softmax_of_minus,
        source=library("jax.nn.softmax"),
        cases=tuple(case for case in CASES if case.name in FEW),
        strategy=softmaxes,
        errors=errors("softmin"),
        tier=2,
    ),
    Spec(
        logsumexp,
        reference=jax.nn.logsumexp,
        source=library("jax.nn.logsumexp"),
        cases=SUMS,
        strategy=sums,
        errors=(
            *errors("logsumexp"),
            Error(
                "keepdims by name",
                lambda draw: (draw.normal(2, 3),),
                TypeError,
                "logsumexp: keepdims must be True or False, got 'yes'",
                {"keepdims": "yes"},
            ),
        ),
        tier=2,
    ),
)
