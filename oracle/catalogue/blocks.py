"""Ops with bounds on what is computed at a time that are so low that small cases have several blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from purenet.op import Op

__all__ = ["Bounds", "filled", "in_small_blocks"]

Bounds: TypeAlias = Sequence[tuple[ModuleType, Mapping[str, Any]]]
"""Modules, and what is smaller, or another, there than usual."""


def filled(shape: tuple[int, ...], dtype: Any) -> Any:
    """In place of `np.empty`, which may hold zeros by chance: what a body forgets to write shows."""
    return np.full(shape, 7.0, dtype)


def in_small_blocks(op: Op[..., Any], bounds: Bounds) -> Op[..., Any]:
    """The op with these bounds in its forward and backward passes."""

    def within(function: Callable[..., Any]) -> Callable[..., Any]:
        def bounded(*arguments: Any, **options: Any) -> Any:
            with _small_blocks(bounds):
                return function(*arguments, **options)

        return bounded

    other = op.bind()
    vars(other).update(name=f"{op.name}_in_blocks", fwd=within(op.fwd), bwd=within(op.bwd))
    return other


@contextmanager
def _small_blocks(bounds: Bounds) -> Iterator[None]:
    """Sets these bounds for a time."""
    usual = [(module, {name: getattr(module, name) for name in smaller}) for module, smaller in bounds]
    try:
        _set(bounds)
        yield
    finally:
        _set(usual)


def _set(bounds: Bounds) -> None:
    for module, values in bounds:
        vars(module).update(values)
