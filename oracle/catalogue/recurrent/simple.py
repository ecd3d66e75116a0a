"""The simple recurrent network: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.recurrent.sequences import (
    Arguments,
    Params,
    RowCell,
    arguments,
    cell_cases,
    cell_errors,
    cells,
    flagged,
    scanned,
    sequence_cases,
    sequence_errors,
    sequences,
)
from oracle.spec import Array, Case, Draw, Error, Flag, Spec, Strategy, composed
from purenet.op import Op
from purenet.recurrent import rnn, rnn_cell

make = partial(arguments, gates=1)

RELU = {"activation": "relu"}
GAP = 1e-2


def row_cell(params: Params, activation: str) -> RowCell:
    """One product of input and state side by side."""
    weights = jnp.concatenate([params["wx"], params["wh"]])
    bias = params.get("b", jnp.zeros_like(weights[0]))
    function = {"tanh": jnp.tanh, "relu": jax.nn.relu}[activation]
    return lambda x, h: function(jnp.concatenate([x, h]) @ weights + bias)


def cell_by_rows(params: Params, x: Any, carry: Any, *, activation: str = "tanh") -> Any:
    return jax.vmap(row_cell(params, activation))(x, carry)


def rnn_by_scan(params: Params, xs: Any, carry: Any, *, activation: str = "tanh", **options: Any) -> Any:
    return scanned(row_cell(params, activation), xs, carry, **options)


def sums(op: Op, arguments: Arguments, **options: Any) -> Array:
    """What enters relu at each step, in the order in which the steps are taken; time comes first."""
    params, xs, carry = arguments
    if op is rnn_cell:
        xs, before = xs[None], carry[None]
    else:
        before = op.fwd(*arguments, **options)[1].states[0][:-1]
        xs = xs.swapaxes(0, 1)[::-1] if options.get("reverse") else xs.swapaxes(0, 1)
    return np.asarray(xs @ params["wx"] + before @ params["wh"] + params.get("b", 0.0))


def clear(op: Op, draw_again: Callable[[], Arguments], **options: Any) -> Arguments:
    """What it draws, again until no sum lies within GAP of the kink and most of the first are above it."""
    for _ in range(1000):
        drawn = draw_again()
        a = sums(op, drawn, **options | RELU)
        if np.abs(a).min() > GAP and (a[0] > 0).mean() > 0.5:
            return drawn
    raise ValueError(f"clear: no arguments of {op.name} found that keep {GAP} away from every kink")


def either(op: Op, strategy: Strategy) -> Strategy:
    """With tanh or with relu; the arguments for relu are clear of its kink."""

    def with_activation(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
        drawn, options = strategy(draw)
        if draw.choice(["tanh", "relu"]) == "tanh":
            return drawn, options
        params, xs, carry = drawn

        def again() -> Arguments:
            weights = {name: draw.normal(*p.shape) for name, p in params.items()}
            return weights, draw.normal(*xs.shape), draw.normal(*carry.shape)

        return clear(op, again, **options), options | RELU

    return with_activation


def at_kink(arguments: Arguments) -> Arguments:
    """The same, with nothing but zeros in the first step of the first row: its sums are the bias, half of it zeros."""
    params, xs, carry = arguments
    xs, carry = xs.copy(), carry.copy()
    xs[(0,) * (xs.ndim - 1)] = carry[0] = 0
    b = np.abs(params["b"])
    b[::2] = 0
    return params | {"b": b}, xs, carry


def activation_error(op: Op, time: int | None) -> Error:
    return Error(
        "another activation",
        lambda draw: make(draw, time=time),
        ValueError,
        f"{op.name}: activation must be one of 'tanh', 'relu', got 'sigmoid'",
        {"activation": "sigmoid"},
    )


SPECS = (
    Spec(
        rnn_cell,
        reference=cell_by_rows,
        source=composed("one product of [x, h], jnp.tanh or jax.nn.relu"),
        cases=(
            *cell_cases(make),
            Case("relu", lambda draw: clear(rnn_cell, lambda: make(draw, time=None, features=4)), RELU),
            Case(
                "relu at its kink",
                lambda draw: at_kink(make(draw, time=None)),
                RELU,
                flagged(Flag.AT_KINK),
            ),
        ),
        strategy=either(rnn_cell, cells(make)),
        errors=(*cell_errors("rnn_cell", make, 1), activation_error(rnn_cell, None)),
    ),
    Spec(
        rnn,
        reference=rnn_by_scan,
        source=composed("one product of [x, h], jnp.tanh or jax.nn.relu, in jax.lax.scan"),
        cases=(
            *sequence_cases(make),
            Case(
                "relu, unequal lengths",
                lambda draw: clear(rnn, lambda: make(draw, features=1), lengths=np.array([2, 4, 3])),
                RELU | {"lengths": np.array([2, 4, 3])},
                flagged(Flag.MASKED),
            ),
            Case("relu at its kink", lambda draw: at_kink(make(draw, time=1)), RELU, flagged(Flag.AT_KINK)),
        ),
        strategy=either(rnn, sequences(make)),
        errors=(*sequence_errors("rnn", make, 1), activation_error(rnn, 4)),
    ),
)
