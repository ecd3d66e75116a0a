"""The second witness at work: the reference, differentiated by JAX, and what it does instead of an answer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from oracle.arrays import RAISED
from oracle.judging.point import Trouble

if TYPE_CHECKING:
    from oracle.autodiff import Pullback

__all__ = ["Reference"]


class Reference:
    """A function for JAX with its options; JAX is imported when it is first evaluated."""

    def __init__(self, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
        self.function = function
        self.options = options

    @cached_property
    def _differentiable(self) -> Callable[[Any, Any], Pullback]:
        from oracle import autodiff

        return autodiff.differentiable(self.function, self.options)

    def pullback(self, primals: tuple[Any, ...], dy: Any) -> Pullback:
        """Its value and its cotangents."""
        from oracle import autodiff

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self._differentiable(primals, dy)
        except autodiff.StructureError as error:
            raise Trouble(f"another function than the reference: {error}", wrong=True) from error
        except RAISED as error:
            raise Trouble(f"the reference raised {type(error).__name__}: {error}") from error
