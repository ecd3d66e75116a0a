"""What the Specs of recurrent layers share: a cell of one row scanned over sequences, arguments, cases, errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeAlias

import equinox
import jax
import jax.numpy as jnp
import numpy as np

from oracle.spec import Case, Draw, Error, Flag, Strategy
from purenet.recurrent import LSTMCarry

Params: TypeAlias = dict[str, Any]
Arguments: TypeAlias = tuple[Any, ...]
RowCell: TypeAlias = Callable[[Any, Any], Any]
"""(x (F,), state) -> state, of one row."""
Make: TypeAlias = Callable[..., Arguments]
"""(draw, **sizes) -> the arguments of an op."""


# ------------------------------------------------------------------------------------------------ references


@cache
def skeleton(kind: Any, features: int, hidden: int) -> Any:
    """An equinox cell without numbers."""
    return equinox.filter_eval_shape(kind, features, hidden, key=jax.random.key(0))


def equinox_cell(kind: Any, params: Params) -> RowCell:
    """The cell of equinox with these parameters, zeros where a bias is absent."""
    wx, wh = params["wx"], params["wh"]
    cell = skeleton(kind, wx.shape[0], wh.shape[0])
    values = [wx.T, wh.T, params.get("b", jnp.zeros_like(wx[0]))]
    if kind is equinox.nn.GRUCell:
        values.append(params.get("bh", jnp.zeros_like(wh[:, 0])))
    names = ("weight_ih", "weight_hh", "bias", "bias_n")[: len(values)]
    filled: RowCell = equinox.tree_at(lambda c: [getattr(c, name) for name in names], cell, values)
    return filled


def scanned(cell: RowCell, xs: Any, carry: Any, lengths: Any = None, reverse: bool = False) -> Any:
    """The outputs and the last state of each row.

    With lengths, the scan runs on over the padding, and outputs and state are read where the row ends; in reverse, the steps
    of each row are turned round before it and its outputs afterwards.
    """
    carry = tuple(carry) if isinstance(carry, tuple) else carry  # the structure that equinox gives back
    time = xs.shape[1]
    if time == 0:
        return jnp.zeros((*xs.shape[:2], jax.tree.leaves(carry)[0].shape[1]), xs.dtype), carry
    if lengths is None:
        return jax.vmap(partial(scanned_row, cell, reverse=reverse))(xs, carry)
    ends, steps = np.asarray(lengths)[:, None], np.arange(time)
    order = np.where(reverse & (steps < ends), ends - 1 - steps, steps)

    def row(xs: Any, first: Any, end: Any, order: Any) -> Any:
        states, _ = scanned_row(cell, jnp.take(xs, order, axis=0), first, keep=lambda state: state)
        hs = jnp.where(steps[:, None] < end, jax.tree.leaves(states)[0], 0)
        last = jax.tree.map(lambda before, after: jnp.concatenate([before[None], after])[end], first, states)
        return jnp.take(hs, order, axis=0), last

    return jax.vmap(row)(xs, carry, np.asarray(lengths), order)


def scanned_row(
    cell: RowCell,
    xs: Any,
    first: Any,
    *,
    keep: Callable[[Any], Any] = lambda state: jax.tree.leaves(state)[0],
    reverse: bool = False,
) -> Any:
    """What is kept of each state of one row, h unless told otherwise, and the last state."""

    def advance(state: Any, x: Any) -> Any:
        new = cell(x, state)
        return new, keep(new)

    last, kept = jax.lax.scan(advance, first, xs, reverse=reverse)
    return kept, last


# ------------------------------------------------------------------------------------------------- arguments


def arguments(
    draw: Draw,
    *,
    gates: int,
    batch: int = 3,
    time: int | None = 4,
    features: int = 2,
    hidden: int = 2,
    bias: bool = True,
    hidden_bias: bool = False,
) -> Arguments:
    """Parameters, inputs and a carry that is not zero; four gates have the state (h, c), and time None is a single step.

    The weights keep the sums that enter the gates near 1, whatever the width, where the gates are neither flat nor linear.
    """
    width = gates * hidden
    params = {
        "wx": draw.normal(features, width, scale=0.7 * features**-0.5),
        "wh": draw.normal(hidden, width, scale=0.7 * hidden**-0.5),
    }
    if bias:
        params["b"] = draw.normal(width, scale=0.5)
    if hidden_bias:
        params["bh"] = draw.normal(hidden, scale=0.5)
    xs = draw.normal(batch, features) if time is None else draw.normal(batch, time, features)
    h = draw.normal(batch, hidden)
    return params, xs, LSTMCarry(h, draw.normal(batch, hidden)) if gates == 4 else h


def with_ends(arguments: Arguments) -> Arguments:
    """The same, with inputs in the last row that shut gates, or open them wide."""
    params, xs, carry = arguments
    xs = xs.copy()
    xs[-1] *= np.resize([1e4, -750.0, 40.0, -1e4], xs[-1].shape)
    return params, xs, carry


def flagged(*flags: Flag) -> frozenset[Flag]:
    return frozenset(flags)


# ----------------------------------------------------------------------------------------- cases and strategies


def cell_cases(make: Make) -> tuple[Case, ...]:
    """Cases of one step."""
    return (
        Case("batch of 3", lambda draw: make(draw, time=None, features=4)),
        Case(
            "one row, no bias",
            lambda draw: make(draw, batch=1, time=None, features=3, bias=False, hidden_bias=False),
            flags=flagged(Flag.BATCH_OF_ONE),
        ),
        Case(
            "gates shut and wide open",
            lambda draw: with_ends(make(draw, batch=2, time=None)),
            flags=flagged(Flag.SATURATED),
        ),
        Case("no rows", lambda draw: make(draw, batch=0, time=None), flags=flagged(Flag.EMPTY_BATCH)),
    )


def sequence_cases(make: Make) -> tuple[Case, ...]:
    """Cases of all steps; batch, time, features and hidden differ where they can be confused."""
    return (
        Case("three sequences", lambda draw: make(draw, features=5)),
        Case(
            "in reverse, unequal lengths, one of them 0",
            lambda draw: make(draw, features=1),
            {"lengths": np.array([2, 4, 0]), "reverse": True},
            flagged(Flag.MASKED),
        ),
        Case(
            "one row, one step, no bias",
            lambda draw: make(draw, batch=1, time=1, features=3, bias=False, hidden_bias=False),
            flags=flagged(Flag.BATCH_OF_ONE),
        ),
        Case("gates shut and wide open", lambda draw: with_ends(make(draw, batch=2, time=2)), flags=flagged(Flag.SATURATED)),
        Case("no steps", lambda draw: make(draw, time=0, features=1), flags=flagged(Flag.ZERO_GRADIENT)),
        Case("no rows", lambda draw: make(draw, batch=0, time=2, features=1), flags=flagged(Flag.EMPTY_BATCH)),
    )


def sizes(draw: Draw) -> dict[str, Any]:
    return {name: draw.between(1, 3) for name in ("batch", "features", "hidden")} | {"bias": draw.choice([True, False])}


def lengths(draw: Draw, batch: int, time: int) -> dict[str, Any]:
    """No lengths, or some, the first not 0, so that there is something to differentiate."""
    if draw.choice([True, False]):
        return {}
    return {"lengths": np.array([draw.between(1, time), *(draw.between(0, time) for _ in range(batch - 1))])}


def cells(make: Make) -> Strategy:
    return lambda draw: (make(draw, time=None, **sizes(draw)), {})


def sequences(make: Make) -> Strategy:
    def strategy(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
        own, time = sizes(draw), draw.between(1, 4)
        return make(draw, time=time, **own), lengths(draw, own["batch"], time) | {"reverse": draw.choice([False, True])}

    return strategy


# ---------------------------------------------------------------------------------------------------- errors


def _errors(name: str, make: Make, gates: int, time: int | None, inputs: str) -> tuple[Error, ...]:
    """What is wrong with parameters and carry; the arguments have 2 features and 2 hidden units."""

    def changed(**changes: Any) -> Callable[[Draw], Arguments]:
        def arguments(draw: Draw) -> Arguments:
            params, xs, carry = make(draw, time=time)
            return params | changes, xs, carry

        return arguments

    def with_carry(change: Callable[[Any], Any]) -> Callable[[Draw], Arguments]:
        return lambda draw: (*make(draw, time=time)[:2], change(make(draw, time=time)[2]))

    columns = "hidden" if gates == 1 else f"{gates} hidden"
    wh = f"to match params.wh {(2, 2 * gates)}"
    first = "carry.h" if gates == 4 else "carry"
    return (
        Error(
            "weights of the state not square",
            changed(wh=np.zeros((3, 2 * gates))),
            ValueError,
            f"{name}: params.wh must have shape (hidden, {columns}), got {(3, 2 * gates)}",
        ),
        Error(
            "weights of the input too narrow",
            changed(wx=np.zeros((2, 1))),
            ValueError,
            f"{name}: params.wx must have shape (features, {2 * gates}) {wh}, got (2, 1)",
        ),
        Error(
            "two biases",
            changed(b=np.zeros((2, 2 * gates))),
            ValueError,
            f"{name}: params.b must have shape ({2 * gates},) {wh}, got {(2, 2 * gates)}",
        ),
        Error("a name of another library", changed(bias=np.zeros(2)), ValueError, f"{name}: params must hold wx, wh, b (opt"),
        Error(
            "inputs of another width",
            lambda draw: (make(draw, time=time, features=5)[0], *make(draw, time=time)[1:]),
            ValueError,
            f"{name}: {inputs}, 5) to match params.wx {(5, 2 * gates)}, got",
        ),
        Error(
            "a carry of another batch",
            with_carry(lambda carry: LSTMCarry(*(s[:2] for s in carry)) if gates == 4 else carry[:2]),
            ValueError,
            f"{name}: {first} must have shape (batch, hidden) = (3, 2) to match {inputs.partition(' ')[0]}",
        ),
        Error(
            "integer carry",
            with_carry(lambda carry: LSTMCarry(np.zeros((3, 2), int), carry.c) if gates == 4 else np.zeros((3, 2), int)),
            TypeError,
            f"{name}: carry",
        ),
        Error(
            "a carry of another structure",
            with_carry(lambda carry: carry.h if gates == 4 else (carry, carry)),
            TypeError,
            f"{name}: carry must be a" + (" tuple (h, c) of arrays, got ndarray" if gates == 4 else "n array, got tuple"),
        ),
    )


def cell_errors(name: str, make: Make, gates: int) -> tuple[Error, ...]:
    return (
        *_errors(name, make, gates, None, "x must have shape (batch"),
        Error("a sequence", make, ValueError, f"{name}: x must have shape (batch, 2) to match params.wx"),
    )


def sequence_errors(name: str, make: Make, gates: int) -> tuple[Error, ...]:
    def wrong(what: str, exception: type[Exception], match: str, **options: Any) -> Error:
        return Error(what, make, exception, f"{name}: {match}", options)

    return (
        *_errors(name, make, gates, 4, "xs must have shape (batch, time"),
        Error(
            "no time", lambda draw: make(draw, time=None), ValueError, f"{name}: xs must have shape (batch, time, 2) to match"
        ),
        wrong(
            "a length that is too long", ValueError, "lengths must be in 0..4 to match xs (3, 4, 2), got 5", lengths=[1, 5, 2]
        ),
        wrong("a negative length", ValueError, "lengths must be in 0..4 to match xs (3, 4, 2), got -1", lengths=[1, -1, 2]),
        wrong("too few lengths", ValueError, "lengths must have shape (3,) to match xs (3, 4, 2), got (2,)", lengths=[1, 2]),
        wrong("lengths that are not integers", TypeError, "lengths must be integers, got float64", lengths=[1.0, 2.0, 3.0]),
        wrong("lengths as a mask", TypeError, "lengths must be integers, got bool", lengths=[True, True, False]),
        wrong("reverse by name", TypeError, "reverse must be True or False, got 'backward'", reverse="backward"),
    )
