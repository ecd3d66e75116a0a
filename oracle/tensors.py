"""Arrays of NumPy as tensors of torch, and back; bfloat16 goes through float32, because torch reads no array of it."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["array_of", "is_tensor", "tensor"]


def tensor(array: Any, *, wanted: bool = False) -> Any:
    """A tensor with a copy of the array; `wanted` if gradients by it are."""
    import torch

    array = np.array(array, order="C")  # torch does not support negative strides
    narrow = array.dtype.name == "bfloat16"
    made = torch.tensor(array.astype(np.float32)).to(torch.bfloat16) if narrow else torch.tensor(array)
    return made.requires_grad_(wanted)


def array_of(made: Any) -> Any:
    """A copy of the tensor as an array; None for None."""
    import torch

    if made is None:
        return None
    if made.dtype == torch.bfloat16:
        import ml_dtypes

        return made.detach().float().numpy().astype(ml_dtypes.bfloat16)
    return made.detach().resolve_conj().resolve_neg().numpy().copy()


def is_tensor(array: Any) -> bool:
    """Whether this is a tensor of torch, which need not be imported."""
    return type(array).__module__.partition(".")[0] == "torch"
