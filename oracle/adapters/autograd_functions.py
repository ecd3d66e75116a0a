"""Functions of the library autograd as pairs (fwd, bwd)."""

from __future__ import annotations

from functools import partial
from typing import Any

from oracle.adapters.pairs import named
from oracle.double_backward import Pair, Twice, arrays_of, autograd_gradients, by_autograd

__all__ = ["of_autograd"]


def of_autograd(function: Any) -> Pair:
    """An autograd primitive, or a function of `autograd.numpy`; keywords are not differentiated."""

    def fwd(*primals: Any, **options: Any) -> tuple[Any, Any]:
        return arrays_of(function(*primals, **options)), (primals, options)

    def bwd(residuals: Any, dy: Any) -> Any:
        primals, options = residuals
        return arrays_of(tuple(autograd_gradients(partial(function, **options), (*primals, dy))))

    return Twice(named(fwd, bwd, function), by_autograd(function))
