"""Checks of settings that `verify` and a Spec share."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

__all__ = [
    "CONVENTIONS",
    "EFFORTS",
    "GROWTH",
    "JOURNAL",
    "QUICK",
    "check_accept",
    "check_convention",
    "check_effort",
    "check_exact",
    "check_order",
    "check_text",
]

CONVENTIONS = {"jax": "JAX", "torch": "torch"}
"""The conventions for gradients by complex numbers, see `oracle.complex_numbers`."""

QUICK = "quick"
EFFORTS = ("full", QUICK)
"""How many forward passes a verification may take: as many as it needs, or the same number for every size."""


GROWTH = 10.0
"""The growth of an error that `oracle diff` shows. With 2, the rounding of another machine or another BLAS would be shown; with
100, the loss of two digits would not."""

JOURNAL = "unfinished.jsonl"
"""The file in the folder of the reports from which `oracle verify --resume` continues, see `oracle.running.journal`."""


def check_order(order: Any, op: Any, name: str, who: str) -> None:
    """Raise unless `order` is 1, or 2 for an op with a backward pass of its backward pass."""
    if isinstance(order, bool) or not isinstance(order, int | np.integer) or order not in (1, 2):
        raise ValueError(f"{who}: order must be 1 or 2, got {order!r}")
    if order == 2 and getattr(op, "second", None) is None:
        raise TypeError(
            f"{who}: order=2 needs the backward pass of bwd: give {name} as ((fwd, bwd), (bwd_fwd, bwd_bwd)) with "
            "bwd_fwd(*arguments, dy) -> (gradients, residuals), or as a function of JAX, torch or autograd"
        )


def check_convention(convention: Any, who: str) -> None:
    """Raise unless `convention` names one, or is None, for the op's own."""
    if convention is not None and (not isinstance(convention, str) or convention not in CONVENTIONS):
        raise ValueError(f"{who}: convention must be 'jax' or 'torch', got {convention!r}")


def check_accept(accept: Any, who: str) -> None:
    """Raise unless `accept` is a share of the largest entry."""
    if isinstance(accept, bool) or not isinstance(accept, int | float | np.number):
        raise TypeError(f"{who}: accept must be a number, got {type(accept).__name__}")
    if not 0 <= accept < 1:
        raise ValueError(f"{who}: accept must be a share of the largest entry, from 0 and below 1, got {accept!r}")


def check_text(who: str, **names: Any) -> None:
    """Raise unless each of these names is text."""
    for what, text in names.items():
        if not isinstance(text, str):
            raise TypeError(f"{who}: {what} must be text, got {type(text).__name__}")


def check_exact(exact: Any, who: str) -> None:
    """Raise unless `exact` is a truth value, and python-flint is installed if it is true."""
    if not isinstance(exact, bool):
        raise TypeError(f"{who}: exact must be True or False, got {exact!r}")
    if exact and find_spec("flint") is None:
        raise ValueError(f'{who}: exact=True needs python-flint: pip install "purenet[exact]"')


def check_effort(effort: Any, who: str, *, exact: bool) -> None:
    """Raise unless `effort` is one, and leaves time for what else is asked."""
    if not isinstance(effort, str) or effort not in EFFORTS:
        raise ValueError(f"{who}: effort must be 'full' or 'quick', got {effort!r}")
    if effort == QUICK and exact:
        raise ValueError(f"{who}: exact=True takes effort='full', got 'quick'")
