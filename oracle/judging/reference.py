"""The second witness at work: the reference, differentiated by JAX or torch, and what it does instead of an answer."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from oracle import adapters
from oracle.arrays import RAISED, flat
from oracle.judging.evidence import Array
from oracle.judging.point import Point, Trouble
from oracle.pullback import Pullback, StructureError

__all__ = ["Reference", "ReferenceAt"]


class Reference:
    """A function of JAX arrays or torch tensors, with its options; the library is imported when it is first evaluated."""

    def __init__(self, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
        self.function = function
        self.options = options
        self._differentiable: Callable[[Any, Any], Pullback] | None = None
        """The function that is known to work; None before the first call."""

    def pullback(self, primals: tuple[Any, ...], dy: Any) -> Pullback:
        """Its value and its cotangents."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if self._differentiable is not None:
                    return self._differentiable(primals, dy)
                return self._first(primals, dy)
        except StructureError as error:
            raise Trouble(f"another function than the reference: {error}", wrong=True) from error
        except RAISED as error:
            raise Trouble(f"the reference raised {type(error).__name__}: {error}") from error

    def _first(self, primals: tuple[Any, ...], dy: Any) -> Pullback:
        """The first call tells the library: what torch alone can compute is a function of torch."""
        if adapters.is_torch(self.function):
            return self._kept(adapters.torch_pullback(self.function, self.options), primals, dy)
        from oracle import autodiff

        try:
            return self._kept(autodiff.differentiable(self.function, self.options), primals, dy)
        except StructureError:
            raise
        except RAISED as error:
            if "torch" not in sys.modules:  # a function that uses torch has imported it by now
                raise
            try:
                return self._kept(adapters.torch_pullback(self.function, self.options), primals, dy)
            except StructureError:
                raise
            except RAISED as of_torch:
                kinds = (TypeError, AttributeError)  # what JAX raises where a tensor of torch is meant
                for_torch = isinstance(error, kinds) and not isinstance(of_torch, kinds)
                raise (of_torch if for_torch or "torch" in str(error) else error) from None

    def _kept(self, differentiable: Callable[[Any, Any], Pullback], primals: tuple[Any, ...], dy: Any) -> Pullback:
        found = differentiable(primals, dy)
        self._differentiable = differentiable
        return found


class ReferenceAt:
    """The reference at one point, if there is one; each pullback is computed once, when it is first needed."""

    def __init__(self, reference: Reference | None, point: Point, narrow: ReferenceAt | None = None) -> None:
        self._reference = reference
        self._point = point
        self._narrow = narrow
        """The same at the arguments in their own dtype, if `point` has their copies in float64."""

    @cached_property
    def pullback(self) -> Pullback | None:
        """The reference in float64: the truth."""
        if self._narrow is not None:
            return self._narrow.pullback
        return None if self._reference is None else self._reference.pullback(self._point.wide.primals, self._point.wide.dy)

    @cached_property
    def in_its_dtype(self) -> Pullback | None:
        """The reference in the dtype of the primals: what rounding does to it there. None in float64."""
        if self._reference is None or self._point.dtype.name == "float64":
            return None
        return self._reference.pullback(self._point.primals, self._point.dy)

    def gradient(self, i: int) -> Array | None:
        """Its gradient by argument `i` in float64, flat; None without a reference."""
        return None if self.pullback is None else flat(self.pullback.cotangents)[i]

    def gradients_at(self, primals: Any, dy: Any) -> list[Array]:
        """Its gradients at other arguments in float64, flat."""
        return [] if self._reference is None else flat(self._reference.pullback(primals, dy).cotangents)

    @property
    def note(self) -> str:
        """What is to be known about the reference; empty for an ordinary one, and for none."""
        pullbacks = (self.pullback, self.in_its_dtype)
        return "; ".join(dict.fromkeys(p.note for p in pullbacks if p is not None and p.note))
