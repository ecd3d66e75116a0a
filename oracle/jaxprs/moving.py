"""The primitives that move elements and do not compute with them, and the addition of elements at places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from oracle.jaxprs.unknown import Unknown

__all__ = ["MOVES", "scattered"]


def _broadcast(params: dict[str, Any], x: Any) -> Any:
    shape = [1] * len(params["shape"])
    for axis, size in zip(params["broadcast_dimensions"], x.shape, strict=True):
        shape[axis] = size
    return np.broadcast_to(x.reshape(shape), params["shape"])


def _reshape(params: dict[str, Any], x: Any) -> Any:
    order = params.get("dimensions")
    return (x if order is None else x.transpose(order)).reshape(params["new_sizes"])


def _pad(params: dict[str, Any], x: Any, fill: Any) -> Any:
    """`inside` elements between two neighbours, then `low` before and `high` after them; a negative number takes away."""
    config = params["padding_config"]
    spread = np.full([max((n - 1) * (inside + 1) + 1, 0) for n, (_, _, inside) in zip(x.shape, config, strict=True)], fill)
    spread[tuple(slice(None, None, inside + 1) for *_, inside in config)] = x
    around = [(max(low, 0), max(high, 0)) for low, high, _ in config]
    shape = [low + n + high for n, (low, high) in zip(spread.shape, around, strict=True)]
    found = np.full(shape, fill, x.dtype)
    found[tuple(slice(low, low + n) for n, (low, _) in zip(spread.shape, around, strict=True))] = spread
    return found[tuple(slice(max(-low, 0), n - max(-high, 0)) for n, (low, high, _) in zip(shape, config, strict=True))]


def _slice(params: dict[str, Any], x: Any) -> Any:
    strides = params["strides"] or (None,) * x.ndim
    return x[tuple(map(slice, params["start_indices"], params["limit_indices"], strides))]


def _window(x: Any, starts: Sequence[Any], sizes: Sequence[int]) -> tuple[slice, ...]:
    """The slices of a window, which is moved until it lies inside."""
    first = [int(np.clip(int(start), 0, n - size)) for start, n, size in zip(starts, x.shape, sizes, strict=True)]
    return tuple(slice(start, start + size) for start, size in zip(first, sizes, strict=True))


def _dynamic_slice(params: dict[str, Any], x: Any, *starts: Any) -> Any:
    return x[_window(x, starts, params["slice_sizes"])]


def _dynamic_update(params: dict[str, Any], x: Any, update: Any, *starts: Any) -> Any:
    found = np.array(x)
    found[_window(x, starts, update.shape)] = update
    return found


def _select(params: dict[str, Any], which: Any, *cases: Any) -> Any:
    if which.dtype == bool:
        return np.where(which, cases[1], cases[0])
    return np.choose(np.broadcast_to(which, cases[0].shape), cases)


def _split(params: dict[str, Any], x: Any) -> Any:
    return np.split(x, np.cumsum(params["sizes"])[:-1], params["axis"])


def _unstack(params: dict[str, Any], x: Any) -> Any:
    return list(np.moveaxis(x, params["axis"], 0))


# -------------------------------------------------------------------------------------------- windows at given places


def _places(
    shape: Sequence[int], sizes: Sequence[int], starts: Any, indexed: Any, batched: Any, hidden: Any, clipped: bool
) -> tuple[tuple[Any, ...], Any]:
    """For each dimension of an array of this shape: the indices of the elements of all windows; and which windows lie inside.

    The indices have the dimensions of the batch of windows, then those of one window without the `hidden` ones. A row of
    `starts` has the first index of a window along the dimensions `indexed`. Along those of `batched` that is the place of the
    window in the batch. Windows that do not lie inside are moved inside; None in place of a mask says that all are to count.
    """
    batch = starts.shape[:-1]
    first: list[Any] = [np.zeros(batch, np.int64)] * len(shape)
    for column, axis in enumerate(indexed):
        first[axis] = starts[..., column].astype(np.int64)
    for axis, place in zip(*batched, strict=True):
        first[axis] = np.indices(batch)[place]
    last = [n - size for n, size in zip(shape, sizes, strict=True)]
    inside: Any = True
    for start, most in zip(first, last, strict=True):
        inside = inside & (start >= 0) & (start <= most)
    if not np.all(inside):
        first = [np.clip(start, 0, most) for start, most in zip(first, last, strict=True)]
    shown = [axis for axis in range(len(shape)) if axis not in hidden]
    indices = []
    for axis, start in enumerate(first):
        index = start.reshape((*batch, *(1,) * len(shown)))
        if axis in shown:
            index = index + np.arange(sizes[axis]).reshape([-1 if s == axis else 1 for s in shown])
        indices.append(index)
    if clipped or np.all(inside):
        return tuple(np.broadcast_arrays(*indices)), None
    return tuple(np.broadcast_arrays(*indices)), np.broadcast_to(inside, batch).reshape((*batch, *(1,) * len(shown)))


def _last(rank: int, moved: Sequence[int]) -> list[int]:
    """The order of the axes in which `moved` come last."""
    return [axis for axis in range(rank) if axis not in moved] + list(moved)


def _gather(params: dict[str, Any], x: Any, starts: Any) -> Any:
    numbers, clipped = params["dimension_numbers"], params["mode"].name != "FILL_OR_DROP"
    batched = numbers.operand_batching_dims, numbers.start_indices_batching_dims
    hidden = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    places, inside = _places(x.shape, params["slice_sizes"], starts, numbers.start_index_map, batched, hidden, clipped)
    found = x[places] if x.ndim else np.broadcast_to(x, starts.shape[:-1])
    if inside is not None:
        if params["fill_value"] is None:
            raise Unknown("gather outside of the array without a value")
        found = np.where(inside, found, np.asarray(params["fill_value"], x.dtype))
    return found.transpose(np.argsort(_last(found.ndim, numbers.offset_dims)))


def scattered(combine: Callable[[Any, Any, Any], None]) -> Callable[..., Any]:
    """The primitive that combines windows of an array with updates, by a function that changes the array at these places."""

    def scatter(params: dict[str, Any], x: Any, starts: Any, updates: Any) -> Any:
        numbers, clipped = params["dimension_numbers"], params["mode"].name == "CLIP"
        batched = numbers.operand_batching_dims, numbers.scatter_indices_batching_dims
        hidden = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
        updates = updates.transpose(_last(updates.ndim, numbers.update_window_dims))
        of_window = iter(updates.shape[starts.ndim - 1 :])
        sizes = [1 if axis in hidden else next(of_window) for axis in range(x.ndim)]
        places, inside = _places(x.shape, sizes, starts, numbers.scatter_dims_to_operand_dims, batched, hidden, clipped)
        if inside is not None:
            kept = np.broadcast_to(inside, updates.shape)
            places, updates = tuple(place[kept] for place in places), updates[kept]
        found = np.array(x)
        combine(found, places, updates)
        return found

    return scatter


def _put(x: Any, places: Any, updates: Any) -> None:
    x[places] = updates


MOVES: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": _broadcast, "reshape": _reshape, "pad": _pad, "slice": _slice, "split": _split, "unstack": _unstack,
    "transpose": lambda params, x: x.transpose(params["permutation"]),
    "squeeze": lambda params, x: np.squeeze(x, tuple(params["dimensions"])),
    "expand_dims": lambda params, x: np.expand_dims(x, tuple(params["dimensions"])),
    "concatenate": lambda params, *xs: np.concatenate(xs, params["dimension"]),
    "stack": lambda params, *xs: np.stack(xs, params["axis"]),
    "tile": lambda params, x: np.tile(x, params["reps"]),
    "rev": lambda params, x: np.flip(x, tuple(params["dimensions"])),
    "dynamic_slice": _dynamic_slice, "dynamic_update_slice": _dynamic_update,
    "gather": _gather, "scatter": scattered(_put), "select_n": _select,
}  # fmt: skip
"""Functions of the parameters of a primitive and of its operands, by the name of the primitive."""
