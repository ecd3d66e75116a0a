"""Convolutions with bounds on what is computed at a time that are so low that small cases have several blocks."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from purenet.convolution import lines, matrix_products
from purenet.op import Op


def _full(shape: tuple[int, ...], dtype: Any) -> Any:
    """In place of `np.empty`, which may hold zeros by chance: what a body forgets to write shows."""
    return np.full(shape, 7.0, dtype)


BOUNDS = (
    (importlib.import_module("purenet.convolution.conv2d"), {"PLAIN": -1}),
    (lines, {"FEWEST": 2, "BLOCK": 500, "empty": _full}),
    (matrix_products, {"BLOCK": 1000, "NEAR": 1, "FEWEST": 3, "SMALL": 25, "THIN": 2, "FEW": 4, "NARROW": 3}),
)
"""The module and what is smaller, or another, there than usual. The package has the op by the name of the first module."""


@contextmanager
def small_blocks() -> Iterator[None]:
    """Sets these bounds for a time."""
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
