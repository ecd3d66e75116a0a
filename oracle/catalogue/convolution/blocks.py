"""Convolutions in several blocks: the bounds on what is computed at a time are so low that small cases exceed them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from oracle.catalogue.convolution.conv2d import conv_by_lax, convolutions, filters
from oracle.catalogue.convolution.transposed import conv_transpose_by_lax, transposed
from oracle.spec import Case, Flag, Spec, library
from purenet.convolution import conv2d, conv3d, conv_transpose2d, lines, matrix_products
from purenet.op import Op

BOUNDS = (
    (importlib.import_module("purenet.convolution.conv2d"), {"PLAIN": -1}),
    (lines, {"FEWEST": 2, "BLOCK": 2000}),
    (matrix_products, {"BLOCK": 5000, "NEAR": 1, "FEWEST": 7, "SMALL": 60, "THIN": 5, "FEW": 4, "NARROW": 3}),
)
"""The module and what is smaller there than usual. The package has the op by the name of the first module."""


@contextmanager
def small_blocks() -> Iterator[None]:
    """Sets these bounds within this block."""
    usual = [(module, {name: getattr(module, name) for name in bounds}) for module, bounds in BOUNDS]
    try:
        _set(BOUNDS)
        yield
    finally:
        _set(usual)


def _set(bounds: Any) -> None:
    for module, values in bounds:
        vars(module).update(values)


def in_small_blocks(op: Op[..., Any]) -> Op[..., Any]:
    """The op with these bounds in its forward and backward passes."""

    def within(function: Callable[..., Any]) -> Callable[..., Any]:
        def bounded(*arguments: Any, **options: Any) -> Any:
            with small_blocks():
                return function(*arguments, **options)

        return bounded

    other = op.bind()
    vars(other).update(name=f"{op.name}_in_blocks", fwd=within(op.fwd), bwd=within(op.bwd))
    return other


SPECS = (
    Spec(
        in_small_blocks(conv2d),
        reference=conv_by_lax,
        source=library("jax.lax.conv_general_dilated"),
        cases=(
            Case(
                "blocks of one image, lines in groups",
                lambda draw: (filters(draw, 4, 2, 2, 3), draw.normal(3, 4, 3, 5)),
                {"groups": 2, "padding": ((2, 0), (1, 1))},
            ),
            Case(
                "blocks of two images, lines of x alone",
                lambda draw: (filters(draw, 5, 2, 1, 3), draw.normal(3, 2, 3, 6)),
                {"dilation": (1, 2), "padding": ((0, 0), (2, 2))},
            ),
            Case(
                "blocks of two images, lines of x and then of dy",
                lambda draw: (filters(draw, 4, 2, 2, 2), draw.normal(3, 2, 5, 6)),
                {"padding": ((1, 0), (0, 0))},
            ),
            Case(
                "blocks of two images, in groups",
                lambda draw: (filters(draw, 4, 1, 2, 2), draw.normal(3, 2, 3, 4)),
                {"groups": 2, "stride": (1, 2), "padding": 1},
            ),
            Case(
                "blocks of two groups",
                lambda draw: (filters(draw, 6, 2, 2, 2), draw.normal(3, 6, 5, 6)),
                {"groups": 3, "stride": (2, 1), "padding": 1},
            ),
            Case(
                "an image larger than a block, padding that makes up for what the stride leaves out",
                lambda draw: (filters(draw, 2, 3, 2, 2), draw.normal(2, 3, 12, 10)),
                {"stride": 2, "padding": ((1, 0), (1, 0))},
            ),
            Case(
                "lines of taps that are padding alone in all windows, before the entries",
                lambda draw: (filters(draw, 2, 2, 1, 3), draw.normal(3, 2, 2, 3)),
                {"dilation": (1, 2), "padding": ((0, 0), (3, 0))},
            ),
            Case(
                "lines of taps that are padding alone in all windows, behind the entries",
                lambda draw: (filters(draw, 2, 2, 1, 3), draw.normal(3, 2, 2, 3)),
                {"dilation": (1, 2), "padding": ((1, 0), (0, 3))},
            ),
            Case(
                "no images",
                lambda draw: (filters(draw, 2, 2, 2, 2), draw.normal(0, 2, 3, 3)),
                {"padding": 1},
                frozenset({Flag.EMPTY_BATCH}),
            ),
        ),
        strategy=convolutions(2),
        tier=3,
    ),
    Spec(
        in_small_blocks(conv3d),
        reference=conv_by_lax,
        source=library("jax.lax.conv_general_dilated"),
        cases=(
            Case(
                "lines in two more axes",
                lambda draw: (filters(draw, 2, 2, 2, 2, 2), draw.normal(2, 2, 2, 2, 3)),
                {"padding": ((0, 0), (0, 1), (1, 0))},
            ),
        ),
        strategy=convolutions(3),
        tier=3,
    ),
    Spec(
        in_small_blocks(conv_transpose2d),
        reference=conv_transpose_by_lax,
        source=library("jax.lax.conv_transpose"),
        cases=(
            Case(
                "blocks of two groups",
                lambda draw: ({"w": draw.normal(6, 2, 2, 2), "b": draw.normal(6)}, draw.normal(2, 6, 4, 5)),
                {"groups": 3, "stride": (2, 1)},
            ),
            Case(
                "blocks of two groups, no gaps between rows",
                lambda draw: ({"w": draw.normal(6, 2, 2, 1)}, draw.normal(2, 6, 4, 5)),
                {"groups": 3},
            ),
            Case(
                "no padding, gaps between rows",
                lambda draw: ({"w": draw.normal(2, 1, 2, 2)}, draw.normal(3, 2, 3, 3)),
            ),
        ),
        strategy=transposed(2),
        tier=3,
    ),
)
