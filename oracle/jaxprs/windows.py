"""Convolutions and reductions over windows, one tap of the window at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from oracle.jaxprs.unknown import Unknown

__all__ = ["WINDOWS", "correlated", "padded", "spread_out", "taps"]


def padded(x: Any, pads: Sequence[tuple[int, int]], fill: float) -> Any:
    """With `fill` around the last axes; a negative padding takes away."""
    first = x.ndim - len(pads)
    for axis, (low, high) in enumerate(pads, first):
        kept = [slice(None)] * x.ndim
        kept[axis] = slice(max(-low, 0), x.shape[axis] - max(-high, 0))
        x = x[tuple(kept)]
    around = [(0, 0)] * first + [(max(low, 0), max(high, 0)) for low, high in pads]
    return np.pad(x, around, constant_values=fill) if any(map(any, around)) else x


def taps(x: Any, sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Iterator[tuple[Any, Any]]:
    """For each entry of a window over the last axes: its index, and that entry of all windows."""
    first = x.ndim - len(sizes)
    extents = zip(x.shape[first:], sizes, strides, dilations, strict=True)
    outs = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in extents]
    for tap in np.ndindex(*sizes):
        ends = [slice(t * d, t * d + (out - 1) * s + 1, s) for t, d, out, s in zip(tap, dilations, outs, strides, strict=True)]
        yield tap, x[(..., *ends)]


def spread_out(x: Any, distances: Sequence[int], fill: float = 0.0) -> Any:
    """With `fill` between the elements, which are then so far apart along the last axes."""
    if all(distance == 1 for distance in distances):
        return x
    first = x.ndim - len(distances)
    shape = *x.shape[:first], *((n - 1) * d + 1 for n, d in zip(x.shape[first:], distances, strict=True))
    spread: Any = np.full_like(x, fill, shape=shape)
    spread[(..., *(slice(None, None, d) for d in distances))] = x
    return spread


def correlated(x: Any, w: Any, pads: Any, strides: Sequence[int], dilations: Sequence[int], groups: int) -> Any:
    """The convolution of deep learning, in groups of channels: x (N, C, ...) and w (O, C / groups, ...) -> (N, O, ...)."""
    x = padded(x, pads, 0.0)
    total: Any = 0
    for tap, part in taps(x, w.shape[2:], strides, dilations):
        inputs = part.reshape(len(x), groups, x.shape[1] // groups, *part.shape[2:])
        weights = w[(..., *tap)].reshape(groups, len(w) // groups, -1)
        total = total + np.einsum("ngc...,goc->ngo...", inputs, weights)
    return total.reshape(len(x), len(w), *total.shape[3:])


def _convolution(params: dict[str, Any], x: Any, w: Any) -> Any:
    numbers, batches = params["dimension_numbers"], params["batch_group_count"]
    x, w = np.transpose(x, numbers.lhs_spec), np.transpose(w, numbers.rhs_spec)
    x = spread_out(x, params["lhs_dilation"])
    options = params["padding"], params["window_strides"], params["rhs_dilation"], params["feature_group_count"]
    if batches == 1:
        y = correlated(x, w, *options)
    else:  # each group of samples has its own part of the kernels
        parts = zip(np.split(x, batches), np.split(w, batches), strict=True)
        y = np.concatenate([correlated(*part, *options) for part in parts], 1)
    return np.transpose(y, np.argsort(numbers.out_spec))


def _reduced(combine: Callable[[Any, Any], Any], fill: float) -> Callable[..., Any]:
    def reduce_window(params: dict[str, Any], x: Any) -> Any:
        found: Any = None
        x = padded(spread_out(x, params["base_dilation"], fill), params["padding"], fill)
        for _, part in taps(x, params["window_dimensions"], params["window_strides"], params["window_dilation"]):
            found = part if found is None else combine(found, part)
        return found

    return reduce_window


def _select_and_add(params: dict[str, Any], source: Any, x: Any) -> Any:
    """Zeros, with each element of `source` added where its window of x has its first largest or smallest element."""
    name = params["select_prim"].name
    if name not in ("ge", "le"):
        raise Unknown(f"a selection by {name}")
    pads, sizes, strides = params["padding"], params["window_dimensions"], params["window_strides"]
    x = padded(x if name == "ge" else -x, pads, -np.inf)
    numbers = np.arange(x.size).reshape(x.shape)
    ones = [1] * len(sizes)
    where = np.argmax(np.stack([part for _, part in taps(x, sizes, strides, ones)]), 0)
    places = np.take_along_axis(np.stack([part for _, part in taps(numbers, sizes, strides, ones)]), where[None], 0)[0]
    found = np.zeros(x.size, source.dtype)
    np.add.at(found, places.reshape(-1), source.reshape(-1))
    return padded(found.reshape(x.shape), [(-low, -high) for low, high in pads], 0.0)


WINDOWS: dict[str, Callable[..., Any]] = {
    "conv_general_dilated": _convolution, "select_and_scatter_add": _select_and_add,
    "reduce_window_sum": _reduced(np.add, 0.0), "reduce_window_max": _reduced(np.maximum, -np.inf),
    "reduce_window_min": _reduced(np.minimum, np.inf),
}  # fmt: skip
