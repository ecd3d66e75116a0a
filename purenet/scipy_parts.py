"""What ops take from SciPy. It is loaded by the first call, for it takes longer to import than all of purenet."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["csr_array", "error_function", "expit", "ndtr"]


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


@cache
def _module(name: str) -> Any:
    return import_module(name)
