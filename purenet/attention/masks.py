"""Masks of attention: which query may attend to which key. True is kept, in shapes that broadcast to (B, N, T, S).

Masks are combined by `&`. Query t stands at position t + offset, key s at position s: with offset 0 the first query meets the
first key, and offset = keys - queries lets the last query meet the last key.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import array_of, integer, integers
from purenet.op import Array

__all__ = ["causal_mask", "padding_mask", "sizes", "sliding_window_mask", "within"]


def causal_mask(queries: int, keys: int | None = None, *, offset: int = 0) -> Array:
    """Booleans (T, S): each query attends to keys up to its own position. As many keys as queries unless `keys` says else.

    >>> import purenet as pn
    >>> pn.causal_mask(2, 3).astype(int)
    array([[1, 0, 0],
           [1, 1, 0]])
    >>> pn.causal_mask(2, 3, offset=1).astype(int)  # the last query meets the last key, as in decoding with a cache
    array([[1, 1, 0],
           [1, 1, 1]])
    """
    return np.tri(*sizes("causal_mask", queries, keys), integer("causal_mask", "offset", offset), dtype=np.bool_)


def sliding_window_mask(queries: int, keys: int | None = None, *, window: int | tuple[int, int], offset: int = 0) -> Array:
    """Booleans (T, S): each query attends to the keys up to `window` = (left, right) positions away, or one number for both.

    The local_window_size of jax.nn.dot_product_attention; a causal window of W keys, as Mistral counts them, is (W - 1, 0).

    >>> import purenet as pn
    >>> pn.sliding_window_mask(4, window=(1, 0)).astype(int)
    array([[1, 0, 0, 0],
           [1, 1, 0, 0],
           [0, 1, 1, 0],
           [0, 0, 1, 1]])
    """
    op = "sliding_window_mask"
    shift = integer(op, "offset", offset)
    return within(*sizes(op, queries, keys), integers(op, "window", window, 2, 0), shift)


def padding_mask(lengths: Any, size: int) -> Array:
    """Booleans (B, 1, 1, S): every query of a sequence attends to the keys within its length.

    >>> import purenet as pn
    >>> pn.padding_mask([1, 3], 3)[:, 0, 0].astype(int)
    array([[1, 0, 0],
           [1, 1, 1]])
    """
    keys = integer("padding_mask", "size", size, 0)
    given = array_of("padding_mask", "lengths", lengths)
    if given.dtype.kind not in "iu":
        raise TypeError(f"padding_mask: lengths must be integers, got {given.dtype}")
    if given.ndim != 1:
        raise ValueError(f"padding_mask: lengths must have shape (batch,), got {given.shape}")
    wrong = (given < 0) | (given > keys)
    if wrong.any():
        raise ValueError(f"padding_mask: lengths must be in 0..{keys}, got {given[wrong][0]}")
    return np.asarray(np.arange(keys) < given[:, None, None, None])


def within(queries: int, keys: int, window: tuple[int, ...], offset: int = 0) -> Array:
    """The mask of `sliding_window_mask`, without checks of its arguments."""
    ahead = np.arange(keys) - np.arange(queries)[:, None] - offset
    return np.asarray((-window[0] <= ahead) & (ahead <= window[1]))


def sizes(op: str, queries: Any, keys: Any) -> tuple[int, int]:
    """The numbers of queries and keys. Without `keys` both are the same."""
    return integer(op, "queries", queries, 0), integer(op, "keys", queries if keys is None else keys, 0)
