"""Arrays of other libraries as arrays of NumPy, and tensors of torch back; torch reads and writes bfloat16 as float32 alone."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import numpy as np

__all__ = ["array_of", "host", "is_tensor", "no_gradient", "says_none", "tensor"]


def tensor(array: Any, *, wanted: bool = False) -> Any:
    """A tensor with a copy of the array; `wanted` if gradients by it are."""
    import torch

    array = np.array(array, order="C")  # torch does not support negative strides
    narrow = array.dtype.name == "bfloat16"
    made = torch.tensor(array.astype(np.float32)).to(torch.bfloat16) if narrow else torch.tensor(array)
    return made.requires_grad_(wanted)


def array_of(made: Any) -> Any:
    """A copy of the tensor as an array, from whatever device it is on; None for None."""
    import torch

    if made is None:
        return None
    made = made.detach().cpu()
    if made.dtype == torch.bfloat16:
        import ml_dtypes

        return made.float().numpy().astype(ml_dtypes.bfloat16)
    return made.resolve_conj().resolve_neg().numpy().copy()


def host(thing: Any) -> Any:
    """An array of another library as one of NumPy: by its type, DLPack or `__array__`. Anything else stays what it is."""
    if isinstance(thing, np.ndarray | np.generic):
        return thing
    if is_tensor(thing) and hasattr(thing, "detach"):
        return array_of(thing)
    if not hasattr(thing, "dtype") or not hasattr(thing, "shape"):
        return thing
    kind = str(thing.dtype)
    if kind.startswith("key<"):  # random keys of JAX are no numbers
        return thing
    if hasattr(thing, "__array__"):
        return np.asarray(thing)
    if hasattr(thing, "__dlpack__"):
        with suppress(Exception):
            return np.from_dlpack(thing).copy()
        with suppress(Exception):  # it is in a GPU's memory
            return np.from_dlpack(thing, device="cpu", copy=True)
        with suppress(Exception):
            return array_of(sys.modules["torch"].from_dlpack(thing))
        raise TypeError(f"verify: {type(thing).__module__}.{type(thing).__name__} cannot be copied to NumPy by DLPack")
    return thing


class _NoGradient(np.ndarray):
    """Zeros that stand for a gradient that torch did not compute."""


def no_gradient(like: Any) -> Any:
    """Zeros in the shape and dtype of an array, which stand for the None that torch returns where no gradient flows."""
    return np.zeros_like(like, subok=False).view(_NoGradient)


def says_none(array: Any) -> bool:
    """Whether these zeros stand for None."""
    return isinstance(array, _NoGradient)


def is_tensor(array: Any) -> bool:
    """Whether this is a tensor of torch, which need not be imported."""
    return type(array).__module__.partition(".")[0] == "torch"
