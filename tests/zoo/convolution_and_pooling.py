"""Convolution and pooling, along one axis."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.oracle.planted import normal, signed
from tests.zoo.record import Array, Bug

# ------------------------------------------------------------------------------------------------ convolution


def taps(length: int, size: int, stride: int, dilation: int) -> Array:
    """At [i, k] the place in the input that output i sees through tap k."""
    count = (length - dilation * (size - 1) - 1) // stride + 1
    return stride * np.arange(count)[:, None] + dilation * np.arange(size)


def conv_fwd(w: Array, x: Array, *, stride: int = 1, dilation: int = 1) -> tuple[Array, Any]:
    seen = x[:, :, taps(x.shape[2], w.shape[2], stride, dilation)]
    return np.einsum("ock,ncik->noi", w, seen), (w.copy(), x.copy(), stride, dilation)


def pulled(w: Array, x: Array, dy: Array, places: Array) -> tuple[Array, Array]:
    dx = np.zeros_like(x)
    np.add.at(dx, (slice(None), slice(None), places), np.einsum("ock,noi->ncik", w, dy))
    return np.einsum("noi,ncik->ock", dy, x[:, :, places]), dx


def conv_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    w, x, stride, dilation = residuals
    return pulled(w, x, dy, taps(x.shape[2], w.shape[2], stride, dilation))


def conv_of_swapped_options(residuals: Any, dy: Array) -> tuple[Array, Array]:
    w, x, stride, dilation = residuals
    return pulled(w, x, dy, taps(x.shape[2], w.shape[2], dilation, stride))[0], conv_bwd(residuals, dy)[1]


def conv_without_stride(residuals: Any, dy: Array) -> tuple[Array, Array]:
    w, x, _, dilation = residuals
    return pulled(w, x, dy, taps(x.shape[2], w.shape[2], 1, dilation)[: dy.shape[2]])


def conv_divided_by_places(residuals: Any, dy: Array) -> tuple[Array, Array]:
    dw, dx = conv_bwd(residuals, dy)
    return dw / (dy.shape[0] * dy.shape[2]), dx


def conv_in_another_order(residuals: Any, dy: Array) -> tuple[Array, Array]:
    dw, dx = conv_bwd(residuals, dy)
    return dx, dw


def conv(w: Any, x: Any, *, stride: int = 1, dilation: int = 1) -> Any:
    return jax.lax.conv_general_dilated(x, w, (stride,), "VALID", rhs_dilation=(dilation,))


def grouped_fwd(w: Array, x: Array, *, groups: int) -> tuple[Array, Any]:
    parts = zip(np.split(w, groups), np.split(x, groups, axis=1), strict=True)
    return np.concatenate([conv_fwd(*part)[0] for part in parts], axis=1), (w.copy(), x.copy(), groups)


def grouped_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    w, x, groups = residuals
    parts = zip(np.split(w, groups), np.split(x, groups, axis=1), np.split(dy, groups, axis=1), strict=True)
    dws, dxs = zip(*(conv_bwd((v, u, 1, 1), du) for v, u, du in parts), strict=True)
    return np.concatenate(dws), np.concatenate(dxs, axis=1)


def grouped_by_turns(residuals: Any, dy: Array) -> tuple[Array, Array]:
    w, x, groups = residuals
    dealt = np.concatenate([x[:, group::groups] for group in range(groups)], axis=1)
    return grouped_bwd((w, dealt, groups), dy)[0], grouped_bwd(residuals, dy)[1]


def grouped(w: Any, x: Any, *, groups: int) -> Any:
    return jax.lax.conv_general_dilated(x, w, (1,), "VALID", feature_group_count=groups)


# ------------------------------------------------------------------------------------------------ averages


def average_fwd(x: Array) -> tuple[Array, tuple[int, ...]]:
    """The mean of every two; of the last one alone where it is left over."""
    starts = np.arange(0, x.shape[2], 2)
    counts = np.diff(np.append(starts, x.shape[2]))
    return np.add.reduceat(x, starts, axis=2) / counts, x.shape


def average_bwd(shape: tuple[int, ...], dy: Array) -> tuple[Array]:
    counts = np.minimum(2, shape[2] - 2 * np.arange(dy.shape[2]))
    return (np.repeat(dy / counts, 2, axis=2)[:, :, : shape[2]],)


def average_of_whole_windows(shape: tuple[int, ...], dy: Array) -> tuple[Array]:
    return (np.repeat(dy / 2, 2, axis=2)[:, :, : shape[2]],)


def average(x: Any) -> Any:
    def summed(array: Any) -> Any:
        return jax.lax.reduce_window(array, 0.0, jax.lax.add, (1, 1, 2), (1, 1, 2), ((0, 0), (0, 0), (0, 1)))

    return summed(x) / summed(jnp.ones_like(x))


# ------------------------------------------------------------------------------------------------ maxima


def maximum_fwd(x: Array, *, size: int, stride: int = 1, padding: int = 0) -> tuple[Array, Any]:
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding)), constant_values=-np.inf)
    places = taps(padded.shape[2], size, stride, 1)
    seen = padded[:, :, places]
    return seen.max(axis=3), (x.shape, places[:, 0] + seen.argmax(axis=3), padding)


def maximum_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    shape, winners, padding = residuals
    dx = np.zeros(shape)
    n, c, _ = np.indices(winners.shape)
    np.add.at(dx, (n, c, winners - padding), dy)
    return (dx,)


def maximum_once(residuals: Any, dy: Array) -> tuple[Array]:
    shape, winners, padding = residuals
    dx = np.zeros(shape)
    np.put_along_axis(dx, winners - padding, dy, axis=2)
    return (dx,)


def maximum_before_padding(residuals: Any, dy: Array) -> tuple[Array]:
    shape, winners, padding = residuals
    (dx,) = maximum_bwd(((*shape[:2], shape[2] + 2 * padding), winners, 0), dy)
    return (dx[:, :, : shape[2]].copy(),)


def maximum_of_the_first_window(residuals: Any, dy: Array) -> tuple[Array]:
    shape, winners, padding = residuals
    return maximum_bwd((shape, winners[:, :, :1], padding), dy[:, :, :1])


def maximum(x: Any, *, size: int, stride: int = 1, padding: int = 0) -> Any:
    pads = ((0, 0), (0, 0), (padding, padding))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, size), (1, 1, stride), pads)


CONV, MAXIMUM = (conv_fwd, conv_bwd), (maximum_fwd, maximum_bwd)

BUGS = (
    Bug(
        "stride and dilation swapped",
        "iree-org/iree-turbine#1223",
        "The gradient of the weights is made with stride and dilation in each other's place.",
        wrong=(conv_fwd, conv_of_swapped_options),
        right=CONV,
        reference=conv,
        arguments=(signed(2, 2, 3), signed(2, 2, 7)),
        options={"stride": 2, "dilation": 1},
        causes={"w": "options swapped: "},
    ),
    Bug(
        "stride forgotten",
        "Kulbear/deep-learning-coursera#34",
        "The windows of the backward pass start at i instead of i times the stride.",
        wrong=(conv_fwd, conv_without_stride),
        right=CONV,
        reference=conv,
        arguments=(signed(2, 2, 3), signed(2, 2, 7)),
        options={"stride": 2},
        causes={"w": "option ignored: ", "x": "option ignored: "},
    ),
    Bug(
        "weights averaged over places",
        "sebgao/cTensor#3",
        "The gradient of the weights is divided by the number of samples and places.",
        wrong=(conv_fwd, conv_divided_by_places),
        right=CONV,
        reference=conv,
        arguments=(signed(2, 2, 3), signed(2, 2, 5)),
        causes={"w": "constant factor: "},
    ),
    Bug(
        "filter and input in another order",
        "tensorflow/swift-apis#332",
        "The tuple of gradients has the filter's where the input's belongs.",
        wrong=(conv_fwd, conv_in_another_order),
        right=CONV,
        reference=conv,
        arguments=(signed(2, 2, 3), signed(2, 2, 3, seed=1)),
        causes={"w": "arguments swapped: ", "x": "arguments swapped: "},
    ),
    Bug(
        "grouped weights",
        "pytorch/pytorch#51430",
        "With several groups the weights meet channels of others: here they are dealt by turns, not in blocks.",
        wrong=(grouped_fwd, grouped_by_turns),
        right=(grouped_fwd, grouped_bwd),
        reference=grouped,
        arguments=(signed(4, 2, 2), signed(2, 4, 4)),
        options={"groups": 2},
        causes={"w": "wrong point: "},
    ),
    Bug(
        "divisor of the last window",
        "tracel-ai/burn#5604",
        "Forward the window that sticks out is divided by what it holds, backward by its full size.",
        wrong=(average_fwd, average_of_whole_windows),
        right=(average_fwd, average_bwd),
        reference=average,
        arguments=(normal(2, 2, 5),),
        causes={"x": "borders: "},
    ),
    Bug(
        "maximum before padding",
        "FluxML/NNlib.jl#133",
        "With padding the gradients land beside the maxima: here their places are counted in the padded input.",
        wrong=(maximum_fwd, maximum_before_padding),
        right=MAXIMUM,
        reference=maximum,
        arguments=(normal(2, 2, 4),),
        options={"size": 2, "stride": 2, "padding": 1},
        causes={"x": "shifted: "},
    ),
    Bug(
        "one window for each maximum",
        "FluxML/Flux.jl#1197",
        "An entry that is the maximum of several windows gets the gradient of one.",
        wrong=(maximum_fwd, maximum_once),
        right=MAXIMUM,
        reference=maximum,
        arguments=(normal(2, 2, 6),),
        options={"size": 3},
        causes={"x": "overwritten instead of accumulated: "},
    ),
    Bug(
        "return inside the loop",
        "riccardoandreoni0/CNN-from-scratch#1",
        "The loop over the windows is left after the first of them.",
        wrong=(maximum_fwd, maximum_of_the_first_window),
        right=MAXIMUM,
        reference=maximum,
        arguments=(normal(2, 2, 6),),
        options={"size": 2, "stride": 2},
        causes={"x": "zero where it should not be: "},
    ),
)
