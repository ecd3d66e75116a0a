"""Random numbers that functions and modules of torch draw in their forward pass: the same in every evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

__all__ = ["Chance"]

SEED = 0
"""Of the random numbers that a function draws: each evaluation draws the same, so that a mask of dropout stays."""


class Chance:
    """Torch's generator begins at the same place in each forward pass, and is where it was afterwards.

    So a mask that a forward pass draws is the same in each of them. One that a backward pass draws is not.
    """

    def __init__(self) -> None:
        self.drawn = False
        """Whether random numbers were drawn."""

    def note(self) -> str:
        return f"it draws random numbers, from the fixed seed {SEED}" if self.drawn else ""

    def fixed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*primals: Any, **options: Any) -> Any:
            if not self.drawn:
                with self.begun():
                    value = function(*primals, **options)
                if not self.drawn:
                    return value
            with _drawing_in_float32(), self.begun():
                return function(*primals, **options)

        return called

    @contextmanager
    def begun(self) -> Iterator[None]:
        import torch

        generator = torch.default_generator
        before = generator.get_state()
        generator.manual_seed(SEED)
        start = generator.get_state()
        try:
            yield
        finally:
            self.drawn = self.drawn or not torch.equal(start, generator.get_state())
            generator.set_state(before)


def _drawing_in_float32() -> AbstractContextManager[Any]:
    """In this context random floats are drawn in float32 and cast, so that a mask is the same for arguments of each dtype."""
    import torch
    from torch.overrides import TorchFunctionMode

    made = {torch.rand, torch.randn, torch.rand_like, torch.randn_like}
    filled = {torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.bernoulli_}

    class Drawing(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = kwargs or {}
            if func in made and given.get("out") is None:
                like = args[0] if args and isinstance(args[0], torch.Tensor) else None
                dtype = given.get("dtype") or (torch.get_default_dtype() if like is None else like.dtype)
                return func(*args, **{**given, "dtype": torch.float32}).to(dtype)
            if func is torch.bernoulli and given.get("out") is None:
                return func(args[0].float(), *args[1:], **given).to(args[0].dtype)
            if func in filled and args[0].is_floating_point():
                return args[0].copy_(func(torch.empty(args[0].shape), *args[1:], **given))
            return func(*args, **given)

    return Drawing()
