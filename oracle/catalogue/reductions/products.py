"""Products: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from oracle.catalogue.blocks import in_small_blocks
from oracle.catalogue.reductions.moments import accumulated, accumulation_errors, accumulations, cases, errors, over
from oracle.catalogue.shaping.layout import NO_ROWS, numbers
from oracle.spec import Case, Draw, Flag, Spec, library
from purenet.reductions import products, runs
from purenet.reductions.products import cumprod, prod

ZEROS = np.array([[2.0, 0.0, -1.5, 3.0], [0.5, 0.0, 4.0, 0.0], [1.0, -2.0, 3.0, 0.5]])
REPEATED = frozenset({Flag.REPEATED})


def with_zeros(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Products of few numbers, sometimes with a zero among them."""
    (x,), options = over()(draw)
    return _dotted(draw, x), options


def accumulated_with_zeros(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    (x,), options = accumulated(draw)
    return _dotted(draw, x), options


def _with_zeros(x: Any) -> Any:
    x[0, 2, :3] = x[1, [3, 4], 5] = 0.0
    return x


def _dotted(draw: Draw, x: Any) -> tuple[Any]:
    x = np.asarray(x)
    if draw.choice([False, True]):
        x.reshape(-1)[draw.between(0, x.size - 1)] = 0.0
    return (x,)


SPECS = (
    Spec(
        prod,
        reference=jnp.prod,
        source=library("jax.numpy.prod"),
        cases=(
            *cases(),
            Case("zeros", lambda draw: (ZEROS,), {"axis": 1}, REPEATED),
            Case("zeros over two axes", lambda draw: (np.stack([ZEROS, ZEROS[::-1]]),), {"axis": (0, 2)}, REPEATED),
            Case("far out", lambda draw: (np.array([[1e4, -1e-2, 1e-3], [-1e4, 2.0, 1.5]]),), {"axis": 1}),
            Case("nothing", numbers(0, 4), {"axis": 0}, NO_ROWS),
        ),
        strategy=with_zeros,
        errors=errors("prod"),
        tier=2,
    ),
    Spec(
        cumprod,
        reference=jnp.cumprod,
        source=library("jax.numpy.cumprod"),
        cases=(
            *accumulations(),
            Case("zeros", lambda draw: (ZEROS,), {"axis": 1}, REPEATED),
            Case("many rows", lambda draw: (draw.normal(5, 25),), {"axis": 1}),
            Case("many rows with zeros", lambda draw: (_with_zeros(draw.normal(2, 9, 7)),), {"axis": 1}, REPEATED),
            Case("a first axis longer than the last", lambda draw: (draw.normal(6, 2),), {"axis": 0}),
            Case("a zero first", lambda draw: (np.array([0.0, 2.0, -3.0, 0.0, 4.0]),), flags=REPEATED),
        ),
        strategy=accumulated_with_zeros,
        errors=accumulation_errors("cumprod"),
        tier=2,
    ),
    Spec(
        in_small_blocks(cumprod, ((products, {"PLAIN": -1}), (runs, {"BLOCK": 48}))),
        reference=jnp.cumprod,
        source=library("jax.numpy.cumprod"),
        cases=(
            Case("two rows at a time", lambda draw: (draw.normal(2, 3, 4),), {"axis": 1}),
            Case("rows larger than a block", lambda draw: (draw.normal(2, 15),), {"axis": 1}),
        ),
        strategy=accumulated_with_zeros,
        tier=2,
    ),
)
