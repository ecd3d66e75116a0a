"""Long short-term memory: references, cases, strategies."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox
import jax

from oracle.catalogue.recurrent.sequences import (
    Params,
    arguments,
    cell_cases,
    cell_errors,
    cells,
    equinox_cell,
    scanned,
    sequence_cases,
    sequence_errors,
    sequences,
)
from oracle.spec import Spec, library
from purenet.recurrent import lstm, lstm_cell

make = partial(arguments, gates=4)


def cell_by_equinox(params: Params, x: Any, carry: Any) -> Any:
    return jax.vmap(equinox_cell(equinox.nn.LSTMCell, params))(x, tuple(carry))


def lstm_by_equinox(params: Params, xs: Any, carry: Any, **options: Any) -> Any:
    return scanned(equinox_cell(equinox.nn.LSTMCell, params), xs, carry, **options)


SPECS = (
    Spec(
        lstm_cell,
        reference=cell_by_equinox,
        source=library("equinox.nn.LSTMCell"),
        cases=cell_cases(make),
        strategy=cells(make),
        errors=cell_errors("lstm_cell", make, 4),
    ),
    Spec(
        lstm,
        reference=lstm_by_equinox,
        source=library("equinox.nn.LSTMCell in jax.lax.scan"),
        cases=sequence_cases(make),
        strategy=sequences(make),
        errors=sequence_errors("lstm", make, 4),
    ),
)
