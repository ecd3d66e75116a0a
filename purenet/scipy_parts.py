"""What ops take from SciPy. It is loaded by the first call, for it takes longer to import than all of purenet."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

__all__ = ["csr_array", "error_function", "expit", "ndtr", "wolfe_step"]


def error_function(*arrays: Any, **options: Any) -> Any:
    """scipy.special.erf."""
    return _module("scipy.special").erf(*arrays, **options)


def expit(*arrays: Any, **options: Any) -> Any:
    """scipy.special.expit, the logistic sigmoid."""
    return _module("scipy.special").expit(*arrays, **options)


def ndtr(*arrays: Any, **options: Any) -> Any:
    """scipy.special.ndtr, the distribution function of the standard normal distribution."""
    return _module("scipy.special").ndtr(*arrays, **options)


def csr_array(*parts: Any, **options: Any) -> Any:
    """scipy.sparse.csr_array, a sparse matrix."""
    return _module("scipy.sparse").csr_array(*parts, **options)


def wolfe_step(
    value: Callable[[float], float],
    slope: Callable[[float], float],
    first: tuple[float, float],
    c1: float,
    c2: float,
    steps: int,
) -> float | None:
    """The step of scipy.optimize.line_search along a line on which `first` are value and slope at 0; None if it finds none."""
    with warnings.catch_warnings():  # SciPy warns where it finds none
        warnings.filterwarnings("ignore", "The line search|Rounding errors", RuntimeWarning)
        step, *_, slope_there = _module("scipy.optimize").line_search(
            lambda x: value(float(x[0])), lambda x: np.array([slope(float(x[0]))]), np.zeros(1), np.ones(1),
            np.array([first[1]]), first[0], c1=c1, c2=c2, maxiter=steps,
        )  # fmt: skip
    return None if step is None or slope_there is None else float(step)


@cache
def _module(name: str) -> Any:
    return import_module(name)
