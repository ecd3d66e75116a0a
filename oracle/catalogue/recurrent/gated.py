"""Gated recurrent units: references, cases, strategies."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox
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
    equinox_cell,
    flagged,
    scanned,
    sequence_cases,
    sequence_errors,
    sequences,
)
from oracle.spec import Case, Draw, Error, Flag, Spec, Strategy, library
from purenet.recurrent import gru, gru_cell

after = partial(arguments, gates=3, hidden_bias=True)
before = partial(arguments, gates=3)

BEFORE = {"reset_after": False}


def row_cell(params: Params, reset_after: bool) -> RowCell:
    """The cell of equinox; with the reset before, products of input and state side by side."""
    if reset_after:
        return equinox_cell(equinox.nn.GRUCell, params)
    gates, new = jnp.split(jnp.concatenate([params["wx"], params["wh"]]), [2 * len(params["wh"])], axis=1)
    b_gates, b_new = jnp.split(params.get("b", jnp.zeros_like(params["wx"][0])), [gates.shape[1]])

    def cell(x: Any, h: Any) -> Any:
        r, z = jnp.split(jax.nn.sigmoid(jnp.concatenate([x, h]) @ gates + b_gates), 2)
        return h + (1 - z) * (jnp.tanh(jnp.concatenate([x, r * h]) @ new + b_new) - h)

    return cell


def cell_by_rows(params: Params, x: Any, carry: Any, *, reset_after: bool = True) -> Any:
    return jax.vmap(row_cell(params, reset_after))(x, carry)


def gru_by_scan(params: Params, xs: Any, carry: Any, *, reset_after: bool = True, **options: Any) -> Any:
    return scanned(row_cell(params, reset_after), xs, carry, **options)


def either(strategy_after: Strategy, strategy_before: Strategy) -> Strategy:
    def strategy(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
        if draw.choice([True, False]):
            return strategy_after(draw)
        drawn, options = strategy_before(draw)
        return drawn, options | BEFORE

    return strategy


def errors(name: str, time: int | None) -> tuple[Error, ...]:
    return (
        Error(
            "a bias of the state, reset before",
            lambda draw: after(draw, time=time),
            ValueError,
            f"{name}: params must hold wx, wh, b (optional), got wx, wh, b, bh",
            BEFORE,
        ),
        Error(
            "a bias of the state for all blocks",
            lambda draw: ((a := after(draw, time=time))[0] | {"bh": np.zeros(6)}, *a[1:]),
            ValueError,
            f"{name}: params.bh must have shape (2,) to match params.wh (2, 6), got (6,)",
        ),
        Error(
            "reset by name",
            lambda draw: before(draw, time=time),
            TypeError,
            f"{name}: reset_after must be True or False, got 'before'",
            {"reset_after": "before"},
        ),
    )


SPECS = (
    Spec(
        gru_cell,
        reference=cell_by_rows,
        source=library("equinox.nn.GRUCell; reset before: composed of jax.nn.sigmoid and jnp.tanh"),
        cases=(
            *cell_cases(after),
            Case("reset before", lambda draw: before(draw, time=None, features=4), BEFORE),
        ),
        strategy=either(cells(after), cells(before)),
        errors=(*cell_errors("gru_cell", after, 3), *errors("gru_cell", None)),
    ),
    Spec(
        gru,
        reference=gru_by_scan,
        source=library("equinox.nn.GRUCell in jax.lax.scan; reset before: composed of jax.nn.sigmoid and jnp.tanh"),
        cases=(
            *sequence_cases(after),
            Case(
                "reset before, unequal lengths",
                lambda draw: before(draw, features=1),
                BEFORE | {"lengths": np.array([2, 0, 4])},
                flagged(Flag.MASKED),
            ),
        ),
        strategy=either(sequences(after), sequences(before)),
        errors=(*sequence_errors("gru", after, 3), *errors("gru", 4)),
    ),
)
