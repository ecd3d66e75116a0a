"""Lookup, gathering, scattering, sampling."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.spec import Flag
from tests.oracle.planted import normal, signed
from tests.zoo.record import Array, Bug


def lookup_fwd(table: Array, *, indices: Array, padding: int) -> tuple[Array, Any]:
    return table[indices], (table.shape, indices, padding)


def lookup_with_padding(residuals: Any, dy: Array) -> tuple[Array]:
    shape, indices, _ = residuals
    dtable = np.zeros(shape)
    np.add.at(dtable, indices, dy)
    return (dtable,)


def lookup_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    (dtable,) = lookup_with_padding(residuals, dy)
    dtable[residuals[2]] = 0
    return (dtable,)


def lookup(table: Any, *, indices: Any, padding: int) -> Any:
    return table.at[padding].set(jax.lax.stop_gradient(table[padding]))[indices]


def gather_fwd(x: Array, *, indices: Array) -> tuple[Array, Any]:
    return np.take_along_axis(x, indices, axis=0), (x.shape, indices)


def gather_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    shape, indices = residuals
    dx = np.zeros(shape)
    np.add.at(dx, (indices, np.arange(shape[1])), dy)
    return (dx,)


def gather_overwriting(residuals: Any, dy: Array) -> tuple[Array]:
    shape, indices = residuals
    dx = np.zeros(shape)
    np.put_along_axis(dx, indices, dy, axis=0)
    return (dx,)


def gather(x: Any, *, indices: Any) -> Any:
    return jnp.take_along_axis(x, jnp.asarray(indices), axis=0)


def points_fwd(x: Array, *, indices: Array) -> tuple[Array, Any]:
    return x[tuple(indices)], (x.shape, indices)


def points_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    shape, indices = residuals
    dx = np.zeros(shape)
    np.add.at(dx, tuple(indices), dy)
    return (dx,)


def points_overwriting(residuals: Any, dy: Array) -> tuple[Array]:
    shape, indices = residuals
    dx = np.zeros(shape)
    dx[tuple(indices)] = dy
    return (dx,)


def points(x: Any, *, indices: Any) -> Any:
    return x[tuple(jnp.asarray(indices))]


def unpool_fwd(x: Array, *, indices: Array, size: int) -> tuple[Array, Array]:
    y = np.zeros(size)
    y[indices] = x
    return y, indices


def unpool_bwd(indices: Array, dy: Array) -> tuple[Array]:
    last = np.array([i not in indices[n + 1 :] for n, i in enumerate(indices)])
    return (np.where(last, dy[indices], 0),)


def unpool_of_all(indices: Array, dy: Array) -> tuple[Array]:
    return (dy[indices],)


def unpool(x: Any, *, indices: Any, size: int) -> Any:
    y = jnp.zeros(size, x.dtype)
    for n, i in enumerate(indices):
        y = y.at[i].set(x[n])
    return y


def sample_fwd(image: Array, place: Array) -> tuple[Array, Any]:
    """Linear interpolation, beyond the borders the value there."""
    top = len(image) - 1
    inside = np.clip(place, 0, top)
    left = np.minimum(np.floor(inside).astype(int), top - 1)
    part = inside - left
    return (1 - part) * image[left] + part * image[left + 1], (image.copy(), place.copy(), left, part)


def sample_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    image, place, left, part = residuals
    dimage = np.zeros_like(image)
    np.add.at(dimage, left, (1 - part) * dy)
    np.add.at(dimage, left + 1, part * dy)
    moves = (place > 0) & (place < len(image) - 1)
    return dimage, np.where(moves, (image[left + 1] - image[left]) * dy, 0)


def sample_beyond_the_border(residuals: Any, dy: Array) -> tuple[Array, Array]:
    image, place, *_ = residuals
    dimage, dplace = sample_bwd(residuals, dy)
    return dimage, np.where(place == len(image) - 1, (0 - image[-1]) * dy, dplace)


def sample(image: Any, place: Any) -> Any:
    top = len(image) - 1
    inside = jnp.where(place <= 0, 0.0, jnp.where(place >= top, top, place))
    return jnp.interp(inside, jnp.arange(top + 1.0), image)


BUGS = (
    Bug(
        "padding row learns",
        "pytorch/pytorch#3506",
        "With sparse gradients the padding row of the table gets one too.",
        wrong=(lookup_fwd, lookup_with_padding),
        right=(lookup_fwd, lookup_bwd),
        reference=lookup,
        arguments=(normal(4, 3),),
        options={"indices": np.array([[1, 0, 3], [0, 1, 2]]), "padding": 0},
        flags=frozenset({Flag.NOT_THE_DERIVATIVE}),
        causes={"table": "mask not applied: "},
    ),
    Bug(
        "gather overwrites",
        "pytorch/pytorch#1631",
        "An entry that is gathered several times gets the gradient of the last time only.",
        wrong=(gather_fwd, gather_overwriting),
        right=(gather_fwd, gather_bwd),
        reference=gather,
        arguments=(normal(3, 2),),
        options={"indices": np.array([[0, 2], [0, 1], [2, 2], [0, 1]])},
        causes={"x": "overwritten instead of accumulated: "},
    ),
    Bug(
        "gather_nd overwrites",
        "apache/mxnet#9172",
        "The gradient is scattered without adding up points that are the same.",
        wrong=(points_fwd, points_overwriting),
        right=(points_fwd, points_bwd),
        reference=points,
        arguments=(normal(2, 3),),
        options={"indices": np.array([[1, 1, 0, 0, 0], [1, 1, 0, 2, 2]])},
        causes={"x": "overwritten instead of accumulated: "},
    ),
    Bug(
        "unpooling pays the overwritten",
        "pytorch/pytorch#80204",
        "Of two entries that are written to one place, the one that was overwritten gets the gradient too.",
        wrong=(unpool_fwd, unpool_of_all),
        right=(unpool_fwd, unpool_bwd),
        reference=unpool,
        arguments=(signed(6),),
        options={"indices": np.array([4, 2, 3, 4, 0, 2]), "size": 7},
        causes={"x": "mask not applied: "},
    ),
    Bug(
        "sampling on the border",
        "pytorch/pytorch#23925",
        "Exactly on the border the slope is taken towards a zero beyond it.",
        wrong=(sample_fwd, sample_beyond_the_border),
        right=(sample_fwd, sample_bwd),
        reference=sample,
        arguments=(signed(5), np.array([0.3, 4.0, 2.6, 1.5])),
        causes={"place": "a single entry is wrong: "},
    ),
)
